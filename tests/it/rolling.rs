//! A rolling upgrade: replicas and workers are replaced one after the other under load, and whoever follows the
//! replicas' readiness notices nothing.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use push_tests::{Api, Device, Provider, Stack, eventually};
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
            let answer = self.next().send(customer).try_answer().await;
            let id = answer.expect("no request fails").expect(202).id();
            self.accepted.lock().unwrap().insert(id, customer);
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

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn two_apis_and_three_workers_are_replaced_in_turn_without_one_failed_request() {
    let mut stack = Stack::with()
        .apis(2)
        .workers(3)
        .env_api("SHUTDOWN_DRAIN", "4s")
        .start()
        .await;
    stack.all_ready().await;
    let phones = BTreeMap::from([
        (1, stack.register(1, Device::android_fcm("pixel")).await),
        (2, stack.register(2, Device::ios_expo("iphone")).await),
    ]);
    // At any moment something is with the providers.
    stack.sim.latency(Provider::Fcm, 300).await;
    stack.sim.latency(Provider::Expo, 300).await;
    let balancer = Arc::new(Balancer::default());
    (0..2).for_each(|index| balancer.add(stack.api_at(index)));
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        callers.spawn(Arc::clone(&balancer).call([1, 2]));
    }
    for _ in 0..2 {
        balancer.takes(20).await;
        replace_api(&mut stack, &balancer).await;
    }
    for order in [Order::NewFirst, Order::OldFirst, Order::NewFirst] {
        balancer.takes(20).await;
        replace_worker(&mut stack, order).await;
    }
    balancer.takes(20).await;
    balancer.is_over.store(true, Ordering::Relaxed);
    callers.join_all().await;
    stack.all_settled().await;
    let accepted = balancer.accepted.lock().unwrap().clone();
    let mut displays = BTreeMap::new();
    for (customer, phone) in &phones {
        displays.insert(*customer, stack.sim.displays(phone).await);
    }
    for (id, customer) in accepted {
        assert_eq!(displays[&customer][&id], 1, "{id}");
    }
}
