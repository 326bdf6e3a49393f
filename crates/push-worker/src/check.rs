//! `push-worker check`: tries everything that the worker needs, and tells all problems at once.

use push_queue::Broker;
use push_store::Store;

use crate::run::providers;
use crate::settings::Settings;

/// A line for each thing that was tried. `Err` when any of them failed.
pub async fn check(settings: Settings) -> Result<String, String> {
    let mut lines = vec!["ok      settings: read".to_owned()];
    let mut failed = false;
    let mut tell = |name: &str, result: Result<String, String>| match result {
        Ok(how) => lines.push(format!("ok      {name}: {how}")),
        Err(why) => {
            failed = true;
            lines.push(format!("FAILED  {name}: {why}"));
        }
    };
    tell("database", database(&settings).await);
    tell("broker", broker(&settings).await);
    if let Some(tried) = push_trace::check(&settings.trace).await {
        tell("traces", told(tried, "the collector takes them"));
    }
    let has_access_token = settings
        .expo
        .as_ref()
        .is_some_and(|expo| expo.access_token.is_some());
    match providers(settings.fcm, settings.expo) {
        Err(error) => tell("providers", Err(format!("{error:#}"))),
        Ok(providers) => {
            if let Some(fcm) = &providers.fcm {
                let given = fcm.check().await;
                let is_given = given.is_ok();
                tell("fcm access token", told(given, "given"));
                // Without a token the same trouble would be told twice.
                if is_given {
                    let tried = fcm.try_out().await;
                    let taken =
                        "FCM takes our messages (tried with validate_only, nothing was sent)";
                    tell("fcm send", told(tried, taken));
                }
            }
            if let Some(expo) = &providers.expo {
                let (name, taken) = if has_access_token {
                    ("expo access token", "Expo takes it (asked for a receipt)")
                } else {
                    ("expo", "answers; there is no EXPO_ACCESS_TOKEN")
                };
                tell(name, told(expo.try_out().await, taken));
            }
        }
    }
    let report = lines.join("\n");
    if failed { Err(report) } else { Ok(report) }
}

fn told<E: std::fmt::Display>(result: Result<(), E>, well: &str) -> Result<String, String> {
    result
        .map(|()| well.to_owned())
        .map_err(|error| error.to_string())
}

/// How the bytes travel.
async fn database(settings: &Settings) -> Result<String, String> {
    let told = |error: push_store::StoreError| error.to_string();
    let store = Store::connect(&settings.store).await.map_err(told)?;
    store.ping().await.map_err(told)?;
    // Without a schema there is nothing yet that is sealed.
    if let Ok(false) = store.migration_pending().await {
        store.keys_in_use().await.map_err(told)?;
    }
    let transport = store.transport().await.map_err(told)?;
    Ok(transport.to_string())
}

async fn broker(settings: &Settings) -> Result<String, String> {
    let checked = Broker::check(&settings.broker).await;
    checked
        .map(str::to_owned)
        .map_err(|error| error.to_string())
}
