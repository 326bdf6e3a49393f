//! `notification_counters` and `notification_counter_changes`: the figures, exact at every moment (P8).
//!
//! A notification is counted under the hour in which it was accepted and its type, whatever becomes of it and whenever:
//! the counts are a function of the rows of `notification_history` and `notification_deliveries`. So whoever changes a
//! row says what is no longer true of it and what is from now on, and writes that in the transaction of the change:
//!
//! ```text
//! Changes::accepted(&notifications).write(connection).await?; // new rows, pending
//!
//! let mut changes = Changes::default();
//! changes.moved(&counted, None, Some(&standing));  // pending, then ended: `None` is pending
//! changes.opened(&counted); // it got its opened_at
//! changes.write(&mut transaction).await?; // once, just before the commit
//! ```
//!
//! `lock` of the history reads what it takes: [`Locked::counted`](crate::history::lock::Locked).

pub(crate) mod changes;
pub(crate) mod counter;
pub(crate) mod figures;
pub(crate) mod fold;
pub(crate) mod read;
pub(crate) mod recount;
pub(crate) mod spread;

pub(crate) use changes::{Changes, Counted, Standing};
pub use figures::{Figures, ProviderFigures};
pub use read::{FiguresOf, Interval};
pub use recount::Correction;
pub use spread::Spread;
