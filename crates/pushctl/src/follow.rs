//! Looking at something until it ends, through restarts of what is asked.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::client::{Answer, Call};
use crate::failure::Failure;
use crate::screen::Screen;

/// How long the service may be away while something is followed: longer than a restart.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often the same is asked while the service has too much to do.
const TRIES_MAX: u32 = 5;
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Looks until there is an answer. `again` says after Ctrl-C, or when the service stays away, what goes on and how to
/// follow it again.
pub async fn until<T>(
    again: &str,
    note: impl Fn(&str),
    look: impl AsyncFnMut() -> Result<Option<T>, Failure>,
) -> Result<T, Failure> {
    tokio::select! {
        ended = patiently(again, note, look) => ended,
        _ = tokio::signal::ctrl_c() => Err(Failure::Interrupted(again.to_owned())),
    }
}

async fn patiently<T>(
    again: &str,
    note: impl Fn(&str),
    mut look: impl AsyncFnMut() -> Result<Option<T>, Failure>,
) -> Result<T, Failure> {
    let mut away_since: Option<Instant> = None;
    loop {
        let pause = match look().await {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => {
                away_since = None;
                LOOK_EVERY
            }
            Err(failure) if failure.may_pass() => {
                if away_since.is_none() {
                    note(&format!("{failure}\nLooking again …"));
                }
                if away_since.get_or_insert_with(Instant::now).elapsed() > PATIENCE {
                    note(again);
                    return Err(failure);
                }
                retry_after(&failure).max(LOOK_EVERY)
            }
            Err(failure) => return Err(failure),
        };
        sleep(pause).await;
    }
}

/// Asks once; while the service has too much to do, again after as long as it says.
pub async fn while_busy<'c>(screen: Screen, ask: impl Fn() -> Call<'c>) -> Result<Answer, Failure> {
    for _ in 1..TRIES_MAX {
        match ask().answer().await {
            Err(failure) if matches!(failure, Failure::Refused(_)) && failure.may_pass() => {
                let pause = retry_after(&failure);
                let seconds = pause.as_secs();
                screen.note(&format!("{failure}\nTrying again in {seconds} s …"));
                sleep(pause).await;
            }
            answer => return answer,
        }
    }
    ask().answer().await
}

/// How long to stay away, as the API asks for, and within what somebody would wait for.
fn retry_after(failure: &Failure) -> Duration {
    let seconds = if let Failure::Refused(refusal) = failure {
        refusal.retry_after
    } else {
        None
    };
    Duration::from_secs(seconds.unwrap_or(1)).min(Duration::from_secs(60))
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    fn away() -> Failure {
        Failure::Unreachable {
            url: "http://h".to_owned(),
            why: "connection refused".to_owned(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_restart_is_waited_for_and_told_once() {
        let notes = RefCell::new(Vec::new());
        let mut looks = 0;
        let ended = patiently(
            "again",
            |text| notes.borrow_mut().push(text.to_owned()),
            async || {
                looks += 1;
                match looks {
                    1 | 4 => Ok(None),
                    2 | 3 => Err(away()),
                    _ => Ok(Some("done")),
                }
            },
        );
        assert_eq!(ended.await.unwrap(), "done");
        assert_eq!(notes.borrow().len(), 1, "{notes:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_stays_away_is_given_up_with_how_to_follow_again() {
        let notes = RefCell::new(Vec::new());
        let ended = patiently::<()>(
            "operations show 1 --follow",
            |text| notes.borrow_mut().push(text.to_owned()),
            async || Err(away()),
        );
        assert!(ended.await.is_err());
        assert_eq!(notes.borrow().last().unwrap(), "operations show 1 --follow");
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_pass_by_itself_ends_it_at_once() {
        let mut looks = 0;
        let ended = patiently::<()>(
            "again",
            |_| {},
            async || {
                looks += 1;
                Err(Failure::NoKey)
            },
        );
        assert!(matches!(ended.await, Err(Failure::NoKey)));
        assert_eq!(looks, 1);
    }
}
