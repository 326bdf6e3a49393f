//! `POST /--/api/v2/push/send`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use http::request::Parts;
use serde_json::{Value, json};

use super::message::{self, is_too_big, recipients};
use super::problem::Problem;
use super::tickets::named;
use super::{authorise, unpacked};
use crate::json::Json;
use crate::lane::Provider;
use crate::record::Entry;
use crate::reply;
use crate::script::{Answer, Kind};
use crate::sim::{Sim, Verdict};

/// Notifications in one request; a message with k recipients counts k (Expo docs).
const NOTIFICATIONS_MAX: usize = 100;
/// The project of a token that was not given one by `POST /sim/projects`.
const PROJECT_DEFAULT: &str = "@sim/app";

/// One notification: a message and one of its recipients.
#[derive(Clone, Copy, Debug)]
struct Item<'j> {
    message: &'j Json<'j>,
    token: &'j str,
}

/// Judges one request, records each of its notifications and shows them on the phones.
pub(crate) fn send(sim: &Sim, head: &Parts, body: &[u8]) -> Verdict {
    let now_ms = sim.clock.now_ms();
    let plain = unpacked(head, body);
    let bytes = plain.as_deref().unwrap_or_default();
    let request = Json::parse(bytes);
    let items = request.as_ref().map(items).unwrap_or_default();
    sim.request_sizes.count(items.len());
    let refusal = sim.outage(Provider::Expo).or_else(|| {
        let encoding = plain.as_ref().err().cloned();
        refused(sim, head, encoding, &request, &items).map(Problem::verdict)
    });
    let (verdict, accepted) = match refusal {
        Some(verdict) => (verdict, vec![false; items.len()]),
        None => answer(sim, now_ms, &request, &items),
    };
    let written = Written {
        sim,
        head,
        now_ms,
        verdict: &verdict,
    };
    written.record(&items, &accepted, bytes);
    verdict
}

fn items<'j>(request: &'j Json<'j>) -> Vec<Item<'j>> {
    let messages = if let Json::Array(messages) = request {
        messages.as_slice()
    } else {
        std::slice::from_ref(request)
    };
    let mut items = Vec::with_capacity(messages.len());
    for message in messages {
        let of_message = recipients(message).into_iter();
        items.extend(of_message.map(|token| Item { message, token }));
    }
    items
}

fn refused(
    sim: &Sim,
    head: &Parts,
    encoding: Option<Problem>,
    request: &serde_json::Result<Json<'_>>,
    items: &[Item<'_>],
) -> Option<Problem> {
    if let Err(problem) = authorise(sim, head) {
        return Some(problem);
    }
    if encoding.is_some() {
        return encoding;
    }
    match request {
        Err(error) => {
            return Some(Problem::validation(format!(
                "the body is not JSON: {error}"
            )));
        }
        Ok(request) => {
            if let Some(problem) = malformed(request) {
                return Some(Problem::validation(problem));
            }
        }
    }
    if items.len() > NOTIFICATIONS_MAX {
        return Some(Problem::too_many_notifications(items.len()));
    }
    mixed_projects(sim, items)
}

fn malformed(request: &Json<'_>) -> Option<String> {
    let Json::Array(messages) = request else {
        return message::problem(0, request);
    };
    if messages.is_empty() {
        return Some("\"value\" must contain at least 1 item".to_owned());
    }
    let mut numbered = messages.iter().enumerate();
    numbered.find_map(|(index, message)| message::problem(index, message))
}

/// All notifications of a request must be of one project; the details tell them apart.
fn mixed_projects(sim: &Sim, items: &[Item<'_>]) -> Option<Problem> {
    let mut projects: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for item in items {
        let project = sim.project_of(item.token);
        let project = project.unwrap_or_else(|| PROJECT_DEFAULT.to_owned());
        projects.entry(project).or_default().push(item.token);
    }
    (projects.len() > 1).then(|| Problem::too_many_projects(json!(projects)))
}

/// Tickets in the order of the recipients, unless a script speaks of the whole request.
fn answer(
    sim: &Sim,
    now_ms: u64,
    request: &serde_json::Result<Json<'_>>,
    items: &[Item<'_>],
) -> (Verdict, Vec<bool>) {
    let whole = items.iter().find_map(|item| {
        sim.scripts
            .take_if(Provider::Expo, item.token, speaks_of_request)
    });
    if let Some(scripted) = whole {
        return whole_request(sim, now_ms, request, items, &scripted);
    }
    let mut delay = Duration::ZERO;
    let mut tickets = Vec::with_capacity(items.len());
    let mut accepted = Vec::with_capacity(items.len());
    for item in items {
        let scripted = sim.scripts.take_if(Provider::Expo, item.token, |answer| {
            !speaks_of_request(answer)
        });
        delay = delay.max(
            scripted
                .as_ref()
                .map_or(Duration::ZERO, |answer| answer.delay),
        );
        let (ticket, taken) = ticket(sim, now_ms, item, scripted.as_ref());
        tickets.push(ticket);
        accepted.push(taken);
    }
    let mut verdict = Verdict::accepted(data(request, tickets));
    verdict.delay = delay;
    (verdict, accepted)
}

fn speaks_of_request(answer: &Answer) -> bool {
    match answer.kind {
        Kind::Http(_) | Kind::Transport(_) => true,
        Kind::Ordinary | Kind::Ticket(_) | Kind::Receipt(_) => false,
    }
}

fn whole_request(
    sim: &Sim,
    now_ms: u64,
    request: &serde_json::Result<Json<'_>>,
    items: &[Item<'_>],
    scripted: &Answer,
) -> (Verdict, Vec<bool>) {
    let ordinary = || {
        let tickets = items
            .iter()
            .map(|item| ok_ticket(sim, item.token, now_ms))
            .collect();
        data(request, tickets)
    };
    let verdict = Verdict::scripted(scripted, ordinary);
    let accepted = vec![verdict.accepted; items.len()];
    (verdict, accepted)
}

fn ticket(
    sim: &Sim,
    now_ms: u64,
    item: &Item<'_>,
    scripted: Option<&Arc<Answer>>,
) -> (Value, bool) {
    if let Some(answer) = scripted
        && let Kind::Ticket(ticket) = &answer.kind
    {
        return (named(ticket, item.token), answer.accepts());
    }
    if is_too_big(item.message) {
        let ticket = json!({
            "status": "error",
            "message": "The total notification payload is too large.",
            "details": {"error": "MessageTooBig"},
        });
        return (ticket, false);
    }
    (ok_ticket(sim, item.token, now_ms), true)
}

fn ok_ticket(sim: &Sim, token: &str, now_ms: u64) -> Value {
    json!({"status": "ok", "id": sim.tickets.add(token, now_ms)})
}

/// One message object to one recipient is answered with one ticket object (Expo docs).
fn data(
    request: &serde_json::Result<Json<'_>>,
    mut tickets: Vec<Value>,
) -> http::Response<axum::body::Body> {
    let bare = request
        .as_ref()
        .is_ok_and(|request| request.get("to").and_then(Json::as_str).is_some());
    let data = if bare && tickets.len() == 1 {
        tickets.remove(0)
    } else {
        Value::Array(tickets)
    };
    reply::json(StatusCode::OK, json!({"data": data}).to_string())
}

/// What became of a request, to be written down.
struct Written<'a> {
    sim: &'a Sim,
    head: &'a Parts,
    now_ms: u64,
    verdict: &'a Verdict,
}

impl Written<'_> {
    fn record(&self, items: &[Item<'_>], accepted: &[bool], bytes: &[u8]) {
        let request = self.sim.record.next_request();
        if items.is_empty() {
            self.entry(request, "", false, bytes);
        }
        for (item, accepted) in items.iter().zip(accepted) {
            let body = if self.sim.record.keeps_bodies() {
                item.message.to_string()
            } else {
                String::new()
            };
            self.entry(request, item.token, *accepted, body.as_bytes());
            if let Some(tokens) = self.sim.tokens(Provider::Expo) {
                tokens.count(item.token, *accepted);
            }
            if *accepted {
                self.sim.lane(Provider::Expo).count_accepted(1);
                let push = message::push(item.message);
                self.sim
                    .phones
                    .arrive(self.now_ms, Provider::Expo, item.token, &push);
            }
        }
    }

    fn entry(&self, request: u64, token: &str, accepted: bool, body: &[u8]) {
        self.sim.record.push(&Entry {
            request,
            at_ms: self.now_ms,
            provider: Provider::Expo,
            token,
            http: self.head.version,
            status: self.verdict.status(),
            accepted,
            note: self.verdict.note,
            headers: &self.head.headers,
            body,
        });
    }
}
