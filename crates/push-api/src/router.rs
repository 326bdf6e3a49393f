//! All routes, and what lies around each of them.
//!
//! From outside: the path in its canonical spelling; id, trace, log line and measurement of the
//! request; limits; panics caught; then the handler.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Router};
use tokio::sync::Semaphore;
use tower::util::MapRequest;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::path::Operation;
use utoipa::openapi::{ObjectBuilder, OpenApi, RefOr};
use utoipa::{Modify, OpenApi as _};
use utoipa_axum::router::OpenApiRouter;

use crate::case::CanonicalPaths;
use crate::error::{ApiError, ErrorBody};
use crate::observe::observe;
use crate::routes;
use crate::state::AppState;

/// Requests in work at a time: those who wait for an outcome (1,000), a full channel of those who wait for
/// their commit (1,024), and as much again that is being read or answered.
const IN_WORK_MAX: usize = 4_096;
/// The longest honest request waits 30 s for an outcome, after some for the database and the broker.
const REQUEST_MAX: Duration = Duration::from_secs(45);

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Push notifications",
        description = "Sends push notifications to customers' devices, and tells what became of them.\n\n\
            Paths are matched without regard to case. Unknown fields are ignored. Every answer has `success`, `message` and \
            the header `X-Request-Id` (the caller's, if sent)."
    ),
    components(schemas(ErrorBody)),
    tags(
        (name = "devices", description = "For the app: registering devices"),
        (name = "sending", description = "For the booking backend: sending notifications"),
        (name = "history", description = "What became of notifications"),
        (name = "operations", description = "For operators: health, metrics, this document")
    ),
    modifiers(&Credentials)
)]
struct Base;

struct Credentials;

impl Modify for Credentials {
    fn modify(&self, document: &mut OpenApi) {
        let about = "An API key. Scopes: register, send, read, admin";
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(about));
        let header = ApiKeyValue::with_description("X-Api-Key", about);
        let components = document.components.get_or_insert_default();
        let schemes = [
            ("bearer", SecurityScheme::Http(bearer.build())),
            ("apiKey", SecurityScheme::ApiKey(ApiKey::Header(header))),
        ];
        for (name, scheme) in schemes {
            components.security_schemes.insert(name.to_owned(), scheme.into());
        }
    }
}

/// The routes and the document that is made of them.
fn routes(state: &Limits, with_metrics: bool) -> (Router<AppState>, OpenApi) {
    let limited = middleware::from_fn_with_state(state.clone(), limit);
    let (router, mut document) = OpenApiRouter::with_openapi(Base::openapi())
        .merge(routes::api().route_layer(limited))
        .merge(routes::probes(with_metrics))
        .split_for_parts();
    add_common_headers(&mut document);
    (router, document)
}

/// The OpenAPI document.
#[must_use]
pub fn document(with_metrics: bool) -> OpenApi {
    routes(&Limits::default(), with_metrics).1
}

/// The whole service, ready to be served.
#[must_use]
pub fn build(state: AppState) -> Router {
    let (router, document) = routes(&Limits::default(), state.metrics.is_some());
    let paths = CanonicalPaths::new(document.paths.paths.keys().map(String::as_str));
    let json = serde_json::to_vec(&document).unwrap_or_default();
    let router = router
        .fallback(async || ApiError::NotFound)
        .method_not_allowed_fallback(async || ApiError::MethodNotAllowed)
        .layer(Extension(routes::Document(json.into())))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn(observe))
        .with_state(state);
    let canonical = move |mut request: Request| {
        *request.uri_mut() = paths.canonical(std::mem::take(request.uri_mut()));
        request
    };
    Router::new().fallback_service(MapRequest::new(router, canonical))
}

/// Bounds what is in work.
#[derive(Clone, Debug)]
struct Limits {
    places: Arc<Semaphore>,
    time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            places: Arc::new(Semaphore::new(IN_WORK_MAX)),
            time: REQUEST_MAX,
        }
    }
}

async fn limit(State(limits): State<Limits>, request: Request, next: Next) -> Response {
    let Ok(_place) = limits.places.try_acquire() else {
        return ApiError::Overloaded.into_response();
    };
    match tokio::time::timeout(limits.time, next.run(request)).await {
        Ok(response) => response,
        Err(_) => ApiError::TimedOut.into_response(),
    }
}

/// The panic's text may hold content, so it is not repeated; the hook has logged its place.
fn panicked(_: Box<dyn Any + Send + 'static>) -> Response {
    ApiError::Internal("a handler panicked".to_owned()).into_response()
}

/// Says of every answer what is true of every answer.
fn add_common_headers(document: &mut OpenApi) {
    let header = |description: &str| {
        let text = ObjectBuilder::new().schema_type(utoipa::openapi::Type::String);
        HeaderBuilder::new().schema(Some(text)).description(Some(description)).build()
    };
    for operation in document.paths.paths.values_mut().flat_map(operations) {
        for (status, response) in &mut operation.responses.responses {
            let RefOr::T(response) = response else { continue };
            let id = header("Names the request in our log: the caller's, if sent");
            response.headers.insert("X-Request-Id".to_owned(), id.into());
            if status == "503" {
                let after = header("Seconds to stay away");
                response.headers.insert("Retry-After".to_owned(), after.into());
            }
        }
    }
}

fn operations(item: &mut utoipa::openapi::PathItem) -> impl Iterator<Item = &mut Operation> {
    let all = [
        &mut item.get, &mut item.put, &mut item.post, &mut item.delete, &mut item.patch,
    ];
    all.into_iter().flatten()
}

/// The paths of a document with the methods that each knows.
#[must_use]
pub fn methods(document: &OpenApi) -> BTreeMap<String, Vec<&'static str>> {
    let known = |item: &utoipa::openapi::PathItem| {
        let all = [
            ("GET", &item.get), ("PUT", &item.put), ("POST", &item.post), ("DELETE", &item.delete),
            ("PATCH", &item.patch),
        ];
        all.into_iter().filter_map(|(name, operation)| operation.as_ref().map(|_| name)).collect()
    };
    document.paths.paths.iter().map(|(path, item)| (path.clone(), known(item))).collect()
}
