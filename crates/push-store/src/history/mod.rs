//! `notification_history` and `notification_deliveries`: every notification, and what became of it.

pub(crate) mod accept;
pub(crate) mod books;
pub(crate) mod cancel;
pub(crate) mod claim;
pub(crate) mod content;
pub(crate) mod deliveries;
pub(crate) mod due;
pub(crate) mod filter;
pub(crate) mod late;
pub(crate) mod list;
pub(crate) mod lock;
pub(crate) mod opened;
pub(crate) mod record;
pub(crate) mod state;
pub(crate) mod timeline;
pub(crate) mod view;

use std::fmt;
use std::time::Duration;

pub use accept::ToAccept;
pub use cancel::Cancelling;
pub use claim::{Claim, ClaimId, Claiming, Held};
pub use filter::{HistoryFilter, HistoryPlace};

use chrono::{DateTime, Utc};
use push_core::booking::Ignored;
use push_core::changed::{Changed, CustomerVersion};
use push_core::id::{CustomerId, DeviceId, NotificationId, RegistrationId};
use push_core::job::Job;
use push_core::notification::{CollapseKey, Data, NotificationType, Priority};
use push_core::outcome::Cause;
use push_core::provider::{Platform, Provider};
use push_core::settle::{DeliveryOutcome, Settlement};
use push_core::status::{ProviderResult, Reason, Status};
use push_core::token::MaskedToken;
use serde::Deserialize;

use crate::idempotency::KeptAnswer;

/// The table of the rows that are read here.
pub(crate) const TABLE: &str = "notification_history";

/// What to do with a customer that `customers` does not have (`UNKNOWN_CUSTOMER`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownCustomer {
    /// Do not accept.
    Reject,
    /// Add the customer, and accept.
    Create,
}

/// What became of one request in [`Store::accept`](crate::Store::accept).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Acceptance {
    /// This became of each of its notifications, in order; of an event without a notification there is one, too.
    Now(Vec<Item>),
    /// The same was asked for before under its key, and answered so; nothing was stored.
    Before(KeptAnswer),
    /// Something else was asked for before under its key; nothing was stored.
    KeyReused,
}

/// What became of one notification of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Item {
    /// It is committed (P1).
    Accepted,
    /// The customer does not exist; nothing was stored.
    UnknownCustomer,
    /// It is about an event of which the customer is told nothing.
    Ignored(Ignored),
    /// The customer has got as many as it may (`RATE_LIMIT_PER_CUSTOMER`): one more is accepted after so long. Nothing was
    /// stored.
    RateLimited(Duration),
}

/// What [`Store::accept`](crate::Store::accept) has committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// What became of each request, in order.
    pub acceptances: Vec<Acceptance>,
    /// Customers of whom a notification is overtaken that some worker has in hand just now: tell the workers, and it is
    /// not sent.
    pub changed: Vec<Changed>,
}

/// A round that was worked on under a claim, and what follows from it.
#[derive(Debug, Clone)]
pub struct ClaimedRound {
    /// The claim. If somebody else has taken it meanwhile, the record does not count.
    pub claim: ClaimId,
    /// At which version of the customer it was worked on: what waits because of the preferences waits no longer when they
    /// have changed since.
    pub version: CustomerVersion,
    /// What is recorded.
    pub settlement: Settlement,
}

/// What became of one settlement in [`Store::record`](crate::Store::record).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recording {
    /// It is committed.
    Recorded,
    /// The round had been recorded by somebody else or is in another worker's hands, the notification had ended, or
    /// there is none: nothing was changed, and nothing may follow from the settlement. Acknowledge the job.
    Stale,
}

/// Where a notification stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State {
    /// Its status.
    pub status: Status,
    /// Over all devices at FCM.
    pub fcm: ProviderResult,
    /// Over all devices at Expo.
    pub expo: ProviderResult,
    /// Why it failed or was suppressed.
    pub reason: Option<Reason>,
    /// Most tries spent on any device.
    pub attempts: u32,
}

/// Content as it stands in the history: emptied by retention and erasure, so it need not be valid any
/// more. Its `Debug` shows sizes only.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredContent {
    /// The headline.
    pub title: String,
    /// The text.
    pub body: String,
    /// Key-value pairs for the app.
    pub data: Data,
    /// A picture shown with it.
    pub image_url: Option<String>,
}

impl fmt::Debug for StoredContent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.title.len() + self.body.len();
        write!(f, "StoredContent({bytes} bytes, {:?})", self.data)
    }
}

/// All that is known of a notification: for `GET notifications/{id}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotificationView {
    /// Its id.
    pub id: NotificationId,
    /// Whom it is for.
    pub customer: CustomerId,
    /// What kind of news it is.
    pub kind: NotificationType,
    /// What the customer reads.
    pub content: StoredContent,
    /// How urgently the device is woken.
    pub priority: Priority,
    /// What it replaces.
    pub collapse_key: Option<CollapseKey>,
    /// Where it stands.
    pub state: State,
    /// When it was accepted.
    pub created_at: DateTime<Utc>,
    /// It is not sent before; `None`: at once.
    pub send_at: Option<DateTime<Utc>>,
    /// From when on it is not sent any more.
    pub expires_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub completed_at: Option<DateTime<Utc>>,
    /// When the customer opened it.
    pub opened_at: Option<DateTime<Utc>>,
    /// The last word on each device at each provider.
    pub deliveries: Vec<DeliveryView>,
    /// Every decision, oldest first.
    pub timeline: Vec<TimelineView>,
}

/// A notification, as a list shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryItem {
    /// Its place in the list.
    pub place: HistoryPlace,
    /// All that its row holds but the timeline; its deliveries are not read either.
    pub notification: NotificationView,
}

/// What came of telling that a notification was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opened {
    /// It is noted, at this time.
    First(DateTime<Utc>),
    /// It was opened before, at this time: nothing was changed.
    Before(DateTime<Utc>),
    /// There is none, or not for this customer.
    Unknown,
}

/// A decision as it was written down.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct TimelineView {
    /// When it was made.
    pub at: DateTime<Utc>,
    /// What kind it is: a [`Step`](push_core::timeline::Step), or one that a newer program knows.
    pub step: String,
    /// What was decided, and why.
    pub text: String,
}

/// The last word on one device at one provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryView {
    /// The device's row.
    pub registration: RegistrationId,
    /// The app's own name for the device.
    pub device_id: Option<DeviceId>,
    /// What it runs.
    pub platform: Option<Platform>,
    /// Who was asked.
    pub provider: Provider,
    /// The token that was used.
    pub token: Option<MaskedToken>,
    /// What came of it.
    pub outcome: DeliveryOutcome,
    /// The provider's id of the message, when it accepted.
    pub provider_id: Option<String>,
    /// Tries spent.
    pub attempts: u32,
    /// Whether some try ended without a clear answer.
    pub maybe_delivered: bool,
    /// Why it was not accepted.
    pub error: Option<Cause>,
    /// What Expo's receipt said.
    pub receipt: Option<String>,
    /// When.
    pub at: DateTime<Utc>,
}

/// A pending notification that no queue seems to know any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueJob {
    /// What to publish: to `push.dead` when it [is given up](Job::is_given_up), else to `push.jobs`.
    pub job: Job,
    /// Since when it has been due.
    pub due_at: DateTime<Utc>,
    /// Why it was in no queue.
    pub why: WhyDue,
}

/// Why a pending notification is in no queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhyDue {
    /// The broker did not take it, or lost it.
    Lost,
    /// It has waited for the end of the customer's quiet hours.
    QuietHoursOver,
    /// It was scheduled, and its time has come.
    TimeCame,
}

/// What was taken to be published.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DueTaken {
    /// The jobs, longest due first.
    pub jobs: Vec<DueJob>,
    /// Customers of whom something else is on its way just now that is out of date by this: tell the workers.
    pub changed: Vec<Changed>,
}

/// Which pending notifications are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Those that wait in the database for a time that was chosen, and were never published before that.
    Timed,
    /// Those that surely are in no queue, because the broker did not take them.
    Unpublished,
    /// Those that were published, and without news for longer than they should be.
    Overdue,
}

impl Due {
    /// As the column `unpublished` says it.
    pub(crate) const fn unpublished(self) -> u8 {
        match self {
            Self::Overdue => 0,
            Self::Unpublished => 1,
            Self::Timed => 2,
        }
    }
}

/// The books (P8) at one moment: what was counted with every change, beside those that are pending by the rows. If a change
/// were not counted, or counted twice, they would not balance. What leaks is pending for ever.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Books {
    /// All that was ever accepted and is still kept.
    pub accepted: u64,
    /// Of these: sent.
    pub sent: u64,
    /// Of these: failed.
    pub failed: u64,
    /// Of these: suppressed.
    pub suppressed: u64,
    /// Rows that are pending.
    pub pending: u64,
    /// Of the pending: those without a time at which somebody would look for them.
    pub leaked: u64,
    /// Of the pending: those that nobody has looked after for long. They wait in a backlog, or no worker runs.
    pub overdue: u64,
}

impl Books {
    /// What was accepted and is not accounted for; below zero: what is there and was never accepted.
    #[must_use]
    pub fn out_of_balance(&self) -> i64 {
        let signed = |count| i64::try_from(count).unwrap_or(i64::MAX);
        let ended = self.sent + self.failed + self.suppressed;
        signed(self.accepted) - signed(ended) - (signed(self.pending) - signed(self.leaked))
    }
}
