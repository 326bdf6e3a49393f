//! Alone in its process, because it counts threads.

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
    assert!(
        connection_threads() > 0,
        "the names of the threads have changed"
    );
    broker.close().await;
    tokio::time::timeout(Duration::from_secs(30), async {
        while connection_threads() > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("threads of given up attempts are still there");
}
