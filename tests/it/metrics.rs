//! What an operator watches: metrics, probes and books.

use std::time::{SystemTime, UNIX_EPOCH};

use push_tests::{Answer, Device, Metrics, Program, Provider, Stack, eventually};
use reqwest::Method;
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_books_balance_and_the_contracts_metrics_are_there() {
    let mut stack = Stack::start().await;
    stack.all_ready().await;
    stack.register(1, Device::android_fcm("good")).await;
    let bad = stack.register(2, Device::android_fcm("bad")).await;
    stack.know_customer(3).await;
    stack
        .sim
        .always(Provider::Fcm, bad.fcm(), json!({"case": "unregistered"}))
        .await;
    let mut last = String::new();
    for (customer, status) in [
        (1, "sent"),
        (1, "sent"),
        (2, "failed"),
        (3, "suppressed"),
        (3, "suppressed"),
        (3, "suppressed"),
    ] {
        let answer = stack.send(customer).wait(20).answer().await.expect(200);
        assert_eq!(answer.json["status"], status);
        last = answer.id();
    }
    eventually("the worker has counted what it settled", async || {
        let worker = stack.metrics_of(&stack.workers[0]).await;
        let count = |status: &str| {
            worker.sum(
                "push_notifications_settled_total",
                &format!("status=\"{status}\""),
            )
        };
        (count("sent") == Some(2.0)
            && count("failed") == Some(1.0)
            && count("suppressed") == Some(3.0))
        .then_some(())
    })
    .await;
    let api = stack.metrics_of(&stack.apis[0]).await;
    assert_eq!(api.sum("push_notifications_accepted_total", ""), Some(6.0));

    // No label holds a token, an id or a customer.
    for program in [&stack.apis[0], &stack.workers[0]] {
        let metrics: Metrics = stack.metrics_of(program).await;
        assert!(
            metrics.names().iter().all(|name| name.starts_with("push_")),
            "{:?}",
            metrics.names()
        );
        assert!(!format!("{metrics:?}").contains(&last));
    }

    // Nobody is there to deliver: the books show what is pending, and balance.
    assert_eq!(stack.terminate_worker().await, Some(0));
    let id = stack.send(1).accepted().await;
    let books = async |pending: f64| {
        eventually("the books are read again", async || {
            let metrics = stack.metrics_of(&stack.apis[0]).await;
            assert_eq!(metrics.sum("push_books_out_of_balance", ""), Some(0.0));
            (metrics.sum("push_notifications_pending", "") == Some(pending)).then_some(())
        })
        .await;
    };
    books(1.0).await;
    stack.start_worker().await;
    assert_eq!(stack.settled(&id).await.status, "sent");
}

/// Where time goes, why notifications end, and what is about to run out.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn stages_endings_credentials_and_connections_are_measured() {
    let stack = Stack::with().env_worker("RETRY_DELAYS", "1s").start().await;
    stack.all_ready().await;
    let phone = stack.register(1, Device::android_fcm("pixel")).await;
    stack.know_customer(2).await;
    let answers = json!([{"case": "unavailable"}, {"case": "ok"}]);
    stack.sim.script(Provider::Fcm, phone.fcm(), answers).await;
    for (customer, status) in [(1, "sent"), (1, "sent"), (2, "suppressed")] {
        let id = stack.send(customer).accepted().await;
        assert_eq!(stack.settled(&id).await.status, status);
    }
    let counted = async |program: &Program, name: &str, label: &str, expected: f64| {
        eventually(&format!("{name}{{{label}}} is {expected}"), async || {
            let metrics = stack.metrics_of(program).await;
            (metrics.sum(name, label) == Some(expected)).then_some(())
        })
        .await;
    };
    // Two rounds of the first notification, one of each other; for the last one nobody is asked.
    let (api, worker) = (&stack.apis[0], &stack.workers[0]);
    for (program, stage, times) in [
        (api, "commit", 3.0),
        (api, "publish", 3.0),
        (worker, "queue", 3.0),
        (worker, "admit", 4.0),
        (worker, "deliver", 3.0),
        (worker, "settle", 4.0),
    ] {
        let label = format!("stage=\"{stage}\"");
        counted(program, "push_stage_duration_seconds_count", &label, times).await;
    }
    let of_fcm = "provider=\"fcm\"";
    counted(worker, "push_delivery_duration_seconds_count", of_fcm, 2.0).await;
    for (reason, times) in [("none", 2.0), ("no_active_device", 1.0)] {
        let label = format!("reason=\"{reason}\"");
        counted(worker, "push_notifications_ended_total", &label, times).await;
    }
    let outcome = "outcome=\"granted\"";
    counted(worker, "push_credential_refreshes_total", outcome, 1.0).await;
    let metrics = stack.metrics_of(worker).await;
    let expires = metrics.sum("push_credential_expires_timestamp_seconds", of_fcm);
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs_f64();
    assert!(
        expires.is_some_and(|at| at > now && at < now + 7_200.0),
        "{expires:?}"
    );
    for program in [api, worker] {
        let metrics = stack.metrics_of(program).await;
        let open = metrics.sum("push_database_connections", "").unwrap();
        let most = metrics.sum("push_database_connections_max", "").unwrap();
        assert!(open >= 1.0 && open <= most, "{open} of {most}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn probes_tell_what_is_missing() {
    let stack = Stack::with().through_links().start().await;
    stack.all_ready().await;
    let says = async |program: &push_tests::Program, status: u16, what: &str| -> Answer {
        eventually(
            &format!("{} answers {status} and names {what}", program.log.name),
            async || {
                let answer = stack.readiness(program).await;
                let message = answer.json["message"]
                    .as_str()
                    .unwrap_or_default()
                    .to_lowercase();
                (answer.status == status && message.contains(what)).then_some(answer)
            },
        )
        .await
    };
    // Without the broker: the API is degraded and takes on, the worker has nothing to do.
    let gauges = async |check: &str, there: bool| {
        for program in [&stack.apis[0], &stack.workers[0]] {
            eventually("the metrics tell it, too", async || {
                let metrics = stack.metrics_of(program).await;
                let told = metrics.sum("push_ready", &format!("check=\"{check}\""));
                (told == Some(f64::from(u8::from(there)))).then_some(())
            })
            .await;
        }
    };
    stack.links().cut_broker();
    let api = says(&stack.apis[0], 200, "broker").await;
    assert_eq!(
        (&api.json["success"], &api.json["status"]),
        (&json!(true), &json!("degraded"))
    );
    let worker = says(&stack.workers[0], 503, "broker").await;
    assert_eq!(worker.json["success"], false);
    gauges("broker", false).await;
    stack.links().restore();
    stack.all_ready().await;
    gauges("broker", true).await;
    // Without the database: neither works. Liveness is another question.
    stack.links().cut_database();
    says(&stack.apis[0], 503, "database").await;
    says(&stack.workers[0], 503, "database").await;
    gauges("database", false).await;
    let alive = stack
        .api()
        .get("/healthz")
        .anonymous()
        .answer()
        .await
        .expect(200);
    assert_eq!(alive.json["success"], true);
    assert!(
        stack.apis[0].log.lines().len() < 60 && stack.workers[0].log.lines().len() < 60,
        "no log flood"
    );
    stack.links().restore();
    stack.all_ready().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_address_of_the_probes_own_answers_as_the_apis_does() {
    let stack = Stack::with()
        .env_api("METRICS_ADDR", "127.0.0.1:0")
        .workers(0)
        .start()
        .await;
    let served = stack.apis[0].log.events().into_iter().find_map(|event| {
        let address = event.get("address").or(event["fields"].get("address"))?;
        let is_it = event.to_string().contains("metrics and probes are served");
        is_it.then(|| format!("http://{}", address.as_str().unwrap_or_default()))
    });
    let probes = stack.api_under(served.unwrap());
    let ask =
        async |method: Method, path: &str| probes.call(method, path).anonymous().answer().await;
    for path in ["/healthz", "/HEALTHZ", "/readyz", "/ReadyZ"] {
        let answer = ask(Method::GET, path).await.expect(200);
        assert_eq!(answer.json["success"], true, "{path}");
        assert!(!answer.header("x-request-id").is_empty(), "{path}");
    }
    let metrics = ask(Method::GET, "/metrics").await.expect(200);
    assert!(metrics.text.contains("push_notifications_accepted_total"));
    let document = ask(Method::GET, "/openapi.json").await.expect(200).json;
    assert!(document["paths"].get("/metrics").is_some());
    assert_eq!(document["paths"].get("/api/Push/test"), None);
    for path in ["/docs", "/docs/", "/docs/docs.js"] {
        drop(ask(Method::GET, path).await.expect(200));
    }
    let of_docs = ask(Method::GET, "/docs/openapi.json").await;
    let of_docs = of_docs.expect(200).json;
    assert!(of_docs["paths"].get("/api/Push/test").is_some());
    for (method, path, status, code) in [
        (Method::GET, "/nowhere", 404, "not_found"),
        (Method::POST, "/api/Push/test", 404, "not_found"),
        (Method::POST, "/metrics", 405, "method_not_allowed"),
    ] {
        let answer = ask(method, path).await.expect(status);
        assert_eq!(answer.error_code(), code, "{path}");
    }
    let beside = stack.api().get("/metrics").anonymous().answer().await;
    assert_eq!(beside.status, 404, "they have an address of their own");
}

/// P8 is no tautology: what would be pending for ever shows, and what is pending for long.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_notification_that_nobody_would_look_for_is_a_leak() {
    let stack = Stack::with()
        .env_api("RECONCILE_AFTER", "1s")
        .workers(0)
        .start()
        .await;
    stack.know_customer(1).await;
    drop(stack.send(1).accepted().await);
    let told = async |overdue: f64, out_of_balance: f64| {
        eventually("the metrics tell", async || {
            let metrics = stack.metrics_of(&stack.apis[0]).await;
            let pending = metrics.sum("push_notifications_pending", "")?;
            let found = (
                metrics.sum("push_notifications_overdue", "")?,
                metrics.sum("push_books_out_of_balance", "")?,
            );
            (pending == 1.0 && found == (overdue, out_of_balance)).then_some(())
        })
        .await;
    };
    told(1.0, 0.0).await;
    stack
        .database
        .execute("UPDATE notification_history SET due_at = NULL")
        .await;
    told(0.0, 1.0).await;
    // No worker runs in this story; and at the end the books must balance.
    stack.leaves_pending();
    stack
        .database
        .execute("UPDATE notification_history SET due_at = NOW(3) + INTERVAL 1 HOUR")
        .await;
    told(0.0, 0.0).await;
}
