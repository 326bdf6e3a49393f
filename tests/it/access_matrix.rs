//! Every operation of the document with every kind of credentials. What is to come of it stands here and not in the
//! document: an operation without a rule fails the test.

use std::collections::BTreeMap;

use push_tests::{Answer, Device, Key, PRIVATE_KEY, SigningKey, Stack, in_seconds, unsigned};
use reqwest::Method;
use serde_json::{Value, json};

const SECRET: &str = "the-issuers-secret-of-32-bytes-or-more";
const STRANGER: &str = include_str!("../../crates/push-sim/tests/keys/stranger.pem");
const ADMIN_KEY: &str = "key-admin-only-77c1b2";
const NOBODY: &str = "0198c5a1-7c3e-7d0a-b7a5-3f6f4f0e9c11";
const OWN: i64 = 1;
const FOREIGN: i64 = 2;

/// Who may carry out an operation.
#[derive(Clone, Copy, Debug)]
enum Rule {
    /// Everybody: it tells nothing of anybody.
    Anybody,
    /// Who has a key with this scope; an admin's token has `read` and `admin`.
    Scope(&'static str),
    /// Who has a key with `register`; and a customer, for what is the customer's own. With what is another's: this status.
    Own(u16),
}

const RULES: &[(&str, Rule)] = &[
    ("GET /healthz", Rule::Anybody),
    ("GET /readyz", Rule::Anybody),
    ("GET /metrics", Rule::Anybody),
    ("GET /openapi.json", Rule::Anybody),
    ("POST /api/Push/register", Rule::Own(403)),
    ("POST /api/Push/unregister", Rule::Own(403)),
    ("POST /api/Push/opened", Rule::Own(404)),
    ("GET /api/Push/preferences/{customerId}", Rule::Own(403)),
    ("PUT /api/Push/preferences/{customerId}", Rule::Own(403)),
    ("POST /api/Push/sendToCustomer", Rule::Scope("send")),
    ("POST /api/Push/sendBatch", Rule::Scope("send")),
    ("POST /api/Push/events", Rule::Scope("send")),
    ("POST /api/Push/test", Rule::Scope("send")),
    (
        "DELETE /api/Push/notifications/{notificationId}",
        Rule::Scope("send"),
    ),
    (
        "GET /api/Push/notifications/{notificationId}",
        Rule::Scope("read"),
    ),
    ("GET /api/Push/history", Rule::Scope("read")),
    ("GET /api/Push/stats", Rule::Scope("read")),
    ("GET /api/Push/admin/deadLetters", Rule::Scope("admin")),
    ("GET /api/Push/admin/deadLetters/{id}", Rule::Scope("admin")),
    (
        "POST /api/Push/admin/deadLetters/{id}/replay",
        Rule::Scope("admin"),
    ),
    (
        "POST /api/Push/admin/deadLetters/{id}/discard",
        Rule::Scope("admin"),
    ),
    (
        "POST /api/Push/admin/deadLetters/replay",
        Rule::Scope("admin"),
    ),
    (
        "POST /api/Push/admin/deadLetters/discard",
        Rule::Scope("admin"),
    ),
    (
        "DELETE /api/Push/customers/{customerId}",
        Rule::Scope("admin"),
    ),
    ("GET /api/Push/admin/operations", Rule::Scope("admin")),
    (
        "GET /api/Push/admin/operations/{operationId}",
        Rule::Scope("admin"),
    ),
    (
        "POST /api/Push/admin/operations/{operationId}/cancel",
        Rule::Scope("admin"),
    ),
    (
        "GET /api/Push/admin/customers/{customerId}",
        Rule::Scope("admin"),
    ),
    ("POST /api/Push/admin/session", Rule::Scope("admin")),
    ("GET /api/Push/admin/session", Rule::Scope("admin")),
    ("DELETE /api/Push/admin/session", Rule::Scope("admin")),
    ("GET /api/Push/admin/books", Rule::Scope("admin")),
    ("GET /api/Push/admin/queues", Rule::Scope("admin")),
    (
        "POST /api/Push/admin/providers/{provider}/pause",
        Rule::Scope("admin"),
    ),
    (
        "POST /api/Push/admin/providers/{provider}/resume",
        Rule::Scope("admin"),
    ),
];

/// Whose credentials they are.
#[derive(Clone, Copy, Debug)]
enum Who {
    Nobody,
    Key(&'static [&'static str]),
    /// Of [`OWN`].
    Customer,
    Admin,
}

/// What is to come of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// Neither 401 nor 403.
    LetIn,
    /// It is carried out.
    Done,
    Refused(u16),
}

fn outcome(rule: Rule, who: Who, of: i64) -> Outcome {
    let let_in = |yes| {
        if yes {
            Outcome::LetIn
        } else {
            Outcome::Refused(403)
        }
    };
    match (rule, who) {
        (Rule::Anybody, _) => Outcome::LetIn,
        (Rule::Scope(_) | Rule::Own(_), Who::Nobody) => Outcome::Refused(401),
        (Rule::Scope(scope), Who::Key(scopes)) => let_in(scopes.contains(&scope)),
        (Rule::Scope(scope), Who::Admin) => let_in(["read", "admin"].contains(&scope)),
        (Rule::Scope(_), Who::Customer) | (Rule::Own(_), Who::Admin) => Outcome::Refused(403),
        (Rule::Own(_), Who::Key(scopes)) => let_in(scopes.contains(&"register")),
        (Rule::Own(_), Who::Customer) if of == OWN => Outcome::Done,
        (Rule::Own(status), Who::Customer) => Outcome::Refused(status),
    }
}

/// What the document has to say of it.
fn security(rule: Rule) -> Value {
    let with = |scope: &str, token: Option<&str>| {
        let mut who = vec![json!({"bearer": [scope]}), json!({"apiKey": [scope]})];
        who.extend(token.map(|token| json!({token: []})));
        Value::Array(who)
    };
    match rule {
        Rule::Anybody => Value::Null,
        Rule::Scope(scope @ "send") => with(scope, None),
        Rule::Scope(scope) => with(scope, Some("adminToken")),
        Rule::Own(_) => with("register", Some("customerToken")),
    }
}

/// A name, a header and its value, and whose they are.
type Credentials = (String, &'static str, String, Who);

fn credentials() -> Vec<Credentials> {
    let secret = SigningKey::hs256(SECRET);
    let (rsa, ec) = (SigningKey::rs256(PRIVATE_KEY), SigningKey::es256());
    let claims =
        || json!({"sub": "1", "exp": in_seconds(600), "aud": "push", "iss": "https://id.example"});
    let but = |name: &str, value: Value| {
        let mut claims = claims();
        claims[name] = value;
        claims
    };
    let without = |name: &str| {
        let mut claims = claims();
        claims.as_object_mut().unwrap().remove(name);
        claims
    };
    let as_is = |header: Value| secret.sign_as(&header, &claims());
    let none = |alg: &str| format!("{}.", unsigned(&json!({"alg": alg}), &claims()));
    let (all, register, send, read, admin) = (
        Who::Key(&["register", "send", "read", "admin"]),
        Who::Key(&["register"]),
        Who::Key(&["send"]),
        Who::Key(&["read"]),
        Who::Key(&["admin"]),
    );
    let bearers = [
        ("a key with all scopes", Key::All.secret().to_owned(), all),
        (
            "a key for register",
            Key::Register.secret().to_owned(),
            register,
        ),
        ("a key for send", Key::Send.secret().to_owned(), send),
        ("a key for read", Key::Read.secret().to_owned(), read),
        ("a key for admin", ADMIN_KEY.to_owned(), admin),
        ("nothing", String::new(), Who::Nobody),
        ("garbage", "garbage-1234".to_owned(), Who::Nobody),
        ("garbage with dots", "a.b.c".to_owned(), Who::Nobody),
        (
            "a key that was removed",
            "key-removed-5512".to_owned(),
            Who::Nobody,
        ),
        ("a customer's token", secret.sign(&claims()), Who::Customer),
        ("the same by RS256", rsa.sign(&claims()), Who::Customer),
        (
            "one of several audiences",
            secret.sign(&but("aud", json!(["shop", "push"]))),
            Who::Customer,
        ),
        (
            "another claim",
            secret.sign(&but("role", json!("push-administrator"))),
            Who::Customer,
        ),
        (
            "an admin's token",
            secret.sign(&but("role", json!("push-admin"))),
            Who::Admin,
        ),
        (
            "one of several roles",
            rsa.sign(&but("role", json!(["user", "push-admin"]))),
            Who::Admin,
        ),
        (
            "expired",
            secret.sign(&but("exp", json!(in_seconds(-120)))),
            Who::Nobody,
        ),
        (
            "an admin's, expired",
            secret.sign(
                &json!({"sub": "ann", "role": "push-admin", "exp": in_seconds(-120),
            "aud": "push", "iss": "https://id.example"}),
            ),
            Who::Nobody,
        ),
        ("for ever", secret.sign(&without("exp")), Who::Nobody),
        (
            "not yet",
            secret.sign(&but("nbf", json!(in_seconds(600)))),
            Who::Nobody,
        ),
        (
            "another audience",
            secret.sign(&but("aud", json!("shop"))),
            Who::Nobody,
        ),
        ("no audience", secret.sign(&without("aud")), Who::Nobody),
        (
            "another issuer",
            secret.sign(&but("iss", json!("https://evil.example"))),
            Who::Nobody,
        ),
        ("no issuer", secret.sign(&without("iss")), Who::Nobody),
        ("no subject", secret.sign(&without("sub")), Who::Nobody),
        (
            "no customer",
            secret.sign(&but("sub", json!("ann"))),
            Who::Nobody,
        ),
        (
            "customer 0",
            secret.sign(&but("sub", json!(0))),
            Who::Nobody,
        ),
        (
            "an admin without a name",
            secret.sign(
                &json!({"sub": "", "role": "push-admin", "exp": in_seconds(600),
            "aud": "push", "iss": "https://id.example"}),
            ),
            Who::Nobody,
        ),
        ("alg none", none("none"), Who::Nobody),
        ("alg NONE", none("NONE"), Who::Nobody),
        (
            "alg RS256 by the secret",
            as_is(json!({"alg": "RS256"})),
            Who::Nobody,
        ),
        ("alg HS512", as_is(json!({"alg": "HS512"})), Who::Nobody),
        (
            "crit",
            as_is(json!({"alg": "HS256", "crit": ["exp"]})),
            Who::Nobody,
        ),
        (
            "the public key as a secret",
            SigningKey::hs256(rsa.public_pem()).sign(&claims()),
            Who::Nobody,
        ),
        (
            "another secret",
            SigningKey::hs256("x".repeat(40)).sign(&claims()),
            Who::Nobody,
        ),
        (
            "another RSA key",
            SigningKey::rs256(STRANGER).sign(&claims()),
            Who::Nobody,
        ),
        ("a key of another kind", ec.sign(&claims()), Who::Nobody),
        (
            "too large",
            secret.sign(&but("padding", json!("x".repeat(4_000)))),
            Who::Nobody,
        ),
    ];
    let bearers = bearers.map(|(name, secret, who)| {
        (
            name.to_owned(),
            "authorization",
            format!("Bearer {secret}"),
            who,
        )
    });
    let others = [
        ("no header", "x-other", "nothing".to_owned(), Who::Nobody),
        (
            "X-Api-Key",
            "x-api-key",
            Key::Read.secret().to_owned(),
            read,
        ),
        (
            "a token as X-Api-Key",
            "x-api-key",
            secret.sign(&claims()),
            Who::Nobody,
        ),
        (
            "a wrong X-Api-Key",
            "x-api-key",
            "garbage-1234".to_owned(),
            Who::Nobody,
        ),
        (
            "another scheme",
            "authorization",
            format!("Basic {}", Key::All.secret()),
            Who::Nobody,
        ),
    ];
    let others = others.map(|(name, header, value, who)| (name.to_owned(), header, value, who));
    bearers.into_iter().chain(others).collect()
}

/// What is asked for, about a customer.
struct Asked<'a> {
    device: &'a Device,
    /// Of whom which notification is.
    notifications: &'a BTreeMap<i64, String>,
}

impl Asked<'_> {
    fn path(&self, path: &str, rule: Rule, of: i64) -> String {
        // Nobody else's data is touched by who may do all.
        let customer = if matches!(rule, Rule::Own(_)) {
            of
        } else {
            999_999
        };
        path.replace("{customerId}", &customer.to_string())
            .replace("{notificationId}", NOBODY)
            .replace("{operationId}", NOBODY)
            .replace("{provider}", "fcm")
            .replace("{id}", "999999")
    }

    fn body(&self, operation: &str, of: i64) -> Value {
        match operation {
            "POST /api/Push/register" => self.device.registration(of),
            "POST /api/Push/unregister" => {
                json!({"userType": "customer", "id": of, "deviceId": "never-there"})
            }
            "POST /api/Push/opened" => json!({"notificationId": self.notifications[&of]}),
            "PUT /api/Push/preferences/{customerId}" => json!({"pushEnabled": true, "types": {}}),
            _ => json!({}),
        }
    }
}

/// All that an answer says, but for what names the request.
fn all_of(answer: &Answer) -> (u16, String, Vec<(String, String)>) {
    let headers = answer.headers.iter();
    // What is left of the budget says nothing of the credential.
    let own = ["date", "x-request-id", "ratelimit"];
    let headers = headers.filter(|(name, _)| !own.contains(&name.as_str()));
    let headers = headers.map(|(name, value)| (name.to_string(), format!("{value:?}")));
    (answer.status, answer.text.clone(), headers.collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn every_operation_lets_in_whom_its_rule_names_and_nobody_else() {
    let keys = format!("{},ops:admin:{ADMIN_KEY}", Key::setting());
    let stack = Stack::with()
        .env_api("API_KEYS", &keys)
        .env_api("CUSTOMER_JWT_SECRET", SECRET)
        .env_api(
            "CUSTOMER_JWT_PUBLIC_KEY",
            &SigningKey::rs256(PRIVATE_KEY).public_pem(),
        )
        .env_api("CUSTOMER_JWT_AUDIENCE", "push")
        .env_api("CUSTOMER_JWT_ISSUER", "https://id.example")
        .env_api("ADMIN_JWT_CLAIM", "role=push-admin")
        .start()
        .await;
    let device = Device::android_fcm("own");
    stack.sim.know(&device).await;
    let mut notifications = BTreeMap::new();
    for customer in [OWN, FOREIGN] {
        stack.know_customer(customer).await;
        let sent = stack.send(customer).wait(20).answer().await.expect(200);
        notifications.insert(customer, sent.id());
    }
    let asked = Asked {
        device: &device,
        notifications: &notifications,
    };
    let api = stack.api();
    let document = api.get("/openapi.json").anonymous().answer().await;
    let credentials = credentials();
    for (_, _, value, _) in &credentials {
        stack.keep_secret(value.trim_start_matches("Bearer "));
    }
    let rules: BTreeMap<&str, Rule> = RULES.iter().copied().collect();
    let mut walked = Vec::new();
    let mut wrong_is_told = None;
    for (path, item) in document.json["paths"].as_object().unwrap() {
        for (method, described) in item.as_object().unwrap() {
            let operation = format!("{} {path}", method.to_uppercase());
            let rule = *rules
                .get(operation.as_str())
                .unwrap_or_else(|| panic!("{operation} has no rule: who may do it?"));
            assert_eq!(
                described.get("security").unwrap_or(&Value::Null),
                &security(rule),
                "{operation}"
            );
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            for (name, header, value, who) in &credentials {
                for of in [OWN, FOREIGN] {
                    let call = api.call(method.clone(), &asked.path(path, rule, of));
                    let call = call.anonymous().header(header, value);
                    let call = if method == Method::GET {
                        call
                    } else {
                        call.json(&asked.body(&operation, of))
                    };
                    let answer = call.answer().await;
                    let context = || format!("{operation} of {of} with {name}: {}", answer.text);
                    match outcome(rule, *who, of) {
                        Outcome::LetIn => {
                            let refused = [401, 403].contains(&answer.status);
                            assert!(!refused && answer.status < 500, "{}", context())
                        }
                        Outcome::Done => assert_eq!(answer.status, 200, "{}", context()),
                        Outcome::Refused(status) => {
                            assert_eq!(answer.status, status, "{}", context())
                        }
                    }
                    if answer.status == 401 {
                        let told = all_of(&answer);
                        let first = wrong_is_told.get_or_insert_with(|| told.clone());
                        assert_eq!(&told, first, "{}", context());
                    }
                }
            }
            if method == Method::GET && !matches!(rule, Rule::Anybody) {
                let head = api.call(Method::HEAD, &asked.path(path, rule, OWN));
                assert_eq!(head.anonymous().answer().await.status, 401, "HEAD {path}");
            }
            walked.push(operation);
        }
    }
    for (operation, _) in RULES {
        assert!(
            walked.iter().any(|walked| walked == operation),
            "{operation} is gone"
        );
    }
}
