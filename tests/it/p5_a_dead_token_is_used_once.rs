//! P5: what a provider reports as unregistered is switched off at once, on every worker.

use push_tests::{Device, Provider, Stack, eventually};
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_dead_token_is_switched_off_until_it_is_registered_again() {
    let stack = Stack::with().workers(2).start().await;
    let cases = [
        (1, Provider::Fcm, "unregistered"),
        (2, Provider::Fcm, "invalid_token"),
        (3, Provider::Expo, "ticket_device_not_registered"),
    ];
    for (customer, provider, case) in cases {
        let name = format!("phone {customer}");
        let device = if provider == Provider::Fcm {
            Device::android_fcm(&name)
        } else {
            Device::ios_expo(&name)
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
        assert_eq!(answer.json["success"], true);
        assert_eq!(answer.json["status"], "failed", "{case}");
        let row = stack.settled(&answer.id()).await;
        assert_eq!(
            (row.reason.as_str(), row.attempts),
            ("invalid_tokens", 1),
            "{case}"
        );
        let (own, other) = if provider == Provider::Fcm {
            (&row.fcm_result, &row.expo_result)
        } else {
            (&row.expo_result, &row.fcm_result)
        };
        assert_eq!(
            (own.as_str(), other.as_str()),
            ("failed", "not_sent"),
            "{case}"
        );
        let active = format!(
            "SELECT COUNT(*) FROM customer_push_tokens WHERE customer_id = {customer} AND is_active"
        );
        assert_eq!(stack.database.number(&active).await, 0, "{case}");

        // Ten more, on whichever worker: the token is not used again.
        for _ in 0..10 {
            let answer = stack.send(customer).wait(20).answer().await.expect(200);
            assert_eq!(answer.json["status"], "suppressed");
            assert_eq!(stack.settled(&answer.id()).await.reason, "no_active_device");
        }
        assert_eq!(stack.sim.sends(provider, token).await, 1, "{case}");
        assert_eq!(stack.database.count("dead_letters").await, 0);

        // The app is back.
        stack.register(customer, phone.device.clone()).await;
        let answer = stack.send(customer).wait(20).answer().await.expect(200);
        assert_eq!(answer.json["status"], "sent", "{case}");
        assert_eq!(stack.sim.rings(&phone, &answer.id()).await, 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_is_not_the_tokens_fault_leaves_it_alone() {
    let stack = Stack::start().await;
    // 404 that does not say UNREGISTERED: a wrong address. 400 about the payload. Neither kills tokens.
    let cases = [
        "not_found_without_fcm_error",
        "not_found_html",
        "bare_invalid_argument",
        "too_big_generic",
    ];
    stack.expect_errors("an operator must act");
    for (customer, case) in (1..).zip(cases) {
        let phone = stack.register(customer, Device::android_fcm(case)).await;
        stack
            .sim
            .script(Provider::Fcm, phone.fcm(), json!([{"case": case}]))
            .await;
        let answer = stack.send(customer).wait(20).answer().await.expect(200);
        assert_eq!(answer.json["status"], "failed", "{case}");
        assert_eq!(answer.json["fcmResult"], "failed", "{case}");
        let again = stack.send(customer).wait(20).answer().await.expect(200);
        assert_eq!(again.json["status"], "sent", "{case}: the token is alive");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_dead_token_is_off_while_another_device_is_still_waited_for() {
    let stack = Stack::with().workers(2).start().await;
    stack.all_ready().await;
    let dead = stack.register(1, Device::android_fcm("lost")).await;
    let slow = stack.register(1, Device::android_fcm("slow")).await;
    let unregistered = json!({"case": "unregistered"});
    stack
        .sim
        .always(Provider::Fcm, dead.fcm(), unregistered)
        .await;
    let slowly = json!([{"delayMs": 8_000}]);
    stack.sim.script(Provider::Fcm, slow.fcm(), slowly).await;
    let first = stack.send(1).accepted().await;
    let off = "SELECT COUNT(*) FROM customer_push_tokens WHERE NOT is_active";
    eventually("it is switched off", async || {
        (stack.database.number(off).await == 1).then_some(())
    })
    .await;
    let row = stack.database.history(&first).await.unwrap();
    assert_eq!(row.status, "pending", "the other one has not answered yet");
    for _ in 0..5 {
        let answer = stack.send(1).wait(20).answer().await.expect(200);
        assert_eq!(answer.json["status"], "sent");
    }
    assert_eq!(stack.settled(&first).await.status, "sent");
    assert_eq!(stack.sim.sends(Provider::Fcm, dead.fcm()).await, 1);
}
