//! Alone in its process, because it measures memory.

#![expect(
    clippy::unwrap_used,
    reason = "a panic in a helper is a failure with a line number"
)]

use std::fs;
use std::time::Duration;

use push_queue::{Broker, BrokerSettings, Topology};
use push_seal::Keyring;
use tokio_util::sync::CancellationToken;

/// What this process has in memory, in pages of 4 KiB.
fn resident_pages() -> usize {
    let told = fs::read_to_string("/proc/self/statm").unwrap();
    told.split(' ').nth(1).unwrap().parse().unwrap()
}

/// The clock jumps: some hours are over in a moment.
async fn hours() {
    for _ in 0..1_500 {
        tokio::time::sleep(Duration::from_secs(10)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_hours_takes_no_memory() {
    let settings = BrokerSettings {
        url: "amqp://127.0.0.1:1/%2f".to_owned(),
        topology: Topology {
            retry_delays: Vec::new(),
            receipt_delays: Vec::new(),
        },
        connection_name: "refused".to_owned(),
        keys: Keyring::default(),
    };
    let broker = Broker::start(settings, CancellationToken::new()).unwrap();
    hours().await;
    let before = resident_pages();
    hours().await;
    let more = resident_pages().saturating_sub(before);
    // Some thousand attempts; when each left a connection behind that was never opened, it was 6,000.
    assert!(more < 1_000, "{more} pages more");
    broker.close().await;
}
