use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use push_core::id::RegistrationId;
use push_core::job::{GiveUpReason, Job};
use push_core::notification::{CollapseKey, Notification};
use push_core::outcome::Sent;
use push_core::provider::Provider;
use push_core::settle::DeliveryOutcome;
use push_core::status::{ProviderResult, Status};
use push_core::token::Token;

use super::Db;
use super::seed::{
    delivery, fcm, follow_up, given_up, gives_up, later, notification, results, sent, waits,
};
use crate::{
    Cancelling, DeadLetterId, DeadLetterRecord, Discard, Due, Refusal, Replay, Replayed,
    ReplayedJob, UnknownCustomer,
};

const GRACE: Duration = Duration::from_secs(60);

fn by(name: &str) -> Replay {
    Replay {
        by: name.to_owned(),
        extend_ttl: None,
        due_after: GRACE,
    }
}

fn for_a_minute_more() -> Replay {
    Replay {
        extend_ttl: Some(Duration::from_secs(60)),
        ..by("ops")
    }
}

fn discard() -> Discard {
    Discard {
        by: "ops".to_owned(),
        reason: "known".to_owned(),
    }
}

impl Db {
    /// Given up for the devices 7 and 8; their letters.
    async fn dead(&self, n: &Notification) -> Vec<DeadLetterId> {
        let (settlement, mut job) = gives_up(n, 1);
        job.progress.given_up.push(given_up(8));
        self.record(&[settlement], later(0), GRACE).await.unwrap();
        self.keep(&job).await;
        self.letters().await
    }

    async fn keep(&self, job: &Job) {
        let letter = DeadLetterRecord::Job {
            job: Box::new(job.clone()),
            reason: GiveUpReason::Unprocessable,
        };
        let kept = self.store.record_dead_letters(&[letter], later(10)).await;
        kept.unwrap();
    }

    async fn letters(&self) -> Vec<DeadLetterId> {
        let ids: Vec<u64> = sqlx::query_scalar("SELECT id FROM dead_letters ORDER BY id")
            .fetch_all(&self.store.pool)
            .await
            .unwrap();
        ids.into_iter().map(DeadLetterId).collect()
    }

    async fn replay(
        &self,
        id: DeadLetterId,
        how: &Replay,
        now: DateTime<Utc>,
    ) -> Result<Replayed, Refusal> {
        let replayed = self.store.replay_dead_letter(id, how, now).await;
        replayed.unwrap()
    }
}

fn job(replayed: Result<Replayed, Refusal>) -> ReplayedJob {
    match replayed {
        Ok(Replayed::Job(job)) => job,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_replay_makes_the_notification_pending_and_due_with_the_job_of_that_target() {
    let db = Db::new().await;
    let n = &db.accepted(1).await[0];
    let ids = db.dead(n).await;
    let replayed = job(db.replay(ids[0], &by("ops"), later(500)).await);
    assert_eq!(replayed.was, Status::Failed);
    let job = replayed.job;
    assert_eq!((job.round, job.notification.id), (3, n.id));
    let targets = job.targets.clone().unwrap();
    assert_eq!(targets.len(), 1);
    assert_eq!(
        (
            targets[0].registration,
            targets[0].provider,
            targets[0].tries
        ),
        (RegistrationId(7), Provider::Fcm, 0)
    );
    let view = db.store.notification(n.id).await.unwrap().unwrap();
    assert_eq!(
        (view.state.status, view.state.reason, view.completed_at),
        (Status::Pending, None, None)
    );
    let told = view.timeline.last().unwrap();
    assert_eq!(told.step, "replayed");
    assert!(
        told.text.starts_with("replayed by ops: fcm …"),
        "{}",
        told.text
    );
    // Should nobody publish it, the reconciler finds the same job.
    let at_last = later(500) + TimeDelta::from_std(GRACE).unwrap();
    let due = db.due(Due::Overdue, at_last, 10).await;
    assert_eq!(due.len(), 1);
    assert_eq!(due[0].job, *job);
    let early = at_last - TimeDelta::milliseconds(1);
    assert!(db.due(Due::Overdue, early, 10).await.is_empty());
    let books = db.store.books(later(0)).await.unwrap();
    assert_eq!((books.pending, books.leaked), (1, 0));
    let audit = "SELECT COUNT(*) FROM dead_letters WHERE replayed_by = 'ops' AND state = 'replayed' \
                 AND replayed_at = '2026-09-21 14:13:20.500' AND registration_id = 7";
    assert_eq!(db.one(audit).await, 1);
    db.done().await;
}

#[tokio::test]
async fn who_comes_second_replays_nothing() {
    let db = Db::new().await;
    let n = &db.accepted(1).await[0];
    let ids = db.dead(n).await;
    let other = db.replica().await;
    let (ops, night) = (by("ops"), by("night"));
    let answers = futures::future::join_all((0..8).map(|who| {
        let (store, how) = if who % 2 == 0 {
            (&db.store, &ops)
        } else {
            (&other, &night)
        };
        store.replay_dead_letter(ids[0], how, later(500))
    }));
    let answers: Vec<_> = answers.await.into_iter().map(Result::unwrap).collect();
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
    let refused = answers
        .iter()
        .filter(|answer| **answer == Err(Refusal::AlreadyReplayed));
    assert_eq!(refused.count(), 7);
    // The other letter of the same notification waits for its turn.
    assert_eq!(
        db.replay(ids[1], &by("ops"), later(600)).await,
        Err(Refusal::Pending)
    );
    db.record(&[sent(n, 3)], later(700), GRACE).await.unwrap();
    let again = job(db.replay(ids[1], &by("ops"), later(800)).await);
    assert_eq!(again.was, Status::Sent);
    assert_eq!(again.job.round, 4);
    assert_eq!(
        again.job.targets.unwrap()[0].registration,
        RegistrationId(8)
    );
    assert_eq!(
        again.job.progress.results,
        results(ProviderResult::Success, ProviderResult::NotSent),
        "as the notification stands now, not as it stood when the job was given up"
    );
    assert_eq!(db.sent_at(n.id).await, Some(later(700)));
    db.record(&[sent(n, 4)], later(900), GRACE).await.unwrap();
    assert_eq!(db.sent_at(n.id).await, Some(later(700)), "it was sent then");
    other.close().await;
    db.done().await;
}

#[tokio::test]
async fn a_copy_of_what_was_given_up_is_stale_after_the_replay() {
    let db = Db::new().await;
    let n = &db.accepted(1).await[0];
    let ids = db.dead(n).await;
    let (_, dead) = gives_up(n, 1);
    job(db.replay(ids[0], &by("ops"), later(500)).await);
    db.keep(&dead).await;
    assert_eq!(db.letters().await.len(), 2, "nothing new");
    let view = db.store.notification(n.id).await.unwrap().unwrap();
    assert_eq!(view.state.status, Status::Pending, "not cut off");
    assert!(
        db.record(&[waits(n, 2)], later(600), GRACE).await.unwrap()[0] == crate::Recording::Stale
    );
    db.done().await;
}

#[tokio::test]
async fn what_may_have_been_delivered_goes_through_no_other_provider() {
    let db = Db::new().await;
    let n = &db.accepted(1).await[0];
    let (mut settlement, job_) = gives_up(n, 1);
    let mut maybe = delivery(7, Token::Fcm(fcm("a")), DeliveryOutcome::Retry);
    maybe.sent = Sent::Maybe;
    settlement.deliveries = vec![maybe];
    db.record(&[settlement], later(0), GRACE).await.unwrap();
    db.keep(&job_).await;
    let id = db.letters().await[0];
    let replayed = job(db.replay(id, &by("ops"), later(500)).await);
    assert_eq!(replayed.job.targets.unwrap()[0].sent, Sent::Maybe);
    db.done().await;
}

#[tokio::test]
async fn what_cannot_be_replayed_says_why_and_stays_as_it_is() {
    let db = Db::new().await;
    let n = db.accepted(4).await;
    let mut ids = Vec::new();
    for n in &n {
        ids = db.dead(n).await;
    }
    let of = |index: usize| ids[2 * index];
    let late = n[0].expires_at;
    assert_eq!(
        db.replay(of(0), &by("ops"), late).await,
        Err(Refusal::Expired)
    );
    assert_eq!(
        db.replay(DeadLetterId(999), &by("ops"), late).await,
        Err(Refusal::Unknown)
    );
    let extended = job(db.replay(of(0), &for_a_minute_more(), late).await);
    assert_eq!(
        extended.job.notification.expires_at,
        late + TimeDelta::minutes(1)
    );
    let view = db.store.notification(n[0].id).await.unwrap().unwrap();
    assert_eq!(view.expires_at, Some(late + TimeDelta::minutes(1)));
    let told = &view.timeline.last().unwrap().text;
    assert!(
        told.ends_with("to be sent before 2026-09-21T15:14:20.000Z"),
        "{told}"
    );

    let discarded = db
        .store
        .discard_dead_letter(of(1), &discard(), later(500))
        .await;
    assert_eq!(discarded.unwrap(), Ok(()));
    let again = db
        .store
        .discard_dead_letter(of(1), &discard(), later(600))
        .await;
    assert_eq!(again.unwrap(), Err(Refusal::AlreadyDiscarded));
    assert_eq!(
        db.replay(of(1), &by("ops"), later(600)).await,
        Err(Refusal::AlreadyDiscarded)
    );
    let replayed = db
        .store
        .discard_dead_letter(of(0), &discard(), later(600))
        .await;
    assert_eq!(replayed.unwrap(), Err(Refusal::AlreadyReplayed));
    let audit = "SELECT COUNT(*) FROM dead_letters WHERE state = 'discarded' AND discarded_by = 'ops' \
                 AND discard_reason = 'known' AND discarded_at = '2026-09-21 14:13:20.500'";
    assert_eq!(db.one(audit).await, 1);

    sqlx::query("UPDATE notification_history SET title = '', body = '', data = NULL WHERE notification_id = ?")
        .bind(n[2].id.as_uuid())
        .execute(&db.store.pool)
        .await
        .unwrap();
    assert_eq!(
        db.replay(of(2), &by("ops"), later(500)).await,
        Err(Refusal::ContentGone)
    );
    sqlx::query("UPDATE dead_letters SET job = '{\"v\":2}' WHERE id = ?")
        .bind(of(3).0)
        .execute(&db.store.pool)
        .await
        .unwrap();
    assert_eq!(
        db.replay(of(3), &by("ops"), later(500)).await,
        Err(Refusal::Unreadable)
    );

    let stranger = DeadLetterRecord::Job {
        job: Box::new(follow_up(&notification(5), 1)),
        reason: GiveUpReason::Unprocessable,
    };
    let poison = |bytes: usize| DeadLetterRecord::Poison {
        bytes: vec![b'x'; bytes],
        why: "is not a JSON object".to_owned(),
    };
    let whole = DeadLetterRecord::RAW_BYTES_MAX;
    let odd = [stranger, poison(whole), poison(whole + 1)];
    db.store.record_dead_letters(&odd, later(10)).await.unwrap();
    let ids = &db.letters().await[8..];
    assert_eq!(
        db.replay(ids[0], &by("ops"), later(500)).await,
        Err(Refusal::UnknownNotification)
    );
    assert_eq!(
        db.replay(ids[1], &by("ops"), later(500)).await,
        Ok(Replayed::Bytes)
    );
    let due = "SELECT COUNT(*) FROM dead_letters WHERE bytes_due_at = '2026-09-21 14:13:20.500'";
    assert_eq!(db.one(due).await, 1);
    assert_eq!(
        db.replay(ids[2], &by("ops"), later(500)).await,
        Err(Refusal::IncompleteBytes)
    );
    let untouched = "SELECT COUNT(*) FROM dead_letters WHERE state = 'open'";
    assert_eq!(db.one(untouched).await, 8 - 2 + 2);
    db.done().await;
}

#[tokio::test]
async fn who_was_interrupted_may_have_sent_it() {
    let db = Db::new().await;
    let n = &db.accepted(1).await[0];
    // A worker has it in hand; the broker gives the job up.
    let claim = crate::ClaimId::generate();
    let round = crate::Claim {
        notification: n.id,
        round: 1,
    };
    db.store
        .claim(claim, &[round], Duration::ZERO)
        .await
        .unwrap();
    db.keep(&follow_up(n, 1)).await;
    let id = db.letters().await[0];
    let replayed = job(db.replay(id, &by("ops"), later(500)).await);
    assert_eq!((replayed.job.targets, replayed.job.round), (None, 2));
    let next = crate::Claim {
        notification: n.id,
        round: 2,
    };
    let claimed = db
        .store
        .claim(crate::ClaimId::generate(), &[next], GRACE)
        .await;
    let claimed = claimed.unwrap()[&n.id];
    assert!(claimed.claimed.ours);
    assert_eq!(claimed.claimed.interruptions, 1);
    db.done().await;
}

#[tokio::test]
async fn what_was_cancelled_while_it_was_replayed_is_not_replayed_again() {
    let db = Db::new().await;
    let n = db.accepted(1).await.remove(0);
    let ids = db.dead(&n).await;
    job(db.replay(ids[0], &by("ops"), later(500)).await);
    let cancelled = db.store.cancel(n.id, "desk", later(600)).await.unwrap();
    assert!(matches!(cancelled, Cancelling::Now(_)), "{cancelled:?}");
    assert_eq!(
        db.replay(ids[1], &by("ops"), later(700)).await,
        Err(Refusal::Cancelled)
    );
    db.done().await;
}

/// "On the way" is not shown after "completed", not even by an admin, and long after both.
#[tokio::test]
async fn what_a_newer_one_has_taken_the_place_of_is_not_replayed() {
    let db = Db::new().await;
    let key = |name: &str| Some(CollapseKey::parse(name).unwrap());
    let of = |name: &str| Notification {
        collapse_key: key(name),
        ..notification(1)
    };
    let all = [of("booking-1"), of("booking-2"), of("booking-1")];
    db.store
        .accept(&all, UnknownCustomer::Create, later(60_000))
        .await
        .unwrap();
    let mut ids = Vec::new();
    for one in &all {
        ids = db.dead(one).await;
    }
    db.execute("DELETE FROM collapse_heads").await;
    assert_eq!(
        db.replay(ids[0], &by("ops"), later(500)).await,
        Err(Refusal::Superseded)
    );
    job(db.replay(ids[2], &by("ops"), later(500)).await);
    job(db.replay(ids[4], &by("ops"), later(500)).await);
    db.done().await;
}
