//! The JSON layer of Google's front end: names, types and enums, before FCM itself sees anything.
//!
//! Its refusals carry a `google.rpc.BadRequest` and no `FcmError`; several violations are told
//! together, a line each (dpa99c/cordova-plugin-firebasex#364).

use std::fmt;

use chrono::DateTime;

use super::schema::{Fields, Kind, SCHEMA_V1, Schema};
use crate::json::Json;

/// One thing that the JSON layer refuses.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Violation {
    pub(super) field: String,
    pub(super) description: String,
}

/// Everything wrong with the names, types and enums of a request.
pub(super) fn violations(request: &Json<'_>) -> Vec<Violation> {
    let mut check = Check {
        schema: &SCHEMA_V1,
        found: Vec::new(),
    };
    match (request, SCHEMA_V1.root()) {
        (Json::Object(_), Some(fields)) => check.message(fields, request, &Path::ROOT),
        _ => check.wrong(&Path::ROOT, "TYPE_MESSAGE", request),
    }
    check.one_target(request);
    check.found
}

/// Where in the request we are; rendered only when something is wrong.
struct Path<'p> {
    parent: Option<&'p Path<'p>>,
    step: Step<'p>,
}

enum Step<'p> {
    Root,
    Field(&'p str),
    Index(usize),
    MapValue(usize),
}

impl<'p> Path<'p> {
    const ROOT: Path<'static> = Path {
        parent: None,
        step: Step::Root,
    };

    fn then(&'p self, step: Step<'p>) -> Path<'p> {
        Path {
            parent: Some(self),
            step,
        }
    }

    fn is_root(&self) -> bool {
        self.parent.is_none()
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(parent) = self.parent else {
            return Ok(());
        };
        parent.fmt(f)?;
        match self.step {
            Step::Root => Ok(()),
            Step::Field(name) if parent.is_root() => f.write_str(name),
            Step::Field(name) => write!(f, ".{name}"),
            Step::Index(index) => write!(f, "[{index}]"),
            Step::MapValue(index) => write!(f, "[{index}].value"),
        }
    }
}

struct Check<'s> {
    schema: &'s Schema,
    found: Vec<Violation>,
}

impl Check<'_> {
    fn message(&mut self, fields: &Fields, value: &Json<'_>, path: &Path<'_>) {
        for (name, value) in value.entries() {
            match fields.get(name.as_ref()) {
                Some(kind) => self.field(kind, value, &path.then(Step::Field(name))),
                None => self.unknown(name, path),
            }
        }
    }

    fn field(&mut self, kind: &Kind, value: &Json<'_>, path: &Path<'_>) {
        // proto3 JSON: null is an unset field.
        if value.is_null() {
            return;
        }
        match kind {
            Kind::String => self.expect(value.as_str().is_some(), "TYPE_STRING", value, path),
            Kind::Boolean => self.expect(matches!(value, Json::Bool(_)), "TYPE_BOOL", value, path),
            Kind::Int32 => self.expect(is_int32(value), "TYPE_INT32", value, path),
            Kind::Float => self.expect(is_number(value), "TYPE_FLOAT", value, path),
            Kind::Duration => self.expect(is_duration(value), DURATION, value, path),
            Kind::DateTime => self.expect(is_datetime(value), TIMESTAMP, value, path),
            Kind::Struct => self.expect(matches!(value, Json::Object(_)), STRUCT, value, path),
            Kind::Enum(values) => self.expect(is_one_of(values, value), "enum", value, path),
            Kind::StringMap => self.string_map(value, path),
            Kind::Strings => self.list(value, path, "TYPE_STRING", |item| item.as_str().is_some()),
            Kind::Durations => self.list(value, path, DURATION, is_duration),
            Kind::Message(name) => self.nested(name, value, path),
        }
    }

    fn nested(&mut self, name: &str, value: &Json<'_>, path: &Path<'_>) {
        match (value, self.schema.fields(name)) {
            (Json::Object(_), Some(fields)) => self.message(fields, value, path),
            _ => self.wrong(
                path,
                &format!("type.googleapis.com/google.firebase.fcm.v1.{name}"),
                value,
            ),
        }
    }

    fn string_map(&mut self, value: &Json<'_>, path: &Path<'_>) {
        let Json::Object(entries) = value else {
            return self.wrong(path, "Map", value);
        };
        for (index, (_, value)) in entries.iter().enumerate() {
            let path = path.then(Step::MapValue(index));
            self.expect(value.as_str().is_some(), "TYPE_STRING", value, &path);
        }
    }

    fn list(
        &mut self,
        value: &Json<'_>,
        path: &Path<'_>,
        kind: &str,
        fits: impl Fn(&Json<'_>) -> bool,
    ) {
        let Json::Array(items) = value else {
            return self.wrong(path, kind, value);
        };
        for (index, item) in items.iter().enumerate() {
            self.expect(fits(item), kind, item, &path.then(Step::Index(index)));
        }
    }

    /// The target is a `oneof`: a second one is refused while parsing.
    fn one_target(&mut self, request: &Json<'_>) {
        let Some(message) = request.get("message") else {
            return;
        };
        let targets = ["token", "fid", "topic", "condition"];
        let second = message
            .entries()
            .iter()
            .filter(|(name, value)| targets.contains(&name.as_ref()) && !value.is_null())
            .map(|(name, _)| name)
            .nth(1);
        if let Some(second) = second {
            self.found.push(Violation {
                field: "message".to_owned(),
                description: format!(
                    "Invalid value at 'message' (oneof), oneof field 'target' is already set. \
                     Cannot set '{second}'"
                ),
            });
        }
    }

    fn expect(&mut self, fits: bool, kind: &str, value: &Json<'_>, path: &Path<'_>) {
        if !fits {
            self.wrong(path, kind, value);
        }
    }

    fn wrong(&mut self, path: &Path<'_>, kind: &str, value: &Json<'_>) {
        self.found.push(Violation {
            field: path.to_string(),
            description: format!("Invalid value at '{path}' ({kind}), {value}"),
        });
    }

    fn unknown(&mut self, name: &str, path: &Path<'_>) {
        let place = if path.is_root() {
            String::new()
        } else {
            format!(" at '{path}'")
        };
        self.found.push(Violation {
            field: path.to_string(),
            description: format!(
                "Invalid JSON payload received. Unknown name \"{name}\"{place}: Cannot find field."
            ),
        });
    }
}

const DURATION: &str = "type.googleapis.com/google.protobuf.Duration";
const TIMESTAMP: &str = "type.googleapis.com/google.protobuf.Timestamp";
const STRUCT: &str = "type.googleapis.com/google.protobuf.Struct";

fn is_number(value: &Json<'_>) -> bool {
    matches!(value, Json::Number(_))
}

fn is_int32(value: &Json<'_>) -> bool {
    let Json::Number(number) = value else {
        return false;
    };
    number
        .as_i64()
        .is_some_and(|number| i32::try_from(number).is_ok())
}

/// `^-?\d+(\.\d{1,9})?s$`: seconds with up to nine decimals (proto3 JSON). The range is FCM's to judge.
fn is_duration(value: &Json<'_>) -> bool {
    let Some(seconds) = value.as_str().and_then(|text| text.strip_suffix('s')) else {
        return false;
    };
    let seconds = seconds.strip_prefix('-').unwrap_or(seconds);
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match seconds.split_once('.') {
        Some((whole, decimals)) => digits(whole) && digits(decimals) && decimals.len() <= 9,
        None => digits(seconds),
    }
}

fn is_datetime(value: &Json<'_>) -> bool {
    value
        .as_str()
        .is_some_and(|text| DateTime::parse_from_rfc3339(text).is_ok())
}

/// Enums by name, in any case: the official SDK sends `"high"` for `HIGH`.
fn is_one_of(values: &[String], value: &Json<'_>) -> bool {
    value
        .as_str()
        .is_some_and(|text| values.iter().any(|known| known.eq_ignore_ascii_case(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(request: &str) -> Vec<String> {
        violations(&Json::parse(request.as_bytes()).unwrap())
            .into_iter()
            .map(|violation| violation.description)
            .collect()
    }

    #[test]
    fn both_spellings_and_nulls_are_taken() {
        for request in [
            r#"{"message":{"token":"t","android":{"collapse_key":"k","ttl":"3600s"}},"validate_only":true}"#,
            r#"{"message":{"token":"t","android":{"collapseKey":"k","ttl":"1.500000000s"}},"validateOnly":false}"#,
            r#"{"message":{"token":"t","topic":null,"notification":{"title":null,"body":"B"}}}"#,
            r#"{"message":{"token":"t","android":{"priority":"hIgH","notification":{"visibility":"public","vibrate_timings":["1s"],"event_time":"2026-01-02T03:04:05Z","notification_count":3}}}}"#,
            r#"{"message":{"token":"t","apns":{"payload":{"anything":[1,{"goes":true}]}}}}"#,
        ] {
            assert_eq!(lines(request), Vec::<String>::new(), "{request}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        let table = [
            (
                r#"{"message":{"token":5}}"#,
                "Invalid value at 'message.token' (TYPE_STRING), 5",
            ),
            (
                r#"{"foo":1}"#,
                "Invalid JSON payload received. Unknown name \"foo\": Cannot find field.",
            ),
            (
                r#"{"message":{"data":{"a":"x","n":12}}}"#,
                "Invalid value at 'message.data[1].value' (TYPE_STRING), 12",
            ),
            (
                r#"{"message":{"data":{"n":null}}}"#,
                "Invalid value at 'message.data[0].value' (TYPE_STRING), null",
            ),
            (
                r#"{"message":{"data":["n"]}}"#,
                "Invalid value at 'message.data' (Map), [\"n\"]",
            ),
            (
                r#"{"message":{"android":{"priority":"max"}}}"#,
                "Invalid value at 'message.android.priority' (enum), \"max\"",
            ),
            (
                r#"{"message":{"android":{"notification":{"notification_priority":"PRIORITY_URGENT"}}}}"#,
                "Invalid value at 'message.android.notification.notification_priority' (enum), \"PRIORITY_URGENT\"",
            ),
            (
                r#"{"message":{"android":{"ttl":3600}}}"#,
                "Invalid value at 'message.android.ttl' (type.googleapis.com/google.protobuf.Duration), 3600",
            ),
            (
                r#"{"message":{"android":{"ttl":"3600"}}}"#,
                "Invalid value at 'message.android.ttl' (type.googleapis.com/google.protobuf.Duration), \"3600\"",
            ),
            (
                r#"{"message":{"android":{"direct_boot_ok":"true"}}}"#,
                "Invalid value at 'message.android.direct_boot_ok' (TYPE_BOOL), \"true\"",
            ),
            (
                r#"{"message":{"android":{"notification":{"notification_count":1.5}}}}"#,
                "Invalid value at 'message.android.notification.notification_count' (TYPE_INT32), 1.5",
            ),
            (
                r#"{"message":{"android":{"notification":{"vibrate_timings":["1s","x"]}}}}"#,
                "Invalid value at 'message.android.notification.vibrate_timings[1]' (type.googleapis.com/google.protobuf.Duration), \"x\"",
            ),
            (
                r#"{"message":{"notification":"hello"}}"#,
                "Invalid value at 'message.notification' (type.googleapis.com/google.firebase.fcm.v1.Notification), \"hello\"",
            ),
            (
                r#"{"message":{"apns":{"payload":"x"}}}"#,
                "Invalid value at 'message.apns.payload' (type.googleapis.com/google.protobuf.Struct), \"x\"",
            ),
            (
                r#"{"message":{"token":"t","topic":"news"}}"#,
                "Invalid value at 'message' (oneof), oneof field 'target' is already set. Cannot set 'topic'",
            ),
            (
                r#"{"message":{"android":{"notification":{"event_time":"now"}}}}"#,
                "Invalid value at 'message.android.notification.event_time' (type.googleapis.com/google.protobuf.Timestamp), \"now\"",
            ),
            ("[]", "Invalid value at '' (TYPE_MESSAGE), []"),
        ];
        for (request, expected) in table {
            assert_eq!(lines(request), [expected], "{request}");
        }
    }

    #[test]
    fn several_are_told_together() {
        let request = r#"{"message":{"notification":{"sound":"x","click_action":"y"}}}"#;
        assert_eq!(lines(request).len(), 2);
    }
}
