//! `GET /api/Push/history`

mod csv;
mod item;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use chrono::DateTime;
use push_core::booking::BookingId;
use push_core::notification::NotificationType;
use push_core::status::{Reason, Status};
use push_store::{HistoryFilter, HistoryPlace, Store};
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use crate::caller::{Caller, Read};
use crate::error::{ApiError, CallErrors, QueryErrors};
use crate::query::{Given, Pairs, one_of};
use crate::request::Problems;
use crate::schemas;
use crate::state::AppState;
pub use csv::Exports;
pub use item::Item;

/// Items of a page at most, and without a wish.
const LIMIT_MAX: u32 = 200;
const LIMIT_DEFAULT: u32 = 50;

/// What the query may hold.
#[derive(IntoParams)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
#[expect(
    dead_code,
    reason = "documentation: all problems of a query are told at once, so it is read by hand"
)]
pub struct Parameters {
    /// Whom they are for.
    #[param(minimum = 1)]
    customer_id: Option<i64>,
    /// Which booking its events told of.
    #[param(max_length = 56)]
    booking_id: Option<String>,
    /// Where they stand.
    #[param(value_type = Option<String>, schema_with = schemas::status)]
    status: Option<String>,
    /// What kind of news they are.
    #[param(pattern = "^[a-z0-9_.-]{1,50}$")]
    r#type: Option<String>,
    /// Why they failed or were suppressed.
    #[param(value_type = Option<String>, schema_with = schemas::reason)]
    reason: Option<String>,
    /// Accepted at this time or later.
    #[param(value_type = Option<chrono::DateTime<chrono::Utc>>)]
    from: Option<String>,
    /// Accepted before this time.
    #[param(value_type = Option<chrono::DateTime<chrono::Utc>>)]
    to: Option<String>,
    /// Items of a page. Of CSV: rows at most, any number; without it all.
    #[param(minimum = 1, maximum = 200, default = 50)]
    limit: Option<u32>,
    /// `nextCursor` of the page before, with the same filters.
    cursor: Option<String>,
    /// `csv` is the same as `Accept: text/csv`.
    #[param(value_type = Option<String>, pattern = "^(json|csv)$", default = "json")]
    format: Option<String>,
}

/// A page, the newest first.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = History)]
pub struct Answer {
    /// Always true.
    #[schema(example = true)]
    success: bool,
    /// For people.
    message: &'static str,
    /// The notifications.
    items: Vec<Item>,
    /// Where the next page begins; `null` at the end.
    #[schema(example = "1a0c4e8b2a0-11")]
    next_cursor: Option<String>,
}

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
struct Wish {
    filter: HistoryFilter,
    after: Option<HistoryPlace>,
    limit: Option<u32>,
    format: Format,
}

/// How it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    /// A page.
    Json,
    /// All of it.
    Csv,
}

impl Wish {
    fn parse(given: &Given, headers: &HeaderMap) -> Result<Self, ApiError> {
        let mut problems = Problems::default();
        let (from, to) = given.times(&mut problems);
        let filter = HistoryFilter {
            customer: given.customer(&mut problems),
            booking: given.read(
                &mut problems,
                "bookingId",
                "must be the id of a booking, as its events had it",
                |text| BookingId::parse(text).ok(),
            ),
            status: given.read(&mut problems, "status", &one_of(Status::ALL), |text| {
                Status::from_spelling(text)
            }),
            kind: given.read(
                &mut problems,
                "type",
                "must have 1 to 50 of a-z, 0-9, _, . and -",
                |text| NotificationType::parse(text).ok(),
            ),
            reason: given.read(&mut problems, "reason", &one_of(Reason::ALL), |text| {
                Reason::from_spelling(text)
            }),
            from,
            to,
        };
        let format = given.read(
            &mut problems,
            "format",
            "must be json or csv",
            |text| match text {
                "json" => Some(Format::Json),
                "csv" => Some(Format::Csv),
                _ => None,
            },
        );
        let format = format.unwrap_or_else(|| accepted(headers));
        let (max, must) = match format {
            Format::Json => (LIMIT_MAX, "must be 1 to 200"),
            Format::Csv => (u32::MAX, "must be a positive integer"),
        };
        let limit = given.read(&mut problems, "limit", must, |text| {
            let limit = text.parse::<u32>().ok()?;
            (1..=max).contains(&limit).then_some(limit)
        });
        let after = given.read(&mut problems, "cursor", "must be a nextCursor", place);
        problems.finish(Some(Self {
            filter,
            after,
            limit,
            format,
        }))
    }
}

/// CSV for whoever names it and not JSON: a browser accepts anything.
fn accepted(headers: &HeaderMap) -> Format {
    let types = headers.get_all(header::ACCEPT).into_iter();
    let types = types.filter_map(|value| value.to_str().ok());
    let types: Vec<String> = types
        .flat_map(|value| value.split(','))
        .map(|range| {
            let media_type = range.split(';').next().unwrap_or_default();
            media_type.trim().to_ascii_lowercase()
        })
        .collect();
    let has = |wanted: &str| types.iter().any(|media_type| media_type == wanted);
    if has("text/csv") && !has("application/json") {
        Format::Csv
    } else {
        Format::Json
    }
}

/// The place after which the next page begins, as callers send it back.
fn cursor(place: HistoryPlace) -> String {
    format!("{:x}-{:x}", place.at.timestamp_millis(), place.row)
}

/// Reads a cursor.
fn place(cursor: &str) -> Option<HistoryPlace> {
    let (at, row) = cursor.split_once('-')?;
    let at = DateTime::from_timestamp_millis(i64::from_str_radix(at, 16).ok()?)?;
    // What no column could hold.
    (0..=i64::from(i32::MAX))
        .contains(&at.timestamp())
        .then_some(())?;
    let row = u64::from_str_radix(row, 16).ok()?;
    Some(HistoryPlace { at, row })
}

/// Notifications by filter, the newest first.
///
/// By the time at which they were accepted. A page does not move while new ones come. With `Accept: text/csv` or
/// `format=csv` all of them are streamed as CSV (RFC 4180, UTF-8, a header row), or as many as `limit` says. A transfer that
/// breaks off in the middle is not complete. A cell that a spreadsheet would take for a formula begins with an apostrophe.
#[utoipa::path(
    get,
    path = "/api/Push/history",
    operation_id = "listNotifications",
    tag = "history",
    params(Parameters),
    responses(
        (status = 200, description = "A page, or all as CSV", content(
            (Answer = "application/json", example = json!({"success": true, "message": "Notifications found",
                          "items": [{"notificationId": "01a22506-a3a7-738b-81dd-f25ad87ff4a2", "customerId": 123, "type": "technician_assigned",
                          "title": "Technician Assigned! 🚗", "body": "John has been assigned to your booking BID123. They will contact you soon.",
                          "data": {"type": "technician_assigned", "bookingId": "456"}, "imageUrl": null, "status": "sent", "reason": null,
                          "fcmResult": "success", "expoResult": "not_sent", "attempts": 1, "priority": "high", "collapseKey": null,
                          "createdAt": "2030-01-01T00:00:00.000Z", "sendAt": null, "expiresAt": "2030-01-01T01:00:00.000Z",
                          "completedAt": "2030-01-01T00:00:00.017Z", "openedAt": null}],
                          "nextCursor": "1a0c4e8b2a0-11"})),
            (String = "text/csv", example = "notificationId,customerId,type,status,…\r\n"),
        )),
        QueryErrors, CallErrors,
    ),
)]
pub async fn history(
    _caller: Caller<Read>,
    State(state): State<AppState>,
    headers: HeaderMap,
    query: Pairs,
) -> Result<Response, ApiError> {
    let wish = Wish::parse(&Given::of(query), &headers)?;
    match wish.format {
        Format::Json => Ok(Json(page(&state, wish).await?).into_response()),
        Format::Csv => csv::export(state, wish).await,
    }
}

async fn page(state: &AppState, wish: Wish) -> Result<Answer, ApiError> {
    let limit = wish.limit.unwrap_or(LIMIT_DEFAULT);
    // One more tells whether there is another page.
    let ask =
        |store: Store| async move { store.history(&wish.filter, wish.after, limit + 1).await };
    let mut found = state.ask_of_many(ask).await?;
    let more = found.len() > limit as usize;
    found.truncate(limit as usize);
    let last = found.last().filter(|_| more);
    Ok(Answer {
        success: true,
        message: "Notifications found",
        next_cursor: last.map(|last| cursor(last.place)),
        items: found
            .into_iter()
            .map(|item| Item::from(item.notification))
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;
    use crate::routes::send_to_customer::tests::problems_of;

    fn wish(pairs: &[(&str, &str)], accept: &'static str) -> Result<Wish, ApiError> {
        let pairs = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let headers = [(header::ACCEPT, HeaderValue::from_static(accept))];
        Wish::parse(&Given::new(pairs.collect()), &headers.into_iter().collect())
    }

    #[test]
    fn every_filter_is_read_and_every_problem_told() {
        let all = wish(
            &[
                ("customerId", "7"),
                ("bookingId", "B7"),
                ("status", "failed"),
                ("type", "a-b.c"),
                ("reason", "refused"),
                ("from", "2026-01-02T03:04:05Z"),
                ("to", "2026-01-02T04:04:06+01:00"),
                ("limit", "200"),
                ("cursor", "1a0c4e8b2a0-11"),
            ],
            "*/*",
        )
        .unwrap();
        assert_eq!(all.filter.reason, Some(Reason::Refused));
        assert_eq!(all.limit, Some(200));
        assert_eq!(all.after.map(cursor).as_deref(), Some("1a0c4e8b2a0-11"));
        let told = problems_of(wish(
            &[
                ("customerId", "0"),
                ("bookingId", ""),
                ("status", "Sent"),
                ("type", "A"),
                ("reason", "x"),
                ("from", "today"),
                ("to", ""),
                ("limit", "201"),
                ("cursor", "x"),
                ("format", "xml"),
            ],
            "*/*",
        ));
        assert_eq!(told.len(), 10, "{told:?}");
    }

    #[test]
    fn csv_is_for_whoever_asks_for_it() {
        let format = |pairs, accept| wish(pairs, accept).unwrap().format;
        assert_eq!(format(&[], "text/csv"), Format::Csv);
        assert_eq!(format(&[], "text/html, Text/CSV;q=0.9"), Format::Csv);
        for other in ["*/*", "application/json, text/csv", "text/csvx", "text/*"] {
            assert_eq!(format(&[], other), Format::Json, "{other}");
        }
        assert_eq!(
            format(&[("format", "csv")], "application/json"),
            Format::Csv
        );
        assert_eq!(format(&[("format", "json")], "text/csv"), Format::Json);
        // A page is bounded, a file is not.
        assert_eq!(
            wish(&[("limit", "100000")], "text/csv").unwrap().limit,
            Some(100_000)
        );
    }

    #[test]
    fn a_cursor_leads_back_to_its_place() {
        let at = DateTime::from_timestamp_millis(1_790_000_000_123).unwrap();
        let there = HistoryPlace { at, row: u64::MAX };
        assert_eq!(place(&cursor(there)), Some(there));
        for odd in [
            "",
            "-",
            "1",
            "x-1",
            "1-x",
            "-1-1",
            "7fffffffffffffff-1",
            "1-1-1",
        ] {
            assert_eq!(place(odd), None, "{odd}");
        }
    }
}
