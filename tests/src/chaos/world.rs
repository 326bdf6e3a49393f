//! Everything that runs: two servers, the simulator, the programs, and a wire between any two that talk.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::journal::Journal;
use super::node::Node;
use super::plan::{End, Shape, Target, Wire};
use crate::answer::Answer;
use crate::api::Key;
use crate::broker::Broker;
use crate::database::Database;
use crate::link::Link;
use crate::private::{PrivateMaria, PrivateRabbit, ports};
use crate::program::{Environment, Program};
use crate::sim::Sim;
use crate::stack::PRIVATE_KEY;
use crate::wait::within;

/// Settings that let a run go fast. The contract's figures are larger; the behaviour is the same.
pub(crate) const FAST: &[(&str, &str)] = &[
    ("RETRY_DELAYS", "500ms,1s,2s,4s"),
    ("RECONCILE_AFTER", "10s"),
    // Its least value. A claim lasts twice as long.
    ("PROVIDER_TIMEOUT", "10s"),
    ("SHUTDOWN_GRACE", "10s"),
];
/// As in `RETRY_DELAYS`: they name the queues.
pub(crate) const RUNGS: [&str; 4] = ["500ms", "1s", "2s", "4s"];
/// One caller sends for everybody here.
const OF_API: &[(&str, &str)] = &[
    ("RATE_LIMIT_PER_KEY", "off"),
    ("RATE_LIMIT_PER_CUSTOMER", "off"),
];
/// Each answer of a provider is told: for whoever looks for the reason of a bad verdict.
const OF_WORKER: &[(&str, &str)] = &[("RUST_LOG", "info,push_worker=debug")];
/// A server that was killed and everything that waits for it.
const READY_MAX: Duration = Duration::from_secs(120);

const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Whose turn it is with a target.
type Turn = Arc<Mutex<()>>;

/// All of it.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) shape: Shape,
    pub(crate) journal: Arc<Journal>,
    pub(crate) sim: Sim,
    pub(crate) database: Database,
    pub(crate) broker: Broker,
    pub(crate) rabbit: Mutex<PrivateRabbit>,
    pub(crate) maria: Mutex<PrivateMaria>,
    pub(crate) http: reqwest::Client,
    apis: Vec<Mutex<Node>>,
    workers: Vec<Mutex<Node>>,
    /// Name and address of each program: asked without disturbing whoever is about to kill it.
    programs: Vec<(String, String)>,
    /// From when to when (milliseconds) requests to a provider were held up on their way.
    pub(crate) slow: std::sync::Mutex<Vec<(u64, u64)>>,
    wires: HashMap<Wire, Link>,
    turns: std::sync::Mutex<HashMap<String, Turn>>,
    simulator: Mutex<Program>,
}

impl World {
    pub(crate) async fn start(shape: Shape, journal: Arc<Journal>) -> Self {
        drop(rustls::crypto::ring::default_provider().install_default());
        let http = reqwest::Client::builder().build().expect("a client");
        let address = [("PUSH_SIM_ADDR".to_owned(), "127.0.0.1:0".to_owned())];
        let (rabbit, maria, simulator) = tokio::join!(
            PrivateRabbit::start(),
            PrivateMaria::start(),
            Program::start("push-sim", "push-sim", &address),
        );
        let sim = Sim::new(simulator.url(), http.clone());
        sim.believe_only(PRIVATE_KEY).await;
        let database = Database::create(maria.server(), "push").await;
        let broker = Broker::create(rabbit.server(), None, "chaos", http.clone()).await;
        let mut world = Self {
            shape,
            journal,
            sim,
            database,
            broker,
            http,
            apis: Vec::new(),
            workers: Vec::new(),
            programs: Vec::new(),
            slow: std::sync::Mutex::default(),
            wires: HashMap::new(),
            turns: std::sync::Mutex::default(),
            simulator: Mutex::new(simulator),
            rabbit: Mutex::new(rabbit),
            maria: Mutex::new(maria),
        };
        world.add_programs().await;
        world
    }

    async fn add_programs(&mut self) {
        let count = self.shape.apis + self.shape.workers;
        let mut next = ports(u16::try_from(count).expect("a few programs"));
        let mut address = || {
            next += 1;
            format!("127.0.0.1:{}", next - 1)
        };
        for number in 0..self.shape.apis {
            let address = address();
            let node = self.new_api(number, address).await;
            self.programs
                .push((node.name.clone(), node.address.clone()));
            self.apis.push(Mutex::new(node));
        }
        for number in 0..self.shape.workers {
            let address = address();
            let node = self.new_worker(number, address).await;
            self.programs
                .push((node.name.clone(), node.address.clone()));
            self.workers.push(Mutex::new(node));
        }
    }

    async fn add_wire(&mut self, of: Target, to: End, address: &str) -> String {
        let link = Link::to(address).await;
        let through = link.address().to_owned();
        self.wires.insert(Wire { of, to }, link);
        through
    }

    async fn new_api(&mut self, number: usize, address: String) -> Node {
        let of = Target::Api(number);
        let servers = self.servers(of).await;
        self.add_wire(of, End::Clients, &address).await;
        let own = [("HTTP_ADDR", address.clone()), ("API_KEYS", Key::setting())];
        let environment = environment(servers.into_iter().chain(own), OF_API);
        let folder = self.journal.folder().to_owned();
        Node::new(of.to_string(), "push-api", address, folder, environment)
    }

    async fn new_worker(&mut self, number: usize, address: String) -> Node {
        let of = Target::Worker(number);
        let servers = self.servers(of).await;
        let simulator = self.simulator.get_mut().address().to_owned();
        let fcm = self.add_wire(of, End::Fcm, &simulator).await;
        let expo = self.add_wire(of, End::Expo, &simulator).await;
        let account = "push@test-project.iam.gserviceaccount.com";
        let own = [
            ("METRICS_ADDR", address.clone()),
            ("FIREBASE_PROJECT_ID", "test-project".to_owned()),
            ("FIREBASE_CLIENT_EMAIL", account.to_owned()),
            ("FIREBASE_PRIVATE_KEY", PRIVATE_KEY.to_owned()),
            ("FIREBASE_TOKEN_URI", format!("http://{fcm}/token")),
            ("FCM_BASE_URL", format!("http://{fcm}")),
            ("EXPO_BASE_URL", format!("http://{expo}")),
        ];
        let environment = environment(servers.into_iter().chain(own), OF_WORKER);
        let folder = self.journal.folder().to_owned();
        Node::new(of.to_string(), "push-worker", address, folder, environment)
    }

    /// The wires to both servers, as settings.
    async fn servers(&mut self, of: Target) -> [(&'static str, String); 2] {
        let (maria, rabbit) = (
            self.maria.get_mut().server(),
            self.rabbit.get_mut().server(),
        );
        let database = self.add_wire(of, End::Database, &maria.address).await;
        let broker = self.add_wire(of, End::Broker, &rabbit.address).await;
        [
            ("DATABASE_URL", self.database.url_through(Some(&database))),
            ("AMQP_URL", self.broker.url_through(Some(&broker))),
        ]
    }

    /// A wire of the plan.
    pub(crate) fn wire(&self, wire: Wire) -> &Link {
        &self.wires[&wire]
    }

    /// Where clients reach an API: through its wire.
    pub(crate) fn api(&self, number: usize) -> String {
        let wire = Wire {
            of: Target::Api(number % self.shape.apis),
            to: End::Clients,
        };
        format!("http://{}", self.wires[&wire].address())
    }

    /// Waits for one's turn: nobody breaks what is broken already.
    pub(crate) async fn turn(&self, of: &str) -> OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.turns.lock().expect("nobody panics with the turns");
            Arc::clone(turns.entry(of.to_owned()).or_default())
        };
        turn.lock_owned().await
    }

    /// One of our programs; `None` for a server.
    pub(crate) fn node(&self, target: Target) -> Option<&Mutex<Node>> {
        match target {
            Target::Api(number) => self.apis.get(number),
            Target::Worker(number) => self.workers.get(number),
            Target::Broker | Target::Database => None,
        }
    }

    fn nodes(&self) -> impl Iterator<Item = &Mutex<Node>> {
        self.apis.iter().chain(&self.workers)
    }

    pub(crate) async fn start_programs(&self) {
        for node in self.nodes() {
            node.lock().await.start();
        }
    }

    /// The faults are over: all wires are whole, and everything runs that should.
    pub(crate) async fn mend(&self) {
        self.wires.values().for_each(Link::restore);
        self.rabbit.lock().await.thaw();
        self.maria.lock().await.thaw();
        for node in self.nodes() {
            let mut node = node.lock().await;
            node.thaw();
            node.look();
            if !node.is_running() {
                node.start();
            }
        }
    }

    /// Waits until all programs say that they are ready; those that do not.
    pub(crate) async fn wait_until_ready(&self) -> Vec<String> {
        let ready = within(READY_MAX, async || {
            let waiting = self.not_ready().await;
            waiting.is_empty().then_some(())
        });
        match ready.await {
            Some(()) => Vec::new(),
            None => self.not_ready().await,
        }
    }

    async fn not_ready(&self) -> Vec<String> {
        let asked = self.programs.iter().map(async |(name, address)| {
            let answer = self.get(&format!("http://{address}/readyz")).await;
            let is_ready = answer
                .is_some_and(|answer| answer.status == 200 && answer.json["status"] == "ready");
            (!is_ready).then(|| name.clone())
        });
        join_all(asked).await.into_iter().flatten().collect()
    }

    async fn get(&self, url: &str) -> Option<Answer> {
        let request = self.http.get(url).timeout(ANSWER_MAX);
        Answer::read(request.send().await.ok()?).await.ok()
    }

    /// The metrics of each program that answers.
    pub(crate) async fn metrics(&self) -> Vec<(String, String)> {
        let asked = self.programs.iter().map(async |(name, address)| {
            let answer = self.get(&format!("http://{address}/metrics")).await?;
            Some((name.clone(), answer.text))
        });
        join_all(asked).await.into_iter().flatten().collect()
    }

    /// SIGTERM to all, workers first; what they did that no program should.
    pub(crate) async fn stop_programs(&self) -> Vec<String> {
        let mut misdeeds = Vec::new();
        join_all(
            self.workers
                .iter()
                .map(async |node| node.lock().await.terminate().await),
        )
        .await;
        join_all(
            self.apis
                .iter()
                .map(async |node| node.lock().await.terminate().await),
        )
        .await;
        for node in self.nodes() {
            misdeeds.append(&mut node.lock().await.misdeeds);
        }
        misdeeds
    }
}

fn environment(
    own: impl Iterator<Item = (&'static str, String)>,
    more: &[(&str, &str)],
) -> Environment {
    let fixed = FAST.iter().chain(more);
    let fixed = fixed.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    own.map(|(name, value)| (name.to_owned(), value))
        .chain(fixed)
        .collect()
}
