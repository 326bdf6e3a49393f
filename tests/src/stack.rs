//! The whole service, started for one test.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::join_all;
use serde_json::{Value, json};
use tokio::runtime::Handle;

use crate::answer::Answer;
use crate::api::{Api, Key, Send};
use crate::books;
use crate::broker::Broker;
use crate::database::{Database, Row};
use crate::device::{Device, Phone, unique};
use crate::https::Https;
use crate::link::{Link, Links};
use crate::logs::Log;
use crate::metrics::Metrics;
use crate::program::{Environment, Program};
use crate::secrets::Secrets;
use crate::servers::{self, Servers};
use crate::sim::Sim;
use crate::wait::eventually;

/// A key that opens nothing: the simulator's own tests use it, too.
pub const PRIVATE_KEY: &str = include_str!("../../crates/push-sim/tests/keys/throwaway.pem");

/// What a stack is made of.
#[derive(Debug, Default)]
#[must_use]
pub struct Builder {
    api_settings: Environment,
    worker_settings: Environment,
    apis: usize,
    workers: usize,
    through_links: bool,
    fcm_over_h2c: bool,
    over_https: Option<Endpoint>,
    access_tokens_through_link: bool,
    servers: Option<(Servers, bool)>,
    programs: Option<PathBuf>,
}

/// What of the providers a worker talks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// FCM itself.
    Fcm,
    /// Where Google hands out access tokens for it.
    AccessTokens,
    /// Expo.
    Expo,
}

/// What a test announced, so that it is no surprise at the end.
#[derive(Debug, Default)]
pub(crate) struct Announced {
    pub(crate) errors: Vec<String>,
    pub(crate) leaves_pending: bool,
    pub(crate) rings_twice: bool,
    pub(crate) copies_under_way: bool,
    /// A program was killed or restarted, so its counters began anew; or it does not know all that it did.
    pub(crate) counters_restarted: bool,
    /// Rows were made up that are in no book.
    pub(crate) unexamined: bool,
}

/// Everything that runs for a test.
#[derive(Debug)]
pub struct Stack {
    /// The providers.
    pub sim: Sim,
    /// The database, past all links.
    pub database: Arc<Database>,
    /// The broker, past all links.
    pub broker: Broker,
    /// The running replicas of `push-api`.
    pub apis: Vec<Program>,
    /// The running `push-worker`s.
    pub workers: Vec<Program>,
    links: Option<Links>,
    https: Option<Https>,
    access_tokens_link: Option<Link>,
    logs: Vec<Log>,
    api_settings: Environment,
    worker_settings: Environment,
    simulator: Program,
    programs: PathBuf,
    http: reqwest::Client,
    pub(crate) secrets: Secrets,
    announced: Mutex<Announced>,
    /// The test's wires are gone at the end, and with them the database of that replica.
    pub(crate) api_outlives_its_wires: bool,
}

impl Builder {
    /// A setting of `push-api`.
    pub fn env_api(mut self, name: &str, value: &str) -> Self {
        self.api_settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A setting of `push-worker`.
    pub fn env_worker(mut self, name: &str, value: &str) -> Self {
        self.worker_settings
            .push((name.to_owned(), value.to_owned()));
        self
    }

    /// What lies in the database and in the queue can be read there, whatever keys the tests are tried with.
    pub fn in_the_clear(self) -> Self {
        self.env_api("ENCRYPTION_KEYS", "")
            .env_worker("ENCRYPTION_KEYS", "")
    }

    /// So many replicas of `push-api`, started at the same moment.
    pub fn apis(mut self, count: usize) -> Self {
        self.apis = count;
        self
    }

    /// So many workers.
    pub fn workers(mut self, count: usize) -> Self {
        self.workers = count;
        self
    }

    /// Database and broker are reached through wires that the test can cut.
    pub fn through_links(mut self) -> Self {
        self.through_links = true;
        self
    }

    /// The worker reaches FCM over TLS, and trusts the certificate authority of the test.
    pub fn fcm_over_https(self) -> Self {
        self.over_https(Endpoint::Fcm)
    }

    /// The worker reaches FCM over HTTP/2, as it does in earnest, but without TLS.
    pub fn fcm_over_h2c(mut self) -> Self {
        self.fcm_over_h2c = true;
        self
    }

    /// The worker reaches this one over TLS, and trusts the certificate authority of the test.
    pub fn over_https(mut self, endpoint: Endpoint) -> Self {
        self.over_https = Some(endpoint);
        self
    }

    /// The worker gets its access tokens for FCM through a wire that the test can stall: pushes wait in its hand then.
    pub fn access_tokens_through_link(mut self) -> Self {
        self.access_tokens_through_link = true;
        self
    }

    /// On servers of the test's own; the broker has no management API then, and its default virtual host is used.
    pub fn on(mut self, servers: Servers, managed: bool) -> Self {
        self.servers = Some((servers, managed));
        self
    }

    /// `push-api` and `push-worker` are those of this folder, not those built now.
    pub fn programs_of(mut self, folder: PathBuf) -> Self {
        self.programs = Some(folder);
        self
    }

    /// Starts everything.
    pub async fn start(self) -> Stack {
        drop(rustls::crypto::ring::default_provider().install_default());
        let http = reqwest::Client::builder().build().expect("a client");
        let (servers, managed) = self
            .servers
            .unwrap_or_else(|| (Servers::of_environment(), true));
        let name = unique("t");
        let management = managed.then(|| servers.management.clone());
        let simulator = [("PUSH_SIM_ADDR".to_owned(), "127.0.0.1:0".to_owned())];
        let (database, broker, simulator) = tokio::join!(
            Database::create(servers.database.clone(), &name),
            Broker::create(servers.broker.clone(), management, &name, http.clone()),
            Program::start("push-sim", "push-sim", &simulator),
        );
        let sim = Sim::new(simulator.url(), http.clone());
        sim.believe_only(PRIVATE_KEY).await;
        let links = if self.through_links {
            Some(Links::to(&servers.database.address, &servers.broker.address).await)
        } else {
            None
        };
        let (api_settings, mut worker_settings) =
            settings(&database, &broker, links.as_ref(), &simulator.url());
        if self.fcm_over_h2c {
            let url = simulator.url().replacen("http://", "h2c://", 1);
            worker_settings = merged(worker_settings, vec![("FCM_BASE_URL".to_owned(), url)]);
        }
        let https = if let Some(endpoint) = self.over_https {
            let https = Https::to(simulator.address()).await;
            worker_settings = merged(worker_settings, over_https(&https, endpoint));
            Some(https)
        } else {
            None
        };
        let access_tokens_link = if self.access_tokens_through_link {
            let link = Link::to(simulator.address()).await;
            let url = format!("http://{}/token", link.address());
            let own = vec![("FIREBASE_TOKEN_URI".to_owned(), url)];
            worker_settings = merged(worker_settings, own);
            Some(link)
        } else {
            None
        };
        let secrets = Secrets::default();
        Key::ALL.iter().for_each(|key| secrets.add(key.secret()));
        let mut stack = Stack {
            sim,
            database: Arc::new(database),
            broker,
            apis: Vec::new(),
            workers: Vec::new(),
            links,
            https,
            access_tokens_link,
            logs: Vec::new(),
            api_settings: merged(api_settings, self.api_settings),
            worker_settings: merged(worker_settings, self.worker_settings),
            simulator,
            programs: self.programs.unwrap_or_else(servers::programs),
            http,
            secrets,
            announced: Mutex::default(),
            api_outlives_its_wires: false,
        };
        // All at once: who comes first migrates, and nobody is in another's way.
        let apis = join_all((0..self.apis).map(|index| stack.api_of(&stack.api_settings, index)));
        let workers =
            join_all((0..self.workers).map(|index| stack.worker_of(&stack.worker_settings, index)));
        let (apis, workers) = tokio::join!(apis, workers);
        stack.secrets.learn_settings(&stack.api_settings);
        stack.secrets.learn_settings(&stack.worker_settings);
        apis.into_iter().for_each(|api| stack.add_api(api));
        workers
            .into_iter()
            .for_each(|worker| stack.add_worker(worker));
        // It listens before the schema is there.
        for api in &stack.apis {
            eventually("the API has migrated", async || {
                (stack.readiness(api).await.status == 200).then_some(())
            })
            .await;
        }
        stack
    }
}

fn settings(
    database: &Database,
    broker: &Broker,
    links: Option<&Links>,
    simulator: &str,
) -> (Environment, Environment) {
    let own = |pairs: &[(&str, String)]| -> Environment {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone()))
            .collect()
    };
    // None, as by default; or to try everything with them.
    let keys = std::env::var("PUSH_TEST_ENCRYPTION_KEYS").unwrap_or_default();
    let api = own(&[
        (
            "DATABASE_URL",
            database.url_through(links.map(|links| links.api_database.address())),
        ),
        (
            "AMQP_URL",
            broker.url_through(links.map(|links| links.api_broker.address())),
        ),
        ("HTTP_ADDR", "127.0.0.1:0".to_owned()),
        // No load balancer has to turn away.
        ("SHUTDOWN_DRAIN", "0s".to_owned()),
        ("API_KEYS", Key::setting()),
        ("ENCRYPTION_KEYS", keys.clone()),
    ]);
    let worker = own(&[
        (
            "DATABASE_URL",
            database.url_through(links.map(|links| links.worker_database.address())),
        ),
        (
            "AMQP_URL",
            broker.url_through(links.map(|links| links.worker_broker.address())),
        ),
        ("METRICS_ADDR", "127.0.0.1:0".to_owned()),
        ("FIREBASE_PROJECT_ID", "test-project".to_owned()),
        (
            "FIREBASE_CLIENT_EMAIL",
            "push@test-project.iam.gserviceaccount.com".to_owned(),
        ),
        ("FIREBASE_PRIVATE_KEY", PRIVATE_KEY.to_owned()),
        ("FIREBASE_TOKEN_URI", format!("{simulator}/token")),
        ("FCM_BASE_URL", simulator.to_owned()),
        // Another name of the same host: a broken connection to one provider does not touch the other.
        ("EXPO_BASE_URL", simulator.replace("127.0.0.1", "localhost")),
        ("PROVIDER_TIMEOUT", "10s".to_owned()),
        ("RETRY_DELAYS", "200ms,400ms,800ms".to_owned()),
        ("ENCRYPTION_KEYS", keys),
    ]);
    (api, worker)
}

fn over_https(https: &Https, endpoint: Endpoint) -> Environment {
    let authority = https.authority().to_string_lossy().into_owned();
    let (setting, url) = match endpoint {
        Endpoint::Fcm => ("FCM_BASE_URL", https.url()),
        Endpoint::AccessTokens => ("FIREBASE_TOKEN_URI", format!("{}/token", https.url())),
        Endpoint::Expo => ("EXPO_BASE_URL", https.url()),
    };
    vec![
        (setting.to_owned(), url),
        ("SSL_CERT_FILE".to_owned(), authority),
    ]
}

/// The later value of a variable wins; an empty one takes it away.
fn merged(defaults: Environment, own: Environment) -> Environment {
    let mut all: Environment = Vec::new();
    for (name, value) in defaults.into_iter().chain(own) {
        all.retain(|(other, _)| *other != name);
        all.push((name, value));
    }
    all
}

impl Stack {
    /// What a stack is made of, to be changed: one API, one worker.
    pub fn with() -> Builder {
        Builder {
            apis: 1,
            workers: 1,
            ..Builder::default()
        }
    }

    /// One API, one worker, straight to the servers.
    pub async fn start() -> Self {
        Self::with().start().await
    }

    async fn api_of(&self, settings: &Environment, index: usize) -> Program {
        let file = self.programs.join("push-api");
        Program::start_file(&file, &format!("push-api {index}"), settings).await
    }

    async fn worker_of(&self, settings: &Environment, index: usize) -> Program {
        let file = self.programs.join("push-worker");
        Program::start_file(&file, &format!("push-worker {index}"), settings).await
    }

    fn add_api(&mut self, api: Program) {
        self.logs.push(api.log.clone());
        self.apis.push(api);
    }

    fn add_worker(&mut self, worker: Program) {
        self.logs.push(worker.log.clone());
        self.workers.push(worker);
    }

    /// The wires.
    ///
    /// # Panics
    /// When the stack was started without.
    #[must_use]
    pub fn links(&self) -> &Links {
        self.links.as_ref().expect("started with through_links()")
    }

    /// What stands between the worker and FCM.
    ///
    /// # Panics
    /// When the stack was started without.
    #[must_use]
    pub fn https(&self) -> &Https {
        self.https.as_ref().expect("started with fcm_over_https()")
    }

    /// The wire to Google's token endpoint.
    ///
    /// # Panics
    /// When the stack was started without.
    #[must_use]
    pub fn access_tokens_link(&self) -> &Link {
        let link = self.access_tokens_link.as_ref();
        link.expect("started with access_tokens_through_link()")
    }

    /// The first replica.
    #[must_use]
    pub fn api(&self) -> Api {
        self.api_at(0)
    }

    /// One of the replicas.
    #[must_use]
    pub fn api_at(&self, index: usize) -> Api {
        self.api_under(self.apis[index].url())
    }

    /// What is served under another address than the API's.
    #[must_use]
    pub fn api_under(&self, url: String) -> Api {
        Api::new(url, self.http.clone(), self.secrets.clone())
    }

    /// The settings that `push-api` was started with.
    #[must_use]
    pub fn api_settings(&self) -> Vec<(String, String)> {
        self.api_settings.clone()
    }

    /// The settings that `push-worker` was started with.
    #[must_use]
    pub fn worker_settings(&self) -> Vec<(String, String)> {
        self.worker_settings.clone()
    }

    /// The logs of all programs of the house so far, in the order of their start.
    #[must_use]
    pub fn logs(&self) -> &[Log] {
        &self.logs
    }

    // ---- what a test does ----

    /// Makes the backend know a customer.
    pub async fn know_customer(&self, customer: i64) {
        let statement = format!("INSERT IGNORE INTO customers (id) VALUES ({customer})");
        self.database.execute(&statement).await;
    }

    /// A customer's app registers a device; the simulator knows it as one phone.
    ///
    /// # Panics
    /// When the API refuses.
    pub async fn register(&self, customer: i64, device: Device) -> Phone {
        self.know_customer(customer).await;
        self.sim.know(&device).await;
        let answer = self
            .register_as_is(&device.registration(customer))
            .await
            .expect(200);
        assert_eq!(
            answer.json,
            json!({"success": true, "message": "Push token registered successfully"})
        );
        Phone { device }
    }

    /// The bare call.
    pub async fn register_as_is(&self, body: &Value) -> Answer {
        self.api()
            .post("/api/Push/register", body)
            .key(Key::Register)
            .answer()
            .await
    }

    /// A notification to a customer, to be put together.
    pub fn send(&self, customer: i64) -> Send {
        self.api().send(customer)
    }

    /// Many notifications to a customer at the same moment; their ids.
    ///
    /// # Panics
    /// When one is refused.
    pub async fn send_many(&self, customer: i64, count: usize) -> Vec<String> {
        let sends = (0..count).map(|_| self.send(customer).accepted());
        join_all(sends).await
    }

    /// Waits until a notification has ended.
    pub async fn settled(&self, id: &str) -> Row {
        eventually(&format!("{id} is settled"), async || {
            self.database
                .history(id)
                .await
                .filter(|row| row.status != "pending")
        })
        .await
    }

    /// Waits until every notification has ended.
    pub async fn all_settled(&self) {
        eventually("no notification is pending", async || {
            let pending = self
                .database
                .number("SELECT COUNT(*) FROM notification_history WHERE status = 'pending'")
                .await;
            (pending == 0).then_some(())
        })
        .await;
    }

    /// What `GET /api/Push/notifications/{id}` says.
    pub async fn notification(&self, id: &str) -> Value {
        let path = format!("/api/Push/notifications/{id}");
        self.api()
            .get(&path)
            .key(Key::Read)
            .answer()
            .await
            .expect(200)
            .json
    }

    /// The metrics of all APIs and workers together, as text and as numbers.
    pub(crate) async fn metrics_text(&self) -> String {
        let mut text = String::new();
        for program in self.apis.iter().chain(&self.workers) {
            if let Ok(answer) = self
                .http
                .get(format!("{}/metrics", program.url()))
                .send()
                .await
                && answer.status().is_success()
            {
                text += &answer.text().await.unwrap_or_default();
                text.push('\n');
            }
        }
        text
    }

    /// The metrics of one program.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn metrics_of(&self, program: &Program) -> Metrics {
        let answer = self
            .http
            .get(format!("{}/metrics", program.url()))
            .send()
            .await
            .expect("metrics");
        Metrics::parse(&answer.text().await.expect("metrics"))
    }

    /// `readyz` of a program: status and body.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn readiness(&self, program: &Program) -> Answer {
        let request = self.http.get(format!("{}/readyz", program.url()));
        let answer = Answer::read(request.send().await.expect("readyz answers")).await;
        answer.expect("readyz answers").guarded()
    }

    /// Waits until a program says that it is ready, and not only degraded.
    pub async fn ready(&self, program: &Program) {
        eventually(&format!("{} is ready", program.log.name), async || {
            let answer = self.readiness(program).await;
            (answer.status == 200 && answer.json["status"] == "ready").then_some(())
        })
        .await;
    }

    /// Waits until a program says that it can do its work, whatever it may lack.
    pub async fn ready_or_degraded(&self, program: &Program) {
        eventually(&format!("{} works", program.log.name), async || {
            (self.readiness(program).await.status == 200).then_some(())
        })
        .await;
    }

    /// Waits until everything is ready.
    pub async fn all_ready(&self) {
        for program in self.apis.iter().chain(&self.workers) {
            self.ready(program).await;
        }
    }

    // ---- bad luck ----

    /// SIGKILL to the first worker.
    pub async fn kill_worker(&mut self) {
        self.announce(|announced| announced.counters_restarted = true);
        self.workers.remove(0).kill().await;
    }

    /// SIGTERM to the first worker; its exit code.
    pub async fn terminate_worker(&mut self) -> Option<i32> {
        self.announce(|announced| announced.counters_restarted = true);
        self.workers.remove(0).terminate().await
    }

    /// Starts one more worker.
    pub async fn start_worker(&mut self) {
        self.start_worker_with(self.worker_settings.clone()).await;
    }

    pub(crate) async fn start_worker_with(&mut self, settings: Environment) {
        self.secrets.learn_settings(&settings);
        let worker = self.worker_of(&settings, self.logs.len()).await;
        self.add_worker(worker);
    }

    /// Starts one more worker, with settings of its own.
    pub async fn start_worker_but(&mut self, own: &[(&str, String)]) {
        let own = own
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone()));
        let settings = merged(self.worker_settings.clone(), own.collect());
        self.secrets.learn_settings(&settings);
        let worker = self.worker_of(&settings, self.logs.len()).await;
        self.add_worker(worker);
    }

    /// From their next start on all programs have these `ENCRYPTION_KEYS`.
    pub fn change_keys(&mut self, keys: &str) {
        for settings in [&mut self.api_settings, &mut self.worker_settings] {
            let own = vec![("ENCRYPTION_KEYS".to_owned(), keys.to_owned())];
            *settings = merged(std::mem::take(settings), own);
        }
    }

    /// From their next start on `push-api` and `push-worker` are those of this folder.
    pub fn change_programs(&mut self, folder: PathBuf) {
        self.programs = folder;
    }

    /// SIGKILL to the first replica of the API.
    pub async fn kill_api(&mut self) {
        self.announce(|announced| announced.counters_restarted = true);
        self.apis.remove(0).kill().await;
    }

    /// SIGTERM to the first replica of the API; its exit code.
    pub async fn terminate_api(&mut self) -> Option<i32> {
        self.announce(|announced| announced.counters_restarted = true);
        self.apis.remove(0).terminate().await
    }

    /// Starts one more replica of the API.
    pub async fn start_api(&mut self) {
        self.start_api_with(self.api_settings.clone()).await;
    }

    pub(crate) async fn start_api_with(&mut self, settings: Environment) {
        self.secrets.learn_settings(&settings);
        let api = self.api_of(&settings, self.logs.len()).await;
        self.add_api(api);
    }

    pub(crate) fn simulator_pid(&self) -> Option<u32> {
        self.simulator.pid()
    }

    pub(crate) fn simulator_address(&self) -> &str {
        self.simulator.address()
    }

    // ---- what is no surprise ----

    fn announce(&self, change: impl FnOnce(&mut Announced)) {
        change(
            &mut self
                .announced
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
    }

    /// Log lines of level `ERROR` that contain `text` are part of the story.
    pub fn expect_errors(&self, text: &str) {
        self.announce(|announced| announced.errors.push(text.to_owned()));
    }

    /// Notifications stay pending at the end.
    pub fn leaves_pending(&self) {
        self.announce(|announced| announced.leaves_pending = true);
    }

    /// A phone may ring twice for one notification.
    pub fn rings_twice(&self) {
        self.announce(|announced| announced.rings_twice = true);
    }

    /// Copies of jobs that have ended may be under way at the end.
    pub fn copies_under_way(&self) {
        self.announce(|announced| announced.copies_under_way = true);
    }

    /// A program ended, and its counters with it.
    pub fn counters_restart(&self) {
        self.announce(|announced| announced.counters_restarted = true);
    }

    /// Rows were made up by the million, and no program knows of them: at the end nobody looks around. For a bench only.
    pub(crate) fn goes_unexamined(&self) {
        self.announce(|announced| announced.unexamined = true);
    }

    /// `text` must not be found in any log or metric at the end.
    pub fn keep_secret(&self, text: &str) {
        self.secrets.add(text);
    }

    /// What must not be told, and is found in `text`.
    #[must_use]
    pub fn gives_away(&self, text: &str) -> Vec<String> {
        self.secrets.found_in(text)
    }

    // ---- the end ----

    async fn look_around(&mut self) -> Vec<String> {
        let announced = std::mem::take(
            &mut *self
                .announced
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        if announced.unexamined {
            return Vec::new();
        }
        if self.api_outlives_its_wires {
            self.start_api().await;
            if let Some(api) = self.apis.last() {
                self.ready(api).await;
            }
        }
        let mut problems = books::check_while_running(self, &announced).await;
        for program in self.workers.iter_mut().chain(&mut self.apis) {
            let code = program.terminate().await;
            if code != Some(0) {
                problems.push(format!(
                    "{} ended with {code:?} after SIGTERM",
                    program.log.name
                ));
            }
        }
        if announced.copies_under_way {
            problems.extend(books::take_in_copies(self, &announced).await);
        }
        problems.extend(books::check_at_rest(self, &announced).await);
        problems
    }

    async fn clean_up(&mut self) {
        for program in self.workers.iter_mut().chain(&mut self.apis) {
            program.kill_if_running().await;
        }
        self.simulator.kill_if_running().await;
        self.broker.remove().await;
        self.database.remove().await;
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        let failed = std::thread::panicking();
        if let Some(links) = &self.links {
            links.restore();
        }
        if let Some(link) = &self.access_tokens_link {
            link.restore();
        }
        let problems = tokio::task::block_in_place(|| {
            Handle::current().block_on(async {
                let problems = if failed {
                    Vec::new()
                } else {
                    self.look_around().await
                };
                self.clean_up().await;
                problems
            })
        });
        if failed || !problems.is_empty() {
            let told: String = self.logs.iter().map(|log| log.trouble()).collect();
            eprintln!("What the programs said above INFO, and last:\n{told}");
        }
        assert!(
            problems.is_empty(),
            "the test passed, but:\n  - {}",
            problems.join("\n  - ")
        );
    }
}
