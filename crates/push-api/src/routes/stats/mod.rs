//! `GET /api/Push/stats`

mod figures;

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, TimeDelta, Utc};
use push_store::{Figures, Interval};
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use crate::answer::Time;
use crate::caller::{Caller, Read};
use crate::error::{ApiError, CallErrors, QueryErrors};
use crate::query::{Given, Pairs};
use crate::request::Problems;
use crate::state::{AppState, now};
use figures::{FiguresAnswer, Group, GroupBy, groups};

/// Hours and days of an answer at most: what a chart can show, and what is read at once.
const HOURS_MAX: i64 = 31 * 24;
const DAYS_MAX: i64 = 366;
/// Without a wish.
const HOURS_DEFAULT: i64 = 24;
const DAYS_DEFAULT: i64 = 30;
/// Types that are told one by one; the others are told together.
const TYPES_MAX: usize = 50;

/// What the query may hold.
#[derive(IntoParams)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
#[expect(
    dead_code,
    reason = "documentation: all problems of a query are told at once, so it is read by hand"
)]
pub struct Parameters {
    /// From the hour or day (UTC) on that this lies in. Default: a day, or 30 days, before `to`.
    #[param(value_type = Option<DateTime<Utc>>)]
    from: Option<String>,
    /// To the end of the hour or day that this lies in. Default: now.
    #[param(value_type = Option<DateTime<Utc>>)]
    to: Option<String>,
    /// How long a bucket is, of UTC: at most 31 days of hours, or 366 days.
    #[param(value_type = Option<String>, pattern = "^(hour|day)$", default = "hour")]
    interval: Option<String>,
    /// Adds `groups` to the totals and to each bucket.
    #[param(value_type = Option<String>, pattern = "^(status|reason|provider|type)$")]
    group_by: Option<String>,
}

/// The figures of a range.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Stats)]
pub struct Answer {
    /// Always true.
    #[schema(example = true)]
    success: bool,
    /// For people.
    message: &'static str,
    /// When the first bucket begins.
    #[schema(value_type = DateTime<Utc>)]
    from: Time,
    /// When the last one ends.
    #[schema(value_type = DateTime<Utc>)]
    to: Time,
    /// `hour` or `day`.
    #[schema(example = "hour")]
    interval: &'static str,
    /// By what `groups` are made.
    group_by: Option<&'static str>,
    /// All together.
    totals: Bucket,
    /// Each hour or day, the oldest first, also where nothing was accepted.
    buckets: Vec<Bucket>,
}

/// The figures of all that was accepted within a time.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = StatsBucket)]
pub struct Bucket {
    /// When it begins.
    #[schema(value_type = DateTime<Utc>)]
    from: Time,
    /// When it ends.
    #[schema(value_type = DateTime<Utc>)]
    to: Time,
    /// The figures.
    #[serde(flatten)]
    figures: FiguresAnswer,
    /// Of each status, reason, provider or type; only with `groupBy`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    groups: Option<Vec<Group>>,
}

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
struct Wish {
    interval: Interval,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    group_by: Option<GroupBy>,
}

impl Wish {
    fn parse(given: &Given, now: DateTime<Utc>) -> Result<Self, ApiError> {
        let mut problems = Problems::default();
        let (from, to) = given.times(&mut problems);
        let interval =
            given.read(
                &mut problems,
                "interval",
                "must be hour or day",
                |text| match text {
                    "hour" => Some(Interval::Hour),
                    "day" => Some(Interval::Day),
                    _ => None,
                },
            );
        let interval = interval.unwrap_or(Interval::Hour);
        let must = "must be status, reason, provider or type";
        let group_by = given.read(&mut problems, "groupBy", must, GroupBy::from_spelling);
        let length = TimeDelta::hours(i64::from(interval.hours()));
        let (max, default, told) = match interval {
            Interval::Hour => (
                HOURS_MAX,
                HOURS_DEFAULT,
                "must be at most 31 days after from; with interval=day, 366 days",
            ),
            Interval::Day => (
                DAYS_MAX,
                DAYS_DEFAULT,
                "must be at most 366 days after from",
            ),
        };
        let range = range(
            interval,
            from,
            to,
            now,
            length * i32::try_from(default).unwrap_or(1),
        );
        match range {
            Some((from, to)) if (to - from).num_hours() > max * i64::from(interval.hours()) => {
                problems.note("to", told);
            }
            None if from.is_none() || to.is_none() || from < to => {
                problems.note("to", "must be a time after from that a calendar has");
            }
            Some(_) | None => {}
        }
        let (from, to) = range.unwrap_or((now, now));
        problems.finish(Some(Self {
            interval,
            from,
            to,
            group_by,
        }))
    }

    /// The beginnings of the buckets.
    fn begins(&self) -> impl Iterator<Item = DateTime<Utc>> {
        let (to, length) = (self.to, self.length());
        std::iter::successors(Some(self.from), move |begin| Some(*begin + length))
            .take_while(move |begin| *begin < to)
    }

    fn length(&self) -> TimeDelta {
        TimeDelta::hours(i64::from(self.interval.hours()))
    }
}

/// From the beginning of an interval to the end of one.
fn range(
    interval: Interval,
    from: Option<DateTime<Utc>>,
    to: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
    default: TimeDelta,
) -> Option<(DateTime<Utc>, DateTime<Utc>)> {
    let length = TimeDelta::hours(i64::from(interval.hours()));
    let to = to.unwrap_or(now);
    // The end itself does not count.
    let last = to.checked_sub_signed(TimeDelta::nanoseconds(1))?;
    let end = interval.begin(last).checked_add_signed(length)?;
    let from = match from {
        Some(from) => from,
        None => end.checked_sub_signed(default)?,
    };
    let begin = interval.begin(from);
    (begin < end).then_some((begin, end))
}

/// Figures of all that was accepted, by hour or day, exact at every moment.
///
/// A notification counts in the hour (UTC) in which it was accepted, whenever it ends: `accepted` is always the sum of
/// `sent`, `failed`, `suppressed` and `pending`. Delivery times are told to 5 %.
#[utoipa::path(
    get,
    path = "/api/Push/stats",
    operation_id = "getStats",
    tag = "history",
    params(Parameters),
    responses(
        (status = 200, description = "The figures", body = Answer,
         example = json!({"success": true, "message": "Figures found", "from": "2030-01-01T00:00:00.000Z",
                          "to": "2030-01-02T00:00:00.000Z", "interval": "day", "groupBy": null,
                          "totals": {"from": "2030-01-01T00:00:00.000Z", "to": "2030-01-02T00:00:00.000Z",
                                     "accepted": 1000, "sent": 980, "failed": 12, "suppressed": 5, "pending": 3, "opened": 300,
                                     "successRate": 0.9879, "openRate": 0.3061, "failedByReason": {"invalid_tokens": 12},
                                     "suppressedByReason": {"opted_out": 5}, "deliveryTimeMs": {"count": 980, "p50": 17, "p95": 24, "p99": 61},
                                     "providers": {"fcm": {"success": 980, "failed": 12, "successRate": 0.9879, "deliveryTimeMs": {"count": 980, "p50": 17, "p95": 24, "p99": 61}},
                                                   "expo": {"success": 0, "failed": 0, "successRate": null,
                                                            "deliveryTimeMs": {"count": 0, "p50": null, "p95": null, "p99": null}}}},
                          "buckets": [{"from": "2030-01-01T00:00:00.000Z", "to": "2030-01-02T00:00:00.000Z",
                                     "accepted": 1000, "sent": 980, "failed": 12, "suppressed": 5, "pending": 3, "opened": 300,
                                     "successRate": 0.9879, "openRate": 0.3061, "failedByReason": {"invalid_tokens": 12},
                                     "suppressedByReason": {"opted_out": 5}, "deliveryTimeMs": {"count": 980, "p50": 17, "p95": 24, "p99": 61},
                                     "providers": {"fcm": {"success": 980, "failed": 12, "successRate": 0.9879, "deliveryTimeMs": {"count": 980, "p50": 17, "p95": 24, "p99": 61}},
                                                   "expo": {"success": 0, "failed": 0, "successRate": null,
                                                            "deliveryTimeMs": {"count": 0, "p50": null, "p95": null, "p99": null}}}}]})),
        QueryErrors, CallErrors,
    ),
)]
pub async fn stats(
    _caller: Caller<Read>,
    State(state): State<AppState>,
    query: Pairs,
) -> Result<Json<Answer>, ApiError> {
    let wish = Wish::parse(&Given::of(query), now())?;
    let by_type = wish.group_by == Some(GroupBy::Type);
    let (interval, from, to) = (wish.interval, wish.from, wish.to);
    let found = state
        .ask_of_many(|store| async move { store.figures(interval, from, to, by_type).await })
        .await?;
    let mut by_begin: BTreeMap<DateTime<Utc>, Types> = BTreeMap::new();
    for (of, figures) in found {
        let kinds = by_begin.entry(of.begin).or_default();
        kinds.insert(of.kind.unwrap_or_default(), figures);
    }
    Ok(Json(answer(&wish, by_begin)))
}

/// Figures by type; of all types together under no name.
type Types = BTreeMap<String, Figures>;

fn answer(wish: &Wish, mut by_begin: BTreeMap<DateTime<Utc>, Types>) -> Answer {
    let mut all = Types::new();
    for (kind, figures) in by_begin.values().flatten() {
        all.entry(kind.clone()).or_default().merge(figures);
    }
    let told = most_frequent(&all);
    let bucket = |from, to, types: &Types| {
        let mut sum = Figures::default();
        types.values().for_each(|figures| sum.merge(figures));
        Bucket {
            from: Time(from),
            to: Time(to),
            groups: wish.group_by.map(|by| groups(by, &sum, types, &told)),
            figures: FiguresAnswer::of(&sum),
        }
    };
    let buckets = wish.begins().map(|begin| {
        let types = by_begin.remove(&begin).unwrap_or_default();
        bucket(begin, begin + wish.length(), &types)
    });
    Answer {
        success: true,
        message: "Figures found",
        from: Time(wish.from),
        to: Time(wish.to),
        interval: match wish.interval {
            Interval::Hour => "hour",
            Interval::Day => "day",
        },
        group_by: wish.group_by.map(GroupBy::as_str),
        buckets: buckets.collect(),
        totals: bucket(wish.from, wish.to, &all),
    }
}

/// The types that are told one by one.
fn most_frequent(all: &Types) -> Vec<String> {
    let mut kinds: Vec<_> = all.iter().collect();
    kinds.sort_by_key(|(kind, figures)| (std::cmp::Reverse(figures.accepted), kind.to_owned()));
    let kinds = kinds.into_iter().take(TYPES_MAX);
    kinds.map(|(kind, _)| kind.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routes::send_to_customer::tests::problems_of;

    fn wish(pairs: &[(&str, &str)]) -> Result<Wish, ApiError> {
        let pairs = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let now = "2026-03-02T10:20:30Z".parse().unwrap();
        Wish::parse(&Given::new(pairs.collect()), now)
    }

    fn told(wish: &Wish) -> (String, String) {
        (wish.from.to_rfc3339(), wish.to.to_rfc3339())
    }

    #[test]
    fn a_range_is_one_of_whole_hours_or_days() {
        let told_of = |pairs: &[(&str, &str)]| told(&wish(pairs).unwrap());
        let range =
            |from: &str, to: &str| (format!("{from}:00:00+00:00"), format!("{to}:00:00+00:00"));
        assert_eq!(told_of(&[]), range("2026-03-01T11", "2026-03-02T11"));
        assert_eq!(
            told_of(&[("interval", "day")]),
            range("2026-02-01T00", "2026-03-03T00")
        );
        let given = [
            ("from", "2026-03-01T10:59:59Z"),
            ("to", "2026-03-01T13:00:00+01:00"),
        ];
        assert_eq!(told_of(&given), range("2026-03-01T10", "2026-03-01T12"));
        assert_eq!(wish(&given).unwrap().begins().count(), 2);
    }

    #[test]
    fn a_range_is_bounded_and_every_problem_is_told() {
        let hours = |to| wish(&[("from", "2026-01-01T00:00:00Z"), ("to", to)]);
        assert_eq!(hours("2026-02-01T00:00:00Z").unwrap().begins().count(), 744);
        assert_eq!(problems_of(hours("2026-02-01T00:00:00.001Z")).len(), 1);
        let days = |to| {
            wish(&[
                ("from", "2026-01-01T00:00:00Z"),
                ("to", to),
                ("interval", "day"),
            ])
        };
        assert_eq!(days("2027-01-02T00:00:00Z").unwrap().begins().count(), 366);
        assert_eq!(problems_of(days("2027-01-02T00:00:01Z")).len(), 1);
        let told = problems_of(wish(&[
            ("from", "x"),
            ("to", "x"),
            ("interval", "week"),
            ("groupBy", "customer"),
        ]));
        assert_eq!(told.len(), 4, "{told:?}");
        let order = [
            ("from", "2026-01-02T00:00:00Z"),
            ("to", "2026-01-01T00:00:00Z"),
        ];
        assert_eq!(problems_of(wish(&order)).len(), 1);
        // Nor is anything else odd a panic.
        for odd in [
            "0000-01-01T00:00:00Z",
            "9999-12-31T23:59:59Z",
            "1969-12-31T00:00:00Z",
        ] {
            let _told = wish(&[("to", odd)]);
            let _told = wish(&[("from", odd)]);
        }
    }
}
