//! `GET /openapi.json`

use axum::Extension;
use axum::body::Bytes;
use axum::http::header;
use axum::response::IntoResponse;

/// The document as it is sent.
#[derive(Clone, Debug)]
pub struct Document(pub Bytes);

/// This document.
///
/// It is made of the code that answers, and says of each operation who may call it, and which `code`s its errors can have.
#[utoipa::path(
    get,
    path = "/openapi.json",
    operation_id = "getOpenapi",
    tag = "operations",
    responses((status = 200, description = "OpenAPI 3.1", body = serde_json::Value,
               example = json!({"openapi": "3.1.0", "info": {"title": "Push notifications"}, "paths": {}})))
)]
pub async fn openapi(Extension(Document(json)): Extension<Document>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], json)
}
