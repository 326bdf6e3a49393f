//! The request of `messages:send` as the FCM v1 discovery document declares it
//! (`tests/fixtures/providers/fcm/message_schema.json`), made ready for looking names up.

use std::collections::HashMap;
use std::sync::LazyLock;

use serde::Deserialize;

const SCHEMA: &str = include_str!("../../../../tests/fixtures/providers/fcm/message_schema.json");

/// Type of a field.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kind {
    String,
    Boolean,
    Int32,
    Float,
    Duration,
    DateTime,
    StringMap,
    /// Any JSON object.
    Struct,
    Strings,
    Durations,
    Enum(Vec<String>),
    Message(String),
}

/// A message type: its fields under both of their spellings.
pub(super) type Fields = HashMap<String, Kind>;

/// All message types by name.
#[derive(Debug)]
pub(super) struct Schema {
    types: HashMap<String, Fields>,
    root: String,
}

impl Schema {
    pub(super) fn root(&self) -> Option<&Fields> {
        self.fields(&self.root)
    }

    pub(super) fn fields(&self, message: &str) -> Option<&Fields> {
        self.types.get(message)
    }
}

#[expect(
    clippy::expect_used,
    reason = "the file is part of the program; a test reads it"
)]
pub(super) static SCHEMA_V1: LazyLock<Schema> =
    LazyLock::new(|| parse(SCHEMA).expect("message_schema.json is well formed"));

#[derive(Deserialize)]
struct File {
    root: String,
    types: HashMap<String, HashMap<String, FieldSpec>>,
}

#[derive(Deserialize)]
struct FieldSpec {
    message: Option<String>,
    #[serde(rename = "type")]
    scalar: Option<String>,
    items: Option<String>,
    #[serde(rename = "enum")]
    values: Option<Vec<String>>,
    json_alias: Option<String>,
}

fn parse(text: &str) -> Result<Schema, String> {
    let file: File = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let mut types = HashMap::new();
    for (name, specs) in file.types {
        let mut fields = Fields::new();
        for (field, spec) in specs {
            if let Some(alias) = &spec.json_alias {
                fields.insert(alias.clone(), kind(&spec)?);
            }
            fields.insert(field, kind(&spec)?);
        }
        types.insert(name, fields);
    }
    Ok(Schema {
        types,
        root: file.root,
    })
}

fn kind(spec: &FieldSpec) -> Result<Kind, String> {
    if let Some(message) = &spec.message {
        return Ok(Kind::Message(message.clone()));
    }
    if let Some(values) = &spec.values {
        return Ok(Kind::Enum(values.clone()));
    }
    match (spec.scalar.as_deref(), spec.items.as_deref()) {
        (Some("string"), None) => Ok(Kind::String),
        (Some("boolean"), None) => Ok(Kind::Boolean),
        (Some("int32"), None) => Ok(Kind::Int32),
        (Some("float"), None) => Ok(Kind::Float),
        (Some("google-duration"), None) => Ok(Kind::Duration),
        (Some("google-datetime"), None) => Ok(Kind::DateTime),
        (Some("map<string,string>"), None) => Ok(Kind::StringMap),
        (Some("struct"), None) => Ok(Kind::Struct),
        (Some("array"), Some("string")) => Ok(Kind::Strings),
        (Some("array"), Some("google-duration")) => Ok(Kind::Durations),
        other => Err(format!("unknown type {other:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_that_is_referred_to_exists() {
        for fields in SCHEMA_V1.types.values() {
            for kind in fields.values() {
                if let Kind::Message(name) = kind {
                    assert!(SCHEMA_V1.fields(name).is_some(), "{name}");
                }
            }
        }
        assert!(SCHEMA_V1.root().unwrap().contains_key("validate_only"));
    }
}
