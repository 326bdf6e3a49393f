//! What arrived: a ring of the last requests, bounded in number and in bytes.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use http::{HeaderMap, Version};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::lane::Provider;
use crate::sync::lock;

/// Compact entries kept.
const ENTRIES_MAX: usize = 100_000;
/// Bodies with their headers kept, from the newest on.
const BODIES_MAX: usize = 10_000;
/// Bytes of all of them together: the 10,000 are there as long as they are of a provider's size, and a few
/// are when somebody sends megabytes.
const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Of a longer token the beginning is kept; no provider's is nearly as long.
const TOKEN_BYTES_MAX: usize = 1_024;
/// Rows of one answer of `GET /sim/requests`.
const PAGE_MAX: usize = 10_000;
const PAGE_DEFAULT: usize = 1_000;

/// Headers worth keeping: who asked, as whom, how encoded, in which trace.
const HEADERS: [&str; 7] = [
    "authorization",
    "content-type",
    "content-encoding",
    "accept",
    "accept-encoding",
    "user-agent",
    "traceparent",
];

/// One message as it arrived (an Expo request with 100 messages is 100 entries of one `request`).
#[derive(Debug)]
pub(crate) struct Entry<'a> {
    pub(crate) request: u64,
    pub(crate) at_ms: u64,
    pub(crate) provider: Provider,
    pub(crate) token: &'a str,
    pub(crate) http: Version,
    /// 0 where no answer was given.
    pub(crate) status: u16,
    pub(crate) accepted: bool,
    /// What was wrong or special: an error code, a kind of broken connection.
    pub(crate) note: Option<&'static str>,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) body: &'a [u8],
}

#[derive(Debug)]
struct Kept {
    request: u64,
    at_ms: u64,
    provider: Provider,
    http: Version,
    status: u16,
    accepted: bool,
    note: Option<&'static str>,
    token: Box<str>,
}

/// Copied, because a slice would keep the connection's whole read buffer alive.
#[derive(Debug)]
struct Detail {
    /// Of the entry that it belongs to.
    seq: u64,
    headers: Box<str>,
    body: Box<[u8]>,
}

/// The ring.
#[derive(Debug)]
pub(crate) struct Recorder {
    bodies: AtomicBool,
    requests: AtomicU64,
    ring: Mutex<Ring>,
}

#[derive(Debug, Default)]
struct Ring {
    entries: VecDeque<Kept>,
    /// In the order of their entries, of which not all have one.
    details: VecDeque<Detail>,
    detail_bytes: usize,
    /// Sequence number of the entry that comes next; they start at 1.
    pushed: u64,
}

/// Filters of `GET /sim/requests`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RequestsQuery {
    provider: Option<Provider>,
    token: Option<String>,
    after: u64,
    limit: Option<usize>,
}

impl Default for Recorder {
    fn default() -> Self {
        Recorder {
            bodies: AtomicBool::new(true),
            requests: AtomicU64::new(0),
            ring: Mutex::default(),
        }
    }
}

impl Recorder {
    /// A number that ties the entries of one HTTP request together.
    pub(crate) fn next_request(&self) -> u64 {
        self.requests.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(crate) fn keeps_bodies(&self) -> bool {
        self.bodies.load(Ordering::Relaxed)
    }

    pub(crate) fn set_bodies(&self, keep: bool) {
        self.bodies.store(keep, Ordering::Relaxed);
    }

    pub(crate) fn push(&self, entry: &Entry<'_>) {
        let detail = self.keeps_bodies().then(|| Detail {
            seq: 0,
            headers: packed(entry.headers),
            body: entry.body.into(),
        });
        let kept = Kept {
            request: entry.request,
            at_ms: entry.at_ms,
            provider: entry.provider,
            http: entry.http,
            status: entry.status,
            accepted: entry.accepted,
            note: entry.note,
            token: entry.token[..entry.token.floor_char_boundary(TOKEN_BYTES_MAX)].into(),
        };
        let gone = lock(&self.ring).push(kept, detail);
        // Freed outside of the lock.
        drop(gone);
    }

    /// The entries that match, oldest first, and the `after` of the next call.
    pub(crate) fn list(&self, query: &RequestsQuery) -> Value {
        let limit = query.limit.unwrap_or(PAGE_DEFAULT).min(PAGE_MAX);
        let ring = lock(&self.ring);
        let first = ring.pushed - ring.entries.len() as u64 + 1;
        let skip = usize::try_from((query.after + 1).saturating_sub(first)).unwrap_or(usize::MAX);
        let mut next = query.after;
        let mut items = Vec::new();
        for (seq, kept) in (first..).zip(&ring.entries).skip(skip) {
            if items.len() == limit {
                break;
            }
            next = seq;
            if query.matches(kept) {
                items.push(kept.json(seq, ring.detail(seq)));
            }
        }
        json!({"items": items, "next": next})
    }

    pub(crate) fn reset(&self) {
        self.set_bodies(true);
        let mut ring = lock(&self.ring);
        *ring = Ring {
            pushed: ring.pushed,
            ..Ring::default()
        };
    }
}

impl Ring {
    /// Adds an entry; gives back what fell out at the other end.
    fn push(&mut self, kept: Kept, detail: Option<Detail>) -> (Option<Kept>, Vec<Detail>) {
        self.pushed += 1;
        let oldest = (self.entries.len() == ENTRIES_MAX)
            .then(|| self.entries.pop_front())
            .flatten();
        self.entries.push_back(kept);
        if let Some(detail) = detail {
            self.detail_bytes += detail.bytes();
            self.details.push_back(Detail {
                seq: self.pushed,
                ..detail
            });
        }
        let mut gone = Vec::new();
        while (self.details.len() > BODIES_MAX || self.detail_bytes > BODY_BYTES_MAX)
            && let Some(oldest) = self.details.pop_front()
        {
            self.detail_bytes -= oldest.bytes();
            gone.push(oldest);
        }
        (oldest, gone)
    }

    fn detail(&self, seq: u64) -> Option<&Detail> {
        let found = self.details.binary_search_by_key(&seq, |detail| detail.seq);
        self.details.get(found.ok()?)
    }
}

impl Detail {
    fn bytes(&self) -> usize {
        self.headers.len() + self.body.len()
    }
}

impl RequestsQuery {
    fn matches(&self, kept: &Kept) -> bool {
        self.provider
            .is_none_or(|provider| provider == kept.provider)
            && self
                .token
                .as_deref()
                .is_none_or(|token| token == kept.token.as_ref())
    }
}

impl Kept {
    fn json(&self, seq: u64, detail: Option<&Detail>) -> Value {
        let http = if self.http == Version::HTTP_2 {
            "2"
        } else {
            "1.1"
        };
        let mut json = json!({
            "seq": seq,
            "request": self.request,
            "atMs": self.at_ms,
            "provider": self.provider,
            "token": self.token,
            "http": http,
            "status": self.status,
            "accepted": self.accepted,
            "note": self.note,
        });
        if let Some(detail) = detail {
            json["headers"] = unpacked(&detail.headers);
            json["body"] = serde_json::from_slice(&detail.body)
                .unwrap_or_else(|_| String::from_utf8_lossy(&detail.body).into());
        }
        json
    }
}

/// The headers of interest in one allocation, a line each.
fn packed(headers: &HeaderMap) -> Box<str> {
    let mut text = String::new();
    for name in HEADERS {
        if let Some(value) = headers.get(name).and_then(|value| value.to_str().ok()) {
            text.push_str(name);
            text.push('\n');
            text.push_str(value);
            text.push('\n');
        }
    }
    text.into_boxed_str()
}

fn unpacked(packed: &str) -> Value {
    let mut lines = packed.lines();
    let mut headers = serde_json::Map::new();
    while let (Some(name), Some(value)) = (lines.next(), lines.next()) {
        headers.insert(name.to_owned(), value.into());
    }
    headers.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(recorder: &Recorder, token: &str, provider: Provider) {
        push_body(recorder, token, provider, b"{\"a\":1}");
    }

    fn push_body(recorder: &Recorder, token: &str, provider: Provider, body: &[u8]) {
        recorder.push(&Entry {
            request: recorder.next_request(),
            at_ms: 7,
            provider,
            token,
            http: Version::HTTP_2,
            status: 200,
            accepted: true,
            note: None,
            headers: &HeaderMap::from_iter([(
                http::header::USER_AGENT,
                http::HeaderValue::from_static("me"),
            )]),
            body,
        });
    }

    fn tokens(list: &Value) -> Vec<&str> {
        let items = list["items"].as_array().unwrap();
        items
            .iter()
            .map(|item| item["token"].as_str().unwrap())
            .collect()
    }

    #[test]
    fn lists_what_matches_and_goes_on_where_it_stopped() {
        let recorder = Recorder::default();
        push(&recorder, "a", Provider::Fcm);
        push(&recorder, "b", Provider::Expo);
        push(&recorder, "a", Provider::Expo);
        let all = recorder.list(&RequestsQuery::default());
        assert_eq!(tokens(&all), ["a", "b", "a"]);
        assert_eq!(all["items"][0]["body"]["a"], 1);
        assert_eq!(all["items"][0]["headers"]["user-agent"], "me");
        let query = RequestsQuery {
            provider: Some(Provider::Expo),
            token: Some("a".to_owned()),
            ..RequestsQuery::default()
        };
        assert_eq!(recorder.list(&query)["items"].as_array().unwrap().len(), 1);
        let page = recorder.list(&RequestsQuery {
            limit: Some(2),
            ..RequestsQuery::default()
        });
        let rest = recorder.list(&RequestsQuery {
            after: page["next"].as_u64().unwrap(),
            ..RequestsQuery::default()
        });
        assert_eq!(tokens(&rest), ["a"]);
        assert_eq!(rest["next"], 3);
    }

    #[test]
    fn the_ring_is_bounded_and_old_bodies_go_first() {
        let recorder = Recorder::default();
        for _ in 0..ENTRIES_MAX + 5 {
            push(&recorder, "t", Provider::Fcm);
        }
        let ring = lock(&recorder.ring);
        assert_eq!(ring.entries.len(), ENTRIES_MAX);
        assert_eq!(ring.details.len(), BODIES_MAX);
        drop(ring);
        let first = recorder.list(&RequestsQuery::default());
        assert_eq!(first["items"][0]["seq"], 6);
        assert!(first["items"][0].get("body").is_none());
    }

    #[test]
    fn large_bodies_are_bounded_in_bytes() {
        let recorder = Recorder::default();
        let body = vec![b'x'; BODY_BYTES_MAX / 10];
        for _ in 0..50 {
            push_body(
                &recorder,
                &"long".repeat(TOKEN_BYTES_MAX),
                Provider::Fcm,
                &body,
            );
        }
        let ring = lock(&recorder.ring);
        let bytes: usize = ring.details.iter().map(Detail::bytes).sum();
        assert_eq!(bytes, ring.detail_bytes);
        assert_eq!(ring.details.len(), 9, "what fits beside its headers");
        assert!(bytes <= BODY_BYTES_MAX);
        assert!(
            ring.entries
                .iter()
                .all(|kept| kept.token.len() == TOKEN_BYTES_MAX)
        );
        drop(ring);
        let last = recorder.list(&RequestsQuery {
            after: 40,
            ..RequestsQuery::default()
        });
        assert!(last["items"][0].get("body").is_none());
        assert!(last["items"][1]["body"].is_string() && last["items"][9]["body"].is_string());
    }

    #[test]
    fn bodies_can_be_left_out_for_a_bench() {
        let recorder = Recorder::default();
        recorder.set_bodies(false);
        push(&recorder, "t", Provider::Fcm);
        assert!(
            recorder.list(&RequestsQuery::default())["items"][0]
                .get("body")
                .is_none()
        );
    }
}
