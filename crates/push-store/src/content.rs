//! What is content, table by table: what erasure and retention empty. A column that holds a customer's texts, tokens, or
//! what leads to them is named here, and nowhere else is one emptied.
//!
//! Retention empties what a customer was told, and keeps what became of it. Erasure also takes what leads to the
//! customer's devices.

use push_core::id::NotificationId;
use push_core::timeline::TimelineEntry;
use sqlx::MySqlConnection;

use crate::bulk::{self, KEYS_MAX};
use crate::error::StoreError;
use crate::history::timeline::lines;

/// `notification_history.emptied` and `dead_letters.emptied`: why content is gone. Never less than before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Emptied {
    /// It was older than it is kept.
    Old,
    /// Its customer was erased.
    Erased,
}

impl Emptied {
    pub(crate) const fn as_u8(self) -> u8 {
        match self {
            Self::Old => 1,
            Self::Erased => 2,
        }
    }
}

/// The content columns of `notification_history AS history`.
macro_rules! history_content {
    () => {
        "history.title = '', history.body = '', history.data = NULL, history.image_url = NULL, history.sealed = NULL, \
         history.next_job = NULL"
    };
}

/// The content columns of `dead_letters AS letter`. What has no bytes any more must not keep the same from being recorded
/// when it comes again.
macro_rules! letter_content {
    () => {
        "letter.job = NULL, letter.raw = NULL, letter.trail = NULL, letter.error_text = '', \
         letter.dedupe_key = UNHEX(SHA2(CONCAT('emptied ', letter.id), 256))"
    };
}
pub(crate) use {history_content, letter_content};

const ERASE_HISTORY: &str = concat!(
    "\
    UPDATE JSON_TABLE(?, '$[*]' COLUMNS (id CHAR(32) PATH '$')) AS emptied \
    STRAIGHT_JOIN notification_history AS history FORCE INDEX (notification) \
        ON history.notification_id = UNHEX(emptied.id) \
    SET ",
    history_content!(),
    ", history.collapse_key = NULL, history.timeline = ?, history.emptied = ? \
    WHERE history.status <> 'pending'"
);

/// What is counted stays: who was asked, and what came of it.
const ERASE_DELIVERIES: &str = "\
    UPDATE JSON_TABLE(?, '$[*]' COLUMNS (id CHAR(32) PATH '$')) AS emptied \
    STRAIGHT_JOIN notification_deliveries AS delivery FORCE INDEX (PRIMARY) \
        ON delivery.notification_id = UNHEX(emptied.id) \
    SET delivery.token_hash = NULL, delivery.token_masked = NULL, delivery.provider_id = NULL, delivery.error_text = NULL, \
        delivery.receipt = NULL";

/// Nobody asks for their receipts any more.
const ERASE_TICKETS: &str = "\
    DELETE ticket FROM JSON_TABLE(?, '$[*]' COLUMNS (id CHAR(32) PATH '$')) AS emptied \
    STRAIGHT_JOIN expo_tickets AS ticket FORCE INDEX (PRIMARY) ON ticket.notification_id = UNHEX(emptied.id)";

const ERASE_LETTERS: &str = concat!(
    "\
    UPDATE JSON_TABLE(?, '$[*]' COLUMNS (id CHAR(32) PATH '$')) AS emptied \
    STRAIGHT_JOIN dead_letters AS letter FORCE INDEX (notification) \
        ON letter.notification_id = UNHEX(emptied.id) \
    SET ",
    letter_content!(),
    ", letter.token_masked = NULL, letter.bytes_due_at = NULL, letter.emptied = ?"
);

const ERASE_WAITS: &str = "\
    DELETE waits FROM JSON_TABLE(?, '$[*]' COLUMNS (id CHAR(32) PATH '$')) AS emptied \
    STRAIGHT_JOIN quiet_hours_waits AS waits FORCE INDEX (PRIMARY) ON waits.notification_id = UNHEX(emptied.id)";

/// Of a key whose newest notification is a later one the row stays.
const ERASE_HEADS: &str = "\
    DELETE head FROM JSON_TABLE(?, '$[*]' COLUMNS (id CHAR(32) PATH '$')) AS emptied \
    STRAIGHT_JOIN notification_history AS history FORCE INDEX (notification) \
        ON history.notification_id = UNHEX(emptied.id) \
    STRAIGHT_JOIN collapse_heads AS head FORCE INDEX (PRIMARY) \
        ON head.customer_id = history.customer_id AND head.collapse_key = history.collapse_key \
    WHERE head.notification_id = history.notification_id AND history.status <> 'pending'";

#[cfg(test)]
pub(crate) const STATEMENTS: &[(&str, &str)] = &[
    ("ERASE_HISTORY", ERASE_HISTORY),
    ("ERASE_DELIVERIES", ERASE_DELIVERIES),
    ("ERASE_TICKETS", ERASE_TICKETS),
    ("ERASE_LETTERS", ERASE_LETTERS),
    ("ERASE_WAITS", ERASE_WAITS),
    ("ERASE_HEADS", ERASE_HEADS),
];

/// Takes all content out of notifications that have ended, wherever it is; `told` is all that their timelines say then.
/// Their rows are locked.
pub(crate) async fn erase(
    connection: &mut MySqlConnection,
    ids: &[NotificationId],
    told: &TimelineEntry,
) -> Result<(), StoreError> {
    let told = lines(std::slice::from_ref(told));
    for some in ids.chunks(KEYS_MAX) {
        let ids = bulk::ids(some)?;
        // The rows of keys are found by the history.
        for statement in [ERASE_DELIVERIES, ERASE_HEADS, ERASE_TICKETS, ERASE_WAITS] {
            sqlx::query(statement)
                .bind(&ids)
                .execute(&mut *connection)
                .await?;
        }
        erase_letters(connection, some).await?;
        sqlx::query(ERASE_HISTORY)
            .bind(&ids)
            .bind(&told)
            .bind(Emptied::Erased.as_u8())
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

/// Takes all content out of the dead letters of notifications.
pub(crate) async fn erase_letters(
    connection: &mut MySqlConnection,
    ids: &[NotificationId],
) -> Result<(), StoreError> {
    for some in ids.chunks(KEYS_MAX) {
        sqlx::query(ERASE_LETTERS)
            .bind(bulk::ids(some)?)
            .bind(Emptied::Erased.as_u8())
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}
