//! `push-worker check`: tries everything that the worker needs, and tells all problems at once.

use std::time::Duration;

use push_queue::{Broker, BrokerState};
use push_store::Store;
use tokio_util::sync::CancellationToken;

use crate::run::{broker_settings, providers, store_settings};
use crate::settings::Settings;

/// The broker has this long to answer; the first connection of a cold broker takes a while.
const BROKER_LIMIT: Duration = Duration::from_secs(8);

/// A line for each thing that was tried. `Err` when any of them failed.
pub async fn check(settings: Settings) -> Result<String, String> {
    let mut lines = vec!["ok      settings".to_owned()];
    let mut failed = false;
    let mut tell = |name: &str, result: Result<(), String>| match result {
        Ok(()) => lines.push(format!("ok      {name}")),
        Err(why) => {
            failed = true;
            lines.push(format!("FAILED  {name}: {why}"));
        }
    };
    tell("database", database(&settings).await);
    tell("broker", broker(&settings).await);
    let has_expo = settings.expo.is_some();
    match providers(settings.fcm, settings.expo) {
        Err(error) => tell("providers", Err(format!("{error:#}"))),
        Ok(providers) => {
            if let Some(fcm) = &providers.fcm {
                tell("fcm access token", fcm.check().await.map_err(|error| error.to_string()));
            }
            if has_expo {
                // Expo has no call that tests a token without sending.
                tell("expo settings", Ok(()));
            }
        }
    }
    let report = lines.join("\n");
    if failed { Err(report) } else { Ok(report) }
}

async fn database(settings: &Settings) -> Result<(), String> {
    let connections = settings.database_connections.get();
    let store = Store::connect(&store_settings(&settings.database_url, connections)).await;
    store.map_err(|error| error.to_string())?.ping().await.map_err(|error| error.to_string())
}

async fn broker(settings: &Settings) -> Result<(), String> {
    let stop = CancellationToken::new();
    let wanted = broker_settings(&settings.amqp_url, &settings.ladder, settings.receipt_delay);
    let broker = Broker::start(wanted, stop.clone()).map_err(|error| error.to_string())?;
    let connected = tokio::time::timeout(BROKER_LIMIT, broker.connected()).await.is_ok();
    let state = broker.state();
    stop.cancel();
    broker.close().await;
    match state {
        BrokerState::Connected | BrokerState::Blocked { .. } if connected => Ok(()),
        BrokerState::Disconnected { reason } | BrokerState::Blocked { reason } => Err(reason),
        BrokerState::Connected => Err("not connected in time".to_owned()),
    }
}
