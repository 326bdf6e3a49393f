//! Scripted answers: what a test wants a provider to say to a token, in order.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use serde::Deserialize;
use serde_json::Value;

use crate::cases::{self, Case, RecordedResponse};
use crate::lane::Provider;
use crate::reply::Transport;
use crate::sync::lock;

/// Pause between two bytes of a slow answer, unless the script says otherwise.
const DRIP_DEFAULT: Duration = Duration::from_secs(1);

/// Body of `POST /sim/script`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ScriptRequest {
    provider: Provider,
    token: Option<String>,
    answers: Vec<AnswerSpec>,
    #[serde(default)]
    then: Then,
}

/// What follows the last scripted answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Then {
    #[default]
    Ok,
    RepeatLast,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct AnswerSpec {
    case: Option<String>,
    status: Option<u16>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    body: Option<Value>,
    ticket: Option<Value>,
    receipt: Option<Value>,
    transport: Option<Transport>,
    accepted: Option<bool>,
    delay_ms: Option<u64>,
    every_ms: Option<u64>,
}

/// Why a script was refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ScriptError {
    #[error("answers[{index}]: unknown case \"{case}\" for {provider}; known: {known}")]
    UnknownCase {
        index: usize,
        case: String,
        provider: &'static str,
        known: String,
    },
    #[error("answers[{index}]: give one of case, status, ticket, receipt or transport")]
    Ambiguous { index: usize },
    #[error("answers[{index}]: {what} is not valid")]
    Invalid { index: usize, what: &'static str },
}

/// One scripted answer, ready to be given.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) kind: Kind,
    pub(crate) delay: Duration,
    pub(crate) drip: Duration,
    accepted: Option<bool>,
}

#[derive(Clone, Debug)]
pub(crate) enum Kind {
    /// What the provider would have said anyway; with a delay this is a slow provider.
    Ordinary,
    /// A whole HTTP response.
    Http(Canned),
    /// Expo: the ticket of one message.
    Ticket(Value),
    /// Expo: the receipt of one ticket; `None` is absent.
    Receipt(Option<Value>),
    Transport(Transport),
}

#[derive(Clone, Debug)]
pub(crate) struct Canned {
    pub(crate) status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Canned {
    pub(crate) fn response(&self) -> Response<Body> {
        let mut response = Response::new(Body::from(self.body.clone()));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers.clone();
        response
    }

    /// FCM accepts with a 200 whose JSON body names the message.
    fn names_a_message(&self) -> bool {
        let Ok(body) = serde_json::from_slice::<Value>(&self.body) else {
            return false;
        };
        self.status == StatusCode::OK && body.get("name").is_some()
    }
}

impl Answer {
    /// Whether the message reaches the phone although the answer is scripted.
    pub(crate) fn accepts(&self) -> bool {
        if let Some(accepted) = self.accepted {
            return accepted;
        }
        match &self.kind {
            Kind::Ordinary => true,
            Kind::Http(canned) => canned.names_a_message(),
            Kind::Ticket(ticket) => ticket.get("status").and_then(Value::as_str) == Some("ok"),
            Kind::Receipt(_) => false,
            Kind::Transport(transport) => transport.accepts(),
        }
    }
}

/// The recorded answer of `provider` called `case`, for the simulator's own use.
pub(crate) fn recorded(provider: Provider, case: &str) -> Response<Body> {
    let spec = AnswerSpec {
        case: Some(case.to_owned()),
        ..AnswerSpec::default()
    };
    match prepare(provider, 0, spec) {
        Ok(Answer {
            kind: Kind::Http(canned),
            ..
        }) => canned.response(),
        Ok(_) | Err(_) => crate::reply::json(
            StatusCode::INTERNAL_SERVER_ERROR,
            "{\"error\":\"no such case\"}",
        ),
    }
}

fn prepare(provider: Provider, index: usize, spec: AnswerSpec) -> Result<Answer, ScriptError> {
    Ok(Answer {
        delay: Duration::from_millis(spec.delay_ms.unwrap_or(0)),
        drip: spec.every_ms.map_or(DRIP_DEFAULT, Duration::from_millis),
        accepted: spec.accepted,
        kind: kind(provider, index, spec)?,
    })
}

fn kind(provider: Provider, index: usize, spec: AnswerSpec) -> Result<Kind, ScriptError> {
    let given = [
        spec.case.is_some(),
        spec.status.is_some(),
        spec.ticket.is_some(),
        spec.receipt.is_some(),
        spec.transport.is_some(),
    ];
    match given.iter().filter(|given| **given).count() {
        0 if spec.body.is_none() && spec.headers.is_empty() => return Ok(Kind::Ordinary),
        1 => {}
        _ => return Err(ScriptError::Ambiguous { index }),
    }
    if let Some(transport) = spec.transport {
        return Ok(Kind::Transport(transport));
    }
    if let Some(ticket) = spec.ticket {
        return Ok(Kind::Ticket(ticket));
    }
    if let Some(receipt) = spec.receipt {
        return Ok(Kind::Receipt(Some(receipt)));
    }
    let Some(case) = spec.case else {
        let response = RecordedResponse {
            status: spec.status,
            headers: spec.headers.into_iter().collect(),
            body: spec.body,
            transport: None,
        };
        return Ok(Kind::Http(canned(index, &response)?));
    };
    match cases::find(provider, &case) {
        Some(Case::Receipt(receipt)) => Ok(Kind::Receipt(receipt.clone())),
        Some(Case::Response(response)) => from_case(provider, index, &case, response, spec.headers),
        None => Err(ScriptError::UnknownCase {
            index,
            case,
            provider: provider.name(),
            known: cases::names(provider).join(", "),
        }),
    }
}

fn from_case(
    provider: Provider,
    index: usize,
    case: &str,
    response: &RecordedResponse,
    extra_headers: BTreeMap<String, String>,
) -> Result<Kind, ScriptError> {
    if let Some(transport) = response.transport {
        return Ok(Kind::Transport(transport));
    }
    if matches!(
        (provider, case),
        (Provider::Fcm, "ok") | (Provider::Expo, "ticket_ok")
    ) {
        return Ok(Kind::Ordinary);
    }
    if provider == Provider::Expo
        && let Some(ticket) = lone_ticket(response)
    {
        return Ok(Kind::Ticket(ticket.clone()));
    }
    let mut response = response.clone();
    response.headers.extend(extra_headers);
    Ok(Kind::Http(canned(index, &response)?))
}

/// A recorded 200 with exactly one ticket speaks of one message, not of the request.
fn lone_ticket(response: &RecordedResponse) -> Option<&Value> {
    let tickets = response.body.as_ref()?.get("data")?.as_array()?;
    match tickets.as_slice() {
        [ticket] if response.status == Some(200) => Some(ticket),
        _ => None,
    }
}

fn canned(index: usize, response: &RecordedResponse) -> Result<Canned, ScriptError> {
    let invalid = |what| ScriptError::Invalid { index, what };
    let status =
        StatusCode::from_u16(response.status.unwrap_or(200)).map_err(|_| invalid("status"))?;
    let mut headers = HeaderMap::new();
    for (name, value) in &response.headers {
        let name = HeaderName::try_from(name.as_str()).map_err(|_| invalid("header name"))?;
        let value = HeaderValue::try_from(value.as_str()).map_err(|_| invalid("header value"))?;
        headers.insert(name, value);
    }
    let body = match &response.body {
        None => Bytes::new(),
        Some(Value::String(text)) => Bytes::from(text.clone()),
        Some(json) => {
            let json_type = HeaderValue::from_static("application/json; charset=UTF-8");
            headers.entry("content-type").or_insert(json_type);
            Bytes::from(json.to_string())
        }
    };
    Ok(Canned {
        status,
        headers,
        body,
    })
}

/// All scripts. The hot path reads one atomic while there is none for its provider.
#[derive(Debug, Default)]
pub(crate) struct Scripts {
    shelves: [Shelf; 4],
}

#[derive(Debug, Default)]
struct Shelf {
    scripts: AtomicUsize,
    book: Mutex<Book>,
}

#[derive(Debug, Default)]
struct Book {
    by_token: HashMap<String, Script>,
    for_all: Option<Script>,
}

#[derive(Debug)]
struct Script {
    answers: VecDeque<Arc<Answer>>,
    then: Then,
}

impl Scripts {
    /// Puts a script in place of the token's earlier one; no answers take it away.
    pub(crate) fn set(&self, request: ScriptRequest) -> Result<(), ScriptError> {
        let answers = request
            .answers
            .into_iter()
            .enumerate()
            .map(|(index, spec)| prepare(request.provider, index, spec).map(Arc::new))
            .collect::<Result<VecDeque<_>, _>>()?;
        let script = (!answers.is_empty()).then_some(Script {
            answers,
            then: request.then,
        });
        let shelf = &self.shelves[request.provider.index()];
        let mut book = lock(&shelf.book);
        match (request.token, script) {
            (None, script) => book.for_all = script,
            (Some(token), Some(script)) => drop(book.by_token.insert(token, script)),
            (Some(token), None) => drop(book.by_token.remove(&token)),
        }
        shelf.scripts.store(book.len(), Ordering::Release);
        Ok(())
    }

    /// Takes the next answer for `token`: its own script first, then the one for all.
    pub(crate) fn take(&self, provider: Provider, token: &str) -> Option<Arc<Answer>> {
        self.take_if(provider, token, |_| true)
    }

    /// As `take`, but leaves an answer in place that `wanted` does not want.
    pub(crate) fn take_if(
        &self,
        provider: Provider,
        token: &str,
        wanted: impl Fn(&Answer) -> bool,
    ) -> Option<Arc<Answer>> {
        let shelf = &self.shelves[provider.index()];
        if shelf.scripts.load(Ordering::Acquire) == 0 {
            return None;
        }
        let mut book = lock(&shelf.book);
        let answer = book.take_if(token, wanted);
        shelf.scripts.store(book.len(), Ordering::Release);
        answer
    }

    pub(crate) fn reset(&self) {
        for shelf in &self.shelves {
            let mut book = lock(&shelf.book);
            *book = Book::default();
            shelf.scripts.store(0, Ordering::Release);
        }
    }
}

impl Book {
    fn len(&self) -> usize {
        self.by_token.len() + usize::from(self.for_all.is_some())
    }

    fn take_if(&mut self, token: &str, wanted: impl Fn(&Answer) -> bool) -> Option<Arc<Answer>> {
        if let Some(script) = self.by_token.get_mut(token) {
            let answer = script.take_if(wanted);
            if script.answers.is_empty() {
                self.by_token.remove(token);
            }
            return answer;
        }
        let script = self.for_all.as_mut()?;
        let answer = script.take_if(wanted);
        if script.answers.is_empty() {
            self.for_all = None;
        }
        answer
    }
}

impl Script {
    fn take_if(&mut self, wanted: impl Fn(&Answer) -> bool) -> Option<Arc<Answer>> {
        let front = self.answers.front().filter(|answer| wanted(answer))?;
        if self.answers.len() == 1 && self.then == Then::RepeatLast {
            return Some(Arc::clone(front));
        }
        self.answers.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn scripts(request: Value) -> Scripts {
        let scripts = Scripts::default();
        scripts
            .set(serde_json::from_value(request).unwrap())
            .unwrap();
        scripts
    }

    fn status(answer: Option<Arc<Answer>>) -> Option<u16> {
        match &answer?.kind {
            Kind::Http(canned) => Some(canned.status.as_u16()),
            Kind::Ordinary | Kind::Ticket(_) | Kind::Receipt(_) | Kind::Transport(_) => None,
        }
    }

    #[test]
    fn answers_come_in_order_and_end() {
        let scripts = scripts(json!({"provider": "fcm", "token": "t", "answers": [
            {"case": "unavailable"}, {"status": 418, "body": "tea"}]}));
        assert_eq!(status(scripts.take(Provider::Fcm, "other")), None);
        assert_eq!(status(scripts.take(Provider::Fcm, "t")), Some(503));
        assert_eq!(status(scripts.take(Provider::Fcm, "t")), Some(418));
        assert!(scripts.take(Provider::Fcm, "t").is_none());
    }

    #[test]
    fn the_last_one_can_repeat_and_a_tokens_own_script_comes_first() {
        let scripts = scripts(json!({"provider": "fcm", "then": "repeat_last",
            "answers": [{"case": "internal"}]}));
        let own = json!({"provider": "fcm", "token": "t", "answers": [{"case": "unregistered"}]});
        scripts.set(serde_json::from_value(own).unwrap()).unwrap();
        assert_eq!(status(scripts.take(Provider::Fcm, "t")), Some(404));
        for _ in 0..3 {
            assert_eq!(status(scripts.take(Provider::Fcm, "t")), Some(500));
        }
        assert!(scripts.take(Provider::Expo, "t").is_none());
    }

    #[test]
    fn a_recorded_ticket_speaks_of_one_message_a_gateway_error_of_the_request() {
        let scripts = scripts(json!({"provider": "expo", "answers": [
            {"case": "ticket_device_not_registered"}, {"case": "gateway_timeout"}]}));
        let first = scripts.take(Provider::Expo, "a").unwrap();
        assert!(matches!(&first.kind, Kind::Ticket(_)) && !first.accepts());
        assert_eq!(status(scripts.take(Provider::Expo, "b")), Some(504));
    }

    #[test]
    fn a_wrong_script_says_what_is_wrong() {
        let wrong = |answer: Value| {
            let request = json!({"provider": "oauth", "answers": [answer]});
            let request = serde_json::from_value(request).unwrap();
            Scripts::default().set(request).unwrap_err().to_string()
        };
        assert_eq!(
            wrong(json!({"case": "nope"})),
            "answers[0]: unknown case \"nope\" for oauth; known: account_not_found, clock_skew, \
             invalid_grant, server_error"
        );
        assert_eq!(
            wrong(json!({"case": "invalid_grant", "status": 200})),
            "answers[0]: give one of case, status, ticket, receipt or transport"
        );
        assert_eq!(
            wrong(json!({"status": 42})),
            "answers[0]: status is not valid"
        );
    }

    #[test]
    fn only_an_answer_that_names_a_message_is_accepted_by_default() {
        let scripts = scripts(json!({"provider": "fcm", "answers": [
            {"case": "ok_not_json"}, {"case": "ok"}, {"case": "internal", "accepted": true},
            {"transport": "accept_then_drop"}, {"transport": "connection_reset"}]}));
        let accepted: Vec<_> = std::iter::from_fn(|| scripts.take(Provider::Fcm, "t"))
            .map(|answer| answer.accepts())
            .collect();
        assert_eq!(accepted, [false, true, true, true, false]);
    }
}
