//! A rolling upgrade: replicas and workers are replaced one after the other under load, and whoever follows the
//! replicas' readiness notices nothing.
//!
//! `cargo xtask upgrade` gives the programs of another version to upgrade from, and to go back to. Without them the
//! same is done with one version only.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use push_tests::{
    Api, Builder, Device, Phone, Provider, Stack, eventually, programs, programs_before, run_to_end,
};
use tokio::task::JoinSet;

const CALLERS: usize = 4;
/// How often one caller sends: a load, and no backlog.
const RHYTHM: Duration = Duration::from_millis(10);
/// How often the balancer asks a replica whether it is ready.
const PROBE: Duration = Duration::from_millis(20);

/// A replica as the balancer knows it.
struct Replica {
    api: Api,
    is_ready: AtomicBool,
}

impl Replica {
    async fn says_ready(&self) -> bool {
        let answer = self.api.get("/readyz").anonymous().try_answer().await;
        answer.is_ok_and(|answer| answer.status == 200)
    }
}

/// A load balancer: requests go in turn to the replicas that said last that they are ready.
#[derive(Default)]
struct Balancer {
    replicas: Mutex<Vec<Arc<Replica>>>,
    turn: AtomicUsize,
    /// What was accepted through it: a customer for each notification.
    accepted: Mutex<BTreeMap<String, i64>>,
    /// Requests that had another end.
    failed: Mutex<Vec<String>>,
    is_over: AtomicBool,
}

impl Balancer {
    fn add(self: &Arc<Self>, api: Api) {
        let is_ready = AtomicBool::new(true);
        let replica = Arc::new(Replica { api, is_ready });
        self.replicas.lock().unwrap().push(Arc::clone(&replica));
        let this = Arc::clone(self);
        tokio::spawn(async move {
            while !this.is_over.load(Ordering::Relaxed) {
                let is_ready = replica.says_ready().await;
                replica.is_ready.store(is_ready, Ordering::Relaxed);
                tokio::time::sleep(PROBE).await;
            }
        });
    }

    fn next(&self) -> Api {
        let replicas = self.replicas.lock().unwrap();
        let ready: Vec<_> = replicas
            .iter()
            .filter(|replica| replica.is_ready.load(Ordering::Relaxed))
            .collect();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        ready[turn % ready.len()].api.clone()
    }

    fn accepted(&self) -> usize {
        self.accepted.lock().unwrap().len()
    }

    /// Waits until so many more are accepted.
    async fn takes(&self, more: usize) {
        let wanted = self.accepted() + more;
        eventually("the load is on", async || {
            (self.accepted() >= wanted).then_some(())
        })
        .await;
    }

    async fn call(self: Arc<Self>, customers: [i64; 2]) {
        for customer in customers.into_iter().cycle() {
            if self.is_over.load(Ordering::Relaxed) {
                return;
            }
            match self.next().send(customer).try_answer().await {
                Ok(answer) if answer.status == 202 => {
                    self.accepted.lock().unwrap().insert(answer.id(), customer);
                }
                other => self.failed.lock().unwrap().push(format!("{other:?}")),
            }
            tokio::time::sleep(RHYTHM).await;
        }
    }
}

/// The doors are still open while it drains, and each answer says that they will close.
async fn replace_api(stack: &mut Stack, balancer: &Arc<Balancer>) {
    let leaving = stack.api();
    let mut old = stack.apis.remove(0);
    stack.counters_restart();
    old.signal_terminate();
    eventually("it says that it stops", async || {
        let answer = leaving.get("/readyz").anonymous().try_answer().await;
        (answer.ok()?.status == 503).then_some(())
    })
    .await;
    let late = leaving.send(1).try_answer().await;
    let late = late.expect("served while it drains").expect(202);
    assert_eq!(late.header("connection"), "close");
    balancer.accepted.lock().unwrap().insert(late.id(), 1);
    assert_eq!(old.ended().await, Some(0));
    stack.start_api().await;
    let new = stack.apis.last().unwrap();
    stack.ready(new).await;
    balancer.add(stack.api_at(stack.apis.len() - 1));
}

#[derive(Clone, Copy)]
enum Order {
    NewFirst,
    OldFirst,
}

async fn start_worker(stack: &mut Stack) {
    stack.start_worker().await;
    stack.ready(stack.workers.last().unwrap()).await;
}

async fn replace_worker(stack: &mut Stack, order: Order) {
    match order {
        Order::NewFirst => start_worker(stack).await,
        Order::OldFirst => {}
    }
    eventually("it has work in hand", async || {
        let metrics = stack.metrics_of(&stack.workers[0]).await;
        (metrics.sum("push_lane_in_flight", "") > Some(0.5)).then_some(())
    })
    .await;
    assert_eq!(stack.terminate_worker().await, Some(0));
    match order {
        Order::NewFirst => {}
        Order::OldFirst => start_worker(stack).await,
    }
}

/// Two customers, and callers that send to them for as long as the load is on.
struct Load {
    phones: BTreeMap<i64, Phone>,
    balancer: Arc<Balancer>,
    callers: JoinSet<()>,
}

impl Load {
    async fn on(stack: &Stack) -> Self {
        let phones = BTreeMap::from([
            (1, stack.register(1, Device::android_fcm("pixel")).await),
            (2, stack.register(2, Device::ios_expo("iphone")).await),
        ]);
        // At any moment something is with the providers.
        stack.sim.latency(Provider::Fcm, 300).await;
        stack.sim.latency(Provider::Expo, 300).await;
        let balancer = Arc::new(Balancer::default());
        (0..stack.apis.len()).for_each(|index| balancer.add(stack.api_at(index)));
        let mut callers = JoinSet::new();
        for _ in 0..CALLERS {
            callers.spawn(Arc::clone(&balancer).call([1, 2]));
        }
        Self {
            phones,
            balancer,
            callers,
        }
    }

    /// No request failed, and each notification was shown once.
    async fn off(self, stack: &Stack) {
        self.balancer.is_over.store(true, Ordering::Relaxed);
        self.callers.join_all().await;
        assert_eq!(*self.balancer.failed.lock().unwrap(), [""; 0]);
        stack.all_settled().await;
        let accepted = self.balancer.accepted.lock().unwrap().clone();
        let mut displays = BTreeMap::new();
        for (customer, phone) in &self.phones {
            displays.insert(*customer, stack.sim.displays(phone).await);
        }
        for (id, customer) in accepted {
            assert_eq!(displays[&customer][&id], 1, "{id}");
        }
    }
}

fn two_apis() -> Builder {
    Stack::with().apis(2).env_api("SHUTDOWN_DRAIN", "4s")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn two_apis_and_three_workers_are_replaced_in_turn_without_one_failed_request() {
    let mut stack = two_apis().workers(3).start().await;
    stack.all_ready().await;
    let load = Load::on(&stack).await;
    for _ in 0..2 {
        load.balancer.takes(20).await;
        replace_api(&mut stack, &load.balancer).await;
    }
    for order in [Order::NewFirst, Order::OldFirst, Order::NewFirst] {
        load.balancer.takes(20).await;
        replace_worker(&mut stack, order).await;
    }
    load.balancer.takes(20).await;
    load.off(&stack).await;
}

/// What an upgrade came to, step by step.
#[derive(Default)]
struct Journal(Vec<String>);

impl Journal {
    /// Some load later the step is done.
    async fn done(&mut self, step: &str, balancer: &Balancer) {
        balancer.takes(20).await;
        let failed = balancer.failed.lock().unwrap().len();
        let accepted = balancer.accepted();
        self.0.push(format!("{step:<36}{accepted:>10}{failed:>8}"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_upgrade_and_the_way_back_fail_no_request() {
    let (old, new) = (programs_before().unwrap_or_else(programs), programs());
    let mut stack = two_apis().workers(2).programs_of(old.clone()).start().await;
    stack.all_ready().await;
    let load = Load::on(&stack).await;
    let balancer = &load.balancer;
    let mut journal = Journal::default();
    journal.done("the old programs run", balancer).await;

    let migrated = run_to_end("push-api", &["migrate"], &stack.api_settings()).await;
    assert_eq!(migrated.code, Some(0), "{}", migrated.stderr);
    journal
        .done("push-api migrate, the new one", balancer)
        .await;
    stack.change_programs(new);
    for replica in ["first", "second"] {
        replace_api(&mut stack, balancer).await;
        let step = format!("upgrade: the {replica} push-api");
        journal.done(&step, balancer).await;
    }
    for (worker, order) in [("first", Order::OldFirst), ("second", Order::NewFirst)] {
        replace_worker(&mut stack, order).await;
        let step = format!("upgrade: the {worker} push-worker");
        journal.done(&step, balancer).await;
    }

    stack.change_programs(old);
    for (worker, order) in [("first", Order::OldFirst), ("second", Order::NewFirst)] {
        replace_worker(&mut stack, order).await;
        let step = format!("rollback: the {worker} push-worker");
        journal.done(&step, balancer).await;
    }
    for replica in ["first", "second"] {
        replace_api(&mut stack, balancer).await;
        let step = format!("rollback: the {replica} push-api");
        journal.done(&step, balancer).await;
    }
    load.off(&stack).await;
    let (step, accepted, failed) = ("done, under load", "accepted", "failed");
    eprintln!("\n{step:<36}{accepted:>10}{failed:>8}");
    eprintln!("{}", journal.0.join("\n"));
    eprintln!("each delivered once, none lost\n");
}
