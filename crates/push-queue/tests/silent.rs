//! Alone in its process, because it counts threads.

#![expect(
    clippy::expect_used,
    reason = "a panic in a helper is a failure with a line number"
)]

use std::fs;
use std::time::Duration;

use push_queue::{Broker, BrokerSettings, Topology};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Threads of lapin, one for each connection or attempt.
fn connection_threads() -> usize {
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten();
    tasks
        .filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok())
        .filter(|name| name.starts_with("lapin"))
        .count()
}

async fn until(otherwise: &str, so: impl Fn() -> bool) {
    let waiting = async {
        while !so() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(30), waiting).await;
    waited.expect(otherwise);
}

#[tokio::test]
async fn attempts_against_a_server_that_never_answers_leave_nothing_behind() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let settings = BrokerSettings {
        url: format!("amqp://{}/%2f", listener.local_addr().unwrap()),
        topology: Topology {
            retry_delays: Vec::new(),
            receipt_delays: Vec::new(),
        },
        connection_name: "silent".to_owned(),
        keys: push_seal::Keyring::default(),
    };
    let broker = Broker::start(settings, CancellationToken::new()).unwrap();
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(listener.accept().await.unwrap());
    }
    until("no thread bears the name of one", || {
        connection_threads() > 0
    })
    .await;
    broker.close().await;
    until("threads of given up attempts are still there", || {
        connection_threads() == 0
    })
    .await;
}
