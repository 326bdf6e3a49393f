//! The life of a worker process: start, work, drain.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use push_core::ladder::Ladder;
use push_core::plan::Reach;
use push_providers::{Expo, Fcm, Providers};
use push_queue::Broker;
use push_runtime::probes;
use push_runtime::shutdown::Shutdown;
use push_runtime::telemetry::{self, Metrics};
use push_store::Store;

use uuid::Uuid;

use crate::in_flight::InFlight;
use crate::settings::Settings;
use crate::{consume, readiness, reconciler, recorder};

/// All that the stages share.
pub struct Worker {
    /// This process, among all workers.
    pub id: Uuid,
    pub store: Store,
    pub broker: Broker,
    pub providers: Providers,
    pub reach: Reach,
    pub ladder: Ladder,
    pub reconcile_after: Duration,
    /// How long this worker has a notification for itself: two answers' time. A killed worker's jobs
    /// wait for so long; a worker that takes longer may find another one at the same job.
    pub claim_for: Duration,
    pub prefetch: u16,
    pub in_flight: InFlight,
    pub shutdown: Shutdown,
}

/// Runs until SIGTERM or SIGINT, then drains.
pub async fn run(settings: Settings) -> anyhow::Result<()> {
    let Settings {
        log,
        probes: probes_address,
        shutdown_grace,
        ..
    } = settings;
    telemetry::install_logs(log);
    let metrics = Metrics::install().context("installing metrics")?;
    let shutdown = Shutdown::on_signals(shutdown_grace).context("listening for signals")?;
    // Its own token: the broker and the probes outlive the soft stop, so that what is in flight can
    // still be recorded, acknowledged and watched.
    let ended = tokio_util::sync::CancellationToken::new();

    let worker = Arc::new(Worker {
        id: Uuid::new_v4(),
        store: Store::connect(&settings.store).await?,
        broker: Broker::start(settings.broker, ended.clone())?,
        reach: Reach {
            policy: settings.policy,
            providers: providers_of(&settings.fcm, &settings.expo),
        },
        providers: providers(settings.fcm, settings.expo)?,
        ladder: settings.ladder,
        reconcile_after: settings.reconcile_after,
        claim_for: settings.provider_timeout * 2,
        prefetch: settings.prefetch,
        in_flight: InFlight::default(),
        shutdown,
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

    if schema_is_there(&worker).await {
        work(&worker).await;
    }
    ended.cancel();
    worker.broker.clone().close().await;
    tracing::info!("stopped");
    Ok(())
}

/// Works until the soft stop, and until what was in flight then is finished or the grace is over.
async fn work(worker: &Arc<Worker>) {
    let recorder = tokio::spawn({
        let worker = Arc::clone(worker);
        async move { recorder::run(&worker).await }
    });
    let reconciler = tokio::spawn({
        let worker = Arc::clone(worker);
        async move { reconciler::run(&worker).await }
    });
    consume::consume(Arc::clone(worker)).await;
    for (name, task) in [("recorder", recorder), ("reconciler", reconciler)] {
        if let Err(error) = task.await {
            tracing::error!(%error, "the {name} ended early");
        }
    }
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
