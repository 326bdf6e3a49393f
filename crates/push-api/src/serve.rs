//! The life of the process: start, serve, drain.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::{Router, middleware};
use push_queue::{Broker, BrokerUrlError};
use push_runtime::shutdown::Shutdown;
use push_runtime::telemetry::Metrics;
use push_store::{Store, StoreError};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::accept::Acceptor;
use crate::backlog;
use crate::books::{self, LastReading};
use crate::caller::Access;
use crate::drain;
use crate::health::{Health, Probes};
use crate::limits::address::Proxies;
use crate::limits::gate::Gate;
use crate::listen;
use crate::live;
use crate::metrics;
use crate::notes::Notes;
use crate::outcomes::Outcomes;
use crate::publish::Publisher;
use crate::request::BatchRoom;
use crate::router;
use crate::routes::Exports;
use crate::schema::Schema;
use crate::settings::ApiSettings;
use crate::state::{AppState, Parts, now};
use crate::tls::Tls;
use crate::turns::Turns;

/// Connections to an address of the probes' own: a few probers and scrapers.
const PROBERS_MAX: usize = 64;

/// Why the program cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address is taken, or not ours.
    #[error("cannot listen on {name}={address}")]
    Listen {
        /// The setting.
        name: &'static str,
        /// Its value.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The database's URL cannot be used.
    #[error("DATABASE_URL cannot be used")]
    Database(#[from] StoreError),
    /// The broker's URL cannot be used.
    #[error("AMQP_URL cannot be used")]
    Broker(#[from] BrokerUrlError),
}

/// What runs beside the handlers.
pub struct Background {
    /// Everything that has to end before the process does.
    pub tasks: TaskTracker,
    /// The connection to the broker, which outlives the tasks.
    broker: Broker,
    /// Ends it.
    broker_stop: CancellationToken,
}

/// Starts all parts; nothing is waited for. At `stop` the doors close: afterwards nobody waits for an
/// outcome.
///
/// # Errors
/// [`StartError`] when a URL cannot be used.
pub async fn start(
    settings: &ApiSettings,
    metrics: Option<Metrics>,
    stop: &CancellationToken,
) -> Result<(AppState, Background), StartError> {
    let tasks = TaskTracker::new();
    let database = Store::connect(&settings.store)
        .await?
        .limited_per_customer(settings.customer_rate);
    // Its own token: the broker outlives the soft stop, so that what is in flight is still published.
    let broker_stop = CancellationToken::new();
    let broker = Broker::start(settings.broker.clone(), broker_stop.clone())?;
    let schema = if settings.migrate_on_start {
        Schema::migrate(database.clone(), stop.clone(), &tasks)
    } else {
        Schema::watch(database.clone(), stop.clone(), &tasks)
    };
    let health = Health::new(schema.clone(), database.clone(), broker.clone());
    let publisher = Publisher::start(broker.clone(), database.clone(), now, &tasks);
    let state = AppState::new(Parts {
        access: settings.access.clone(),
        speaks_tls: settings.tls.is_some(),
        last_reading: LastReading::default(),
        unknown_customer: settings.unknown_customer,
        gate: Gate::new(&settings.request_rates),
        customer_rate: settings.customer_rate,
        mandatory_types: settings.mandatory_types.clone(),
        batch_room: BatchRoom::default(),
        catalogue: Arc::clone(&settings.catalogue),
        guard: settings.guard.clone(),
        exports: Exports::new(stop.clone()),
        acceptor: Acceptor::start(
            database.clone(),
            settings.unknown_customer,
            settings.reconcile_after,
            publisher.clone(),
            &tasks,
        ),
        health,
        publisher,
        broker: broker.clone(),
        outcomes: Outcomes::start(database.clone(), stop.clone(), &tasks),
        reconcile_after: settings.reconcile_after,
        database,
        notes: Notes::default(),
        turns: Turns::new(settings.store.connections_max),
        schema,
        metrics,
        tasks: tasks.clone(),
    });
    let background = Background {
        tasks,
        broker,
        broker_stop,
    };
    Ok((state, background))
}

/// Serves until the soft stop and a while longer, finishes what is in flight, and returns; or at the hard stop.
///
/// # Errors
/// [`StartError`] when it cannot start.
pub async fn run(
    settings: ApiSettings,
    metrics: Metrics,
    shutdown: Shutdown,
) -> Result<(), StartError> {
    metrics::describe();
    let beside = settings.metrics.is_none().then(|| metrics.clone());
    let closing = CancellationToken::new();
    let (state, background) = start(&settings, beside, &closing).await?;
    let health = state.health.clone();
    tokio::spawn(drain::drain(
        shutdown.soft.clone(),
        health.clone(),
        settings.shutdown_drain,
        closing.clone(),
    ));
    if let Some(address) = settings.metrics {
        let probes = Probes {
            health: state.health.clone(),
            metrics: Some(metrics),
        };
        let (listener, address) = bind("METRICS_ADDR", address).await?;
        tracing::info!(%address, "metrics and probes are served");
        // Until the very end: also while the rest drains, someone may watch.
        let stop = background.broker_stop.clone();
        let app = router::build_probes(probes);
        tokio::spawn(async move {
            listen::serve(listener, app, PROBERS_MAX, Proxies::default(), None, &stop).await
        });
    }
    let (listener, address) = bind("HTTP_ADDR", settings.http).await?;
    tracing::info!(%address, catalogue = ?settings.catalogue, "listening");
    let mut files = Vec::new();
    match &state.access {
        Access::Open => tracing::warn!("AUTH_DISABLED: everybody may do everything"),
        Access::Known(credentials) => {
            files.extend(credentials.files.iter().cloned());
            for key in credentials.keys.get().weak() {
                tracing::warn!(%key, "the secret of this API key is short: it can be found by trying; `push-api key` makes a good one");
            }
        }
    }
    if let Some(tls) = &settings.tls {
        metrics::certificate_expires(tls.expires());
        if let Err(problem) = tls.told(now()) {
            tracing::error!("{problem}");
        }
        files.extend(tls.files.clone());
    }
    background.tasks.spawn(live::watch(files, closing.clone()));
    if settings.customer_rate.is_none() {
        tracing::warn!(
            "RATE_LIMIT_PER_CUSTOMER is off: any number of notifications is sent to a customer"
        );
    }
    background
        .tasks
        .spawn(books::watch(state.clone(), closing.clone()));
    background
        .tasks
        .spawn(backlog::watch(state.clone(), closing.clone()));
    // Until the very end, and waited for by nobody.
    tokio::spawn(health.clone().watch(background.broker_stop.clone()));
    let broker = background.broker.clone();
    let parting = middleware::from_fn_with_state(health, drain::part_with_callers);
    let app = router::build(state).layer(parting);
    let (proxies, tls) = (settings.request_rates.proxies, settings.tls);
    tokio::select! {
        () = serve_and_drain(listener, app, proxies, tls, &background, &closing) => {}
        () = shutdown.hard.cancelled() => tracing::warn!("stopped with requests in flight"),
    }
    background.broker_stop.cancel();
    broker.close().await;
    tracing::info!("stopped");
    Ok(())
}

/// The listener, and the address that it really has.
async fn bind(
    name: &'static str,
    address: SocketAddr,
) -> Result<(TcpListener, SocketAddr), StartError> {
    let wrong = |source| StartError::Listen {
        name,
        address,
        source,
    };
    let listener = TcpListener::bind(address).await.map_err(wrong)?;
    let bound = listener.local_addr().map_err(wrong)?;
    Ok((listener, bound))
}

async fn serve_and_drain(
    listener: TcpListener,
    app: Router,
    proxies: Proxies,
    tls: Option<Tls>,
    background: &Background,
    closing: &CancellationToken,
) {
    let connections_max = listen::connections_max();
    listen::serve(listener, app, connections_max, proxies, tls, closing).await;
    // The handlers' share of the state is gone with the app: the writers end when they are done.
    background.tasks.close();
    background.tasks.wait().await;
}
