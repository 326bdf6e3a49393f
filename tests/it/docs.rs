//! The API's documentation as people read it: in a real browser.

use push_tests::{Browser, Key, Look, Stack};
use serde_json::json;

/// What the policy forbade, and what a page could not load.
const COMPLAINTS: &str = r#"
    const done = arguments[arguments.length - 1];
    const complaints = performance.getEntriesByType("resource").map((entry) => entry.name)
        .filter((name) => !name.startsWith("data:") && new URL(name).origin !== location.origin);
    const note = (reports) => complaints.push(...reports.map((report) => report.body.effectiveDirective));
    const observer = new ReportingObserver(note, {types: ["csp-violation"], buffered: true});
    observer.observe();
    setTimeout(() => { note(observer.takeRecords()); done(complaints); });
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operation_is_found_and_tried_out_without_anything_from_elsewhere() {
    let stack = Stack::start().await;
    stack.know_customer(123).await;
    for look in [Look::DESK, Look::NIGHT] {
        Browser::with(look, async |page| {
            page.open(&format!("{}/docs", stack.apis[0].url())).await;
            page.sees("h1, h2", "Push notifications").await;
            page.sees(".opblock-summary-path", "sendToCustomer").await;
            let is_dark = "return document.documentElement.classList.contains('dark-mode')";
            assert_eq!(page.run(is_dark, vec![]).await, json!(look.dark));
            page.click("button.authorize", "Authorize").await;
            page.fill("#auth-bearer-value", Key::All.secret()).await;
            page.click(".auth-btn-wrapper button.authorize", "Authorize")
                .await;
            page.click(".auth-btn-wrapper button.btn-done", "Close")
                .await;
            page.click("#operations-admin-getBooks button", "").await;
            page.click("#operations-admin-getBooks button", "Try it out")
                .await;
            page.click("#operations-admin-getBooks button", "Execute")
                .await;
            page.sees(".live-responses-table .response-col_status", "200")
                .await;
            assert_eq!(page.run_async(COMPLAINTS).await, json!([]));
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn its_files_are_for_anybody_and_let_nothing_else_in() {
    let stack = Stack::with()
        .env_api("RATE_LIMIT_PER_ADDRESS", "1/1h")
        .workers(0)
        .start()
        .await;
    for path in [
        "/docs",
        "/docs/",
        "/docs/docs.css",
        "/docs/swagger-ui.css",
        "/docs/swagger-ui-bundle.js",
        "/docs/openapi.json",
    ] {
        let answer = stack.api().get(path).anonymous().answer().await.expect(200);
        let policy = answer.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'"), "{path}");
        assert!(!policy.contains("unsafe"), "{path}");
    }
    let answer = stack.api().get("/docs/nothing").anonymous().answer().await;
    assert_eq!(answer.expect(404).error_code(), "not_found");
}
