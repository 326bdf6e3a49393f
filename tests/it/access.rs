//! Who may do what, and with whose data.

use std::os::unix::fs::symlink;

use push_tests::{Answer, Device, Key, SigningKey, Stack, eventually, in_seconds, run_to_end};
use reqwest::Method;
use serde_json::{Value, json};

const SECRET: &str = "the-issuers-secret-of-32-bytes-or-more";
const NOBODY: &str = "0198c5a1-7c3e-7d0a-b7a5-3f6f4f0e9c11";

async fn call(stack: &Stack, token: &str, method: Method, path: &str, body: &Value) -> Answer {
    let call = stack.api().call(method, path).bearer(token).json(body);
    call.answer().await
}

async fn post(stack: &Stack, token: &str, path: &str, body: &Value) -> Answer {
    call(stack, token, Method::POST, path, body).await
}

fn good(answer: &Answer) {
    assert_eq!(answer.status, 200, "{}", answer.text);
}

/// What an answer says, and nothing that differs from request to request.
fn said(answer: Answer, status: u16) -> Value {
    answer.expect(status).json
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_customers_token_touches_what_is_the_customers_own() {
    let (rsa, ec) = (
        SigningKey::rs256(push_tests::PRIVATE_KEY),
        SigningKey::es256(),
    );
    let public = format!("{}{}", rsa.public_pem(), ec.public_pem());
    let stack = Stack::with()
        .env_api("CUSTOMER_JWT_SECRET", SECRET)
        .env_api("CUSTOMER_JWT_PUBLIC_KEY", &public)
        .start()
        .await;
    stack.know_customer(1).await;
    let other = stack.register(2, Device::android_both("another's")).await;
    let theirs = stack.send(2).wait(20).answer().await.expect(200).id();
    assert_eq!(stack.sim.rings(&other, &theirs).await, 1);

    // Signed in any of the three ways.
    let device = Device::android_fcm("own");
    stack.sim.know(&device).await;
    for (key, sub) in [
        (SigningKey::hs256(SECRET), json!("1")),
        (rsa, json!(1)),
        (ec, json!("1")),
    ] {
        let token = key.token(sub);
        let body = device.registration(1);
        good(&post(&stack, &token, "/api/Push/register", &body).await);
    }
    let token = SigningKey::hs256(SECRET).token("1");
    let own = stack.send(1).wait(20).answer().await.expect(200).id();
    let told = post(
        &stack,
        &token,
        "/api/Push/opened",
        &json!({"notificationId": own}),
    )
    .await;
    assert_eq!(told.expect(200).json["first"], true);
    let preferences = json!({"pushEnabled": true, "types": {}});
    let path = "/api/Push/preferences/1";
    good(&call(&stack, &token, Method::PUT, path, &preferences).await);
    good(&call(&stack, &token, Method::GET, path, &json!({})).await);

    // What is another's is not told apart from what is not there.
    for (method, path, body) in [
        (
            Method::POST,
            "/api/Push/register",
            &(|id| device.registration(id)) as &dyn Fn(i64) -> Value,
        ),
        (Method::POST, "/api/Push/unregister", &|id| {
            other.device.registration(id)
        }),
        (
            Method::POST,
            "/api/Push/opened",
            &|id| json!({"notificationId": theirs, "customerId": id}),
        ),
        (Method::GET, "/api/Push/preferences/{id}", &|_| json!({})),
        (Method::PUT, "/api/Push/preferences/{id}", &|_| {
            preferences.clone()
        }),
    ] {
        let of = async |id: i64| {
            let path = path.replace("{id}", &id.to_string());
            said(
                call(&stack, &token, method.clone(), &path, &body(id)).await,
                403,
            )
        };
        let (known, unknown) = (of(2).await, of(999).await);
        assert_eq!(
            (&known, &known["code"]),
            (&unknown, &json!("forbidden")),
            "{method} {path}"
        );
    }
    let opened = async |id: &str| {
        let body = json!({"notificationId": id});
        said(post(&stack, &token, "/api/Push/opened", &body).await, 404)
    };
    assert_eq!(opened(&theirs).await, opened(NOBODY).await);
    assert_eq!(stack.notification(&theirs).await["openedAt"], json!(null));

    // The other's tokens, named as if they were one's own: nothing happens to them.
    let stolen = other.device.registration(1);
    let told = post(&stack, &token, "/api/Push/unregister", &stolen).await;
    let never_there = json!({"userType": "customer", "id": 1, "deviceId": "never-there"});
    let same = post(&stack, &token, "/api/Push/unregister", &never_there).await;
    assert_eq!(said(told, 200), said(same, 200));
    let still = stack.send(2).wait(20).answer().await.expect(200);
    assert_eq!(still.json["status"], "sent", "{}", still.text);

    // Nothing else is open to a customer.
    for (method, path) in [
        (Method::POST, "/api/Push/sendToCustomer".to_owned()),
        (Method::GET, format!("/api/Push/notifications/{own}")),
        (Method::GET, "/api/Push/history?customerId=1".to_owned()),
        (Method::GET, "/api/Push/admin/queues".to_owned()),
    ] {
        let told = call(&stack, &token, method, &path, &json!({})).await;
        assert_eq!(told.expect(403).error_code(), "forbidden", "{path}");
    }
    // A backend's key is for all customers.
    let body = json!({"notificationId": theirs});
    let call = stack
        .api()
        .post("/api/Push/opened", &body)
        .key(Key::Register);
    good(&call.answer().await);
}

/// A directory as Kubernetes mounts a secret: what is read is a link to a link, which is swapped.
pub(crate) struct Mount(std::path::PathBuf);

impl Mount {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("push-access-{}-{name}", std::process::id()));
        drop(std::fs::remove_dir_all(&path));
        std::fs::create_dir_all(&path).unwrap();
        symlink("..data/value", path.join("value")).unwrap();
        Self(path)
    }

    pub(crate) fn file(&self) -> String {
        self.0.join("value").to_str().unwrap().to_owned()
    }

    pub(crate) fn say(&self, version: &str, content: &str) {
        let directory = self.0.join(version);
        std::fs::create_dir(&directory).unwrap();
        std::fs::write(directory.join("value"), content).unwrap();
        let new = self.0.join("..data_tmp");
        symlink(version, &new).unwrap();
        std::fs::rename(new, self.0.join("..data")).unwrap();
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn keys_are_replaced_and_revoked_while_every_replica_runs() {
    let (keys, public) = (Mount::new("keys"), Mount::new("public"));
    let (old, new) = ("key-shop-old-1f0c", "key-shop-new-83ab");
    let (rsa, ec) = (
        SigningKey::rs256(push_tests::PRIVATE_KEY),
        SigningKey::es256(),
    );
    let with = |shop: &str| format!("# of all\n{}\n\n# the shop's\n{shop}\n", Key::setting());
    keys.say("v1", &with(&format!("shop:read:{old}")));
    public.say("v1", &rsa.public_pem());
    let stack = Stack::with()
        .apis(2)
        .workers(0)
        .env_api("API_KEYS", "")
        .env_api("API_KEYS_FILE", &keys.file())
        .env_api("CUSTOMER_JWT_PUBLIC_KEY_FILE", &public.file())
        .start()
        .await;
    stack.all_ready().await;
    stack.know_customer(1).await;
    let (rsa_token, ec_token) = (rsa.token("1"), ec.token("1"));
    // At both replicas, over connections that are open already.
    let holds = async |credentials: [&str; 2], expected: [u16; 2]| {
        let paths = ["/api/Push/history", "/api/Push/preferences/1"];
        eventually("the new credentials hold at every replica", async || {
            for replica in 0..2 {
                for ((path, secret), status) in paths.iter().zip(credentials).zip(expected) {
                    let call = stack.api_at(replica).get(path).bearer(secret);
                    if call.answer().await.status != status {
                        return None;
                    }
                }
            }
            Some(())
        })
        .await;
    };
    holds([old, &rsa_token], [200, 200]).await;
    holds([new, &ec_token], [401, 401]).await;

    keys.say("v2", &with(&format!("shop:read:{old},shop:read:{new}")));
    public.say("v2", &format!("{}{}", ec.public_pem(), rsa.public_pem()));
    holds([new, &ec_token], [200, 200]).await;
    holds([old, &rsa_token], [200, 200]).await;

    keys.say("v3", &with(&format!("shop:read:{new}")));
    public.say("v3", &ec.public_pem());
    holds([old, &rsa_token], [401, 401]).await;
    holds([new, &ec_token], [200, 200]).await;

    // What cannot be used changes nothing, and is told once.
    stack.expect_errors("the file cannot be used");
    let failed = async |expected: f64| {
        for setting in ["API_KEYS", "CUSTOMER_JWT_PUBLIC_KEY"] {
            eventually("the metric tells of the file", async || {
                for api in &stack.apis {
                    let label = format!("setting=\"{setting}\"");
                    let metrics = stack.metrics_of(api).await;
                    if metrics.sum("push_settings_reload_failed", &label) != Some(expected) {
                        return None;
                    }
                }
                Some(())
            })
            .await;
        }
    };
    failed(0.0).await;
    stack.keep_secret("key-that-nobody-may-see");
    keys.say("v4", &with("shop:read+fly:key-that-nobody-may-see"));
    public.say("v4", "no key at all");
    failed(1.0).await;
    holds([new, &ec_token], [200, 200]).await;
    keys.say("v5", "# nothing is left\n");
    public.say("v5", "");
    eventually("the empty files are told", async || {
        let told = |log: &push_tests::Log| {
            let lines = log.lines();
            lines
                .iter()
                .filter(|line| line.contains("has no key"))
                .count()
                == 2
        };
        stack.logs().iter().all(told).then_some(())
    })
    .await;
    holds([new, &ec_token], [200, 200]).await;
    for log in stack.logs() {
        let told = log.lines();
        let told = told
            .iter()
            .filter(|line| line.contains("the file cannot be used"));
        assert_eq!(told.count(), 4, "each content once");
    }

    keys.say("v6", &with(""));
    public.say("v6", &rsa.public_pem());
    failed(0.0).await;
    holds([new, &ec_token], [401, 401]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_key_is_made_by_one_command() {
    let made = run_to_end("push-api", &["key", "shop", "send+read"], &[]).await;
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    let line = |name: &str| {
        let lines = made.stdout.lines();
        let mut rest = lines.filter_map(|line| line.strip_prefix(name));
        rest.next().unwrap().trim().to_owned()
    };
    let (secret, entry) = (line("secret"), line("entry"));
    assert!(!entry.contains(&secret), "{entry}");
    let stack = Stack::with()
        .workers(0)
        .env_api("API_KEYS", &format!("{},{entry}", Key::setting()))
        .start()
        .await;
    let history = stack.api().get("/api/Push/history").bearer(&secret);
    good(&history.answer().await);
    let wrong = run_to_end("push-api", &["key", "shop", "fly"], &[]).await;
    assert_eq!(wrong.code, Some(1), "{}", wrong.stdout);
    assert!(wrong.stderr.contains("unknown scope"), "{}", wrong.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_admin_is_known_by_name() {
    let stack = Stack::with()
        .env_api("CUSTOMER_JWT_SECRET", SECRET)
        .env_api("ADMIN_JWT_CLAIM", "groups=push-admins")
        .start()
        .await;
    stack.all_ready().await;
    let claims = json!({"sub": "ann@example.org", "groups": ["staff", "push-admins"], "exp": in_seconds(600)});
    let ann = SigningKey::hs256(SECRET).sign(&claims);
    let customer = SigningKey::hs256(SECRET).token("17");
    let (pause, resume) = (
        "/api/Push/admin/providers/fcm/pause",
        "/api/Push/admin/providers/fcm/resume",
    );
    let told = post(&stack, &customer, pause, &json!({})).await;
    assert_eq!(told.status, 403, "{}", told.text);
    good(&post(&stack, &ann, pause, &json!({})).await);
    let queues = call(
        &stack,
        &ann,
        Method::GET,
        "/api/Push/admin/queues",
        &json!({}),
    )
    .await;
    assert!(
        queues.text.contains("\"jwt:ann@example.org\""),
        "{}",
        queues.text
    );
    good(&post(&stack, &ann, resume, &json!({})).await);
    for name in ["jwt:ann@example.org", "customer:17"] {
        let caller = format!("\"caller\":\"{name}\"");
        eventually("the log tells who it was", async || {
            stack.logs()[0]
                .lines()
                .iter()
                .any(|line| line.contains(&caller))
                .then_some(())
        })
        .await;
    }
}
