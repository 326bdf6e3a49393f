//! The README's curl examples, as printed: what a newcomer types first.

use push_tests::{Key, Stack};
use reqwest::Method;
use serde_json::Value;

const README: &str = include_str!("../../README.md");

/// A curl command of the README.
struct Example {
    path: String,
    headers: Vec<(String, String)>,
    body: Value,
}

/// The `sh` blocks that begin with a comment and a curl command.
fn examples() -> Vec<Example> {
    let blocks = README.split("```sh\n").skip(1);
    let blocks = blocks.map(|block| block.split("```").next().unwrap());
    let curls = blocks.filter(|block| block.contains("\ncurl "));
    curls.map(read).collect()
}

fn read(block: &str) -> Example {
    let (command, data) = block.split_once(" -d '").unwrap();
    let path = command.split("http://127.0.0.1:8080").nth(1).unwrap();
    let headers = command.split("-H \"").skip(1).map(|rest| {
        let (name, value) = rest.split('"').next().unwrap().split_once(": ").unwrap();
        (name.to_owned(), value.to_owned())
    });
    Example {
        path: path.split_whitespace().next().unwrap().to_owned(),
        headers: headers.collect(),
        body: serde_json::from_str(data.trim_end().strip_suffix('\'').unwrap()).unwrap(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_curl_examples_work_as_printed() {
    // The README's key, and one for the harness, which looks at the figures at the end.
    let keys = format!(
        "demo:register+send+read+admin:local-demo-key,harness:read:{}",
        Key::All.secret()
    );
    let stack = Stack::with()
        .env_api("API_KEYS", &keys)
        .env_api("UNKNOWN_CUSTOMER", "create")
        .start()
        .await;
    let mut told = Vec::new();
    for example in examples() {
        let mut call = stack.api().call(Method::POST, &example.path).anonymous();
        for (name, value) in &example.headers {
            call = call.header(name, value);
        }
        // `json` keeps a content type that is set.
        let answer = call.json(&example.body).answer().await;
        assert_eq!(
            answer.json["success"], true,
            "{}: {}",
            example.path, answer.text
        );
        told.push((example.path, answer));
    }
    let paths: Vec<_> = told.iter().map(|(path, _)| path.as_str()).collect();
    let wanted = [
        "/api/Push/register",
        "/api/Push/sendToCustomer",
        "/api/Push/sendToCustomer",
        "/api/Push/events",
        "/api/Push/test",
    ];
    assert_eq!(paths, wanted);
    stack.settled(&told[1].1.id()).await;
    stack.settled(&told[2].1.id()).await;
    stack.settled(&told[3].1.id()).await;
    let test = &told[4].1;
    assert_eq!(test.status, 200, "{}", test.text);
    assert_eq!(test.json["message"], "Test notification sent");
    assert_eq!(test.json["fcmResult"], "success");
}
