//! A provider that floods an HTTP/2 connection: each flood ends as an ordinary outcome, in time, after few bytes.

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use push_core::outcome::Sent;

use crate::tests::golden;
use crate::tests::raw_h2::{self, Flood, Turn};
use crate::tests::refused_streams::{expo_at, fcm_at, google, told};

/// Longer than a request may take here, on the busiest machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// For those who are to give up.
const IMPATIENT: Duration = Duration::from_secs(1);
/// For all others.
const PATIENT: Duration = Duration::from_secs(30);
/// What may be taken of a flood that the client ends; most of it lies in the sockets' buffers.
const TAKEN_MAX: usize = 32 * 1024 * 1024;

/// The flood, and the outcome's code.
const ENDED: &[(Flood, &str)] = &[
    (Flood::Continuations, "connection_lost"),
    (Flood::LargeContinuations, "connection_lost"),
    (Flood::EmptyData, "answer_broken_off"),
];
/// These are answered for as long as they last, one at a time: nothing piles up, and the request has its time.
const OUTLASTED: &[Flood] = &[Flood::Pings, Flood::Settings, Flood::Room, Flood::Interim];

async fn outcomes(flood: Flood, patience: Duration) -> ([(String, Sent); 2], usize) {
    let turns: &'static [Turn] = Box::leak(Box::new([Turn::Flood(flood)]));
    let tokens = google().await;
    let server = raw_h2::start(turns).await;
    let fcm = fcm_at(server.url.clone(), tokens.url.clone(), patience);
    let expo = expo_at(server.url.clone(), patience);
    let sending = async {
        let fcm = fcm.send(&golden::push_now("fcm")).await.unwrap();
        let expo = expo.send(golden::push_now("expo")).await.unwrap();
        [told(&fcm), told(&expo)]
    };
    let told = tokio::time::timeout(PATIENCE, sending).await;
    let told = told.unwrap_or_else(|_| panic!("{flood:?}: no outcome"));
    (told, server.flooded.load(SeqCst))
}

#[tokio::test]
async fn what_piles_up_is_ended_after_few_bytes() {
    for (flood, code) in ENDED {
        let (told, taken) = outcomes(*flood, PATIENT).await;
        let expected = ((*code).to_owned(), Sent::Maybe);
        assert_eq!(told, [expected.clone(), expected], "{flood:?}");
        assert!(taken < TAKEN_MAX, "{flood:?}: {taken} bytes were taken");
    }
}

#[tokio::test]
async fn what_does_not_pile_up_is_not_waited_for_longer_than_a_request_may_take() {
    for flood in OUTLASTED {
        let (told, _) = outcomes(*flood, IMPATIENT).await;
        let expected = ("timeout".to_owned(), Sent::Maybe);
        assert_eq!(told, [expected.clone(), expected], "{flood:?}");
    }
}
