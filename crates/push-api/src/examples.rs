//! Examples for every request body of the document that has none of its own, made of what its schema says: they cannot fall behind
//! the code.

use serde_json::{Map, Value, json};
use utoipa::openapi::content::Content;
use utoipa::openapi::{OpenApi, RefOr};

use crate::router::operations;

/// Schemas within schemas; what refers to itself ends here.
const DEPTH_MAX: usize = 8;

/// Adds them.
pub fn add(document: &mut OpenApi) {
    let components = serde_json::to_value(&document.components).unwrap_or_default();
    for operation in document.paths.paths.values_mut().flat_map(operations) {
        if let Some(RefOr::T(body)) = &mut operation.request_body {
            for content in body.content.values_mut() {
                add_to(content, &components);
            }
        }
    }
}

fn add_to(content: &mut RefOr<Content>, components: &Value) {
    let RefOr::T(content) = content else {
        return;
    };
    if content.example.is_none() && content.examples.is_empty() {
        let schema = serde_json::to_value(&content.schema).unwrap_or_default();
        content.example = Some(of(&schema, components, 0));
    }
}

/// With the fields that are required or bring an example: what somebody would send.
fn of(schema: &Value, components: &Value, depth: usize) -> Value {
    if let Some(example) = schema.get("example") {
        return example.clone();
    }
    if depth > DEPTH_MAX {
        return Value::Null;
    }
    let inner = |schema: &Value| of(schema, components, depth + 1);
    let reference = schema["$ref"].as_str();
    if let Some(name) = reference.and_then(|path| path.strip_prefix("#/components/schemas/")) {
        return inner(&components["schemas"][name]);
    }
    if let Some(first) = schema["enum"].get(0) {
        return first.clone();
    }
    for key in ["oneOf", "anyOf"] {
        let alternatives = schema[key].as_array().into_iter().flatten();
        let mut values = alternatives.map(inner);
        if let Some(value) = values.find(|value| !value.is_null()) {
            return value;
        }
    }
    let mut object = Map::new();
    for part in schema["allOf"].as_array().into_iter().flatten() {
        if let Value::Object(more) = inner(part) {
            object.extend(more);
        }
    }
    let required = |name: &str| {
        let names = schema["required"].as_array().into_iter().flatten();
        names.into_iter().any(|required| required == name)
    };
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        if required(name) || field.get("example").is_some() {
            object.insert(name.clone(), inner(field));
        }
    }
    if !object.is_empty() {
        return object.into();
    }
    plain(schema, &inner)
}

/// A value that stands for itself.
fn plain(schema: &Value, inner: &dyn Fn(&Value) -> Value) -> Value {
    let types = &schema["type"];
    let kind = types.as_str().or(types.get(0).and_then(Value::as_str));
    match (kind, schema["format"].as_str()) {
        (Some("string"), Some("date-time")) => json!("2026-01-02T03:04:05.678Z"),
        (Some("string"), Some("uuid")) => json!("0198c5a1-7c3e-7d0a-b7a5-3f6f4f0e9c11"),
        (Some("string"), _) => json!("text"),
        (Some("boolean"), _) => json!(true),
        (Some("integer"), _) => json!(17),
        (Some("number"), _) => json!(0.5),
        (Some("array"), _) => json!([inner(&schema["items"])]),
        (Some("object"), _) => json!({}),
        _ => Value::Null,
    }
}
