//! `DELIVERY_POLICY=both`: the guide's sample to the letter.

use push_tests::{Device, Provider, Stack};
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_device_with_both_tokens_gets_both_with_one_tag() {
    let stack = Stack::with()
        .env_worker("DELIVERY_POLICY", "both")
        .start()
        .await;
    stack.rings_twice();
    let phone = stack.register(1, Device::android_both("pixel")).await;
    let answer = stack.send(1).wait(20).answer().await.expect(200);
    assert_eq!(
        answer.json["message"],
        "Push notification sent successfully"
    );
    assert_eq!(
        (&answer.json["fcmResult"], &answer.json["expoResult"]),
        (&json!("success"), &json!("success"))
    );
    assert_eq!(stack.sim.rings(&phone, &answer.id()).await, 2);
    assert_eq!(stack.sim.shown(&phone).await.len(), 1, "one tag, one entry");

    // One of them fails at first: it alone is tried again.
    stack
        .sim
        .script(Provider::Fcm, phone.fcm(), json!([{"case": "unavailable"}]))
        .await;
    let answer = stack.send(1).wait(20).answer().await.expect(200);
    assert_eq!(
        (&answer.json["fcmResult"], &answer.json["expoResult"]),
        (&json!("success"), &json!("success"))
    );
    assert_eq!(stack.sim.sends(Provider::Fcm, phone.fcm()).await, 3);
    assert_eq!(stack.sim.sends(Provider::Expo, phone.expo()).await, 2);

    // One of them is dead: the other counts.
    stack
        .sim
        .script(
            Provider::Fcm,
            phone.fcm(),
            json!([{"case": "unregistered"}]),
        )
        .await;
    let answer = stack.send(1).wait(20).answer().await.expect(200);
    assert_eq!(
        (
            &answer.json["status"],
            &answer.json["fcmResult"],
            &answer.json["expoResult"]
        ),
        (&json!("sent"), &json!("failed"), &json!("success"))
    );
    let answer = stack.send(1).wait(20).answer().await.expect(200);
    assert_eq!(
        (&answer.json["fcmResult"], &answer.json["expoResult"]),
        (&json!("not_sent"), &json!("success"))
    );
}
