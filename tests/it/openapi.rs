//! The document that tells callers what there is.

use push_tests::{Key, Stack};
use reqwest::Method;
use serde_json::{Value, json};

/// What may be seen without credentials: none of it moves data.
const OPEN: [&str; 5] = ["/healthz", "/readyz", "/metrics", "/openapi.json", "/docs"];

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn every_path_of_the_document_is_there_and_closed() {
    let stack = Stack::with().workers(0).start().await;
    stack.know_customer(1).await;
    let api = stack.api();
    let answer = api
        .get("/openapi.json")
        .anonymous()
        .answer()
        .await
        .expect(200);
    assert!(
        answer
            .header("content-type")
            .starts_with("application/json")
    );
    let document = answer.json;
    assert!(
        document["openapi"].as_str().unwrap().starts_with("3.1"),
        "{}",
        document["openapi"]
    );

    let paths = document["paths"].as_object().unwrap();
    for wanted in [
        "/api/Push/register",
        "/api/Push/unregister",
        "/api/Push/sendToCustomer",
        "/api/Push/sendBatch",
        "/api/Push/events",
        "/api/Push/test",
        "/api/Push/notifications/{notificationId}",
        "/api/Push/preferences/{customerId}",
        "/healthz",
        "/readyz",
        "/metrics",
        "/openapi.json",
    ] {
        assert!(paths.contains_key(wanted), "{wanted} is not documented");
    }
    let mut walked = 0;
    for (path, item) in paths {
        for method in ["get", "post", "put", "delete", "patch"] {
            let operation = &item[method];
            if operation.is_null() {
                continue;
            }
            walked += 1;
            let nobody = "00000000-0000-7000-8000-000000000000";
            let concrete = path
                .replace("{notificationId}", nobody)
                .replace("{operationId}", nobody)
                .replace("{customerId}", "1")
                .replace("{id}", "17");
            let call = || {
                let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
                api.call(method, &concrete)
            };
            let answer = call().anonymous().json(&json!({})).answer().await;
            if OPEN.contains(&path.as_str()) {
                assert_ne!(answer.status, 401, "{method} {path}");
                continue;
            }
            assert_eq!(
                (answer.status, answer.error_code().as_str()),
                (401, "unauthorized"),
                "{method} {path}"
            );
            assert!(
                !operation["security"].as_array().is_none_or(Vec::is_empty),
                "{method} {path} tells who may"
            );
            // Credentials are looked at before the body.
            let large = call()
                .anonymous()
                .raw("application/json", vec![b' '; 60 * 1024])
                .answer()
                .await;
            assert_eq!(large.status, 401, "{method} {path}");
            // What it can answer is documented: the statuses that every caller has to expect.
            let responses = operation["responses"].as_object().unwrap();
            for status in ["401", "403", "503"] {
                assert!(
                    responses.contains_key(status),
                    "{method} {path} may answer {status}"
                );
            }
            let answer = call().key(Key::All).json(&json!({})).answer().await;
            assert!(
                responses.contains_key(&answer.status.to_string()),
                "{method} {path} answers {}, undocumented",
                answer.status
            );
        }
    }
    assert!(walked >= 9, "{walked}");
    references_lead_somewhere(&document, &document);
}

/// Every `$ref` of the document.
fn references_lead_somewhere(document: &Value, part: &Value) {
    match part {
        Value::Object(object) => {
            if let Some(reference) = object.get("$ref").and_then(Value::as_str) {
                let pointer = reference.strip_prefix('#').expect("within the document");
                assert!(document.pointer(pointer).is_some(), "{reference}");
            }
            object
                .values()
                .for_each(|value| references_lead_somewhere(document, value));
        }
        Value::Array(array) => array
            .iter()
            .for_each(|value| references_lead_somewhere(document, value)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
