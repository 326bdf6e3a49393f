//! Expo's receipts: when they are asked for, and what follows from them.
//!
//! An Expo ticket says that Expo took a push; its receipt, minutes later, whether Google or Apple did. A delivery is
//! accepted by its ticket, and may be failed by its receipt.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::id::{NotificationId, RegistrationId};
use crate::job::GiveUpReason;
use crate::ladder::RetryDelay;
use crate::outcome::{Cause, Outcome, Pause, ProviderMessageId, Retry};
use crate::provider::{PerProvider, Provider};
use crate::settle::{Delivery, DeliveryOutcome, Settlement};
use crate::status::{Ending, ProviderResult, Reason};
use crate::timeline::{Step, TimelineEntry};

/// A push that Expo took, and whose receipt is to be fetched. Holds ids only: no token, no content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ticket {
    /// The notification.
    pub notification: NotificationId,
    /// The device.
    pub registration: RegistrationId,
    /// Expo's own id.
    pub ticket: ProviderMessageId,
    /// When Expo gave it.
    pub accepted_at: DateTime<Utc>,
}

impl Ticket {
    /// The tickets that a round came to.
    pub fn of(settlement: &Settlement) -> impl Iterator<Item = Self> {
        let ticket = |row: &Delivery| {
            let is_ticket =
                row.token.provider() == Provider::Expo && row.outcome == DeliveryOutcome::Accepted;
            Some(Self {
                notification: settlement.notification,
                registration: row.registration,
                ticket: row.provider_id.clone().filter(|_| is_ticket)?,
                accepted_at: row.at,
            })
        };
        settlement.deliveries.iter().filter_map(ticket)
    }
}

/// What became of a push that Expo had accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Receipt {
    /// Handed to FCM or APNs.
    Delivered,
    /// Not delivered; the outcome is never [`Outcome::Accepted`].
    Failed(Outcome),
}

/// What asking for a receipt came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is there.
    Receipt(Receipt),
    /// There is none yet, or none any more.
    Absent,
    /// Expo gave no receipts at all: to be asked again after this.
    NotNow(Pause),
}

/// When receipts are asked for (`RECEIPT_DELAY`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rhythm {
    /// How long after the ticket first, and after a request that failed again.
    pub first: RetryDelay,
    /// How long after an answer without the receipt again: four times the first.
    pub later: RetryDelay,
}

/// A first delay whose fourfold is longer than a receipt is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be at most 5h: receipts are gone after a day")]
pub struct InvalidRhythm;

impl Rhythm {
    /// Expo keeps receipts for 24 hours; a missing one is not asked for any more after this.
    pub const GIVE_UP_AFTER: Duration = Duration::from_secs(23 * 3_600);
    const FIRST_MAX: Duration = Duration::from_secs(5 * 3_600);

    /// Begins with `first`.
    ///
    /// # Errors
    /// [`InvalidRhythm`] when that is too long.
    pub fn starting_with(first: RetryDelay) -> Result<Self, InvalidRhythm> {
        if first.as_duration() > Self::FIRST_MAX {
            return Err(InvalidRhythm);
        }
        let later = first.times(4).ok_or(InvalidRhythm)?;
        Ok(Self { first, later })
    }

    /// Both delays: each has a queue.
    #[must_use]
    pub fn delays(self) -> Vec<RetryDelay> {
        vec![self.first, self.later]
    }

    /// How long to wait after an answer that was not the receipt; `None` when it is given up.
    #[must_use]
    pub fn again(
        self,
        answer: &Answer,
        accepted_at: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Option<RetryDelay> {
        let wait = match answer {
            Answer::NotNow(Pause::Asked(asked)) if *asked > self.first.as_duration() => self.later,
            Answer::NotNow(Pause::Asked(_) | Pause::AtLeast(_)) => self.first,
            Answer::Receipt(_) | Answer::Absent => self.later,
        };
        let end = accepted_at + TimeDelta::seconds(Self::GIVE_UP_AFTER.as_secs().cast_signed());
        (now + wait.as_duration() < end).then_some(wait)
    }
}

/// What is written down of a receipt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// `notification_deliveries.receipt`: `ok`, or Expo's code.
    pub said: String,
    /// Why the push was not delivered.
    pub failure: Option<Failure>,
}

/// Why a push that Expo had accepted was not delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What the delivery comes to.
    pub outcome: DeliveryOutcome,
    /// Expo's code, and what it means.
    pub cause: Cause,
}

impl Verdict {
    /// What is written down where no receipt came in time: the delivery stays accepted, since nobody said otherwise.
    pub const NONE: &str = "no_receipt";
    const OK: &str = "ok";

    /// What a receipt means for its delivery.
    #[must_use]
    pub fn of(receipt: &Receipt) -> Self {
        let failed = |outcome, cause: &Cause| Self {
            said: cause.code.clone(),
            failure: Some(Failure {
                outcome,
                cause: cause.clone(),
            }),
        };
        match receipt {
            Receipt::Delivered | Receipt::Failed(Outcome::Accepted(_)) => Self {
                said: Self::OK.to_owned(),
                failure: None,
            },
            Receipt::Failed(Outcome::TokenDead(cause)) => failed(DeliveryOutcome::TokenDead, cause),
            Receipt::Failed(Outcome::Refused(cause)) => failed(DeliveryOutcome::Refused, cause),
            Receipt::Failed(Outcome::OperatorMustAct { cause, .. }) => {
                failed(DeliveryOutcome::OperatorMustAct, cause)
            }
            Receipt::Failed(Outcome::Retry(Retry { cause, .. })) => {
                failed(DeliveryOutcome::Retry, cause)
            }
        }
    }
}

impl Failure {
    /// Whether it is kept as a dead letter, and why. What may work later is not sent again by itself: minutes have
    /// passed, the notification has ended, and Expo has tried already. But a person may replay it.
    #[must_use]
    pub const fn given_up(&self) -> Option<GiveUpReason> {
        match self.outcome {
            DeliveryOutcome::OperatorMustAct => Some(GiveUpReason::OperatorMustAct),
            DeliveryOutcome::Retry => Some(GiveUpReason::RetriesExhausted),
            DeliveryOutcome::Accepted
            | DeliveryOutcome::TokenDead
            | DeliveryOutcome::Refused
            | DeliveryOutcome::DeadLettered => None,
        }
    }
}

/// What a notification that had ended comes to, over the last word on all of its deliveries: `None` of an ending that
/// stands. What had been sent has failed when no delivery is accepted any more.
#[must_use]
pub fn recount(
    results: PerProvider<ProviderResult>,
    deliveries: &[(Provider, DeliveryOutcome)],
) -> (PerProvider<ProviderResult>, Option<Ending>) {
    let accepted = |at: Option<Provider>| {
        let here = |provider: Provider| at.is_none_or(|at| at == provider);
        let mut accepted = deliveries
            .iter()
            .filter(|(_, outcome)| *outcome == DeliveryOutcome::Accepted);
        accepted.any(|(provider, _)| here(*provider))
    };
    let mut results = results;
    results.expo = if accepted(Some(Provider::Expo)) {
        ProviderResult::Success
    } else {
        ProviderResult::Failed
    };
    if accepted(None) {
        return (results, None);
    }
    let any = |wanted| deliveries.iter().any(|(_, outcome)| *outcome == wanted);
    let reason = if any(DeliveryOutcome::DeadLettered) {
        Reason::DeadLettered
    } else if any(DeliveryOutcome::Refused) {
        Reason::Refused
    } else {
        Reason::InvalidTokens
    };
    (results, Some(Ending::Failed(reason)))
}

/// What the timeline says of a receipt.
#[must_use]
pub fn told(token: &str, verdict: &Verdict, now: DateTime<Utc>) -> TimelineEntry {
    let text = match &verdict.failure {
        None => format!("expo {token}: receipt {}", verdict.said),
        Some(Failure { outcome, cause }) => {
            let done = match outcome {
                DeliveryOutcome::TokenDead => "token is dead and switched off",
                DeliveryOutcome::OperatorMustAct => "an operator must act",
                DeliveryOutcome::Accepted
                | DeliveryOutcome::Retry
                | DeliveryOutcome::Refused
                | DeliveryOutcome::DeadLettered => "not delivered",
            };
            let Cause { code, text } = cause;
            format!("expo {token}: receipt says {done}: {code} ({text})")
        }
    };
    TimelineEntry::new(now, Step::Receipt, text)
}

/// What the timeline says where no receipt came.
#[must_use]
pub fn told_none(token: &str, now: DateTime<Utc>) -> TimelineEntry {
    let hours = Rhythm::GIVE_UP_AFTER.as_secs() / 3_600;
    let text = format!("expo {token}: no receipt within {hours} hours");
    TimelineEntry::new(now, Step::Receipt, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::{Sent, Trouble};

    fn rhythm(first: &str) -> Result<Rhythm, InvalidRhythm> {
        Rhythm::starting_with(RetryDelay::parse(first).unwrap())
    }

    #[test]
    fn it_is_asked_after_a_quarter_of_an_hour_then_every_hour_and_never_after_23_hours() {
        let rhythm = rhythm("15m").unwrap();
        let accepted_at = DateTime::UNIX_EPOCH;
        let mut asked = vec![rhythm.first.as_duration()];
        while let Some(wait) = rhythm.again(
            &Answer::Absent,
            accepted_at,
            accepted_at + *asked.last().unwrap(),
        ) {
            asked.push(*asked.last().unwrap() + wait.as_duration());
        }
        let minutes: Vec<_> = asked.iter().map(|at| at.as_secs() / 60).collect();
        let expected: Vec<_> = (0..23).map(|hour| 15 + 60 * hour).collect();
        assert_eq!(minutes, expected);
    }

    #[test]
    fn a_failed_request_is_repeated_sooner_unless_expo_asks_for_more() {
        let rhythm = rhythm("15m").unwrap();
        let (at, minutes) = (DateTime::UNIX_EPOCH, |n: u64| Duration::from_secs(n * 60));
        for (pause, wait) in [
            (Pause::AtLeast(minutes(60)), Some(rhythm.first)),
            (Pause::Asked(minutes(15)), Some(rhythm.first)),
            (Pause::Asked(minutes(16)), Some(rhythm.later)),
        ] {
            assert_eq!(rhythm.again(&Answer::NotNow(pause), at, at), wait);
        }
        let late = at + Rhythm::GIVE_UP_AFTER;
        let not_now = Answer::NotNow(Pause::AtLeast(minutes(0)));
        assert_eq!(rhythm.again(&not_now, at, late), None);
    }

    #[test]
    fn a_delay_that_leaves_no_second_question_is_refused() {
        assert_eq!(rhythm("5h").unwrap().later.to_string(), "20h");
        assert_eq!(rhythm("301m"), Err(InvalidRhythm));
    }

    /// What each kind of receipt comes to: recorded as, outcome, dead letter.
    #[test]
    fn every_receipt_is_acted_on() {
        let cause = || Cause::new("Code", "why");
        let retry = Outcome::Retry(Retry {
            cause: cause(),
            pause: Pause::AtLeast(Duration::ZERO),
            sent: Sent::SurelyNot,
            trouble: Trouble::Provider,
        });
        let accepted = Outcome::Accepted(ProviderMessageId::new("x"));
        let rows = [
            (Receipt::Delivered, "ok", None, None),
            (Receipt::Failed(accepted), "ok", None, None),
            (
                Receipt::Failed(Outcome::TokenDead(cause())),
                "Code",
                Some(DeliveryOutcome::TokenDead),
                None,
            ),
            (
                Receipt::Failed(Outcome::Refused(cause())),
                "Code",
                Some(DeliveryOutcome::Refused),
                None,
            ),
            (
                Receipt::Failed(Outcome::operator_must_act(cause())),
                "Code",
                Some(DeliveryOutcome::OperatorMustAct),
                Some(GiveUpReason::OperatorMustAct),
            ),
            (
                Receipt::Failed(retry),
                "Code",
                Some(DeliveryOutcome::Retry),
                Some(GiveUpReason::RetriesExhausted),
            ),
        ];
        for (receipt, said, outcome, letter) in rows {
            let verdict = Verdict::of(&receipt);
            assert_eq!(verdict.said, said, "{receipt:?}");
            let failure = verdict.failure.as_ref();
            assert_eq!(failure.map(|failure| failure.outcome), outcome);
            assert_eq!(failure.and_then(Failure::given_up), letter, "{receipt:?}");
            let told = told("…wxyz", &verdict, DateTime::UNIX_EPOCH);
            assert!(told.text.contains("…wxyz") && told.text.contains(said));
        }
    }

    #[test]
    fn what_was_sent_has_failed_when_nothing_is_accepted_any_more() {
        use DeliveryOutcome as D;
        use Provider::{Expo, Fcm};
        use ProviderResult::{Failed, NotSent, Success};
        type Row = (
            &'static [(Provider, DeliveryOutcome)],
            ProviderResult,
            Option<Reason>,
        );
        let rows: [Row; 8] = [
            (&[(Expo, D::Accepted)], Success, None),
            (&[(Expo, D::TokenDead)], Failed, Some(Reason::InvalidTokens)),
            (&[(Expo, D::Refused)], Failed, Some(Reason::Refused)),
            (
                &[(Expo, D::DeadLettered)],
                Failed,
                Some(Reason::DeadLettered),
            ),
            (&[(Expo, D::TokenDead), (Expo, D::Accepted)], Success, None),
            (&[(Expo, D::TokenDead), (Fcm, D::Accepted)], Failed, None),
            (
                &[
                    (Expo, D::TokenDead),
                    (Fcm, D::Refused),
                    (Fcm, D::DeadLettered),
                ],
                Failed,
                Some(Reason::DeadLettered),
            ),
            // Had FCM not been mended or tried again, Expo took it: what counts is what Expo said.
            (
                &[(Fcm, D::OperatorMustAct), (Expo, D::TokenDead)],
                Failed,
                Some(Reason::InvalidTokens),
            ),
        ];
        for (deliveries, expo, failed) in rows {
            let before = PerProvider {
                fcm: NotSent,
                expo: Success,
            };
            let (results, ending) = recount(before, deliveries);
            assert_eq!((results.fcm, results.expo), (NotSent, expo));
            assert_eq!(ending, failed.map(Ending::Failed), "{deliveries:?}");
        }
    }
}
