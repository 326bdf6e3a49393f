//! How `pushctl` gets in: a key from a file, and a service that speaks TLS.

use std::path::PathBuf;

use push_tests::{Age, Authority, Environment, Key, Program, Stack, run_to_end};

/// A folder that is gone at the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let name = format!("pushctl-{}", uuid::Uuid::new_v4());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn pairs(pairs: &[(&str, &str)]) -> Environment {
    let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    pairs.iter().map(pair).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_key_may_come_from_a_file_and_from_one_place_only() {
    let stack = Stack::with().workers(0).start().await;
    let (folder, url) = (Folder::new(), stack.apis[0].url());
    let file = folder.file("key");
    std::fs::write(&file, format!("{}\n", Key::Read.secret())).unwrap();
    let settings = pairs(&[("PUSH_URL", &url), ("PUSH_API_KEY_FILE", &file)]);
    let ended = run_to_end("pushctl", &["history"], &settings).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let both = [settings, pairs(&[("PUSH_API_KEY", Key::Read.secret())])].concat();
    let ended = run_to_end("pushctl", &["history"], &both).await;
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains("both set"), "{}", ended.stderr);
    // An argument wins over the environment.
    let key = pairs(&[
        ("PUSH_URL", "http://127.0.0.1:1"),
        ("PUSH_API_KEY", Key::Read.secret()),
    ]);
    let ended = run_to_end("pushctl", &["history", "--url", &url], &key).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn over_tls_only_who_is_certified_gets_the_key() {
    let stack = Stack::with().workers(0).start().await;
    let (ours, strange) = (Authority::new(), Authority::new());
    let folder = Folder::new();
    ours.certify("localhost", Age::Fresh).write_to(&folder.0);
    let mut settings = stack.api_settings();
    settings.push(("HTTP_TLS_CERT_FILE".to_owned(), folder.file("cert.pem")));
    settings.push(("HTTP_TLS_KEY_FILE".to_owned(), folder.file("key.pem")));
    let mut api = Program::start("push-api", "push-api over TLS", &settings).await;
    let url = api.url();
    let (_, port) = url.rsplit_once(':').unwrap();
    let history = async |url: &str, authority: &Authority| {
        let authority = authority.file().display().to_string();
        let settings = pairs(&[
            ("PUSH_URL", url),
            ("PUSH_API_KEY", Key::Read.secret()),
            ("SSL_CERT_FILE", &authority),
        ]);
        run_to_end("pushctl", &["history"], &settings).await
    };
    let https = format!("https://localhost:{port}");
    let ended = history(&https, &ours).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let ended = history(&https, &strange).await;
    assert_eq!(ended.code, Some(3));
    assert!(ended.stderr.contains("certificate"), "{}", ended.stderr);
    let ended = history(&format!("http://localhost:{port}"), &ours).await;
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    assert_eq!(api.terminate().await, Some(0));
}
