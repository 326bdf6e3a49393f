//! Tickets that a round came to: written down in the transaction that records the round.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use push_core::receipt::Ticket;
use serde::Serialize;
use sqlx::MySqlConnection;

use crate::bulk;
use crate::error::StoreError;

/// One that was sent again has a new ticket, and nobody asks for the old one any more.
const OPEN_TICKETS: &str = "\
    INSERT INTO expo_tickets (notification_id, registration_id, ticket_id, accepted_at, due_at) \
    SELECT UNHEX(given.id), given.registration, given.ticket, given.accepted_at, given.due \
    FROM JSON_TABLE(?, '$[*]' COLUMNS ( \
            id CHAR(32) PATH '$.id', \
            registration BIGINT UNSIGNED PATH '$.registration', \
            ticket MEDIUMTEXT CHARACTER SET utf8mb4 PATH '$.ticket', \
            accepted_at MEDIUMTEXT CHARACTER SET utf8mb4 PATH '$.accepted_at', \
            due MEDIUMTEXT CHARACTER SET utf8mb4 PATH '$.due' \
        )) AS given \
    ON DUPLICATE KEY UPDATE ticket_id = VALUES(ticket_id), accepted_at = VALUES(accepted_at), due_at = VALUES(due_at)";

#[cfg(test)]
pub(crate) const STATEMENTS: &[(&str, &str)] = &[("OPEN_TICKETS", OPEN_TICKETS)];

/// Rows of one [`OPEN_TICKETS`].
const ROWS_MAX: usize = 1_000;

/// Writes tickets down, to be looked for `wait` from now on if no receipt came.
pub(crate) async fn open(
    connection: &mut MySqlConnection,
    tickets: impl Iterator<Item = Ticket>,
    now: DateTime<Utc>,
    wait: Duration,
) -> Result<(), StoreError> {
    let due = bulk::time(now + TimeDelta::from_std(wait).unwrap_or(TimeDelta::MAX));
    let row = |ticket: Ticket| OpenRow {
        id: bulk::id(ticket.notification),
        registration: ticket.registration.0,
        ticket: ticket.ticket.as_str().to_owned(),
        accepted_at: bulk::time(ticket.accepted_at),
        due: due.clone(),
    };
    let rows: Vec<OpenRow> = tickets.map(row).collect();
    for some in bulk::arrays(&rows, ROWS_MAX)? {
        sqlx::query(OPEN_TICKETS)
            .bind(some.json)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

/// An element of [`OPEN_TICKETS`]' array.
#[derive(Serialize)]
struct OpenRow {
    id: String,
    registration: u64,
    ticket: String,
    accepted_at: String,
    due: String,
}
