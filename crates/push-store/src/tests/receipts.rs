use std::time::Duration;

use chrono::{DateTime, Utc};
use push_core::id::RegistrationId;
use push_core::ladder::RetryDelay;
use push_core::notification::Notification;
use push_core::outcome::{Cause, Outcome, Pause, ProviderMessageId, Retry, Sent, Trouble};
use push_core::provider::Provider;
use push_core::receipt::{Answer, Receipt, Rhythm, Ticket};
use push_core::settle::{DeliveryOutcome, Next, Settlement};
use push_core::status::{Ending, ProviderResult, Reason, Status};
use push_core::timeline::Step;
use push_core::token::Token;

use super::recording::RECEIPTS_AFTER;
use super::seed::{delivery, expo, fcm, later, registration, results, sent, waits};
use super::{Db, at};
use crate::{DeadLetterRecord, Noted, NotificationView, ReceiptsRecorded};

const GRACE: Duration = Duration::from_secs(60);
const HOURS_23: i64 = 23 * 3_600_000;

fn rhythm() -> Rhythm {
    Rhythm::starting_with(RetryDelay::parse("15m").unwrap()).unwrap()
}

/// A round in which Expo took it for these devices, under tickets of their numbers.
pub fn taken_by_expo(n: &Notification, round: u32, devices: &[u64]) -> Settlement {
    let row = |device: &u64| {
        let token = Token::Expo(expo(&format!("token-{device}")));
        let mut row = delivery(*device, token, DeliveryOutcome::Accepted);
        row.provider_id = Some(ProviderMessageId::new(&format!("ticket-{device}")));
        row
    };
    Settlement {
        results: results(ProviderResult::NotSent, ProviderResult::Success),
        deliveries: devices.iter().map(row).collect(),
        ..sent(n, round)
    }
}

pub fn ticket(n: &Notification, device: u64) -> Ticket {
    Ticket {
        notification: n.id,
        registration: RegistrationId(device),
        ticket: ProviderMessageId::new(&format!("ticket-{device}")),
        accepted_at: later(100),
    }
}

fn cause() -> Cause {
    Cause::new("TheCode", "and why")
}

fn dead() -> Answer {
    Answer::Receipt(Receipt::Failed(Outcome::TokenDead(cause())))
}

fn mendable() -> Answer {
    Answer::Receipt(Receipt::Failed(Outcome::operator_must_act(cause())))
}

impl Db {
    /// A notification that Expo took for these devices.
    async fn taken(&self, devices: &[u64]) -> Notification {
        let n = self.accepted(1).await.remove(0);
        let settlement = taken_by_expo(&n, 1, devices);
        self.record(&[settlement], later(200), GRACE).await.unwrap();
        n
    }

    async fn answered(
        &self,
        ticket: Ticket,
        answer: Answer,
        now: DateTime<Utc>,
    ) -> ReceiptsRecorded {
        let answers = [(ticket, answer)];
        let recorded = self
            .store
            .record_receipts(&answers, rhythm(), now, GRACE)
            .await;
        recorded.unwrap()
    }

    async fn view(&self, n: &Notification) -> NotificationView {
        self.store.notification(n.id).await.unwrap().unwrap()
    }

    async fn open(&self) -> i64 {
        self.one("SELECT COUNT(*) FROM expo_tickets").await
    }
}

fn steps(view: &NotificationView) -> Vec<&str> {
    view.timeline.iter().map(|e| e.step.as_str()).collect()
}

#[tokio::test]
async fn only_what_expo_took_has_a_receipt_to_come() {
    let db = Db::new().await;
    let n = db.accepted(3).await;
    let mut refused = taken_by_expo(&n[1], 1, &[1]);
    refused.deliveries[0].outcome = DeliveryOutcome::Refused;
    refused.deliveries[0].provider_id = None;
    let batch = [sent(&n[0], 1), refused, taken_by_expo(&n[2], 1, &[1, 2])];
    db.record(&batch, later(200), GRACE).await.unwrap();
    // Not before they would have been asked for, and the broker has had its time.
    let due = RECEIPTS_AFTER + GRACE;
    let due_at = later(200) + due;
    let tickets = async |now| db.store.tickets_due(now, 10).await.unwrap();
    assert_eq!(tickets(due_at - Duration::from_millis(1)).await, []);
    let found = tickets(due_at).await;
    assert_eq!(found, [ticket(&n[2], 1), ticket(&n[2], 2)]);
    assert_eq!(db.store.tickets_due(due_at, 1).await.unwrap().len(), 1);
    // Asked for again, they are left alone for a while; what is due later already stays so.
    let until = due_at + GRACE;
    let one = &found[..1];
    db.store.push_back_tickets(one, until).await.unwrap();
    assert_eq!(tickets(due_at).await, found[1..]);
    db.store.push_back_tickets(&found, due_at).await.unwrap();
    assert_eq!(tickets(until - Duration::from_millis(1)).await, found[1..]);
    db.done().await;
}

#[tokio::test]
async fn a_good_receipt_is_recorded_once() {
    let db = Db::new().await;
    let n = db.taken(&[1]).await;
    let delivered = || Answer::Receipt(Receipt::Delivered);
    let recorded = db.answered(ticket(&n, 1), delivered(), later(500)).await;
    assert_eq!(recorded.noted, [Noted::Recorded]);
    let view = db.view(&n).await;
    assert_eq!(view.deliveries[0].receipt.as_deref(), Some("ok"));
    assert_eq!(view.deliveries[0].outcome, DeliveryOutcome::Accepted);
    assert_eq!(view.state.status, Status::Sent);
    assert_eq!(steps(&view), ["accepted", "settled", "receipt"]);
    assert_eq!(db.open().await, 0);
    for again in [delivered(), dead(), Answer::Absent] {
        let recorded = db.answered(ticket(&n, 1), again, later(900)).await;
        assert_eq!(recorded.noted, [Noted::Stale]);
        assert_eq!(recorded.failed, 0);
    }
    assert_eq!(db.view(&n).await, view, "a copy changes nothing");
    db.done().await;
}

/// What a receipt means, what the delivery and the notification come to, and whether it is kept for a replay.
#[tokio::test]
async fn every_bad_receipt_is_acted_on() {
    let db = Db::new().await;
    let retry = Outcome::Retry(Retry {
        cause: cause(),
        pause: Pause::AtLeast(GRACE),
        sent: Sent::SurelyNot,
        trouble: Trouble::Provider,
    });
    let rows = [
        (
            Outcome::TokenDead(cause()),
            DeliveryOutcome::TokenDead,
            Reason::InvalidTokens,
            None,
        ),
        (
            Outcome::Refused(cause()),
            DeliveryOutcome::Refused,
            Reason::Refused,
            None,
        ),
        (
            Outcome::operator_must_act(cause()),
            DeliveryOutcome::DeadLettered,
            Reason::DeadLettered,
            Some("operator_must_act"),
        ),
        (
            retry,
            DeliveryOutcome::DeadLettered,
            Reason::DeadLettered,
            Some("retries_exhausted"),
        ),
    ];
    for (outcome, came_to, reason, letter) in rows {
        let n = db.taken(&[1]).await;
        let bad = Answer::Receipt(Receipt::Failed(outcome));
        // Twice in one batch counts once.
        let answers = [(ticket(&n, 1), bad.clone()), (ticket(&n, 1), bad)];
        let recorded = db
            .store
            .record_receipts(&answers, rhythm(), later(500), GRACE)
            .await
            .unwrap();
        assert_eq!(recorded.noted, [Noted::Recorded, Noted::Stale]);
        assert_eq!(recorded.failed, 1);
        let view = db.view(&n).await;
        assert_eq!(
            (view.state.status, view.state.reason),
            (Status::Failed, Some(reason))
        );
        assert_eq!(
            (view.state.fcm, view.state.expo),
            (ProviderResult::NotSent, ProviderResult::Failed)
        );
        assert_eq!(db.sent_at(n.id).await, None);
        let row = &view.deliveries[0];
        assert_eq!(
            (row.outcome, row.receipt.as_deref(), &row.error),
            (came_to, Some("TheCode"), &Some(cause()))
        );
        assert!(steps(&view).ends_with(&["settled"]), "{:?}", steps(&view));
        let kept: Vec<String> = sqlx::query_scalar(
            "SELECT CAST(reason AS CHAR) FROM dead_letters WHERE notification_id = ? \
             AND error_code = 'TheCode' AND provider = 'expo' AND registration_id = 1 AND job IS NOT NULL",
        )
        .bind(n.id.as_uuid())
        .fetch_all(&db.store.pool)
        .await
        .unwrap();
        assert_eq!(
            kept,
            letter.map(str::to_owned).into_iter().collect::<Vec<_>>()
        );
        let letters = recorded.letters.iter().map(|record| match record {
            DeadLetterRecord::Job { job, .. } => (&job.notification, job.round, job.is_given_up()),
            DeadLetterRecord::Poison { .. } => panic!("{record:?}"),
        });
        assert_eq!(
            letters.collect::<Vec<_>>(),
            letter
                .map(|_| (&n, 2, true))
                .into_iter()
                .collect::<Vec<_>>()
        );
    }
    assert_eq!(db.open().await, 0);
    db.done().await;
}

#[tokio::test]
async fn a_notification_has_failed_only_when_nothing_is_accepted_any_more() {
    let db = Db::new().await;
    let n = db.taken(&[1, 2]).await;
    let first = db.answered(ticket(&n, 1), dead(), later(500)).await;
    assert_eq!((first.noted, first.failed), (vec![Noted::Recorded], 0));
    let view = db.view(&n).await;
    assert_eq!(
        (view.state.status, view.state.expo, view.state.reason),
        (Status::Sent, ProviderResult::Success, None)
    );
    assert!(db.sent_at(n.id).await.is_some());
    let second = db.answered(ticket(&n, 2), mendable(), later(600)).await;
    assert_eq!(second.failed, 1);
    let view = db.view(&n).await;
    assert_eq!(
        (view.state.status, view.state.reason),
        (Status::Failed, Some(Reason::DeadLettered))
    );
    // FCM took it for another device.
    let other = db.accepted(1).await.remove(0);
    let mut both = taken_by_expo(&other, 1, &[1]);
    both.results = results(ProviderResult::Success, ProviderResult::Success);
    let by_fcm = delivery(7, Token::Fcm(fcm("a")), DeliveryOutcome::Accepted);
    both.deliveries.push(by_fcm);
    db.record(&[both], later(200), GRACE).await.unwrap();
    let recorded = db.answered(ticket(&other, 1), mendable(), later(500)).await;
    assert_eq!((recorded.failed, recorded.letters.len()), (0, 1));
    let view = db.view(&other).await;
    assert_eq!(
        (view.state.status, view.state.fcm, view.state.expo),
        (
            Status::Sent,
            ProviderResult::Success,
            ProviderResult::Failed
        )
    );
    db.done().await;
}

#[tokio::test]
async fn a_token_is_off_unless_it_was_registered_again_since() {
    let db = Db::new().await;
    let register = async |customer, now| {
        let device = registration(customer, None, None, Some("token-1"));
        db.store.register(&device, now).await.unwrap()
    };
    let alive =
        "SELECT COUNT(*) FROM customer_push_tokens WHERE is_active AND expo_dead_at IS NULL";
    register(1, at(0)).await;
    let n = db.taken(&[1]).await;
    let recorded = db.answered(ticket(&n, 1), dead(), later(500)).await;
    let off: Vec<_> = recorded
        .dead
        .iter()
        .map(|dead| (&dead.token, dead.at))
        .collect();
    assert_eq!(off, [(&Token::Expo(expo("token-1")), later(100))]);
    assert_eq!(db.one(alive).await, 0);
    // After the ticket, by the same customer and by another one (P4).
    for customer in [1, 2] {
        let n = db.taken(&[1]).await;
        register(customer, later(300)).await;
        let recorded = db.answered(ticket(&n, 1), dead(), later(500)).await;
        assert_eq!(
            (recorded.noted, recorded.failed),
            (vec![Noted::Recorded], 1)
        );
        assert!(recorded.dead.is_empty());
        assert_eq!(db.one(alive).await, 1, "customer {customer}");
    }
    db.done().await;
}

#[tokio::test]
async fn what_is_not_there_is_asked_for_until_23_hours_are_over() {
    let db = Db::new().await;
    let n = db.taken(&[1]).await;
    let hour = RetryDelay::parse("1h").unwrap();
    let asked = later(900_000);
    let recorded = db.answered(ticket(&n, 1), Answer::Absent, asked).await;
    assert_eq!(recorded.noted, [Noted::Later(hour)]);
    let due = asked + hour.as_duration() + GRACE;
    let before = due - Duration::from_millis(1);
    assert_eq!(db.store.tickets_due(before, 1).await.unwrap(), []);
    assert_eq!(db.store.tickets_due(due, 1).await.unwrap().len(), 1);
    let not_now = Answer::NotNow(Pause::AtLeast(GRACE));
    let recorded = db.answered(ticket(&n, 1), not_now, asked).await;
    assert_eq!(recorded.noted, [Noted::Later(rhythm().first)]);
    let end = later(HOURS_23);
    let recorded = db.answered(ticket(&n, 1), Answer::Absent, end).await;
    assert_eq!(recorded.noted, [Noted::GivenUp]);
    let view = db.view(&n).await;
    assert_eq!(view.deliveries[0].receipt.as_deref(), Some("no_receipt"));
    assert_eq!(view.deliveries[0].outcome, DeliveryOutcome::Accepted);
    assert_eq!(view.state.status, Status::Sent);
    assert_eq!(steps(&view), ["accepted", "settled", "receipt"]);
    assert_eq!(db.open().await, 0);
    db.done().await;
}

#[tokio::test]
async fn a_bad_receipt_of_what_is_still_pending_counts_when_it_has_ended() {
    let db = Db::new().await;
    db.store
        .register(&registration(1, None, None, Some("token-1")), at(0))
        .await
        .unwrap();
    let n = db.accepted(1).await.remove(0);
    // Expo has it for one device; another one is tried again by FCM.
    let mut first = waits(&n, 1);
    first.results.expo = ProviderResult::Success;
    first
        .deliveries
        .extend(taken_by_expo(&n, 1, &[1]).deliveries);
    db.record(&[first], later(200), GRACE).await.unwrap();
    for answer in [dead(), Answer::Absent] {
        let recorded = db.answered(ticket(&n, 1), answer, later(HOURS_23)).await;
        assert_eq!(recorded.noted, [Noted::Later(rhythm().first)]);
        let view = db.view(&n).await;
        assert_eq!(view.state.status, Status::Pending);
        let row = view
            .deliveries
            .iter()
            .find(|row| row.provider == Provider::Expo);
        assert_eq!(row.unwrap().outcome, DeliveryOutcome::TokenDead, "told");
        assert_eq!(steps(&view), ["accepted", "retry", "receipt"]);
    }
    let alive = "SELECT COUNT(*) FROM customer_push_tokens WHERE is_active";
    assert_eq!(db.one(alive).await, 0, "off at once");
    let mut last = waits(&n, 2);
    last.results = results(ProviderResult::Failed, ProviderResult::Success);
    last.next = Next::Done(Ending::Sent);
    last.deliveries[0].outcome = DeliveryOutcome::Refused;
    db.record(&[last], later(400), GRACE).await.unwrap();
    assert_eq!(db.view(&n).await.state.status, Status::Sent);
    let recorded = db
        .answered(ticket(&n, 1), Answer::Absent, later(HOURS_23))
        .await;
    assert_eq!(
        (recorded.noted, recorded.failed),
        (vec![Noted::Recorded], 1)
    );
    let view = db.view(&n).await;
    assert_eq!(
        (view.state.status, view.state.reason),
        (Status::Failed, Some(Reason::Refused))
    );
    assert_eq!(view.timeline.last().unwrap().step, Step::Settled.as_str());
    db.done().await;
}

/// A letter that named a device a second time could be replayed a second time.
#[tokio::test]
async fn a_device_has_one_dead_letter_whenever_its_receipt_came() {
    let db = Db::new().await;
    let n = db.accepted(1).await.remove(0);
    let mut first = waits(&n, 1);
    first.results.expo = ProviderResult::Success;
    first
        .deliveries
        .extend(taken_by_expo(&n, 1, &[1, 2, 3]).deliveries);
    db.record(&[first], later(200), GRACE).await.unwrap();
    // The receipt of device 1 comes while another device is tried again, and counts when that has ended.
    let early = db.answered(ticket(&n, 1), mendable(), later(300)).await;
    assert_eq!(early.noted, [Noted::Later(rhythm().first)]);
    let mut last = waits(&n, 2);
    last.results = results(ProviderResult::Failed, ProviderResult::Success);
    last.next = Next::Done(Ending::Sent);
    last.deliveries[0].outcome = DeliveryOutcome::Refused;
    db.record(&[last], later(400), GRACE).await.unwrap();
    let mut named = Vec::new();
    for device in [2, 1, 3] {
        let recorded = db
            .answered(ticket(&n, device), mendable(), later(500 + HOURS_23))
            .await;
        assert_eq!(recorded.noted, [Noted::Recorded], "device {device}");
        let [DeadLetterRecord::Job { job, .. }] = recorded.letters.as_slice() else {
            panic!("device {device}: {:?}", recorded.letters);
        };
        let devices = job.progress.given_up.iter();
        named.extend(devices.map(|given_up| given_up.registration.0));
    }
    assert_eq!(named, [2, 1, 3]);
    assert_eq!(db.one("SELECT COUNT(*) FROM dead_letters").await, 3);
    db.done().await;
}

#[tokio::test]
async fn the_receipt_of_what_was_sent_again_since_is_stale() {
    let db = Db::new().await;
    let n = db.accepted(1).await.remove(0);
    let mut first = taken_by_expo(&n, 1, &[1]);
    first.next = waits(&n, 1).next;
    db.record(&[first], later(200), GRACE).await.unwrap();
    // As a replay would: another ticket for the same device, and an old message that comes late.
    db.execute("UPDATE notification_deliveries SET receipt = 'Old'")
        .await;
    let mut second = taken_by_expo(&n, 2, &[1]);
    second.deliveries[0].provider_id = Some(ProviderMessageId::new("second"));
    db.record(&[second], later(300), GRACE).await.unwrap();
    let recorded = db.answered(ticket(&n, 1), dead(), later(500)).await;
    assert_eq!(recorded.noted, [Noted::Stale]);
    let view = db.view(&n).await;
    assert_eq!(
        (view.state.status, &view.deliveries[0].receipt),
        (Status::Sent, &None)
    );
    let new = Ticket {
        ticket: ProviderMessageId::new("second"),
        ..ticket(&n, 1)
    };
    let recorded = db.answered(new, dead(), later(500)).await;
    assert_eq!(recorded.noted, [Noted::Recorded]);
    // One whose delivery ended otherwise, or is gone, is forgotten.
    let n = db.taken(&[1]).await;
    db.execute("UPDATE notification_deliveries SET provider_id = NULL")
        .await;
    let recorded = db.answered(ticket(&n, 1), dead(), later(500)).await;
    assert_eq!((recorded.noted, db.open().await), (vec![Noted::Stale], 0));
    db.done().await;
}

#[tokio::test]
async fn what_has_no_content_any_more_is_refused_instead_of_kept() {
    let db = Db::new().await;
    let n = db.taken(&[1]).await;
    db.execute("UPDATE notification_history SET title = '', body = ''")
        .await;
    let recorded = db.answered(ticket(&n, 1), mendable(), later(500)).await;
    assert!(recorded.letters.is_empty());
    let view = db.view(&n).await;
    assert_eq!(view.state.reason, Some(Reason::Refused));
    assert_eq!(view.deliveries[0].outcome, DeliveryOutcome::Refused);
    db.done().await;
}
