//! Known days first, then any.

use chrono::MappedLocalTime;
use proptest::prelude::*;

use super::*;

fn quiet(start: &str, end: &str, name: &str) -> QuietHours {
    let [start, end] = [start, end].map(|text| TimeOfDay::parse(text).unwrap());
    QuietHours::new(start, end, zone(name).unwrap()).unwrap()
}

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

/// Quiet exactly from `start` to `end`.
fn holds(hours: &QuietHours, start: &str, end: &str) {
    let (start, end, second) = (at(start), at(end), TimeDelta::seconds(1));
    assert_eq!(hours.end_after(start - second), None, "before {start}");
    for now in [start, start + (end - start) / 2, end - second] {
        assert_eq!(hours.end_after(now), Some(end), "at {now}");
    }
    assert_eq!(hours.end_after(end), None, "at {end}");
}

#[test]
fn a_plain_day_and_one_over_midnight() {
    let nap = quiet("13:00", "14:30", "Asia/Kolkata");
    holds(&nap, "2030-05-05T07:30:00Z", "2030-05-05T09:00:00Z");
    let night = quiet("22:00", "07:00", "America/New_York");
    holds(&night, "2030-01-16T03:00:00Z", "2030-01-16T12:00:00Z");
    let to_midnight = quiet("23:59", "00:00", "UTC");
    holds(&to_midnight, "2030-02-28T23:59:00Z", "2030-03-01T00:00:00Z");
}

/// In Berlin the clock is set from 02:00 to 03:00 (01:00 UTC) on 31 March 2030, and from 03:00 to 02:00 (01:00 UTC)
/// on 27 October 2030.
#[test]
fn a_clock_that_is_changed() {
    let of = |start, end| quiet(start, end, "Europe/Berlin");
    let (spring, autumn) = ("2030-03-31T01:00:00Z", "2030-10-27T01:00:00Z");
    // Over the whole change: an hour shorter, an hour longer.
    let night = of("22:00", "07:00");
    holds(&night, "2030-03-30T21:00:00Z", "2030-03-31T05:00:00Z");
    holds(&night, "2030-10-26T20:00:00Z", "2030-10-27T06:00:00Z");
    // An end, a start, and both that were left out.
    holds(&of("22:00", "02:30"), "2030-03-30T21:00:00Z", spring);
    holds(&of("02:30", "04:00"), spring, "2030-03-31T02:00:00Z");
    let neither = of("02:10", "02:50");
    for minutes in -90..90 {
        let now = at(spring) + TimeDelta::minutes(minutes);
        assert_eq!(neither.end_after(now), None, "{now}");
    }
    // An end and a start that come twice.
    let [end, start, both] = [("22:00", "02:30"), ("02:30", "04:00"), ("02:10", "02:50")]
        .map(|(start, end)| of(start, end));
    holds(&end, "2030-10-26T20:00:00Z", "2030-10-27T01:30:00Z");
    holds(&start, "2030-10-27T00:30:00Z", "2030-10-27T03:00:00Z");
    holds(&both, "2030-10-27T00:10:00Z", "2030-10-27T01:50:00Z");
    let after = of("03:00", "04:00");
    holds(&after, "2030-10-27T02:00:00Z", "2030-10-27T03:00:00Z");
    // 02:00 is shown at 00:00 UTC for the first time, and again at the change.
    holds(&of("01:00", "02:00"), "2030-10-26T23:00:00Z", autumn);
    // But for a few minutes, all day: those are among what is left out, or come twice.
    let nearly = of("02:30", "02:15");
    let spring_day = nearly.end_after(at("2030-03-30T12:00:00Z"));
    assert_eq!(spring_day, Some(at("2030-04-01T00:15:00Z")));
    let autumn_day = nearly.end_after(at("2030-10-26T12:00:00Z"));
    assert_eq!(autumn_day, Some(at("2030-10-28T01:15:00Z")));
}

/// Cuba's clock goes from 01:00 back to 00:00, Newfoundland's went from 00:01 back to the day before, Samoa left out 30
/// December 2011, Lord Howe's is changed by half an hour.
#[test]
fn odd_clocks() {
    let havana = quiet("00:10", "00:40", "America/Havana");
    holds(&havana, "2030-11-03T04:10:00Z", "2030-11-03T05:40:00Z");
    let newfoundland = quiet("00:00", "00:10", "America/St_Johns");
    holds(
        &newfoundland,
        "2010-11-07T02:30:00Z",
        "2010-11-07T03:40:00Z",
    );
    let samoa = quiet("22:00", "06:00", "Pacific/Apia");
    holds(&samoa, "2011-12-30T08:00:00Z", "2011-12-30T16:00:00Z");
    let howe = quiet("22:00", "01:45", "Australia/Lord_Howe");
    holds(&howe, "2030-04-06T11:00:00Z", "2030-04-06T15:15:00Z");
}

#[test]
fn what_is_no_time_of_day_or_zone() {
    for wrong in [
        "24:00",
        "7:00",
        "07:60",
        "07:0",
        "0700",
        "07:00:00",
        "+7:00",
        "",
        "aa:bb",
        "٠٧:٠٠",
    ] {
        assert!(TimeOfDay::parse(wrong).is_err(), "{wrong}");
    }
    assert_eq!(TimeOfDay::parse("07:05").unwrap().to_string(), "07:05");
    for wrong in ["", "Berlin", "europe/berlin", "+02:00", "CEST"] {
        assert!(zone(wrong).is_err(), "{wrong}");
    }
    let noon = TimeOfDay::parse("12:00").unwrap();
    assert!(QuietHours::new(noon, noon, Tz::UTC).is_err());
}

fn minute_of_day() -> impl Strategy<Value = TimeOfDay> {
    (0..24 * 60_u32)
        .prop_map(|minute| TimeOfDay(NaiveTime::from_hms_opt(minute / 60, minute % 60, 0).unwrap()))
}

/// Within two days of a change, in a zone and a year where there is one.
fn near_a_change(zone: Tz, year: i32, pick: usize, minutes: i64) -> DateTime<Utc> {
    use chrono::Offset as _;
    let start = Utc.with_ymd_and_hms(year, 1, 1, 0, 0, 0).unwrap();
    let offset = |day: i64| {
        let day = (start + TimeDelta::days(day)).naive_utc();
        zone.offset_from_utc_datetime(&day).fix()
    };
    let changes: Vec<i64> = (1..365)
        .filter(|day| offset(*day) != offset(day - 1))
        .collect();
    let some_day = i64::try_from(pick % 365).unwrap();
    let day = changes.get(pick % changes.len().max(1)).copied();
    start + TimeDelta::days(day.unwrap_or(some_day)) + TimeDelta::minutes(minutes)
}

/// Whether the clock on the wall shows a time between the two.
fn clock_says_so(hours: &QuietHours, now: DateTime<Utc>) -> bool {
    let shown = TimeOfDay(now.with_timezone(&hours.zone).time());
    if hours.start < hours.end {
        hours.start <= shown && shown < hours.end
    } else {
        hours.start <= shown || shown < hours.end
    }
}

fn comes_twice(hours: &QuietHours, now: DateTime<Utc>) -> bool {
    let shown = now.with_timezone(&hours.zone).naive_local();
    matches!(
        hours.zone.from_local_datetime(&shown),
        MappedLocalTime::Ambiguous(..)
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn they_hold_while_the_clock_says_so_and_end_when_it_no_longer_does(
        zone in prop::sample::select(chrono_tz::TZ_VARIANTS.to_vec()),
        (start, end) in (minute_of_day(), minute_of_day()).prop_filter("differ", |(start, end)| start != end),
        (year, pick, minutes) in (2024..2036_i32, 0..365_usize, -2 * 24 * 60..2 * 24 * 60_i64),
    ) {
        let hours = QuietHours::new(start, end, zone).unwrap();
        let now = near_a_change(zone, year, pick, minutes);
        let is_quiet = |now| hours.end_after(now).is_some();
        // What the clock says holds, and nothing else but where it shows a time again.
        if clock_says_so(&hours, now) {
            prop_assert!(is_quiet(now));
        } else if is_quiet(now) {
            prop_assert!(comes_twice(&hours, now), "{}", now);
        }
        if let Some(end) = hours.end_after(now) {
            prop_assert!(end > now && end - now < TimeDelta::hours(50), "{} to {}", now, end);
            prop_assert!(!is_quiet(end) && !clock_says_so(&hours, end), "{}", end);
            let mut between = now;
            while between < end {
                prop_assert_eq!(hours.end_after(between), Some(end), "at {}", between);
                between += TimeDelta::minutes(7);
            }
        }
    }
}
