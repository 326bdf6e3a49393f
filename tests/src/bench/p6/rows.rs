//! What the database says.

use std::collections::HashMap;
use std::time::Duration;

use crate::stack::Stack;

/// Tens of thousands of rows on a busy machine.
const ANSWER_MAX: Duration = Duration::from_secs(120);

const ROWS: &str = "SELECT CONCAT_WS('|', HEX(h.notification_id), h.status, h.attempts, \
     COALESCE(CAST(UNIX_TIMESTAMP(h.completed_at) * 1000 AS SIGNED), 0), EXISTS (SELECT 1 FROM notification_deliveries d \
     WHERE d.notification_id = h.notification_id AND d.maybe_delivered)) FROM notification_history h";
const PENDING: &str = "SELECT CONCAT_WS('|', HEX(notification_id), attempts, claimed_until IS NOT NULL) \
     FROM notification_history WHERE status = 'pending'";

/// How a notification ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) is_sent: bool,
    pub(super) attempts: u32,
    /// When that was recorded, in milliseconds since 1970: just before the commit.
    pub(super) completed_ms: u64,
    /// Some try ended without a clear answer.
    pub(super) maybe_delivered: bool,
}

/// The whole history; `None` when it cannot be read.
pub(super) async fn rows(stack: &Stack) -> Option<HashMap<u128, Row>> {
    let lines = stack.database.try_texts(ROWS, ANSWER_MAX).await?;
    lines.iter().map(|line| row(line)).collect()
}

fn row(line: &str) -> Option<(u128, Row)> {
    let [id, status, attempts, completed, maybe] = fields(line)?;
    let row = Row {
        is_sent: status == "sent",
        attempts: attempts.parse().ok()?,
        completed_ms: completed.parse().ok()?,
        maybe_delivered: maybe == "1",
    };
    Some((u128::from_str_radix(id, 16).ok()?, row))
}

/// Where a notification is that has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// With the provider, which has not answered, or about to be taken there.
    InHand,
    /// In the broker, without an attempt.
    Waits,
    /// In the broker, after an attempt.
    WaitsAfterAttempt,
}

/// All that have not ended; `None` when they cannot be read.
pub(super) async fn pending(stack: &Stack) -> Option<HashMap<u128, Place>> {
    let lines = stack.database.try_texts(PENDING, ANSWER_MAX).await?;
    lines.iter().map(|line| place(line)).collect()
}

fn place(line: &str) -> Option<(u128, Place)> {
    let [id, attempts, is_claimed] = fields(line)?;
    let place = match (is_claimed, attempts) {
        ("1", _) => Place::InHand,
        (_, "0") => Place::Waits,
        (_, _) => Place::WaitsAfterAttempt,
    };
    Some((u128::from_str_radix(id, 16).ok()?, place))
}

fn fields<const N: usize>(line: &str) -> Option<[&str; N]> {
    line.split('|').collect::<Vec<_>>().try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_the_statements_write_them() {
        let read = row("01A0|sent|2|1700000000123|1");
        let wanted = Row {
            is_sent: true,
            attempts: 2,
            completed_ms: 1_700_000_000_123,
            maybe_delivered: true,
        };
        assert_eq!(read, Some((0x1a0, wanted)));
        assert_eq!(row("01A0|sent|2|1700000000123"), None);
        assert_eq!(place("0B|0|0"), Some((11, Place::Waits)));
        assert_eq!(place("0B|3|0"), Some((11, Place::WaitsAfterAttempt)));
        assert_eq!(place("0B|0|1"), Some((11, Place::InHand)));
    }
}
