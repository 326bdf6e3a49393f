//! Dead letters: what was given up, and can be tried again or put aside.

mod detail;
mod discard;
mod filter;
mod list;
mod many;
mod replay;

use std::time::Duration;

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use push_core::notification::Ttl;
use push_store::{DeadLetterId, Discard, Refusal};
use utoipa_axum::router::OpenApiRouter;

use crate::error::ApiError;
use crate::query::Given;
use crate::request::Problems;
use crate::routes::closed::closed;
use crate::state::AppState;
pub(super) use many::FilterSchema;

/// The endpoints, a file each.
pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(closed!(list::list))
        .routes(closed!(detail::detail))
        .routes(closed!(replay::replay))
        .routes(closed!(discard::discard))
        .routes(closed!(many::replay_many))
        .routes(closed!(many::discard_many))
}

/// Items of a page at most, and without a wish.
const LIMIT_MAX: u32 = 200;
pub(super) const LIMIT_DEFAULT: u32 = 50;

/// `limit`.
pub(super) fn limit(given: &Given, problems: &mut Problems) -> Option<u32> {
    given.read(problems, "limit", "must be 1 to 200", |text| {
        let limit = text.parse::<u32>().ok()?;
        (1..=LIMIT_MAX).contains(&limit).then_some(limit)
    })
}

/// What is no number names no dead letter.
fn letter(id: Result<Path<u64>, PathRejection>) -> Result<DeadLetterId, ApiError> {
    let Path(id) = id.map_err(|_| ApiError::DeadLetter(Refusal::Unknown))?;
    Ok(DeadLetterId(id))
}

/// `extendTtlSeconds`.
fn extension(seconds: i64) -> Result<Duration, String> {
    let extension = Ttl::from_seconds(seconds).ok().map(Ttl::as_duration);
    extension
        .filter(|extension| !extension.is_zero())
        .ok_or_else(|| format!("must be 1 to {} seconds", Ttl::SECONDS_MAX))
}

/// Why something is discarded.
fn reason(text: String) -> Result<String, String> {
    let max = Discard::REASON_CHARS_MAX;
    let text = text.trim().to_owned();
    if text.is_empty() || text.chars().count() > max {
        return Err(format!("must have 1 to {max} characters"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_extension_and_a_reason_are_bounded() {
        for good in [1, 60, 2_419_200] {
            assert_eq!(
                extension(good).map(|time| time.as_secs()),
                Ok(good.unsigned_abs())
            );
        }
        for bad in [i64::MIN, -1, 0, 2_419_201, i64::MAX] {
            assert!(extension(bad).is_err(), "{bad}");
        }
        let longest = "é".repeat(255);
        assert_eq!(reason(format!(" {longest} ")), Ok(longest.clone()));
        for bad in ["", " \n", &format!("{longest}x")] {
            assert!(reason(bad.to_owned()).is_err());
        }
    }
}
