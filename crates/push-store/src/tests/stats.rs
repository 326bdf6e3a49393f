use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use push_core::job::{GiveUpReason, Job};
use push_core::ladder::RetryDelay;
use push_core::notification::{Notification, NotificationType};
use push_core::outcome::{Cause, Outcome};
use push_core::provider::Provider;
use push_core::receipt::{Answer, Receipt, Rhythm};
use push_core::settle::{Next, Settlement};
use push_core::status::{Ending, ProviderResult, Reason};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::receipts::{taken_by_expo, ticket};
use super::recording::{RECEIPTS_AFTER, under};
use super::seed::{gives_up, later, notification, results, sent, waits};
use super::{Db, at};
use crate::{
    Claim, ClaimId, DeadLetterId, DeadLetterRecord, FiguresOf, Interval, Owner, Recording, Replay,
    Replayed, Store, UnknownCustomer,
};

const GRACE: Duration = Duration::from_secs(60);

type Rows = BTreeMap<(u16, u32, String), BTreeMap<String, i64>>;

impl Db {
    /// All that is added up.
    async fn counters(&self) -> Rows {
        let rows: Vec<(u16, u32, String, String)> = sqlx::query_as(
            "SELECT span, first_hour, notification_type, counts FROM notification_counters",
        )
        .fetch_all(&self.store.pool)
        .await
        .unwrap();
        rows.into_iter()
            .map(|(span, hour, kind, counts)| {
                ((span, hour, kind), serde_json::from_str(&counts).unwrap())
            })
            .collect()
    }

    async fn fold(&self) {
        while self.store.fold_counters(3).await.unwrap() > 0 {}
    }

    /// What the rows say, as the migration counts them that finds a history.
    async fn counted_anew(&self) -> Rows {
        self.execute("DELETE FROM notification_counters").await;
        self.execute("DELETE FROM notification_counter_changes")
            .await;
        self.execute("DELETE FROM _sqlx_migrations WHERE version = 12")
            .await;
        self.store.migrate().await.unwrap();
        self.counters().await
    }
}

/// A notification that is pending.
struct Waiting {
    notification: Notification,
    /// The round that comes next.
    round: u32,
    provider: Provider,
    /// The devices that have not got it.
    devices: Vec<u64>,
}

/// Somebody who makes random changes through a store of its own.
struct Actor {
    store: Store,
    dice: StdRng,
    pending: Vec<Waiting>,
    /// What Expo took.
    taken: Vec<(Notification, Vec<u64>)>,
    last: Option<(ClaimId, Vec<Settlement>)>,
}

impl Actor {
    async fn act(&mut self) {
        match self.dice.random_range(0..10) {
            0 | 1 => self.accept().await,
            2..=5 => self.record().await,
            6 => self.record_again().await,
            7 => self.receipt().await,
            8 => self.replay().await,
            _ => self.open().await,
        }
    }

    async fn accept(&mut self) {
        let count = self.dice.random_range(1..6);
        let batch: Vec<Notification> = (0..count).map(|_| self.notification()).collect();
        let due_at = later(60_000);
        self.store
            .accept(&batch, UnknownCustomer::Create, due_at)
            .await
            .unwrap();
        for notification in batch {
            let (provider, devices) = match self.dice.random_bool(0.5) {
                true => (Provider::Fcm, vec![7]),
                false => (Provider::Expo, vec![1, 2]),
            };
            self.pending.push(Waiting {
                notification,
                round: 1,
                provider,
                devices,
            });
        }
    }

    fn notification(&mut self) -> Notification {
        let hours = TimeDelta::hours(self.dice.random_range(-30..1));
        let kind = ["test", "status_changed", "a-b.c"][self.dice.random_range(0..3)];
        let mut notification = notification(self.dice.random_range(1..9));
        notification.kind = NotificationType::parse(kind).unwrap();
        notification.created_at =
            at(0) + hours - TimeDelta::milliseconds(self.dice.random_range(0..900));
        notification.expires_at = at(0) + TimeDelta::days(20);
        notification
    }

    async fn record(&mut self) {
        let count = self.dice.random_range(0..=self.pending.len().min(6));
        let some: Vec<_> = self.pending.drain(..count).collect();
        let mut letters = Vec::new();
        let mut settlements = Vec::new();
        for mut waiting in some {
            let (settlement, job) = self.settlement(&waiting);
            match settlement.next {
                Next::Wait(..) | Next::Later(..) => {
                    waiting.round += 1;
                    self.pending.push(waiting);
                }
                Next::DeadLetter(_) => letters.extend(job),
                Next::Done(_) if settlement.results.expo == ProviderResult::Success => {
                    self.taken.push((waiting.notification, waiting.devices));
                }
                Next::Done(_) => {}
            }
            settlements.push(settlement);
        }
        let now = self.now();
        let by = claim(&self.store, &settlements).await;
        let rounds = under(by, &settlements);
        let recorded = self
            .store
            .record(&rounds, now, GRACE, RECEIPTS_AFTER)
            .await
            .unwrap();
        assert!(
            recorded.iter().all(|one| *one == Recording::Recorded),
            "{recorded:?}"
        );
        self.last = Some((by, settlements));
        let letters: Vec<_> = letters
            .into_iter()
            .map(|job| DeadLetterRecord::Job {
                job: Box::new(job),
                reason: GiveUpReason::Unprocessable,
            })
            .collect();
        // A copy as well: it counts once.
        for _ in 0..2 {
            self.store.record_dead_letters(&letters, now).await.unwrap();
        }
    }

    fn settlement(&mut self, waiting: &Waiting) -> (Settlement, Option<Job>) {
        let (n, round) = (&waiting.notification, waiting.round);
        let mut none = sent(n, round);
        none.deliveries.clear();
        match (self.dice.random_range(0..6), waiting.provider) {
            (0, _) => {
                none.next = Next::Done(Ending::Suppressed(Reason::Expired));
                none.results = results(ProviderResult::NotSent, ProviderResult::NotSent);
                (none, None)
            }
            (1, _) => {
                none.next = Next::Done(Ending::Failed(Reason::InvalidTokens));
                none.results = results(ProviderResult::Failed, ProviderResult::NotSent);
                (none, None)
            }
            (2, _) => (waits(n, round), None),
            (3, Provider::Fcm) => {
                let (settlement, job) = gives_up(n, round);
                (settlement, Some(job))
            }
            (_, Provider::Fcm) => (sent(n, round), None),
            (_, Provider::Expo) => (taken_by_expo(n, round, &waiting.devices), None),
        }
    }

    /// The answer of the last record was lost.
    async fn record_again(&mut self) {
        if let Some((by, settlements)) = &self.last {
            let rounds = under(*by, settlements);
            self.store
                .record(&rounds, later(0), GRACE, RECEIPTS_AFTER)
                .await
                .unwrap();
        }
    }

    async fn receipt(&mut self) {
        if self.taken.is_empty() {
            return;
        }
        let (n, devices) = self
            .taken
            .swap_remove(self.dice.random_range(0..self.taken.len()));
        let cause = Cause::new("DeviceNotRegistered", "gone");
        let outcomes = [
            Outcome::TokenDead(cause.clone()),
            Outcome::operator_must_act(cause),
        ];
        let fails = Answer::Receipt(Receipt::Failed(
            outcomes[self.dice.random_range(0..2)].clone(),
        ));
        let failing = self.dice.random_range(1..=devices.len());
        let answers: Vec<_> = devices[..failing]
            .iter()
            .map(|device| (ticket(&n, *device), fails.clone()))
            .collect();
        let rhythm = Rhythm::starting_with(RetryDelay::parse("15m").unwrap()).unwrap();
        for _ in 0..2 {
            self.store
                .record_receipts(&answers, rhythm, later(9_000), GRACE)
                .await
                .unwrap();
        }
    }

    /// Any dead letter, of whomever: another actor may be at it as well.
    async fn replay(&mut self) {
        let open: Vec<u64> = sqlx::query_scalar("SELECT id FROM dead_letters WHERE state = 'open'")
            .fetch_all(&self.store.pool)
            .await
            .unwrap();
        if open.is_empty() {
            return;
        }
        let id = DeadLetterId(open[self.dice.random_range(0..open.len())]);
        let how = Replay {
            by: "ops".to_owned(),
            extend_ttl: None,
            due_after: GRACE,
        };
        let replayed = self
            .store
            .replay_dead_letter(id, &how, later(500))
            .await
            .unwrap();
        if let Ok(Replayed::Job(replayed)) = replayed {
            let targets = replayed.job.targets.unwrap();
            self.pending.push(Waiting {
                notification: replayed.job.notification,
                round: replayed.job.round,
                provider: targets[0].provider,
                devices: targets.iter().map(|target| target.registration.0).collect(),
            });
        }
    }

    /// Any, by whomever it was accepted.
    async fn open(&mut self) {
        let all: Vec<uuid::Uuid> =
            sqlx::query_scalar("SELECT notification_id FROM notification_history")
                .fetch_all(&self.store.pool)
                .await
                .unwrap();
        if !all.is_empty() {
            let id = all[self.dice.random_range(0..all.len())].into();
            self.store
                .opened(id, Owner::Anyone, later(200_000), later(0))
                .await
                .unwrap();
        }
    }

    fn now(&mut self) -> DateTime<Utc> {
        later(self.dice.random_range(0..100_000))
    }
}

async fn claim(store: &Store, settlements: &[Settlement]) -> ClaimId {
    let by = ClaimId::generate();
    let claims: Vec<_> = settlements
        .iter()
        .map(|settlement| Claim {
            notification: settlement.notification,
            round: settlement.round,
        })
        .collect();
    store.claim(by, &claims, GRACE).await.unwrap();
    by
}

/// Random changes, by several at once and while others add up: at every moment the books balance, and in the end all that
/// was counted is what the rows say.
#[tokio::test(flavor = "multi_thread")]
async fn the_figures_are_what_the_rows_say_whatever_happens_at_once() {
    let db = Arc::new(Db::new().await);
    let seed: u64 = rand::rng().random();
    let done = Arc::new(AtomicBool::new(false));
    let mut actors = Vec::new();
    for number in 0..4 {
        let mut actor = Actor {
            store: db.replica().await,
            dice: StdRng::seed_from_u64(seed.wrapping_add(number)),
            pending: Vec::new(),
            taken: Vec::new(),
            last: None,
        };
        actors.push(tokio::spawn(async move {
            for _ in 0..60 {
                actor.act().await;
            }
            actor.store.close().await;
        }));
    }
    let adding = |store: Store, done: Arc<AtomicBool>| async move {
        while !done.load(Ordering::Relaxed) {
            store.fold_counters(7).await.unwrap();
        }
    };
    let folders = [db.store.clone(), db.replica().await];
    let folders = folders.map(|store| tokio::spawn(adding(store, Arc::clone(&done))));
    let looking = {
        let (store, done) = (db.replica().await, Arc::clone(&done));
        tokio::spawn(async move {
            let mut looks = 0;
            while !done.load(Ordering::Relaxed) {
                let books = store.books(at(0)).await.unwrap();
                let ended = books.sent + books.failed + books.suppressed;
                assert_eq!(
                    books.accepted,
                    ended + books.pending,
                    "seed {seed}: {books:?}"
                );
                looks += 1;
            }
            looks
        })
    };
    let recounting = {
        let (store, done) = (db.replica().await, Arc::clone(&done));
        tokio::spawn(async move {
            for hour in (-31..1).cycle() {
                if done.load(Ordering::Relaxed) {
                    return;
                }
                let wrong = store.recount_hour(at(0) + TimeDelta::hours(hour)).await;
                assert_eq!(wrong.unwrap(), [], "seed {seed}");
            }
        })
    };
    for actor in actors {
        actor
            .await
            .unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    }
    done.store(true, Ordering::Relaxed);
    assert!(looking.await.unwrap() > 0);
    recounting.await.unwrap();
    for folder in folders {
        folder.await.unwrap();
    }
    db.fold().await;
    let counted = db.counters().await;
    let counters: std::collections::BTreeSet<_> = counted
        .values()
        .flatten()
        .map(|(counter, _)| {
            counter
                .split_once("took.")
                .map_or(counter.as_str(), |_| "took")
        })
        .collect();
    assert!(counters.len() > 5, "seed {seed}: {counters:?}");
    let rows = db.counted_anew().await;
    let of = |rows: &Rows, place| rows.get(place).cloned().unwrap_or_default();
    for place in counted.keys().chain(rows.keys()) {
        assert_eq!(
            of(&counted, place),
            of(&rows, place),
            "{place:?}, seed {seed}"
        );
    }
    Arc::into_inner(db).unwrap().done().await;
}

#[tokio::test]
async fn figures_are_told_by_hour_and_day_and_type_before_and_after_they_are_added_up() {
    let db = Db::new().await;
    let of = |hours: i64, kind: &str| {
        let mut n = notification(1);
        n.created_at = at(0) + TimeDelta::hours(hours);
        n.kind = NotificationType::parse(kind).unwrap();
        n
    };
    // at(0) is 14:13:20 of 2026-09-21.
    let all = [
        of(0, "a"),
        of(0, "b"),
        of(-14, "a"),
        of(-15, "a"),
        of(-60, "a"),
    ];
    db.store
        .accept(&all, UnknownCustomer::Create, at(0))
        .await
        .unwrap();
    let mut second = sent(&all[1], 1);
    second.deliveries[0].at = later(2_000);
    let mut refused = sent(&all[2], 1);
    refused.next = Next::Done(Ending::Failed(Reason::Refused));
    refused.deliveries.clear();
    db.record(&[sent(&all[0], 1), second, refused], later(1_000), GRACE)
        .await
        .unwrap();
    for _ in 0..2 {
        let time = |text: &str| -> DateTime<Utc> { text.parse().unwrap() };
        let (from, to) = (time("2026-09-20T00:00:00Z"), time("2026-09-22T00:00:00Z"));
        let days = db
            .store
            .figures(Interval::Day, from, to, false)
            .await
            .unwrap();
        let told: Vec<_> = days
            .iter()
            .map(|(of, figures)| {
                (
                    of.begin,
                    figures.accepted,
                    figures.sent,
                    figures.failed(),
                    figures.pending(),
                )
            })
            .collect();
        assert_eq!(
            told,
            [
                (from, 1, 0, 0, 1),
                (time("2026-09-21T00:00:00Z"), 3, 2, 1, 0)
            ]
        );
        let today = days.values().last().unwrap();
        assert_eq!(today.failed, [(Reason::Refused, 1)].into());
        assert_eq!((today.providers.fcm.success, today.took.count()), (3, 2));
        let fcm = &today.providers.get(Provider::Fcm).took;
        assert_eq!(
            (fcm.count(), fcm.percentile(50), fcm.percentile(99)),
            (2, Some(102), Some(1_951))
        );
        let hours = db
            .store
            .figures(Interval::Hour, from, to, true)
            .await
            .unwrap();
        let kinds: Vec<_> = hours
            .keys()
            .map(|FiguresOf { begin, kind }| (begin.to_rfc3339(), kind.clone().unwrap()))
            .collect();
        let expected = [
            ("2026-09-20T23:00:00+00:00", "a"),
            ("2026-09-21T00:00:00+00:00", "a"),
            ("2026-09-21T14:00:00+00:00", "a"),
            ("2026-09-21T14:00:00+00:00", "b"),
        ];
        let expected = expected.map(|(begin, kind)| (begin.to_owned(), kind.to_owned()));
        assert_eq!(kinds, expected);
        db.fold().await;
        assert_eq!(
            db.one("SELECT COUNT(*) FROM notification_counter_changes")
                .await,
            0
        );
    }
    db.done().await;
}

#[tokio::test]
async fn what_was_changed_behind_the_figures_is_counted_anew() {
    let db = Db::new().await;
    assert_eq!(db.store.figures_begin().await.unwrap(), None);
    let n = db.accepted(3).await;
    db.record(&[sent(&n[0], 1)], later(1_000), GRACE)
        .await
        .unwrap();
    db.fold().await;
    let before = db.counters().await;
    assert_eq!(db.store.recount_hour(at(0)).await.unwrap(), []);
    // As a program that does not count: one more is there, another one has ended.
    let more = "INSERT INTO notification_history (notification_id, customer_id, notification_type, title, body, created_at) \
                SELECT UNHEX(REPEAT('ab', 16)), customer_id, 'other', title, body, created_at FROM notification_history LIMIT 1";
    db.execute(more).await;
    // The one that was accepted second.
    let ended = "UPDATE notification_history SET status = 'failed', reason = 'refused', fcm_result = 'failed', \
                 expo_result = 'not_sent' WHERE status = 'pending' AND notification_type <> 'other' ORDER BY id LIMIT 1";
    db.execute(ended).await;
    assert!(db.store.books(at(0)).await.unwrap().accepted < 4);
    let begin = db.store.figures_begin().await.unwrap().unwrap();
    assert!(begin <= at(0) && at(0) < begin + TimeDelta::hours(1));
    let corrections = db.store.recount_hour(at(0)).await.unwrap();
    let told: Vec<_> = corrections.iter().map(ToString::to_string).collect();
    let hour = begin.format("%Y-%m-%dT%H:%MZ");
    assert_eq!(
        told,
        [
            format!("{hour} other: accepted +1"),
            format!("{hour} status_changed: failed.refused +1 fcm.failed +1"),
        ]
    );
    assert_eq!(db.store.recount_hour(at(0)).await.unwrap(), [], "only once");
    db.fold().await;
    let after = db.counters().await;
    assert_ne!(after, before);
    assert_eq!(after, db.counted_anew().await);
    db.done().await;
}

/// A counter that only a newer program knows is added up all the same.
#[tokio::test]
async fn what_a_newer_program_counts_is_kept() {
    let db = Db::new().await;
    for n in [2, 3] {
        sqlx::query("INSERT INTO notification_counter_changes (changes) VALUES (?)")
            .bind(format!(
                r#"[{{"hour":497222,"type":"a","counts":{{"seen.twice":{n},"accepted":1}}}}]"#
            ))
            .execute(&db.store.pool)
            .await
            .unwrap();
    }
    assert_eq!(db.store.books(at(0)).await.unwrap().accepted, 2);
    db.fold().await;
    assert_eq!(db.store.books(at(0)).await.unwrap().accepted, 2);
    let ever = db.counters().await;
    assert_eq!(ever[&(0, 0, "a".to_owned())]["seen.twice"], 5);
    assert_eq!(ever.len(), 3);
    db.done().await;
}
