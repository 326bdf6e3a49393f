//! What reached the providers: read from the simulator's record as it grows.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use serde_json::Value;
use tokio::time::sleep;
use uuid::Uuid;

use super::phones::Phones;
use super::world::World;

/// The simulator keeps the bodies of the last 10,000: at 200 a second there is time enough.
const PACE: Duration = Duration::from_secs(1);
const PAGE: usize = 5_000;

/// A push as its provider got it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Arrival {
    pub(crate) at_ms: u64,
    pub(crate) notification: u128,
    pub(crate) phone: usize,
    pub(crate) token: String,
    /// The phone showed it.
    pub(crate) shown: bool,
    /// The provider answered that the token is dead.
    pub(crate) told_dead: bool,
}

/// All of them so far.
#[derive(Debug, Default)]
pub(crate) struct Arrivals {
    read: Mutex<Read>,
}

#[derive(Debug, Default)]
struct Read {
    after: u64,
    arrivals: Vec<Arrival>,
    /// What could not be read; then the run proves nothing.
    problems: Vec<String>,
}

impl Arrivals {
    /// Until the task is dropped.
    pub(crate) async fn follow(&self, world: &World, phones: &Phones) {
        loop {
            sleep(PACE).await;
            self.catch_up(world, phones).await;
        }
    }

    /// All that is there now.
    pub(crate) async fn catch_up(&self, world: &World, phones: &Phones) {
        loop {
            let after = self.read.lock().expect("nobody panics with it").after;
            let page = world.sim.record_after(after, PAGE).await;
            let items = page["items"].as_array().cloned().unwrap_or_default();
            if items.is_empty() {
                return;
            }
            let tokens = phones.tokens();
            let mut read = self.read.lock().expect("nobody panics with it");
            read.take(&items, &tokens);
            if items.len() < PAGE {
                return;
            }
        }
    }

    /// All arrivals, and what could not be read.
    pub(crate) fn finish(&self) -> (Vec<Arrival>, Vec<String>) {
        let mut read = self.read.lock().expect("nobody panics with it");
        (
            std::mem::take(&mut read.arrivals),
            std::mem::take(&mut read.problems),
        )
    }
}

impl Read {
    fn take(&mut self, items: &[Value], tokens: &HashMap<String, usize>) {
        for item in items {
            let seq = item["seq"].as_u64().unwrap_or_default();
            if seq != self.after + 1 {
                self.problems
                    .push(format!("the simulator forgot {} to {seq}", self.after + 1));
            }
            self.after = seq;
            match arrival(item, tokens) {
                Ok(arrival) => self.arrivals.extend(arrival),
                Err(problem) => self.problems.push(problem),
            }
        }
    }
}

/// `None`: not a push.
fn arrival(item: &Value, tokens: &HashMap<String, usize>) -> Result<Option<Arrival>, String> {
    let provider = item["provider"].as_str().unwrap_or_default();
    if !matches!(provider, "fcm" | "expo") {
        return Ok(None);
    }
    let token = item["token"].as_str().unwrap_or_default();
    let Some(phone) = tokens.get(token) else {
        return Err("a push to a token that no phone ever had".to_owned());
    };
    let body = &item["body"];
    let data = if provider == "fcm" {
        &body["message"]["data"]
    } else {
        &body["data"]
    };
    let id = data["notificationId"].as_str().unwrap_or_default();
    let Ok(notification) = Uuid::parse_str(id) else {
        return Err(format!("a push to {provider} without a notification's id"));
    };
    let shown = item["accepted"] == true;
    let status = item["status"].as_u64().unwrap_or_default();
    Ok(Some(Arrival {
        at_ms: item["atMs"].as_u64().unwrap_or_default(),
        notification: notification.as_u128(),
        phone: *phone,
        token: token.to_owned(),
        shown,
        // FCM says 404, Expo an error for this message in a 200.
        told_dead: !shown && matches!((provider, status), ("fcm", 404) | ("expo", 200)),
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn item(seq: u64, accepted: bool, status: u16) -> Value {
        json!({"seq": seq, "provider": "fcm", "token": "t", "accepted": accepted, "status": status, "atMs": 5,
            "body": {"message": {"data": {"notificationId": "00000000-0000-7000-8000-000000000001"}}}})
    }

    #[test]
    fn a_gap_in_the_record_is_no_proof() {
        let tokens = HashMap::from([("t".to_owned(), 3)]);
        let mut read = Read::default();
        read.take(&[item(1, true, 200), item(2, false, 404)], &tokens);
        assert_eq!(read.problems, Vec::<String>::new());
        assert!(read.arrivals[0].shown && !read.arrivals[0].told_dead);
        assert!(!read.arrivals[1].shown && read.arrivals[1].told_dead);
        assert_eq!(read.arrivals[1].phone, 3);
        read.take(&[item(4, true, 200)], &tokens);
        assert_eq!(read.problems.len(), 1);
        read.take(&[item(5, true, 200)], &HashMap::new());
        assert_eq!(read.problems.len(), 2);
    }
}
