//! The job: what travels through the queue. The only file that knows its JSON.
//!
//! A job is self-contained but for tokens, which are looked up afresh at each attempt, so that a
//! token that moved to another customer is never used (P4). It is versioned; an old version stays
//! readable, an unknown one is refused with a reason.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::id::{CustomerId, NotificationId, RegistrationId};
use crate::lane::Barrier;
use crate::notification::{
    Body, CollapseKey, Content, Data, ImageUrl, Notification, NotificationType, Priority, Title,
};
use crate::outcome::{Cause, Sent};
use crate::provider::{PerProvider, Platform, Provider};
use crate::status::ProviderResult;
use crate::token::MaskedToken;

/// The version written by this program.
const VERSION: u64 = 1;

/// One round through the queue for a notification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// What to send, and to whom.
    pub notification: Notification,
    /// The round: 1 for the job that the API publishes, one more for each that follows. A job whose
    /// round has been recorded is a stale copy.
    pub round: u32,
    /// Those still to be reached; `None` in the first round: every active device of the customer.
    pub targets: Option<Vec<JobTarget>>,
    /// What earlier rounds came to.
    pub progress: Progress,
    /// Whether a worker had this very round in hand and was interrupted before its record, so that any target may have
    /// been reached. No part of the message: known only when the job is admitted.
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
    /// Whether it waited in the database on purpose: then how long it was on its way says nothing about us.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub put_off: bool,
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
    /// Not JSON at all, which is UTF-8 (RFC 8259, section 8.1), or no object.
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

/// A job as the queue has it: borrowed when it is written, its own when it is read. Flat, because reading parts that are
/// flattened into each other takes twice as long.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire<'a> {
    v: u64,
    notification_id: NotificationId,
    customer_id: CustomerId,
    #[serde(rename = "type")]
    kind: Cow<'a, NotificationType>,
    title: Cow<'a, Title>,
    body: Cow<'a, Body>,
    #[serde(default)]
    data: Cow<'a, Data>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    image_url: Option<Cow<'a, ImageUrl>>,
    priority: Priority,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    collapse_key: Option<Cow<'a, CollapseKey>>,
    created_at: DateTime<Utc>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    send_at: Option<DateTime<Utc>>,
    expires_at: DateTime<Utc>,
    #[serde(deserialize_with = "a_round")]
    round: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    targets: Option<Cow<'a, [JobTarget]>>,
    #[serde(default)]
    progress: Cow<'a, Progress>,
}

impl<'a> From<&'a Job> for Wire<'a> {
    fn from(job: &'a Job) -> Self {
        let asked = &job.notification;
        Self {
            v: VERSION,
            notification_id: asked.id,
            customer_id: asked.customer,
            kind: Cow::Borrowed(&asked.kind),
            title: Cow::Borrowed(&asked.content.title),
            body: Cow::Borrowed(&asked.content.body),
            data: Cow::Borrowed(&asked.content.data),
            image_url: asked.content.image_url.as_ref().map(Cow::Borrowed),
            priority: asked.priority,
            collapse_key: asked.collapse_key.as_ref().map(Cow::Borrowed),
            created_at: asked.created_at,
            send_at: asked.send_at,
            expires_at: asked.expires_at,
            round: job.round,
            targets: job.targets.as_deref().map(Cow::Borrowed),
            progress: Cow::Borrowed(&job.progress),
        }
    }
}

impl From<Wire<'_>> for Job {
    fn from(wire: Wire<'_>) -> Self {
        Self {
            notification: Notification {
                id: wire.notification_id,
                customer: wire.customer_id,
                kind: wire.kind.into_owned(),
                content: Content {
                    title: wire.title.into_owned(),
                    body: wire.body.into_owned(),
                    data: wire.data.into_owned(),
                    image_url: wire.image_url.map(Cow::into_owned),
                },
                priority: wire.priority,
                collapse_key: wire.collapse_key.map(Cow::into_owned),
                created_at: wire.created_at,
                send_at: wire.send_at,
                expires_at: wire.expires_at,
            },
            round: wire.round,
            targets: wire.targets.map(Cow::into_owned),
            progress: wire.progress.into_owned(),
            interrupted: false,
        }
    }
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
        serde_json::to_vec(&Wire::from(self)).unwrap_or_default()
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
        // Here once for all, instead of for each text in it.
        let text = std::str::from_utf8(bytes).map_err(|_| NotAJob::NotJson)?;
        // An array of the fields' values would do for serde as well.
        if !text.trim_ascii_start().starts_with('{') {
            return Err(NotAJob::NotJson);
        }
        match serde_json::from_str::<Wire<'_>>(text) {
            Ok(wire) if wire.v == VERSION => Ok(wire.into()),
            Ok(wire) => Err(NotAJob::UnknownVersion(wire.v.to_string())),
            Err(error) => Err(NotAJob::because(text, &error)),
        }
    }
}

impl NotAJob {
    /// Another version may well lack a field of ours, so that is looked at first.
    fn because(text: &str, error: &serde_json::Error) -> Self {
        match serde_json::from_str(text) {
            Err(_) => Self::NotJson,
            Ok(VersionOnly { v }) if v.as_u64() == Some(VERSION) => Self::BadField {
                line: error.line(),
                column: error.column(),
            },
            Ok(VersionOnly { v }) => Self::UnknownVersion(v.to_string().chars().take(20).collect()),
        }
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
        let values = [
            r#"1, "0196f2d4-1b6e-7c3a-9a55-3f1f6f0a1b2c", 7, "offer", "T", "B", {}, null, "high", null"#,
            r#""2026-01-01T00:00:00Z", null, "2026-01-02T00:00:00Z", 1, null"#,
            r#"{"results": {"fcm": "not_sent", "expo": "not_sent"}}"#,
        ];
        let array = format!("[{}]", values.join(", "));
        assert_eq!(Job::decode(array.as_bytes()), Err(NotAJob::NotJson));
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
