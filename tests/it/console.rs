//! The console as people use it: in a real browser, with a real customer's phone at the other end.

use std::io::Write as _;

use push_tests::{Browser, Device, Key, Look, Phone, Provider, Stack, environment, eventually};
use serde_json::json;

/// What finds out whether everybody can read a page.
const AXE: &str = "axe-core-python==0.1.0";

pub(crate) async fn sign_in(page: &Browser, stack: &Stack) {
    sign_in_with(page, stack, Key::All.secret()).await;
}

pub(crate) async fn sign_in_with(page: &Browser, stack: &Stack, secret: &str) {
    sign_in_at(page, &stack.apis[0].url(), secret).await;
}

pub(crate) async fn sign_in_at(page: &Browser, address: &str, secret: &str) {
    page.open(&format!("{address}/admin")).await;
    page.fill("#key", secret).await;
    page.press("\u{e007}").await;
    page.sees("h1", "Overview").await;
}

/// What an operator can mend: one try, then a dead letter.
pub(crate) async fn dead_letter(stack: &Stack, customer: i64, phone: &Phone) -> String {
    stack.expect_errors("an operator must act");
    let script = json!([{"case": "sender_id_mismatch"}]);
    stack.sim.script(Provider::Fcm, phone.fcm(), script).await;
    let id = stack
        .send(customer)
        .wait(20)
        .answer()
        .await
        .expect(200)
        .id();
    eventually("the dead letter is there", async || {
        let letters = stack.database.dead_letters_of(&id).await;
        (!letters.is_empty()).then_some(())
    })
    .await;
    id
}

/// Goes to a page of the console.
pub(crate) async fn go(page: &Browser, hash: &str) {
    page.run("location.hash = arguments[0]", vec![json!(hash)])
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_happened_to_a_customers_notification_is_found_by_customer_booking_and_id() {
    let stack = Stack::start().await;
    let phone = stack.register(123, Device::android_fcm("pixel")).await;
    let event = json!({"event": "status_changed", "customerId": 123, "bookingId": 456, "trackId": "BID123",
                       "technician": {"name": "<b>Jo</b> & Söhne"}, "newStatus": "Reached"});
    let sent = stack.api().post("/api/Push/events", &event).answer().await;
    let id = sent.expect(202).id();
    stack.settled(&id).await;
    stack.register(124, Device::ios_expo("other")).await;
    let other = stack.send(124).wait(20).answer().await.expect(200).id();
    Browser::with(Look::DESK, async |page| {
        sign_in(page, &stack).await;
        page.click("nav a", "Search").await;
        for (field, value) in [("customerId", "123"), ("bookingId", "456")] {
            page.fill(&format!("[name={field}]"), value).await;
            page.click("form button", "Search").await;
            page.sees("td", "Technician has arrived").await;
            let rows = page
                .run(
                    "return document.querySelectorAll('tbody tr').length",
                    Vec::new(),
                )
                .await;
            assert_eq!(rows, json!(1), "{field}");
            page.fill(&format!("[name={field}]"), "").await;
        }
        page.click("td a", "Technician has arrived").await;
        page.sees("ol.timeline", "accepted as").await;
        // What somebody wrote is text, whatever it looks like.
        page.sees("p", "<b>Jo</b> & Söhne has reached").await;
        page.sees("code", &id).await;
        go(page, "#/search").await;
        page.fill("[name=id]", &other).await;
        page.press("\u{e007}").await;
        page.sees("code", &other).await;
        page.click("dd a", "124").await;
        page.sees("h2", "Preferences").await;
        page.sees("td", "other").await;
        page.click("button", "Send a test").await;
        page.sees("p", "Test notification sent").await;
    })
    .await;
    assert_eq!(stack.sim.rings(&phone, &id).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_are_replayed_and_the_phones_ring() {
    let stack = Stack::start().await;
    let mut asked = Vec::new();
    for customer in 1..=4 {
        let device = Device::android_fcm(&format!("phone-{customer}"));
        let phone = stack.register(customer, device).await;
        let id = dead_letter(&stack, customer, &phone).await;
        asked.push((phone, id));
    }
    let ring = async |(phone, id): &(Phone, String)| {
        eventually("the phone rings", async || {
            (stack.sim.rings(phone, id).await == 1).then_some(())
        })
        .await;
        stack.settled(id).await;
    };
    Browser::with(Look::DESK, async |page| {
        sign_in(page, &stack).await;
        page.click("nav a", "Dead letters").await;
        // One that is chosen.
        page.sees("td", "SENDER_ID_MISMATCH").await;
        page.fill("[name=customerId]", "1").await;
        page.click("form button", "Filter").await;
        page.sees("button", "Replay selected (0)").await;
        page.click("td input", "").await;
        page.click("button", "Replay selected (1)").await;
        page.click("dialog button", "Replay").await;
        page.sees("#toast", "1 replayed").await;
        page.sees("p", "No dead letter matches").await;
        ring(&asked[0]).await;
        // All that a filter means: counted, then done by a worker.
        page.fill("[name=customerId]", "").await;
        page.click("form button", "Filter").await;
        page.sees("td", "SENDER_ID_MISMATCH").await;
        page.click("button", "Replay all that match").await;
        page.sees("dialog", "3 open dead letters match now").await;
        page.click("dialog button", "Replay all").await;
        page.sees("h1", "Operation ").await;
        page.sees("[role=status]", "3 of 3, done").await;
        for one in &asked[1..] {
            ring(one).await;
        }
        page.click("nav a", "Operations").await;
        page.sees("td", "replay dead letters").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_put_aside_says_why_and_a_lane_is_paused_and_resumed() {
    let stack = Stack::start().await;
    let phone = stack.register(1, Device::android_fcm("pixel")).await;
    let id = dead_letter(&stack, 1, &phone).await;
    Browser::with(Look::DESK, async |page| {
        sign_in(page, &stack).await;
        page.click("button", "Pause FCM").await;
        page.click("dialog button", "Back").await;
        page.click("button", "Pause FCM").await;
        page.click("dialog button", "Pause").await;
        page.sees("button", "Resume FCM").await;
        page.sees("p", "Paused by all").await;
        page.click("button", "Resume FCM").await;
        page.click("dialog button", "Resume").await;
        page.sees("button", "Pause FCM").await;
        go(page, "#/dead-letters").await;
        page.click("td a", "operator must act").await;
        page.sees("h2", "Error trail").await;
        page.click("button", "Discard").await;
        page.fill("dialog [name=reason]", "the app was retired")
            .await;
        page.click("dialog button", "Discard").await;
        page.sees("dd", "by all: the app was retired").await;
    })
    .await;
    let letter = &stack.database.dead_letters_of(&id).await[0];
    assert_eq!(stack.sim.rings(&phone, &id).await, 0);
    let path = format!("/api/Push/admin/deadLetters/{}", letter.id);
    let told = stack.api().get(&path).answer().await.expect(200);
    assert_eq!(told.json["discardReason"], "the app was retired");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_stays_alive_over_a_restart_and_ends_with_the_session() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let mut stack = Stack::with().env_api("HTTP_ADDR", &address).start().await;
    Browser::with(Look::DESK, async |page| {
        sign_in(page, &stack).await;
        page.sees("dd", "balance").await;
        // By keyboard there is a way past the menu, which leads to no other page.
        page.run("document.querySelector('.skip').focus()", Vec::new())
            .await;
        page.press("\u{e007}").await;
        let focused = page.run("return document.activeElement.id", Vec::new());
        assert_eq!(focused.await, json!("main"));
        page.sees("h1", "Overview").await;
        stack.kill_api().await;
        page.sees("#connection", "does not answer").await;
        stack.start_api().await;
        page.hears_nothing_of("#connection").await;
        page.sees("h1", "Overview").await;
        page.click("button", "Sign out").await;
        page.sees("h1", "Sign in").await;
        go(page, "#/dead-letters").await;
        page.sees("h1", "Sign in").await;
        page.fill("#key", Key::Read.secret()).await;
        page.press("\u{e007}").await;
        page.sees("[role=alert]", "lacks the scope admin").await;
        page.fill("#key", "wrong").await;
        page.press("\u{e007}").await;
        page.sees("[role=alert]", "valid API key").await;
    })
    .await;
}

/// By what people who cannot see, or cannot see well, or hold a phone, need from a page.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_page_can_be_read_by_everybody() {
    let Some(axe) = environment(AXE).await.and_then(|folder| script_in(&folder)) else {
        let told = "LEFT OUT: axe-core could not be installed here (python3 with venv, and PyPI)\n";
        std::io::stderr().write_all(told.as_bytes()).unwrap();
        return;
    };
    let stack = Stack::start().await;
    let phone = stack.register(1, Device::android_fcm("pixel")).await;
    let id = dead_letter(&stack, 1, &phone).await;
    let letter = stack.database.dead_letters_of(&id).await[0].id;
    let body = json!({"filter": {"customerId": 99}});
    let path = "/api/Push/admin/deadLetters/replay";
    let operation = stack.api().post(path, &body).answer().await.expect(202);
    let operation = operation.json["operationId"].as_str().unwrap().to_owned();
    let [the_letter, the_operation, the_notification] = [
        format!("#/dead-letters/{letter}"),
        format!("#/operations/{operation}"),
        format!("#/notifications/{id}"),
    ];
    let pages = [
        ("#/overview", "By the hour"),
        ("#/search?go=1", "Title"),
        ("#/dead-letters", "SENDER_ID_MISMATCH"),
        (&the_letter, "Error trail"),
        ("#/operations", "replay dead letters"),
        (&the_operation, "At most"),
        (&the_notification, "Timeline"),
        ("#/customers/1", "Latest notifications"),
    ];
    for look in [Look::DESK, Look::NIGHT, Look::PHONE] {
        Browser::with(look, async |page| {
            page.open(&format!("{}/admin/", stack.apis[0].url())).await;
            page.sees("h1", "Sign in").await;
            judge(page, &axe, look, "signing in").await;
            page.fill("#key", Key::All.secret()).await;
            page.press("\u{e007}").await;
            for (hash, there) in pages {
                go(page, hash).await;
                page.sees("main *", there).await;
                judge(page, &axe, look, hash).await;
            }
        })
        .await;
    }
}

fn script_in(folder: &std::path::Path) -> Option<String> {
    let lib = std::fs::read_dir(folder.join("lib")).ok()?;
    let mut pythons = lib.flatten().map(|python| {
        python
            .path()
            .join("site-packages/axe_core_python/axe.min.js")
    });
    std::fs::read_to_string(pythons.find(|path| path.exists())?).ok()
}

async fn judge(page: &Browser, axe: &str, look: Look, what: &str) {
    let dark = page
        .run(
            "return matchMedia('(prefers-color-scheme: dark)').matches",
            Vec::new(),
        )
        .await;
    assert_eq!(dark, json!(look.dark));
    page.run(axe, Vec::new()).await;
    let found = page
        .run_async(
            "const done = arguments[0]; axe.run(document, {resultTypes: ['violations']}).then(r => done(r.violations.map(v => \
             ({impact: v.impact, id: v.id, where: v.nodes.map(n => n.html + ' ' + n.failureSummary)}))), e => done(String(e)))",
        )
        .await;
    assert_eq!(found, json!([]), "{what}, {look:?}");
    // What has its own way to scroll may be wider than the page.
    let wider = "const room = document.documentElement.clientWidth; return [...document.querySelectorAll('main *')] \
                 .filter(e => !e.closest('.scroll') && e.getBoundingClientRect().right > room) \
                 .map(e => e.outerHTML.slice(0, 200))";
    let wide = page.run(wider, Vec::new()).await;
    assert_eq!(wide, json!([]), "{what}, {look:?}");
}
