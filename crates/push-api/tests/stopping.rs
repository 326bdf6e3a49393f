//! The process ends by itself once it is asked to, whatever it serves.

use std::time::Duration;

use push_api::serve;
use push_api::settings::Settings;
use push_runtime::env::Env;
use push_runtime::shutdown::Shutdown;
use push_runtime::telemetry::Metrics;

#[tokio::test]
async fn a_soft_stop_needs_no_hard_one() {
    let pairs = [
        ("DATABASE_URL", "mysql://u@127.0.0.1:1/push"),
        ("AMQP_URL", "amqp://127.0.0.1:1/%2f"),
        ("AUTH_DISABLED", "true"),
        ("MIGRATE_ON_START", "true"),
        ("HTTP_ADDR", "127.0.0.1:0"),
        ("METRICS_ADDR", "127.0.0.1:0"),
        ("SHUTDOWN_DRAIN", "0s"),
    ];
    let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let mut env = Env::from_pairs(pairs);
    let settings = Settings::read(&mut env);
    let settings = env.finish(|| settings).unwrap().api;
    let shutdown = Shutdown::default();
    shutdown.soft.cancel();
    let served = serve::run(settings, Metrics::install().unwrap(), shutdown);
    // Not a measurement: without an end of its own it would serve for ever.
    tokio::time::timeout(Duration::from_secs(60), served)
        .await
        .unwrap()
        .unwrap();
}
