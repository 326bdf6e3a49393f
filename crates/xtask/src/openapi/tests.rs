//! One change at a time, told in words and on the right side.

use crate::openapi::change::{Kind, between};
use serde_json::{Value, json};

fn document() -> Value {
    json!({
        "info": {"version": "1"},
        "paths": {
            "/send": {"post": {
                "operationId": "send",
                "description": "Sends.",
                "security": [{"key": ["send"]}, {"token": []}],
                "parameters": [{"in": "query", "name": "limit", "schema": {"type": "integer", "maximum": 200}}],
                "requestBody": {"required": true, "content": {"application/json": {"schema": {"allOf": [
                    {"$ref": "#/components/schemas/Send"},
                    {"type": "object", "properties": {"type": {"type": "string", "enum": ["a", "b"]}}},
                ]}}}},
                "responses": {
                    "200": {"headers": {"X-Id": {"schema": {"type": "string"}}},
                            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Sent"}}}},
                    "404": {},
                },
            }},
            "/gone": {"get": {"responses": {}}},
        },
        "components": {
            "schemas": {
                "Send": {"type": "object", "required": ["id"], "properties": {
                    "id": {"type": ["integer", "null"]},
                    "title": {"type": "string", "minLength": 1, "maxLength": 200},
                }},
                "Sent": {"type": "object", "required": ["status"], "properties": {
                    "status": {"type": "string", "enum": ["sent"]},
                    "items": {"type": "array", "items": {"type": "object", "properties": {"at": {"type": "string", "format": "date-time"}}}},
                }},
            },
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "description": "A key"}},
        },
    })
}

/// What is told of one change: each with whether it breaks.
fn told(pointer: &str, value: Value) -> Vec<(Kind, String)> {
    let (old, mut new) = (document(), document());
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let key = key.replace("~1", "/");
    let around = new.pointer_mut(parent).unwrap();
    if value.is_null() {
        around.as_object_mut().unwrap().remove(&key);
    } else {
        around[key.as_str()] = value;
    }
    let changes = between(&old, &new).into_iter();
    changes
        .map(|change| (change.kind, format!("{}: {}", change.place, change.what)))
        .collect()
}

#[test]
fn the_same_document_has_no_changes() {
    assert_eq!(between(&document(), &document()), []);
}

#[test]
fn what_breaks_a_caller_is_told_apart_from_what_does_not() {
    use Kind::{Breaking, Compatible, Words};
    let send = "/paths/~1send/post";
    let (asked, answered) = (
        "/components/schemas/Send/properties",
        "/components/schemas/Sent/properties",
    );
    let rows = [
        (
            "/paths/~1gone",
            Value::Null,
            Breaking,
            "GET /gone: the operation is gone",
        ),
        (
            "/paths/~1new",
            json!({"put": {}}),
            Compatible,
            "PUT /new: is new",
        ),
        (
            &format!("{send}/operationId"),
            json!("post"),
            Breaking,
            "no longer \"send\"",
        ),
        (
            &format!("{send}/description"),
            json!("Sends it."),
            Words,
            "description: changed",
        ),
        ("/info/version", json!("2"), Words, "info: changed"),
        (
            &format!("{send}/security"),
            json!([{"token": []}]),
            Breaking,
            "{\"key\":[\"send\"]} does not suffice any more",
        ),
        (
            &format!("{send}/security"),
            json!([]),
            Compatible,
            "anybody may call it",
        ),
        (
            "/paths/~1gone/get/security",
            json!([{"key": []}]),
            Breaking,
            "GET /gone: needs credentials",
        ),
        (
            "/components/securitySchemes/key/scheme",
            json!("basic"),
            Breaking,
            "security scheme key: changed",
        ),
        (
            &format!("{send}/parameters"),
            json!([]),
            Breaking,
            "query parameter limit: is gone",
        ),
        (
            &format!("{send}/parameters/0/required"),
            json!(true),
            Breaking,
            "limit: is required",
        ),
        (
            &format!("{send}/parameters/0/schema/maximum"),
            json!(100),
            Breaking,
            "maximum was 200, is 100",
        ),
        (
            &format!("{send}/parameters/0/schema/maximum"),
            json!(300),
            Compatible,
            "maximum was 200, is 300",
        ),
        (
            &format!("{send}/requestBody/required"),
            json!(false),
            Compatible,
            "body: is optional",
        ),
        (
            &format!("{send}/responses/200"),
            Value::Null,
            Breaking,
            "answer 200: is not given any more",
        ),
        (
            &format!("{send}/responses/404"),
            Value::Null,
            Compatible,
            "answer 404: is not given any more",
        ),
        (
            &format!("{send}/responses/202"),
            json!({}),
            Breaking,
            "answer 202: is new",
        ),
        (
            &format!("{send}/responses/200/headers/X-Id"),
            Value::Null,
            Breaking,
            "header X-Id: is gone",
        ),
        (
            &format!("{asked}/id/type"),
            json!("integer"),
            Breaking,
            ".id: type null is gone",
        ),
        (
            &format!("{asked}/title/minLength"),
            Value::Null,
            Compatible,
            "minLength was 1, is null",
        ),
        (
            &format!("{asked}/title/pattern"),
            json!("^x"),
            Breaking,
            "pattern was null, is \"^x\"",
        ),
        (
            &format!("{asked}/title"),
            Value::Null,
            Breaking,
            ".title: the field is gone",
        ),
        (
            &format!("{asked}/more"),
            json!({}),
            Compatible,
            ".more: the field is new",
        ),
        (
            "/components/schemas/Send/required",
            json!(["id", "title"]),
            Breaking,
            ".title: is required",
        ),
        (
            "/components/schemas/Send/required",
            json!([]),
            Compatible,
            ".id: is optional",
        ),
        (
            &format!(
                "{send}/requestBody/content/application~1json/schema/allOf/1/properties/type/enum"
            ),
            json!(["a"]),
            Breaking,
            ".type: value \"b\" is gone",
        ),
        (
            &format!("{answered}/status"),
            Value::Null,
            Breaking,
            ".status: the field is gone",
        ),
        (
            &format!("{answered}/status/enum"),
            json!(["sent", "odd"]),
            Breaking,
            "value \"odd\" is new",
        ),
        (
            &format!("{answered}/status/enum"),
            json!([]),
            Breaking,
            "may be of any value",
        ),
        (
            "/components/schemas/Sent/required",
            json!([]),
            Breaking,
            ".status: is optional",
        ),
        (
            &format!("{answered}/items/items/properties/at/format"),
            json!("date"),
            Breaking,
            ".items[].at: format was \"date-time\"",
        ),
        (
            &format!("{answered}/more"),
            json!({"type": "string"}),
            Compatible,
            ".more: the field is new",
        ),
    ];
    for (pointer, value, kind, words) in rows {
        let told = told(pointer, value);
        let found = told
            .iter()
            .any(|(of, text)| *of == kind && text.contains(words));
        assert!(found, "{pointer}: {words} is not in {told:?}");
        let worse = told
            .iter()
            .filter(|(of, _)| *of == Breaking && kind != Breaking);
        assert_eq!(worse.count(), 0, "{pointer}: {told:?}");
    }
}

#[test]
fn a_schema_that_holds_itself_is_compared_to_an_end() {
    let mut old = document();
    old["components"]["schemas"]["Sent"]["properties"]["of"] =
        json!({"$ref": "#/components/schemas/Sent"});
    let mut new = old.clone();
    new["components"]["schemas"]["Sent"]["properties"]["status"]["enum"] = json!(["sent", "odd"]);
    assert!(!between(&old, &new).is_empty());
}
