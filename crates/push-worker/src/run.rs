//! The life of a worker process: start, work, drain.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use chrono::TimeDelta;
use futures::future::join_all;
use push_core::ladder::{Ladder, RetryDelay};
use push_core::plan::Reach;
use push_core::preferences::MandatoryTypes;
use push_core::receipt::Rhythm;
use push_providers::{Expo, Fcm, Providers};
use push_queue::{Broker, Delivery};
use push_runtime::probes;
use push_runtime::shutdown::Shutdown;
use push_runtime::telemetry::{self, Metrics};
use push_store::Store;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::admit::requeue;
use crate::cache::Cache;
use crate::dead_tokens::DeadTokens;
use crate::hand::Hand;
use crate::lanes::{Lanes, keeper, lane_settings};
use crate::reconciler::Watermark;
use crate::settings::Settings;
use crate::{
    changes, consume, housekeeping, operator, readiness, receipts, reconciler, recorder, reseal,
    timer,
};

/// Whose spans they are.
const PROGRAM: push_trace::Program = push_trace::Program {
    name: "push-worker",
    version: env!("CARGO_PKG_VERSION"),
};

/// All that the stages share.
pub struct Worker {
    pub store: Store,
    pub broker: Broker,
    pub providers: Providers,
    pub lanes: Lanes,
    pub reach: Reach,
    /// What nobody can switch off.
    pub mandatory_types: MandatoryTypes,
    pub ladder: Ladder,
    pub receipt_delays: Vec<RetryDelay>,
    pub reconcile_after: Duration,
    /// How long jobs wait for the database before they go back to the queue.
    pub give_back_after: Duration,
    /// When Expo's receipts are asked for.
    pub receipts: Rhythm,
    /// How long a provider may take to answer.
    pub answer_max: Duration,
    /// How long a claim lasts unless it is renewed: two answers' time. A killed worker's jobs wait for so long, and up
    /// to the next rung.
    pub claim_for: Duration,
    pub prefetch: u16,
    /// How long content is kept.
    pub retention: TimeDelta,
    /// `prefetch` permits: rounds that may be in hand at one time.
    pub room: Arc<Semaphore>,
    pub hand: Hand,
    /// Jobs whose work was broken off: they go back to the queue once their claims are let go, so that whoever gets
    /// them finds them free.
    pub abandoned: Abandoned,
    pub dead_tokens: DeadTokens,
    pub cache: Cache,
    pub watermark: Watermark,
    /// The broker did not take all of the last batch of next jobs.
    pub next_is_refused: AtomicBool,
    pub shutdown: Shutdown,
    /// What was in flight at the stop is finished.
    pub drained: CancellationToken,
}

/// Messages that are kept until the end.
#[derive(Default)]
pub struct Abandoned(Mutex<Vec<Delivery>>);

impl Abandoned {
    /// Keeps one.
    pub fn keep(&self, delivery: Delivery) {
        self.kept().push(delivery);
    }

    async fn give_back(&self) {
        let kept = std::mem::take(&mut *self.kept());
        join_all(kept.into_iter().map(requeue)).await;
    }

    fn kept(&self) -> MutexGuard<'_, Vec<Delivery>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs until SIGTERM or SIGINT, then drains.
pub async fn run(settings: Settings) -> anyhow::Result<()> {
    let lanes = Lanes::new(lane_settings(&settings));
    let receipt_delays = settings.broker.topology.receipt_delays.clone();
    let Settings {
        log,
        trace,
        probes: probes_address,
        shutdown_grace,
        ..
    } = settings;
    telemetry::install_logs(log);
    let metrics = Metrics::install().context("installing metrics")?;
    push_trace::install(&trace, PROGRAM)?;
    crate::metrics::started();
    let shutdown = Shutdown::on_signals(shutdown_grace).context("listening for signals")?;
    // Its own token: the broker and the probes outlive the soft stop, so that what is in flight can
    // still be recorded, acknowledged and watched.
    let ended = CancellationToken::new();

    let worker = Arc::new(Worker {
        store: Store::connect(&settings.store).await?,
        broker: Broker::start(settings.broker, ended.clone())?,
        reach: Reach {
            policy: settings.policy,
            providers: providers_of(&settings.fcm, &settings.expo),
        },
        mandatory_types: settings.mandatory_types,
        lanes,
        providers: providers(settings.fcm, settings.expo)?,
        ladder: settings.ladder,
        receipt_delays,
        reconcile_after: settings.reconcile_after,
        give_back_after: settings.give_back_after,
        receipts: settings.receipts,
        answer_max: settings.provider_timeout,
        claim_for: settings.provider_timeout * 2,
        prefetch: settings.prefetch,
        retention: settings.retention,
        room: Arc::new(Semaphore::new(usize::from(settings.prefetch))),
        hand: Hand::default(),
        abandoned: Abandoned::default(),
        dead_tokens: DeadTokens::default(),
        cache: Cache::default(),
        watermark: Watermark::default(),
        next_is_refused: AtomicBool::new(false),
        shutdown,
        drained: CancellationToken::new(),
    });
    let watched = Arc::clone(&worker);
    let ready = move || {
        let worker = Arc::clone(&watched);
        async move { readiness::readiness(&worker).await }
    };
    let address = probes::serve(probes_address, metrics, ready, ended.clone())
        .await
        .context("listening on METRICS_ADDR")?;
    let providers = worker
        .reach
        .providers
        .iter()
        .map(|provider| provider.as_str())
        .collect::<Vec<_>>()
        .join(",");
    tracing::info!(%address, providers, policy = worker.reach.policy.as_str(), prefetch = worker.prefetch, "listening");

    let (watched, until) = (Arc::clone(&worker), ended.clone());
    tokio::spawn(async move { readiness::watch(&watched, &until).await });

    let worked = if schema_is_there(&worker).await && keeper::know_switches(&worker).await? {
        work(&worker).await
    } else {
        Ok(())
    };
    ended.cancel();
    worker.broker.clone().close().await;
    tracing::info!("stopped");
    push_trace::flush().await;
    worked
}

/// Works until the soft stop, and until what was in flight then is finished or the grace is over. A task that
/// ends before that takes the others with it: half a worker would go unnoticed.
async fn work(worker: &Arc<Worker>) -> anyhow::Result<()> {
    let recorder = beside(worker, |worker| async move { recorder::run(&worker).await });
    let receipts = beside(worker, |worker| async move { receipts::run(&worker).await });
    let reconciler = beside(worker, |worker| async move {
        reconciler::run(&worker).await;
    });
    let timer = beside(worker, |worker| async move { timer::run(&worker).await });
    let operator = beside(worker, |worker| async move { operator::run(&worker).await });
    let housekeeping = beside(worker, |worker| async move {
        housekeeping::run(&worker).await;
    });
    let reseal = beside(worker, |worker| async move { reseal::run(&worker).await });
    let claims = beside(worker, |worker| async move {
        tokio::join!(
            worker.hand.keep(
                &worker.store,
                &worker.dead_tokens,
                worker.claim_for,
                &worker.drained
            ),
            worker.dead_tokens.switch_off(&worker, &worker.drained),
            changes::hear(&worker),
        );
    });
    let lanes = beside(worker, |worker| async move { keeper::keep(&worker).await });
    let consumed = consume::consume(Arc::clone(worker)).await;
    worker.drained.cancel();
    let ended = [
        ("settling", consumed),
        ("the claims' keeper", claims.await),
        ("the lanes' keeper", lanes.await),
        ("the recorder", recorder.await),
        ("fetching receipts", receipts.await),
        ("the reconciler", reconciler.await),
        ("the timer", timer.await),
        ("the operator", operator.await),
        ("the housekeeping", housekeeping.await),
        ("sealing anew", reseal.await),
    ];
    worker.hand.let_go_of_dropped(&worker.store).await;
    worker.abandoned.give_back().await;
    for (name, result) in ended {
        result.with_context(|| format!("{name} ended early"))?;
    }
    Ok(())
}

/// A task that works until the worker is asked to stop, and asks it to stop when it ends by itself.
fn beside<F>(worker: &Arc<Worker>, task: impl FnOnce(Arc<Worker>) -> F) -> JoinHandle<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    let stop = worker.shutdown.soft.clone().drop_guard();
    let task = task(Arc::clone(worker));
    tokio::spawn(async move {
        let _stop = stop;
        task.await;
    })
}

/// Waits for the database and its migration; false when the worker is asked to stop first.
async fn schema_is_there(worker: &Worker) -> bool {
    let mut said = None;
    loop {
        let check = readiness::database(&worker.store).await;
        let probes::Check::Down(why) = check else {
            return true;
        };
        if said.as_ref() != Some(&why) {
            tracing::warn!("waiting for the database: {why}");
            said = Some(why);
        }
        tokio::select! {
            () = worker.shutdown.soft.cancelled() => return false,
            () = tokio::time::sleep(Duration::from_millis(500)) => {}
        }
    }
}

fn providers_of(
    fcm: &Option<push_providers::FcmSettings>,
    expo: &Option<push_providers::ExpoSettings>,
) -> Vec<push_core::provider::Provider> {
    use push_core::provider::Provider;
    let fcm = fcm.is_some().then_some(Provider::Fcm);
    let expo = expo.is_some().then_some(Provider::Expo);
    fcm.into_iter().chain(expo).collect()
}

/// Builds the clients of the configured providers.
pub fn providers(
    fcm: Option<push_providers::FcmSettings>,
    expo: Option<push_providers::ExpoSettings>,
) -> anyhow::Result<Providers> {
    Ok(Providers {
        fcm: fcm.map(Fcm::new).transpose().context("setting up FCM")?,
        expo: expo.map(Expo::new).transpose().context("setting up Expo")?,
    })
}
