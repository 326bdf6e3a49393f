//! One call answers "why did customer 123 not get it?": each kind of story is told step by step.

use push_tests::{Broker, Device, Key, Phone, Provider, Stack, eventually};
use serde_json::{Value, json};

/// What is told of a notification.
struct Told(Vec<(String, String)>);

impl Told {
    async fn of(stack: &Stack, id: &str) -> Self {
        let timeline = stack.notification(id).await["timeline"].clone();
        let text = |entry: &Value, field: &str| entry[field].as_str().unwrap().to_owned();
        let entries = timeline.as_array().unwrap().iter();
        Self(
            entries
                .map(|it| (text(it, "step"), text(it, "text")))
                .collect(),
        )
    }

    /// Waits until it is told so.
    async fn once(stack: &Stack, id: &str, steps: &str) -> Self {
        let mut last = String::new();
        let told = push_tests::within(std::time::Duration::from_secs(60), async || {
            let told = Self::of(stack, id).await;
            last = told.steps();
            (last == steps).then_some(told)
        });
        let told = told.await;
        told.unwrap_or_else(|| panic!("told is\n  {last}, not\n  {steps}"))
    }

    fn steps(&self) -> String {
        let steps: Vec<_> = self.0.iter().map(|(step, _)| step.as_str()).collect();
        steps.join(" ")
    }

    /// Each of these words, in the entries of this step.
    fn says(&self, step: &str, words: &[&str]) {
        let of_it = self.0.iter().filter(|(told, _)| told == step);
        let texts: Vec<_> = of_it.map(|(_, text)| text.as_str()).collect();
        let texts = texts.join("\n");
        for word in words {
            assert!(texts.contains(word), "{step}: no {word:?} in {texts}");
        }
    }
}

fn tail(token: &str) -> &str {
    let token = token.trim_end_matches(']');
    &token[token.len() - 4..]
}

async fn prefers(stack: &Stack, customer: i64, preferences: &Value) {
    let path = format!("/api/Push/preferences/{customer}");
    let call = stack
        .api()
        .call(reqwest::Method::PUT, &path)
        .json(preferences);
    assert_eq!(call.answer().await.status, 200);
}

async fn unregister(stack: &Stack, customer: i64, phone: &Phone) {
    let body = json!({"userType": "customer", "id": customer, "deviceId": phone.device.name});
    let call = stack.api().post("/api/Push/unregister", &body);
    assert_eq!(call.key(Key::Register).answer().await.status, 200);
}

/// The clock in Greenwich, so many minutes ago.
fn clock(ago: u64) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let minute = (now.unwrap().as_secs() / 60 - ago) % (24 * 60);
    format!("{:02}:{:02}", minute / 60, minute % 60)
}

/// Quiet all day, but for a minute an hour ago: whenever this is asked, they end in 23 hours.
fn quiet() -> Value {
    let hours = json!({"start": clock(59), "end": clock(60), "timeZone": "UTC"});
    json!({"pushEnabled": true, "types": {}, "quietHours": hours})
}

async fn normal(stack: &Stack, customer: i64, collapse_key: &str) -> String {
    let send = stack.send(customer).with("priority", "normal");
    send.with("collapseKey", collapse_key).accepted().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn who_asked_how_and_how_often() {
    let stack = Stack::start().await;
    stack.register(1, Device::android_fcm("pixel")).await;
    let send = || stack.send(1).header("idempotency-key", "reached-456");
    let send = || send().with("title", "t").with("body", "b").wait(20);
    let id = send().answer().await.expect(200).id();
    let told = Told::once(&stack, &id, "accepted devices attempt settled").await;
    told.says(
        "accepted",
        &["accepted from all for customer 1, to be sent before"],
    );
    for _ in 0..3 {
        assert_eq!(send().answer().await.expect(200).id(), id);
    }
    let told = Told::once(&stack, &id, "accepted devices attempt settled duplicate").await;
    told.says("duplicate", &["Idempotency-Key"]);

    let batch = json!({"customerIds": [1], "title": "t", "body": "b"});
    let batch = async || {
        let call = stack.api().post("/api/Push/sendBatch", &batch);
        let call = call.header("idempotency-key", "batch-1").key(Key::Send);
        let answer = call.answer().await.expect(202).json;
        let id = answer["results"][0]["notificationId"].as_str().unwrap();
        id.to_owned()
    };
    let id = batch().await;
    let told = Told::once(&stack, &id, "accepted devices attempt settled").await;
    told.says("accepted", &["from booking in a batch"]);
    assert_eq!(batch().await, id);
    Told::once(&stack, &id, "accepted devices attempt settled duplicate").await;

    let event = json!({"event": "technician_assigned", "customerId": 1, "bookingId": "456", "trackId": "BID123",
                       "technician": {"name": "John"}});
    let post = async || stack.api().post("/api/Push/events", &event).answer().await;
    let id = post().await.expect(202).id();
    let told = Told::once(&stack, &id, "accepted devices attempt settled").await;
    told.says("accepted", &["from all as a booking event"]);
    assert_eq!(post().await.expect(200).json["reason"], "unchanged");
    let told = Told::once(&stack, &id, "accepted devices attempt settled duplicate").await;
    told.says("duplicate", &["the same event"]);

    let test = stack
        .api()
        .post("/api/Push/test", &json!({"customerId": 1}));
    let id = test.answer().await.expect(202).id();
    let told = Told::once(&stack, &id, "accepted devices attempt settled").await;
    told.says("accepted", &["from all as a test"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn which_devices_were_chosen_and_why_the_others_were_not() {
    let stack = Stack::with().env_worker("PROVIDERS", "fcm").start().await;
    let good = stack.register(1, Device::android_fcm("good")).await;
    let dead = stack.register(1, Device::android_fcm("dead")).await;
    let gone = stack.register(1, Device::android_fcm("gone")).await;
    let sold = stack.register(1, Device::android_fcm("sold")).await;
    let expo = stack.register(1, Device::ios_expo("iphone")).await;
    unregister(&stack, 1, &gone).await;
    stack.register(2, sold.device.clone()).await;
    let unregistered = json!([{"case": "unregistered"}]);
    stack
        .sim
        .script(Provider::Fcm, dead.fcm(), unregistered)
        .await;
    let id = stack.send(1).accepted().await;
    Told::once(
        &stack,
        &id,
        "accepted devices devices attempt attempt settled",
    )
    .await;

    let id = stack.send(1).accepted().await;
    let told = Told::once(&stack, &id, "accepted devices devices attempt settled").await;
    let said = |phone: &Phone| format!("…{} of {}", tail(phone.fcm()), phone.device.name);
    let not_set_up = format!("{} (ios): it has a token of expo only", expo.device.name);
    told.says(
        "devices",
        &[
            &format!("to be tried: fcm …{}", tail(good.fcm())),
            &format!("{}: reported as dead by its provider at 20", said(&dead)),
            &format!("{}: unregistered by the app at 20", said(&gone)),
            &format!("a token of {}: its device was registered", sold.device.name),
            &not_set_up,
        ],
    );
    // The last one goes, too.
    unregister(&stack, 1, &good).await;
    let id = stack.send(1).accepted().await;
    let told = Told::once(&stack, &id, "accepted devices devices settled").await;
    told.says("devices", &["no active device", &said(&good)]);
    told.says("settled", &["suppressed: no_active_device"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_was_not_wanted_and_what_took_its_place() {
    let stack = Stack::start().await;
    stack.register(1, Device::android_fcm("pixel")).await;
    prefers(
        &stack,
        1,
        &json!({"pushEnabled": true, "types": {"offer": false}}),
    )
    .await;
    let offer = stack.send(1).with("type", "offer").accepted().await;
    let told = Told::once(&stack, &offer, "accepted preference settled").await;
    told.says("preference", &["switched pushes of this type off"]);
    told.says("settled", &["suppressed: opted_out"]);

    prefers(&stack, 1, &quiet()).await;
    let short = stack
        .send(1)
        .with("priority", "normal")
        .with("ttlSeconds", 60);
    let told = Told::once(
        &stack,
        &short.accepted().await,
        "accepted quiet_hours settled",
    )
    .await;
    told.says("quiet_hours", &["it would expire before", ":00.000Z"]);
    let first = normal(&stack, 1, "booking-456").await;
    let told = Told::once(&stack, &first, "accepted quiet_hours").await;
    told.says("quiet_hours", &["it waits for their end at", ":00.000Z"]);
    let second = normal(&stack, 1, "booking-456").await;
    Told::once(&stack, &second, "accepted quiet_hours").await;
    prefers(&stack, 1, &json!({"pushEnabled": true, "types": {}})).await;
    let waited = "accepted quiet_hours preference quiet_hours";
    let told = Told::once(&stack, &first, &format!("{waited} superseded settled")).await;
    told.says("superseded", &[&second]);
    told.says(
        "quiet_hours",
        &["its wait for the end of the quiet hours is over"],
    );
    Told::once(
        &stack,
        &second,
        &format!("{waited} devices attempt settled"),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_each_provider_said_until_it_was_opened() {
    let stack = Stack::with()
        .env_worker("RECEIPT_DELAY", "300ms")
        .start()
        .await;
    stack.expect_errors("an operator must act");
    let phone = stack.register(1, Device::android_both("pixel")).await;
    let dead = json!([{"case": "unregistered"}]);
    stack.sim.script(Provider::Fcm, phone.fcm(), dead).await;
    let id = stack.send(1).accepted().await;
    let steps = "accepted devices attempt attempt settled receipt";
    let told = Told::once(&stack, &id, steps).await;
    let (fcm, expo) = (tail(phone.fcm()), tail(phone.expo()));
    let dead = format!("fcm …{fcm}: token is dead and switched off: UNREGISTERED");
    let taken = format!("expo ExponentPushToken[…{expo}]: accepted as");
    told.says("attempt", &[&dead, &taken]);
    told.says("receipt", &["receipt ok"]);
    let opened = json!({"notificationId": id});
    let opened = stack
        .api()
        .post("/api/Push/opened", &opened)
        .key(Key::Register);
    assert_eq!(opened.answer().await.status, 200);
    Told::once(&stack, &id, &format!("{steps} opened")).await;

    // Tried again, given up, and replayed.
    let phone = stack.register(2, Device::android_fcm("other")).await;
    let script = json!([{"case": "unavailable"}, {"case": "sender_id_mismatch"}]);
    stack.sim.script(Provider::Fcm, phone.fcm(), script).await;
    let id = stack.send(2).accepted().await;
    let steps = "accepted devices attempt retry attempt dead_lettered dead_lettered settled";
    let told = Told::once(&stack, &id, steps).await;
    told.says(
        "attempt",
        &[
            "not now: UNAVAILABLE",
            "an operator must act: SENDER_ID_MISMATCH",
        ],
    );
    told.says("retry", &["1 target(s) again in 200ms"]);
    let letter = stack.database.dead_letters_of(&id).await[0].id;
    let path = format!("/api/Push/admin/deadLetters/{letter}/replay");
    assert_eq!(
        stack.api().post(&path, &json!({})).answer().await.status,
        202
    );
    let told = Told::once(&stack, &id, &format!("{steps} replayed attempt settled")).await;
    told.says("replayed", &["replayed by all"]);

    // Paused by an operator.
    let lever = async |what: &str| {
        let path = format!("/api/Push/admin/providers/fcm/{what}");
        assert_eq!(
            stack.api().post(&path, &json!({})).answer().await.status,
            200
        );
    };
    lever("pause").await;
    eventually("the worker obeys", async || {
        let metrics = stack.metrics_of(&stack.workers[0]).await;
        let paused = metrics.sum("push_lane_state", "provider=\"fcm\",state=\"paused\"");
        (paused == Some(1.0)).then_some(())
    })
    .await;
    let id = stack.send(2).accepted().await;
    let told = Told::once(&stack, &id, "accepted devices postponed").await;
    told.says("postponed", &["fcm is paused by an operator"]);
    lever("resume").await;
    Told::once(&stack, &id, "accepted devices postponed attempt settled").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_was_lost_and_what_came_twice() {
    let mut stack = Stack::with()
        .workers(0)
        .env_worker("RECONCILE_AFTER", "1s")
        .env_api("RECONCILE_AFTER", "1s")
        .start()
        .await;
    stack.register(1, Device::android_fcm("pixel")).await;
    let [lost, twice] = [
        stack.send(1).accepted().await,
        stack.send(1).accepted().await,
    ];
    let mut kept = None;
    for _ in 0..2 {
        let (body, properties) = eventually("its job is in the queue", async || {
            stack.broker.take(Broker::JOBS).await
        })
        .await;
        let of = properties.message_id().as_ref().map(|id| id.as_str());
        if of == Some(twice.as_str()) {
            kept = Some((body, properties));
        }
    }
    stack.start_worker().await;
    Told::once(
        &stack,
        &lost,
        "accepted republished devices attempt settled",
    )
    .await;
    let republished = "accepted republished devices attempt settled";
    Told::once(&stack, &twice, republished).await;
    // Whoever had it puts it back.
    let (body, properties) = kept.unwrap();
    stack.broker.publish(Broker::JOBS, &body, properties).await;
    let told = Told::once(&stack, &twice, &format!("{republished} duplicate")).await;
    told.says("duplicate", &["a copy of its job"]);
}
