use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use push_core::changed::CustomerVersion;
use push_core::id::RegistrationId;
use push_core::notification::Notification;
use push_core::outcome::Sent;
use push_core::provider::Provider;
use push_core::settle::{DeliveryOutcome, Next, Settlement};
use push_core::status::{Ending, ProviderResult, Reason, Status};
use push_core::timeline::Step;
use push_core::token::Token;

use super::seed::{
    delivery, expo, fcm, follow_up, gives_up, later, notification, registration, results, sent,
    waits,
};
use super::{Db, at};
use crate::{Books, Claim, ClaimId, ClaimedRound, Due, Recording, StoreError, UnknownCustomer};

const GRACE: Duration = Duration::from_secs(60);
/// How long after a record its receipts are asked for.
pub const RECEIPTS_AFTER: Duration = Duration::from_secs(900);

impl Db {
    /// Accepts notifications of customer 1.
    pub async fn accepted(&self, count: usize) -> Vec<Notification> {
        let batch: Vec<_> = (0..count).map(|_| notification(1)).collect();
        self.store
            .accept(&batch, UnknownCustomer::Create, later(60_000))
            .await
            .unwrap();
        batch
    }

    /// Records settlements as a worker does: under a claim of its own.
    pub async fn record(
        &self,
        settlements: &[Settlement],
        now: DateTime<Utc>,
        grace: Duration,
    ) -> Result<Vec<Recording>, StoreError> {
        let claim = self.claims(settlements).await;
        let rounds = under(claim, settlements);
        self.store.record(&rounds, now, grace, RECEIPTS_AFTER).await
    }

    /// A claim for all of these rounds.
    pub async fn claims(&self, settlements: &[Settlement]) -> ClaimId {
        let by = ClaimId::generate();
        let claims = settlements.iter().map(|settlement| Claim {
            notification: settlement.notification,
            round: settlement.round,
        });
        let claims: Vec<_> = claims.collect();
        self.store.claim(by, &claims, GRACE).await.unwrap();
        by
    }
}

/// Settlements of rounds that were worked on under this claim.
pub fn under(claim: ClaimId, settlements: &[Settlement]) -> Vec<ClaimedRound> {
    let round = |settlement: &Settlement| ClaimedRound {
        claim,
        version: CustomerVersion::default(),
        settlement: settlement.clone(),
    };
    settlements.iter().map(round).collect()
}

#[tokio::test]
async fn a_round_that_ends_it_is_recorded_once() {
    let db = Db::new().await;
    let n = &db.accepted(1).await[0];
    let settlement = sent(n, 1);
    let once = db
        .record(std::slice::from_ref(&settlement), later(200), GRACE)
        .await
        .unwrap();
    assert_eq!(once, [Recording::Recorded]);
    let view = db.store.notification(n.id).await.unwrap().unwrap();
    assert_eq!(view.state.status, Status::Sent);
    assert_eq!(
        (view.state.fcm, view.state.expo),
        (ProviderResult::Success, ProviderResult::NotSent)
    );
    assert_eq!((view.state.attempts, view.state.reason), (1, None));
    assert_eq!(
        (db.sent_at(n.id).await, view.completed_at),
        (Some(later(200)), Some(later(200)))
    );
    assert_eq!(
        view.timeline
            .iter()
            .map(|e| e.step.as_str())
            .collect::<Vec<_>>(),
        [Step::Accepted, Step::Settled].map(|step| step.as_str())
    );
    let [row] = view.deliveries.as_slice() else {
        panic!("{:?}", view.deliveries)
    };
    assert_eq!(
        (row.registration, row.provider, row.outcome),
        (RegistrationId(7), Provider::Fcm, DeliveryOutcome::Accepted)
    );
    assert_eq!(row.provider_id.as_deref(), Some("projects/p/messages/1"));
    assert_eq!(
        (row.at, row.attempts, row.maybe_delivered),
        (later(100), 1, false)
    );
    // Twice, or any other round: nothing changes.
    let mut failed = sent(n, 2);
    failed.next = Next::Done(Ending::Failed(Reason::Refused));
    let again = db
        .record(&[settlement, failed], later(300), GRACE)
        .await
        .unwrap();
    assert_eq!(again, [Recording::Stale; 2]);
    assert_eq!(db.store.notification(n.id).await.unwrap().unwrap(), view);
    db.done().await;
}

#[tokio::test]
async fn a_round_that_waits_keeps_the_next_job_and_when_it_is_due() {
    let db = Db::new().await;
    let n = &db.accepted(1).await[0];
    let settlement = waits(n, 1);
    db.record(std::slice::from_ref(&settlement), later(0), GRACE)
        .await
        .unwrap();
    assert_eq!(
        db.store.states(&[n.id]).await.unwrap()[&n.id].status,
        Status::Pending
    );
    // 10 s of rung and 60 s of grace.
    assert!(db.due(Due::Overdue, later(69_999), 10).await.is_empty());
    let due = db.due(Due::Overdue, later(70_000), 10).await;
    let Next::Wait(_, next) = &settlement.next else {
        unreachable!()
    };
    assert_eq!(&due[0].job, next.as_ref());
    // A copy of round 1 is stale, round 2 is news and clears all of it.
    let answers = db
        .record(&[waits(n, 1), sent(n, 2)], later(80_000), GRACE)
        .await
        .unwrap();
    assert_eq!(answers, [Recording::Stale, Recording::Recorded]);
    assert!(db.due(Due::Overdue, later(10_000_000), 10).await.is_empty());
    let left = "SELECT COUNT(*) FROM notification_history \
                WHERE due_at IS NOT NULL OR next_job IS NOT NULL OR next_at IS NOT NULL";
    assert_eq!(db.one(left).await, 0);
    db.done().await;
}

#[tokio::test]
async fn a_round_that_is_put_off_waits_here_and_in_no_queue() {
    let db = Db::new().await;
    let n = &db.accepted(1).await[0];
    let until = later(3_600_000);
    let job = follow_up(n, 2);
    let settlement = Settlement {
        deliveries: Vec::new(),
        next: Next::Later(until, Box::new(job.clone())),
        ..waits(n, 1)
    };
    db.record(&[settlement], later(0), GRACE).await.unwrap();
    let just_before = later(3_599_999);
    assert!(db.due(Due::Timed, just_before, 10).await.is_empty());
    assert!(db.due(Due::Overdue, until, 10).await.is_empty());
    let due = db.due(Due::Timed, until, 10).await;
    assert_eq!(due[0].job, job);
    db.done().await;
}

#[tokio::test]
async fn a_job_and_its_copy_in_one_batch_count_once() {
    let db = Db::new().await;
    let n = db.accepted(2).await;
    let batch = [
        waits(&n[0], 1),
        sent(&n[1], 1),
        waits(&n[0], 1),
        sent(&n[0], 2),
        sent(&notification(1), 1),
    ];
    let answers = db.record(&batch, later(0), GRACE).await.unwrap();
    let [r, s] = [Recording::Recorded, Recording::Stale];
    assert_eq!(answers, [r, r, s, r, s]);
    let view = db.store.notification(n[0].id).await.unwrap().unwrap();
    assert_eq!(view.state.status, Status::Sent);
    assert_eq!(
        view.timeline
            .iter()
            .map(|e| e.step.as_str())
            .collect::<Vec<_>>(),
        [Step::Accepted, Step::Retry, Step::Settled].map(|step| step.as_str())
    );
    assert_eq!(
        db.one("SELECT COUNT(*) FROM notification_deliveries").await,
        2,
        "none for what does not exist"
    );
    db.done().await;
}

#[tokio::test]
async fn a_later_try_replaces_the_earlier_but_maybe_delivered_stays() {
    let db = Db::new().await;
    let n = &db.accepted(1).await[0];
    let mut first = waits(n, 1);
    first.deliveries[0].sent = Sent::Maybe;
    db.record(&[first], later(0), GRACE).await.unwrap();
    let mut second = sent(n, 2);
    second.deliveries[0].tries = 2;
    second.deliveries.push(delivery(
        7,
        Token::Expo(expo("x")),
        DeliveryOutcome::TokenDead,
    ));
    second
        .deliveries
        .push(delivery(8, Token::Fcm(fcm("b")), DeliveryOutcome::Refused));
    db.record(&[second], later(0), GRACE).await.unwrap();
    let view = db.store.notification(n.id).await.unwrap().unwrap();
    let told: Vec<_> = view
        .deliveries
        .iter()
        .map(|d| (d.registration.0, d.provider, d.outcome, d.maybe_delivered))
        .collect();
    assert_eq!(
        told,
        [
            (7, Provider::Fcm, DeliveryOutcome::Accepted, true),
            (7, Provider::Expo, DeliveryOutcome::TokenDead, false),
            (8, Provider::Fcm, DeliveryOutcome::Refused, false),
        ]
    );
    assert_eq!(
        (view.deliveries[0].attempts, &view.deliveries[0].error),
        (2, &None)
    );
    assert_eq!(
        view.deliveries[2].error.as_ref().unwrap().text,
        "overloaded – später 🕑"
    );
    db.done().await;
}

#[tokio::test]
async fn dead_tokens_are_off_in_the_same_transaction() {
    let db = Db::new().await;
    db.store
        .register(&registration(1, Some("d"), Some("a"), Some("x")), at(0))
        .await
        .unwrap();
    let n = db.accepted(2).await;
    let mut settlement = sent(&n[0], 1);
    settlement.deliveries = vec![delivery(
        1,
        Token::Fcm(fcm("a")),
        DeliveryOutcome::TokenDead,
    )];
    settlement.results = results(ProviderResult::Failed, ProviderResult::NotSent);
    settlement.next = Next::Done(Ending::Failed(Reason::InvalidTokens));
    let mut other = sent(&n[1], 1);
    other.deliveries[0].token = Token::Expo(expo("x"));
    db.record(&[settlement, other], later(200), GRACE)
        .await
        .unwrap();
    let found = db.store.customers(&[n[0].customer]).await.unwrap();
    let [device] = found[&n[0].customer].devices.as_slice() else {
        panic!()
    };
    assert_eq!((&device.fcm, &device.expo), (&None, &Some(expo("x"))));
    assert_eq!(found[&n[0].customer].version.0, 2, "it is a change");
    let state = db.store.states(&[n[0].id]).await.unwrap()[&n[0].id];
    assert_eq!(
        (state.status, state.reason),
        (Status::Failed, Some(Reason::InvalidTokens))
    );
    let view = db.store.notification(n[0].id).await.unwrap().unwrap();
    assert_eq!(view.completed_at, Some(later(200)));
    assert_eq!(db.sent_at(n[0].id).await, None);
    assert_eq!(view.deliveries[0].device_id.as_ref().unwrap().as_str(), "d");
    db.done().await;
}

#[tokio::test]
async fn the_books_balance() {
    let db = Db::new().await;
    assert_eq!(db.store.books(at(0)).await.unwrap(), Books::default());
    let n = db.accepted(5).await;
    let mut none = sent(&n[2], 1);
    none.next = Next::Done(Ending::Suppressed(Reason::NoActiveDevice));
    let mut refused = sent(&n[3], 1);
    refused.next = Next::Done(Ending::Failed(Reason::Refused));
    let batch = [sent(&n[0], 1), waits(&n[1], 1), none, refused];
    db.record(&batch, later(0), GRACE).await.unwrap();
    let mut expected = Books {
        accepted: 5,
        sent: 1,
        failed: 1,
        suppressed: 1,
        pending: 2,
        leaked: 0,
        overdue: 0,
    };
    let books = async |long_due| db.store.books(later(long_due)).await.unwrap();
    assert_eq!(books(60_000).await, expected);
    // The one that was accepted only is due then; the other after its rung and the grace.
    expected.overdue = 1;
    assert_eq!(books(60_001).await, expected);
    // One that has no time at all is never looked for.
    db.execute("UPDATE notification_history SET due_at = NULL WHERE status = 'pending'")
        .await;
    (expected.leaked, expected.overdue) = (2, 0);
    assert_eq!(books(0).await, expected);
    db.done().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_recording_the_same_jobs_at_once_count_each_once() {
    let db = Arc::new(Db::new().await);
    db.store
        .register(&registration(1, None, Some("a"), None), at(0))
        .await
        .unwrap();
    let n = Arc::new(db.accepted(100).await);
    let workers = (0..6).map(|worker: usize| {
        let (db, n) = (Arc::clone(&db), Arc::clone(&n));
        tokio::spawn(async move {
            let mut batch: Vec<_> = n.iter().map(|n| waits(n, 1)).collect();
            batch
                .iter_mut()
                .for_each(|s| s.deliveries[0].outcome = DeliveryOutcome::TokenDead);
            // Each in an order of its own: without order in the locks they would deadlock.
            batch.rotate_left(worker * 17);
            db.record(&batch, later(200), GRACE).await.unwrap()
        })
    });
    let answers = futures::future::join_all(workers).await;
    let recorded = answers
        .into_iter()
        .flat_map(Result::unwrap)
        .filter(|recording| *recording == Recording::Recorded)
        .count();
    assert_eq!(recorded, 100);
    let told = "SELECT COUNT(*) FROM notification_history WHERE round = 1 AND timeline LIKE '%again in%again in%'";
    assert_eq!(db.one(told).await, 0);
    Arc::into_inner(db).unwrap().done().await;
}

#[tokio::test]
async fn more_than_one_statement_holds() {
    let db = Db::new().await;
    let n = db.accepted(700).await;
    let batch: Vec<_> = n
        .iter()
        .map(|n| {
            if n.id.as_uuid().as_u128() % 2 == 0 {
                sent(n, 1)
            } else {
                gives_up(n, 1).0
            }
        })
        .collect();
    let answers = db.record(&batch, later(0), GRACE).await.unwrap();
    assert_eq!(answers, vec![Recording::Recorded; 700]);
    assert!(db.record(&[], later(0), GRACE).await.unwrap().is_empty());
    db.done().await;
}

/// Publishing again and putting back may go on for four weeks.
#[tokio::test]
async fn a_timeline_that_became_too_long_loses_its_middle_and_never_its_end() {
    let db = Db::new().await;
    let n = db.accepted(4).await;
    db.execute(
        r#"UPDATE notification_history SET timeline = CONCAT(timeline,
            REPEAT('{"at":"2030-01-01T00:00:00.000Z","step":"postponed","text":"Grüße 🚗, wait"}\n', 3500))"#,
    )
    .await;
    let bytes = "SELECT CAST(MAX(LENGTH(timeline)) AS SIGNED) FROM notification_history";
    assert!(db.one(bytes).await > 262_144);
    db.record(&[waits(&n[0], 1)], later(0), GRACE)
        .await
        .unwrap();
    db.record(&[sent(&n[0], 2)], later(0), GRACE).await.unwrap();
    let view = db.store.notification(n[0].id).await.unwrap().unwrap();
    let steps: Vec<&str> = view
        .timeline
        .iter()
        .map(|told| told.step.as_str())
        .collect();
    assert_eq!((steps[0], steps[1]), ("accepted", "postponed"));
    assert_eq!(steps[20], "left_out");
    assert_eq!(steps[steps.len() - 3..], ["postponed", "retry", "settled"]);
    let left_out = steps.iter().filter(|step| **step == "left_out");
    assert_eq!(left_out.count(), 1);
    assert!(steps.len() > 1_000, "{}", steps.len());
    let texts = view.timeline.iter().filter(|told| told.step == "postponed");
    assert!(texts.clone().all(|told| told.text == "Grüße 🚗, wait"));
    // The one and the many rows of a statement for some.
    db.record(&[sent(&n[1], 1)], later(0), GRACE).await.unwrap();
    let two = [sent(&n[2], 1), sent(&n[3], 1)];
    db.record(&two, later(0), GRACE).await.unwrap();
    for n in &n[1..] {
        let view = db.store.notification(n.id).await.unwrap().unwrap();
        let mut told = view.timeline.iter().map(|told| told.step.as_str());
        assert_eq!(told.next_back(), Some("settled"));
        assert_eq!(told.filter(|step| *step == "left_out").count(), 1);
    }
    assert!(db.one(bytes).await < 262_144);
    db.done().await;
}
