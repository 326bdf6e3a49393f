//! `POST`, `GET`, `DELETE /api/Push/admin/session`: signing in to the console, and out of it.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;

use crate::answer::{Done, Time};
use crate::caller::{Admin, Caller};
use crate::console::session;
use crate::error::{ApiError, CallErrors};
use crate::keys::Scope;
use crate::routes::closed::closed;
use crate::state::AppState;

/// In, who, and out.
pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(closed!(sign_in))
        .routes(closed!(session))
        .routes(closed!(sign_out))
}

/// Who is signed in.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Session)]
pub struct Answer {
    /// Always true.
    #[schema(example = true)]
    success: bool,
    /// For people.
    #[schema(example = "Signed in")]
    message: &'static str,
    /// The name of the API key, or who brought a token.
    #[schema(example = "ops")]
    name: String,
    /// What it may do.
    #[schema(value_type = Vec<String>, example = json!(["read", "admin"]))]
    scopes: Vec<&'static str>,
    /// Until when the cookie is good; `null`: there is none, and the credentials have to come with each request.
    #[schema(value_type = Option<chrono::DateTime<chrono::Utc>>)]
    expires_at: Option<Time>,
}

impl Answer {
    fn new(
        message: &'static str,
        caller: &Caller<Admin>,
        expires_at: Option<chrono::DateTime<chrono::Utc>>,
    ) -> Self {
        let scopes = Scope::ALL.into_iter();
        Self {
            success: true,
            message,
            name: caller.name().to_owned(),
            scopes: scopes
                .filter(|scope| caller.scopes().contains(*scope))
                .map(Scope::as_str)
                .collect(),
            expires_at: expires_at.map(Time),
        }
    }
}

/// Signs in to the console at `/admin/`.
///
/// With an API key that has the scope `admin` the answer sets a cookie that no script can read. For 12 hours, or until the
/// key is taken back, it stands for the key in requests that have the header `X-Push-Console` as well, which no other site's
/// page can send. A session that the request brings is over. A token gets no cookie: it has an end of its own.
#[utoipa::path(
    post,
    path = "/api/Push/admin/session",
    operation_id = "signIn",
    tag = "admin",
    responses(
        (status = 200, description = "Signed in", body = Answer,
         headers(("Set-Cookie" = String, description = "The session; none for a token")),
         example = json!({"success": true, "message": "Signed in", "name": "ops", "scopes": ["read", "admin"],
                          "expiresAt": "2030-01-01T12:00:00.000Z"})),
        CallErrors,
    ),
)]
pub async fn sign_in(
    caller: Caller<Admin>,
    State(state): State<AppState>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let Some(key) = state.access.key(&headers) else {
        return Ok(Json(Answer::new("No session is needed", &caller, None)).into_response());
    };
    let begun = session::begin(&state, &key, &headers).await?;
    let answer = Answer::new("Signed in", &caller, Some(begun.expires_at));
    Ok(([(header::SET_COOKIE, begun.cookie)], Json(answer)).into_response())
}

/// Who is signed in.
///
/// Answers to every kind of credentials, so that a page can ask whether it has to show a form.
#[utoipa::path(
    get,
    path = "/api/Push/admin/session",
    operation_id = "getSession",
    tag = "admin",
    responses(
        (status = 200, description = "Whoever calls", body = Answer,
         example = json!({"success": true, "message": "Signed in", "name": "ops", "scopes": ["read", "admin"],
                          "expiresAt": "2030-01-01T12:00:00.000Z"})),
        CallErrors,
    ),
)]
pub async fn session(caller: Caller<Admin>) -> Json<Answer> {
    let expires_at = caller.session_ends_at();
    Json(Answer::new("Signed in", &caller, expires_at))
}

/// Signs out of the console, on every replica.
///
/// The cookie is good for nothing from then on. Without a session nothing happens.
#[utoipa::path(
    delete,
    path = "/api/Push/admin/session",
    operation_id = "signOut",
    tag = "admin",
    responses(
        (status = 200, description = "Signed out", body = Done,
         headers(("Set-Cookie" = String, description = "Takes the session's cookie away")),
         example = json!({"success": true, "message": "Signed out"})),
        CallErrors,
    ),
)]
pub async fn sign_out(
    _caller: Caller<Admin>,
    State(state): State<AppState>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let gone = session::end(&state, &headers).await?;
    Ok(([(header::SET_COOKIE, gone)], Json(Done::new("Signed out"))).into_response())
}
