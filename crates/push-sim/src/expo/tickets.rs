//! Tickets that were handed out, and the receipts that become of them.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use uuid::Uuid;

use crate::lane::Provider;
use crate::script::{Kind, Scripts};
use crate::sync::lock;

/// Receipts are kept for a day (Expo docs).
const KEPT_MS: u64 = 24 * 60 * 60 * 1000;
/// Tickets remembered at most.
const TICKETS_MAX: usize = 200_000;

/// Tickets by id.
#[derive(Debug, Default)]
pub(crate) struct Tickets {
    delay_ms: AtomicU64,
    book: Mutex<Book>,
}

#[derive(Debug, Default)]
struct Book {
    tickets: HashMap<Uuid, Ticket>,
    order: VecDeque<Uuid>,
}

#[derive(Debug)]
struct Ticket {
    token: Arc<str>,
    at_ms: u64,
    /// Once told, a receipt stays what it is.
    receipt: Option<Value>,
}

impl Tickets {
    /// How long after a ticket its receipt appears.
    pub(crate) fn set_delay(&self, ms: u64) {
        self.delay_ms.store(ms, Ordering::Relaxed);
    }

    pub(super) fn add(&self, token: &str, at_ms: u64) -> Uuid {
        let id = Uuid::new_v4();
        let ticket = Ticket {
            token: token.into(),
            at_ms,
            receipt: None,
        };
        let mut book = lock(&self.book);
        book.order.push_back(id);
        book.tickets.insert(id, ticket);
        if book.order.len() > TICKETS_MAX
            && let Some(oldest) = book.order.pop_front()
        {
            book.tickets.remove(&oldest);
        }
        id
    }

    pub(super) fn token(&self, id: &str) -> Option<Arc<str>> {
        let id = Uuid::parse_str(id).ok()?;
        let book = lock(&self.book);
        book.tickets
            .get(&id)
            .map(|ticket| Arc::clone(&ticket.token))
    }

    /// The receipt of a ticket: absent before its time and after a day. At its first asking it is
    /// what the script for its token says, else "ok".
    pub(super) fn receipt(&self, id: &str, now_ms: u64, scripts: &Scripts) -> Option<Value> {
        let id = Uuid::parse_str(id).ok()?;
        let mut book = lock(&self.book);
        let ticket = book.tickets.get_mut(&id)?;
        let age = now_ms.saturating_sub(ticket.at_ms);
        if age < self.delay_ms.load(Ordering::Relaxed) || age >= KEPT_MS {
            return None;
        }
        if ticket.receipt.is_none() {
            ticket.receipt = first_receipt(&ticket.token, scripts);
        }
        ticket.receipt.clone()
    }

    pub(crate) fn reset(&self) {
        self.set_delay(0);
        *lock(&self.book) = Book::default();
    }
}

fn first_receipt(token: &str, scripts: &Scripts) -> Option<Value> {
    let scripted = scripts.take_if(Provider::Receipts, token, |answer| {
        matches!(answer.kind, Kind::Receipt(_))
    });
    match scripted.as_deref().map(|answer| &answer.kind) {
        Some(Kind::Receipt(receipt)) => receipt.as_ref().map(|receipt| named(receipt, token)),
        _ => Some(json!({"status": "ok"})),
    }
}

/// The recorded bodies with their placeholder token replaced by the real one.
pub(super) fn named(recorded: &Value, token: &str) -> Value {
    const PLACEHOLDER: &str = "ExponentPushToken[xxxxxxxxxxxxxxxxxxxxxx]";
    let mut value = recorded.clone();
    let texts = ["/message", "/details/expoPushToken"];
    for pointer in texts {
        if let Some(Value::String(text)) = value.pointer_mut(pointer) {
            *text = text.replace(PLACEHOLDER, token);
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(scripts: &Scripts, request: Value) {
        scripts
            .set(serde_json::from_value(request).unwrap())
            .unwrap();
    }

    #[test]
    fn a_receipt_is_absent_then_there_then_gone() {
        let (tickets, scripts) = (Tickets::default(), Scripts::default());
        tickets.set_delay(1_000);
        let id = tickets.add("t", 5_000).to_string();
        let ok = Some(json!({"status": "ok"}));
        assert_eq!(tickets.receipt(&id, 5_999, &scripts), None);
        assert_eq!(tickets.receipt(&id, 6_000, &scripts), ok);
        assert_eq!(tickets.receipt(&id, 5_000 + KEPT_MS - 1, &scripts), ok);
        assert_eq!(tickets.receipt(&id, 5_000 + KEPT_MS, &scripts), None);
        assert_eq!(tickets.receipt("no uuid", 6_000, &scripts), None);
    }

    #[test]
    fn a_scripted_receipt_names_the_token_and_stays() {
        let (tickets, scripts) = (Tickets::default(), Scripts::default());
        script(
            &scripts,
            json!({"provider": "receipts", "token": "t",
            "answers": [{"case": "absent"}, {"case": "DeviceNotRegistered"}]}),
        );
        let id = tickets.add("t", 0).to_string();
        assert_eq!(tickets.receipt(&id, 1, &scripts), None);
        for now in 2..4 {
            let receipt = tickets.receipt(&id, now, &scripts).unwrap();
            assert_eq!(receipt["details"]["expoPushToken"], "t");
            assert_eq!(receipt["details"]["error"], "DeviceNotRegistered");
        }
    }

    #[test]
    fn tickets_are_bounded() {
        let tickets = Tickets::default();
        let first = tickets.add("t", 0).to_string();
        for _ in 0..TICKETS_MAX {
            tickets.add("t", 0);
        }
        assert_eq!(tickets.token(&first), None);
        assert_eq!(lock(&tickets.book).tickets.len(), TICKETS_MAX);
    }
}
