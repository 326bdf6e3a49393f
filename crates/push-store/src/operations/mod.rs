//! `operations`: replaying or discarding many dead letters, and erasing a customer. An operation's place stands in its row
//! and moves in the same transaction as what it is about, so that it goes on exactly where it stood, whoever dies.

pub(crate) mod bytes;
pub(crate) mod create;
pub(crate) mod erase;
pub(crate) mod step;
pub(crate) mod view;

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use push_core::id::CustomerId;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use bytes::DueBytes;
pub use step::{How, Running, Step, Taken};

use crate::dead_letters::{Filter, Refusal};

/// A row of `operations`: a version 7 UUID, so that the newest is the greatest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OperationId(pub Uuid);

impl OperationId {
    /// A new one.
    #[must_use]
    pub fn generate() -> Self {
        Self(Uuid::now_v7())
    }
}

/// What is done, with each letter where it is about letters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum Work {
    /// It is tried again.
    #[serde(rename_all = "camelCase")]
    Replay {
        /// What has expired, or would sooner, may be sent for so many seconds from then on.
        extend_ttl_seconds: Option<u64>,
    },
    /// It is put aside.
    #[serde(rename_all = "camelCase")]
    Discard {
        /// Why.
        reason: String,
    },
    /// What waits for the customer of the filter is ended, and the content of all notifications is emptied.
    #[serde(rename_all = "camelCase")]
    Erase {
        /// Which customer.
        customer: CustomerId,
        /// `customer_erasures.mark`: of those that were accepted before it.
        mark: u64,
    },
}

impl Work {
    /// `operations.kind`.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Replay { .. } => "replay_dead_letters",
            Self::Discard { .. } => "discard_dead_letters",
            Self::Erase { .. } => ERASE,
        }
    }

    fn extend_ttl(&self) -> Option<Duration> {
        match self {
            Self::Replay { extend_ttl_seconds } => extend_ttl_seconds.map(Duration::from_secs),
            Self::Discard { .. } | Self::Erase { .. } => None,
        }
    }
}

/// An operation of this kind goes on to its end: what it empties must not stay.
const ERASE: &str = "erase_customer";

/// `operations.state`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OperationState {
    /// A worker works on it, or will.
    Running,
    /// Every letter was handled, or could not be.
    Done,
    /// Somebody has stopped it.
    Cancelled,
    /// It cannot go on.
    Failed,
}

impl OperationState {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Running, Self::Done, Self::Cancelled, Self::Failed];

    /// The spelling in the database and in answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
        }
    }

    fn from_spelling(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

/// An operation to be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewOperation {
    /// What to do.
    pub work: Work,
    /// With which letters; of those, the open ones.
    pub filter: Filter,
    /// Letters a second at most.
    pub per_second: u32,
    /// Who says so.
    pub by: String,
}

/// What an operation was started with (`operations.parameters`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Parameters {
    pub(crate) work: Work,
    pub(crate) filter: Filter,
    pub(crate) per_second: u32,
    /// Letters that came later are not meant.
    pub(crate) up_to: u64,
}

/// How an operation stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperationView {
    /// Its id.
    pub id: OperationId,
    /// What is done; `None` where a newer program wrote it.
    pub work: Option<Work>,
    /// `operations.kind`.
    pub kind: String,
    /// How it stands.
    pub state: OperationState,
    /// Letters, or notifications, that it is about.
    pub total: u64,
    /// Those that were handled.
    pub done: u64,
    /// Those that could not be.
    pub failed: u64,
    /// Why, and how many of them.
    pub failures: BTreeMap<String, u64>,
    /// Letters whose notification is pending: it comes back to them.
    pub waiting: u64,
    /// Which letters.
    pub filter: Filter,
    /// Letters, or notifications, a second at most.
    pub per_second: u32,
    /// Who said so.
    pub by: Option<String>,
    /// When.
    pub created_at: DateTime<Utc>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
}

/// Why a letter could not be handled, as an operation counts it.
const fn failure(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::Unknown | Refusal::AlreadyReplayed | Refusal::AlreadyDiscarded => ALREADY_HANDLED,
        Refusal::Pending => "notification_pending",
        Refusal::UnknownNotification => "unknown_notification",
        Refusal::ContentGone => "content_gone",
        Refusal::Cancelled => "cancelled",
        Refusal::Superseded => "superseded",
        Refusal::Expired => "expired",
        Refusal::IncompleteBytes => "incomplete_bytes",
        Refusal::Unreadable => "unreadable",
    }
}

/// Somebody else was faster.
const ALREADY_HANDLED: &str = "already_handled";
