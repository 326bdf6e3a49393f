//! What FCM and Expo receive, over the real wire: the guide's messages as the official SDKs send them, and the
//! differences on purpose, each listed here.

use push_tests::{Device, Phone, Provider, Stack};
use serde_json::{Map, Value, json};

pub(super) fn fixture(name: &str) -> Value {
    let path = format!("{}/fixtures/providers/{name}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    serde_json::from_str(&text).unwrap()
}

/// The guide's FCM message, and what the guide lacks or gets wrong.
pub(super) fn fcm_message(
    golden: &Value,
    phone: &Phone,
    id: &str,
    tag: &str,
    priority: &str,
    collapse_key: Option<&str>,
) -> Value {
    let mut message = golden["wire"]["body"]["message"].clone();
    message["token"] = phone.fcm().into();
    // Which notification this is, for the app: to report that it was opened, and to replace what it shows itself.
    message["data"]["notificationId"] = id.into();
    message["data"]["tag"] = tag.into();
    // A send that is repeated, or a later status of the booking, replaces what is shown.
    message["android"]["notification"]["tag"] = tag.into();
    message["apns"]["headers"]["apns-collapse-id"] = tag.into();
    if let Some(key) = collapse_key {
        message["android"]["collapse_key"] = key.into();
    }
    // The client looks the sound up in res/raw, where names have no extension.
    message["android"]["notification"]["sound"] = "notificationtone".into();
    // Whether `aps` without an alert hides the text is not documented.
    message["apns"]["payload"]["aps"]["alert"] = message["notification"].clone();
    message["apns"]["headers"]["apns-priority"] = "10".into();
    if priority == "normal" {
        // The guide sends everything with high priority.
        message["android"]["priority"] = "normal".into();
        message["android"]["notification"]["notification_priority"] = "PRIORITY_DEFAULT".into();
        message["apns"]["headers"]["apns-priority"] = "5".into();
    }
    json!({"message": message})
}

pub(super) fn expo_message(
    golden: &Value,
    phone: &Phone,
    id: &str,
    tag: &str,
    priority: &str,
) -> Value {
    let mut message = golden["wire"]["body"][0].clone();
    message["to"] = phone.expo().into();
    message["data"]["notificationId"] = id.into();
    message["data"]["tag"] = tag.into();
    message["tag"] = tag.into();
    // On an iPhone this is what replaces.
    message["collapseId"] = tag.into();
    // The guide names none of these to Expo, so Android would use the channel "Default".
    message["channelId"] = "urgent".into();
    message["badge"] = 1.into();
    message["priority"] = priority.into();
    message
}

/// Takes out what depends on the clock, and checks it: what is left of the time to live, and when it ends.
pub(super) fn without_times(mut body: Value, ttl_seconds: i64) -> Value {
    let near = |seconds: i64| {
        assert!(
            (ttl_seconds - 60..=ttl_seconds).contains(&seconds),
            "{seconds} of {ttl_seconds}"
        )
    };
    if let Some(message) = body.get_mut("message") {
        let android = message["android"].as_object_mut().unwrap();
        let ttl = android.remove("ttl").unwrap();
        near(
            ttl.as_str()
                .unwrap()
                .strip_suffix('s')
                .unwrap()
                .parse()
                .unwrap(),
        );
        let headers = message["apns"]["headers"].as_object_mut().unwrap();
        let expiration: i64 = headers
            .remove("apns-expiration")
            .unwrap()
            .as_str()
            .unwrap()
            .parse()
            .unwrap();
        let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
        near(expiration - i64::try_from(now).unwrap());
    } else {
        near(
            body.as_object_mut()
                .unwrap()
                .remove("ttl")
                .unwrap()
                .as_i64()
                .unwrap(),
        );
    }
    body
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_providers_get_the_guides_messages() {
    let stack = Stack::start().await;
    let events = [
        ("technician_assigned.json", "high", 3_600),
        ("status_startjourney.json", "normal", 3_600),
        ("status_reached.json", "high", 3_600),
        ("status_startservice.json", "high", 3_600),
        ("status_completed.json", "high", 3_600),
        ("status_cancelled.json", "normal", 3_600),
    ];
    for (customer, (file, priority, ttl)) in (1..).zip(events) {
        let (fcm, expo) = (
            fixture(&format!("fcm/{file}")),
            fixture(&format!("expo/{file}")),
        );
        let android = stack
            .register(
                customer,
                Device::android_fcm(&format!("android {customer}")),
            )
            .await;
        let iphone = stack
            .register(customer, Device::ios_expo(&format!("iphone {customer}")))
            .await;
        let mut send = stack.send(customer).wait(20);
        for field in ["title", "body", "data"] {
            send = send.with(field, fcm["input"][field].clone());
        }
        let id = send.answer().await.expect(200).id();
        let request = stack
            .sim
            .requests(Provider::Fcm, android.fcm())
            .await
            .pop()
            .unwrap();
        assert_eq!(
            without_times(request["body"].clone(), ttl),
            fcm_message(&fcm, &android, &id, &id, priority, None),
            "{file}"
        );
        assert!(
            request["headers"]["authorization"]
                .as_str()
                .unwrap()
                .starts_with("Bearer ")
        );
        assert!(
            request["headers"]["content-type"]
                .as_str()
                .unwrap()
                .starts_with("application/json")
        );

        let request = stack
            .sim
            .requests(Provider::Expo, iphone.expo())
            .await
            .pop()
            .unwrap();
        assert_eq!(
            without_times(message_to(&request, &iphone), ttl),
            expo_message(&expo, &iphone, &id, &id, priority),
            "{file}"
        );
        assert!(
            request["headers"].get("authorization").is_none(),
            "no access token is configured"
        );
        assert_eq!(request["headers"]["accept"], "application/json");
    }

    // The guide's test message, whose `test: true` has to be a string.
    let tester = stack.register(90, Device::android_fcm("tester")).await;
    let call = stack
        .api()
        .post("/api/Push/test", &json!({"customerId": 90}))
        .header("prefer", "wait=20");
    let id = call.answer().await.expect(200).id();
    let golden = fixture("fcm/test_endpoint.json");
    let mut request = stack
        .sim
        .requests(Provider::Fcm, tester.fcm())
        .await
        .pop()
        .unwrap()["body"]
        .clone();
    let timestamp = request["message"]["data"]
        .as_object_mut()
        .unwrap()
        .remove("timestamp");
    assert!(timestamp.is_some());
    let mut wanted = fcm_message(&golden, &tester, &id, &id, "high", None);
    wanted["message"]["data"]
        .as_object_mut()
        .unwrap()
        .remove("timestamp");
    assert_eq!(without_times(request, 86_400), wanted);
}

/// The record keeps a message, or the request that it came in.
pub(super) fn message_to(request: &Value, phone: &Phone) -> Value {
    let body = &request["body"];
    let messages = body.as_array().cloned();
    let messages = messages.unwrap_or_else(|| vec![body.clone()]);
    let mine = messages
        .into_iter()
        .find(|message| message["to"] == phone.expo());
    mine.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn options_reach_the_device_and_a_newer_status_replaces_the_older() {
    let stack = Stack::with()
        .env_worker("EXPO_ACCESS_TOKEN", "expo-access-token-0815")
        .env_worker("PUSH_CHANNEL_ID", "bookings")
        .env_worker("PUSH_SOUND", "horn.caf")
        .env_worker("PUSH_BADGE", "0")
        .env_worker("PUSH_CLICK_ACTION", "OPEN_BOOKING")
        .start()
        .await;
    stack.keep_secret("expo-access-token-0815");
    let android = stack.register(1, Device::android_fcm("android")).await;
    let iphone = stack.register(1, Device::ios_expo("iphone")).await;
    let mut web = Device::android_fcm("browser");
    web.platform = "web";
    let web = stack.register(1, web).await;
    let mut ids = Vec::new();
    for _ in 0..2 {
        let send = stack
            .send(1)
            .with("collapseKey", "booking-456")
            .with("imageUrl", "https://example.com/car.png");
        ids.push(
            send.with("ttlSeconds", 120)
                .wait(20)
                .answer()
                .await
                .expect(200)
                .id(),
        );
    }
    // One entry on each screen: the newer.
    for phone in [&android, &iphone] {
        let shown = stack.sim.shown(phone).await;
        assert_eq!(shown.len(), 1, "{shown:?}");
        assert_eq!(shown[0]["notificationId"], *ids.last().unwrap());
        assert_eq!(shown[0]["image"], "https://example.com/car.png");
    }
    let message = stack
        .sim
        .requests(Provider::Fcm, android.fcm())
        .await
        .pop()
        .unwrap()["body"]["message"]
        .clone();
    assert_eq!(message["android"]["collapse_key"], "booking-456");
    assert_eq!(message["android"]["notification"]["tag"], "booking-456");
    assert_eq!(message["android"]["notification"]["channel_id"], "bookings");
    assert_eq!(message["android"]["notification"]["sound"], "horn");
    assert_eq!(
        message["apns"]["headers"]["apns-collapse-id"],
        "booking-456"
    );
    assert_eq!(message["apns"]["payload"]["aps"]["sound"], "horn.caf");
    assert_eq!(message["apns"]["payload"]["aps"]["badge"], 0);
    assert_eq!(
        message["notification"]["image"],
        "https://example.com/car.png"
    );
    assert_eq!(
        (&message["data"]["tag"], &message["data"]["click_action"]),
        (&json!("booking-456"), &json!("OPEN_BOOKING"))
    );
    let request = stack
        .sim
        .requests(Provider::Expo, iphone.expo())
        .await
        .pop()
        .unwrap();
    let message = message_to(&request, &iphone);
    let picked: Map<String, Value> = [
        "tag",
        "collapseId",
        "channelId",
        "sound",
        "badge",
        "richContent",
    ]
    .iter()
    .map(|field| ((*field).to_owned(), message[*field].clone()))
    .collect();
    assert_eq!(
        Value::from(picked),
        json!({"tag": "booking-456", "collapseId": "booking-456", "channelId": "bookings", "sound": "horn.caf", "badge": 0,
               "richContent": {"image": "https://example.com/car.png"}})
    );
    assert_eq!(
        request["headers"]["authorization"],
        "Bearer expo-access-token-0815"
    );
    assert_eq!(
        stack.sim.rings(&web, &ids[0]).await,
        1,
        "a browser's message passes the strict check, too"
    );
}

/// The largest content with the largest picture's address beside it, in the widest envelope that the settings'
/// defaults make: what is accepted is not refused by a provider for its size.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_largest_push_that_is_accepted_is_taken_by_both_providers() {
    let stack = Stack::start().await;
    let mut phones = Vec::new();
    for (platform, name) in [("android", "a"), ("ios", "i"), ("web", "w")] {
        let mut fcm = Device::android_fcm(&format!("fcm {name}"));
        let mut expo = Device::ios_expo(&format!("expo {name}"));
        (fcm.platform, expo.platform) = (platform, platform);
        phones.push(stack.register(1, fcm).await);
        phones.push(stack.register(1, expo).await);
    }
    // 64 pairs of 9 bytes; Expo counts what JSON puts around each.
    let data: Map<String, Value> = (0..64)
        .map(|n| (format!("key{n:02}"), json!("word")))
        .collect();
    for (content, image) in [(3_500, 200), (1_700, 2_000)] {
        let send = |image: usize| {
            let image = format!("https://{}", "i".repeat(image - "https://".len()));
            let send = stack.send(1).with("title", "t".repeat(200));
            send.with("body", "b".repeat(content - 200 - 64 * 9))
                .with("data", data.clone())
                .with("collapseKey", "k".repeat(64))
                .with("priority", "normal")
                .with("imageUrl", image)
        };
        let refused = send(image + 1).answer().await.expect(400);
        assert!(refused.wrong_fields().contains(&"imageUrl".to_owned()));
        let answer = send(image).wait(20).answer().await.expect(200);
        assert_eq!(
            (&answer.json["fcmResult"], &answer.json["expoResult"]),
            (&json!("success"), &json!("success")),
            "{content} and {image}"
        );
        for phone in &phones {
            assert_eq!(stack.sim.rings(phone, &answer.id()).await, 1);
        }
    }
}
