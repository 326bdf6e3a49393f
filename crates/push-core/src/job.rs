//! The job: what travels through the queue. The only file that knows its JSON.
//!
//! A job is self-contained but for tokens, which are looked up afresh at each attempt, so that a
//! token that moved to another customer is never used (P4). It is versioned; an old version stays
//! readable, an unknown one is refused with a reason.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::id::{CustomerId, NotificationId, RegistrationId};
use crate::lane::Barrier;
use crate::notification::Notification;
use crate::outcome::{Cause, Sent};
use crate::provider::{PerProvider, Platform, Provider};
use crate::status::ProviderResult;
use crate::token::MaskedToken;

/// The version written by this program.
const VERSION: u64 = 1;

/// One round through the queue for a notification.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Job {
    /// What to send, and to whom.
    #[serde(flatten)]
    pub notification: Notification,
    /// The round: 1 for the job that the API publishes, one more for each that follows. A job whose
    /// round has been recorded is a stale copy.
    #[serde(deserialize_with = "a_round")]
    pub round: u32,
    /// Those still to be reached; `None` in the first round: every active device of the customer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub targets: Option<Vec<JobTarget>>,
    /// What earlier rounds came to.
    #[serde(default)]
    pub progress: Progress,
    /// Whether a worker had this very round in hand and was interrupted before its record, so that any target may have
    /// been reached. No part of the message: known only when the job is admitted.
    #[serde(skip)]
    pub interrupted: bool,
}

/// A device that is still to be reached, and through which provider next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobTarget {
    /// The device.
    pub registration: RegistrationId,
    /// The provider whose turn it is.
    pub provider: Provider,
    /// Tries spent so far.
    pub tries: u32,
    /// Whether an earlier try may have got through: then no other provider is asked.
    pub sent: Sent,
    /// Not to be tried before this, because the provider asked so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<DateTime<Utc>>,
    /// That its provider's lane did not take it the last times.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub put_back: Option<PutBack>,
    /// What an operator can mend at a provider that was asked before: should no other one deliver, that is why it is given
    /// up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_mend: Option<ToMend>,
}

/// A provider whose credentials, project or sender are wrong for a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ToMend {
    /// Which.
    pub provider: Provider,
    /// The token that was used, for people.
    pub token: MaskedToken,
    /// What is wrong.
    pub cause: Cause,
}

/// How often a target was put back in a row because its provider's lane did not take it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PutBack {
    /// So often.
    pub times: u32,
    /// Why, the last time.
    pub barrier: Barrier,
}

impl JobTarget {
    /// Whether nobody can have sent it anything yet.
    #[must_use]
    pub const fn never_tried(&self) -> bool {
        self.tries == 0 && matches!(self.sent, Sent::SurelyNot)
    }
}

/// What earlier rounds came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// Over all devices tried so far.
    pub results: PerProvider<ProviderResult>,
    /// Whether the provider refused the message itself for some device.
    #[serde(default)]
    pub refused: bool,
    /// Whether it was given up before, and is tried again because an operator said so: then a target without a try is
    /// not one that was never tried.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub replayed: bool,
    /// Devices given up for a reason that an operator can mend; dead-lettered when the rest is settled.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub given_up: Vec<GivenUp>,
    /// The failures so far, oldest first, at most [`Progress::TRAIL_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trail: Vec<TrailEntry>,
}

impl Progress {
    /// Enough for the default ladder with a household of devices; beyond it the newest are kept.
    pub const TRAIL_MAX: usize = 50;

    /// Adds a failure to the trail, dropping the oldest when it is full.
    pub fn remember(&mut self, entry: TrailEntry) {
        if self.trail.len() == Self::TRAIL_MAX {
            self.trail.remove(0);
        }
        self.trail.push(entry);
    }
}

/// A target that will not be tried again, and could be if an operator mended the cause.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GivenUp {
    /// The device.
    pub registration: RegistrationId,
    /// The provider that was asked last.
    pub provider: Provider,
    /// What the device runs; `None` when it is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// Its token, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<MaskedToken>,
    /// Why it was given up.
    pub reason: GiveUpReason,
    /// The last failure.
    pub cause: Cause,
    /// Tries spent.
    pub tries: u32,
    /// Whether some try may have reached the device all the same: then a replay asks no other provider, and says so.
    #[serde(default, skip_serializing_if = "Sent::is_surely_not")]
    pub sent: Sent,
}

crate::provider::spelled! {
    /// Why a target was given up (`dead_letters.reason`).
    GiveUpReason {
        /// Every rung of the ladder was climbed.
        RetriesExhausted = "retries_exhausted",
        /// It would have expired before the next attempt.
        Expired = "expired",
        /// Credentials, project or sender are wrong.
        OperatorMustAct = "operator_must_act",
        /// The broker gave the job up after too many deliveries: it may crash workers.
        DeliveryLimit = "delivery_limit",
        /// The job could not be read.
        Poison = "poison",
        /// A worker could not process it: the notification is unknown, or the database refused it.
        Unprocessable = "unprocessable",
    }
}

/// One failed try.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TrailEntry {
    /// When the answer came, or did not.
    pub at: DateTime<Utc>,
    /// Who was asked.
    pub provider: Provider,
    /// For which device.
    pub registration: RegistrationId,
    /// What was wrong.
    #[serde(flatten)]
    pub cause: Cause,
}

/// Why bytes are not a job.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAJob {
    /// Not JSON at all, or no object.
    #[error("is not a JSON object")]
    NotJson,
    /// No version, or one that this program does not know.
    #[error(
        "has version {0}, and this worker reads {VERSION} only: it was written by a newer program"
    )]
    UnknownVersion(String),
    /// A field is missing or holds what it must not. Names the place, never the content.
    #[error(
        "is a version {VERSION} job with a field missing or wrong, at line {line} column {column}"
    )]
    BadField {
        /// Line of the JSON, from 1.
        line: usize,
        /// Column of the JSON, from 1.
        column: usize,
    },
}

/// Far beyond any ladder, and far from where counting on would overflow.
const ROUND_MAX: u32 = 1_000_000_000;

/// Whoever wrote the message: a round is counted from 1.
fn a_round<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let round = u32::deserialize(deserializer)?;
    if (1..=ROUND_MAX).contains(&round) {
        Ok(round)
    } else {
        Err(serde::de::Error::custom("a round is counted from 1"))
    }
}

#[derive(Serialize)]
struct Versioned<'a> {
    v: u64,
    #[serde(flatten)]
    job: &'a Job,
}

#[derive(Deserialize)]
struct VersionOnly {
    #[serde(default)]
    v: serde_json::Value,
}

impl Job {
    /// The first job of a notification.
    #[must_use]
    pub fn first(notification: Notification) -> Self {
        Self {
            notification,
            round: 1,
            targets: None,
            progress: Progress::default(),
            interrupted: false,
        }
    }

    /// The JSON to publish.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        // Only a map with keys that are not strings could fail, and there is none.
        serde_json::to_vec(&Versioned {
            v: VERSION,
            job: self,
        })
        .unwrap_or_default()
    }

    /// Whether nobody can have sent any of it yet.
    #[must_use]
    pub fn is_untouched(&self) -> bool {
        let mut targets = self.targets.iter().flatten();
        !self.interrupted
            && self.progress == Progress::default()
            && targets.all(JobTarget::never_tried)
    }

    /// Whether nothing is left to try: such a job is a dead letter, and belongs on `push.dead`.
    #[must_use]
    pub fn is_given_up(&self) -> bool {
        self.targets.as_ref().is_some_and(Vec::is_empty)
    }

    /// Reads a job from the queue, whoever put it there.
    ///
    /// # Errors
    /// [`NotAJob`] with the reason; it never panics.
    pub fn decode(bytes: &[u8]) -> Result<Self, NotAJob> {
        let version: VersionOnly = serde_json::from_slice(bytes).map_err(|_| NotAJob::NotJson)?;
        if version.v.as_u64() != Some(VERSION) {
            return Err(NotAJob::UnknownVersion(
                version.v.to_string().chars().take(20).collect(),
            ));
        }
        serde_json::from_slice(bytes).map_err(|error| NotAJob::BadField {
            line: error.line(),
            column: error.column(),
        })
    }
}

/// Whom and what bytes are about that are no job, as far as they say so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// The notification.
    pub notification: Option<NotificationId>,
    /// Its customer.
    pub customer: Option<CustomerId>,
}

impl About {
    /// Looks for the fields of a job, also where the rest of it is no JSON. A text that looks like one is none: in JSON its
    /// quotes are escaped.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let notification = value_of(&text, r#""notificationId""#).and_then(|value| {
            let id = value.strip_prefix('"')?.split('"').next()?;
            Uuid::parse_str(id).ok().map(NotificationId::from)
        });
        let customer = value_of(&text, r#""customerId""#).and_then(|value| {
            // What is cut in the middle of a number is another one.
            let (id, _) = value.split_once(|next: char| !next.is_ascii_digit())?;
            CustomerId::try_from(id.parse::<i64>().ok()?).ok()
        });
        Self {
            notification,
            customer,
        }
    }
}

/// What follows a field's name.
fn value_of<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(name)?;
    rest.trim_start().strip_prefix(':').map(str::trim_start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whom_bytes_are_about_that_are_no_job_is_read_as_far_as_it_is_there() {
        let uuid = "0196f2d4-1b6e-7c3a-9a55-3f1f6f0a1b2c";
        let id = Uuid::parse_str(uuid).unwrap().into();
        let of = |text: &str| {
            let about = About::read(text.as_bytes());
            (about.notification, about.customer.map(CustomerId::get))
        };
        let job = format!(r#"{{"v":9,"notificationId":"{uuid}","customerId":7,"title":"T"}}"#);
        assert_eq!(of(&job), (Some(id), Some(7)));
        assert_eq!(of(&job[..70]), (Some(id), None), "cut");
        let (number, _) = job.split_once("7,").unwrap();
        let cut = format!("{number}7");
        assert_eq!(of(&cut), (Some(id), None), "cut in a number, perhaps");
        assert_eq!(
            of(r#"{"customerId" : 12 , "notificationId":"none"}"#),
            (None, Some(12))
        );
        let quoted = serde_json::json!({"title": job, "data": {"customerId": "5"}}).to_string();
        for nothing in [
            quoted.as_str(),
            "",
            "\"customerId\"",
            r#"{"customerId":-7}"#,
        ] {
            assert_eq!(of(nothing), (None, None), "{nothing}");
        }
        assert_eq!(
            About::read(b"\xff\"customerId\":3,")
                .customer
                .map(CustomerId::get),
            Some(3)
        );
    }

    /// Jobs of version 1 as they lie in queues during an upgrade: this file may only be added to.
    const GOLDEN_V1: &str = include_str!("../golden/job_v1.json");

    #[test]
    fn version_1_stays_readable_and_is_written_the_same() {
        let golden: serde_json::Value = serde_json::from_str(GOLDEN_V1).unwrap();
        for job in golden.as_array().unwrap() {
            let decoded = Job::decode(job.to_string().as_bytes()).unwrap();
            let again: serde_json::Value = serde_json::from_slice(&decoded.encode()).unwrap();
            assert_eq!(&again, job);
        }
    }

    #[test]
    fn what_is_no_job_says_why() {
        let job = &serde_json::from_str::<serde_json::Value>(GOLDEN_V1).unwrap()[0];
        assert_eq!(Job::decode(b"\xff\x00garbage"), Err(NotAJob::NotJson));
        assert_eq!(Job::decode(b"\"text\""), Err(NotAJob::NotJson));
        assert_eq!(
            Job::decode(b"{}"),
            Err(NotAJob::UnknownVersion("null".to_owned()))
        );
        let mut newer = job.clone();
        newer["v"] = 2.into();
        assert_eq!(
            Job::decode(newer.to_string().as_bytes()),
            Err(NotAJob::UnknownVersion("2".to_owned()))
        );
        for field in [
            "notificationId",
            "customerId",
            "title",
            "expiresAt",
            "round",
        ] {
            let mut less = job.clone();
            less.as_object_mut().unwrap().remove(field);
            assert!(
                matches!(
                    Job::decode(less.to_string().as_bytes()),
                    Err(NotAJob::BadField { .. })
                ),
                "{field}"
            );
        }
        for round in [0, u64::from(ROUND_MAX) + 1, u64::from(u32::MAX), u64::MAX] {
            let mut odd = job.clone();
            odd["round"] = round.into();
            let told = Job::decode(odd.to_string().as_bytes());
            assert!(matches!(told, Err(NotAJob::BadField { .. })), "{round}");
        }
    }
}
