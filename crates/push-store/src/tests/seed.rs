//! Domain values for tests.

use chrono::{DateTime, TimeDelta, Utc};
use push_core::id::{CustomerId, DeviceId, NotificationId, RegistrationId};
use push_core::job::{GiveUpReason, GivenUp, Job, JobTarget};
use push_core::ladder::RetryDelay;
use push_core::notification::{Body, Content, Notification, NotificationType, Priority, Title};
use push_core::outcome::{Cause, ProviderMessageId, Sent};
use push_core::provider::{PerProvider, Platform, Provider};
use push_core::settle::{Delivery, DeliveryOutcome, Next, Settlement};
use push_core::status::{Ending, ProviderResult};
use push_core::timeline::{Step, TimelineEntry};
use push_core::token::{ExpoToken, FcmToken, Token};

use super::at;
use crate::Registration;

pub fn customer(id: i64) -> CustomerId {
    CustomerId::try_from(id).unwrap()
}

pub fn fcm(name: &str) -> FcmToken {
    FcmToken::parse(&format!("{name}:APA91b{}", "x".repeat(120))).unwrap()
}

pub fn expo(name: &str) -> ExpoToken {
    ExpoToken::parse(&format!("ExponentPushToken[{name}]")).unwrap()
}

pub fn device(name: &str) -> DeviceId {
    DeviceId::parse(name).unwrap()
}

pub fn registration(of: i64, id: Option<&str>, f: Option<&str>, e: Option<&str>) -> Registration {
    Registration {
        customer: customer(of),
        platform: Platform::Android,
        device_id: id.map(device),
        fcm: f.map(fcm),
        expo: e.map(expo),
    }
}

pub fn notification(of: i64) -> Notification {
    Notification {
        id: NotificationId::generate(),
        customer: customer(of),
        kind: NotificationType::parse("status_changed").unwrap(),
        content: Content {
            title: Title::parse("Technician is on the way! 🚗").unwrap(),
            body: Body::parse("Jürgen \"J\" O'Neil\\ has started. 家 👩‍🔧").unwrap(),
            data: [("bookingId", "456"), ("emoji", "🔧\u{1}\n"), ("Case", "A")]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into_iter()
                .collect(),
            image_url: None,
        },
        priority: Priority::High,
        collapse_key: None,
        created_at: at(0),
        send_at: None,
        expires_at: at(0) + TimeDelta::hours(1),
    }
}

pub fn results(fcm: ProviderResult, expo: ProviderResult) -> PerProvider<ProviderResult> {
    PerProvider { fcm, expo }
}

pub fn delivery(registration: u64, token: Token, outcome: DeliveryOutcome) -> Delivery {
    let accepted = outcome == DeliveryOutcome::Accepted;
    Delivery {
        registration: RegistrationId(registration),
        platform: Some(Platform::Android),
        token,
        outcome,
        provider_id: accepted.then(|| ProviderMessageId::new("projects/p/messages/1")),
        tries: 1,
        sent: Sent::SurelyNot,
        cause: (!accepted).then(|| Cause::new("UNAVAILABLE", "overloaded – später 🕑")),
        at: at(100),
    }
}

/// A round that ended it all.
pub fn sent(notification: &Notification, round: u32) -> Settlement {
    Settlement {
        notification: notification.id,
        round,
        attempts: 1,
        results: results(ProviderResult::Success, ProviderResult::NotSent),
        deliveries: vec![delivery(7, Token::Fcm(fcm("a")), DeliveryOutcome::Accepted)],
        timeline: vec![entry(Step::Settled, "sent")],
        next: Next::Done(Ending::Sent),
    }
}

/// A round after which it waits for 10 s.
pub fn waits(notification: &Notification, round: u32) -> Settlement {
    let mut job = follow_up(notification, round + 1);
    job.targets = Some(vec![target(7)]);
    Settlement {
        results: results(ProviderResult::Queued, ProviderResult::Queued),
        deliveries: vec![delivery(7, Token::Fcm(fcm("a")), DeliveryOutcome::Retry)],
        timeline: vec![entry(Step::Retry, "1 target(s) again in 10s")],
        next: Next::Wait(RetryDelay::parse("10s").unwrap(), Box::new(job)),
        ..sent(notification, round)
    }
}

/// A round after which it is given up for one device.
pub fn gives_up(notification: &Notification, round: u32) -> (Settlement, Job) {
    let mut job = follow_up(notification, round + 1);
    job.targets = Some(vec![]);
    job.progress.results = results(ProviderResult::Failed, ProviderResult::Queued);
    job.progress.given_up = vec![given_up(7)];
    let settlement = Settlement {
        results: job.progress.results,
        deliveries: vec![delivery(
            7,
            Token::Fcm(fcm("a")),
            DeliveryOutcome::OperatorMustAct,
        )],
        timeline: vec![entry(Step::DeadLettered, "given up: operator_must_act")],
        next: Next::DeadLetter(Box::new(job.clone())),
        ..sent(notification, round)
    };
    (settlement, job)
}

pub fn given_up(registration: u64) -> GivenUp {
    GivenUp {
        registration: RegistrationId(registration),
        provider: Provider::Fcm,
        platform: Some(Platform::Ios),
        token: Some(Token::Fcm(fcm("a")).masked()),
        reason: GiveUpReason::OperatorMustAct,
        cause: Cause::new("SENDER_ID_MISMATCH", "another project"),
        tries: 2,
        sent: Sent::SurelyNot,
    }
}

pub fn target(registration: u64) -> JobTarget {
    JobTarget {
        registration: RegistrationId(registration),
        provider: Provider::Fcm,
        tries: 1,
        sent: Sent::Maybe,
        not_before: None,
        put_back: None,
        to_mend: None,
    }
}

pub fn follow_up(notification: &Notification, round: u32) -> Job {
    Job {
        round,
        ..Job::first(notification.clone())
    }
}

pub fn entry(step: Step, text: &str) -> TimelineEntry {
    TimelineEntry::new(at(100), step, text)
}

pub fn later(millis: i64) -> DateTime<Utc> {
    at(millis)
}
