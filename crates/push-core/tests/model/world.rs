//! What the model is about: one notification, the devices it is for, and the jobs that carry it.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use push_core::id::{CustomerId, NotificationId, RegistrationId};
use push_core::job::Job;
use push_core::notification::{
    Body, Content, Data, Notification, NotificationType, Priority, Title,
};
use push_core::outcome::{Cause, Outcome, Pause, ProviderMessageId, Retry, Sent, Trouble};
use push_core::plan::{Device, PlannedTarget};
use push_core::provider::{Platform, Provider};
use push_core::settle::{Fate, Hold, HoldReason, Report, Try};
use push_core::token::{ExpoToken, FcmToken};

/// A device at a provider.
pub type Target = (u64, Provider);

/// A job as it lies in a queue or in the database: known by its JSON, as there.
#[derive(Clone)]
pub struct Message {
    key: u64,
    job: Arc<Job>,
}

impl Message {
    /// The trail of failures is left out: it is told to people, and decides nothing.
    pub fn of(mut job: Job) -> Self {
        job.progress.trail.clear();
        let mut hasher = DefaultHasher::new();
        job.encode().hash(&mut hasher);
        Self {
            key: hasher.finish(),
            job: Arc::new(job),
        }
    }

    /// The first job of the notification, as the API publishes it.
    pub fn first() -> Self {
        Self::of(Job::first(notification()))
    }

    /// The job that it carries.
    pub fn job(&self) -> &Job {
        &self.job
    }

    /// The same job with another round.
    pub fn with_round(&self, round: u32) -> Self {
        Self::of(Job {
            round,
            ..Job::clone(&self.job)
        })
    }
}

impl PartialEq for Message {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for Message {}

impl PartialOrd for Message {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Message {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key.cmp(&other.key)
    }
}

impl Hash for Message {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key.hash(state);
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Job { round, targets, .. } = self.job();
        write!(f, "round {round} for ")?;
        let Some(targets) = targets else {
            return f.write_str("every device");
        };
        let told = targets.iter().map(|target| {
            let (device, provider, tries) = (target.registration.0, target.provider, target.tries);
            format!("{device} at {provider} after {tries} ({:?})", target.sent)
        });
        f.debug_list().entries(told).finish()
    }
}

fn now() -> DateTime<Utc> {
    DateTime::UNIX_EPOCH
}

fn notification() -> Notification {
    Notification {
        id: NotificationId::from(uuid::Uuid::from_u128(1)),
        customer: CustomerId::try_from(1).unwrap(),
        kind: NotificationType::service_update(),
        content: Content {
            title: Title::parse("t").unwrap(),
            body: Body::parse("b").unwrap(),
            data: Data::default(),
            image_url: None,
        },
        priority: Priority::High,
        collapse_key: None,
        created_at: now(),
        send_at: None,
        expires_at: now() + TimeDelta::days(1),
    }
}

/// A device with the tokens that it has.
pub fn device(registration: u64, providers: &[Provider]) -> Device {
    let has = |provider| providers.contains(&provider);
    Device {
        registration: RegistrationId(registration),
        device_id: None,
        platform: Platform::Android,
        fcm: has(Provider::Fcm)
            .then(|| FcmToken::parse(&format!("fcm-token-of-device-{registration:04}")).unwrap()),
        expo: has(Provider::Expo).then(|| {
            ExpoToken::parse(&format!("ExponentPushToken[device-{registration:04}]")).unwrap()
        }),
    }
}

/// The devices without the tokens that are switched off.
pub fn alive(devices: &[Device], dead: &BTreeSet<Target>) -> Vec<Device> {
    let is_dead = |device: &Device, provider| dead.contains(&(device.registration.0, provider));
    let mut alive = devices.to_vec();
    for device in &mut alive {
        if is_dead(device, Provider::Fcm) {
            device.fcm = None;
        }
        if is_dead(device, Provider::Expo) {
            device.expo = None;
        }
    }
    alive
}

/// What became of one request, as the world knows it and as the worker hears it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Answer {
    /// Shown, and said so.
    Accepted,
    /// Shown, but the answer never came.
    SilentShown,
    /// Not shown, and no answer came.
    SilentLost,
    /// Not now; surely not shown.
    NotNow,
    /// The token is dead, from now on and for ever.
    Dead,
    /// Credentials are wrong: an operator must act.
    Operator,
    /// The message will never be taken.
    Refused,
    /// No request at all: the worker was not sure of its claim any more.
    Withheld,
}

impl Answer {
    /// Whether the phone rang.
    pub const fn is_shown(self) -> bool {
        match self {
            Self::Accepted | Self::SilentShown => true,
            Self::SilentLost
            | Self::NotNow
            | Self::Dead
            | Self::Operator
            | Self::Refused
            | Self::Withheld => false,
        }
    }

    /// Whether the provider will say the same of this token again.
    pub const fn is_for_good(self) -> bool {
        match self {
            Self::Dead | Self::Operator | Self::Refused => true,
            Self::Accepted
            | Self::SilentShown
            | Self::SilentLost
            | Self::NotNow
            | Self::Withheld => false,
        }
    }

    /// What the worker makes of it. `None`: nothing was tried.
    fn outcome(self) -> Option<Outcome> {
        let cause = || Cause::new("x", "x");
        let retry = |sent| {
            Outcome::Retry(Retry {
                cause: cause(),
                pause: Pause::AtLeast(Duration::ZERO),
                sent,
                trouble: Trouble::Provider,
            })
        };
        match self {
            Self::Accepted => Some(Outcome::Accepted(ProviderMessageId::new("x"))),
            Self::SilentShown | Self::SilentLost => Some(retry(Sent::Maybe)),
            Self::NotNow => Some(retry(Sent::SurelyNot)),
            Self::Dead => Some(Outcome::TokenDead(cause())),
            Self::Operator => Some(Outcome::operator_must_act(cause())),
            Self::Refused => Some(Outcome::Refused(cause())),
            Self::Withheld => None,
        }
    }

    /// Whether the next provider may be asked for the same device.
    fn permits_next_route(self) -> bool {
        self.outcome()
            .is_some_and(|outcome| outcome.permits_next_route())
    }
}

/// Whether a target has had its turn: accepted, to be tried later, or without a further route.
fn is_over(planned: &PlannedTarget, answers: &[Answer]) -> bool {
    match answers.last() {
        None => planned.routes.is_empty(),
        Some(last) => !last.permits_next_route() || answers.len() == planned.routes.len(),
    }
}

/// The target and the route whose turn it is; `None` when all had theirs.
pub fn turn(plan: &[PlannedTarget], answers: &[Vec<Answer>]) -> Option<(usize, Target)> {
    plan.iter().enumerate().find_map(|(index, planned)| {
        let heard = answers.get(index).map_or(&[][..], Vec::as_slice);
        if is_over(planned, heard) {
            return None;
        }
        let token = planned.routes.get(heard.len())?;
        Some((index, (planned.target.registration.0, token.provider())))
    })
}

/// What the worker reports of its round, as `push-worker/src/deliver.rs` makes it.
pub fn reports(plan: Vec<PlannedTarget>, answers: &[Vec<Answer>]) -> Vec<Report> {
    let report = |(index, planned): (usize, PlannedTarget)| {
        let heard = answers.get(index).map_or(&[][..], Vec::as_slice);
        let tried = |(token, answer): (_, &Answer)| {
            Some(Try {
                token: Clone::clone(token),
                outcome: answer.outcome()?,
                at: now(),
            })
        };
        let tries = planned.routes.iter().zip(heard).filter_map(tried).collect();
        let withheld = heard.iter().position(|answer| *answer == Answer::Withheld);
        let fate = if let Some(next) = withheld.and_then(|index| planned.routes.get(index)) {
            Fate::Held(Hold {
                reason: HoldReason::ClaimOver,
                wait: Duration::ZERO,
                tried: tries,
                next: next.provider(),
            })
        } else if planned.routes.is_empty() {
            Fate::Gone
        } else {
            Fate::Tried(tries)
        };
        Report {
            planned,
            fate,
            passed_over: None,
        }
    };
    plan.into_iter().enumerate().map(report).collect()
}

/// The moment at which all happens: the model has no clock, only an order.
pub fn at() -> DateTime<Utc> {
    now()
}
