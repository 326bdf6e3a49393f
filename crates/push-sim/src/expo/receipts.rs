//! `POST /--/api/v2/push/getReceipts`.

use std::sync::Arc;

use axum::body::Body;
use http::request::Parts;
use http::{Response, StatusCode};
use serde_json::{Map, Value, json};

use super::problem::Problem;
use super::{authorise, unpacked};
use crate::json::Json;
use crate::lane::Provider;
use crate::record::Entry;
use crate::reply;
use crate::script::Kind;
use crate::sim::{Sim, Verdict};

/// Ids in one request (Expo docs).
const IDS_MAX: usize = 1_000;

/// Answers one request for receipts. An id without a receipt is left out.
pub(crate) fn get_receipts(sim: &Sim, head: &Parts, body: &[u8]) -> Verdict {
    let now_ms = sim.clock.now_ms();
    let plain = unpacked(head, body);
    let ids = plain.as_deref().map_err(Problem::clone).and_then(ids);
    let verdict = sim
        .outage(Provider::Receipts)
        .or_else(|| refused(sim, head, &ids))
        .or_else(|| scripted(sim, now_ms, &ids))
        .unwrap_or_else(|| Verdict::accepted(receipts(sim, now_ms, &ids)));
    sim.record.push(&Entry {
        request: sim.record.next_request(),
        at_ms: now_ms,
        provider: Provider::Receipts,
        token: "",
        http: head.version,
        status: verdict.status(),
        accepted: verdict.accepted,
        note: verdict.note,
        headers: &head.headers,
        body: plain.as_deref().unwrap_or(body),
    });
    if verdict.accepted {
        sim.lane(Provider::Receipts).count_accepted(1);
    }
    verdict
}

fn ids(plain: &[u8]) -> Result<Vec<String>, Problem> {
    let request = Json::parse(plain)
        .map_err(|error| Problem::validation(format!("the body is not JSON: {error}")))?;
    let Some(Json::Array(ids)) = request.get("ids") else {
        return Err(Problem::validation("\"ids\" must be an array"));
    };
    let texts: Option<Vec<_>> = ids
        .iter()
        .map(|id| id.as_str().map(str::to_owned))
        .collect();
    let ids = texts.ok_or_else(|| Problem::validation("\"ids\" must contain strings"))?;
    if ids.len() > IDS_MAX {
        return Err(Problem::too_many_receipts(ids.len()));
    }
    Ok(ids)
}

fn refused(sim: &Sim, head: &Parts, ids: &Result<Vec<String>, Problem>) -> Option<Verdict> {
    if let Err(problem) = authorise(sim, head) {
        return Some(problem.verdict());
    }
    ids.as_ref().err().map(|problem| problem.clone().verdict())
}

/// A scripted answer to the request as a whole, for the token of any of its ids.
fn scripted(sim: &Sim, now_ms: u64, ids: &Result<Vec<String>, Problem>) -> Option<Verdict> {
    let known = ids.as_deref().unwrap_or_default();
    let tokens = known.iter().filter_map(|id| sim.tickets.token(id));
    let scripted = tokens.chain([Arc::from("")]).find_map(|token| {
        sim.scripts.take_if(Provider::Receipts, &token, |answer| {
            !matches!(answer.kind, Kind::Receipt(_))
        })
    })?;
    Some(Verdict::scripted(&scripted, || receipts(sim, now_ms, ids)))
}

fn receipts(sim: &Sim, now_ms: u64, ids: &Result<Vec<String>, Problem>) -> Response<Body> {
    let mut data = Map::new();
    for id in ids.as_deref().unwrap_or_default() {
        if let Some(receipt) = sim.tickets.receipt(id, now_ms, &sim.scripts) {
            data.insert(id.clone(), receipt);
        }
    }
    let body = json!({"data": Value::Object(data)});
    reply::json(StatusCode::OK, body.to_string())
}
