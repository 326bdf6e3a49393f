use push_core::notification::Priority;
use serde_json::json;

use super::*;
use crate::routes::send_to_customer::tests::problems_of;

fn catalogue() -> Catalogue {
    Catalogue::load(None).unwrap()
}

fn now() -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::days(1)
}

fn parse(body: &Value) -> Result<Event, ApiError> {
    let request: Request = serde_json::from_value(body.clone()).unwrap();
    request.parse(now(), &catalogue(), Guard::Reject(None))
}

fn event(extra: Value) -> Value {
    let mut body = json!({
        "event": "status_changed", "customerId": 123, "bookingId": 456, "trackId": "BID123",
        "newStatus": "StartJourney", "technician": {"name": "John"},
    });
    let fields = body.as_object_mut().unwrap();
    fields.extend(extra.as_object().unwrap().clone());
    body
}

fn told(extra: Value) -> Option<Notification> {
    let event = parse(&event(extra)).unwrap();
    event.notification(&catalogue()).unwrap()
}

fn pairs(notification: &Notification) -> Value {
    let pairs = notification.content.data.iter();
    pairs
        .map(|(key, value)| (key.to_owned(), json!(value)))
        .collect::<Map<_, _>>()
        .into()
}

#[test]
fn an_event_becomes_the_guides_notification() {
    let assigned = told(json!({"event": "technician_assigned"})).unwrap();
    assert_eq!(
        pairs(&assigned),
        json!({"type": "technician_assigned", "bookingId": "456", "trackId": "BID123", "techName": "John",
               "priority": "high"})
    );
    let status = told(json!({})).unwrap();
    assert_eq!(
        pairs(&status),
        json!({"type": "startjourney", "bookingId": "456", "trackId": "BID123", "status": "StartJourney",
               "techName": "John", "priority": "normal"})
    );
    assert_eq!(status.kind.as_str(), "startjourney");
    assert_eq!(status.priority, Priority::Normal);
    let key = status.collapse_key.unwrap();
    assert_eq!(key.as_str(), "booking-456");
    assert_eq!(status.created_at, now());
    assert_eq!(status.expires_at, now() + TimeDelta::hours(1));
    // What nobody needs may be missing, and is missing in the data then.
    let completed =
        told(json!({"newStatus": "COMPLETED", "technician": null, "trackId": 7})).unwrap();
    assert_eq!(
        pairs(&completed),
        json!({"type": "completed", "bookingId": "456", "trackId": "7", "status": "COMPLETED", "priority": "high"})
    );
    for without_text in ["OnHold", "On hold", "保留", "a/b"] {
        assert!(told(json!({"newStatus": without_text})).is_none());
    }
}

#[test]
fn its_hour_begins_when_it_happened() {
    for (occurred_at, left) in [
        ("1970-01-01T23:30:00Z", 30),
        ("1970-01-02T01:30:00.0004+02:00", 30),
        ("1970-01-02T00:04:59Z", 60),
        ("1970-01-01T22:00:00Z", 0),
        ("1970-01-01T00:00:00Z", 0),
    ] {
        let notification = told(json!({"occurredAt": occurred_at})).unwrap();
        let expected = now() + TimeDelta::minutes(left);
        assert_eq!(notification.expires_at, expected, "{occurred_at}");
    }
}

#[test]
fn a_technician_is_told_from_another_where_the_booking_is_given_to_one() {
    let status = |extra| match parse(&event(extra)).unwrap().booking_event.what {
        Happened::Status(status) => status,
        Happened::Other(kind) => panic!("{kind:?}"),
    };
    let assigned = |name| {
        let technician = json!({"event": "technician_assigned", "technician": {"name": name}});
        status(technician).technician.unwrap()
    };
    assert_eq!(assigned("John"), assigned("John"));
    assert!(assigned("John") != assigned("john"));
    assert_eq!(status(json!({})).technician, None);
    assert_eq!(
        status(json!({"newStatus": "REACHED"})),
        status(json!({"newStatus": "Reached", "technician": {"name": "Other"}}))
    );
}

#[test]
fn a_caller_who_says_that_nothing_changed_is_believed() {
    let says = |extra| parse(&event(extra)).unwrap().booking_event.says_unchanged;
    assert!(says(json!({"oldStatus": "startJourney"})));
    assert!(!says(json!({"oldStatus": "Assigned"})));
    assert!(!says(json!({})));
    assert!(!says(
        json!({"event": "technician_assigned", "oldStatus": "StartJourney"})
    ));
}

#[test]
fn every_problem_is_told_at_once() {
    let fields = |body: Value| -> Vec<String> {
        let told = problems_of(parse(&body).map(|_| ()));
        told.into_iter().map(|(field, _)| field).collect()
    };
    assert_eq!(
        fields(json!({})),
        ["event", "customerId", "bookingId", "trackId"]
    );
    assert_eq!(
        fields(json!({
            "event": "status_changed", "customerId": "1", "bookingId": 1.5, "trackId": "", "technician": {"name": " "},
            "oldStatus": "\u{7}", "newStatus": "x".repeat(51), "occurredAt": "yesterday", "locale": "Deutsch (AT)",
        })),
        [
            "customerId",
            "bookingId",
            "trackId",
            "technician.name",
            "oldStatus",
            "newStatus",
            "occurredAt",
            "locale"
        ]
    );
    for (extra, field) in [
        (json!({"event": "status_change"}), "event"),
        (json!({"event": "invoice_ready"}), "event"),
        (json!({"event": "reached"}), "event"),
        (json!({"newStatus": null}), "newStatus"),
        // Each of these is two characters in lower case.
        (json!({"newStatus": "İ".repeat(26)}), "newStatus"),
        (json!({"sendAt": "2030-01-01T00:00:00Z"}), "sendAt"),
        (json!({"sendAt": 5}), "sendAt"),
        (json!({"bookingId": "x".repeat(57)}), "bookingId"),
        (json!({"bookingId": "a b"}), "bookingId"),
        (json!({"bookingId": ""}), "bookingId"),
        (json!({"trackId": "x".repeat(65)}), "trackId"),
        (json!({"trackId": []}), "trackId"),
        (json!({"technician": "John"}), "technician"),
        (json!({"technician": {"name": 7}}), "technician.name"),
        (
            json!({"technician": {"name": "x".repeat(101)}}),
            "technician.name",
        ),
        (
            json!({"occurredAt": "1970-01-02T00:05:00.001Z"}),
            "occurredAt",
        ),
        (json!({"occurredAt": 5}), "occurredAt"),
    ] {
        assert_eq!(fields(event(extra.clone())), [field], "{extra}");
    }
}

#[test]
fn the_statuses_of_the_guide_are_no_events_of_their_own() {
    let built_in = include_str!("../../../catalogue/en.ftl").lines();
    let types = built_in.filter_map(|line| line.strip_suffix(" ="));
    let statuses: Vec<_> = types.filter(|kind| *kind != ASSIGNED).collect();
    assert_eq!(statuses, BookingStatus::OTHERS);
}

#[test]
fn what_the_text_needs_is_asked_for_by_its_name() {
    let without = event(json!({"technician": {"title": "Dr."}}));
    let told = problems_of(parse(&without).unwrap().notification(&catalogue()));
    let needed = "is required: the text says { $technician }";
    let problem = ("technician.name".to_owned(), needed.to_owned());
    assert_eq!(told, std::slice::from_ref(&problem));
    // Beside all the rest, and once.
    let mut wrong = without;
    wrong["customerId"] = json!(0);
    let told = problems_of(parse(&wrong).map(|_| ()));
    assert_eq!((told.len(), &told[1]), (2, &problem));
}
