//! How pushes become requests, and how a request that was refused is taken apart.
//!
//! These tests run on one thread: pushes that are sent together are queued before the batcher runs.

use std::num::NonZeroU32;
use std::sync::Arc;

use chrono::TimeDelta;
use futures::future::join_all;
use futures::{FutureExt, poll};
use push_core::outcome::{Outcome, Withheld};
use push_providers::{Expo, PushProvider};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::unconstrained;

use crate::support::server::{Reply, Request, Server};
use crate::support::{
    Unwanted, expo_settings, expo_token, install_crypto, push, push_for_a_moment, words,
};

fn tickets(recipients: &[String]) -> Reply {
    let tickets: Vec<Value> = recipients
        .iter()
        .map(|to| json!({"status": "ok", "id": to}))
        .collect();
    Reply::json(200, &json!({ "data": tickets }))
}

/// Queues all at its first poll: tokio would interrupt a task after 128 operations.
async fn send(
    expo: &Expo,
    names: impl IntoIterator<Item = String>,
) -> Vec<Result<Outcome, Withheld>> {
    let pushes = names
        .into_iter()
        .map(|name| expo.send(push(expo_token(&name))));
    unconstrained(join_all(pushes)).await
}

fn sizes(server: &Server) -> Vec<usize> {
    server
        .seen()
        .iter()
        .map(|request| request.recipients().len())
        .collect()
}

fn names(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{prefix}{n}")).collect()
}

#[tokio::test]
async fn a_request_has_a_hundred_at_most_and_each_sender_gets_its_own_ticket() {
    install_crypto();
    let server = Server::start(|request| tickets(&request.recipients())).await;
    let expo = Expo::new(expo_settings(&server.url)).unwrap();
    let outcomes = send(&expo, names("t", 101)).await;
    for (n, outcome) in outcomes.iter().enumerate() {
        assert_eq!(words(outcome), format!("accepted ExponentPushToken[t{n}]"));
    }
    let mut sizes = sizes(&server);
    sizes.sort_unstable();
    assert_eq!(sizes, [1, 100]);
}

#[tokio::test]
async fn six_requests_at_once_and_what_waits_meanwhile_goes_together() {
    install_crypto();
    let gate = Arc::new(Semaphore::new(0));
    let closed = Arc::clone(&gate);
    let server = Server::start(move |request| {
        Reply::When(
            Arc::clone(&closed),
            Box::new(tickets(&request.recipients())),
        )
    })
    .await;
    let expo = Expo::new(expo_settings(&server.url)).unwrap();
    let mut first = Vec::new();
    for name in names("first", 6) {
        let mut one = expo.send(push(expo_token(&name))).boxed();
        assert!(poll!(&mut one).is_pending());
        server.arrival().await;
        first.push(one);
    }
    assert_eq!(sizes(&server), [1; 6], "a lonely push waits for no company");

    let mut rest = send(&expo, names("rest", 250)).boxed();
    assert!(poll!(&mut rest).is_pending());
    let mut given_up = unconstrained(expo.send(push(expo_token("given-up")))).boxed();
    assert!(poll!(&mut given_up).is_pending());
    drop(given_up);
    let mut late = push(expo_token("late"));
    Arc::make_mut(&mut late.notification).created_at -= TimeDelta::hours(2);
    Arc::make_mut(&mut late.notification).expires_at -= TimeDelta::hours(2);
    let mut late = unconstrained(expo.send(late)).boxed();
    assert!(poll!(&mut late).is_pending());
    let mut unwanted = push(expo_token("unwanted"));
    unwanted.still_wanted = Arc::new(Unwanted);
    let mut unwanted = unconstrained(expo.send(unwanted)).boxed();
    assert!(poll!(&mut unwanted).is_pending());
    assert_eq!(server.seen().len(), 6, "the seventh request waits");

    gate.add_permits(100);
    assert!(
        rest.await
            .iter()
            .chain(&join_all(first).await)
            .all(|outcome| words(outcome).starts_with("accepted"))
    );
    assert_eq!(words(&late.await), "withheld: Expired");
    assert_eq!(words(&unwanted.await), "withheld: ClaimOver");
    let mut later = sizes(&server).split_off(6);
    later.sort_unstable();
    assert_eq!(later, [50, 100, 100]);
    let sent: Vec<String> = server.seen().iter().flat_map(Request::recipients).collect();
    assert!(
        !sent
            .iter()
            .any(|to| to.contains("given-up") || to.contains("late") || to.contains("unwanted"))
    );
}

#[tokio::test]
async fn no_more_go_together_than_a_sixth_of_a_seconds() {
    install_crypto();
    let server = Server::start(|request| tickets(&request.recipients())).await;
    let mut settings = expo_settings(&server.url);
    settings.rate = NonZeroU32::new(20).unwrap();
    let expo = Expo::new(settings).unwrap();
    let outcomes = send(&expo, names("t", 8)).await;
    assert!(
        outcomes
            .iter()
            .all(|outcome| words(outcome).starts_with("accepted"))
    );
    let mut sizes = sizes(&server);
    sizes.sort_unstable();
    assert_eq!(sizes, [2, 3, 3]);
}

#[tokio::test]
async fn what_expires_while_the_rate_has_it_wait_is_not_sent() {
    install_crypto();
    let server = Server::start(|request| tickets(&request.recipients())).await;
    let mut settings = expo_settings(&server.url);
    settings.rate = NonZeroU32::MIN;
    let expo = Expo::new(settings).unwrap();
    let (first, late) = (
        push(expo_token("first")),
        push_for_a_moment(expo_token("late")),
    );
    let (first, late) = futures::join!(expo.send(first), expo.send(late));
    assert!(words(&first).starts_with("accepted"), "{first:?}");
    assert_eq!(words(&late), "withheld: Expired");
    assert_eq!(sizes(&server), [1]);
}

/// Refuses several projects in one request, as Expo does. The project is the token's first letter.
fn one_project(request: &Request) -> Reply {
    let recipients = request.recipients();
    let project = |to: &String| {
        to.chars()
            .nth("ExponentPushToken[".len())
            .unwrap()
            .to_string()
    };
    let mut details: serde_json::Map<String, Value> = serde_json::Map::new();
    for to in &recipients {
        let project = details.entry(project(to)).or_insert(json!([]));
        project.as_array_mut().unwrap().push(json!(to));
    }
    if details.len() == 1 {
        return tickets(&recipients);
    }
    Reply::json(
        400,
        &json!({"errors": [{"code": "PUSH_TOO_MANY_EXPERIENCE_IDS", "message": "x", "details": details}]}),
    )
}

#[tokio::test]
async fn several_projects_are_sent_apart() {
    install_crypto();
    let server = Server::start(one_project).await;
    let expo = Expo::new(expo_settings(&server.url)).unwrap();
    let outcomes = send(
        &expo,
        [names("a", 3), names("b", 4), names("c", 1)].concat(),
    )
    .await;
    assert!(
        outcomes
            .iter()
            .all(|outcome| words(outcome).starts_with("accepted"))
    );
    let mut sizes = sizes(&server);
    assert_eq!(sizes.remove(0), 8);
    sizes.sort_unstable();
    assert_eq!(sizes, [1, 3, 4]);
}

#[tokio::test]
async fn groups_that_do_not_help_end_one_by_one() {
    install_crypto();
    let server = Server::start(|request| match one_project(request) {
        // Says that there are several projects, and not which.
        Reply::Http { status: 400, .. } => Reply::json(
            400,
            &json!({"errors": [{"code": "PUSH_TOO_MANY_EXPERIENCE_IDS"}]}),
        ),
        tickets => tickets,
    })
    .await;
    let expo = Expo::new(expo_settings(&server.url)).unwrap();
    let outcomes = send(&expo, [names("a", 1), names("b", 2)].concat()).await;
    assert!(
        outcomes
            .iter()
            .all(|outcome| words(outcome).starts_with("accepted"))
    );
    assert_eq!(sizes(&server), [3, 3, 1, 1, 1]);
}

#[tokio::test]
async fn the_bad_one_is_found_and_the_others_arrive() {
    install_crypto();
    let server = Server::start(|request| {
        let recipients = request.recipients();
        if recipients.iter().any(|to| to.contains("bad")) {
            return Reply::json(
                400,
                &json!({"errors": [{"code": "VALIDATION_ERROR", "message": "x"}]}),
            );
        }
        tickets(&recipients)
    })
    .await;
    let expo = Expo::new(expo_settings(&server.url)).unwrap();
    let outcomes = send(&expo, ["good1", "bad", "good2"].map(str::to_owned)).await;
    let told: Vec<String> = outcomes.iter().map(words).collect();
    assert_eq!(
        told,
        [
            "accepted ExponentPushToken[good1]",
            "refused: VALIDATION_ERROR",
            "accepted ExponentPushToken[good2]"
        ]
    );
    assert_eq!(sizes(&server), [3, 1, 1, 1]);
}

#[tokio::test]
async fn trouble_on_the_way_ends_the_search_and_those_behind_were_not_sent() {
    install_crypto();
    let server = Server::start(|request| match request.recipients().len() {
        1 => Reply::Http {
            status: 503,
            headers: Vec::new(),
            body: Vec::new(),
        },
        _ => Reply::json(
            400,
            &json!({"errors": [{"code": "VALIDATION_ERROR", "message": "x"}]}),
        ),
    })
    .await;
    let expo = Expo::new(expo_settings(&server.url)).unwrap();
    let mut told: Vec<String> = send(&expo, names("t", 3)).await.iter().map(words).collect();
    told.sort();
    assert_eq!(
        told,
        [
            "retry: http_503, at least 10 s, maybe sent",
            "retry: http_503, at least 10 s, surely not sent",
            "retry: http_503, at least 10 s, surely not sent",
        ]
    );
    assert_eq!(sizes(&server), [3, 1]);
}

#[tokio::test]
async fn tickets_of_a_batch_are_judged_one_by_one() {
    install_crypto();
    let server = Server::start(|_| {
        Reply::json(
            200,
            &json!({"data": [
                {"status": "ok", "id": "a"},
                {"status": "error", "message": "x", "details": {"error": "DeviceNotRegistered"}},
                {"status": "error", "message": "x", "details": {"error": "MessageRateExceeded"}},
            ]}),
        )
    })
    .await;
    let expo = Expo::new(expo_settings(&server.url)).unwrap();
    let told: Vec<String> = send(&expo, names("t", 3)).await.iter().map(words).collect();
    assert_eq!(
        told,
        [
            "accepted a",
            "dead: DeviceNotRegistered",
            "retry: MessageRateExceeded, at least 60 s, surely not sent"
        ]
    );
}

#[tokio::test]
async fn after_the_end_nobody_is_left_waiting() {
    install_crypto();
    let server = Server::start(|request| tickets(&request.recipients())).await;
    let expo = Arc::new(Expo::new(expo_settings(&server.url)).unwrap());
    let outcome = tokio::spawn({
        let expo = Arc::clone(&expo);
        async move { expo.send(push(expo_token("last"))).await }
    });
    drop(expo);
    assert!(words(&outcome.await.unwrap()).starts_with("accepted"));
}
