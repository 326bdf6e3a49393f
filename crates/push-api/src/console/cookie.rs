//! The cookie that a session is known by: what it is called, how it is read, and how it is given and taken away.

use axum::http::{HeaderMap, HeaderValue, header};
use chrono::TimeDelta;

use crate::error::ApiError;

/// Over TLS. A browser takes a cookie with this prefix from this very host only, over TLS, and for all its paths (RFC 6265bis,
/// section 4.1.3): neither a sibling domain nor somebody on the way can put another one beside it.
const OF_THIS_HOST: &str = "__Host-push_console";
/// Without TLS, for development: no browser takes the prefix there.
const PLAIN: &str = "push_console";
/// So many of the name are read. There is one, unless a sibling domain planted more.
const READ_MAX: usize = 4;

const fn name(over_tls: bool) -> &'static str {
    if over_tls { OF_THIS_HOST } else { PLAIN }
}

/// What is in our cookies, as far as it looks like ours.
pub fn secrets(headers: &HeaderMap, over_tls: bool) -> impl Iterator<Item = &str> {
    let cookies = headers.get_all(header::COOKIE).into_iter();
    let pairs = cookies
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='));
    let named = pairs.filter(move |(found, _)| *found == name(over_tls));
    named
        .map(|(_, secret)| secret)
        .filter(|secret| secret.len() == 64 && secret.bytes().all(|byte| byte.is_ascii_hexdigit()))
        .take(READ_MAX)
}

/// Gives a browser the cookie.
///
/// # Errors
/// [`ApiError::Internal`] where the secret cannot stand in a header.
pub fn given(secret: &str, lasting: TimeDelta, over_tls: bool) -> Result<HeaderValue, ApiError> {
    let (name, seconds) = (name(over_tls), lasting.num_seconds());
    let secure = if over_tls { "; Secure" } else { "" };
    let text =
        format!("{name}={secret}; Path=/; HttpOnly; SameSite=Strict; Max-Age={seconds}{secure}");
    HeaderValue::try_from(text).map_err(|error| ApiError::Internal(error.to_string()))
}

/// Takes it away.
///
/// # Errors
/// None that is known: as of [`given`].
pub fn taken_away(over_tls: bool) -> Result<HeaderValue, ApiError> {
    given("", TimeDelta::zero(), over_tls)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(cookies: &str, over_tls: bool) -> Vec<String> {
        let value = HeaderValue::from_str(cookies).unwrap();
        let headers = HeaderMap::from_iter([(header::COOKIE, value)]);
        secrets(&headers, over_tls).map(ToOwned::to_owned).collect()
    }

    #[test]
    fn only_our_cookie_is_read_and_only_if_it_can_be_ours() {
        let ours = "ab".repeat(32);
        let both = format!("a=b; push_console={ours}");
        assert_eq!(read(&both, false), [ours.as_str()]);
        for wrong in [
            "push_console=".to_owned(),
            format!("push_console={ours}0"),
            format!("push_console={}", "zz".repeat(32)),
            format!("other={ours}"),
            "push_console".to_owned(),
        ] {
            assert_eq!(read(&wrong, false), [""; 0], "{wrong}");
        }
        assert_eq!(secrets(&HeaderMap::new(), false).count(), 0);
    }

    #[test]
    fn what_a_sibling_domain_planted_does_not_hide_ours() {
        let (ours, planted) = ("ab".repeat(32), "cd".repeat(32));
        let before = |name: &str| format!("push_console={planted}; push_console=x; {name}={ours}");
        assert_eq!(read(&before("__Host-push_console"), true), [ours.as_str()]);
        assert_eq!(
            read(&before("push_console"), false),
            [planted.as_str(), &ours]
        );
        let many = vec![before("push_console"); 100].join("; ");
        assert_eq!(read(&many, false).len(), READ_MAX);
    }

    #[test]
    fn no_script_and_no_other_site_gets_at_the_cookie() {
        let text = |over_tls| given("00", TimeDelta::hours(12), over_tls).unwrap();
        let (plain, tls) = (text(false), text(true));
        for cookie in [&plain, &tls] {
            let cookie = cookie.to_str().unwrap();
            for part in ["HttpOnly", "SameSite=Strict", "Max-Age=43200", "Path=/;"] {
                assert!(cookie.contains(part), "{cookie}");
            }
            assert!(!cookie.contains("Domain"), "{cookie}");
        }
        let (plain, tls) = (plain.to_str().unwrap(), tls.to_str().unwrap());
        assert!(plain.starts_with("push_console=00;") && !plain.contains("Secure"));
        assert!(tls.starts_with("__Host-push_console=00;") && tls.ends_with("; Secure"));
    }
}
