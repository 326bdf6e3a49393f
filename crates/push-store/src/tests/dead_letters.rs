use std::time::Duration;

use push_core::id::RegistrationId;
use push_core::job::{GiveUpReason, Job};
use push_core::provider::Provider;
use push_core::settle::DeliveryOutcome;
use push_core::status::{Ending, ProviderResult, Reason, Status};
use push_core::timeline::Step;

use super::Db;
use super::seed::{
    follow_up, given_up, gives_up, later, notification, results, sent, target, waits,
};
use crate::{DeadLetterId, DeadLetterRecord, Discard, Due, Kept, Replay};

const GRACE: Duration = Duration::from_secs(60);

fn letter(job: &Job, reason: GiveUpReason) -> DeadLetterRecord {
    DeadLetterRecord::Job {
        job: Box::new(job.clone()),
        reason,
    }
}

fn poison(bytes: &[u8]) -> DeadLetterRecord {
    DeadLetterRecord::Poison {
        bytes: bytes.to_vec(),
        why: "is not a JSON object".to_owned(),
    }
}

#[tokio::test]
async fn a_dead_letter_ends_its_notification_once() {
    let db = Db::new().await;
    let n = &db.accepted(1).await[0];
    let (settlement, mut job) = gives_up(n, 1);
    job.progress.given_up.push(given_up(8));
    db.record(&[settlement], later(0), GRACE).await.unwrap();
    assert_eq!(
        db.store.states(&[n.id]).await.unwrap()[&n.id].status,
        Status::Pending,
        "until it is kept"
    );
    // Twice in one batch, and once more.
    let batch = [
        letter(&job, GiveUpReason::Unprocessable),
        letter(&job, GiveUpReason::Unprocessable),
    ];
    let answers = db
        .store
        .record_dead_letters(&batch, later(500))
        .await
        .unwrap();
    assert_eq!(
        answers,
        [
            Kept::AndEnded(Ending::Failed(Reason::DeadLettered)),
            Kept::Not
        ]
    );
    let view = db.store.notification(n.id).await.unwrap().unwrap();
    assert_eq!(
        db.store
            .record_dead_letters(&batch, later(900))
            .await
            .unwrap(),
        [Kept::Not; 2]
    );
    assert_eq!(db.store.notification(n.id).await.unwrap().unwrap(), view);
    assert_eq!(
        (view.state.status, view.state.reason),
        (Status::Failed, Some(Reason::DeadLettered))
    );
    assert_eq!(
        (view.state.fcm, view.state.expo),
        (ProviderResult::Failed, ProviderResult::NotSent)
    );
    assert_eq!(
        (view.state.attempts, view.completed_at),
        (2, Some(later(500)))
    );
    assert_eq!(db.sent_at(view.id).await, None);
    assert_eq!(view.deliveries[0].outcome, DeliveryOutcome::DeadLettered);
    let steps: Vec<_> = view.timeline.iter().map(|e| e.step.as_str()).collect();
    assert_eq!(
        steps,
        [
            Step::Accepted,
            Step::DeadLettered,
            Step::DeadLettered,
            Step::Settled
        ]
        .map(|step| step.as_str())
    );
    assert!(db.due(Due::Overdue, later(10_000_000), 1).await.is_empty());
    assert_eq!(
        db.one("SELECT COUNT(*) FROM dead_letters").await,
        2,
        "one a target"
    );
    let kept = "SELECT COUNT(*) FROM dead_letters WHERE reason = 'operator_must_act' AND provider = 'fcm' \
                AND error_code = 'SENDER_ID_MISMATCH' AND attempts = 2 AND customer_id = 1 AND platform = 'ios'";
    assert_eq!(db.one(kept).await, 2);
    let jobs: Vec<String> = sqlx::query_scalar("SELECT job FROM dead_letters ORDER BY id")
        .fetch_all(&db.store.pool)
        .await
        .unwrap();
    for (kept, target) in jobs.iter().zip(&job.progress.given_up) {
        let mut alone = job.clone();
        alone.progress.given_up = vec![target.clone()];
        assert_eq!(Job::decode(kept.as_bytes()).unwrap(), alone);
    }
    db.done().await;
}

#[tokio::test]
async fn one_device_reached_is_sent_whatever_the_others_came_to() {
    let db = Db::new().await;
    let n = &db.accepted(1).await[0];
    let (_, mut job) = gives_up(n, 1);
    job.progress.results = results(ProviderResult::Success, ProviderResult::Failed);
    db.store
        .record_dead_letters(&[letter(&job, GiveUpReason::Unprocessable)], later(500))
        .await
        .unwrap();
    let view = db.store.notification(n.id).await.unwrap().unwrap();
    assert_eq!((view.state.status, view.state.reason), (Status::Sent, None));
    assert_eq!(db.sent_at(n.id).await, Some(later(500)));
    db.done().await;
}

#[tokio::test]
async fn a_copy_of_a_recorded_round_does_not_cut_off_its_successor() {
    let db = Db::new().await;
    let n = db.accepted(2).await;
    db.record(&[waits(&n[0], 1), sent(&n[1], 1)], later(0), GRACE)
        .await
        .unwrap();
    let copies = [follow_up(&n[0], 1), follow_up(&n[1], 1)]
        .map(|job| letter(&job, GiveUpReason::DeliveryLimit));
    let answers = db
        .store
        .record_dead_letters(&copies, later(500))
        .await
        .unwrap();
    assert_eq!(answers, [Kept::Not; 2]);
    assert_eq!(db.one("SELECT COUNT(*) FROM dead_letters").await, 0);
    assert_eq!(
        db.store.states(&[n[0].id]).await.unwrap()[&n[0].id].status,
        Status::Pending
    );
    db.done().await;
}

#[tokio::test]
async fn a_job_that_the_broker_gave_up_is_kept_as_a_whole() {
    let db = Db::new().await;
    let n = &db.accepted(1).await[0];
    db.record(&[waits(n, 1)], later(0), GRACE).await.unwrap();
    let mut job = follow_up(n, 2);
    job.targets = Some(vec![target(7)]);
    job.progress.given_up = vec![given_up(9)];
    db.store
        .record_dead_letters(&[letter(&job, GiveUpReason::DeliveryLimit)], later(500))
        .await
        .unwrap();
    let rows: Vec<(Option<u64>, String, String)> =
        sqlx::query_as("SELECT registration_id, reason, error_code FROM dead_letters ORDER BY id")
            .fetch_all(&db.store.pool)
            .await
            .unwrap();
    assert_eq!(
        rows[0],
        (
            Some(9),
            "operator_must_act".to_owned(),
            "SENDER_ID_MISMATCH".to_owned()
        )
    );
    assert_eq!(
        rows[1],
        (
            None,
            "delivery_limit".to_owned(),
            "delivery_limit".to_owned()
        )
    );
    let view = db.store.notification(n.id).await.unwrap().unwrap();
    assert_eq!(view.deliveries[0].registration, RegistrationId(7));
    assert_eq!(view.deliveries[0].provider, Provider::Fcm);
    assert_eq!(view.deliveries[0].outcome, DeliveryOutcome::DeadLettered);
    assert_eq!(view.state.reason, Some(Reason::DeadLettered));
    db.done().await;
}

#[tokio::test]
async fn poison_and_jobs_of_strangers_are_kept_once() {
    let db = Db::new().await;
    let stranger = letter(&follow_up(&notification(5), 1), GiveUpReason::Unprocessable);
    let long = vec![0xff; DeadLetterRecord::RAW_BYTES_MAX + 1];
    let batch = [
        stranger,
        poison(b"\xff\x00"),
        poison(&long),
        poison(b"\xff\x00"),
        poison(b""),
    ];
    for _ in 0..2 {
        let answers = db
            .store
            .record_dead_letters(&batch, later(0))
            .await
            .unwrap();
        assert_eq!(answers, [Kept::Only; 5]);
    }
    assert_eq!(db.one("SELECT COUNT(*) FROM dead_letters").await, 4);
    let (raw, bytes): (String, u32) =
        sqlx::query_as("SELECT raw, raw_bytes FROM dead_letters WHERE raw_bytes > 2")
            .fetch_one(&db.store.pool)
            .await
            .unwrap();
    assert_eq!(
        (raw.len(), bytes),
        (DeadLetterRecord::RAW_BYTES_MAX.div_ceil(3) * 4, 16_385)
    );
    assert!(
        !format!("{:?}", poison(b"secret")).contains("115"),
        "no bytes in logs"
    );
    db.done().await;
}

/// And who did what with the first one stays told.
#[tokio::test]
async fn poison_that_comes_again_after_it_was_handled_is_a_new_dead_letter() {
    let db = Db::new().await;
    let comes = async |ms| {
        db.store
            .record_dead_letters(&[poison(b"x")], later(ms))
            .await
            .unwrap();
        db.one("SELECT CAST(MAX(id) AS SIGNED) FROM dead_letters WHERE state = 'open'")
            .await
    };
    let id = |id: i64| DeadLetterId(u64::try_from(id).unwrap());
    let first = comes(0).await;
    assert_eq!(comes(10).await, first, "a copy");
    let discard = Discard {
        by: "ops".to_owned(),
        reason: "noise".to_owned(),
    };
    let discarded = db
        .store
        .discard_dead_letter(id(first), &discard, later(100));
    discarded.await.unwrap().unwrap();
    let second = comes(200).await;
    assert!(second > first);
    let replay = Replay {
        by: "ops".to_owned(),
        extend_ttl: None,
        due_after: GRACE,
    };
    let replayed = db.store.replay_dead_letter(id(second), &replay, later(300));
    replayed.await.unwrap().unwrap();
    let third = comes(400).await;
    assert!(third > second);
    assert_eq!(comes(500).await, third, "a copy");
    let told = "SELECT COUNT(*) FROM dead_letters WHERE discarded_by = 'ops' AND discard_reason = 'noise' \
                OR replayed_by = 'ops' AND replayed_at IS NOT NULL";
    assert_eq!(db.one(told).await, 2);
    db.done().await;
}

#[tokio::test]
async fn a_replay_that_fails_again_is_a_new_dead_letter() {
    let db = Db::new().await;
    let n = &db.accepted(1).await[0];
    let (_, first) = gives_up(n, 1);
    db.store
        .record_dead_letters(&[letter(&first, GiveUpReason::Unprocessable)], later(0))
        .await
        .unwrap();
    db.execute("UPDATE notification_history SET status = 'pending'")
        .await;
    let (_, second) = gives_up(n, 3);
    let answers = db
        .store
        .record_dead_letters(&[letter(&second, GiveUpReason::Unprocessable)], later(0))
        .await;
    assert_eq!(
        answers.unwrap(),
        [Kept::AndEnded(Ending::Failed(Reason::DeadLettered))]
    );
    assert_eq!(db.one("SELECT COUNT(*) FROM dead_letters").await, 2);
    db.done().await;
}
