//! What is given up is kept, with all that led to it.

use push_tests::{Broker, Device, Provider, Stack, eventually};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_exhausted_ladder_ends_as_a_dead_letter_with_its_trail() {
    let stack = Stack::start().await;
    let good = stack.register(1, Device::ios_expo("good")).await;
    let bad = stack.register(1, Device::android_fcm("bad")).await;
    let lone = stack.register(2, Device::android_fcm("lone")).await;
    for phone in [&bad, &lone] {
        stack
            .sim
            .always(Provider::Fcm, phone.fcm(), json!({"case": "unavailable"}))
            .await;
    }
    let lone_id = stack.send(2).accepted().await;
    let mixed_id = stack.send(1).accepted().await;

    let row = stack.settled(&lone_id).await;
    assert_eq!(
        (row.status.as_str(), row.reason.as_str()),
        ("failed", "dead_lettered")
    );
    assert_eq!(
        (
            row.fcm_result.as_str(),
            row.expo_result.as_str(),
            row.attempts
        ),
        ("failed", "not_sent", 4)
    );
    assert_eq!(
        stack.sim.sends(Provider::Fcm, lone.fcm()).await,
        4,
        "tries = 1 + number of rungs"
    );

    // One of two devices was reached: the notification is sent, and the other device's failure is kept.
    let row = stack.settled(&mixed_id).await;
    assert_eq!((row.status.as_str(), row.reason.as_str()), ("sent", ""));
    assert_eq!(
        (row.fcm_result.as_str(), row.expo_result.as_str()),
        ("failed", "success")
    );
    assert_eq!(stack.sim.rings(&good, &mixed_id).await, 1);

    for (id, phone) in [(&lone_id, &lone), (&mixed_id, &bad)] {
        let letters = stack.database.dead_letters_of(id).await;
        assert_eq!(letters.len(), 1, "one row a target: {letters:?}");
        let letter = &letters[0];
        assert_eq!(
            (
                letter.provider.as_str(),
                letter.reason.as_str(),
                letter.attempts
            ),
            ("fcm", "retries_exhausted", 4)
        );
        assert_eq!(letter.error_code, "UNAVAILABLE");
        assert!(letter.has_job, "kept for a replay");
        let (_, shown) = letter.token_masked.split_once('…').unwrap();
        assert!(
            phone.fcm().ends_with(shown) && shown.len() <= 4,
            "masked: {shown}"
        );
        let trail = letter.trail.as_array().unwrap();
        assert_eq!(trail.len(), 4, "all attempts: {trail:?}");
        for entry in trail {
            assert_eq!(
                (&entry["provider"], &entry["code"]),
                (&json!("fcm"), &json!("UNAVAILABLE"))
            );
            assert!(entry["at"].is_string() && entry["text"].is_string());
        }
        let times: Vec<&Value> = trail.iter().map(|entry| &entry["at"]).collect();
        assert!(
            times.is_sorted_by_key(|at| at.as_str().unwrap().to_owned()),
            "oldest first"
        );
        let view = stack.notification(id).await;
        let steps: Vec<&str> = view["timeline"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|entry| entry["step"].as_str())
            .collect();
        assert!(
            steps.contains(&"dead_lettered") && steps.last() == Some(&"settled"),
            "{steps:?}"
        );
        let delivery = view["deliveries"]
            .as_array()
            .unwrap()
            .iter()
            .find(|delivery| delivery["provider"] == "fcm")
            .unwrap();
        assert_eq!(delivery["outcome"], "dead_lettered");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_an_operator_can_mend_is_not_tried_again_and_kept() {
    let stack = Stack::start().await;
    stack.expect_errors("an operator must act");
    let cases = [
        (Provider::Fcm, "sender_id_mismatch", "SENDER_ID_MISMATCH"),
        (Provider::Fcm, "iam_permission_denied", ""),
        (Provider::Fcm, "third_party_auth", "THIRD_PARTY_AUTH_ERROR"),
        (
            Provider::Expo,
            "ticket_invalid_credentials",
            "InvalidCredentials",
        ),
        (Provider::Expo, "unauthorized", ""),
    ];
    for (customer, (provider, case, code)) in (1..).zip(cases) {
        let device = if provider == Provider::Fcm {
            Device::android_fcm(case)
        } else {
            Device::ios_expo(case)
        };
        let phone = stack.register(customer, device).await;
        let token = if provider == Provider::Fcm {
            phone.fcm()
        } else {
            phone.expo()
        };
        stack
            .sim
            .script(provider, token, json!([{"case": case}]))
            .await;
        let answer = stack.send(customer).wait(20).answer().await.expect(200);
        assert_eq!(
            (&answer.json["success"], &answer.json["status"]),
            (&json!(true), &json!("failed")),
            "{case}"
        );
        let row = stack.settled(&answer.id()).await;
        assert_eq!(
            (row.reason.as_str(), row.attempts),
            ("dead_lettered", 1),
            "{case}"
        );
        let letters = stack.database.dead_letters_of(&answer.id()).await;
        assert_eq!(letters.len(), 1, "{case}");
        assert_eq!(
            (letters[0].reason.as_str(), letters[0].provider.as_str()),
            ("operator_must_act", provider.as_str()),
            "{case}"
        );
        assert!(
            code.is_empty() || letters[0].error_code == code,
            "{case}: {}",
            letters[0].error_code
        );
        // A wrong key of ours would otherwise wipe every token.
        let again = stack.send(customer).wait(20).answer().await.expect(200);
        assert_eq!(again.json["status"], "sent", "{case}: the token is alive");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_a_provider_will_never_take_fails_at_once() {
    let stack = Stack::start().await;
    for (customer, provider, case) in [
        (1, Provider::Fcm, "too_big_android"),
        (2, Provider::Fcm, "bare_invalid_argument"),
        (3, Provider::Expo, "ticket_message_too_big"),
    ] {
        let device = if provider == Provider::Fcm {
            Device::android_fcm(case)
        } else {
            Device::ios_expo(case)
        };
        let phone = stack.register(customer, device).await;
        let token = if provider == Provider::Fcm {
            phone.fcm()
        } else {
            phone.expo()
        };
        stack
            .sim
            .script(provider, token, json!([{"case": case}]))
            .await;
        let answer = stack.send(customer).wait(20).answer().await.expect(200);
        let row = stack.settled(&answer.id()).await;
        assert_eq!(
            (row.status.as_str(), row.reason.as_str(), row.attempts),
            ("failed", "refused", 1),
            "{case}"
        );
        assert_eq!(stack.sim.sends(provider, token).await, 1, "{case}");
    }
    assert_eq!(stack.database.count("dead_letters").await, 0);
}

/// Whoever gets it dies of it; so the broker ends it, and nobody who is healthy has to.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_job_that_the_broker_has_delivered_too_often_is_kept_and_can_be_replayed() {
    /// `x-delivery-limit` of the contract; the first time does not count.
    const DELIVERIES: u32 = 1 + 20;
    let mut stack = Stack::with().workers(0).start().await;
    stack.ready(&stack.apis[0]).await;
    let phone = stack.register(1, Device::android_fcm("pixel")).await;
    let id = stack.send(1).accepted().await;
    for delivery in 1..=DELIVERIES {
        eventually(&format!("delivery {delivery}"), async || {
            stack
                .broker
                .crash_with_one(Broker::JOBS)
                .await
                .then_some(())
        })
        .await;
    }
    eventually("the broker gave it up", async || {
        (stack.broker.depth(Broker::DEAD).await == 1).then_some(())
    })
    .await;
    assert!(!stack.broker.crash_with_one(Broker::JOBS).await);

    stack.start_worker().await;
    let row = stack.settled(&id).await;
    assert_eq!(
        (row.status.as_str(), row.reason.as_str(), row.attempts),
        ("failed", "dead_lettered", 0)
    );
    assert_eq!(stack.sim.sends(Provider::Fcm, phone.fcm()).await, 0);
    let admin = stack.api();
    let path = "/api/Push/admin/deadLetters?reason=delivery_limit&replayed=false";
    let listed = admin.get(path).answer().await.expect(200).json;
    let items = listed["items"].as_array().unwrap();
    assert_eq!(items.len(), 1, "{listed}");
    assert_eq!(
        (&items[0]["notificationId"], &items[0]["customerId"]),
        (&json!(id), &json!(1))
    );
    let letter = format!("/api/Push/admin/deadLetters/{}", items[0]["id"]);
    let details = admin.get(&letter).answer().await.expect(200).json;
    assert_eq!(details["reason"], "delivery_limit", "{details}");
    let replay = format!("{letter}/replay");
    let replayed = admin.post(&replay, &json!({})).answer().await;
    assert_eq!(replayed.status, 202, "{}", replayed.text);
    assert_eq!(stack.settled(&id).await.status, "sent");
    assert_eq!(stack.sim.rings(&phone, &id).await, 1);
}
