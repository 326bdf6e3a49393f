//! The database within a time: a statement on a connection that has gone silent would never end.

use std::time::Duration;

use push_store::{StoreError, Unavailable};

/// How long a statement may take: longer than the store waits for a lock (5 s), shorter than a caller
/// waits for us.
const ANSWER_MAX: Duration = Duration::from_secs(8);

/// What the database answers, if it does in time.
///
/// # Errors
/// What the store says, or that it did not answer.
pub fn in_time<T>(
    asking: impl Future<Output = Result<T, StoreError>>,
) -> impl Future<Output = Result<T, StoreError>> {
    // Asking may include connecting and takes 20 KB, which everything that waits for it would take as well, twice.
    let asking = Box::pin(asking);
    async {
        let answered = tokio::time::timeout(ANSWER_MAX, asking).await;
        answered.unwrap_or(Err(StoreError::Unavailable(Unavailable::TimedOut)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_silent_database_is_not_waited_for() {
        let silent = in_time(std::future::pending::<Result<(), StoreError>>()).await;
        assert!(silent.unwrap_err().is_unavailable());
        assert_eq!(in_time(async { Ok(7) }).await, Ok(7));
    }
}
