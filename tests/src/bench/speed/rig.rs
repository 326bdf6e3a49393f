//! What is measured on: servers, programs, customers; and one measurement.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::load::{Orders, Pace};
use super::machine::Watch;
use super::meter::{Cast, Meter, Role, cast_json, spent_of};
use super::part::Part;
use super::step::{ANSWERS, BATCH, EXPO_RATE, FCM_IN_FLIGHT, LOADED, Lengths, Raw, STEADY, Scene};
use super::waits::Waits;
use super::{Options, Taken, customers, limits, load, process};
use crate::api::Key;
use crate::bench::history;
use crate::servers::{Servers, services_dir};
use crate::sim::Provider;
use crate::stack::Stack;
use crate::wait::eventually;

/// Callers who wait for their answer at one time, each with one notification or with a batch. So many single ones let a
/// transaction have about as many rows as an insert of the limit has, 50.
const CALLERS: usize = 128;
const CALLERS_OF_BATCHES: usize = 2;
const SEND: &str = limits::accept::PATH;
const SEND_BATCH: &str = "/api/Push/sendBatch";
/// How often it is asked whether all is recorded: more often would cost the programs.
const LOOK: Duration = Duration::from_millis(50);
/// So long nothing may be recorded before that is given up.
const STUCK: Duration = Duration::from_secs(60);
const SETTLED: &str = "push_notifications_settled_total";

/// All that runs.
#[derive(Debug)]
pub(super) struct Rig {
    pub(super) stack: Stack,
    lengths: Lengths,
    with_one: usize,
    /// The mark of all that belongs to the bench.
    owner: PathBuf,
    /// A job as our API publishes it, and messages as our worker sends them.
    job: String,
    fcm: String,
    expo: String,
    access_token: String,
    /// The last entry of the simulator's record that was read.
    pub(super) read: u64,
    pub(super) problems: Vec<String>,
}

/// What the programs were asked for, and what came of it.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) taken: Taken,
    /// What the callers say.
    pub(super) answer: Value,
}

impl Rig {
    pub(super) async fn start(options: &Options, lengths: Lengths, say: &impl Fn(&str)) -> Self {
        let stack = Stack::with()
            // The bench's own; nobody needs to manage it.
            .on(Servers::of_environment(), false)
            .fcm_over_h2c()
            .workers(0)
            .start()
            .await;
        let mut rig = Self {
            stack,
            lengths,
            with_one: usize::try_from(options.customers).unwrap_or(usize::MAX),
            owner: services_dir(),
            job: String::new(),
            fcm: String::new(),
            expo: String::new(),
            access_token: String::new(),
            read: 0,
            problems: Vec::new(),
        };
        if options.rows > 0 {
            rig.fill(options.rows, say).await;
        }
        customers::register(&rig.stack.database, rig.with_one).await;
        for copy in limits::database::TABLES {
            rig.stack.database.execute(copy).await;
        }
        rig.learn().await;
        rig
    }

    /// A history that is there already. What is made up there is in no book.
    async fn fill(&mut self, rows: u32, say: &impl Fn(&str)) {
        self.stack.goes_unexamined();
        history::fill(&self.stack.database, rows, say).await;
        let database = &self.stack.database;
        database
            .execute("DELETE FROM notification_history WHERE status = 'pending'")
            .await;
        database.execute("ANALYZE TABLE notification_history").await;
    }

    /// Takes the measure of a job and of messages, as they are.
    async fn learn(&mut self) {
        let id = self.send_one(1).await;
        let broker = self.stack.broker.clone();
        let queue = crate::broker::Broker::JOBS;
        let (job, properties) =
            eventually("a job is published", async || broker.take(queue).await).await;
        broker.publish(queue, &job, properties).await;
        self.job = String::from_utf8_lossy(&job).into_owned();
        self.stack.start_worker().await;
        self.stack.all_ready().await;
        self.fcm = self
            .message(Provider::Fcm, &id, &customers::fcm_token(1))
            .await;
        let customer = customers::FIRST_WITH_TWO;
        let id = self.send_one(customer).await;
        self.expo = self
            .message(Provider::Expo, &id, &customers::expo_token(customer))
            .await;
        self.stack.sim.record_bodies(false).await;
        self.access_token = self.stack.sim.issue_access_token().await;
    }

    async fn send_one(&self, customer: i64) -> String {
        let body = load::notification(customer);
        self.stack.send(customer).with_body(&body).accepted().await
    }

    async fn message(&self, provider: Provider, id: &str, token: &str) -> String {
        self.stack.settled(id).await;
        let sent = self.stack.sim.requests(provider, token).await;
        let sent = sent.last().expect("the message arrived");
        limits::providers::template(&sent["body"], id, token)
    }

    /// Connections are opened, code and tables are in memory.
    pub(super) async fn warm_up(&mut self) {
        for scene in [Scene::Single, Scene::Two] {
            let (orders, _) = self.orders(scene, 0.0);
            self.call(&orders).await;
        }
    }

    pub(super) fn end(self) -> Stack {
        self.stack
    }

    // ---- the limit ----

    pub(super) async fn raw(&mut self, raw: Raw) -> Taken {
        let watch = Watch::start(&self.owner);
        let answer = match raw {
            Raw::Accept => self.accept().await,
            Raw::Broker => self.broker().await,
            Raw::Database => self.database(1).await,
            Raw::DatabaseTwo => self.database(2).await,
            Raw::Fcm => self.provider(Part::Fcm).await,
            Raw::Expo => self.provider(Part::Expo).await,
        };
        Taken {
            items: items(&answer),
            seconds: answer["seconds"].as_f64().unwrap_or_default(),
            spent: spent_of(&answer["spent"]),
            others: watch.stop(),
            ..Taken::default()
        }
    }

    async fn accept(&mut self) -> Value {
        let mut server = Part::Accept.start(&json!({})).await;
        let address = server.answer().await["address"]
            .as_str()
            .map(ToOwned::to_owned);
        let mut orders = self.single(self.lengths.raw, usize::MAX);
        orders.address = address.expect("an address");
        let mut told = orders.json();
        told["cast"] = cast_json(&vec![(Role::Raw, server.pid())]);
        let answer = Part::Load.done(&told).await;
        server.end().await;
        self.judge(&answer);
        answer
    }

    async fn broker(&self) -> Value {
        let told = json!({
            "url": self.stack.broker.url_through(None), "body": self.job, "seconds": self.lengths.raw.as_secs_f64(),
            "cast": cast_json(&self.servers(Role::Broker)),
        });
        Part::Broker.done(&told).await
    }

    async fn database(&self, deliveries: usize) -> Value {
        let told = json!({
            "url": self.stack.database.url_through(None), "deliveries": deliveries,
            "seconds": self.lengths.raw.as_secs_f64(), "cast": cast_json(&self.servers(Role::Database)),
        });
        Part::Database.done(&told).await
    }

    async fn provider(&self, part: Part) -> Value {
        let (path, template, tokens): (_, _, Vec<_>) = if part == Part::Expo {
            let customers = (customers::FIRST_WITH_TWO..).take(customers::WITH_TWO);
            let tokens = customers.map(customers::expo_token).collect();
            ("/--/api/v2/push/send", &self.expo, tokens)
        } else {
            let tokens = (1..)
                .take(self.with_one)
                .map(customers::fcm_token)
                .collect();
            ("/v1/projects/test-project/messages:send", &self.fcm, tokens)
        };
        let told = json!({
            "address": self.stack.simulator_address(), "path": path, "bearer": self.access_token, "template": template,
            "tokens": tokens, "seconds": self.lengths.raw.as_secs_f64(), "cast": cast_json(&self.sim()),
        });
        part.done(&told).await
    }

    // ---- the programs ----

    /// `full`: notifications a second at full speed.
    pub(super) async fn programs(&mut self, scene: Scene, full: f64) -> Taken {
        let (orders, latency) = self.orders(scene, full);
        let fcm = Provider::Fcm;
        let milliseconds = u32::try_from(latency.as_millis()).unwrap_or(u32::MAX);
        if !latency.is_zero() {
            self.stack.sim.latency(fcm, milliseconds).await;
        }
        let is_steady = match orders.pace {
            Pace::Full { .. } => false,
            Pace::Steady { .. } => true,
        };
        if is_steady {
            self.catch_up().await;
        }
        let Done { mut taken, answer } = self.call(&orders).await;
        if !latency.is_zero() {
            self.stack.sim.latency(fcm, 0).await;
        }
        if is_steady {
            taken.waits = Waits::of(self, &answer).await;
        }
        taken
    }

    /// What the callers are told, and how long a provider takes.
    fn orders(&self, scene: Scene, full: f64) -> (Orders, Duration) {
        let Lengths {
            full: lasting,
            steady,
            loaded,
            batches,
            ..
        } = self.lengths;
        let at_rate = |per_second, lasting| Orders {
            pace: Pace::Steady {
                per_second,
                lasting,
            },
            ..self.single(lasting, 0)
        };
        let orders = match scene {
            Scene::Single => self.single(lasting, usize::MAX),
            Scene::Batch => Orders {
                path: SEND_BATCH.to_owned(),
                a_request: BATCH,
                pace: Pace::Full {
                    callers: CALLERS_OF_BATCHES,
                    lasting: Duration::from_secs(3_600),
                    requests: batches,
                },
                ..self.single(lasting, 0)
            },
            Scene::Two => Orders {
                customers: (customers::FIRST_WITH_TWO, customers::WITH_TWO),
                ..self.single(lasting, seconds_of(lasting, EXPO_RATE))
            },
            Scene::Steady => at_rate(STEADY, steady),
            // Unknown as long as nothing was measured.
            Scene::Loaded => at_rate((full * LOADED).max(1.0), loaded),
            Scene::Slow(milliseconds) => {
                let in_flight = FCM_IN_FLIGHT * 1_000 / milliseconds.max(1) as usize;
                let answers = Duration::from_millis(milliseconds.into()) * ANSWERS;
                let lasting = lasting.max(answers);
                self.single(lasting, seconds_of(lasting, in_flight))
            }
        };
        let latency = match scene {
            Scene::Slow(milliseconds) => Duration::from_millis(milliseconds.into()),
            Scene::Single | Scene::Batch | Scene::Two | Scene::Steady | Scene::Loaded => {
                Duration::ZERO
            }
        };
        (orders, latency)
    }

    /// To customers with one device, at full speed, for so long and so many at most.
    pub(super) fn single(&self, lasting: Duration, requests: usize) -> Orders {
        Orders {
            address: self.stack.apis[0].address().to_owned(),
            path: SEND.to_owned(),
            bearer: Key::All.secret().to_owned(),
            customers: self.customers(),
            a_request: 1,
            pace: Pace::Full {
                callers: CALLERS,
                lasting,
                requests,
            },
        }
    }

    /// To the same, in batches.
    pub(super) fn batches(&self, requests: usize) -> Orders {
        let (orders, _) = self.orders(Scene::Batch, 0.0);
        Orders {
            pace: Pace::Full {
                callers: CALLERS_OF_BATCHES,
                lasting: Duration::from_secs(3_600),
                requests,
            },
            ..orders
        }
    }

    /// To customers with two devices, in batches.
    pub(super) fn batches_to_two(&self, requests: usize) -> Orders {
        Orders {
            customers: (customers::FIRST_WITH_TWO, customers::WITH_TWO),
            ..self.batches(requests)
        }
    }

    /// Has the callers call, and waits until all is recorded.
    pub(super) async fn call(&mut self, orders: &Orders) -> Done {
        let cast = self.cast();
        let of_role = |wanted| cast.iter().filter(move |(role, _)| *role == wanted);
        for (_, pid) in of_role(Role::Api).chain(of_role(Role::Worker)) {
            process::forget_peak(*pid);
        }
        let watch = Watch::start(&self.owner);
        let settled_before = self.settled().await;
        let meter = Meter::start(&cast);
        let answer = Part::Load.done(&orders.json()).await;
        let accepted = items(&answer);
        self.all_settled(settled_before + accepted as f64).await;
        let ended = load::since_epoch();
        let (_, mut spent) = meter.stop();
        spent.extend(spent_of(&answer["spent"]));
        let others = watch.stop();
        let began = answer["beganUs"].as_u64().unwrap_or_default();
        let elapsed = Duration::from_micros(ended.saturating_sub(began));
        let peak = |role| {
            of_role(role)
                .filter_map(|(_, pid)| process::peak(*pid))
                .max()
        };
        let taken = Taken {
            items: accepted,
            seconds: elapsed.as_secs_f64(),
            spent,
            api_peak: peak(Role::Api).unwrap_or_default(),
            worker_peak: peak(Role::Worker).unwrap_or_default(),
            waits: None,
            others,
        };
        self.judge(&answer);
        Done { taken, answer }
    }

    /// Has the callers call, and does not wait until anything is recorded.
    pub(super) async fn only_accepted(&mut self, orders: &Orders) -> Taken {
        let cast = self.cast();
        let apis: Vec<u32> = cast
            .iter()
            .filter(|(role, _)| *role == Role::Api)
            .map(|(_, pid)| *pid)
            .collect();
        apis.iter().copied().for_each(process::forget_peak);
        let watch = Watch::start(&self.owner);
        let meter = Meter::start(&cast);
        let answer = Part::Load.done(&orders.json()).await;
        let (elapsed, mut spent) = meter.stop();
        spent.extend(spent_of(&answer["spent"]));
        self.judge(&answer);
        Taken {
            items: items(&answer),
            seconds: elapsed.as_secs_f64(),
            spent,
            api_peak: apis
                .into_iter()
                .filter_map(process::peak)
                .max()
                .unwrap_or_default(),
            others: watch.stop(),
            ..Taken::default()
        }
    }

    /// What many that waited cost so many workers, once all of these are there. None of them ever waits for work.
    pub(super) async fn drained(&mut self, workers: usize, requests: usize) -> Taken {
        self.have_workers(0).await;
        let accepted = self.only_accepted(&self.batches(requests)).await.items;
        self.have_workers(workers).await;
        let watch = Watch::start(&self.owner);
        let before = self.settled().await;
        let meter = Meter::start(&self.cast());
        self.all_settled(accepted as f64).await;
        let (elapsed, spent) = meter.stop();
        Taken {
            items: accepted.saturating_sub(before as usize),
            seconds: elapsed.as_secs_f64(),
            spent,
            others: watch.stop(),
            ..Taken::default()
        }
    }

    /// Starts or stops workers until there are so many.
    pub(super) async fn have_workers(&mut self, count: usize) {
        while self.stack.workers.len() > count {
            self.stack.terminate_worker().await;
        }
        while self.stack.workers.len() < count {
            self.stack.start_worker().await;
        }
        for worker in &self.stack.workers {
            self.stack.ready(worker).await;
        }
    }

    /// The first of the customers with one device, and how many they are.
    pub(super) fn customers(&self) -> (i64, usize) {
        (1, self.with_one)
    }

    fn judge(&mut self, answer: &Value) {
        let refused = answer["refused"].as_u64().unwrap_or_default();
        if refused > 0 {
            self.problems
                .push(format!("{refused} requests were refused"));
        }
    }

    /// Notifications that the workers have recorded as ended.
    pub(super) async fn settled(&self) -> f64 {
        let mut settled = 0.0;
        for worker in &self.stack.workers {
            let metrics = self.stack.metrics_of(worker).await;
            settled += metrics.sum(SETTLED, "").unwrap_or_default();
        }
        settled
    }

    /// Waits until so many are.
    pub(super) async fn all_settled(&mut self, wanted: f64) {
        let mut last = (Instant::now(), self.settled().await);
        while last.1 < wanted {
            sleep(LOOK).await;
            let settled = self.settled().await;
            if settled > last.1 {
                last = (Instant::now(), settled);
            } else if last.0.elapsed() > STUCK {
                self.problems.push(format!(
                    "{} notifications are not recorded",
                    wanted - settled
                ));
                return;
            }
        }
    }

    /// Reads the simulator's record to its end.
    async fn catch_up(&mut self) {
        self.arrivals().await;
    }

    // ---- who runs ----

    /// All but the callers.
    fn cast(&self) -> Cast {
        let mut cast = self.sim();
        let pids = |programs: &[crate::program::Program]| -> Vec<u32> {
            programs
                .iter()
                .filter_map(crate::program::Program::pid)
                .collect()
        };
        cast.extend(
            pids(&self.stack.apis)
                .into_iter()
                .map(|pid| (Role::Api, pid)),
        );
        cast.extend(
            pids(&self.stack.workers)
                .into_iter()
                .map(|pid| (Role::Worker, pid)),
        );
        cast.extend(self.servers(Role::Broker));
        cast.extend(self.servers(Role::Database));
        cast
    }

    fn sim(&self) -> Cast {
        self.stack
            .simulator_pid()
            .map(|pid| (Role::Sim, pid))
            .into_iter()
            .collect()
    }

    /// The processes of a server, by the mark that `cargo xtask` gives them.
    fn servers(&self, role: Role) -> Cast {
        let part = if role == Role::Broker {
            "rabbit"
        } else {
            "maria"
        };
        let pids = process::of_owner(&self.owner.join(part));
        pids.into_iter().map(|pid| (role, pid)).collect()
    }
}

fn seconds_of(lasting: Duration, per_second: usize) -> usize {
    (lasting.as_secs_f64() * per_second as f64) as usize
}

fn items(answer: &Value) -> usize {
    answer["items"]
        .as_u64()
        .and_then(|items| usize::try_from(items).ok())
        .unwrap_or_default()
}
