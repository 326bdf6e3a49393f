//! `GET /`: the page that shows the phones, one self-contained file.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use ring::digest::{SHA256, digest};

const PAGE: &str = include_str!("../../assets/phones.html");

/// Only this file's own script and style may run; it may talk only to where it came from.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; connect-src 'self'; \
         img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        hash_of("script"),
        hash_of("style")
    )
});

pub(super) async fn page() -> ([(http::HeaderName, &'static str); 5], &'static str) {
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, POLICY.as_str()),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "no-cache"),
    ];
    (headers, PAGE)
}

/// SHA-256 of the content of the page's one element `name`, as a CSP source wants it.
fn hash_of(name: &str) -> String {
    let open = format!("<{name}>");
    let close = format!("</{name}>");
    let content = PAGE
        .split_once(&open)
        .and_then(|(_, rest)| rest.split_once(&close))
        .map_or("", |(content, _)| content);
    STANDARD.encode(digest(&SHA256, content.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_one_script_and_one_style_and_nothing_from_outside() {
        assert_eq!(PAGE.matches("<script").count(), 1);
        assert_eq!(PAGE.matches("<style").count(), 1);
        assert!(!PAGE.contains(" style=") && !PAGE.contains("src="));
        assert!(!PAGE.contains("https://") && !PAGE.contains(" onclick="));
        assert_ne!(hash_of("script"), hash_of("nothing"));
        assert_ne!(hash_of("style"), hash_of("nothing"));
    }
}
