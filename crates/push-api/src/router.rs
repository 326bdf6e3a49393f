//! All routes, and what lies around each of them.
//!
//! From outside: the path in its canonical spelling; id, trace, log line and measurement of the
//! request; how many come from whom; limits; panics caught; then the handler.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Router};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tower::util::MapRequest;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ObjectBuilder, OpenApi, RefOr, Type};
use utoipa::{Modify, OpenApi as _};
use utoipa_axum::router::OpenApiRouter;

use crate::caller::Keyed;
use crate::case::CanonicalPaths;
use crate::console;
use crate::discard::discard_rest;
use crate::docs;
use crate::error::{ApiError, ErrorBody};
use crate::examples;
use crate::health::Probes;
use crate::limits::gate;
use crate::observe::observe;
use crate::prefer::RequestEnds;
use crate::routes;
use crate::state::AppState;

/// Requests in work at a time: those who wait for an outcome (1,000), a full channel of those who wait for
/// their commit (1,024), and as much again that is being read or answered.
const IN_WORK_MAX: usize = 4_096;
/// An honest request takes up to 25 s for its body (10), the schema (5), the commit (8) and the broker (2).
/// The wait for an outcome, 30 s at most, gets what is left ([`Wait::patience`](crate::prefer::Wait::patience)).
const REQUEST_MAX: Duration = Duration::from_secs(45);

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Push notifications",
        description = "Sends push notifications to customers' devices, and tells what became of them.\n\n\
            Paths are matched without regard to case. Unknown fields are ignored. Every answer has `success`, `message` and \
            the header `X-Request-Id` (the caller's, if sent).\n\n\
            What is no operation of this document is answered 404 `not_found`, another method 405 `method_not_allowed`, \
            and a path or query of more than 8 KiB 414 `uri_too_long`."
    ),
    servers((url = "/", description = "Where this document is")),
    components(schemas(ErrorBody)),
    tags(
        (name = "devices", description = "For the app: registering devices"),
        (name = "preferences", description = "For the app: what a customer wants to get, and when"),
        (name = "sending", description = "For the booking backend: sending notifications"),
        (name = "history", description = "What became of notifications"),
        (name = "admin", description = "For operators: dead letters, what is done with many of them, the queues, and the providers' lanes and levers"),
        (name = "operations", description = "For operators: health, metrics, this document")
    ),
    modifiers(&Credentials)
)]
struct Base;

struct Credentials;

impl Modify for Credentials {
    fn modify(&self, document: &mut OpenApi) {
        let about = "An API key. Scopes: register, send, read, admin";
        let bearer = |about| {
            HttpBuilder::new()
                .scheme(HttpAuthScheme::Bearer)
                .description(Some(about))
        };
        let customer = "A JWT of the customer who is signed in: for that customer's own data, whatever path or body name";
        let admin = "A JWT of somebody who has the claim that makes an admin (`ADMIN_JWT_CLAIM`)";
        let header = ApiKeyValue::with_description("X-Api-Key", about);
        let components = document.components.get_or_insert_default();
        let schemes = [
            ("bearer", SecurityScheme::Http(bearer(about).build())),
            ("apiKey", SecurityScheme::ApiKey(ApiKey::Header(header))),
            (
                "customerToken",
                SecurityScheme::Http(bearer(customer).bearer_format("JWT").build()),
            ),
            (
                "adminToken",
                SecurityScheme::Http(bearer(admin).bearer_format("JWT").build()),
            ),
        ];
        for (name, scheme) in schemes {
            components
                .security_schemes
                .insert(name.to_owned(), scheme.into());
        }
    }
}

/// All routes.
fn all(with_metrics: bool) -> OpenApiRouter<AppState> {
    let limited = middleware::from_fn_with_state(Limits::default(), limit);
    routes::api()
        .route_layer(limited)
        .merge(routes::probes(with_metrics))
}

/// The routes and the document that is made of them.
fn with_document<S>(routes: OpenApiRouter<S>) -> (Router<S>, OpenApi)
where
    S: Clone + Send + Sync + 'static,
{
    let (router, mut document) = OpenApiRouter::with_openapi(Base::openapi())
        .merge(routes)
        .split_for_parts();
    add_common_headers(&mut document);
    examples::add(&mut document);
    (router, document)
}

/// The OpenAPI document.
#[must_use]
pub fn document(with_metrics: bool) -> OpenApi {
    with_document(all(with_metrics)).1
}

/// The whole service, ready to be served.
pub fn build(state: AppState) -> Router {
    let counted = middleware::from_fn_with_state(state.clone(), observed_and_counted);
    let with_metrics = state.metrics.is_some();
    around(all(with_metrics), state, |routes| {
        let routes = routes.merge(console::routes());
        let routes = if with_metrics {
            routes.merge(docs::routes())
        } else {
            routes
        };
        routes.layer(counted)
    })
}

/// Metrics, probes and `/docs`, ready to be served at an address of their own.
pub fn build_probes(probes: Probes) -> Router {
    around(routes::probes(true), probes, |routes| {
        let routes = routes.merge(docs::routes());
        routes.layer(middleware::from_fn(observed))
    })
}

/// What lies around a request whose callers are counted. One layer: a request pays for each with copies of all that lie
/// within.
async fn observed_and_counted(
    State(state): State<AppState>,
    request: Request,
    next: Next,
) -> Response {
    let counted =
        |request| async move { gate::pass(&state, request, |request| next.run(request)).await };
    observe(request, |request| discard_rest(request, counted)).await
}

/// What lies around any other.
async fn observed(request: Request, next: Next) -> Response {
    let answer = |request| next.run(request);
    observe(request, |request| discard_rest(request, answer)).await
}

/// These routes and what lies around each of them; `outermost` is what lies around all that a handler does.
fn around<S>(
    routes: OpenApiRouter<S>,
    state: S,
    outermost: impl FnOnce(Router<S>) -> Router<S>,
) -> Router
where
    S: Clone + Send + Sync + 'static,
{
    let (router, document) = with_document(routes);
    let paths = CanonicalPaths::new(document.paths.paths.keys().map(String::as_str));
    let json = serde_json::to_vec(&document).unwrap_or_default();
    let router = router
        .fallback(async || ApiError::NotFound)
        .method_not_allowed_fallback(async || ApiError::MethodNotAllowed)
        .layer((
            CatchPanicLayer::custom(panicked),
            Extension(routes::Document(json.into())),
        ));
    let router = outermost(router).with_state(state);
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
    /// Those of the places that requests without an API key may have: customers' phones cannot keep the backend out.
    keyless: Arc<Semaphore>,
    time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            places: Arc::new(Semaphore::new(IN_WORK_MAX)),
            keyless: Arc::new(Semaphore::new(IN_WORK_MAX / 2)),
            time: REQUEST_MAX,
        }
    }
}

async fn limit(State(limits): State<Limits>, mut request: Request, next: Next) -> Response {
    let keyed = request.extensions().get::<Keyed>().is_some();
    let keyless = (!keyed).then(|| limits.keyless.try_acquire()).transpose();
    let (Ok(_place), Ok(_keyless)) = (limits.places.try_acquire(), keyless) else {
        return ApiError::Overloaded.into_response();
    };
    let ends = Instant::now() + limits.time;
    request.extensions_mut().insert(RequestEnds(ends));
    match tokio::time::timeout_at(ends, next.run(request)).await {
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
    let header = |description: &str, kind: Type| {
        let text = ObjectBuilder::new().schema_type(kind);
        HeaderBuilder::new()
            .schema(Some(text))
            .description(Some(description))
            .build()
    };
    for operation in document.paths.paths.values_mut().flat_map(operations) {
        for (status, response) in &mut operation.responses.responses {
            let RefOr::T(response) = response else {
                continue;
            };
            let id = header(
                "Names the request in our log: the caller's, if sent",
                Type::String,
            );
            response
                .headers
                .insert("X-Request-Id".to_owned(), id.into());
            if status == "429" {
                for (name, about) in [
                    (
                        "RateLimit-Policy",
                        "The budget: `q` in `w` seconds, such as `\"key\";q=600;w=60`",
                    ),
                    (
                        "RateLimit",
                        "What is left of it, and after how many seconds it is full again: `\"key\";r=0;t=60`",
                    ),
                ] {
                    let header = header(about, Type::String);
                    response.headers.insert(name.to_owned(), header.into());
                }
            }
            if ["429", "503"].contains(&status.as_str()) {
                let after = header("Seconds to stay away", Type::Integer);
                response
                    .headers
                    .insert("Retry-After".to_owned(), after.into());
            }
        }
    }
}

/// The operations of a path.
pub(crate) fn operations(
    item: &mut utoipa::openapi::PathItem,
) -> impl Iterator<Item = &mut Operation> {
    let all = [
        &mut item.get,
        &mut item.put,
        &mut item.post,
        &mut item.delete,
        &mut item.patch,
    ];
    all.into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::StatusCode;
    use axum::routing;
    use tower::ServiceExt as _;

    use super::*;
    use crate::caller::Access;
    use crate::outcomes::LAST_LOOK_MAX;
    use crate::prefer::Wait;

    async fn answer(app: Router) -> (StatusCode, serde_json::Value) {
        let response = app
            .oneshot(Request::get("/").body(Body::empty()).unwrap())
            .await
            .unwrap();
        let status = response.status();
        let body = axum::body::to_bytes(response.into_body(), 65_536)
            .await
            .unwrap();
        (status, serde_json::from_slice(&body).unwrap())
    }

    fn limited(limits: Limits) -> Router {
        let slow = routing::get(async || std::future::pending::<()>().await);
        Router::new()
            .route("/", slow)
            .layer(middleware::from_fn_with_state(limits, limit))
    }

    /// What is not in the document has no rule: nobody would notice that it is open.
    #[test]
    fn every_route_is_documented() {
        let (router, mut document) = with_document(all(true));
        // The router does not tell otherwise what it has.
        let shown = format!("{router:?}");
        let (shown, _) = shown.split_once("fallback_router").unwrap();
        let routes = shown.split(r#"): "/"#).skip(1);
        let mut served: Vec<String> = routes
            .map(|route| format!("/{}", route.split('"').next().unwrap()))
            .collect();
        served.sort();
        let told: Vec<&String> = document.paths.paths.keys().collect();
        assert_eq!(served.iter().collect::<Vec<_>>(), told);
        let handlers = shown.matches(": BoxedHandler").count();
        let operations = document.paths.paths.values_mut().flat_map(operations);
        assert_eq!(handlers, operations.count());
    }

    #[tokio::test]
    async fn too_many_requests_are_refused_at_once() {
        let limits = Limits::default();
        let all = u32::try_from(IN_WORK_MAX).unwrap();
        let _taken = limits.places.acquire_many(all).await.unwrap();
        let (status, body) = answer(limited(limits.clone())).await;
        assert_eq!(
            (status.as_u16(), &body["code"]),
            (503, &"overloaded".into())
        );
    }

    #[tokio::test]
    async fn half_of_the_places_are_for_callers_with_a_key() {
        let limits = Limits::default();
        let half = u32::try_from(IN_WORK_MAX / 2).unwrap();
        let _taken = limits.keyless.acquire_many(half).await.unwrap();
        let fine = routing::get(async || axum::Json(serde_json::Value::Null));
        let app = Router::new()
            .route("/", fine)
            .layer(middleware::from_fn_with_state(limits.clone(), limit));
        assert_eq!(answer(app.clone()).await.0, 503);
        let keyed = Access::Open.keyed(&axum::http::HeaderMap::new());
        let keyed = app.layer(Extension(keyed.unwrap()));
        assert_eq!(answer(keyed).await.0, 200);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_ends_in_time_and_gives_its_place_back() {
        let limits = Limits::default();
        let (status, body) = answer(limited(limits.clone())).await;
        assert_eq!((status.as_u16(), &body["code"]), (503, &"timed_out".into()));
        assert_eq!(limits.places.available_permits(), IN_WORK_MAX);
    }

    /// A request that was slow to be accepted waits less for its outcome: the 202 comes before the end.
    #[tokio::test(start_paused = true)]
    async fn a_wait_ends_before_its_request_does() {
        let slow = routing::get(async |wait: Wait| {
            tokio::time::sleep(Duration::from_secs(10 + 5 + 8 + 2)).await;
            let patience = wait.patience().unwrap();
            tokio::time::sleep(patience + LAST_LOOK_MAX).await;
            StatusCode::ACCEPTED
        });
        let app = Router::new()
            .route("/", slow)
            .layer(middleware::from_fn_with_state(Limits::default(), limit));
        let request = Request::get("/").header("prefer", "wait=30");
        let answer = app.oneshot(request.body(Body::empty()).unwrap()).await;
        assert_eq!(answer.unwrap().status(), 202);
    }

    #[tokio::test]
    async fn a_panic_is_an_answer_that_repeats_nothing() {
        #[expect(clippy::panic, reason = "that is what is tested")]
        async fn fails() {
            panic!("s3cret");
        }
        let app = Router::new()
            .route("/", routing::get(fails))
            .layer(CatchPanicLayer::custom(panicked));
        let (status, body) = answer(app).await;
        assert_eq!((status.as_u16(), &body["code"]), (500, &"internal".into()));
        assert!(!body.to_string().contains("s3cret"));
    }
}
