//! The control API under `/sim/`, and the page.

mod events;
mod page;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Json, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::lane::{Outage, Provider};
use crate::oauth;
use crate::phones::{Binding, PhonesQuery};
use crate::record::RequestsQuery;
use crate::script::{self, ScriptRequest};
use crate::sim::Sim;

type Shared = State<Arc<Sim>>;

/// Tokens listed by `GET /sim/counts` when none is asked for.
const TOKENS_LISTED: usize = 1_000;

pub(crate) fn router(sim: Arc<Sim>) -> Router {
    Router::new()
        .route("/", get(page::page))
        .route("/favicon.ico", get(|| async { StatusCode::NO_CONTENT }))
        .route("/sim/script", post(set_script))
        .route("/sim/latency", post(set_latency))
        .route("/sim/outage", post(set_outage))
        .route("/sim/projects", post(set_project))
        .route("/sim/oauth/expire", post(expire_tokens))
        .route("/sim/oauth/key", post(add_key))
        .route("/sim/oauth/lifetime", post(set_lifetime))
        .route("/sim/oauth/token", post(issue_token))
        .route("/sim/expo/access-token", post(set_expo_access_token))
        .route("/sim/receipts", post(set_receipts))
        .route("/sim/clock", post(advance_clock))
        .route("/sim/record", post(set_record))
        .route("/sim/reset", post(reset))
        .route("/sim/requests", get(requests))
        .route("/sim/counts", get(counts))
        .route("/sim/phones", get(phones).post(bind_phone))
        .route("/sim/events", get(events::events))
        .fallback(not_found)
        .with_state(sim)
}

fn done() -> Response {
    Json(json!({"ok": true})).into_response()
}

fn refused(why: &dyn std::fmt::Display) -> Response {
    let body = json!({"ok": false, "error": why.to_string()});
    (StatusCode::BAD_REQUEST, Json(body)).into_response()
}

async fn set_script(State(sim): Shared, Json(request): Json<ScriptRequest>) -> Response {
    match sim.scripts.set(request) {
        Ok(()) => done(),
        Err(error) => refused(&error),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Latency {
    provider: Provider,
    ms: u64,
}

async fn set_latency(State(sim): Shared, Json(request): Json<Latency>) -> Response {
    sim.lane(request.provider)
        .set_latency(Duration::from_millis(request.ms));
    done()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetOutage {
    provider: Provider,
    mode: Outage,
}

async fn set_outage(State(sim): Shared, Json(request): Json<SetOutage>) -> Response {
    sim.lane(request.provider).set_outage(request.mode);
    done()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Project {
    token: String,
    project: String,
}

async fn set_project(State(sim): Shared, Json(request): Json<Project>) -> Response {
    sim.set_project(request.token, request.project);
    done()
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Expire {
    token: Option<String>,
}

/// Takes an empty body, too: all tokens.
async fn expire_tokens(State(sim): Shared, request: Option<Json<Expire>>) -> Response {
    let Json(request) = request.unwrap_or_default();
    let expired = sim.oauth.expire(request.token.as_deref());
    Json(json!({"ok": true, "expired": expired})).into_response()
}

/// The body is the PEM itself.
async fn add_key(State(sim): Shared, pem: String) -> Response {
    match sim.oauth.add_key(&pem) {
        Ok(keys) => Json(json!({"ok": true, "keys": keys})).into_response(),
        Err(error) => refused(&error),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Lifetime {
    seconds: u64,
}

async fn set_lifetime(State(sim): Shared, Json(request): Json<Lifetime>) -> Response {
    sim.oauth.set_lifetime(request.seconds);
    done()
}

async fn issue_token(State(sim): Shared) -> Response {
    oauth::issued(&sim.oauth, sim.clock.now_ms())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpoAccessToken {
    token: Option<String>,
}

async fn set_expo_access_token(
    State(sim): Shared,
    Json(request): Json<ExpoAccessToken>,
) -> Response {
    sim.set_expo_access_token(request.token);
    done()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Receipts {
    delay_ms: u64,
}

async fn set_receipts(State(sim): Shared, Json(request): Json<Receipts>) -> Response {
    sim.tickets.set_delay(request.delay_ms);
    done()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Advance {
    advance_ms: u64,
}

async fn advance_clock(State(sim): Shared, Json(request): Json<Advance>) -> Response {
    sim.clock.advance(request.advance_ms);
    Json(json!({"ok": true, "nowMs": sim.clock.now_ms()})).into_response()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    bodies: bool,
}

async fn set_record(State(sim): Shared, Json(request): Json<Record>) -> Response {
    sim.record.set_bodies(request.bodies);
    done()
}

async fn reset(State(sim): Shared) -> Response {
    sim.reset();
    done()
}

async fn requests(State(sim): Shared, Query(query): Query<RequestsQuery>) -> Json<Value> {
    Json(sim.record.list(&query))
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct CountsQuery {
    token: Option<String>,
}

async fn counts(State(sim): Shared, Query(query): Query<CountsQuery>) -> Json<Value> {
    let mut counts = json!({
        "connections": sim.connections.json(),
        "displays": sim.phones.display_counts(),
    });
    for provider in Provider::ALL {
        let mut json = json!(sim.lane(provider).counts());
        if let Some(tokens) = sim.tokens(provider) {
            let listed = match &query.token {
                Some(token) => vec![(token.clone(), tokens.get(token))],
                None => tokens.top(TOKENS_LISTED),
            };
            json["distinctTokens"] = tokens.distinct().into();
            json["untrackedSends"] = tokens.untracked().into();
            json["tokens"] = listed
                .into_iter()
                .map(|(token, count)| (token, json!(count)))
                .collect();
        }
        counts[provider.name()] = json;
    }
    counts["expo"]["requestSizes"] = sim.request_sizes.json();
    counts["oauth"]["tokensIssued"] = sim.oauth.issued().into();
    Json(counts)
}

async fn phones(State(sim): Shared, Query(query): Query<PhonesQuery>) -> Json<Value> {
    Json(sim.phones.list(&query))
}

async fn bind_phone(State(sim): Shared, Json(binding): Json<Binding>) -> Response {
    sim.phones.bind(binding);
    done()
}

/// Google's own page for a wrong URL or method, as recorded.
async fn not_found() -> http::Response<Body> {
    script::recorded(Provider::Fcm, "not_found_html")
}
