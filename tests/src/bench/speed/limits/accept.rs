//! Accepting, without accepting: axum reads the body as JSON and answers 202.

use axum::Router;
use axum::http::StatusCode;
use axum::routing::post;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use uuid::Uuid;

use crate::bench::speed::part::answer;

/// The path that it answers.
pub(in crate::bench::speed) const PATH: &str = "/api/Push/sendToCustomer";

/// Serves until the end of standard input; answers with its `address`.
pub(in crate::bench::speed) async fn serve() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    answer(&json!({"address": address.to_string()}));
    let app = Router::new().route(PATH, post(accept));
    let end = tokio::task::spawn_blocking(|| std::io::read_to_string(std::io::stdin()));
    tokio::select! {
        served = axum::serve(listener, app) => served.expect("it is served"),
        _ = end => {}
    }
}

async fn accept(body: axum::Json<Value>) -> (StatusCode, axum::Json<Value>) {
    let status = if body["id"].is_i64() {
        StatusCode::ACCEPTED
    } else {
        StatusCode::BAD_REQUEST
    };
    let answer = json!({
        "success": true, "message": "Push notification queued", "notificationId": Uuid::new_v4(), "status": "pending",
        "fcmResult": "queued", "expoResult": "queued",
    });
    (status, axum::Json(answer))
}
