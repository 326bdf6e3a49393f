//! Traces: from the caller's request through the queue to the provider's answer and its record.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use push_tests::signals::undocumented_spans;
use push_tests::{Collector, Device, Key, Log, Provider, Span, Stack, eventually};
use serde_json::json;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

/// Both programs send their traces there.
async fn traced(collector: &Collector, share: &str) -> Stack {
    let mut stack = Stack::with();
    for (name, value) in [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url.as_str()),
        ("OTEL_TRACES_SAMPLER_ARG", share),
        (
            "OTEL_EXPORTER_OTLP_HEADERS",
            "Authorization=Bearer%20collectors-s3cret",
        ),
        ("RETRY_DELAYS", "1s,2s"),
    ] {
        stack = stack.env_api(name, value).env_worker(name, value);
    }
    stack.start().await
}

fn parent(trace: &str, sampled: bool) -> String {
    format!("00-{trace}-{CALLER}-{:02x}", u8::from(sampled))
}

/// The spans of a trace, once the last of them is there.
async fn spans_of(collector: &Collector, trace: &str, rounds: usize) -> Vec<Span> {
    eventually("the whole trace is there", async || {
        let mut spans = collector.spans();
        spans.retain(|span| span.trace == trace);
        let is = |name: &str| spans.iter().filter(|span| span.name == name).count();
        let whole = is("process push.jobs") == rounds && is("POST /api/Push/sendToCustomer") == 1;
        whole.then_some(spans)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn one_trace_tells_the_way_from_the_request_to_the_record() {
    let collector = Collector::start().await;
    let stack = traced(&collector, "0").await;
    stack.keep_secret("collectors-s3cret");
    let phone = stack.register(1, Device::android_both("pixel")).await;
    // The first round comes to nothing; in the second FCM refuses the token, and Expo takes it.
    let answers = json!([{"case": "unavailable"}, {"case": "unregistered"}]);
    stack.sim.script(Provider::Fcm, phone.fcm(), answers).await;
    let id = stack
        .send(1)
        .header("traceparent", &parent(TRACE, true))
        .accepted()
        .await;
    assert_eq!(stack.settled(&id).await.status, "sent");

    let spans = spans_of(&collector, TRACE, 2).await;
    let only = |name: &str| {
        let mut named = spans.iter().filter(|span| span.name == name);
        let span = named
            .next()
            .unwrap_or_else(|| panic!("no {name} in {spans:#?}"));
        assert_eq!(named.next(), None, "{name} twice");
        span
    };
    let request = only("POST /api/Push/sendToCustomer");
    assert_eq!((request.parent.as_str(), request.kind), (CALLER, 2));
    assert_eq!(request.attributes["http.response.status_code"], "202");
    assert_eq!(request.attributes["push.notification.id"], id);
    let publish = only("publish push.jobs");
    assert_eq!((&publish.parent, publish.kind), (&request.id, 4));
    assert_eq!(only("commit").parent, request.id);

    let mut rounds: Vec<_> = spans
        .iter()
        .filter(|span| span.name == "process push.jobs")
        .collect();
    rounds.sort_by_key(|span| span.times);
    let [first, second] = rounds[..] else {
        panic!("{rounds:#?}");
    };
    assert_eq!((&first.parent, first.kind), (&publish.id, 5));
    assert_eq!((&second.parent, second.kind), (&first.id, 5));
    let about = |span: &Span, key: &str| span.attributes[key].clone();
    assert_eq!(about(first, "push.next"), "retry");
    assert_eq!(about(second, "push.next"), "sent");
    for round in [first, second] {
        assert_eq!(about(round, "messaging.message.id"), id);
        let mut parts: BTreeMap<_, _> = spans
            .iter()
            .filter(|span| span.parent == round.id)
            .map(|span| (span.name.as_str(), span))
            .collect();
        for (name, part) in &parts {
            let ends_after_it_begins = part.times.0 <= part.times.1;
            let in_order = round.times.0 <= part.times.0 && ends_after_it_begins;
            assert!(in_order, "{name} begins before {round:#?}");
        }
        parts.retain(|name, _| *name != "process push.jobs");
        let fcm = parts["send fcm"];
        let expected = if round == first {
            (vec!["admit", "send fcm", "settle"], "retry")
        } else {
            (
                vec!["admit", "send expo", "send fcm", "settle"],
                "token_dead",
            )
        };
        assert_eq!(
            (
                parts.keys().copied().collect::<Vec<_>>(),
                about(fcm, "push.outcome").as_str()
            ),
            expected
        );
        assert!(fcm.failed.is_some() && fcm.kind == 3, "{fcm:?}");
        assert!(
            parts
                .get("send expo")
                .is_none_or(|expo| expo.failed.is_none())
        );
    }
    let services: Vec<_> = spans.iter().map(|span| span.service.as_str()).collect();
    assert_eq!(
        services.iter().filter(|name| **name == "push-api").count(),
        3
    );
    assert_eq!(spans.len(), 3 + 4 + 5, "{spans:#?}");

    // Whoever has the trace finds the log lines of both programs, and the other way round.
    for (message, lines) in [
        ("request", 1),
        ("settled", 1),
        ("waits for its next attempt", 1),
    ] {
        let logs = stack.logs().iter().flat_map(push_tests::Log::events);
        let told = logs.filter(|line| line["message"] == message && line["trace.id"] == TRACE);
        assert_eq!(told.count(), lines, "{message}");
    }
    // The collector is asked with its credentials, and told no secret.
    let authorized = collector.header("authorization");
    assert!(
        authorized
            .iter()
            .all(|value| value == "Bearer collectors-s3cret")
    );
    assert!(!authorized.is_empty());
    assert_eq!(undocumented_spans(&spans), BTreeSet::new());
    let told = stack.gives_away(&format!("{spans:?}"));
    assert!(told.is_empty(), "{told:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_nobody_wants_recorded_is_not_and_what_is_left_is_sent_at_the_end() {
    let collector = Collector::start().await;
    let mut stack = traced(&collector, "0").await;
    stack.counters_restart();
    stack.register(1, Device::android_fcm("pixel")).await;
    let unwanted = parent("11111111111111111111111111111111", false);
    let wanted = parent(TRACE, true);
    let id = stack.send(1).accepted().await;
    assert_eq!(stack.settled(&id).await.status, "sent");
    for traceparent in [&unwanted, &wanted] {
        // A request that waits is given up after seconds: not sooner than it has to.
        collector.hangs();
        let send = stack.send(1).header("traceparent", traceparent);
        let id = send.accepted().await;
        assert_eq!(stack.settled(&id).await.status, "sent");
    }
    // Nothing is left behind when a program stops, though the collector wakes up only then.
    let stopped = async |log: Log| {
        eventually("the program has stopped its work", async || {
            log.says("\"message\":\"stopped\"").then_some(())
        })
        .await;
        collector.takes();
    };
    let log = stack.workers[0].log.clone();
    let (code, ()) = tokio::join!(stack.terminate_worker(), stopped(log));
    assert_eq!(code, Some(0));
    assert_eq!(stack.terminate_api().await, Some(0));
    let spans = collector.spans();
    assert!(spans.iter().all(|span| span.trace == TRACE), "{spans:#?}");
    let names: Vec<_> = spans.iter().map(|span| span.name.as_str()).collect();
    for name in ["POST /api/Push/sendToCustomer", "process push.jobs"] {
        assert!(names.contains(&name), "{names:?}");
    }
    stack.start_api().await;
    stack.start_worker().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_collector_that_is_away_is_nobodys_trouble() {
    let collector = Collector::start().await;
    collector.hangs();
    let stack = traced(&collector, "1").await;
    stack.all_ready().await;
    stack.register(1, Device::android_fcm("pixel")).await;
    for program in [&stack.apis[0], &stack.workers[0]] {
        let metrics = stack.metrics_of(program).await;
        assert_eq!(metrics.sum("push_trace_spans_dropped_total", ""), Some(0.0));
    }
    for _ in 0..20 {
        let answer = stack.send(1).wait(20).answer().await.expect(200);
        assert_eq!(answer.json["status"], "sent");
    }
    let programs = [&stack.apis[0], &stack.workers[0]];
    for program in programs {
        eventually("what cannot be sent is dropped and counted", async || {
            let metrics = stack.metrics_of(program).await;
            let dropped = metrics.sum("push_trace_spans_dropped_total", "");
            (dropped > Some(0.0)).then_some(())
        })
        .await;
    }
    // Told once, however long it takes, and again when it is over.
    collector.takes();
    for program in programs {
        eventually("traces get there again", async || {
            stack.send(1).accepted().await;
            let log = &program.log;
            log.says("traces get to the collector again").then_some(())
        })
        .await;
        let lines = program.log.lines();
        let told = lines
            .iter()
            .filter(|line| line.contains("they are dropped"));
        assert_eq!(told.count(), 1, "{lines:#?}");
    }
    stack.all_settled().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_request_that_is_refused_or_whose_caller_is_gone_keeps_the_root_of_its_trace() {
    let collector = Collector::start().await;
    let stack = Stack::with()
        .env_api("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url)
        .env_api("RATE_LIMIT_PER_CUSTOMER", "1/1m")
        .workers(0)
        .start()
        .await;
    stack.leaves_pending();
    stack.register(1, Device::android_fcm("pixel")).await;
    // Nobody delivers: the caller gives up.
    let impatient = reqwest::Client::builder()
        .timeout(Duration::from_millis(500))
        .build()
        .unwrap();
    let body = json!({"id": 1, "title": "t", "body": "b"});
    let asked = impatient
        .post(format!("{}/api/Push/sendToCustomer", stack.apis[0].url()))
        .bearer_auth(Key::All.secret())
        .header("prefer", "wait=30")
        .header("traceparent", parent(TRACE, true))
        .json(&body)
        .send()
        .await;
    assert!(asked.is_err_and(|error| error.is_timeout()));
    let refused = stack
        .send(1)
        .header("traceparent", &parent(TRACE, true))
        .answer()
        .await;
    assert_eq!(refused.status, 429);
    let ends = eventually("both requests have their spans", async || {
        let spans = collector.spans().into_iter();
        let roots = spans.filter(|span| span.kind == 2 && span.parent == CALLER);
        let ends = roots.map(|root| {
            let status = root.attributes.get("http.response.status_code");
            (root.failed, status.cloned())
        });
        let ends: Vec<_> = ends.collect();
        (ends.len() == 2).then_some(ends)
    })
    .await;
    assert!(
        ends.contains(&(Some("caller_gone".to_owned()), None)),
        "{ends:?}"
    );
    assert!(ends.contains(&(None, Some("429".to_owned()))), "{ends:?}");
}
