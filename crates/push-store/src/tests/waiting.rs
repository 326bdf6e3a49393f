use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use push_core::settle::DeliveryOutcome;
use push_core::token::Token;

use super::Db;
use super::recording::RECEIPTS_AFTER;
use super::seed::{delivery, expo, gives_up, later, sent, waits};
use crate::{Claim, ClaimId, Waiting};

/// As in [`Db::accepted`].
const GRACE: Duration = Duration::from_secs(60);

impl Db {
    async fn waiting(&self, now: DateTime<Utc>) -> Waiting {
        self.store.waiting(now, GRACE).await.unwrap()
    }
}

#[tokio::test]
async fn a_job_waits_from_its_acceptance_until_it_is_in_hand_and_again_after_its_rung() {
    let db = Db::new().await;
    assert_eq!(db.waiting(later(5_000)).await, Waiting::default());
    let n = db.accepted(2).await;
    assert_eq!(db.waiting(later(5_000)).await.jobs, Some(later(0)));
    // The other one still waits.
    db.record(&[waits(&n[0], 1)], later(1_000), GRACE)
        .await
        .unwrap();
    assert_eq!(db.waiting(later(5_000)).await.jobs, Some(later(0)));
    let first = Claim {
        notification: n[1].id,
        round: 1,
    };
    let claim = ClaimId::generate();
    db.store.claim(claim, &[first], GRACE).await.unwrap();
    let waiting = db.waiting(later(10_999)).await;
    assert_eq!(waiting.jobs, None, "one in hand, one on its rung");
    let waiting = db.waiting(later(30_000)).await;
    assert_eq!(waiting.jobs, Some(later(11_000)), "back from its rung");
    db.done().await;
}

#[tokio::test]
async fn what_is_given_up_or_not_published_waits_elsewhere() {
    let db = Db::new().await;
    let n = db.accepted(3).await;
    let (given_up, _) = gives_up(&n[0], 1);
    db.record(&[given_up], later(500), GRACE).await.unwrap();
    db.store
        .mark_unpublished(&[n[1].id], later(700))
        .await
        .unwrap();
    let expected = Waiting {
        jobs: Some(later(0)),
        dead: Some(later(500)),
        unpublished: Some(later(700)),
        receipts: None,
    };
    assert_eq!(db.waiting(later(5_000)).await, expected);
    db.record(&[sent(&n[2], 1)], later(800), GRACE)
        .await
        .unwrap();
    let expected = Waiting {
        jobs: None,
        ..expected
    };
    assert_eq!(db.waiting(later(5_000)).await, expected);
    db.done().await;
}

#[tokio::test]
async fn a_receipt_waits_from_when_it_is_to_be_asked_for() {
    let db = Db::new().await;
    let n = db.accepted(1).await;
    let mut taken = sent(&n[0], 1);
    let token = Token::Expo(expo("a"));
    taken.deliveries = vec![delivery(7, token, DeliveryOutcome::Accepted)];
    db.record(&[taken], later(0), GRACE).await.unwrap();
    let due = later(0) + TimeDelta::from_std(RECEIPTS_AFTER).unwrap();
    let before = db.waiting(due - TimeDelta::milliseconds(1)).await;
    assert_eq!(before, Waiting::default());
    let waiting = db.waiting(due + TimeDelta::hours(1)).await;
    assert_eq!(waiting.receipts, Some(due));
    db.done().await;
}
