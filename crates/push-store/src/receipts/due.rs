//! Tickets that no queue knows any more: what the reconciler asks for again.

use chrono::{DateTime, Utc};
use push_core::id::RegistrationId;
use push_core::outcome::ProviderMessageId;
use push_core::receipt::Ticket;
use serde::Serialize;
use sqlx::{FromRow, MySqlConnection};
use uuid::Uuid;

use crate::Store;
use crate::bulk::{self, KEYS_MAX};
use crate::decode::millis;
use crate::error::StoreError;

const DUE_TICKETS: &str = "\
    SELECT notification_id, registration_id, ticket_id, accepted_at \
    FROM expo_tickets FORCE INDEX (due) WHERE due_at <= ? ORDER BY due_at LIMIT ?";

/// Never sooner: somebody may have asked meanwhile, and written down when to ask again.
const TICKETS_LATER: &str = "\
    UPDATE JSON_TABLE(?, '$[*]' COLUMNS (id CHAR(32) PATH '$.id', registration BIGINT UNSIGNED PATH '$.registration', \
        due CHAR(23) PATH '$.due')) AS later \
    STRAIGHT_JOIN expo_tickets AS ticket FORCE INDEX (PRIMARY) \
        ON ticket.notification_id = UNHEX(later.id) AND ticket.registration_id = later.registration \
    SET ticket.due_at = CAST(later.due AS DATETIME(3)) \
    WHERE ticket.due_at < CAST(later.due AS DATETIME(3))";

#[cfg(test)]
pub(crate) const STATEMENTS: &[(&str, &str)] = &[
    ("DUE_TICKETS", DUE_TICKETS),
    ("TICKETS_LATER", TICKETS_LATER),
];

impl Store {
    /// The tickets that should have been asked for, longest first.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked.
    pub async fn tickets_due(
        &self,
        now: DateTime<Utc>,
        limit: u32,
    ) -> Result<Vec<Ticket>, StoreError> {
        let rows: Vec<TicketRow> = sqlx::query_as(DUE_TICKETS)
            .bind(millis(now))
            .bind(limit)
            .fetch_all(&self.pool)
            .await?;
        Ok(rows.into_iter().map(Ticket::from).collect())
    }

    /// They are about to be asked for, and are not due before `until`.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked; then some stay due.
    pub async fn push_back_tickets(
        &self,
        tickets: &[Ticket],
        until: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let later = tickets.iter().map(|ticket| LaterRow::of(ticket, until));
        push_back(&mut *self.pool.acquire().await?, later.collect()).await
    }
}

pub(super) async fn push_back(
    connection: &mut MySqlConnection,
    mut rows: Vec<LaterRow>,
) -> Result<(), StoreError> {
    rows.sort_unstable();
    for some in rows.chunks(KEYS_MAX) {
        sqlx::query(TICKETS_LATER)
            .bind(bulk::array(some)?)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

/// An element of [`TICKETS_LATER`]'s array, in the order of the key.
#[derive(Serialize, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LaterRow {
    id: String,
    registration: u64,
    due: String,
}

impl LaterRow {
    pub(super) fn of(ticket: &Ticket, due: DateTime<Utc>) -> Self {
        Self {
            id: bulk::id(ticket.notification),
            registration: ticket.registration.0,
            due: bulk::time(due),
        }
    }
}

/// A row of `expo_tickets`.
#[derive(FromRow)]
pub(super) struct TicketRow {
    notification_id: Uuid,
    registration_id: u64,
    ticket_id: String,
    accepted_at: DateTime<Utc>,
}

impl From<TicketRow> for Ticket {
    fn from(row: TicketRow) -> Self {
        Self {
            notification: row.notification_id.into(),
            registration: RegistrationId(row.registration_id),
            ticket: ProviderMessageId::new(&row.ticket_id),
            accepted_at: row.accepted_at,
        }
    }
}
