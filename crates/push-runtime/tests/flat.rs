//! Metrics that nobody asks for.

use std::time::Duration;

use push_runtime::telemetry::Metrics;

/// One by one they take 8 bytes each at least.
const DURATIONS: usize = 200_000;
const PORTIONS: usize = 20;

#[tokio::test(start_paused = true)]
async fn durations_that_nobody_asks_for_take_no_memory() {
    let _metrics = Metrics::install().unwrap();
    measured().await;
    let before = resident_kib();
    for _ in 0..PORTIONS {
        measured().await;
    }
    let grown = resident_kib().saturating_sub(before);
    let one_by_one = PORTIONS * DURATIONS * 8 / 1_024;
    assert!(grown < one_by_one / 2, "{grown} of {one_by_one} KiB");
}

/// Some durations, and some seconds.
async fn measured() {
    let durations = metrics::histogram!("some_seconds");
    for _ in 0..DURATIONS {
        durations.record(0.01);
    }
    tokio::time::sleep(Duration::from_secs(11)).await;
}

/// What the process has in memory, by proc(5); 0 where there is none.
fn resident_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    number
        .and_then(|number| number.parse().ok())
        .unwrap_or_default()
}
