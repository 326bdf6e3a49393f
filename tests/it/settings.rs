//! Settings: what is wrong is told together, before anything starts; and several replicas start at once.

use push_tests::{Collector, Device, Stack, eventually, run_to_end};

fn pairs(settings: &[(&str, &str)]) -> Vec<(String, String)> {
    settings
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

const COLLECTOR: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn wrong_settings_are_named_together_and_nothing_starts() {
    // Nothing set at all: what is missing is named.
    for (program, missing) in [
        ("push-api", &["DATABASE_URL", "AMQP_URL", "API_KEYS"][..]),
        (
            "push-worker",
            &["DATABASE_URL", "AMQP_URL", "PROVIDERS"][..],
        ),
    ] {
        for arguments in [&[][..], &["check"][..]] {
            let ended = run_to_end(program, arguments, &[]).await;
            assert_eq!(
                ended.code,
                Some(2),
                "{program} {arguments:?}: {}{}",
                ended.stdout,
                ended.stderr
            );
            for name in missing {
                assert!(
                    ended.stderr.contains(name),
                    "{program} names {name}: {}",
                    ended.stderr
                );
            }
            assert!(
                ended.stdout.is_empty(),
                "one message, in one place: {}",
                ended.stdout
            );
        }
    }
    let wrong_api = pairs(&[
        ("DATABASE_URL", "postgres://u:s3cret-password@h/push"),
        ("AMQP_URL", "http://u:s3cret-password@h"),
        ("HTTP_ADDR", "here"),
        ("METRICS_ADDR", "there"),
        ("API_KEYS", "a:fly:s3cret-password"),
        ("UNKNOWN_CUSTOMER", "maybe"),
        ("MIGRATE_ON_START", "perhaps"),
        ("SHUTDOWN_GRACE", "forever"),
        ("LOG_FORMAT", "xml"),
        ("RUST_LOG", "no=such=level"),
    ]);
    let wrong_worker = pairs(&[
        ("DATABASE_URL", "postgres://u:s3cret-password@h/push"),
        ("AMQP_URL", "http://u:s3cret-password@h"),
        ("METRICS_ADDR", "there"),
        ("PROVIDERS", "fcm,apns"),
        ("FCM_BASE_URL", "ftp://h"),
        ("EXPO_BASE_URL", "exp.host"),
        ("FIREBASE_TOKEN_URI", "nowhere"),
        ("RETRY_DELAYS", "30s,10s"),
        ("RECEIPT_DELAY", "soon"),
        ("RECONCILE_AFTER", "0s"),
        ("DELIVERY_POLICY", "maybe"),
        ("PREFETCH", "0"),
        ("FCM_MAX_IN_FLIGHT", "-1"),
        ("EXPO_RATE", "601"),
        ("PROVIDER_TIMEOUT", "1s"),
        ("SHUTDOWN_GRACE", "forever"),
        ("LOG_FORMAT", "xml"),
    ]);
    for (program, settings) in [("push-api", wrong_api), ("push-worker", wrong_worker)] {
        let ended = run_to_end(program, &[], &settings).await;
        assert_eq!(ended.code, Some(2), "{program}: {}", ended.stderr);
        for (name, _) in &settings {
            assert!(
                ended.stderr.contains(name),
                "{program} names {name}: {}",
                ended.stderr
            );
        }
        assert!(
            !ended.stderr.contains("s3cret-password"),
            "{}",
            ended.stderr
        );
    }
    // Half a service account, and a value that comes from a file.
    let half = pairs(&[
        ("FIREBASE_PROJECT_ID", "p"),
        ("DATABASE_URL_FILE", "/nowhere/at/all"),
    ]);
    let ended = run_to_end("push-worker", &[], &half).await;
    for name in [
        "FIREBASE_PRIVATE_KEY",
        "FIREBASE_CLIENT_EMAIL",
        "DATABASE_URL_FILE",
    ] {
        assert!(ended.stderr.contains(name), "{name}: {}", ended.stderr);
    }
    let key = pairs(&[
        ("FIREBASE_PROJECT_ID", "p"),
        ("FIREBASE_CLIENT_EMAIL", "e@p"),
        ("FIREBASE_PRIVATE_KEY", "s3cret-no-pem-key"),
        ("DATABASE_URL", "mysql://u@127.0.0.1:1/x"),
        ("AMQP_URL", "amqp://127.0.0.1:1"),
    ]);
    let ended = run_to_end("push-worker", &[], &key).await;
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    let told = format!("{}{}", ended.stdout, ended.stderr);
    assert!(!told.contains("s3cret-no-pem-key"), "{told}");
}

/// Another code than that of wrong settings: trying again, elsewhere or later, may help.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_program_whose_address_is_taken_says_so_and_ends_with_1() {
    let stack = Stack::start().await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (program, name, mut settings) in [
        ("push-api", "HTTP_ADDR", stack.api_settings()),
        ("push-worker", "METRICS_ADDR", stack.worker_settings()),
    ] {
        settings.retain(|(other, _)| other != name);
        settings.push((name.to_owned(), address.clone()));
        let ended = run_to_end(program, &[], &settings).await;
        assert_eq!(ended.code, Some(1), "{program}: {}", ended.stderr);
        assert!(ended.stderr.contains(name), "{}", ended.stderr);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn check_tries_everything_without_starting() {
    let stack = Stack::start().await;
    let collector = Collector::start().await;
    for (program, mut settings) in [
        ("push-api", stack.api_settings()),
        ("push-worker", stack.worker_settings()),
    ] {
        settings.push((COLLECTOR.to_owned(), collector.url.clone()));
        let ended = run_to_end(program, &["check"], &settings).await;
        assert!(
            ended.stdout.contains("ok      traces: "),
            "{}",
            ended.stdout
        );
        assert_eq!(
            ended.code,
            Some(0),
            "{program}: {}{}",
            ended.stdout,
            ended.stderr
        );
        // Servers that are not there: each is named.
        let mut gone = settings.clone();
        for (name, value) in &mut gone {
            match name.as_str() {
                "DATABASE_URL" => "mysql://root:s3cret-password@127.0.0.1:1/push".clone_into(value),
                "AMQP_URL" => "amqp://guest:s3cret-password@127.0.0.1:1".clone_into(value),
                COLLECTOR => "http://127.0.0.1:1".clone_into(value),
                "FIREBASE_TOKEN_URI" => "http://127.0.0.1:1/token".clone_into(value),
                _ => {}
            }
        }
        let ended = run_to_end(program, &["check"], &gone).await;
        assert_eq!(
            ended.code,
            Some(1),
            "{program}: {}{}",
            ended.stdout,
            ended.stderr
        );
        let told = format!("{}{}", ended.stdout, ended.stderr).to_lowercase();
        for what in ["database", "broker", "failed  traces: "] {
            assert!(told.contains(what), "{program} names the {what}: {told}");
        }
        assert!(program == "push-api" || told.contains("fcm"), "{told}");
        assert!(!told.contains("s3cret-password"), "{told}");
    }
    let health = run_to_end(
        "push-worker",
        &["health"],
        &[(
            "METRICS_ADDR".to_owned(),
            stack.workers[0].url().replace("http://", ""),
        )]
        .into_iter()
        .chain(
            stack
                .worker_settings()
                .into_iter()
                .filter(|(name, _)| name != "METRICS_ADDR"),
        )
        .collect::<Vec<_>>(),
    )
    .await;
    assert_eq!(health.code, Some(0), "{}", health.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn four_replicas_that_start_at_once_migrate_once() {
    let stack = Stack::with().apis(4).workers(2).start().await;
    stack.all_ready().await;
    stack.register(1, Device::android_fcm("pixel")).await;
    for index in 0..4 {
        let answer = stack
            .api_at(index)
            .send(1)
            .wait(20)
            .answer()
            .await
            .expect(200);
        assert_eq!(answer.json["status"], "sent");
    }
    let twice = "SELECT COUNT(*) FROM (SELECT version FROM _sqlx_migrations GROUP BY version HAVING COUNT(*) > 1 OR SUM(success) <> COUNT(*)) odd";
    assert_eq!(stack.database.number(twice).await, 0);
    // Once more, by hand: nothing to do.
    let ended = run_to_end("push-api", &["migrate"], &stack.api_settings()).await;
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_worker_waits_for_the_schema_and_an_api_that_must_not_migrate_says_what_is_missing() {
    let mut stack = Stack::with()
        .apis(0)
        .env_api("MIGRATE_ON_START", "false")
        .start()
        .await;
    stack.start_api().await;
    let settings = stack.api_settings();
    for program in [&stack.workers[0], &stack.apis[0]] {
        let answer = eventually("it has looked", async || {
            let answer = stack.readiness(program).await.expect(503);
            let message = answer.json["message"].as_str()?.to_owned();
            (message.contains("database") && message.contains("migrate")).then_some(answer)
        })
        .await;
        assert_eq!(answer.json["code"], "not_ready");
        assert!(!answer.header("retry-after").is_empty());
    }
    let alive = stack.api().get("/healthz").anonymous().answer().await;
    assert_eq!(alive.status, 200);
    let early = stack.send(1).answer().await.expect(503);
    assert_eq!(early.error_code(), "database_unavailable");
    let ended = run_to_end("push-api", &["check"], &settings).await;
    assert_eq!(
        ended.code,
        Some(1),
        "the settings are fine: {}",
        ended.stderr
    );
    let ended = run_to_end("push-api", &["migrate"], &settings).await;
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    stack.all_ready().await;
    stack.register(1, Device::android_fcm("pixel")).await;
    assert_eq!(
        stack.send(1).wait(20).answer().await.expect(200).json["status"],
        "sent"
    );
}
