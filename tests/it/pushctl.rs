//! `pushctl`, as whoever types it sees it: what it answers, to people and to programs, and how it ends.

use push_tests::{
    Device, Ended, Environment, Key, Provider, Running, Stack, eventually, run_to_end,
};
use serde_json::{Value, json};

/// Where the service is, and a key with all scopes.
pub fn environment(stack: &Stack) -> Environment {
    environment_of(&stack.apis[0].url(), Key::All)
}

fn environment_of(url: &str, key: Key) -> Environment {
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    vec![pair("PUSH_URL", url), pair("PUSH_API_KEY", key.secret())]
}

/// Runs a command to its end.
pub async fn run(stack: &Stack, arguments: &[&str]) -> Ended {
    run_to_end("pushctl", arguments, &environment(stack)).await
}

/// What a command answers that has to end well.
pub async fn told(stack: &Stack, arguments: &[&str]) -> String {
    let ended = run(stack, arguments).await;
    assert_eq!(
        ended.code,
        Some(0),
        "{arguments:?}: {}{}",
        ended.stdout,
        ended.stderr
    );
    ended.stdout
}

/// The same for programs.
pub async fn json(stack: &Stack, arguments: &[&str]) -> Value {
    let arguments = [arguments, &["--json"]].concat();
    let told = told(stack, &arguments).await;
    serde_json::from_str(&told).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {told}"))
}

/// How a command ends that has to end so.
pub async fn fails(stack: &Stack, arguments: &[&str], code: i32) -> String {
    let ended = run(stack, arguments).await;
    assert_eq!(
        ended.code,
        Some(code),
        "{arguments:?}: {}{}",
        ended.stdout,
        ended.stderr
    );
    ended.stderr
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_is_sent_arrives_and_is_told_of() {
    let stack = Stack::start().await;
    let phone = stack.register(1, Device::android_fcm("pixel")).await;
    let text = told(&stack, &["test", "1", "--wait", "20"]).await;
    assert!(text.contains("sent") && text.contains("success"), "{text}");

    let title = "Hello \u{1b}[31m🚗";
    stack.keep_secret(title);
    let send = [
        "send",
        "1",
        "--title",
        title,
        "--body",
        "It works",
        "--data",
        "bookingId=456",
    ];
    let waits = [
        "--ttl",
        "1h",
        "--wait",
        "20",
        "--idempotency-key",
        "pushctl-1",
    ];
    let send = [&send[..], &waits[..]].concat();
    let sent = json(&stack, &send).await;
    let id = sent["notificationId"].as_str().unwrap().to_owned();
    assert_eq!(sent["status"], "sent");
    let again = json(&stack, &send).await;
    assert_eq!(again["notificationId"], id.as_str());
    assert_eq!(stack.sim.rings(&phone, &id).await, 1);
    let requests = stack.sim.requests(Provider::Fcm, phone.fcm()).await;
    let message = &requests.last().unwrap()["body"]["message"];
    assert_eq!(message["data"]["bookingId"], "456");

    let event = [
        "event",
        "technician_assigned",
        "--customer",
        "1",
        "--booking",
        "B456",
        "--track",
        "BID456",
    ];
    let event = [&event[..], &["--technician", "John", "--wait", "20"]].concat();
    assert!(told(&stack, &event).await.contains("sent"));
    assert!(told(&stack, &event).await.contains("ignored"));

    // The whole story, and nothing of it that a terminal would act on.
    let status = told(&stack, &["status", &id]).await;
    for part in [
        "Hello \\u{1b}[31m🚗",
        "bookingId=456",
        "pixel",
        "accepted",
        "settled",
        "Status sent",
    ] {
        assert!(status.contains(part), "{part}: {status}");
    }
    assert!(!status.contains('\u{1b}'), "{status:?}");
    let followed = told(&stack, &["status", &id, "--follow"]).await;
    assert!(followed.contains("Status sent"), "{followed}");
    let document = json(&stack, &["status", &id]).await;
    assert_eq!(document["title"], title);

    let page = json(&stack, &["history", "--customer", "1"]).await;
    assert_eq!(page["items"].as_array().unwrap().len(), 3);
    let lines = told(&stack, &["history", "--from", "1h", "--all", "--json"]).await;
    let ids: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["notificationId"].clone())
        .collect();
    assert_eq!(ids.len(), 3);
    let of_booking = told(&stack, &["history", "--booking", "B456"]).await;
    assert_eq!(of_booking.lines().count(), 2, "{of_booking}");
    let first = run(&stack, &["history", "--limit", "2"]).await;
    assert_eq!(first.stdout.lines().count(), 3, "{}", first.stdout);
    let cursor = first.stderr.trim().rsplit(' ').next().unwrap().to_owned();
    let rest = told(&stack, &["history", "--limit", "2", "--cursor", &cursor]).await;
    assert_eq!(rest.lines().count(), 2, "{rest}");
    let none = run(&stack, &["history", "--status", "failed"]).await;
    assert_eq!((none.code, none.stdout.as_str()), (Some(0), ""));

    let stats = told(&stack, &["stats", "--group-by", "type"]).await;
    assert!(stats.contains("technician_assigned"), "{stats}");
    let figures = json(&stack, &["stats", "--interval", "day", "--from", "7d"]).await;
    assert_eq!(figures["totals"]["sent"], 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_is_not_sent_is_told_by_the_exit_code() {
    let stack = Stack::start().await;
    stack.know_customer(1).await;
    let text = fails(&stack, &["test", "1", "--wait", "20"], 1).await;
    assert!(text.contains("pushctl status"), "{text}");
    let phone = stack.register(1, Device::android_fcm("pixel")).await;

    // Held back by the lever, taken back by a caller.
    assert!(
        told(&stack, &["providers", "pause", "fcm"])
            .await
            .contains("fcm")
    );
    eventually("the workers have seen it", async || {
        let told = json(&stack, &["queues"]).await;
        let lane = &told["providers"][0];
        (lane["workers"][0]["state"] == "paused").then_some(())
    })
    .await;
    let id = json(&stack, &["test", "1", "--wait", "0"]).await["notificationId"]
        .as_str()
        .unwrap()
        .to_owned();
    let waits = fails(&stack, &["test", "1", "--wait", "1"], 1).await;
    assert!(waits.contains("still pending"), "{waits}");
    let mut follower = Running::start(
        "pushctl",
        &["status", &id, "--follow"],
        &environment(&stack),
    );
    eventually("it tells what there is", async || {
        follower.log().says("Timeline").then_some(())
    })
    .await;
    assert!(told(&stack, &["cancel", &id]).await.contains("cancelled"));
    assert_eq!(follower.ended().await, Some(1), "it was not sent");
    assert!(follower.log().says("Status suppressed (cancelled)"));
    let queues = told(&stack, &["queues"]).await;
    for part in ["push.jobs", "connected", "paused by all"] {
        assert!(queues.contains(part), "{part}: {queues}");
    }
    assert_eq!(
        json(&stack, &["providers", "resume", "fcm"]).await["paused"],
        false
    );
    stack.all_settled().await;
    assert_eq!(stack.sim.rings(&phone, &id).await, 0);
    let late = fails(&stack, &["cancel", &id], 0).await;
    assert_eq!(late, "", "to cancel once more changes nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_customer_is_looked_at_and_erased_only_after_a_yes() {
    let stack = Stack::start().await;
    stack.register(1, Device::android_fcm("pixel")).await;
    told(&stack, &["test", "1", "--wait", "20"]).await;
    let text = told(&stack, &["customers", "show", "1"]).await;
    for part in ["pixel", "push          on", "Test Push Notification"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let document = json(&stack, &["customers", "show", "1"]).await;
    assert_eq!(document["customer"]["devices"][0]["deviceId"], "pixel");
    assert_eq!(document["history"]["items"][0]["status"], "sent");
    fails(&stack, &["customers", "show", "404404"], 5).await;

    let asked = fails(&stack, &["customers", "erase", "1"], 2).await;
    assert!(asked.contains("--yes"), "{asked}");
    assert_eq!(
        json(&stack, &["customers", "show", "1"]).await["customer"]["devices"][0]["deviceId"],
        "pixel"
    );
    let erased = json(&stack, &["customers", "erase", "1", "--yes"]).await;
    assert_eq!(
        (&erased["state"], &erased["kind"]),
        (&json!("done"), &json!("erase_customer"))
    );
    let after = json(&stack, &["customers", "show", "1"]).await;
    assert_eq!(after["customer"]["devices"], json!([]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_exit_code_tells_who_is_to_blame() {
    let stack = Stack::with().through_links().start().await;
    stack.all_ready().await;
    let url = stack.apis[0].url();
    let mut without_key = environment(&stack);
    without_key.retain(|(name, _)| name == "PUSH_URL");
    let ended = run_to_end("pushctl", &["history"], &without_key).await;
    assert_eq!(ended.code, Some(4));
    assert!(ended.stderr.contains("PUSH_API_KEY"), "{}", ended.stderr);
    let mut wrong_key = without_key.clone();
    wrong_key.push(("PUSH_API_KEY".to_owned(), "nobodys-key-at-all".to_owned()));
    let ended = run_to_end("pushctl", &["history", "--json"], &wrong_key).await;
    assert_eq!(ended.code, Some(4));
    assert!(ended.stderr.contains("request id"), "{}", ended.stderr);
    let answer: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(answer["code"], "unauthorized", "an answer is an answer");
    let reader = environment_of(&url, Key::Read);
    let ended = run_to_end("pushctl", &["queues"], &reader).await;
    assert_eq!(ended.code, Some(4));
    assert!(ended.stderr.contains("admin"), "{}", ended.stderr);

    let nobody = uuid::Uuid::new_v4().to_string();
    for path in ["status", "cancel"] {
        fails(&stack, &[path, &nobody], 5).await;
    }
    fails(&stack, &["operations", "show", &nobody], 5).await;
    let wrong = fails(&stack, &["send", "1", "--title", "", "--body", ""], 1).await;
    for field in ["title", "body"] {
        assert!(wrong.contains(field), "{wrong}");
    }
    fails(&stack, &["history", "--from", "yesterday"], 2).await;
    fails(&stack, &["no-such-command"], 2).await;

    let gone = environment_of("http://127.0.0.1:1", Key::All);
    let ended = run_to_end("pushctl", &["queues"], &gone).await;
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    // Something that answers, and is not push-api.
    let other = environment_of(&stack.workers[0].url(), Key::All);
    let ended = run_to_end("pushctl", &["queues"], &other).await;
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);

    stack.links().api_database.cut();
    let busy = fails(&stack, &["stats"], 6).await;
    assert!(busy.contains("try again in"), "{busy}");
    let lost = fails(&stack, &["test", "1"], 6).await;
    assert!(lost.contains("--idempotency-key"), "{lost}");
    stack.links().restore();
}

/// Completions, the manual, a reader that has gone: none of it asks the service.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn shells_and_manuals_are_served_and_nobody_listening_is_no_failure() {
    for shell in ["bash", "zsh", "fish"] {
        let ended = run_to_end("pushctl", &["completions", shell], &Vec::new()).await;
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert!(ended.stdout.contains("providers"), "{shell}");
    }
    let page = run_to_end("pushctl", &["man"], &Vec::new()).await;
    assert!(page.stdout.contains(".TH pushctl"), "{}", page.stdout);
    let folder = std::env::temp_dir().join(format!("pushctl-man-{}", uuid::Uuid::new_v4()));
    let dir = folder.to_str().unwrap();
    let ended = run_to_end("pushctl", &["man", "--dir", dir], &Vec::new()).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(folder.join("pushctl-dead-replay.1").is_file());
    std::fs::remove_dir_all(&folder).unwrap();
    let help = run_to_end("pushctl", &["--help"], &Vec::new()).await;
    assert!(help.stdout.contains("Exit codes"), "{}", help.stdout);
    let mut unheard = Running::start_unheard("pushctl", &["completions", "bash"], &Vec::new());
    assert_eq!(unheard.ended().await, Some(0));
    assert_eq!(unheard.log().lines(), [""; 0], "no panic, no complaint");
}

/// What `script` shows is what a terminal would.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn colours_are_for_terminals_that_want_them_and_a_question_needs_a_yes() {
    let stack = Stack::start().await;
    stack.register(1, Device::android_fcm("pixel")).await;
    let program = push_tests::program("pushctl");
    let on_terminal = async |line: &str, more: &[(&str, &str)]| {
        let mut settings = environment(&stack);
        settings.push(("TERM".to_owned(), "xterm".to_owned()));
        settings.extend(
            more.iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
        );
        let line = format!("{} {line}", program.display());
        run_to_end("/usr/bin/script", &["-qec", &line, "/dev/null"], &settings).await
    };
    let colourful = on_terminal("queues", &[]).await;
    assert_eq!(colourful.code, Some(0), "{}", colourful.stdout);
    assert!(
        colourful.stdout.contains("\u{1b}[32m"),
        "{:?}",
        colourful.stdout
    );
    let plain = on_terminal("queues", &[("NO_COLOR", "1")]).await;
    assert!(!plain.stdout.contains("\u{1b}["), "{:?}", plain.stdout);
    // Nobody types anything: that is no yes.
    let asked = on_terminal("customers erase 1", &[]).await;
    assert_eq!(asked.code, Some(1), "{}", asked.stdout);
    assert!(asked.stdout.contains("[y/N]") && asked.stdout.contains("nothing was done"));
    assert_eq!(
        json(&stack, &["customers", "show", "1"]).await["customer"]["devices"][0]["deviceId"],
        "pixel"
    );
}
