//! What was given up is tried again when somebody says so: for the device that failed, once.

use futures::future::join_all;
use push_tests::{Answer, Device, Key, Phone, Provider, Row, Stack, eventually};
use serde_json::{Value, json};

/// What an operator can mend: one try, then a dead letter.
async fn refused_once(stack: &Stack, phone: &Phone) {
    stack.expect_errors("an operator must act");
    let script = json!([{"case": "sender_id_mismatch"}]);
    stack.sim.script(Provider::Fcm, phone.fcm(), script).await;
}

/// The newest dead letter of a notification.
async fn letter(stack: &Stack, notification: &str) -> u64 {
    let letters = stack.database.dead_letters_of(notification).await;
    letters.last().expect("a dead letter").id
}

async fn act(stack: &Stack, letter: u64, what: &str, body: &Value, status: u16) -> Answer {
    let path = format!("/api/Push/admin/deadLetters/{letter}/{what}");
    stack.api().post(&path, body).answer().await.expect(status)
}

async fn replay(stack: &Stack, letter: u64, status: u16) -> Answer {
    act(stack, letter, "replay", &json!({}), status).await
}

/// Waits until a notification has ended so.
async fn becomes(stack: &Stack, id: &str, status: &str, fcm: &str) -> Row {
    eventually(&format!("{id} is {status}"), async || {
        let row = stack.settled(id).await;
        (row.status == status && row.fcm_result == fcm).then_some(row)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_replay_goes_to_the_device_that_failed_and_to_no_other() {
    let stack = Stack::start().await;
    let good = stack.register(1, Device::ios_expo("good")).await;
    let bad = stack.register(1, Device::android_fcm("bad")).await;
    refused_once(&stack, &bad).await;
    let id = stack.send(1).wait(20).answer().await.expect(200).id();
    let row = stack.settled(&id).await;
    assert_eq!(
        (row.status.as_str(), row.fcm_result.as_str()),
        ("sent", "failed")
    );
    let letter = letter(&stack, &id).await;

    let path = format!("/api/Push/admin/deadLetters/{letter}/replay");
    let call = || stack.api().call(reqwest::Method::POST, &path);
    assert_eq!(
        call().anonymous().answer().await.expect(401).error_code(),
        "unauthorized"
    );
    for key in [Key::Read, Key::Send, Key::Register] {
        assert_eq!(
            call().key(key).answer().await.expect(403).error_code(),
            "forbidden"
        );
    }
    // The body may be missing.
    let answer = call().answer().await.expect(202);
    assert_eq!(answer.json["success"], true);

    let row = becomes(&stack, &id, "sent", "success").await;
    assert_eq!(
        (row.reason.as_str(), row.expo_result.as_str()),
        ("", "success")
    );
    assert_eq!(stack.sim.rings(&bad, &id).await, 1);
    assert_eq!(stack.sim.rings(&good, &id).await, 1, "it had it");
    let view = stack.notification(&id).await;
    let told = view["timeline"].as_array().unwrap();
    let told = told
        .iter()
        .find(|entry| entry["step"] == "replayed")
        .unwrap();
    assert!(
        told["text"]
            .as_str()
            .unwrap()
            .starts_with("replayed by all: fcm "),
        "{told}"
    );
    let again = replay(&stack, letter, 409).await;
    assert_eq!(again.error_code(), "already_replayed");
    assert_eq!(
        replay(&stack, 999, 404).await.error_code(),
        "unknown_dead_letter"
    );
    let path = "/api/push/admin/deadletters/x/replay";
    let nobody = stack
        .api()
        .post(path, &json!({}))
        .answer()
        .await
        .expect(404);
    assert_eq!(nobody.error_code(), "unknown_dead_letter");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_replay_asks_for_the_token_afresh_and_what_fails_again_is_a_new_dead_letter() {
    let stack = Stack::start().await;
    let old = stack.register(1, Device::android_fcm("pixel")).await;
    refused_once(&stack, &old).await;
    let id = stack.send(1).wait(20).answer().await.expect(200).id();
    let first = letter(&stack, &id).await;
    // The app was installed anew.
    let new = stack.register(1, Device::android_fcm("pixel")).await;
    refused_once(&stack, &new).await;
    replay(&stack, first, 202).await;
    let second = eventually("it is given up again", async || {
        let letters = stack.database.dead_letters_of(&id).await;
        (letters.len() == 2).then(|| letters[1].clone())
    })
    .await;
    assert_eq!(
        (second.reason.as_str(), second.attempts),
        ("operator_must_act", 1)
    );
    assert_eq!(
        second.trail.as_array().unwrap().len(),
        2,
        "the whole trail: {}",
        second.trail
    );
    let row = becomes(&stack, &id, "failed", "failed").await;
    assert_eq!(row.reason, "dead_lettered");
    assert_eq!(
        stack.sim.sends(Provider::Fcm, old.fcm()).await,
        1,
        "the old token is not used"
    );
    replay(&stack, first, 409).await;
    replay(&stack, second.id, 202).await;
    let row = becomes(&stack, &id, "sent", "success").await;
    assert_eq!(row.reason, "");
    assert_eq!(stack.sim.rings(&new, &id).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn many_who_replay_the_same_at_once_send_once() {
    let stack = Stack::with().apis(2).workers(2).start().await;
    let phone = stack.register(1, Device::android_fcm("pixel")).await;
    refused_once(&stack, &phone).await;
    let id = stack.send(1).wait(20).answer().await.expect(200).id();
    let letter = letter(&stack, &id).await;
    let path = format!("/api/Push/admin/deadLetters/{letter}/replay");
    let calls = (0..12).map(|who| {
        let api = stack.api_at(who % 2);
        let path = path.clone();
        async move { api.post(&path, &json!({})).answer().await.status }
    });
    let mut answers = join_all(calls).await;
    answers.sort_unstable();
    assert_eq!(answers[0], 202);
    assert!(
        answers[1..].iter().all(|status| *status == 409),
        "{answers:?}"
    );
    becomes(&stack, &id, "sent", "success").await;
    assert_eq!(stack.sim.rings(&phone, &id).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_has_expired_needs_more_time() {
    let stack = Stack::start().await;
    let phone = stack.register(1, Device::android_fcm("pixel")).await;
    refused_once(&stack, &phone).await;
    let id = stack.send(1).wait(20).answer().await.expect(200).id();
    let letter = letter(&stack, &id).await;
    let over = "UPDATE notification_history SET expires_at = NOW(3) - INTERVAL 1 MINUTE";
    stack.database.execute(over).await;
    let refused = replay(&stack, letter, 409).await;
    assert_eq!(refused.error_code(), "expired");
    for wrong in [json!(0), json!(-1), json!(2_419_201), json!("1h")] {
        let body = json!({"extendTtlSeconds": wrong});
        let answer = act(&stack, letter, "replay", &body, 400).await;
        assert_eq!(answer.wrong_fields(), ["extendTtlSeconds"]);
    }
    act(
        &stack,
        letter,
        "replay",
        &json!({"extendTtlSeconds": 600}),
        202,
    )
    .await;
    becomes(&stack, &id, "sent", "success").await;
    assert_eq!(stack.sim.rings(&phone, &id).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_is_discarded_is_not_replayed_and_says_by_whom() {
    let stack = Stack::start().await;
    let phone = stack.register(1, Device::android_fcm("pixel")).await;
    refused_once(&stack, &phone).await;
    let id = stack.send(1).wait(20).answer().await.expect(200).id();
    let letter = letter(&stack, &id).await;
    for wrong in [
        json!({}),
        json!({"reason": " "}),
        json!({"reason": "x".repeat(256)}),
    ] {
        let answer = act(&stack, letter, "discard", &wrong, 400).await;
        assert_eq!(answer.wrong_fields(), ["reason"]);
    }
    let why = json!({"reason": "the customer has called"});
    act(&stack, letter, "discard", &why, 200).await;
    let again = act(&stack, letter, "discard", &why, 409).await;
    assert_eq!(again.error_code(), "already_discarded");
    assert_eq!(
        replay(&stack, letter, 409).await.error_code(),
        "already_discarded"
    );
    let audit = "SELECT CONCAT(discarded_by, ': ', discard_reason) FROM dead_letters";
    assert_eq!(
        stack.database.texts(audit).await,
        ["all: the customer has called"]
    );
    assert_eq!(stack.sim.rings(&phone, &id).await, 0);
    assert_eq!(stack.settled(&id).await.status, "failed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_cannot_be_replayed_says_what_to_do() {
    let stack = Stack::start().await;
    let phone = stack.register(1, Device::android_fcm("pixel")).await;
    refused_once(&stack, &phone).await;
    let id = stack.send(1).wait(20).answer().await.expect(200).id();
    let letter = letter(&stack, &id).await;
    let erased =
        "UPDATE notification_history SET title = '', body = '', data = NULL, sealed = NULL";
    stack.database.execute(erased).await;
    let refused = replay(&stack, letter, 409).await;
    assert_eq!(refused.error_code(), "not_replayable");
    assert!(refused.json["message"].as_str().unwrap().contains("erased"));
    stack
        .database
        .execute("UPDATE dead_letters SET notification_id = UNHEX(REPLACE(UUID(), '-', ''))")
        .await;
    let refused = replay(&stack, letter, 409).await;
    assert_eq!(refused.error_code(), "not_replayable");
    assert!(
        refused.json["message"]
            .as_str()
            .unwrap()
            .contains("no such notification")
    );
    let row = stack.settled(&id).await;
    assert_eq!(row.status, "failed", "nothing was changed");
    stack
        .database
        .execute(&format!(
            "UPDATE dead_letters SET notification_id = UNHEX('{}')",
            id.replace('-', "")
        ))
        .await;
}

/// The commit counts: whoever should have published may be gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_replay_that_nobody_published_is_found_by_the_reconciler() {
    let stack = Stack::with()
        .through_links()
        .env_api("RECONCILE_AFTER", "1s")
        .env_worker("RECONCILE_AFTER", "1s")
        .start()
        .await;
    stack.all_ready().await;
    let phone = stack.register(1, Device::android_fcm("pixel")).await;
    refused_once(&stack, &phone).await;
    let id = stack.send(1).wait(20).answer().await.expect(200).id();
    let letter = letter(&stack, &id).await;
    stack.links().api_broker.cut();
    replay(&stack, letter, 202).await;
    becomes(&stack, &id, "sent", "success").await;
    assert_eq!(stack.sim.rings(&phone, &id).await, 1);
    stack.links().restore();
}

/// A worker rejects it, and says why all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_interrupts_one_worker_after_the_other_is_beyond_the_limit_and_can_be_replayed() {
    let mut stack = Stack::start().await;
    stack.all_ready().await;
    stack.expect_errors("one worker after the other was interrupted");
    let phone = stack.register(1, Device::android_fcm("pixel")).await;
    assert_eq!(stack.terminate_worker().await, Some(0));
    let id = stack.send(1).accepted().await;
    // As if twenty workers had died with it, and one more.
    let killed = "UPDATE notification_history SET interruptions = 20, claimed_by = UNHEX(REPLACE(UUID(), '-', '')), \
                  claimed_until = NOW(3)";
    stack.database.execute(killed).await;
    stack.start_worker().await;
    let row = stack.settled(&id).await;
    assert_eq!(row.reason, "dead_lettered");
    let letters = stack.database.dead_letters_of(&id).await;
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].reason, "delivery_limit");
    assert_eq!(stack.sim.sends(Provider::Fcm, phone.fcm()).await, 0);
    replay(&stack, letters[0].id, 202).await;
    becomes(&stack, &id, "sent", "success").await;
    assert_eq!(stack.sim.rings(&phone, &id).await, 1);
    let view = stack.notification(&id).await;
    assert_eq!(
        view["deliveries"][0]["maybeDelivered"], true,
        "nobody knows what they sent"
    );
}
