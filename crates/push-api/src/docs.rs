//! The document to be browsed, at `/docs`: Swagger UI, in the program itself. Nothing comes from elsewhere, and nothing is
//! taken into memory before somebody asks.

use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::body::Bytes;
use axum::extract::Path;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use utoipa_swagger_ui::Config;

use crate::error::ApiError;
use crate::router;

const JS: &str = "text/javascript; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";

/// Ours: name, media type, content.
const PAGE: [(&str, &str, &str); 3] = [
    (
        "index.html",
        "text/html; charset=utf-8",
        include_str!("../assets/docs/index.html"),
    ),
    ("docs.js", JS, include_str!("../assets/docs/docs.js")),
    ("docs.css", CSS, include_str!("../assets/docs/docs.css")),
];

/// Those of Swagger UI's files that our page names. The others are other ways to build the same.
const SWAGGER_UI: [(&str, &str); 2] = [("swagger-ui-bundle.js", JS), ("swagger-ui.css", CSS)];

/// Nothing from elsewhere, and no script or style inline. Its icons are `data:` addresses within its style sheet.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'none'; \
     base-uri 'none'; frame-ancestors 'none'",
);

/// A browser asks each time whether there is a newer one: after an upgrade nobody has a page of the old program.
const FRESH: HeaderValue = HeaderValue::from_static("no-cache");

/// Of the whole API, also where only the probes are served. Made when it is first asked for.
static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| {
    let json = serde_json::to_vec(&router::document(true));
    json.unwrap_or_default().into()
});

/// The pages.
pub fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route("/docs", get(async || Redirect::permanent("/docs/")))
        .route("/docs/", get(async || file("index.html")))
        .route(
            "/docs/{file}",
            get(async |Path(name): Path<String>| file(&name)),
        )
}

/// Whether a path is one of these.
#[must_use]
pub fn has(path: &str) -> bool {
    path.strip_prefix("/docs")
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn file(name: &str) -> Response {
    if let Some((_, kind, content)) = PAGE.iter().find(|(known, ..)| *known == name) {
        return answer(kind, *content);
    }
    if let Some((_, kind)) = SWAGGER_UI.iter().find(|(known, _)| *known == name) {
        let config = Arc::new(Config::from("openapi.json"));
        return match utoipa_swagger_ui::serve(name, config) {
            Ok(Some(file)) => answer(kind, content(file.bytes)),
            Ok(None) => ApiError::NotFound.into_response(),
            Err(error) => ApiError::Internal(error.to_string()).into_response(),
        };
    }
    if name == "openapi.json" {
        return answer("application/json", DOCUMENT.clone());
    }
    ApiError::NotFound.into_response()
}

/// Without a copy of what lies in the program.
fn content(bytes: Cow<'static, [u8]>) -> Bytes {
    match bytes {
        Cow::Borrowed(bytes) => Bytes::from_static(bytes),
        Cow::Owned(bytes) => bytes.into(),
    }
}

fn answer(kind: &'static str, content: impl IntoResponse) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::CACHE_CONTROL, FRESH),
    ];
    (headers, content).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_the_page_names_is_there() {
        for name in ["index.html", "docs.js", "docs.css", "openapi.json"]
            .into_iter()
            .chain(SWAGGER_UI.map(|(name, _)| name))
        {
            assert_eq!(file(name).status(), 200, "{name}");
        }
        for name in ["swagger-initializer.js", "../Cargo.toml", ""] {
            assert_eq!(file(name).status(), 404, "{name}");
        }
        let (_, _, page) = PAGE[0];
        for part in page.split(['"', '\'']).filter(|part| {
            [".js", ".css", ".json"]
                .iter()
                .any(|end| part.ends_with(end))
        }) {
            assert_eq!(file(part).status(), 200, "{part}");
        }
    }

    #[test]
    fn only_its_own_paths_count_as_the_pages() {
        for (path, expected) in [
            ("/docs", true),
            ("/docs/", true),
            ("/docs/docs.js", true),
            ("/docs2", false),
            ("/api/docs", false),
        ] {
            assert_eq!(has(path), expected, "{path}");
        }
    }
}
