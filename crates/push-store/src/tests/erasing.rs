use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use push_core::admit::Claimed;
use push_core::id::NotificationId;
use push_core::job::GiveUpReason;
use push_core::notification::{CollapseKey, Notification};
use push_core::settle::{Settlement, suppress};
use push_core::status::{Ending, ProviderResult, Reason, Status};
use push_core::timeline::Step as Told;
use push_core::wanted::Suppression;
use sqlx::Row;

use super::Db;
use super::bookings::status;
use super::recording::{RECEIPTS_AFTER, under};
use super::seed::{
    customer, follow_up, gives_up, later, notification, registration, results, sent, waits,
};
use crate::{
    Claim, ClaimId, DeadLetterId, DeadLetterRecord, Held, How, Kept, OperationId, OperationState,
    OperationView, Recording, Refusal, Replay, Step, UnknownCustomer,
};

const LONG: Duration = Duration::from_secs(600);
const GRACE: Duration = Duration::from_secs(60);

impl Db {
    async fn accept_one(&self, one: &Notification) {
        let accepted = self.store.accept(
            std::slice::from_ref(one),
            UnknownCustomer::Create,
            later(60_000),
        );
        accepted.await.unwrap();
    }

    async fn learns(&self, by: ClaimId, notification: NotificationId, round: u32) -> Claimed {
        let claims = [Claim {
            notification,
            round,
        }];
        let claimed = self.store.claim(by, &claims, LONG);
        claimed.await.unwrap()[&notification].claimed
    }

    pub(super) async fn erase(&self, of: i64) -> OperationId {
        let id = OperationId::generate();
        let erased = self
            .store
            .erase_customer(id, customer(of), "ops", later(500));
        assert_eq!(erased.await.unwrap()[0].customer, customer(of));
        id
    }

    /// Takes steps, `most` at most, as a worker does whose clock runs fast.
    pub(super) async fn empties(&self, id: OperationId, most: usize) -> OperationView {
        let mut now = later(1_000);
        for _ in 0..most {
            now += TimeDelta::seconds(2);
            let how = How {
                step: Step::Full,
                waited: DeadLetterId(0),
                due_after: GRACE,
            };
            for running in self.store.running_operations(now).await.unwrap() {
                self.store.take_step(&running, &how, now).await.unwrap();
            }
        }
        self.store.operation(id).await.unwrap().unwrap()
    }

    /// How those ended that had been waiting.
    async fn erases_again(&self, now: DateTime<Utc>) -> Vec<Ending> {
        let mut all = Vec::new();
        for mut again in self.store.to_look_at_again(now).await.unwrap() {
            while let Some(ended) = self.store.erase_again(&mut again, now).await.unwrap() {
                all.extend(ended);
            }
        }
        all
    }

    async fn standing(&self, id: NotificationId) -> (Status, Option<Reason>, bool) {
        let view = self.store.notification(id).await.unwrap().unwrap();
        let empty = view.content.title.is_empty()
            && view.content.body.is_empty()
            && view.content.data == push_core::notification::Data::default()
            && view.collapse_key.is_none();
        (view.state.status, view.state.reason, empty)
    }

    /// Every value of every table that is not a number.
    pub(super) async fn dump(&self) -> String {
        let tables: Vec<String> = sqlx::query_scalar(
            "SELECT CAST(table_name AS CHAR) FROM information_schema.tables WHERE table_schema = DATABASE()",
        )
        .fetch_all(&self.store.pool)
        .await
        .unwrap();
        assert!(tables.len() > 15);
        let mut dump = String::new();
        for table in tables {
            let columns: Vec<String> = sqlx::query_scalar(
                "SELECT CAST(column_name AS CHAR) FROM information_schema.columns \
                 WHERE table_schema = DATABASE() AND table_name = ?",
            )
            .bind(&table)
            .fetch_all(&self.store.pool)
            .await
            .unwrap();
            let columns: Vec<_> = columns
                .iter()
                .map(|column| format!("COALESCE(CAST({column} AS BINARY), '')"))
                .collect();
            let all = format!("SELECT CONCAT_WS('|', {}) FROM {table}", columns.join(", "));
            let rows = sqlx::raw_sql(sqlx::AssertSqlSafe(all))
                .fetch_all(&self.store.pool)
                .await
                .unwrap();
            for row in rows {
                let bytes: Vec<u8> = row.get(0);
                dump += &format!("{table}: {}\n", String::from_utf8_lossy(&bytes));
            }
        }
        dump
    }
}

#[tokio::test]
async fn whatever_state_it_is_in_it_ends_and_nothing_of_it_is_left() {
    let db = Db::new().await;
    for of in [1, 2] {
        let device = registration(of, Some("phone"), Some(&format!("token{of}")), None);
        db.store.ensure_customer(customer(of)).await.unwrap();
        db.store.register(&device, later(0)).await.unwrap();
    }
    let five = db.accepted(5).await;
    let [_, tried, gone, to_be_recorded, done] = &five[..] else {
        panic!("five")
    };
    db.record(&[waits(tried, 1), sent(done, 1)], later(0), GRACE)
        .await
        .unwrap();
    let given_up = |n: &Notification| DeadLetterRecord::Job {
        job: Box::new(gives_up(n, 1).1),
        reason: GiveUpReason::Unprocessable,
    };
    for letter in [gone, to_be_recorded] {
        db.record(&[gives_up(letter, 1).0], later(0), GRACE)
            .await
            .unwrap();
    }
    let letter = [given_up(gone)];
    let kept = db.store.record_dead_letters(&letter, later(10));
    assert_eq!(
        kept.await.unwrap(),
        [Kept::AndEnded(Ending::Failed(Reason::DeadLettered))]
    );
    let mut scheduled = notification(1);
    scheduled.send_at = Some(later(3_600_000));
    scheduled.collapse_key = Some(CollapseKey::parse("booking-77").unwrap());
    db.accept_one(&scheduled).await;
    let n = [&five[..], &[scheduled]].concat();
    let others = notification(2);
    db.accept_one(&others).await;
    for rows in [
        "INSERT INTO notification_preferences (customer_id) VALUES (1), (2)",
        "INSERT INTO booking_status (booking_id, customer_id, status) VALUES ('a', 1, 's'), ('b', 2, 's')",
    ] {
        db.execute(rows).await;
    }
    // A dead letter of a job whose notification is not ours, and the next one's, of another customer.
    for of in [1, 2] {
        let letter = [given_up(&notification(of))];
        let kept = db.store.record_dead_letters(&letter, later(20));
        assert_eq!(kept.await.unwrap(), [Kept::Only]);
    }
    let before = db.store.books(later(0)).await.unwrap();

    let id = db.erase(1).await;
    // From here on nothing is sent, whether it is emptied or not.
    let by = ClaimId::generate();
    for (round, one) in [(1, &n[0]), (2, &n[1])] {
        let claimed = db.learns(by, one.id, round).await;
        assert!(claimed.ours && claimed.erased);
        db.store
            .let_go(&[Held {
                notification: one.id,
                claim: by,
                sent: false,
            }])
            .await
            .unwrap();
    }
    assert!(!db.learns(by, others.id, 1).await.erased);
    let letter = DeadLetterId(1);
    let how = Replay {
        by: "ops".to_owned(),
        extend_ttl: Some(LONG),
        due_after: GRACE,
    };
    let refused = db.store.replay_dead_letter(letter, &how, later(600)).await;
    assert_eq!(refused.unwrap(), Err(Refusal::ContentGone));
    // One reaches the recorder now.
    let kept = db
        .store
        .record_dead_letters(&[given_up(to_be_recorded)], later(700))
        .await;
    assert_eq!(
        kept.unwrap(),
        [Kept::AndEnded(Ending::Suppressed(Reason::Erased))]
    );

    let view = db.empties(id, 1).await;
    assert_eq!((view.state, view.total), (OperationState::Done, 6));
    assert_eq!(view.done, 6);
    let erased = (Status::Suppressed, Some(Reason::Erased), true);
    for (one, ended) in n.iter().zip([
        erased,
        erased,
        (Status::Failed, Some(Reason::DeadLettered), true),
        erased,
        (Status::Sent, None, true),
        erased,
    ]) {
        assert_eq!(db.standing(one.id).await, ended);
        let view = db.store.notification(one.id).await.unwrap().unwrap();
        assert_eq!(view.timeline.len(), 1);
        assert_eq!(view.timeline[0].step, Told::Erased.as_str());
    }
    assert_eq!(
        db.standing(others.id).await,
        (Status::Pending, None, false),
        "another customer's"
    );
    let letters = "SELECT COUNT(*) FROM dead_letters WHERE emptied = 2 AND job IS NULL";
    assert_eq!(db.one(letters).await, 3);
    for others in [
        "SELECT COUNT(*) FROM dead_letters WHERE emptied = 0 AND customer_id = 2",
        "SELECT COUNT(*) FROM notification_preferences",
        "SELECT COUNT(*) FROM booking_status",
    ] {
        assert_eq!(db.one(others).await, 1, "{others}");
    }
    let refused = db.store.replay_dead_letter(letter, &how, later(600)).await;
    assert_eq!(refused.unwrap(), Err(Refusal::ContentGone));
    for table in ["expo_tickets", "quiet_hours_waits", "collapse_heads"] {
        let left = format!("SELECT COUNT(*) FROM {table}");
        let left: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(left))
            .fetch_one(&db.store.pool)
            .await
            .unwrap();
        assert_eq!(left, 0, "{table}");
    }
    let dump = db.dump().await;
    assert_eq!(dump.matches("has started").count(), 2, "{dump}");
    for gone in ["token1", "booking-77", "projects/p/messages"] {
        assert!(!dump.contains(gone), "{gone}: {dump}");
    }
    assert!(dump.contains("token2"));
    let after = db.store.books(later(0)).await.unwrap();
    assert_eq!(
        (
            after.accepted,
            after.sent,
            after.failed,
            after.suppressed,
            after.pending
        ),
        (before.accepted, 1, 1, 4, 1)
    );
    assert_eq!(db.store.recount_hour(later(0)).await.unwrap(), []);
    db.done().await;
}

#[tokio::test]
async fn what_a_worker_has_in_hand_is_waited_for_and_its_record_is_emptied() {
    let db = Db::new().await;
    let n = db.accepted(2).await;
    let by = db.claims(&[sent(&n[0], 1), waits(&n[1], 1)]).await;
    let id = db.erase(1).await;
    let view = db.empties(id, 3).await;
    assert_eq!((view.state, view.done), (OperationState::Running, 0));
    let rounds = under(by, &[sent(&n[0], 1), waits(&n[1], 1)]);
    let recorded = db.store.record(&rounds, later(600), GRACE, RECEIPTS_AFTER);
    assert_eq!(recorded.await.unwrap(), [Recording::Recorded; 2]);
    let view = db.empties(id, 1).await;
    assert_eq!((view.state, view.done), (OperationState::Done, 2));
    assert_eq!(db.standing(n[0].id).await, (Status::Sent, None, true));
    let erased = (Status::Suppressed, Some(Reason::Erased), true);
    assert_eq!(db.standing(n[1].id).await, erased);
    assert!(!db.dump().await.contains("has started"));
    db.done().await;
}

#[tokio::test]
async fn who_is_erased_begins_anew_and_may_be_erased_again() {
    let db = Db::new().await;
    for _ in 0..3 {
        let n = db.accepted(1).await.remove(0);
        let by = ClaimId::generate();
        assert!(!db.learns(by, n.id, 1).await.erased, "accepted since");
        let rounds = under(by, &[sent(&n, 1)]);
        let recorded = db.store.record(&rounds, later(600), GRACE, RECEIPTS_AFTER);
        recorded.await.unwrap();
        let id = db.erase(1).await;
        let view = db.empties(id, 1).await;
        assert_eq!(
            (view.state, view.total, view.done),
            (OperationState::Done, 1, 1)
        );
    }
    let id = db.erase(1).await;
    assert_eq!(db.empties(id, 1).await.total, 0);
    assert!(!db.store.knows(customer(77)).await.unwrap());
    assert!(db.store.knows(customer(1)).await.unwrap());
    assert!(!db.store.cancel_operation(id, later(0)).await.unwrap());
    db.done().await;
}

/// Whatever stands in its columns: that it cannot be read keeps neither it nor others from being erased.
#[tokio::test]
async fn what_cannot_be_read_is_ended_all_the_same_and_what_a_device_accepted_counts() {
    let db = Db::new().await;
    let n = db.accepted(4).await;
    let [no_map, reached, no_job, sound] = &n[..] else {
        panic!("four")
    };
    let reaches = Settlement {
        results: results(ProviderResult::Success, ProviderResult::Queued),
        ..waits(reached, 1)
    };
    db.record(&[reaches, waits(no_job, 1)], later(0), GRACE)
        .await
        .unwrap();
    for (what, of) in [
        ("data = '[\"no map\"]'", no_map),
        ("next_job = 'none'", reached),
        ("next_job = 'none', data = '7'", no_job),
    ] {
        let id = of.id.as_uuid().simple();
        let spoil =
            format!("UPDATE notification_history SET {what} WHERE notification_id = UNHEX('{id}')");
        sqlx::query(sqlx::AssertSqlSafe(spoil))
            .execute(&db.store.pool)
            .await
            .unwrap();
    }
    let id = db.erase(1).await;
    let view = db.empties(id, 1).await;
    assert_eq!((view.state, view.done), (OperationState::Done, 4));
    let erased = (Status::Suppressed, Some(Reason::Erased), true);
    for one in [no_map, no_job, sound] {
        assert_eq!(db.standing(one.id).await, erased);
    }
    assert_eq!(db.standing(reached.id).await, (Status::Sent, None, true));
    assert_eq!(db.store.recount_hour(later(0)).await.unwrap(), []);
    db.done().await;
}

/// Who looks again, after one that nothing can be done with.
#[tokio::test]
async fn looking_again_goes_on_with_others_and_comes_back() {
    let db = Db::new().await;
    for of in [1, 2] {
        db.accept_one(&notification(of)).await;
        db.erase(of).await;
    }
    // Somebody else has the key.
    db.execute("INSERT INTO encryption_keys (key_id, used_at) VALUES ('lost', UTC_TIMESTAMP(6))")
        .await;
    let lost = "UPDATE notification_history SET next_job = '$1$lost$AAAA' WHERE customer_id = 1";
    db.execute(lost).await;
    let now = Utc::now() + TimeDelta::minutes(6);
    let due = db.store.to_look_at_again(now).await.unwrap();
    assert_eq!(due.len(), 2);
    let mut looked = Vec::new();
    for mut again in due {
        looked.push(db.store.erase_again(&mut again, now).await);
    }
    assert!(looked[0].as_ref().unwrap_err().is_out_of_order());
    assert_eq!(
        looked[1],
        Ok(Some(vec![Ending::Suppressed(Reason::Erased)]))
    );
    assert_eq!(db.erases_again(now).await, [], "it is not due at once");
    db.execute("UPDATE notification_history SET next_job = NULL")
        .await;
    let now = now + TimeDelta::minutes(6);
    assert_eq!(
        db.erases_again(now).await,
        [Ending::Suppressed(Reason::Erased)]
    );
    let again = "SELECT COUNT(*) FROM customer_erasures WHERE look_again_at IS NOT NULL";
    assert_eq!(db.one(again).await, 0);
    db.done().await;
}

/// What is accepted at the moment of the erasure, and committed after the operation has looked: it is not sent, and not
/// kept.
#[tokio::test]
async fn what_is_being_accepted_at_that_moment_is_before_it() {
    let db = Db::new().await;
    let n = db.accepted(3).await;
    let hidden = "UPDATE notification_history SET customer_id = 9";
    db.execute(hidden).await;
    let id = db.erase(1).await;
    assert_eq!(db.empties(id, 1).await.state, OperationState::Done);
    // It appears.
    db.execute("UPDATE notification_history SET customer_id = 1")
        .await;
    let by = ClaimId::generate();
    assert!(db.learns(by, n[0].id, 1).await.erased);
    let ended = suppress(&follow_up(&n[0], 1), Suppression::Erased, later(700));
    let rounds = under(by, &[ended]);
    let recorded = db.store.record(&rounds, later(700), GRACE, RECEIPTS_AFTER);
    assert_eq!(recorded.await.unwrap(), [Recording::Recorded]);
    let erased = (Status::Suppressed, Some(Reason::Erased), true);
    assert_eq!(db.standing(n[0].id).await, erased);
    // Nor what reaches the recorder of dead letters.
    let letter = DeadLetterRecord::Job {
        job: Box::new(gives_up(&n[2], 0).1),
        reason: GiveUpReason::Unprocessable,
    };
    let kept = db.store.record_dead_letters(&[letter], later(800)).await;
    assert_eq!(
        kept.unwrap(),
        [Kept::AndEnded(Ending::Suppressed(Reason::Erased))]
    );
    assert_eq!(db.standing(n[2].id).await, erased);
    let full = "SELECT COUNT(*) FROM dead_letters WHERE job IS NOT NULL";
    assert_eq!(db.one(full).await, 0);
    // The other one is found a while later.
    assert_eq!(db.erases_again(later(0)).await, []);
    let now = chrono::Utc::now() + TimeDelta::minutes(6);
    assert_eq!(
        db.erases_again(now).await,
        [Ending::Suppressed(Reason::Erased)]
    );
    assert_eq!(db.standing(n[1].id).await, erased);
    let again = "SELECT COUNT(*) FROM customer_erasures WHERE look_again_at IS NOT NULL";
    assert_eq!(db.one(again).await, 0);
    db.done().await;
}

/// P1: accepted before or after, by the database's order; never in between. What is before is never sent, and nothing of it
/// is left; what is after is untouched.
#[tokio::test]
async fn of_accepting_and_erasing_at_the_same_moment_either_comes_first() {
    let db = Db::new().await;
    for n in 0..30 {
        let asked = status(&format!("booking-{n}"), "started");
        let one = &asked.notifications[0];
        let id = OperationId::generate();
        let (accepted, erased) = tokio::join!(
            db.store.accept(
                std::slice::from_ref(&asked),
                UnknownCustomer::Create,
                later(60_000)
            ),
            db.store.erase_customer(id, customer(1), "ops", later(500)),
        );
        accepted.unwrap();
        erased.unwrap();
        let after = notification(1);
        db.accept_one(&after).await;
        let by = ClaimId::generate();
        let first = db.learns(by, one.id, 1).await;
        let is_before = "SELECT CAST(history.erasure_mark < erasure.mark AS SIGNED) \
             FROM notification_history AS history JOIN customer_erasures AS erasure USING (customer_id) \
             WHERE status = 'pending' AND claimed_until IS NOT NULL";
        assert!(first.ours);
        assert_eq!(first.erased, db.one(is_before).await == 1);
        assert!(!db.learns(by, after.id, 1).await.erased);
        let held = [one.id, after.id].map(|notification| Held {
            notification,
            claim: by,
            sent: false,
        });
        db.store.let_go(&held).await.unwrap();
        assert_eq!(db.empties(id, 3).await.state, OperationState::Done);
        db.erases_again(Utc::now() + TimeDelta::minutes(6)).await;
        let untouched = (Status::Pending, None, false);
        let expected = if first.erased {
            let bookings = "SELECT COUNT(*) FROM booking_status";
            assert_eq!(db.one(bookings).await, 0, "nor is its booking");
            (Status::Suppressed, Some(Reason::Erased), true)
        } else {
            untouched
        };
        assert_eq!(db.standing(one.id).await, expected);
        assert_eq!(db.standing(after.id).await, untouched);
    }
    db.done().await;
}

/// What is heard of a booking while its customer is being erased, and is committed later.
#[tokio::test]
async fn a_booking_of_that_moment_is_forgotten_and_a_later_one_is_not() {
    let db = Db::new().await;
    db.erase(1).await;
    db.execute(
        "INSERT INTO booking_status (booking_id, customer_id, status, updated_at) \
         SELECT 'of that moment', customer_id, 's', erased_at + INTERVAL 1 SECOND FROM customer_erasures \
         UNION SELECT 'later', customer_id, 's', erased_at + INTERVAL 1 HOUR FROM customer_erasures \
         UNION SELECT 'of another', 2, 's', erased_at FROM customer_erasures",
    )
    .await;
    db.erases_again(Utc::now() + TimeDelta::minutes(6)).await;
    let left: Vec<String> =
        sqlx::query_scalar("SELECT booking_id FROM booking_status ORDER BY booking_id")
            .fetch_all(&db.store.pool)
            .await
            .unwrap();
    assert_eq!(left, ["later", "of another"]);
    db.done().await;
}

/// What was no job, or a job for no notification of ours, is found by what it says; whether it is recorded before the
/// erasure or after, and whatever a worker's clock shows.
#[tokio::test]
async fn what_no_notification_leads_to_is_emptied_as_well() {
    let db = Db::new().await;
    let n = db.accepted(1).await;
    let names = format!("\"notificationId\":\"{}\",\"customerId\"", n[0].id);
    let poison = |bytes: String| DeadLetterRecord::Poison {
        bytes: bytes.into_bytes(),
        why: "no job".to_owned(),
    };
    let stranger = |of: i64| DeadLetterRecord::Job {
        job: Box::new(follow_up(&notification(of), 1)),
        reason: GiveUpReason::Unprocessable,
    };
    let about = |what: &str| {
        [
            poison(format!("{{\"v\":9,{names}:1,\"title\":\"{what}\"}}")),
            poison(format!("{{{names},\"title\":\"{what}\"")),
            poison(format!("{{\"customerId\":1,\"title\":\"{what}\"}}")),
            stranger(1),
        ]
    };
    let ahead = later(30_000_000_000);
    let others = [
        poison("{\"customerId\":2}".to_owned()),
        poison("who knows".to_owned()),
        stranger(2),
    ];
    for records in [&about("before")[..], &others] {
        let kept = db.store.record_dead_letters(records, ahead).await.unwrap();
        assert!(kept.iter().all(|kept| *kept == Kept::Only));
    }
    let full = "SELECT COUNT(*) FROM dead_letters WHERE raw IS NOT NULL OR job IS NOT NULL";
    assert_eq!(db.one(full).await, 7);
    let id = db.erase(1).await;
    assert_eq!(db.empties(id, 1).await.state, OperationState::Done);
    assert_eq!(db.one(full).await, 3);
    let late = about("after");
    let kept = db.store.record_dead_letters(&late, ahead).await.unwrap();
    assert_eq!(kept, [Kept::Only; 4]);
    assert_eq!(db.one(full).await, 3, "the others'");
    let emptied = "SELECT COUNT(*) FROM dead_letters WHERE emptied = 2";
    assert_eq!(db.one(emptied).await, 8);
    db.done().await;
}
