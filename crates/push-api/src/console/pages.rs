//! The files of the console. Whoever asks gets them: they hold no data.

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;

use crate::error::ApiError;

/// Name, media type, content.
type File = (&'static str, &'static str, &'static str);

const JS: &str = "text/javascript; charset=utf-8";

/// The files in `assets/console`.
macro_rules! files {
    ($($name:literal: $kind:expr),+ $(,)?) => {
        [$(($name, $kind, include_str!(concat!("../../assets/console/", $name)))),+]
    };
}

const FILES: [File; 13] = files! {
    "index.html": "text/html; charset=utf-8",
    "console.css": "text/css; charset=utf-8",
    "icon.svg": "image/svg+xml",
    "app.js": JS,
    "api.js": JS,
    "chart.js": JS,
    "customer.js": JS,
    "dom.js": JS,
    "letters.js": JS,
    "notification.js": JS,
    "operations.js": JS,
    "overview.js": JS,
    "search.js": JS,
};

/// Only what comes from here, and nothing inline: a title that was sent can never become a script.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'none'; \
     base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
);

/// A browser asks each time whether there is a newer one: after an upgrade nobody has a page of the old program.
const FRESH: HeaderValue = HeaderValue::from_static("no-cache");

/// The pages.
pub fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route("/admin", get(async || Redirect::permanent("/admin/")))
        .route("/admin/", get(async || file("index.html")))
        .route(
            "/admin/{file}",
            get(async |Path(name): Path<String>| file(&name)),
        )
}

fn file(name: &str) -> Response {
    let Some((_, kind, content)) = FILES.iter().find(|(known, ..)| *known == name) else {
        return ApiError::NotFound.into_response();
    };
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::CACHE_CONTROL, FRESH),
    ];
    (headers, *content).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_folder_is_served() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/console");
        let mut there: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        there.sort();
        let mut served: Vec<&str> = FILES.iter().map(|(name, ..)| *name).collect();
        served.sort_unstable();
        assert_eq!(served, there);
    }

    /// The policy forbids both; here it is told by which file.
    #[test]
    fn nothing_is_inline_or_from_elsewhere() {
        for (name, _, content) in FILES {
            for no in [
                "style=",
                "onclick=",
                "innerHTML",
                "src=\"http",
                "url(http",
                "eval(",
            ] {
                assert!(!content.contains(no), "{name} has {no}");
            }
        }
    }
}
