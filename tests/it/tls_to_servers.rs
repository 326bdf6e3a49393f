//! TLS to the database and the broker: it works alone, and whatever is wrong with it, nothing goes in plaintext.

use push_tests::{
    Age, Authority, Device, Ear, Face, Https, PrivateMaria, PrivateRabbit, Server, Servers, Stack,
    eventually, run_to_end,
};

type Settings = Vec<(String, String)>;

fn changed(settings: &Settings, name: &str, value: &str) -> Settings {
    let mut changed = settings.clone();
    changed.retain(|(other, _)| other != name);
    changed.push((name.to_owned(), value.to_owned()));
    changed
}

fn value(settings: &Settings, name: &str) -> String {
    let found = settings.iter().find(|(other, _)| other == name);
    found.unwrap().1.clone()
}

/// What `check` of both programs says with one setting changed.
async fn checks(stack: &Stack, name: &str, value: &str) -> Vec<(Option<i32>, String)> {
    let mut said = Vec::new();
    for (program, settings) in [
        ("push-api", stack.api_settings()),
        ("push-worker", stack.worker_settings()),
    ] {
        let settings = changed(&settings, name, value);
        let ended = run_to_end(program, &["check"], &settings).await;
        said.push((ended.code, ended.stdout + &ended.stderr));
    }
    said
}

/// Both programs refuse to work with one setting changed, and say why.
async fn refused(stack: &Stack, name: &str, value: &str, because: &str) {
    for (code, said) in checks(stack, name, value).await {
        assert_eq!(code, Some(1), "{name}={value}: {said}");
        assert!(said.contains(because), "{name}={value}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn both_programs_deliver_through_tls_alone_and_believe_no_wrong_certificate() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let certificate = authority.certify("localhost", Age::Fresh);
    let (maria, rabbit) = tokio::join!(
        PrivateMaria::with_tls(&certificate),
        PrivateRabbit::with_tls(&certificate),
    );
    let ca = authority.file().display().to_string();
    let at_localhost = |server: Server| server.address.replace("127.0.0.1", "localhost");
    let database = Server {
        address: at_localhost(maria.server()),
        parameters: format!("?ssl-mode=VERIFY_IDENTITY&ssl-ca={ca}"),
        ..maria.server()
    };
    let broker = format!("amqps://guest:guest@localhost:{}/%2f", rabbit.tls_port());
    let servers = Servers {
        database,
        broker: rabbit.server(),
        ..Servers::of_environment()
    };
    let stack = Stack::with()
        .on(servers, false)
        .env_api("AMQP_URL", &broker)
        .env_api("SSL_CERT_FILE", &ca)
        .env_worker("AMQP_URL", &broker)
        .env_worker("SSL_CERT_FILE", &ca)
        .start()
        .await;
    let phone = stack.register(1, Device::android_fcm("pixel")).await;
    let sent = stack.send(1).wait(20).answer().await.expect(200);
    assert_eq!(sent.json["status"], "sent");
    let id = sent.json["notificationId"].as_str().unwrap();
    assert_eq!(stack.sim.rings(&phone, id).await, 1);

    // As they are, and with the authority of SSL_CERT_FILE instead.
    let url = value(&stack.api_settings(), "DATABASE_URL");
    let (plain, _) = url.split_once("&ssl-ca").unwrap();
    for database in [url.as_str(), plain] {
        for (code, said) in checks(&stack, "DATABASE_URL", database).await {
            assert_eq!(code, Some(0), "{said}");
            assert!(said.contains("database: encrypted (TLSv1."), "{said}");
            assert!(said.contains("certificate and host name checked"), "{said}");
            assert!(said.contains("broker: encrypted"), "{said}");
        }
    }
    let nobody = url.replace("VERIFY_IDENTITY", "REQUIRED");
    for (code, said) in checks(&stack, "DATABASE_URL", &nobody).await {
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains("whoever answers"), "{said}");
    }

    // A wrong authority, and a wrong host.
    let elsewhere = url.replace("@localhost", "@127.0.0.1");
    let wrong_host = broker.replace("@localhost", "@127.0.0.1");
    let not_for_it = "is not for the host name in the URL";
    refused(&stack, "DATABASE_URL", &elsewhere, not_for_it).await;
    refused(&stack, "AMQP_URL", &wrong_host, not_for_it).await;
    let untrusted = "is of no authority that we trust";
    let theirs = stranger.file().display().to_string();
    refused(&stack, "SSL_CERT_FILE", &theirs, untrusted).await;
    let only_theirs = changed(&stack.worker_settings(), "SSL_CERT_FILE", &theirs);
    for mode in ["VERIFY_CA", "VERIFY_IDENTITY"] {
        let url = plain.replace("VERIFY_IDENTITY", mode);
        let settings = changed(&only_theirs, "DATABASE_URL", &url);
        let said = run_to_end("push-worker", &["check"], &settings).await;
        let database = said.stderr.lines().find(|line| line.contains("database"));
        assert!(database.unwrap().contains(untrusted), "{}", said.stderr);
    }

    // The certificate expires.
    authority
        .certify("localhost", Age::Expired)
        .write_to(maria.dir());
    stack.database.execute("FLUSH SSL").await;
    refused(&stack, "DATABASE_URL", &url, "certificate has expired").await;
    certificate.write_to(maria.dir());
    stack.database.execute("FLUSH SSL").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn where_tls_is_demanded_and_not_had_not_a_word_is_said_and_readiness_tells() {
    let mut stack = Stack::start().await;
    let plain = Servers::of_environment();
    let (database, broker) = tokio::join!(
        Ear::to(&plain.database.address),
        Ear::to(&plain.broker.address)
    );
    let url = value(&stack.worker_settings(), "DATABASE_URL");
    let url = url.replace(
        &plain.database.address,
        &format!("127.0.0.1:{}", database.port()),
    ) + "?ssl-mode=REQUIRED";
    let amqps = format!(
        "amqps://user:s3cret-password@localhost:{}/%2f",
        broker.port()
    );
    stack.expect_errors("no connection to the broker until someone acts");
    stack
        .start_worker_but(&[("DATABASE_URL", url), ("AMQP_URL", amqps)])
        .await;
    let worker = &stack.workers[1];
    let answer = eventually("it knows why", async || {
        let answer = stack.readiness(worker).await;
        let told = answer.json.to_string();
        let known = told.contains("the server offers none") && told.contains("does not speak TLS");
        known.then_some(answer)
    })
    .await;
    assert_eq!(answer.status, 503, "{}", answer.json);
    assert_eq!(database.heard(), b"", "not even a user's name");
    let heard = broker.heard();
    assert_eq!(heard[..2], [0x16, 0x03], "the beginning of a TLS handshake");
    assert!(!heard.windows(4).any(|bytes| bytes == b"AMQP"));
    stack.workers.remove(1).terminate().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_broker_with_a_wrong_certificate_is_not_talked_to_until_it_is_right() {
    let mut stack = Stack::start().await;
    let proxy = Https::to(&Servers::of_environment().broker.address).await;
    let plain = value(&stack.api_settings(), "AMQP_URL");
    let (_, rest) = plain.split_once("://").unwrap();
    let (user, path) = (
        rest.split_once('@').unwrap().0,
        rest.split_once('/').unwrap().1,
    );
    let amqps = format!("amqps://{user}@localhost:{}/{path}", proxy.port());
    let ca = proxy.authority().display().to_string();
    let own = [("AMQP_URL", amqps), ("SSL_CERT_FILE", ca)];
    stack.expect_errors("no connection to the broker until someone acts");
    for (face, because) in [
        (Face::Stranger, "of no authority that we trust"),
        (Face::OtherHost, "not for the host name in the URL"),
        (Face::Expired, "certificate has expired"),
    ] {
        proxy.present(face);
        stack.start_worker_but(&own).await;
        let worker = stack.workers.last().unwrap();
        let answer = eventually("it knows why", async || {
            let answer = stack.readiness(worker).await;
            answer.json.to_string().contains(because).then_some(answer)
        })
        .await;
        assert_eq!(answer.status, 503, "{}", answer.json);
        assert_eq!(proxy.connections(), 0, "{face:?}");
        if face == Face::Expired {
            // Mended while it runs.
            proxy.present(Face::Trusted);
            stack.ready(worker).await;
        }
        stack.workers.pop().unwrap().terminate().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn who_may_read_along_is_told_once_and_no_harm_is_done() {
    let mut stack = Stack::start().await;
    // This machine under a name that might be any machine's.
    let elsewhere =
        |settings: &Settings, name| value(settings, name).replace("@127.0.0.1", "@0.0.0.0");
    let settings = stack.worker_settings();
    let (database, broker) = (
        elsewhere(&settings, "DATABASE_URL"),
        elsewhere(&settings, "AMQP_URL"),
    );
    let own = [("DATABASE_URL", database), ("AMQP_URL", broker)];
    stack.start_worker_but(&own).await;
    stack.ready(&stack.workers[1]).await;
    let warned = |worker: usize, text: &str| {
        let lines = stack.workers[worker].log.lines();
        lines.iter().filter(|line| line.contains(text)).count()
    };
    for text in [
        "DATABASE_URL does not demand TLS",
        "AMQP_URL is without TLS",
    ] {
        assert_eq!((warned(0, text), warned(1, text)), (0, 1), "{text}");
    }
    for (code, said) in checks(&stack, "PRIVACY_GUARD", "reject").await {
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains("database: NOT encrypted"), "{said}");
        assert!(said.contains("broker: NOT encrypted"), "{said}");
    }
}
