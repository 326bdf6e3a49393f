//! `pushctl dead` and `pushctl operations`: from a look at what was given up to the phone that gets it after all.

use push_tests::{Device, Phone, Provider, Running, Stack, eventually};
use serde_json::{Value, json};

use crate::pushctl::{environment, fails, json, told};

/// So many notifications to one phone, all given up for a reason that an operator has mended since.
async fn given_up(stack: &Stack, customer: i64, count: usize) -> (Phone, Vec<String>) {
    stack.expect_errors("an operator must act");
    let name = format!("phone-{customer}");
    let phone = stack.register(customer, Device::android_fcm(&name)).await;
    let refuse = json!({"case": "sender_id_mismatch"});
    stack.sim.always(Provider::Fcm, phone.fcm(), refuse).await;
    let ids = stack.send_many(customer, count).await;
    stack.all_settled().await;
    eventually("the letters are recorded", async || {
        let recorded = stack.database.count("dead_letters").await;
        (recorded >= i64::try_from(count).unwrap()).then_some(())
    })
    .await;
    stack
        .sim
        .script(Provider::Fcm, phone.fcm(), json!([]))
        .await;
    (phone, ids)
}

/// The ids of the open letters, the newest first.
async fn open(stack: &Stack) -> Vec<String> {
    let page = json(
        stack,
        &["dead", "list", "--state", "open", "--limit", "200"],
    )
    .await;
    let items = page["items"].as_array().unwrap();
    items.iter().map(|item| item["id"].to_string()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_letter_is_looked_at_replayed_and_reaches_the_phone() {
    let stack = Stack::start().await;
    let (phone, ids) = given_up(&stack, 1, 3).await;
    let table = told(
        &stack,
        &[
            "dead",
            "list",
            "--reason",
            "operator_must_act",
            "--from",
            "1h",
        ],
    )
    .await;
    assert_eq!(table.matches("SENDER_ID_MISMATCH").count(), 3, "{table}");
    let letters = open(&stack).await;
    let detail = told(&stack, &["dead", "show", &letters[0]]).await;
    for part in ["SENDER_ID_MISMATCH", "dead_lettered", "pushctl dead replay"] {
        assert!(detail.contains(part), "{part}: {detail}");
    }
    assert_eq!(
        json(&stack, &["dead", "show", &letters[0]]).await["state"],
        "open"
    );

    told(&stack, &["dead", "replay", &letters[0]]).await;
    let id = json(&stack, &["dead", "show", &letters[0]]).await["notificationId"].clone();
    let id = id.as_str().unwrap();
    assert!(ids.iter().any(|known| known == id));
    assert_eq!(stack.sim.rings(&phone, id).await, 1);
    // Once is enough, and the second one is none of its business.
    let twice = fails(&stack, &["dead", "replay", &letters[0], &letters[1]], 1).await;
    assert!(
        twice.contains("already_replayed") && twice.contains("is sent"),
        "{twice}"
    );
    assert_eq!(stack.sim.rings(&phone, id).await, 1);

    let over = "UPDATE notification_history SET expires_at = NOW(3) - INTERVAL 1 MINUTE WHERE status = 'failed'";
    stack.database.execute(over).await;
    let expired = fails(&stack, &["dead", "replay", &letters[2]], 1).await;
    assert!(expired.contains("expired"), "{expired}");
    told(
        &stack,
        &["dead", "replay", &letters[2], "--extend-ttl", "1h"],
    )
    .await;
    assert_eq!(open(&stack).await, [""; 0]);

    fails(&stack, &["dead", "show", "99999"], 5).await;
    fails(&stack, &["dead", "replay", "99999"], 5).await;
    let (_, _) = given_up(&stack, 2, 1).await;
    let letter = open(&stack).await.remove(0);
    let discarded = json(
        &stack,
        &["dead", "discard", &letter, "--because", "the app is gone"],
    )
    .await;
    assert_eq!(
        (&discarded["success"], discarded["id"].to_string()),
        (&json!(true), letter.clone())
    );
    fails(
        &stack,
        &["dead", "discard", &letter, "--because", "again"],
        1,
    )
    .await;
    let detail = told(&stack, &["dead", "show", &letter]).await;
    assert!(detail.contains("the app is gone"), "{detail}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn many_letters_are_counted_asked_for_and_followed_to_the_end() {
    let stack = Stack::start().await;
    let (phone, ids) = given_up(&stack, 1, 30).await;
    given_up(&stack, 2, 3).await;
    let filter = [
        "--customer",
        "1",
        "--provider",
        "fcm",
        "--replayed",
        "false",
    ];
    let replay = [&["dead", "replay"], &filter[..]].concat();
    let counted = json(&stack, &[&replay[..], &["--dry-run"]].concat()).await;
    assert_eq!(counted["count"], 30);
    let asked = fails(&stack, &replay, 2).await;
    assert!(
        asked.contains("Replay 30 dead letters") && asked.contains("--yes"),
        "{asked}"
    );
    assert_eq!(open(&stack).await.len(), 33, "nothing was done");

    let follower = [&replay[..], &["--per-second", "100", "--yes"]].concat();
    let mut follower = Running::start("pushctl", &follower, &environment(&stack));
    assert_eq!(
        follower.ended().await,
        Some(0),
        "{:?}",
        follower.log().lines()
    );
    for part in ["handled: ", "30 of 30", "done"] {
        assert!(
            follower.log().says(part),
            "{part}: {:?}",
            follower.log().lines()
        );
    }
    stack.all_settled().await;
    for id in &ids {
        assert_eq!(stack.sim.rings(&phone, id).await, 1);
    }
    let nothing = json(&stack, &replay).await;
    assert_eq!(nothing["count"], 0, "nothing to do, and nothing to ask");

    let discard = [
        "dead",
        "discard",
        "--all",
        "--because",
        "an old app",
        "--yes",
        "--no-wait",
    ];
    let id = told(&stack, &discard).await.trim().to_owned();
    let followed = told(&stack, &["operations", "show", &id, "--follow"]).await;
    assert!(
        followed.contains("3 of 3") && followed.contains("an old app"),
        "{followed}"
    );
    let listed = told(&stack, &["operations", "list"]).await;
    assert!(
        listed.contains(&id) && listed.contains("replay_dead_letters"),
        "{listed}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn ctrl_c_stops_following_and_not_the_operation() {
    let stack = Stack::start().await;
    let (phone, ids) = given_up(&stack, 1, 30).await;
    let replay = ["dead", "replay", "--all", "--per-second", "4", "--yes"];
    let mut follower = Running::start("pushctl", &replay, &environment(&stack));
    let running = async |done: u64| {
        let listed = json(&stack, &["operations", "list"]).await;
        let operation = &listed["items"][0];
        let is_far = operation["done"].as_u64()? >= done && operation["state"] == "running";
        is_far.then(|| operation["operationId"].as_str().unwrap().to_owned())
    };
    let id = eventually("it is under way, and told of", async || {
        let id = running(1).await?;
        follower.log().says("handled: ").then_some(id)
    })
    .await;
    follower.interrupt();
    assert_eq!(
        follower.ended().await,
        Some(130),
        "{:?}",
        follower.log().lines()
    );
    for part in [
        format!("operations show {id} --follow"),
        format!("cancel {id}"),
    ] {
        assert!(
            follower.log().says(&part),
            "{part}: {:?}",
            follower.log().lines()
        );
    }
    let before = done(&stack, &id).await;
    eventually("it goes on", async || {
        (done(&stack, &id).await > before).then_some(())
    })
    .await;

    assert_eq!(
        json(&stack, &["operations", "cancel", &id]).await["state"],
        "cancelled"
    );
    let ended = fails(&stack, &["operations", "show", &id, "--follow"], 1).await;
    assert!(ended.contains("cancelled"), "{ended}");
    fails(&stack, &["operations", "cancel", &id], 1).await;
    stack.all_settled().await;
    let mut rung = 0;
    for id in &ids {
        rung += stack.sim.rings(&phone, id).await;
    }
    assert_eq!(rung, done(&stack, &id).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_outage_while_it_follows_is_told_and_waited_out() {
    let stack = Stack::with().through_links().start().await;
    stack.all_ready().await;
    let (phone, ids) = given_up(&stack, 1, 12).await;
    let replay = ["dead", "replay", "--all", "--per-second", "3", "--yes"];
    let mut follower = Running::start("pushctl", &replay, &environment(&stack));
    eventually("it is under way", async || {
        follower.log().says("handled: ").then_some(())
    })
    .await;
    stack.links().api_database.cut();
    eventually("it tells that nobody answers", async || {
        follower.log().says("Looking again").then_some(())
    })
    .await;
    stack.links().restore();
    assert_eq!(
        follower.ended().await,
        Some(0),
        "{:?}",
        follower.log().lines()
    );
    assert!(follower.log().says("12 of 12"));
    stack.all_settled().await;
    for id in &ids {
        assert_eq!(stack.sim.rings(&phone, id).await, 1);
    }
}

async fn done(stack: &Stack, id: &str) -> u64 {
    let told: Value = json(stack, &["operations", "show", id]).await;
    told["done"].as_u64().unwrap()
}
