//! Who gets into the console, with what rights, and until when.

use push_tests::{
    Age, Answer, Authority, Browser, Call, Device, Key, Look, Program, Stack, eventually,
};
use reqwest::Method;
use serde_json::json;

use crate::access::Mount;
use crate::console::{dead_letter, go, sign_in_at, sign_in_with};
use crate::tls_of_callers;

const SESSION: &str = "/api/Push/admin/session";
/// What our pages add to each request.
const OURS: (&str, &str) = ("x-push-console", "1");
/// What a proxy adds that was asked over TLS.
const OVER_TLS: (&str, &str) = ("x-forwarded-proto", "https");

fn with(call: Call, headers: &[(&str, &str)]) -> Call {
    let add = |call: Call, (name, value): &(&str, &str)| call.header(name, value);
    headers.iter().fold(call, add)
}

/// Signs in; what the browser keeps, as it sends it.
async fn signed_in(stack: &Stack, headers: &[(&str, &str)]) -> String {
    let call = with(stack.api().post(SESSION, &json!({})), headers);
    let begun = call.answer().await.expect(200);
    let set = begun.header("set-cookie").to_owned();
    for part in ["HttpOnly", "SameSite=Strict", "Max-Age=43200", "Path=/;"] {
        assert!(set.contains(part), "{set}");
    }
    let is_secure = set.ends_with("; Secure");
    assert_eq!(is_secure, headers.contains(&OVER_TLS), "{set}");
    set.split(';').next().unwrap().to_owned()
}

/// As one of our pages asks, with these cookies.
async fn ask(stack: &Stack, cookies: &str, headers: &[(&str, &str)]) -> Answer {
    let call = stack
        .api()
        .get(SESSION)
        .anonymous()
        .header("cookie", cookies);
    with(with(call, &[OURS]), headers).answer().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_cookie_is_good_for_our_own_pages_on_every_replica_until_it_is_given_back() {
    let stack = Stack::with().apis(2).start().await;
    let cookie = signed_in(&stack, &[]).await;
    let ask = |api: usize, path: &str, headers: &[(&str, &str)]| {
        let call = stack.api_at(api).get(path).anonymous();
        with(call.header("cookie", &cookie), headers).answer()
    };
    // On the other replica, too.
    for api in 0..2 {
        let who = ask(api, SESSION, &[OURS]).await.expect(200);
        assert_eq!(who.json["name"], "all");
        assert_eq!(
            who.json["scopes"],
            json!(["register", "send", "read", "admin"])
        );
        assert!(who.json["expiresAt"].is_string(), "{}", who.text);
        let history = ask(api, "/api/Push/history", &[OURS]).await.expect(200);
        assert_eq!(history.json["items"], json!([]));
    }
    // Another site's page cannot add the header.
    assert_eq!(
        ask(0, SESSION, &[]).await.expect(401).error_code(),
        "unauthorized"
    );
    // Nor does a cookie make wrong credentials good.
    let wrong = ask(0, SESSION, &[OURS, ("x-api-key", "wrong")]).await;
    assert_eq!(wrong.expect(401).error_code(), "unauthorized");
    // The page itself has no data, and lets nothing else run.
    let page = stack.api().get("/admin/").anonymous().answer().await;
    let page = page.expect(200);
    let policy = page.header("content-security-policy");
    assert!(
        policy.contains("default-src 'none'") && !policy.contains("unsafe"),
        "{policy}"
    );
    for missing in ["/admin/nothing.js", "/admin/../Cargo.toml", "/admin/a/b"] {
        let none = stack.api().get(missing).anonymous().answer().await;
        assert_eq!(none.expect(404).error_code(), "not_found");
    }
    // Nobody can sign in without the scope.
    let refused = stack.api().post(SESSION, &json!({})).key(Key::Read);
    assert_eq!(refused.answer().await.expect(403).header("set-cookie"), "");
    let out = stack.api_at(1).call(Method::DELETE, SESSION).anonymous();
    let out = with(out.header("cookie", &cookie), &[OURS]);
    let gone = out.answer().await.expect(200);
    assert!(gone.header("set-cookie").contains("Max-Age=0"));
    let over = ask(0, SESSION, &[OURS]).await.expect(401);
    assert_eq!(over.error_code(), "unauthorized");
    assert_eq!(stack.database.count("console_sessions").await, 0);
}

/// A page of a sibling domain can plant a cookie of any name for us, but for one with the prefix.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_cookie_that_a_sibling_domain_planted_keeps_nobody_out() {
    let stack = Stack::with().workers(0).start().await;
    let planted = format!("push_console={}", "ab".repeat(32));
    // Behind a proxy that speaks TLS: the planted one is not even looked at.
    let secure = signed_in(&stack, &[OVER_TLS]).await;
    assert!(secure.starts_with("__Host-push_console="), "{secure}");
    let both = format!("{planted}; {secure}");
    let who = ask(&stack, &both, &[OVER_TLS]).await.expect(200);
    assert_eq!(who.json["name"], "all");
    let stolen = secure.replace("__Host-", "");
    for cookies in [&stolen, &planted] {
        let nobody = ask(&stack, cookies, &[OVER_TLS]).await.expect(401);
        assert_eq!(nobody.error_code(), "unauthorized");
    }
    // Without TLS there is no such prefix: each is tried.
    let plain = signed_in(&stack, &[]).await;
    assert!(plain.starts_with("push_console="), "{plain}");
    let both = format!("{planted}; {plain}");
    let who = ask(&stack, &both, &[]).await.expect(200);
    assert_eq!(who.json["name"], "all");
    // Signing out takes away the one by which one was signed in.
    let out = stack.api().call(Method::DELETE, SESSION).anonymous();
    let out = with(out.header("cookie", &secure), &[OURS, OVER_TLS]);
    let gone = out.answer().await.expect(200);
    let gone = gone.header("set-cookie");
    assert!(gone.starts_with("__Host-push_console=;"), "{gone}");
    assert!(gone.contains("Max-Age=0"), "{gone}");
}

/// As browsers do it, which send the one with the longer path first: over plain HTTP, and over TLS of our own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_stays_signed_in_beside_a_planted_cookie() {
    let stack = Stack::with().workers(0).start().await;
    let folder = tls_of_callers::Folder::new("console");
    let authority = Authority::new();
    authority
        .certify("localhost", Age::Fresh)
        .write_to(&folder.0);
    let files = [
        ("HTTP_TLS_CERT_FILE", folder.file("cert.pem")),
        ("HTTP_TLS_KEY_FILE", folder.file("key.pem")),
    ];
    let settings = tls_of_callers::with(&stack.api_settings(), &files);
    let mut over_tls = Program::start("push-api", "push-api over TLS", &settings).await;
    let url = over_tls.url();
    let (_, port) = url.rsplit_once(':').unwrap();
    let addresses = [
        (stack.apis[0].url(), "push_console"),
        (format!("https://localhost:{port}"), "__Host-push_console"),
    ];
    Browser::with(Look::DESK, async |page| {
        for (address, name) in addresses {
            page.open(&format!("{address}/admin/")).await;
            page.sees("h1", "Sign in").await;
            let planted = format!("push_console={}; path=/api/", "ab".repeat(32));
            let plant = "document.cookie = arguments[0]";
            page.run(plant, vec![json!(planted)]).await;
            sign_in_at(page, &address, Key::All.secret()).await;
            let cookies = page.cookies().await;
            let [cookie] = &cookies.as_array().unwrap()[..] else {
                panic!("not one cookie: {cookies}");
            };
            let told = [&cookie["name"], &cookie["secure"], &cookie["httpOnly"]];
            let secure = address.starts_with("https");
            assert_eq!(told, [&json!(name), &json!(secure), &json!(true)]);
            page.open(&format!("{address}/admin/#/operations")).await;
            page.sees("p", "There was no operation").await;
            page.click("button", "Sign out").await;
            page.sees("h1", "Sign in").await;
            page.open(&format!("{address}/admin/")).await;
            page.sees("h1", "Sign in").await;
        }
    })
    .await;
    assert_eq!(stack.database.count("console_sessions").await, 0);
    assert_eq!(over_tls.terminate().await, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn signing_in_again_ends_the_session_that_was_brought_and_no_other() {
    let stack = Stack::with().workers(0).start().await;
    let (mine, theirs) = (signed_in(&stack, &[]).await, signed_in(&stack, &[]).await);
    let anew = signed_in(&stack, &[("cookie", &mine)]).await;
    assert_ne!(anew, mine);
    let over = ask(&stack, &mine, &[]).await.expect(401);
    assert_eq!(over.error_code(), "unauthorized");
    for live in [&anew, &theirs] {
        let who = ask(&stack, live, &[]).await.expect(200);
        assert_eq!(who.json["name"], "all");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn sessions_that_are_over_are_forgotten_without_anybody_signing_in() {
    let mut stack = Stack::with().workers(0).start().await;
    let live = signed_in(&stack, &[]).await;
    // More than go at once.
    let over = "INSERT INTO console_sessions (session_hash, key_name, key_hash, expires_at) \
                WITH RECURSIVE n AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM n WHERE n < 40) \
                SELECT UNHEX(SHA2(CONCAT_WS('-', a.n, b.n), 256)), key_name, key_hash, NOW(3) - INTERVAL 2 HOUR \
                FROM console_sessions, n AS a, n AS b";
    stack.database.execute(over).await;
    assert_eq!(stack.database.count("console_sessions").await, 1601);
    stack.start_worker().await;
    eventually("those that are over are gone", async || {
        (stack.database.count("console_sessions").await == 1).then_some(())
    })
    .await;
    let who = ask(&stack, &live, &[]).await.expect(200);
    assert_eq!(who.json["name"], "all");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_taken_back_ends_its_session_and_the_page_says_so() {
    let keys = Mount::new("console-keys");
    let secret = "key-of-the-console-41c2";
    keys.say(
        "v1",
        &format!("{}\nops:read+admin:{secret}\n", Key::setting()),
    );
    let stack = Stack::with()
        .env_api("API_KEYS", "")
        .env_api("API_KEYS_FILE", &keys.file())
        .start()
        .await;
    stack.keep_secret(secret);
    Browser::with(Look::DESK, async |page| {
        sign_in_with(page, &stack, secret).await;
        page.sees("#who span", "ops").await;
        // In the middle of something.
        page.click("button", "Pause FCM").await;
        page.sees("dialog h2", "Pause FCM?").await;
        keys.say("v2", &Key::setting());
        page.sees("h1", "Sign in").await;
        page.sees("[role=alert]", "its key was taken back").await;
        page.misses("dialog").await;
        page.focuses("#key").await;
        // Nothing of what was seen stays there, and no way leads back to it.
        page.misses("main table").await;
        go(page, "#/dead-letters").await;
        page.sees("h1", "Sign in").await;
        page.fill("#key", secret).await;
        page.press("\u{e007}").await;
        page.sees("[role=alert]", "valid API key").await;
    })
    .await;
    let paused = "SELECT COUNT(*) FROM provider_switches WHERE paused";
    assert_eq!(stack.database.number(paused).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_may_do_less_is_told_what_it_lacks_and_can_do_the_rest() {
    let secret = "key-admin-only-7d20c5";
    let keys = format!("{},ops:admin:{secret}", Key::setting());
    let stack = Stack::with().env_api("API_KEYS", &keys).start().await;
    stack.keep_secret(secret);
    let phone = stack.register(1, Device::android_fcm("pixel")).await;
    let id = dead_letter(&stack, 1, &phone).await;
    Browser::with(Look::DESK, async |page| {
        page.open(&format!("{}/admin/", stack.apis[0].url())).await;
        // Whatever else it may do.
        for key in [Key::Read, Key::Send, Key::Register] {
            page.fill("#key", key.secret()).await;
            page.press("\u{e007}").await;
            page.sees("[role=alert]", "This key lacks the scope admin")
                .await;
            page.run(
                "document.querySelector('[role=alert]').remove()",
                Vec::new(),
            )
            .await;
        }
        sign_in_with(page, &stack, secret).await;
        page.sees(".note", "lacks the scope read: throughput").await;
        page.sees("dt", "Dead letters").await;
        page.click("nav a", "Search").await;
        page.sees(".note", "lacks the scope read, which the history needs")
            .await;
        go(page, &format!("#/notifications/{id}")).await;
        page.sees(".note", "lacks the scope read, which timelines need")
            .await;
        go(page, "#/customers/1").await;
        page.sees("td", "pixel").await;
        page.sees("p", "A test needs the scope send").await;
        page.sees("p", "The latest notifications need the scope read")
            .await;
        page.misses("main button.main").await;
        // What admins do is open to it.
        page.click("nav a", "Dead letters").await;
        page.click("td a", "operator must act").await;
        page.sees("h2", "Error trail").await;
        page.click("main button", "Replay").await;
        page.click("dialog button", "Replay").await;
        page.sees("dd", "replayed").await;
    })
    .await;
    stack.settled(&id).await;
    eventually("the phone rings", async || {
        (stack.sim.rings(&phone, &id).await == 1).then_some(())
    })
    .await;
}
