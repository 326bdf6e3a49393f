//! The message that says which receipts are to be fetched. The only file that knows its JSON.
//!
//! It holds ids only, and is no more than a reminder: what is outstanding stands in the database. So an unknown
//! version, or bytes that are none, may be put aside without a loss.

use serde::{Deserialize, Serialize};

use crate::receipt::Ticket;

/// The version written by this program.
const VERSION: u64 = 1;

/// Tickets whose receipts are to be fetched at the same time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiptBatch {
    /// At least one, at most [`Self::TICKETS_MAX`].
    pub tickets: Vec<Ticket>,
}

/// Why bytes are no [`ReceiptBatch`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotABatch {
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
        "names no receipts that could be fetched: a field is missing or wrong, at line {line} column {column}"
    )]
    BadField {
        /// Line of the JSON, from 1.
        line: usize,
        /// Column of the JSON, from 1.
        column: usize,
    },
}

#[derive(Serialize)]
struct Versioned<'a> {
    v: u64,
    tickets: &'a [Ticket],
}

#[derive(Deserialize)]
struct VersionOnly {
    #[serde(default)]
    v: serde_json::Value,
}

#[derive(Deserialize)]
struct TicketsOnly {
    #[serde(deserialize_with = "some_but_not_too_many")]
    tickets: Vec<Ticket>,
}

/// Whoever wrote the message: all of it is asked for at once.
fn some_but_not_too_many<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<Ticket>, D::Error> {
    let tickets = Vec::deserialize(deserializer)?;
    if (1..=ReceiptBatch::TICKETS_MAX).contains(&tickets.len()) {
        Ok(tickets)
    } else {
        Err(serde::de::Error::custom("none, or too many"))
    }
}

impl ReceiptBatch {
    /// Small enough that several fit into one request of a thousand; some 15 KiB.
    pub const TICKETS_MAX: usize = 100;

    /// The batches for any number of tickets.
    pub fn of(tickets: &[Ticket]) -> impl Iterator<Item = Self> {
        tickets.chunks(Self::TICKETS_MAX).map(|tickets| Self {
            tickets: tickets.to_vec(),
        })
    }

    /// The JSON to publish.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        // Only a map with keys that are not strings could fail, and there is none.
        serde_json::to_vec(&Versioned {
            v: VERSION,
            tickets: &self.tickets,
        })
        .unwrap_or_default()
    }

    /// Reads a message from the queue, whoever put it there.
    ///
    /// # Errors
    /// [`NotABatch`] with the reason; it never panics.
    pub fn decode(bytes: &[u8]) -> Result<Self, NotABatch> {
        let version: VersionOnly = serde_json::from_slice(bytes).map_err(|_| NotABatch::NotJson)?;
        if version.v.as_u64() != Some(VERSION) {
            return Err(NotABatch::UnknownVersion(
                version.v.to_string().chars().take(20).collect(),
            ));
        }
        let read = serde_json::from_slice(bytes).map_err(|error| NotABatch::BadField {
            line: error.line(),
            column: error.column(),
        });
        let TicketsOnly { tickets } = read?;
        Ok(Self { tickets })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// As they lie in queues during an upgrade: this may only be added to.
    fn version_1(tickets: usize) -> serde_json::Value {
        let ticket = json!({
            "notification": "0196f2d4-1b6e-7c3a-9a55-3f1f6f0a1b2c", "registration": 7,
            "ticket": "f473fe38-0a53-4e0c-8ac0-7a5a7a5a7a5a", "acceptedAt": "2026-01-02T03:04:05.678Z",
        });
        json!({"v": 1, "tickets": vec![ticket; tickets]})
    }

    #[test]
    fn version_1_stays_readable_and_is_written_the_same() {
        for tickets in [1, ReceiptBatch::TICKETS_MAX] {
            let json = version_1(tickets);
            let read = ReceiptBatch::decode(json.to_string().as_bytes()).unwrap();
            assert_eq!(read.tickets.len(), tickets);
            let again: serde_json::Value = serde_json::from_slice(&read.encode()).unwrap();
            assert_eq!(again, json);
        }
    }

    #[test]
    fn what_is_no_batch_says_why() {
        let decode = |json: &serde_json::Value| ReceiptBatch::decode(json.to_string().as_bytes());
        assert_eq!(ReceiptBatch::decode(b"\xff"), Err(NotABatch::NotJson));
        assert_eq!(decode(&json!("text")), Err(NotABatch::NotJson));
        let unknown = |version: &str| Err(NotABatch::UnknownVersion(version.to_owned()));
        assert_eq!(decode(&json!({})), unknown("null"));
        assert_eq!(decode(&json!({"v": 2, "tickets": []})), unknown("2"));
        let mut wrong = vec![
            json!({"v": 1}),
            json!({"v": 1, "tickets": 7}),
            version_1(0),
            version_1(ReceiptBatch::TICKETS_MAX + 1),
        ];
        for field in ["notification", "registration", "ticket", "acceptedAt"] {
            let mut less = version_1(1);
            less["tickets"][0].as_object_mut().unwrap().remove(field);
            wrong.push(less);
        }
        for json in wrong {
            assert!(
                matches!(decode(&json), Err(NotABatch::BadField { .. })),
                "{json}"
            );
        }
    }

    #[test]
    fn any_number_of_tickets_is_split() {
        let one = ReceiptBatch::decode(version_1(1).to_string().as_bytes()).unwrap();
        let many = vec![one.tickets[0].clone(); 2 * ReceiptBatch::TICKETS_MAX + 1];
        let sizes: Vec<_> = ReceiptBatch::of(&many).map(|b| b.tickets.len()).collect();
        assert_eq!(sizes, [100, 100, 1]);
        assert_eq!(ReceiptBatch::of(&[]).count(), 0);
    }
}
