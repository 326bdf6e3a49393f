//! Events: the backend says what happened, the catalogue has the words, and the customer is told once.

use std::path::PathBuf;

use push_tests::{Answer, Api, Device, Provider, Stack, run_to_end};
use serde_json::{Value, json};

const PATH: &str = "/api/Push/events";

/// The status of booking 456 of customer 1, with other fields.
fn status(new_status: &str, fields: Value) -> Value {
    let mut body = json!({
        "event": "status_changed", "customerId": 1, "bookingId": 456, "trackId": "BID123",
        "technician": {"name": "Johannes von Neumann"}, "newStatus": new_status,
    });
    let all = body.as_object_mut().unwrap();
    all.extend(fields.as_object().unwrap().clone());
    body
}

async fn post(api: &Api, body: &Value) -> Answer {
    api.post(PATH, body).answer().await
}

/// Waits for the outcome.
async fn told(stack: &Stack, body: &Value) -> String {
    let call = stack.api().post(PATH, body).header("prefer", "wait=20");
    let answer = call.answer().await.expect(200);
    assert_eq!(answer.json["status"], "sent", "{}", answer.text);
    answer.id()
}

/// Why it was ignored.
fn reason(answer: Answer) -> String {
    let answer = answer.expect(200);
    let message = answer.json["message"].as_str().unwrap().to_owned();
    assert!(message.starts_with("Event ignored: "), "{message}");
    let reason = answer.json["reason"].as_str().unwrap().to_owned();
    let whole = json!({"success": true, "message": message, "status": "ignored", "reason": reason});
    assert_eq!(answer.json, whole);
    reason
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_is_no_news_is_ignored_and_the_answer_says_why() {
    let stack = Stack::start().await;
    stack.keep_secret("Johannes von Neumann");
    stack.all_ready().await;
    let phone = stack.register(1, Device::android_fcm("pixel")).await;
    let api = stack.api();

    // What is not accepted has not happened.
    let unknown = post(&api, &status("Reached", json!({"customerId": 7}))).await;
    assert_eq!(unknown.expect(404).error_code(), "unknown_customer");
    assert_eq!(stack.database.count("booking_status").await, 0);

    let first = told(&stack, &status("Reached", json!({}))).await;
    let row = stack.settled(&first).await;
    assert_eq!(
        (
            row.notification_type.as_str(),
            row.collapse_key.as_str(),
            row.ttl_seconds
        ),
        ("reached", "booking-456", 3_600)
    );
    for (body, why) in [
        (status("reached", json!({})), "unchanged"),
        (status("Reached", json!({"bookingId": "456"})), "unchanged"),
        (
            status("StartService", json!({"oldStatus": "STARTSERVICE"})),
            "unchanged",
        ),
        (
            status(
                "StartJourney",
                json!({"occurredAt": "2026-01-01T00:00:00Z"}),
            ),
            "older",
        ),
        (status("On hold", json!({})), "no_template"),
        (status("On hold", json!({})), "unchanged"),
    ] {
        assert_eq!(reason(post(&api, &body).await), why, "{body}");
    }
    // It was on hold meanwhile.
    let second = told(&stack, &status("Reached", json!({"oldStatus": "On hold"}))).await;
    assert_eq!(stack.database.count("notification_history").await, 2);
    let rings = stack.sim.displays(&phone).await;
    assert_eq!(rings, json!({first: 1, second.clone(): 1}));
    assert_eq!(stack.sim.shown(&phone).await.len(), 1, "the newer replaces");

    // Another technician is news, and so is what comes after.
    let assigned = |name: &str| json!({"event": "technician_assigned", "customerId": 1, "bookingId": 9, "trackId": 9, "technician": {"name": name}});
    let journey = status("StartJourney", json!({"bookingId": 9}));
    for body in [
        assigned("Ada Lovelace"),
        journey.clone(),
        assigned("Grace Hopper"),
        journey,
    ] {
        told(&stack, &body).await;
        assert_eq!(reason(post(&api, &body).await), "unchanged", "{body}");
    }

    // With a key the first answer comes again, whatever it was and whatever the booking is in by now.
    let keyed = async |key: &str, body: &Value| {
        let call = api.post(PATH, body).header("idempotency-key", key);
        call.answer().await
    };
    let (done, wait) = (status("Completed", json!({})), status("Waiting", json!({})));
    let first = [
        keyed("done", &done).await.expect(202),
        keyed("again", &done).await.expect(200),
        keyed("wait", &wait).await.expect(200),
    ];
    told(&stack, &status("Completed", json!({"technician": null}))).await;
    let again = [
        keyed("done", &done).await.expect(202),
        keyed("again", &done).await.expect(200),
        keyed("wait", &wait).await.expect(200),
    ];
    for (first, again) in first.iter().zip(&again) {
        assert_eq!(first.text, again.text);
        assert_eq!(first.header("idempotent-replayed"), "");
        assert_eq!(again.header("idempotent-replayed"), "true");
    }
    let reused = keyed("wait", &done).await.expect(422);
    assert_eq!(reused.error_code(), "idempotency_key_reused");

    let metrics = stack.metrics_of(&stack.apis[0]).await;
    for (why, times) in [("unchanged", 9.0), ("older", 1.0), ("no_template", 2.0)] {
        let counted = metrics.sum("push_events_ignored_total", &format!("reason=\"{why}\""));
        assert_eq!(counted, Some(times), "{why}");
    }
    stack.all_settled().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_event_that_comes_fifty_times_at_once_to_two_replicas_is_one_push() {
    let stack = Stack::with().apis(2).start().await;
    stack.all_ready().await;
    let phone = stack.register(1, Device::android_fcm("pixel")).await;
    let other = stack.register(1, Device::ios_expo("iphone")).await;
    let body = status("StartService", json!({"oldStatus": "Reached"}));
    let posts = (0..50).map(async |n: usize| post(&stack.api_at(n % 2), &body).await);
    let answers = futures::future::join_all(posts).await;
    let (accepted, ignored): (Vec<_>, Vec<_>) =
        answers.into_iter().partition(|answer| answer.status == 202);
    assert_eq!((accepted.len(), ignored.len()), (1, 49));
    for answer in ignored {
        assert_eq!(reason(answer), "unchanged");
    }
    let id = accepted[0].id();
    assert_eq!(stack.settled(&id).await.status, "sent");
    assert_eq!(stack.database.count("notification_history").await, 1);
    for phone in [&phone, &other] {
        assert_eq!(stack.sim.displays(phone).await, json!({id.clone(): 1}));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_the_text_needs_is_asked_for_and_what_is_too_late_is_not_sent() {
    let stack = Stack::start().await;
    stack.all_ready().await;
    let phone = stack.register(1, Device::android_fcm("pixel")).await;
    let api = stack.api();
    let nameless = status("Reached", json!({"technician": {}}));
    let answer = post(&api, &nameless).await.expect(400);
    assert_eq!(answer.error_code(), "invalid_input");
    assert_eq!(
        answer.json["errors"],
        json!([{"field": "technician.name", "message": "is required: the text says { $technician }"}])
    );
    let all = json!({"event": "technician_assigned", "customerId": -1, "bookingId": "a b", "occurredAt": "2999-01-01T00:00:00Z",
                     "locale": "?"});
    let answer = post(&api, &all).await.expect(400);
    assert_eq!(
        answer.wrong_fields(),
        [
            "bookingId",
            "customerId",
            "locale",
            "occurredAt",
            "technician.name",
            "trackId"
        ]
    );
    let typo = status("Reached", json!({"event": "status_change"}));
    assert_eq!(
        post(&api, &typo).await.expect(400).wrong_fields(),
        ["event"]
    );
    assert_eq!(stack.database.count("booking_status").await, 0);

    // An event of last year is known from now on, and nobody is woken for it.
    let late = status(
        "Reached",
        json!({"occurredAt": "2025-12-31T23:59:59.5+01:00"}),
    );
    let late = post(&api, &late).await.expect(202).id();
    let row = stack.settled(&late).await;
    assert_eq!(
        (row.status.as_str(), row.reason.as_str()),
        ("suppressed", "expired")
    );
    assert_eq!(stack.sim.sends(Provider::Fcm, phone.fcm()).await, 0);
}

/// A directory that exists as long as this does.
struct Directory(PathBuf);

impl Directory {
    fn with(name: &str, files: &[(&str, &str)]) -> Self {
        let name = format!("push-texts-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        for (name, text) in files {
            std::fs::write(path.join(name), text).unwrap();
        }
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn texts_are_overridden_translated_and_added_by_files() {
    let texts = Directory::with(
        "good",
        &[
            (
                "en.ftl",
                "reached =\n .title = Knock, knock 🚪\n .body = { $technician } is at your door.\n .priority = normal\n\
                 invoice.ready =\n .title = x\n",
            ),
            (
                "de.ftl",
                "reached =\n .title = Der Monteur ist da ✅\n .body = { $technician } steht vor der Tür (Auftrag { $trackId }).\n\
                 invoice_ready =\n .title = Ihre Rechnung\n .body = Auftrag { $bookingId } ist abgerechnet.\n",
            ),
            (
                "de-AT.ftl",
                "completed =\n .title = Erledigt, danke schön\n .body = Ihr Wagen ist fertig (Auftrag { $trackId }).\n",
            ),
            (
                "he.ftl",
                "completed =\n .title = השירות הושלם! 🎉\n .body = \u{200f}{ $trackId } – הרכב מוכן 👩🏽\u{200d}🔧\n",
            ),
        ],
    );
    // A dot cannot be in a name of this format.
    let english = texts.0.join("en.ftl");
    let ended = run_to_end("push-api", &["check"], &settings(&texts)).await;
    assert!(
        ended
            .stderr
            .contains("TEMPLATES_DIR en.ftl, line 5: Expected"),
        "{}",
        ended.stderr
    );
    let text = std::fs::read_to_string(&english).unwrap();
    let text = text.replace(
        "invoice.ready =\n .title = x\n",
        "invoice_ready =\n .title = Your invoice 🧾\n .body = See { $bookingId }.\n .priority = normal\n",
    );
    std::fs::write(&english, text).unwrap();

    let stack = Stack::with()
        .env_api("TEMPLATES_DIR", texts.path())
        .in_the_clear()
        .start()
        .await;
    stack.all_ready().await;
    stack.register(1, Device::android_fcm("pixel")).await;
    let invoice = json!({"event": "invoice_ready", "technician": null, "newStatus": null});
    let (reached, completed) = ("Der Monteur ist da ✅", "Erledigt, danke schön");
    for (booking, (body, locale, title, text, priority)) in (1..).zip([
        (
            status("Reached", json!({})),
            None,
            "Knock, knock 🚪",
            "Johannes von Neumann is at your door.",
            "normal",
        ),
        (
            status("Reached", json!({})),
            Some("de-AT"),
            reached,
            "Johannes von Neumann steht vor der Tür (Auftrag BID123).",
            "normal",
        ),
        (
            status("Completed", json!({})),
            Some("de-at"),
            completed,
            "Ihr Wagen ist fertig (Auftrag BID123).",
            "high",
        ),
        (
            status("Completed", json!({})),
            Some("de-CH"),
            "Service Completed! 🎉",
            "Your vehicle service has been completed successfully. (Booking: BID123)",
            "high",
        ),
        (
            status("Completed", json!({})),
            Some("he-IL"),
            "השירות הושלם! 🎉",
            "\u{200f}BID123 – הרכב מוכן 👩🏽\u{200d}🔧",
            "high",
        ),
        (
            status("x", invoice.clone()),
            Some("de-AT"),
            "Ihre Rechnung",
            "Auftrag 6 ist abgerechnet.",
            "normal",
        ),
        (
            status("x", invoice.clone()),
            Some("fr"),
            "Your invoice 🧾",
            "See 7.",
            "normal",
        ),
    ]) {
        let mut body = body;
        body["bookingId"] = json!(booking);
        body["locale"] = json!(locale);
        let row = stack.settled(&told(&stack, &body).await).await;
        assert_eq!(
            (row.title.as_str(), row.body.as_str(), row.priority.as_str()),
            (title, text, priority),
            "{body}"
        );
        assert_eq!(row.data["priority"], priority);
        assert_eq!(row.ttl_seconds, 3_600);
    }
    // The language that the customer prefers, unless the event names another.
    let preferences = json!({"pushEnabled": true, "types": {}, "locale": "he-IL"});
    let path = "/api/Push/preferences/1";
    let put = stack.api().call(reqwest::Method::PUT, path);
    assert_eq!(put.json(&preferences).answer().await.status, 200);
    for (booking, locale, title) in [
        (11, None, "השירות הושלם! 🎉"),
        (12, Some("de-AT"), completed),
    ] {
        let mut body = status("Completed", json!({"bookingId": booking}));
        body["locale"] = json!(locale);
        let row = stack.settled(&told(&stack, &body).await).await;
        assert_eq!(row.title, title);
    }
    // A type of one's own is known to the other endpoint, too.
    let own = stack.send(1).with("type", "invoice_ready").accepted().await;
    assert_eq!(stack.settled(&own).await.ttl_seconds, 3_600);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_repetition_gets_the_first_answer_also_when_its_text_is_gone() {
    let survey = "survey =\n .title = How was it?\n .body = { $trackId }\n .priority = normal\n";
    let texts = Directory::with("gone", &[("en.ftl", survey)]);
    let mut stack = Stack::with()
        .env_api("TEMPLATES_DIR", texts.path())
        .start()
        .await;
    stack.all_ready().await;
    stack.register(1, Device::android_fcm("pixel")).await;
    let event = json!({"event": "survey", "customerId": 1, "bookingId": 456, "trackId": "BID123"});
    let post = async |stack: &Stack, key: &str| {
        let call = stack.api().post(PATH, &event);
        call.header("idempotency-key", key).answer().await
    };
    let first = post(&stack, "survey-456").await.expect(202);
    stack.settled(&first.id()).await;
    std::fs::write(texts.0.join("en.ftl"), "").unwrap();
    assert_eq!(stack.terminate_api().await, Some(0));
    stack.start_api().await;
    stack.all_ready().await;
    let again = post(&stack, "survey-456").await.expect(202);
    assert_eq!(again.json, first.json);
    let other = post(&stack, "survey-457").await;
    assert_eq!(other.expect(400).wrong_fields(), ["event"]);
}

fn settings(texts: &Directory) -> Vec<(String, String)> {
    [
        ("DATABASE_URL", "mysql://u@127.0.0.1:1/push"),
        ("AMQP_URL", "amqp://127.0.0.1:1"),
        ("AUTH_DISABLED", "true"),
        ("TEMPLATES_DIR", texts.path()),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_text_that_cannot_be_sent_is_told_at_the_start_and_by_check() {
    let texts = Directory::with(
        "bad",
        &[
            (
                "en.ftl",
                "reached =\n .title = { $technican } is there\n .body = x\n .priority = asap\n\n!\n",
            ),
            ("de.ftl", "onhold =\n .title = Pause\n"),
            ("pt_br.ftl", ""),
            ("notes.txt", ""),
        ],
    );
    for arguments in [&[][..], &["check"][..]] {
        let mut wrong = settings(&texts);
        wrong.push(("HTTP_ADDR".to_owned(), "here".to_owned()));
        let ended = run_to_end("push-api", arguments, &wrong).await;
        assert_eq!(ended.code, Some(2), "{}", ended.stderr);
        for what in [
            "HTTP_ADDR is",
            "TEMPLATES_DIR en.ftl, line 6: ",
            "TEMPLATES_DIR en.ftl: `reached.title` uses $technican, which is no placeholder; there are $technician,",
            "TEMPLATES_DIR en.ftl: `reached.priority` must be high or normal",
            "TEMPLATES_DIR de.ftl: `onhold` has no .body",
            "TEMPLATES_DIR de.ftl: `onhold` is not in en.ftl",
            "TEMPLATES_DIR pt_br.ftl: must be spelled pt-BR.ftl",
            "TEMPLATES_DIR notes.txt: is no file of texts",
        ] {
            let lines = ended.stderr.lines();
            let told = lines.filter(|line| line.contains(what)).count();
            assert_eq!(told, 1, "{what}: {}", ended.stderr);
        }
    }
}
