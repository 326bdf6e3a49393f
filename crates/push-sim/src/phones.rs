//! What people would see: phones, the entries on their screens, and how often each notification rang.
//!
//! A phone shows one entry per tag: Android's `notify(tag, 0, …)` replaces the entry of the same tag
//! (firebase-messaging `DisplayNotification`), iOS that of the same `apns-collapse-id`. Replacing still
//! rings: neither SDK sets "alert once".

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Value, json};
use tokio::sync::broadcast;

use crate::lane::Provider;
use crate::sync::lock;

/// Phones kept; beyond, a tenth of those without a name goes, longest silent first.
const PHONES_MAX: usize = 20_000;
/// Entries on one screen. Android stops at 24 notifications an app, iOS has no small limit.
const SHOWN_MAX: usize = 50;
/// Arrivals kept over all phones.
const ARRIVALS_MAX: usize = 20_000;
/// Notification ids counted over all phones; later ones only count in `untracked`.
const DISPLAYS_MAX: usize = 500_000;
/// Events a slow page may lag behind.
const EVENTS_MAX: usize = 1_024;
/// Phones in one answer of `GET /sim/phones`, unless asked for more.
const LIST_DEFAULT: usize = 100;

/// What a provider hands to a device.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Push<'a> {
    pub(crate) title: Option<&'a str>,
    pub(crate) body: Option<&'a str>,
    pub(crate) image: Option<&'a str>,
    pub(crate) android_tag: Option<&'a str>,
    pub(crate) ios_tag: Option<&'a str>,
    pub(crate) notification_id: Option<&'a str>,
    pub(crate) kind: Option<&'a str>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Platform {
    #[default]
    Android,
    Ios,
}

/// A push that reached a phone.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Arrival {
    seq: u64,
    at_ms: u64,
    #[serde(serialize_with = "text")]
    phone: Arc<str>,
    provider: Provider,
    #[serde(serialize_with = "text")]
    token: Arc<str>,
    title: Option<Box<str>>,
    body: Option<Box<str>>,
    image: Option<Box<str>>,
    tag: Option<Box<str>>,
    notification_id: Option<Box<str>>,
    #[serde(rename = "type")]
    kind: Option<Box<str>>,
    /// Data only: nothing is shown, nothing rings.
    silent: bool,
    /// It took the place of an entry with the same tag.
    replaced: bool,
}

fn text<S: Serializer>(text: &Arc<str>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text)
}

/// Body of `POST /sim/phones`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Binding {
    name: String,
    tokens: Vec<String>,
    #[serde(default)]
    platform: Platform,
}

/// Filters of `GET /sim/phones`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct PhonesQuery {
    name: Option<String>,
    token: Option<String>,
    limit: Option<usize>,
    history: Option<bool>,
}

/// All phones, and the stream of what arrives on them.
#[derive(Debug)]
pub(crate) struct Phones {
    book: Mutex<Book>,
    events: broadcast::Sender<Arc<Arrival>>,
    distinct: AtomicU64,
    repeated: AtomicU64,
    untracked: AtomicU64,
}

#[derive(Debug, Default)]
struct Book {
    phones: HashMap<Arc<str>, Phone>,
    /// Tokens of named phones; any other token is a phone of its own.
    names: HashMap<Box<str>, Arc<str>>,
    /// Whose arrival is the oldest, the second oldest, …
    order: VecDeque<Arc<str>>,
    /// The last arrival's `seq`. Never starts anew: a page that outlives a reset tells old from new by it.
    arrived: u64,
    displays: usize,
}

#[derive(Debug, Default)]
struct Phone {
    tokens: Vec<Arc<str>>,
    bound: bool,
    platform: Platform,
    shown: VecDeque<Arc<Arrival>>,
    history: VecDeque<Arc<Arrival>>,
    displays: HashMap<Box<str>, u32>,
    arrivals: u64,
    last_ms: u64,
}

impl Default for Phones {
    fn default() -> Self {
        Phones {
            book: Mutex::default(),
            events: broadcast::channel(EVENTS_MAX).0,
            distinct: AtomicU64::new(0),
            repeated: AtomicU64::new(0),
            untracked: AtomicU64::new(0),
        }
    }
}

impl Phones {
    /// Shows `push` on the phone of `token`.
    pub(crate) fn arrive(&self, at_ms: u64, provider: Provider, token: &str, push: &Push<'_>) {
        let (arrival, rang) = lock(&self.book).arrive(at_ms, provider, token, push);
        match rang {
            Some(Rang::First) => self.distinct.fetch_add(1, Ordering::Relaxed),
            Some(Rang::Again) => self.repeated.fetch_add(1, Ordering::Relaxed),
            Some(Rang::Untracked) => self.untracked.fetch_add(1, Ordering::Relaxed),
            None => 0,
        };
        if self.events.receiver_count() > 0 {
            // Fails only when the last page went away just now.
            let _ = self.events.send(arrival);
        }
    }

    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Arc<Arrival>> {
        self.events.subscribe()
    }

    /// Gives several tokens (an FCM and an Expo token of one device) one phone with a name.
    pub(crate) fn bind(&self, binding: Binding) {
        lock(&self.book).bind(binding);
    }

    pub(crate) fn list(&self, query: &PhonesQuery) -> Value {
        let book = lock(&self.book);
        let mut chosen: Vec<_> = book
            .phones
            .iter()
            .filter(|(name, phone)| query.matches(name, phone))
            .collect();
        chosen.sort_unstable_by(|a, b| b.1.last_ms.cmp(&a.1.last_ms).then_with(|| a.0.cmp(b.0)));
        let total = chosen.len();
        chosen.truncate(query.limit.unwrap_or(LIST_DEFAULT));
        let history = query.history.unwrap_or(true);
        let phones: Vec<_> = chosen
            .into_iter()
            .map(|(name, phone)| phone.json(name, history))
            .collect();
        json!({"total": total, "seq": book.arrived, "phones": phones})
    }

    /// Over all phones: notifications that rang, rings beyond the first, and rings not tracked.
    pub(crate) fn display_counts(&self) -> Value {
        json!({
            "notifications": self.distinct.load(Ordering::Relaxed),
            "repeated": self.repeated.load(Ordering::Relaxed),
            "untracked": self.untracked.load(Ordering::Relaxed),
        })
    }

    pub(crate) fn reset(&self) {
        let mut book = lock(&self.book);
        *book = Book {
            arrived: book.arrived,
            ..Book::default()
        };
        drop(book);
        for counter in [&self.distinct, &self.repeated, &self.untracked] {
            counter.store(0, Ordering::Relaxed);
        }
    }
}

enum Rang {
    First,
    Again,
    Untracked,
}

impl Book {
    fn arrive(
        &mut self,
        at_ms: u64,
        provider: Provider,
        token: &str,
        push: &Push<'_>,
    ) -> (Arc<Arrival>, Option<Rang>) {
        self.make_room();
        let name = self.phone_name(token);
        self.arrived += 1;
        let room = self.displays < DISPLAYS_MAX;
        let phone = self.phones.entry(Arc::clone(&name)).or_default();
        let token = phone.own_token(token, &name);
        let arrival = phone.receive(self.arrived, at_ms, &name, provider, token, push);
        let rang = phone.ring(&arrival, room);
        if matches!(rang, Some(Rang::First)) {
            self.displays += 1;
        }
        self.order.push_back(name);
        if self.order.len() > ARRIVALS_MAX
            && let Some(oldest) = self.order.pop_front()
            && let Some(phone) = self.phones.get_mut(&oldest)
        {
            phone.history.pop_front();
        }
        (arrival, rang)
    }

    /// The named phone of a token, else the token's own.
    fn phone_name(&self, token: &str) -> Arc<str> {
        if let Some(name) = self.names.get(token) {
            return Arc::clone(name);
        }
        match self.phones.get_key_value(token) {
            Some((name, _)) => Arc::clone(name),
            None => token.into(),
        }
    }

    fn make_room(&mut self) {
        if self.phones.len() < PHONES_MAX {
            return;
        }
        let mut silent: Vec<_> = self
            .phones
            .iter()
            .filter(|(_, phone)| !phone.bound)
            .map(|(name, phone)| (phone.last_ms, Arc::clone(name)))
            .collect();
        silent.sort_unstable();
        for (_, name) in silent.into_iter().take(PHONES_MAX / 10) {
            if let Some(phone) = self.phones.remove(&name) {
                self.displays -= phone.displays.len();
            }
        }
    }

    fn bind(&mut self, binding: Binding) {
        let name: Arc<str> = binding.name.into();
        let mut phone = self.phones.remove(&name).unwrap_or_default();
        phone.bound = true;
        phone.platform = binding.platform;
        for token in binding.tokens {
            if let Some(own) = self.phones.remove(token.as_str()) {
                self.displays -= phone.absorb(own);
            }
            let token: Arc<str> = token.into();
            if !phone.tokens.contains(&token) {
                phone.tokens.push(Arc::clone(&token));
            }
            for other in &mut self.order {
                if *other == token {
                    *other = Arc::clone(&name);
                }
            }
            self.names.insert((*token).into(), Arc::clone(&name));
        }
        self.phones.insert(name, phone);
    }
}

impl Phone {
    fn own_token(&mut self, token: &str, name: &Arc<str>) -> Arc<str> {
        if let Some(own) = self.tokens.iter().find(|own| own.as_ref() == token) {
            return Arc::clone(own);
        }
        let own = if name.as_ref() == token {
            Arc::clone(name)
        } else {
            token.into()
        };
        self.tokens.push(Arc::clone(&own));
        own
    }

    fn receive(
        &mut self,
        seq: u64,
        at_ms: u64,
        name: &Arc<str>,
        provider: Provider,
        token: Arc<str>,
        push: &Push<'_>,
    ) -> Arc<Arrival> {
        let tag = match self.platform {
            Platform::Android => push.android_tag,
            Platform::Ios => push.ios_tag,
        };
        let silent = push.title.is_none() && push.body.is_none();
        let same_tag = |entry: &Arc<Arrival>| tag.is_some() && entry.tag.as_deref() == tag;
        let before = self.shown.len();
        if !silent {
            self.shown.retain(|entry| !same_tag(entry));
        }
        let arrival = Arc::new(Arrival {
            seq,
            at_ms,
            phone: Arc::clone(name),
            provider,
            token,
            title: push.title.map(Into::into),
            body: push.body.map(Into::into),
            image: push.image.map(Into::into),
            tag: tag.map(Into::into),
            notification_id: push.notification_id.map(Into::into),
            kind: push.kind.map(Into::into),
            silent,
            replaced: self.shown.len() < before,
        });
        if !silent {
            self.shown.push_back(Arc::clone(&arrival));
            if self.shown.len() > SHOWN_MAX {
                self.shown.pop_front();
            }
        }
        self.history.push_back(Arc::clone(&arrival));
        self.arrivals += 1;
        self.last_ms = at_ms;
        arrival
    }

    fn ring(&mut self, arrival: &Arrival, room: bool) -> Option<Rang> {
        let id = arrival.notification_id.as_deref()?;
        if arrival.silent {
            return None;
        }
        if let Some(times) = self.displays.get_mut(id) {
            *times += 1;
            return Some(Rang::Again);
        }
        if !room {
            return Some(Rang::Untracked);
        }
        self.displays.insert(id.into(), 1);
        Some(Rang::First)
    }

    /// Takes over what a token received before it was bound to this phone; says how many
    /// notifications both had.
    fn absorb(&mut self, other: Phone) -> usize {
        for (mine, theirs) in [
            (&mut self.shown, other.shown),
            (&mut self.history, other.history),
        ] {
            mine.extend(theirs);
            mine.make_contiguous().sort_by_key(|arrival| arrival.seq);
        }
        self.arrivals += other.arrivals;
        self.last_ms = self.last_ms.max(other.last_ms);
        let apart = self.displays.len() + other.displays.len();
        for (id, times) in other.displays {
            *self.displays.entry(id).or_default() += times;
        }
        apart - self.displays.len()
    }

    fn json(&self, name: &str, history: bool) -> Value {
        let list = |arrivals: &mut dyn Iterator<Item = &Arc<Arrival>>| {
            arrivals
                .map(|arrival| json!(arrival.as_ref()))
                .collect::<Value>()
        };
        let mut json = json!({
            "name": name,
            "bound": self.bound,
            "platform": self.platform,
            "tokens": self.tokens.iter().map(AsRef::as_ref).collect::<Vec<&str>>(),
            "arrivals": self.arrivals,
            "shown": list(&mut self.shown.iter().rev()),
            "displays": self.displays,
        });
        if history {
            json["history"] = list(&mut self.history.iter());
        }
        json
    }
}

impl PhonesQuery {
    fn matches(&self, name: &str, phone: &Phone) -> bool {
        self.name.as_deref().is_none_or(|wanted| wanted == name)
            && self
                .token
                .as_deref()
                .is_none_or(|wanted| phone.tokens.iter().any(|own| own.as_ref() == wanted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push<'a>(tag: Option<&'a str>, id: &'a str) -> Push<'a> {
        Push {
            title: Some("T"),
            android_tag: tag,
            ios_tag: tag.map(|_| "collapse"),
            notification_id: Some(id),
            ..Push::default()
        }
    }

    fn phone(phones: &Phones, name: &str) -> Value {
        let query = PhonesQuery {
            name: Some(name.to_owned()),
            ..PhonesQuery::default()
        };
        phones.list(&query)["phones"][0].clone()
    }

    fn ids(phone: &Value) -> Vec<&str> {
        let shown = phone["shown"].as_array().unwrap();
        shown
            .iter()
            .map(|entry| entry["notificationId"].as_str().unwrap())
            .collect()
    }

    #[test]
    fn the_same_tag_replaces_and_still_rings() {
        let phones = Phones::default();
        for (tag, id) in [(Some("x"), "1"), (None, "2"), (None, "2"), (Some("x"), "3")] {
            phones.arrive(1, Provider::Fcm, "t", &push(tag, id));
        }
        let phone = phone(&phones, "t");
        assert_eq!(ids(&phone), ["3", "2", "2"]);
        assert_eq!(phone["displays"], json!({"1": 1, "2": 2, "3": 1}));
        assert_eq!(phone["history"].as_array().unwrap().len(), 4);
        assert_eq!(phone["shown"][0]["replaced"], true);
        assert_eq!(
            phones.display_counts(),
            json!({"notifications": 3, "repeated": 1, "untracked": 0})
        );
    }

    #[test]
    fn two_tokens_of_one_phone_share_its_screen() {
        let phones = Phones::default();
        phones.arrive(1, Provider::Fcm, "fcm", &push(Some("x"), "1"));
        phones.arrive(1, Provider::Expo, "expo", &push(Some("x"), "1"));
        let binding = json!({"name": "Ana", "tokens": ["fcm", "expo"]});
        phones.bind(serde_json::from_value(binding).unwrap());
        phones.arrive(2, Provider::Expo, "expo", &push(Some("x"), "1"));
        let ana = phone(&phones, "Ana");
        assert_eq!(ids(&ana), ["1"]);
        assert_eq!(ana["displays"], json!({"1": 3}));
        assert_eq!(lock(&phones.book).displays, 1);
        assert_eq!(phones.list(&PhonesQuery::default())["total"], 1);
    }

    #[test]
    fn an_iphone_replaces_by_collapse_id() {
        let phones = Phones::default();
        let binding = json!({"name": "i", "tokens": ["t"], "platform": "ios"});
        phones.bind(serde_json::from_value(binding).unwrap());
        phones.arrive(1, Provider::Fcm, "t", &push(Some("a"), "1"));
        phones.arrive(2, Provider::Fcm, "t", &push(Some("b"), "2"));
        assert_eq!(ids(&phone(&phones, "i")), ["2"]);
    }

    #[test]
    fn a_data_message_is_silent() {
        let phones = Phones::default();
        let data_only = Push {
            notification_id: Some("1"),
            ..Push::default()
        };
        phones.arrive(1, Provider::Fcm, "t", &data_only);
        let phone = phone(&phones, "t");
        assert_eq!(phone["shown"], json!([]));
        assert_eq!(phone["displays"], json!({}));
        assert_eq!(phone["history"][0]["silent"], true);
    }

    #[test]
    fn phones_and_history_are_bounded() {
        let phones = Phones::default();
        let binding = json!({"name": "kept", "tokens": ["k"]});
        phones.bind(serde_json::from_value(binding).unwrap());
        for number in 0..PHONES_MAX as u64 + 10 {
            phones.arrive(number, Provider::Fcm, &number.to_string(), &push(None, "n"));
        }
        let book = lock(&phones.book);
        assert!(book.phones.len() <= PHONES_MAX);
        assert!(book.phones.contains_key("kept") && !book.phones.contains_key("0"));
        let history: usize = book.phones.values().map(|phone| phone.history.len()).sum();
        assert!(history <= ARRIVALS_MAX);
        let displays: usize = book.phones.values().map(|phone| phone.displays.len()).sum();
        assert_eq!(displays, book.displays);
    }
}
