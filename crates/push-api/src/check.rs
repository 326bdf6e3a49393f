//! `push-api check`: tries everything that the API needs, and tells all problems at once.

use chrono::Utc;
use push_queue::Broker;
use push_store::Store;
use push_trace::TraceSettings;

use crate::settings::{ApiSettings, Settings};

/// A line for each thing that was tried. `Err` when any of them failed.
///
/// # Errors
/// The same lines.
pub async fn check(settings: &Settings) -> Result<String, String> {
    let Settings {
        trace,
        api: settings,
        ..
    } = settings;
    let database = database(settings).await;
    let broker = Broker::check(&settings.broker)
        .await
        .map(str::to_owned)
        .map_err(|error| error.to_string());
    let http = settings.tls.as_ref().map_or_else(
        || Ok("plain: whoever is between us and the callers can listen".to_owned()),
        |tls| tls.told(Utc::now()),
    );
    let mut tried = vec![
        ("settings", Ok("read".to_owned())),
        ("http", http),
        ("database", database),
        ("broker", broker),
    ];
    tried.extend(traces(trace).await.map(|traces| ("traces", traces)));
    let failed = tried.iter().any(|(_, result)| result.is_err());
    let lines = tried.into_iter().map(|(name, result)| match result {
        Ok(how) => format!("ok      {name}: {how}"),
        Err(why) => format!("FAILED  {name}: {why}"),
    });
    let report = lines.collect::<Vec<_>>().join("\n");
    if failed { Err(report) } else { Ok(report) }
}

/// Whether the collector takes them, if there is one.
async fn traces(settings: &TraceSettings) -> Option<Result<String, String>> {
    let tried = push_trace::check(settings).await?;
    Some(match tried {
        Ok(()) => Ok("the collector takes them".to_owned()),
        Err(error) => Err(error.to_string()),
    })
}

/// How the bytes travel.
async fn database(settings: &ApiSettings) -> Result<String, String> {
    let told = |error: push_store::StoreError| error.to_string();
    let store = Store::connect(&settings.store).await.map_err(told)?;
    store.ping().await.map_err(told)?;
    let pending = store.migration_pending().await.map_err(told)?;
    if pending && !settings.migrate_on_start {
        return Err(
            "the schema is not migrated, and MIGRATE_ON_START is false; run `push-api migrate`"
                .to_owned(),
        );
    }
    if !pending {
        store.keys_in_use().await.map_err(told)?;
    }
    let transport = store.transport().await.map_err(told)?;
    Ok(transport.to_string())
}
