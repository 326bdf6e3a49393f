//! All the SQL of the push service, for MariaDB 10.11+ and MySQL 8+: one file per table or topic,
//! plain `async fn`s on a [`Store`].
//!
//! House rules:
//! - Statements are constants, listed in their file's `STATEMENTS`: a test prepares each against the migrated schema.
//!   None is built: many rows come as one JSON array (`bulk.rs` says why).
//! - Every statement that settles something is conditional on the state it leaves, so that a copy of a
//!   job changes nothing.
//! - Rows are locked in the order of their keys; a deadlock is retried here, never by callers.
//! - An error never holds data: the texts of the database do, so they end in [`StoreError`]'s `From`.
//! - `now` is a parameter. Times are kept in UTC with milliseconds.

mod bookings;
mod bulk;
mod collapse;
mod content;
#[doc(hidden)]
pub mod counted;
mod customers;
mod dead_letters;
mod decode;
mod devices;
mod encryption;
mod erasure;
mod error;
mod hash;
mod history;
mod idempotency;
mod lease;
mod migrate;
mod operations;
mod owner;
mod preferences;
mod purge;
mod quiet;
mod rate;
mod receipts;
mod reseal;
mod retention;
mod retry;
mod scheduled;
mod sealing;
mod sessions;
mod stats;
mod store;
mod switches;
mod transport;
mod waiting;
mod worker_reports;

pub use dead_letters::{
    DeadLetterId, DeadLetterRecord, Discard, Filter, Kept, KeptBytes, LetterCounts, LetterDetails,
    LetterPlace, LetterView, Refusal, Replay, Replayed, ReplayedJob, TargetNow,
};
pub use devices::{Customer, DeadToken, Identification, Registered, Registration, SwitchedOff};
pub use encryption::KeyInUse;
pub use erasure::Again;
pub use error::{StoreError, TlsFault, Unavailable};
pub use history::{
    Acceptance, Books, Cancelling, Claim, ClaimId, ClaimedRound, Claiming, Committed, DeliveryView,
    Due, DueJob, DueTaken, Held, Item, NotificationView, Recording, State, StoredContent,
    TimelineView, ToAccept, UnknownCustomer, WhyDue,
};
pub use history::{HistoryFilter, HistoryItem, HistoryPlace, Opened};
pub use idempotency::{Compose, IdempotencyKey, KEPT_FOR, KeptAnswer, Keyed};
pub use lease::Lease;
pub use migrate::Migrated;
pub use operations::{
    DueBytes, How, NewOperation, OperationId, OperationState, OperationView, Running, Step, Taken,
    Work,
};
pub use owner::Owner;
pub use receipts::{Noted, ReceiptsRecorded};
pub use reseal::Resealed;
pub use retention::{Aging, EmptiedRows};
pub use sessions::{Session, SessionHash};
pub use stats::{Correction, Figures, FiguresOf, Interval, ProviderFigures, Spread};
pub use store::{PoolState, Store, StoreSettings, parse_url};
pub use switches::Switch;
pub use transport::Transport;
pub use waiting::Waiting;
pub use worker_reports::SeenWorker;

/// Directives that every log filter of a program must end with, whatever an operator configures.
///
/// The driver logs a line for each connection that breaks or cannot be prepared; of an outage its callers tell
/// themselves, once.
pub const LOG_DIRECTIVES: &str = "sqlx=off";

#[cfg(test)]
mod tests;
