//! What differs between two schemas. The same change breaks callers in one direction and not in the other: what the server
//! reads must not become narrower, what it answers not wider.

use super::change::{Changes, Kind, Pair, both, list};
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// Who reads what the schema describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    ToServer,
    ToCaller,
}

/// Schemas within schemas. Deeper than any of ours; what refers to itself ends here.
const DEPTH_MAX: usize = 12;

/// Keywords whose change narrows or widens in a way that is not worked out: breaking in either direction.
const WHOLE: [&str; 4] = ["format", "pattern", "const", "multipleOf"];
/// Keywords that allow less when they grow.
const LEAST: [&str; 5] = [
    "minimum",
    "exclusiveMinimum",
    "minLength",
    "minItems",
    "minProperties",
];
/// Keywords that allow less when they shrink.
const MOST: [&str; 5] = [
    "maximum",
    "exclusiveMaximum",
    "maxLength",
    "maxItems",
    "maxProperties",
];

/// Notes what differs.
pub fn compare(
    changes: &mut Changes,
    documents: Pair<'_>,
    place: &str,
    of: Pair<'_>,
    direction: Direction,
) {
    let comparison = Comparison {
        documents,
        direction,
    };
    comparison.walk(changes, place, of, 0);
}

#[derive(Clone, Copy)]
struct Comparison<'a> {
    documents: Pair<'a>,
    direction: Direction,
}

impl Comparison<'_> {
    fn walk(self, changes: &mut Changes, place: &str, of: Pair<'_>, depth: usize) {
        if of.old.is_null() || of.new.is_null() || depth > DEPTH_MAX {
            return;
        }
        let old = &resolved(self.documents.old, of.old);
        let new = &resolved(self.documents.new, of.new);
        if old == new && self.documents.old["components"] == self.documents.new["components"] {
            return;
        }
        self.allowed(changes, place, "type", &types(old), &types(new));
        self.allowed(changes, place, "value", &values(old), &values(new));
        self.bounds(changes, place, old, new);
        self.properties(changes, place, old, new, depth);
        for key in ["items", "additionalProperties"] {
            let inner = Pair {
                old: &old[key],
                new: &new[key],
            };
            self.walk(changes, &format!("{place}[]"), inner, depth + 1);
        }
        for key in ["oneOf", "anyOf"] {
            self.alternatives(changes, place, &old[key], &new[key], depth);
        }
    }

    /// Sets of which an empty one means that anything is allowed.
    fn allowed(
        self,
        changes: &mut Changes,
        place: &str,
        what: &str,
        old: &BTreeSet<String>,
        new: &BTreeSet<String>,
    ) {
        let to_server = self.direction == Direction::ToServer;
        match (old.is_empty(), new.is_empty()) {
            (true, false) => changes.note_if(
                to_server,
                place,
                format!("only these are allowed as {what}: {new:?}"),
            ),
            (false, true) => changes.note_if(!to_server, place, format!("may be of any {what}")),
            (true, true) | (false, false) => {
                for gone in old.difference(new) {
                    changes.note_if(to_server, place, format!("{what} {gone} is gone"));
                }
                for added in new.difference(old) {
                    changes.note_if(!to_server, place, format!("{what} {added} is new"));
                }
            }
        }
    }

    fn bounds(self, changes: &mut Changes, place: &str, old: &Value, new: &Value) {
        for key in WHOLE {
            if old[key] != new[key] {
                // In an answer, a promise less is a promise broken; in a request, one rule less is no harm.
                let relaxed = if self.direction == Direction::ToServer {
                    new[key].is_null()
                } else {
                    old[key].is_null()
                };
                let what = format!("{key} was {}, is {}", old[key], new[key]);
                changes.note_if(!relaxed, place, what);
            }
        }
        for (keys, least) in [(LEAST, true), (MOST, false)] {
            for key in keys {
                let (before, after) = (old[key].as_f64(), new[key].as_f64());
                if before == after {
                    continue;
                }
                let narrower = match (before, after) {
                    (None, _) => true,
                    (_, None) => false,
                    (Some(before), Some(after)) => (after > before) == least,
                };
                let breaking = narrower == (self.direction == Direction::ToServer);
                let what = format!("{key} was {}, is {}", old[key], new[key]);
                changes.note_if(breaking, place, what);
            }
        }
    }

    fn properties(
        self,
        changes: &mut Changes,
        place: &str,
        old: &Value,
        new: &Value,
        depth: usize,
    ) {
        let to_server = self.direction == Direction::ToServer;
        let is_required = |schema: &Value, name: &str| {
            list(&schema["required"])
                .iter()
                .any(|required| required == name)
        };
        for (name, before, after) in both(&old["properties"], &new["properties"]) {
            let place = format!("{place}.{name}");
            let required = (is_required(old, &name), is_required(new, &name));
            match (before.is_null(), after.is_null()) {
                (false, true) => changes.note(Kind::Breaking, &place, "the field is gone"),
                (true, _) if required.1 => {
                    changes.note_if(to_server, &place, "the field is new, and required");
                }
                (true, _) => changes.note(Kind::Compatible, &place, "the field is new"),
                (false, false) => {
                    match required {
                        (false, true) => changes.note_if(to_server, &place, "is required"),
                        (true, false) => changes.note_if(!to_server, &place, "is optional"),
                        (true, true) | (false, false) => {}
                    }
                    let field = Pair {
                        old: before,
                        new: after,
                    };
                    self.walk(changes, &place, field, depth + 1);
                }
            }
        }
    }

    /// Alternatives have no names: they are compared in their order, and what is left over is new or gone.
    fn alternatives(
        self,
        changes: &mut Changes,
        place: &str,
        old: &Value,
        new: &Value,
        depth: usize,
    ) {
        let to_server = self.direction == Direction::ToServer;
        let (before, after) = (list(old), list(new));
        for (index, (old, new)) in before.iter().zip(after).enumerate() {
            let place = format!("{place}|{}", index + 1);
            self.walk(changes, &place, Pair { old, new }, depth + 1);
        }
        if before.len() > after.len() {
            changes.note_if(
                to_server || after.is_empty(),
                place,
                "an alternative is gone",
            );
        } else if before.len() < after.len() {
            changes.note_if(
                !to_server || before.is_empty(),
                place,
                "an alternative is new",
            );
        }
    }
}

/// The schema itself: references followed, and the parts of `allOf` put together.
fn resolved(document: &Value, schema: &Value) -> Value {
    let mut fields = Map::new();
    merge(document, schema, &mut fields, 0);
    Value::Object(fields)
}

fn merge(document: &Value, schema: &Value, into: &mut Map<String, Value>, depth: usize) {
    if depth > DEPTH_MAX {
        return;
    }
    let reference = schema["$ref"]
        .as_str()
        .and_then(|text| text.strip_prefix('#'));
    if let Some(target) = reference.and_then(|pointer| document.pointer(pointer)) {
        merge(document, target, into, depth + 1);
    }
    for part in list(&schema["allOf"]) {
        merge(document, part, into, depth + 1);
    }
    for (key, value) in schema.as_object().into_iter().flatten() {
        match (into.get_mut(key), value) {
            (Some(Value::Object(known)), Value::Object(more)) => known.extend(more.clone()),
            (Some(Value::Array(known)), Value::Array(more)) if key == "required" => {
                known.extend(more.iter().cloned());
            }
            _ if ["$ref", "allOf"].contains(&key.as_str()) => {}
            _ => drop(into.insert(key.clone(), value.clone())),
        }
    }
}

fn types(schema: &Value) -> BTreeSet<String> {
    let one = schema["type"].as_str().map(ToOwned::to_owned);
    let many = list(&schema["type"])
        .iter()
        .filter_map(Value::as_str)
        .map(ToOwned::to_owned);
    one.into_iter().chain(many).collect()
}

fn values(schema: &Value) -> BTreeSet<String> {
    list(&schema["enum"])
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
