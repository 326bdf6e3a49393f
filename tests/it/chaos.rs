//! P1 to P8 under fire: a short run of what `cargo xtask chaos` does for half an hour.

use std::time::Duration;

use push_tests::chaos::{self, Options};

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn whatever_is_broken_nothing_is_lost_doubled_stale_or_shown_to_the_wrong_person() {
    let options = Options {
        seed: 1,
        faults: 60,
        notifications: 1_200,
        pace: Duration::from_millis(800),
        talkative: false,
    };
    let verdict = chaos::run(options).await;
    assert!(
        verdict.reasons.is_empty(),
        "seed {}, logs in {}\n{}\n  - {}",
        options.seed,
        verdict.folder.display(),
        verdict.table,
        verdict.reasons.join("\n  - ")
    );
}
