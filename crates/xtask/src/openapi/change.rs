//! What differs between two OpenAPI documents, sorted by whom it breaks: operations, parameters, bodies, answers.

use super::schema::{self, Direction};
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// Whom a change breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Callers that keep to the old document may fail.
    Breaking,
    /// They go on as before.
    Compatible,
    /// Descriptions, examples and the like.
    Words,
}

impl Kind {
    /// As it is told.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Breaking => "BREAKING",
            Self::Compatible => "not breaking",
            Self::Words => "only words",
        }
    }
}

/// A difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub kind: Kind,
    pub place: String,
    pub what: String,
}

/// Collects differences.
#[derive(Debug, Default)]
pub struct Changes(pub Vec<Change>);

impl Changes {
    /// Notes one.
    pub fn note(&mut self, kind: Kind, place: &str, what: impl Into<String>) {
        let (place, what) = (place.to_owned(), what.into());
        self.0.push(Change { kind, place, what });
    }

    /// Notes one that breaks somebody, or not.
    pub fn note_if(&mut self, breaking: bool, place: &str, what: impl Into<String>) {
        let kind = if breaking {
            Kind::Breaking
        } else {
            Kind::Compatible
        };
        self.note(kind, place, what);
    }
}

/// Two documents that are compared.
#[derive(Clone, Copy, Debug)]
pub struct Pair<'a> {
    pub old: &'a Value,
    pub new: &'a Value,
}

const METHODS: [&str; 8] = [
    "get", "put", "post", "delete", "patch", "head", "options", "trace",
];

/// All differences.
pub fn between(old: &Value, new: &Value) -> Vec<Change> {
    let (documents, mut changes) = (Pair { old, new }, Changes::default());
    for (path, before, after) in both(&old["paths"], &new["paths"]) {
        for method in METHODS {
            let place = format!("{} {path}", method.to_uppercase());
            match (present(&before[method]), present(&after[method])) {
                (Some(_), None) => changes.note(Kind::Breaking, &place, "the operation is gone"),
                (None, Some(_)) => changes.note(Kind::Compatible, &place, "is new"),
                (Some(old), Some(new)) => {
                    operation(&mut changes, documents, &place, Pair { old, new });
                }
                (None, None) => {}
            }
        }
    }
    for (name, before, after) in both(
        &old["components"]["securitySchemes"],
        &new["components"]["securitySchemes"],
    ) {
        if without_words(before) != without_words(after) {
            let breaking = !before.is_null();
            changes.note_if(breaking, &format!("security scheme {name}"), "changed");
        }
    }
    words(&mut changes, "", old, new);
    changes.0
}

fn operation(changes: &mut Changes, documents: Pair<'_>, place: &str, of: Pair<'_>) {
    let (old, new) = (of.old, of.new);
    if old["operationId"] != new["operationId"] {
        let what = format!(
            "generated clients call it {}, no longer {}",
            new["operationId"], old["operationId"]
        );
        changes.note(Kind::Breaking, place, what);
    }
    security(changes, place, &old["security"], &new["security"]);
    parameters(changes, documents, place, of);
    let place_of_body = format!("{place}, body");
    let (before, after) = (&old["requestBody"], &new["requestBody"]);
    let required = (
        before["required"] == Value::Bool(true),
        after["required"] == Value::Bool(true),
    );
    if required.0 != required.1 {
        let what = if required.1 {
            "is required"
        } else {
            "is optional"
        };
        changes.note_if(required.1, &place_of_body, what);
    }
    let body = Pair {
        old: before,
        new: after,
    };
    content(
        changes,
        documents,
        &place_of_body,
        body,
        Direction::ToServer,
    );
    for (status, before, after) in both(&old["responses"], &new["responses"]) {
        let place = format!("{place}, answer {status}");
        match (before.is_null(), after.is_null()) {
            (false, true) => {
                changes.note_if(status.starts_with('2'), &place, "is not given any more");
            }
            (true, _) => changes.note_if(status.starts_with('2'), &place, "is new"),
            (false, false) => {
                let answer = Pair {
                    old: before,
                    new: after,
                };
                content(changes, documents, &place, answer, Direction::ToCaller);
                for (name, before, after) in both(&before["headers"], &after["headers"]) {
                    let place = format!("{place}, header {name}");
                    presence(changes, &place, before, after);
                    let schemas = Pair {
                        old: &before["schema"],
                        new: &after["schema"],
                    };
                    schema::compare(changes, documents, &place, schemas, Direction::ToCaller);
                }
            }
        }
    }
}

/// The alternatives of who may call. None at all means everybody.
fn security(changes: &mut Changes, place: &str, old: &Value, new: &Value) {
    let alternatives = |value: &Value| -> BTreeSet<String> {
        list(value).iter().map(ToString::to_string).collect()
    };
    let (before, after) = (alternatives(old), alternatives(new));
    if before.is_empty() != after.is_empty() {
        let what = if after.is_empty() {
            "anybody may call it"
        } else {
            "needs credentials"
        };
        changes.note_if(before.is_empty(), place, what);
        return;
    }
    for gone in before.difference(&after) {
        changes.note(
            Kind::Breaking,
            place,
            format!("{gone} does not suffice any more"),
        );
    }
    for added in after.difference(&before) {
        changes.note(Kind::Compatible, place, format!("{added} suffices, too"));
    }
}

fn parameters(changes: &mut Changes, documents: Pair<'_>, place: &str, of: Pair<'_>) {
    let named = |operation: &Value| -> Value {
        let named = list(&operation["parameters"]).iter().map(|parameter| {
            let part = |name: &str| parameter[name].as_str().unwrap_or_default();
            (
                format!("{} parameter {}", part("in"), part("name")),
                parameter.clone(),
            )
        });
        Value::Object(named.collect())
    };
    for (name, before, after) in both(&named(of.old), &named(of.new)) {
        let place = format!("{place}, {name}");
        let required = |parameter: &Value| parameter["required"] == Value::Bool(true);
        if before.is_null() {
            changes.note_if(required(after), &place, "is new");
            continue;
        }
        if after.is_null() {
            changes.note(Kind::Breaking, &place, "is gone");
            continue;
        }
        if required(before) != required(after) {
            let what = if required(after) {
                "is required"
            } else {
                "is optional"
            };
            changes.note_if(required(after), &place, what);
        }
        let schemas = Pair {
            old: &before["schema"],
            new: &after["schema"],
        };
        schema::compare(changes, documents, &place, schemas, Direction::ToServer);
    }
}

fn content(
    changes: &mut Changes,
    documents: Pair<'_>,
    place: &str,
    of: Pair<'_>,
    direction: Direction,
) {
    for (media, before, after) in both(&of.old["content"], &of.new["content"]) {
        let place = format!("{place} ({media})");
        presence(changes, &place, before, after);
        let schemas = Pair {
            old: &before["schema"],
            new: &after["schema"],
        };
        schema::compare(changes, documents, &place, schemas, direction);
    }
}

fn presence(changes: &mut Changes, place: &str, before: &Value, after: &Value) {
    match (before.is_null(), after.is_null()) {
        (false, true) => changes.note(Kind::Breaking, place, "is gone"),
        (true, false) => changes.note(Kind::Compatible, place, "is new"),
        (true, true) | (false, false) => {}
    }
}

/// What is for people to read.
const WORDS: [&str; 7] = [
    "description",
    "summary",
    "example",
    "examples",
    "info",
    "tags",
    "servers",
];

/// Notes what differs in words, and names the place by its keys.
fn words(changes: &mut Changes, place: &str, old: &Value, new: &Value) {
    for (key, before, after) in both(old, new) {
        if before == after || before.is_null() || after.is_null() && !is_words(&key, old) {
            continue;
        }
        let place = if place.is_empty() {
            key.clone()
        } else {
            format!("{place} › {key}")
        };
        if is_words(&key, old) {
            changes.note(Kind::Words, &place, "changed");
        } else {
            words(changes, &place, before, after);
        }
    }
    for (index, (before, after)) in list(old).iter().zip(list(new)).enumerate() {
        words(changes, &format!("{place} › {index}"), before, after);
    }
}

/// A field may be called like a word: then what lies around it is a list of fields, none of which is text.
fn is_words(key: &str, around: &Value) -> bool {
    WORDS.contains(&key)
        && !around["type"].is_object()
        && !(around[key].is_object() && around[key].get("type").is_some())
}

fn without_words(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .iter()
            .filter(|(key, _)| !is_words(key, value))
            .map(|(key, field)| (key.clone(), without_words(field)))
            .collect::<Map<_, _>>()
            .into(),
        Value::Array(elements) => elements.iter().map(without_words).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

/// The keys of both objects, with both values; `null` where there is none.
pub fn both<'a>(old: &'a Value, new: &'a Value) -> Vec<(String, &'a Value, &'a Value)> {
    let keys = |value: &'a Value| value.as_object().into_iter().flat_map(Map::keys);
    let all: BTreeSet<&String> = keys(old).chain(keys(new)).collect();
    all.into_iter()
        .map(|key| (key.clone(), &old[key.as_str()], &new[key.as_str()]))
        .collect()
}

/// The elements of a list; none of anything else.
pub fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn present(value: &Value) -> Option<&Value> {
    (!value.is_null()).then_some(value)
}
