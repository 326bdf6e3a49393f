//! `DELIVERY_POLICY=failover`: one provider a device, and the other only where the first surely did not and will not deliver.

use push_tests::{Device, Provider, Stack};
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn expo_takes_over_only_what_fcm_has_surely_refused() {
    let stack = Stack::start().await;
    // A device with both tokens is reached once, through FCM.
    let phone = stack.register(1, Device::android_both("healthy")).await;
    let answer = stack.send(1).wait(20).answer().await.expect(200);
    assert_eq!(
        (&answer.json["fcmResult"], &answer.json["expoResult"]),
        (&json!("success"), &json!("not_sent"))
    );
    assert_eq!(stack.sim.sends(Provider::Expo, phone.expo()).await, 0);

    // Refused for good: Expo, in the same round. The operator's part is told in the log.
    stack.expect_errors("an operator must act");
    let cases = [
        "unregistered",
        "invalid_token",
        "too_big_android",
        "bare_invalid_argument",
        "sender_id_mismatch",
        "third_party_auth",
    ];
    for (customer, case) in (2..).zip(cases) {
        let phone = stack.register(customer, Device::android_both(case)).await;
        stack
            .sim
            .always(Provider::Fcm, phone.fcm(), json!({"case": case}))
            .await;
        let answer = stack.send(customer).wait(20).answer().await.expect(200);
        assert_eq!(
            (
                &answer.json["status"],
                &answer.json["fcmResult"],
                &answer.json["expoResult"]
            ),
            (&json!("sent"), &json!("failed"), &json!("success")),
            "{case}"
        );
        assert_eq!(stack.settled(&answer.id()).await.attempts, 1, "{case}");
        assert_eq!(stack.sim.rings(&phone, &answer.id()).await, 1, "{case}");
    }
    assert_eq!(
        stack.database.count("dead_letters").await,
        0,
        "another route was taken: nothing to replay"
    );

    // The dead one is not tried again, the others are.
    let again = async |customer: i64| {
        stack
            .send(customer)
            .wait(20)
            .answer()
            .await
            .expect(200)
            .json["fcmResult"]
            .clone()
    };
    assert_eq!(again(2).await, "not_sent");
    assert_eq!(again(6).await, "failed");

    // Not now is not never: a 503 waits for FCM.
    let phone = stack.register(50, Device::android_both("busy")).await;
    stack
        .sim
        .script(
            Provider::Fcm,
            phone.fcm(),
            json!([{"case": "unavailable"}, {"case": "internal"}]),
        )
        .await;
    let answer = stack.send(50).wait(20).answer().await.expect(200);
    assert_eq!(
        (&answer.json["fcmResult"], &answer.json["expoResult"]),
        (&json!("success"), &json!("not_sent"))
    );
    assert_eq!(stack.sim.sends(Provider::Expo, phone.expo()).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_may_have_been_delivered_goes_to_no_other_provider() {
    let stack = Stack::start().await;
    // Delivered and repeated: the tag makes one entry of it, but it may ring twice.
    stack.rings_twice();
    let cases = [
        "accept_then_drop",
        "accept_then_hang",
        "connection_reset",
        "no_answer",
    ];
    let mut sent = Vec::new();
    for (customer, case) in (1..).zip(cases) {
        let phone = stack.register(customer, Device::android_both(case)).await;
        stack
            .sim
            .script(Provider::Fcm, phone.fcm(), json!([{"transport": case}]))
            .await;
        sent.push((case, phone, stack.send(customer).accepted().await));
    }
    let not_json = stack.register(9, Device::android_both("ok_not_json")).await;
    stack
        .sim
        .script(
            Provider::Fcm,
            not_json.fcm(),
            json!([{"case": "ok_not_json", "accepted": true}]),
        )
        .await;
    sent.push(("ok_not_json", not_json, stack.send(9).accepted().await));
    for (case, phone, id) in sent {
        let row = stack.settled(&id).await;
        assert_eq!(
            (
                row.status.as_str(),
                row.fcm_result.as_str(),
                row.expo_result.as_str()
            ),
            ("sent", "success", "not_sent"),
            "{case}"
        );
        assert_eq!(row.attempts, 2, "{case}");
        assert_eq!(
            stack.sim.sends(Provider::Expo, phone.expo()).await,
            0,
            "{case}"
        );
        assert_eq!(
            stack.sim.shown(&phone).await.len(),
            1,
            "{case}: one entry, whatever rang"
        );
        let view = stack.notification(&id).await;
        assert_eq!(view["deliveries"][0]["maybeDelivered"], true, "{case}");
    }
    let metrics = stack.metrics_of(&stack.workers[0]).await;
    assert!(
        metrics
            .sum("push_maybe_delivered_total", "fcm")
            .is_some_and(|count| count >= 5.0),
        "counted"
    );
}
