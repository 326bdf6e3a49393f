//! Asks the providers, target by target.

use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use futures::future::join_all;
use push_core::job::Job;
use push_core::notification::Notification;
use push_core::outcome::{Outcome, Withheld};
use push_core::plan::PlannedTarget;
use push_core::provider::Platform;
use push_core::settle::{Fate, Report, Try};
use push_core::token::Token;
use push_providers::Push;

use crate::hand::InHand;
use crate::metrics;
use crate::run::Worker;

/// One round: all targets at once, each through its providers in turn.
pub async fn deliver(
    worker: &Worker,
    job: &Job,
    in_hand: &InHand,
    targets: Vec<PlannedTarget>,
) -> Vec<Report> {
    let round = Round {
        worker,
        notification: Arc::new(job.notification.clone()),
        in_hand,
    };
    join_all(targets.into_iter().map(|planned| round.deliver(planned))).await
}

/// What all targets of a round share.
struct Round<'a> {
    worker: &'a Worker,
    notification: Arc<Notification>,
    in_hand: &'a InHand,
}

impl Round<'_> {
    async fn deliver(&self, planned: PlannedTarget) -> Report {
        let fate = self.fate(&planned).await;
        Report { planned, fate }
    }

    async fn fate(&self, planned: &PlannedTarget) -> Fate {
        if self.notification.is_expired(Utc::now()) {
            return Fate::Expired;
        }
        let wait = planned
            .target
            .not_before
            .and_then(|at| (at - Utc::now()).to_std().ok());
        if let Some(wait) = wait.filter(|wait| !wait.is_zero()) {
            return Fate::Held(wait);
        }
        match planned.platform.filter(|_| !planned.routes.is_empty()) {
            Some(platform) => self.try_routes(planned, platform).await,
            None => Fate::Gone,
        }
    }

    async fn try_routes(&self, planned: &PlannedTarget, platform: Platform) -> Fate {
        let mut tries = Vec::new();
        for token in &planned.routes {
            let outcome = match self.send(token, platform).await {
                Ok(outcome) => outcome,
                Err(Withheld::Expired) if tries.is_empty() => return Fate::Expired,
                Err(Withheld::Expired) => break,
                Err(Withheld::TokenDead) => continue,
                // No attempt is spent: the next round begins again with the first route.
                Err(Withheld::ClaimOver) => return Fate::Held(Duration::ZERO),
            };
            let next_route = outcome.permits_next_route();
            tries.push(Try {
                token: token.clone(),
                outcome,
                at: Utc::now(),
            });
            if !next_route {
                break;
            }
        }
        if tries.is_empty() {
            // All were found dead meanwhile; whether the app has registered new ones shows at the next look.
            Fate::Held(Duration::ZERO)
        } else {
            Fate::Tried(tries)
        }
    }

    async fn send(&self, token: &Token, platform: Platform) -> Result<Outcome, Withheld> {
        let worker = self.worker;
        let leave =
            self.in_hand
                .leave(token.clone(), worker.dead_tokens.clone(), worker.answer_max);
        let push = Push {
            notification: Arc::clone(&self.notification),
            token: token.clone(),
            platform,
            still_wanted: Arc::new(leave),
        };
        let started = std::time::Instant::now();
        let outcome = worker.providers.send(push).await?;
        metrics::provider_answered(token.provider(), &outcome, started.elapsed());
        log(self.notification.id, token, &outcome);
        if let Outcome::TokenDead(_) = outcome {
            worker.dead_tokens.report(token, Utc::now());
        }
        Ok(outcome)
    }
}

/// An error where someone must act, a warning where something is odd, else for debugging only.
fn log(notification: push_core::id::NotificationId, token: &Token, outcome: &Outcome) {
    let provider = token.provider().as_str();
    match outcome {
        Outcome::Accepted(_) => {
            tracing::debug!(notification.id = %notification, provider, %token, "accepted")
        }
        Outcome::TokenDead(cause) => {
            tracing::info!(notification.id = %notification, provider, %token, code = cause.code, "the token is dead: switched off");
        }
        Outcome::Retry(retry) => {
            tracing::info!(notification.id = %notification, provider, %token, code = retry.cause.code, sent = ?retry.sent, "not now");
        }
        Outcome::OperatorMustAct { cause, .. } => {
            tracing::error!(notification.id = %notification, provider, %token, code = cause.code, "an operator must act: {}", cause.text);
        }
        Outcome::Refused(cause) => {
            tracing::warn!(notification.id = %notification, provider, %token, code = cause.code, "the message is refused for good: {}", cause.text);
        }
    }
}
