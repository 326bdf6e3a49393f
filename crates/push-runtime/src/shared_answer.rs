//! Anybody may ask for readiness, and each look is a question to the database, or several: one look serves all.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

/// How long an answer serves everybody who asks. Shorter than any prober's interval.
const FRESH_FOR: Duration = Duration::from_secs(1);

/// One question at a time, whose answer serves everybody who asks meanwhile or soon after. Clones share it.
#[derive(Clone, Debug)]
pub struct SharedAnswer<T>(Arc<Mutex<Option<(Instant, T)>>>);

impl<T> Default for SharedAnswer<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T: Clone> SharedAnswer<T> {
    /// The last answer while it is fresh, else the answer of `ask`.
    pub async fn or_ask<F>(&self, ask: impl FnOnce() -> F) -> T
    where
        F: Future<Output = T>,
    {
        // Whoever hangs up while asking lets the next one ask.
        let mut last = self.0.lock().await;
        match &*last {
            Some((at, answer)) if at.elapsed() < FRESH_FOR => answer.clone(),
            Some(_) | None => {
                let answer = ask().await;
                *last = Some((Instant::now(), answer.clone()));
                answer
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::task::JoinSet;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn any_number_of_askers_is_one_question_a_second() {
        let (shared, asked) = (SharedAnswer::default(), Arc::new(AtomicUsize::new(0)));
        for questions in 1..=2 {
            let mut askers = JoinSet::new();
            for _ in 0..600 {
                let (shared, asked) = (shared.clone(), Arc::clone(&asked));
                askers.spawn(async move {
                    let question = async || {
                        asked.fetch_add(1, Ordering::Relaxed);
                        tokio::time::sleep(Duration::from_secs(2)).await;
                        "ok"
                    };
                    shared.or_ask(question).await
                });
            }
            assert_eq!(askers.join_all().await, vec!["ok"; 600]);
            assert_eq!(asked.load(Ordering::Relaxed), questions);
            tokio::time::sleep(FRESH_FOR).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_hangs_up_while_asking_keeps_nobody_waiting() {
        let shared = SharedAnswer::default();
        let never = shared.or_ask(std::future::pending);
        let given_up = tokio::time::timeout(Duration::from_secs(1), never).await;
        assert!(given_up.is_err());
        let answer = shared.or_ask(async || "away").await;
        assert_eq!(answer, "away");
    }
}
