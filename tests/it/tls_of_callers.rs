//! TLS between callers and the API: what it proves, and that a certificate is renewed without a restart.

use std::path::{Path, PathBuf};

use push_tests::{Age, Authority, Key, Program, Stack, eventually, run_to_end};
use reqwest::{Client, Response, Version};

type Settings = Vec<(String, String)>;

/// `cert.pem` and `key.pem`.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let name = format!("push-tests-tls-{}-{name}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    pub(crate) fn file(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// A new client, and so a new connection, that believes this authority.
async fn ask(port: &str, authority: &Path, version: Version) -> reqwest::Result<Response> {
    let root = std::fs::read(authority).unwrap();
    let client = Client::builder().tls_certs_only([reqwest::Certificate::from_pem(&root)?]);
    let client = if version == Version::HTTP_2 {
        client
    } else {
        client.http1_only()
    };
    let url = format!("https://localhost:{port}/api/Push/history");
    let request = client.build()?.get(url).bearer_auth(Key::Read.secret());
    request.send().await
}

pub(crate) fn with(settings: &Settings, own: &[(&str, String)]) -> Settings {
    let mut all = settings.clone();
    for (name, value) in own {
        all.retain(|(other, _)| other != name);
        all.push(((*name).to_owned(), value.clone()));
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn callers_who_believe_the_certificate_are_answered_and_it_is_renewed_while_it_runs() {
    let stack = Stack::with().workers(0).start().await;
    let (first, second) = (Authority::new(), Authority::new());
    let folder = Folder::new("renewed");
    first.certify("localhost", Age::Fresh).write_to(&folder.0);
    let settings = with(
        &stack.api_settings(),
        &[
            ("HTTP_TLS_CERT_FILE", folder.file("cert.pem")),
            ("HTTP_TLS_KEY_FILE", folder.file("key.pem")),
        ],
    );
    let mut api = Program::start("push-api", "push-api over TLS", &settings).await;
    let url = api.url();
    let (_, port) = url.rsplit_once(':').unwrap();

    for version in [Version::HTTP_2, Version::HTTP_11] {
        let answer = ask(port, first.file(), version).await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.version()), (200, version));
        let header = &answer.headers()["strict-transport-security"];
        assert_eq!(header, "max-age=31536000");
        let refused = ask(port, second.file(), version).await;
        assert!(refused.is_err(), "a stranger's certificate is believed");
    }
    // Without TLS nothing is answered; and over plain HTTP nobody is told to come over TLS.
    assert!(reqwest::get(format!("{url}/healthz")).await.is_err());
    let plain = reqwest::get(format!("{}/healthz", stack.apis[0].url()))
        .await
        .unwrap();
    assert!(!plain.headers().contains_key("strict-transport-security"));

    // The container's health check, and what an operator asks.
    let port_of = [("HTTP_ADDR", format!("127.0.0.1:{port}"))];
    let running = with(&settings, &port_of);
    let health = run_to_end("push-api", &["health"], &running).await;
    assert_eq!(health.code, Some(0), "{}", health.stderr);
    let check = run_to_end("push-api", &["check"], &running).await;
    assert!(
        check.stdout.contains("ok      http: TLS"),
        "{}",
        check.stdout
    );

    // Half of a renewal is none: what held before holds on. Then it is whole.
    let renewed = second.certify("localhost", Age::Fresh);
    let key = std::fs::read(folder.file("key.pem")).unwrap();
    renewed.write_to(&folder.0);
    let new_key = std::fs::read(folder.file("key.pem")).unwrap();
    std::fs::write(folder.file("key.pem"), key).unwrap();
    eventually("half a renewal is told", async || {
        api.log
            .says("is not the certificate of this private key")
            .then_some(())
    })
    .await;
    assert!(ask(port, first.file(), Version::HTTP_2).await.is_ok());
    std::fs::write(folder.file("key.pem"), new_key).unwrap();
    eventually("the renewed certificate is presented", async || {
        ask(port, second.file(), Version::HTTP_2).await.ok()
    })
    .await;
    assert!(ask(port, first.file(), Version::HTTP_2).await.is_err());

    // An expired one is told of, and kills nobody.
    second
        .certify("localhost", Age::Expired)
        .write_to(&folder.0);
    let check = run_to_end("push-api", &["check"], &running).await;
    assert_eq!(check.code, Some(1));
    assert!(
        check.stdout.contains("expired at 2020-02-01")
            || check.stderr.contains("expired at 2020-02-01")
    );
    let health = run_to_end("push-api", &["health"], &running).await;
    assert_eq!(health.code, Some(0), "{}", health.stderr);
    assert_eq!(api.terminate().await, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_certificate_without_its_key_is_no_plaintext() {
    let stack = Stack::with().workers(0).start().await;
    let settings = with(
        &stack.api_settings(),
        &[("HTTP_TLS_KEY", "anything".to_owned())],
    );
    let ended = run_to_end("push-api", &["run"], &settings).await;
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    let problem = "HTTP_TLS_CERT is not set, but HTTP_TLS_KEY is";
    assert!(ended.stderr.contains(problem), "{}", ended.stderr);
}
