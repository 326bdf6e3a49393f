use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{TimeDelta, Utc};
use push_core::id::CustomerId;
use push_core::job::GiveUpReason;
use push_core::notification::{ImageUrl, Notification};
use push_core::token::Token;
use push_seal::{KeyId, Keyring};
use sqlx::AssertSqlSafe;

use super::recording::under;
use super::seed::{customer, expo, fcm, gives_up, later, notification, registration, sent, waits};
use super::{Db, settings};
use crate::{
    Claim, ClaimId, DeadLetterId, DeadLetterRecord, Due, How, OperationState, Refusal, Replay,
    Resealed, Step, Store, StoreError, StoreSettings, Unavailable, UnknownCustomer,
};

const GRACE: Duration = Duration::from_secs(60);
const A: &str = "a:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const B: &str = "b:BAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const OTHER_A: &str = "a:BAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// What must not be seen at rest, of [`told_all`].
const SECRETS: [&str; 7] = [
    "Technician is on",
    "has started",
    "bookingId",
    "https://example.com/a-picture.png",
    "APA91b",
    "ExponentPushToken",
    // The same bytes in base64, as unreadable messages are kept.
    "dGhlIHNlY3JldCBvZi",
];

impl Db {
    /// A program with these keys.
    async fn keyed(&self, keys: &str) -> Store {
        let settings = settings(&format!("{}/{}", self.server, self.name));
        let keys = Keyring::parse(keys).unwrap();
        Store::connect(&StoreSettings { keys, ..settings })
            .await
            .unwrap()
    }

    /// Whatever of the secrets stands anywhere in the database.
    async fn seen_at_rest(&self) -> Vec<String> {
        let columns: Vec<(String, String)> = sqlx::query_as(
            "SELECT CAST(table_name AS CHAR), CAST(column_name AS CHAR) FROM information_schema.columns \
             WHERE table_schema = DATABASE()",
        )
        .fetch_all(&self.store.pool)
        .await
        .unwrap();
        assert!(columns.len() > 100);
        let mut tables: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (table, column) in columns {
            let column = format!("CAST({column} AS BINARY)");
            tables.entry(table).or_default().push(column);
        }
        let mut seen = Vec::new();
        for (table, columns) in tables {
            let columns = columns.join(", ");
            for secret in SECRETS {
                let sql = format!(
                    "SELECT COUNT(*) FROM {table} WHERE INSTR(CONCAT_WS('|', {columns}), ?) > 0"
                );
                let rows: i64 = sqlx::query_scalar(AssertSqlSafe(sql))
                    .bind(secret.as_bytes())
                    .fetch_one(&self.store.pool)
                    .await
                    .unwrap();
                if rows > 0 {
                    seen.push(format!("{table}: {secret}"));
                }
            }
        }
        seen
    }

    /// Nobody has written for an hour.
    async fn an_hour_passes(&self) {
        self.execute("UPDATE encryption_keys SET used_at = used_at - INTERVAL 1 HOUR")
            .await;
    }
}

fn of(customer: i64) -> Notification {
    let mut notification = notification(customer);
    notification.content.image_url =
        Some(ImageUrl::parse("https://example.com/a-picture.png").unwrap());
    notification
}

async fn record(store: &Store, settlements: &[push_core::settle::Settlement]) {
    let by = ClaimId::generate();
    let claims = settlements.iter().map(|settlement| Claim {
        notification: settlement.notification,
        round: settlement.round,
    });
    let claims: Vec<_> = claims.collect();
    store.claim(by, &claims, GRACE).await.unwrap();
    store
        .record(&under(by, settlements), later(0), GRACE, GRACE)
        .await
        .unwrap();
}

/// Everything that holds a token or content: devices, four notifications (new, waiting for a retry, sent, given up), two
/// dead letters.
async fn told_all(store: &Store, id: i64) -> Vec<Notification> {
    let name = format!("device{id}");
    let registration = registration(id, Some(&name), Some(&name), Some(&name));
    store.register(&registration, later(0)).await.unwrap();
    let all: Vec<_> = (0..4).map(|_| of(id)).collect();
    store
        .accept(&all, UnknownCustomer::Create, later(60_000))
        .await
        .unwrap();
    let (gives_up, job) = gives_up(&all[3], 1);
    record(store, &[waits(&all[1], 1), sent(&all[2], 1), gives_up]).await;
    let letters = [
        DeadLetterRecord::Job {
            job: Box::new(job),
            reason: GiveUpReason::OperatorMustAct,
        },
        DeadLetterRecord::Poison {
            bytes: format!("the secret of {id}").into_bytes(),
            why: "is not a JSON object".to_owned(),
        },
    ];
    store
        .record_dead_letters(&letters, later(100 + id))
        .await
        .unwrap();
    all
}

/// All of it is there, as it was.
async fn is_all_there(store: &Store, id: i64, all: &[Notification]) {
    for notification in all {
        let view = store.notification(notification.id).await.unwrap().unwrap();
        let (kept, was) = (view.content, &notification.content);
        assert_eq!(
            (kept.title.as_str(), kept.body.as_str(), &kept.data),
            (was.title.as_str(), was.body.as_str(), &was.data)
        );
        assert_eq!(
            kept.image_url.as_deref(),
            was.image_url.as_ref().map(ImageUrl::as_str)
        );
    }
    let id: CustomerId = customer(id);
    let devices = store.customers(&[id]).await.unwrap()[&id].devices.clone();
    let name = format!("device{id}");
    let tokens = devices
        .into_iter()
        .map(|device| (device.fcm, device.expo))
        .collect::<Vec<_>>();
    assert_eq!(tokens, [(Some(fcm(&name)), Some(expo(&name)))]);
    let due = store
        .take_due(Due::Overdue, later(10_000_000), later(60_000), 100)
        .await
        .unwrap();
    for notification in &all[..2] {
        assert!(
            due.jobs
                .iter()
                .any(|due| due.job.notification == *notification),
            "the job that comes next"
        );
    }
}

#[tokio::test]
async fn with_keys_nothing_at_rest_shows_a_token_or_content() {
    let db = Db::new().await;
    let clear = db.keyed("").await;
    let all = told_all(&clear, 1).await;
    assert!(
        db.seen_at_rest().await.len() >= SECRETS.len(),
        "the test sees what is clear"
    );
    for table in [
        "customer_push_tokens",
        "notification_history",
        "dead_letters",
    ] {
        let sql = format!("DELETE FROM {table}");
        sqlx::query(AssertSqlSafe(sql))
            .execute(&db.store.pool)
            .await
            .unwrap();
    }
    drop(all);
    let sealing = db.keyed(A).await;
    let all = told_all(&sealing, 1).await;
    assert_eq!(db.seen_at_rest().await, [""; 0]);
    is_all_there(&sealing, 1, &all).await;
    let filter = crate::HistoryFilter::default();
    let listed = sealing.history(&filter, None, 10).await.unwrap();
    assert!(
        listed
            .iter()
            .all(|item| item.notification.content.title.starts_with("Technician"))
    );
    // A replay makes the same job again, and keeps it sealed; bytes come out as they were.
    let letters: Vec<u64> = sqlx::query_scalar("SELECT id FROM dead_letters ORDER BY id")
        .fetch_all(&db.store.pool)
        .await
        .unwrap();
    let how = Replay {
        by: "x".to_owned(),
        extend_ttl: None,
        due_after: GRACE,
    };
    let mut replayed = Vec::new();
    for letter in &letters {
        let letter = DeadLetterId(*letter);
        replayed.push(
            sealing
                .replay_dead_letter(letter, &how, later(200))
                .await
                .unwrap(),
        );
    }
    assert!(replayed.iter().all(Result::is_ok), "{replayed:?}");
    assert_eq!(
        sealing.due_bytes(later(300), 9).await.unwrap()[0].bytes,
        b"the secret of 1"
    );
    let details = sealing
        .dead_letter(DeadLetterId(letters[1]))
        .await
        .unwrap()
        .unwrap();
    assert!(
        details
            .bytes
            .unwrap()
            .base64
            .starts_with("dGhlIHNlY3JldCBvZi")
    );
    assert_eq!(db.seen_at_rest().await, [""; 0]);
    is_all_there(&sealing, 1, &all).await;
    let off = sealing
        .switch_off(&[crate::DeadToken {
            token: Token::Fcm(fcm("device1")),
            at: later(0),
        }])
        .await
        .unwrap();
    assert_eq!(off.len(), 1, "a token is found by its hash");
    db.done().await;
}

#[tokio::test]
async fn what_was_kept_clear_stays_readable() {
    let db = Db::new().await;
    let all = told_all(&db.keyed("").await, 1).await;
    is_all_there(&db.keyed(A).await, 1, &all).await;
    db.done().await;
}

#[tokio::test]
async fn a_value_that_was_moved_to_another_row_is_none() {
    let db = Db::new().await;
    let sealing = db.keyed(A).await;
    let all = told_all(&sealing, 1).await;
    told_all(&sealing, 2).await;
    db.execute(
        "UPDATE customer_push_tokens AS one JOIN customer_push_tokens AS other ON one.id <> other.id \
         SET one.fcm_token = other.fcm_token, one.expo_push_token = NULL WHERE one.customer_id = 1",
    )
    .await;
    db.execute(
        "UPDATE notification_history AS one JOIN notification_history AS other \
            ON other.customer_id = 2 AND other.next_job IS NOT NULL \
         SET one.sealed = other.sealed, one.next_job = other.next_job WHERE one.customer_id = 1",
    )
    .await;
    let one = customer(1);
    let customers = sealing.customers(&[one]).await.unwrap();
    assert!(
        customers[&one].devices.is_empty(),
        "no push goes to another's phone"
    );
    let view = sealing.notification(all[0].id).await;
    assert!(
        matches!(
            view,
            Err(StoreError::Corrupt {
                column: "sealed",
                ..
            })
        ),
        "{view:?}"
    );
    let due = sealing
        .take_due(Due::Overdue, later(10_000_000), later(0), 100)
        .await
        .unwrap();
    assert!(
        due.jobs
            .iter()
            .all(|due| due.job.notification.customer != one)
    );
    db.done().await;
}

#[tokio::test]
async fn what_was_moved_to_another_dead_letter_is_not_replayed() {
    let db = Db::new().await;
    let sealing = db.keyed(A).await;
    told_all(&sealing, 1).await;
    told_all(&sealing, 2).await;
    for moved in [
        "UPDATE dead_letters AS one JOIN dead_letters AS other ON other.id > one.id AND other.job IS NOT NULL \
         SET one.job = other.job WHERE one.job IS NOT NULL",
        "UPDATE dead_letters AS one JOIN dead_letters AS other ON other.id > one.id AND other.raw IS NOT NULL \
         SET one.raw = other.raw WHERE one.raw IS NOT NULL",
    ] {
        db.execute(moved).await;
    }
    let letters: Vec<u64> = sqlx::query_scalar("SELECT id FROM dead_letters ORDER BY id")
        .fetch_all(&db.store.pool)
        .await
        .unwrap();
    let how = Replay {
        by: "x".to_owned(),
        extend_ttl: None,
        due_after: GRACE,
    };
    let mut replayed = Vec::new();
    for letter in letters {
        let id = DeadLetterId(letter);
        let answer = sealing.replay_dead_letter(id, &how, later(300)).await;
        replayed.push(answer.unwrap().err());
    }
    let (job, bytes) = (Some(Refusal::Unreadable), Some(Refusal::IncompleteBytes));
    assert_eq!(replayed, [job, bytes, None, None]);
    db.done().await;
}

#[tokio::test]
async fn a_program_without_a_key_is_told_which_and_nothing_is_lost() {
    let db = Db::new().await;
    let sealing = db.keyed(A).await;
    sealing.use_keys().await.unwrap();
    let all = told_all(&sealing, 1).await;
    let a = KeyId::parse("a").unwrap();
    for (keys, why) in [
        ("", Unavailable::KeyMissing(a)),
        (B, Unavailable::KeyMissing(a)),
        (OTHER_A, Unavailable::KeyDiffers(a)),
    ] {
        let told = db.keyed(keys).await.use_keys().await;
        assert_eq!(told, Err(StoreError::Unavailable(why)), "{keys}");
    }
    assert_eq!(
        db.one("SELECT COUNT(*) FROM encryption_keys WHERE key_id = 'b'")
            .await,
        0,
        "what cannot open does not begin to seal"
    );
    // Whatever it asks for all the same waits for the key.
    let without = db.keyed(B).await;
    let missing = StoreError::Unavailable(Unavailable::KeyMissing(a));
    assert_eq!(
        without.customers(&[customer(1)]).await.unwrap_err(),
        missing
    );
    assert_eq!(without.notification(all[0].id).await.unwrap_err(), missing);
    let due = without
        .take_due(Due::Overdue, later(10_000_000), later(0), 100)
        .await;
    assert_eq!(due.unwrap_err(), missing);
    assert!(missing.is_unavailable() && missing.needs_someone());
    is_all_there(&db.keyed(&format!("{B},{A}")).await, 1, &all).await;
    db.done().await;
}

/// Until there is nothing more to do.
async fn rotated(store: &Store, quiet: TimeDelta) -> u64 {
    let mut rows = 0;
    loop {
        match store.reseal(3, quiet).await.unwrap() {
            Resealed::Rows(some) => rows += some,
            Resealed::Nothing => return rows,
            Resealed::Waiting => panic!("somebody writes under another key"),
        }
    }
}

#[tokio::test]
async fn a_key_is_replaced_by_another_and_can_be_removed_then() {
    let db = Db::new().await;
    let quiet = TimeDelta::minutes(2);
    let clear = db.keyed("").await;
    clear.use_keys().await.unwrap();
    let first = told_all(&clear, 1).await;
    assert_eq!(
        clear.reseal(3, quiet).await.unwrap(),
        Resealed::Nothing,
        "off"
    );

    let sealing = db.keyed(A).await;
    sealing.use_keys().await.unwrap();
    let second = told_all(&sealing, 2).await;
    assert_eq!(sealing.reseal(3, quiet).await.unwrap(), Resealed::Waiting);
    db.an_hour_passes().await;
    let updated_at =
        "SELECT CAST(SUM(UNIX_TIMESTAMP(updated_at)) AS SIGNED) FROM customer_push_tokens";
    let before = db.one(updated_at).await;
    // Interrupted in the middle, and taken up by another.
    for _ in 0..2 {
        assert!(matches!(
            sealing.reseal(3, quiet).await.unwrap(),
            Resealed::Rows(_)
        ));
    }
    let another = db.keyed(A).await;
    assert!(rotated(&another, quiet).await >= 4 + 2);
    assert_eq!(db.seen_at_rest().await, [""; 0], "what was clear is sealed");
    assert_eq!(db.one(updated_at).await, before, "no device has changed");
    is_all_there(&sealing, 1, &first).await;

    let rotating = db.keyed(&format!("{B},{A}")).await;
    rotating.use_keys().await.unwrap();
    let third = told_all(&rotating, 3).await;
    db.an_hour_passes().await;
    rotated(&rotating, quiet).await;
    let new = db.keyed(B).await;
    assert_eq!(
        new.use_keys().await.unwrap().len(),
        1,
        "the old key is in use no more"
    );
    for (id, all) in [(1, &first), (2, &second), (3, &third)] {
        is_all_there(&new, id, all).await;
    }
    assert_eq!(new.reseal(3, quiet).await.unwrap(), Resealed::Nothing);

    // And back to where nothing is sealed.
    let off = db.keyed(&format!("none,{B}")).await;
    off.use_keys().await.unwrap();
    db.an_hour_passes().await;
    rotated(&off, quiet).await;
    let clear = db.keyed("").await;
    clear.use_keys().await.unwrap();
    is_all_there(&clear, 3, &third).await;
    db.done().await;
}

#[tokio::test]
async fn what_retention_has_emptied_stays_empty() {
    let db = Db::new().await;
    let clear = db.keyed("").await;
    let all = told_all(&clear, 1).await;
    // A job that stands there still has the row looked at all the same.
    db.execute(
        "UPDATE notification_history SET title = '', body = '', data = NULL, image_url = NULL",
    )
    .await;
    let sealing = db.keyed(A).await;
    sealing.use_keys().await.unwrap();
    db.an_hour_passes().await;
    rotated(&sealing, TimeDelta::minutes(2)).await;
    assert_eq!(
        db.one("SELECT COUNT(*) FROM notification_history WHERE sealed IS NOT NULL")
            .await,
        0
    );
    let view = sealing.notification(all[0].id).await.unwrap().unwrap();
    assert_eq!(view.content.title, "");
    db.done().await;
}

#[tokio::test]
async fn who_is_erased_leaves_nothing_sealed_either() {
    let mut db = Db::new().await;
    db.store = db.keyed(A).await;
    told_all(&db.store, 1).await;
    let others = told_all(&db.store, 2).await;
    let operation = db.erase(1).await;
    assert_eq!(db.empties(operation, 20).await.state, OperationState::Done);
    let left = "SELECT COUNT(*) FROM notification_history \
         WHERE customer_id = 1 AND (sealed IS NOT NULL OR next_job IS NOT NULL)";
    assert_eq!(db.one(left).await, 0);
    is_all_there(&db.store, 2, &others).await;
    db.done().await;
}

#[tokio::test]
async fn a_value_under_a_key_that_nobody_uses_is_in_no_others_way() {
    let db = Db::new().await;
    let sealing = db.keyed(A).await;
    let first = told_all(&sealing, 1).await;
    let second = told_all(&sealing, 2).await;
    for sql in [
        "UPDATE customer_push_tokens SET fcm_token = '$1$zz$AAAA' WHERE customer_id = 1",
        "UPDATE notification_history SET sealed = '$1$zz$AAAA' WHERE customer_id = 1",
        "UPDATE notification_history SET next_job = '$1$zz$AAAA' WHERE customer_id = 1 AND next_job IS NOT NULL",
        "UPDATE dead_letters SET raw = '$1$zz$AAAA' WHERE raw IS NOT NULL ORDER BY id LIMIT 1",
    ] {
        db.execute(sql).await;
    }
    let (one, two) = (customer(1), customer(2));
    let customers = sealing.customers(&[one, two]).await.unwrap();
    assert!(customers[&one].devices.is_empty());
    assert_eq!(customers[&two].devices.len(), 1);
    let view = sealing.notification(first[0].id).await;
    assert!(matches!(view, Err(StoreError::Corrupt { .. })), "{view:?}");
    let due = sealing
        .take_due(Due::Overdue, later(10_000_000), later(0), 100)
        .await
        .unwrap();
    let due_of = |one| {
        let of_one = due
            .jobs
            .iter()
            .filter(move |due| due.job.notification.customer == one);
        of_one.count()
    };
    assert_eq!((due_of(one), due_of(two)), (0, 2));

    // A rotation leaves it as it is, and goes on.
    let rotating = db.keyed(&format!("{B},{A}")).await;
    rotating.use_keys().await.unwrap();
    db.an_hour_passes().await;
    rotated(&rotating, TimeDelta::minutes(2)).await;
    is_all_there(&db.keyed(B).await, 2, &second).await;

    // As soon as a program has the key, whoever has it not waits.
    db.execute("INSERT INTO encryption_keys (key_id) VALUES ('zz')")
        .await;
    let missing = Unavailable::KeyMissing(KeyId::parse("zz").unwrap());
    let told = rotating.customers(&[one, two]).await;
    assert_eq!(told, Err(StoreError::Unavailable(missing)));
    db.done().await;
}

#[tokio::test]
async fn who_was_frozen_says_its_key_again_before_it_seals() {
    let db = Db::new().await;
    let quiet = TimeDelta::minutes(2);
    let frozen = db.keyed(A).await;
    frozen.use_keys().await.unwrap();
    told_all(&frozen, 1).await;
    let new = db.keyed(&format!("{B},{A}")).await;
    new.use_keys().await.unwrap();
    db.an_hour_passes().await;
    frozen.keys_said.at(Utc::now() - TimeDelta::hours(1));

    // It wakes up in the middle, and ends what it had in hand.
    assert_eq!(new.reseal(1, quiet).await.unwrap(), Resealed::Rows(0));
    assert_eq!(new.reseal(1, quiet).await.unwrap(), Resealed::Rows(1));
    let row = registration(1, Some("late"), Some("late"), None);
    frozen.register(&row, later(0)).await.unwrap();
    while let Resealed::Rows(_) = new.reseal(100, quiet).await.unwrap() {}
    assert_eq!(
        new.keys_in_use().await.unwrap().len(),
        2,
        "what it wrote is not left behind"
    );
    db.an_hour_passes().await;
    rotated(&new, quiet).await;
    let under_a = "SELECT COUNT(*) FROM customer_push_tokens WHERE fcm_token LIKE '$1$a$%'";
    assert_eq!(db.one(under_a).await, 0);

    // From then on its key is none any more.
    frozen.keys_said.at(Utc::now() - TimeDelta::hours(1));
    let b = KeyId::parse("b").unwrap();
    assert_eq!(
        frozen.register(&row, later(1)).await,
        Err(StoreError::Unavailable(Unavailable::KeyMissing(b)))
    );
    assert_eq!(new.keys_in_use().await.unwrap().len(), 1);
    db.done().await;
}

/// What is sealed with a key that is not there waits for it: until then nobody knows what it came to. The others do not.
#[tokio::test]
async fn an_erasure_waits_for_a_missing_key_with_what_is_sealed_by_it_alone() {
    let mut db = Db::new().await;
    let one = std::slice::from_ref;
    let accepted = async |store: &Store| {
        let n = notification(1);
        let accepted = store.accept(one(&n), UnknownCustomer::Create, later(60_000));
        accepted.await.unwrap();
    };
    // Said a moment ago: it may go on with what it has in hand.
    db.store.use_keys().await.unwrap();
    let sealing = db.keyed(A).await;
    sealing.use_keys().await.unwrap();
    accepted(&sealing).await;
    accepted(&db.store).await;
    let operation = db.erase(1).await;
    let step = async |store: &Store, step| {
        let how = How {
            step,
            waited: DeadLetterId(0),
            due_after: GRACE,
        };
        let running = store.running_operations(later(1_000)).await.unwrap();
        let taken = store.take_step(&running[0], &how, later(1_000)).await?;
        Ok::<_, StoreError>(taken.map(|taken| (taken.done, taken.finished)))
    };
    let missing = StoreError::Unavailable(Unavailable::KeyMissing(KeyId::parse("a").unwrap()));
    for size in [Step::Full, Step::One] {
        assert_eq!(step(&db.store, size).await, Err(missing.clone()));
    }
    assert_eq!(step(&db.store, Step::SkipOne).await, Ok(Some((0, false))));
    assert_eq!(step(&db.store, Step::Full).await, Ok(Some((1, false))));
    let left = "SELECT COUNT(*) FROM notification_history WHERE emptied = 0 AND sealed IS NOT NULL";
    assert_eq!(db.one(left).await, 1);
    db.store = db.keyed(A).await;
    let view = db.empties(operation, 2).await;
    assert_eq!((view.state, view.done), (OperationState::Done, 2));
    db.done().await;
}

#[tokio::test]
async fn content_that_cannot_be_read_keeps_no_other_from_another_key() {
    let db = Db::new().await;
    let clear = db.keyed("").await;
    clear.use_keys().await.unwrap();
    let all = told_all(&clear, 1).await;
    db.execute("UPDATE notification_history SET data = '[\"no map\"]' ORDER BY id LIMIT 1")
        .await;
    let sealing = db.keyed(A).await;
    sealing.use_keys().await.unwrap();
    db.an_hour_passes().await;
    rotated(&sealing, TimeDelta::minutes(2)).await;
    let clear = "SELECT COUNT(*) FROM notification_history WHERE sealed IS NULL";
    assert_eq!(db.one(clear).await, 1);
    assert_eq!(all.len(), 4);
    db.done().await;
}
