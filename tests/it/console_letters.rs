//! Dead letters in the console: what is chosen is meant and nothing else, what runs can be stopped, and what is asked is not
//! done before it is answered.

use lapin::BasicProperties;
use push_tests::{Broker, Browser, Device, Look, Stack, eventually};
use serde_json::{Value, json};

use crate::console::{dead_letter, go, sign_in};

/// Letters that nothing else hangs on: bytes that are no jobs.
async fn poison(stack: &Stack, count: i64) {
    stack.expect_errors("dead-lettered");
    for n in 0..count {
        let (body, properties) = (format!("junk {n}"), BasicProperties::default());
        stack
            .broker
            .publish(Broker::JOBS, body.as_bytes(), properties)
            .await;
    }
    eventually("all of it is recorded", async || {
        (stack.database.count("dead_letters").await == count).then_some(())
    })
    .await;
}

async fn letters(stack: &Stack, state: &str) -> i64 {
    let statement = format!("SELECT COUNT(*) FROM dead_letters WHERE state = '{state}'");
    stack.database.number(&statement).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_that_are_chosen_are_discarded_with_a_reason_and_no_other() {
    let stack = Stack::start().await;
    poison(&stack, 5).await;
    let spared = stack.database.dead_letters().await[2].id;
    Browser::with(Look::DESK, async |page| {
        sign_in(page, &stack).await;
        page.click("nav a", "Dead letters").await;
        page.sees("td", "poison").await;
        let every = "th input";
        page.click(every, "").await;
        page.sees("button", "Discard selected (5)").await;
        page.click(every, "").await;
        page.sees("button", "Discard selected (0)").await;
        page.click(every, "").await;
        page.click(&format!("td input[value='{spared}']"), "").await;
        // Who thinks better of it has done nothing; nor who does not say why.
        page.click("button", "Discard selected (4)").await;
        page.click("dialog button", "Back").await;
        page.misses("dialog").await;
        page.focuses("button.danger").await;
        page.click("button", "Discard selected (4)").await;
        page.click("dialog button", "Discard").await;
        page.focuses("dialog [name=reason]:invalid").await;
        assert_eq!(letters(&stack, "open").await, 5);
        page.fill("dialog [name=reason]", "a test of the booking team")
            .await;
        page.click("dialog button", "Discard").await;
        page.sees("#toast", "4 discarded").await;
        page.sees("button", "Discard selected (0)").await;
        let left = page.run(
            "return [...document.querySelectorAll('td input')].map(box => Number(box.value))",
            Vec::new(),
        );
        assert_eq!(left.await, json!([spared]));
    })
    .await;
    let reasons = "SELECT COALESCE(discard_reason, state) FROM dead_letters ORDER BY id";
    let why = "a test of the booking team";
    assert_eq!(
        stack.database.texts(reasons).await,
        [why, why, "open", why, why]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operation_that_runs_is_stopped_and_what_is_left_stays() {
    let stack = Stack::start().await;
    let all = 60;
    poison(&stack, all).await;
    let cancelled = Browser::with(Look::DESK, async |page| {
        sign_in(page, &stack).await;
        go(page, "#/dead-letters?reason=poison").await;
        page.click("button", "Discard all that match").await;
        page.sees("dialog", "60 open dead letters match now: reason poison")
            .await;
        page.fill("dialog [name=perSecond]", "1").await;
        page.fill("dialog [name=reason]", "junk").await;
        page.click("dialog button", "Discard all").await;
        page.sees("h1", "Operation ").await;
        page.sees("p", "of 60, running").await;
        page.sees("dd", "1 a second").await;
        eventually("some are done", async || {
            (letters(&stack, "discarded").await > 0).then_some(())
        })
        .await;
        page.click("button", "Stop").await;
        page.click("dialog button", "Back").await;
        page.misses("dialog").await;
        page.sees("p", "of 60, running").await;
        page.click("button", "Stop").await;
        page.click("dialog button", "Stop it").await;
        page.sees("#toast", "Operation cancelled").await;
        page.sees("[role=status]", "of 60, cancelled").await;
        page.misses("main button").await;
        page.focuses("#main").await;
        let script = "return document.querySelector('main progress').value";
        let shown = page.run(script, Vec::new()).await;
        let done = letters(&stack, "discarded").await;
        assert_eq!(shown, json!(done));
        page.click("nav a", "Operations").await;
        page.sees("td", "cancelled").await;
        page.sees("td", &format!("{done} of 60")).await;
        // What it left can be done by another one, at once.
        go(page, "#/dead-letters?reason=poison").await;
        page.click("button", "Discard all that match").await;
        let left = all - done;
        page.sees("dialog", &format!("{left} open dead letters match now"))
            .await;
        page.fill("dialog [name=reason]", "the rest").await;
        page.click("dialog button", "Discard all").await;
        page.sees("[role=status]", &format!("{left} of {left}, done"))
            .await;
        done
    })
    .await;
    let reasons = "SELECT COUNT(*) FROM dead_letters WHERE discard_reason = 'junk'";
    assert_eq!(stack.database.number(reasons).await, cancelled);
    assert!(cancelled < all);
    assert_eq!(letters(&stack, "open").await, 0);
}

/// Whoever goes back, or follows an address, while something is asked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dialog_goes_with_its_page_and_nothing_is_done() {
    let stack = Stack::start().await;
    let phone = stack.register(1, Device::android_fcm("pixel")).await;
    let id = dead_letter(&stack, 1, &phone).await;
    let letter = stack.database.dead_letters_of(&id).await[0].id;
    Browser::with(Look::DESK, async |page| {
        sign_in(page, &stack).await;
        go(page, "#/dead-letters").await;
        page.click("td input", "").await;
        for (ask, button) in [
            ("Replay selected (1)", "Replay"),
            ("Discard selected (1)", "Discard"),
            ("Replay all that match", "Replay all"),
            ("Discard all that match", "Discard all"),
        ] {
            page.click("button", ask).await;
            page.sees("dialog button", button).await;
            go(page, "#/operations").await;
            page.sees("p", "There was no operation").await;
            page.misses("dialog").await;
            page.focuses("h1").await;
            page.run("history.back()", Vec::new()).await;
            page.click("td input", "").await;
        }
        // By its key as well: who asked has the focus again.
        page.click("button", "Replay selected (1)").await;
        page.sees("dialog h2", "Replay 1?").await;
        page.press("\u{e00c}").await;
        page.misses("dialog").await;
        page.focuses("button.main").await;
        // What comes of a question after its page was left is not asked any more.
        let lock = stack.database.lock_table("dead_letters").await;
        page.click("button", "Replay all that match").await;
        stack.database.statement_waits("dead_letters").await;
        go(page, "#/customers/1").await;
        page.sees("h2", "Preferences").await;
        lock.release().await;
        go(page, &format!("#/dead-letters/{letter}")).await;
        page.sees("h2", "Error trail").await;
        page.misses("dialog").await;
        page.sees("dd", "open").await;
    })
    .await;
    assert_eq!(letters(&stack, "open").await, 1);
    assert_eq!(stack.database.count("operations").await, 0);
    assert_eq!(stack.sim.rings(&phone, &id).await, 0);
}

/// What somebody else does meanwhile, or what ends by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_that_changes_under_a_dialog_keeps_it_and_tells_what_came_of_it() {
    let stack = Stack::start().await;
    poison(&stack, 60).await;
    let post = async |path: &str, body: &Value| {
        let path = format!("/api/Push/admin/{path}");
        stack.api().post(&path, body).answer().await.expect(200)
    };
    Browser::with(Look::DESK, async |page| {
        sign_in(page, &stack).await;
        page.click("button", "Pause FCM").await;
        post("providers/fcm/pause", &json!({})).await;
        page.sees("button", "Resume FCM").await;
        page.sees("dialog h2", "Pause FCM?").await;
        // The button that had the focus is gone.
        page.click("dialog button", "Back").await;
        page.misses("dialog").await;
        page.focuses("#main").await;
        page.click("button", "Resume FCM").await;
        page.click("dialog button", "Resume").await;
        page.sees("button", "Pause FCM").await;
        // An operation that ends while one is asked whether to stop it.
        let body = json!({"filter": {}, "perSecond": 1, "reason": "junk"});
        let path = "/api/Push/admin/deadLetters/discard";
        let begun = stack.api().post(path, &body).answer().await.expect(202);
        let operation = begun.json["operationId"].as_str().unwrap().to_owned();
        go(page, &format!("#/operations/{operation}")).await;
        page.click("button", "Stop").await;
        post(&format!("operations/{operation}/cancel"), &json!({})).await;
        page.sees("[role=status]", "of 60, cancelled").await;
        page.click("dialog button", "Stop it").await;
        page.sees("[role=alert]", "not running any more").await;
        page.focuses("#main").await;
    })
    .await;
    let paused = "SELECT COUNT(*) FROM provider_switches WHERE paused";
    assert_eq!(stack.database.number(paused).await, 0);
}
