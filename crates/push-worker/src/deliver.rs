//! Asks the providers, target by target.

use std::sync::Arc;

use chrono::Utc;
use futures::future::join_all;
use push_core::job::Job;
use push_core::notification::Notification;
use push_core::outcome::Outcome;
use push_core::plan::PlannedTarget;
use push_core::settle::{Fate, Report, Try};
use push_core::token::Token;
use push_providers::{Providers, Push};

use crate::metrics;

/// One round: all targets at once, each through its providers in turn.
pub async fn deliver(providers: &Providers, job: &Job, targets: Vec<PlannedTarget>) -> Vec<Report> {
    let notification = Arc::new(job.notification.clone());
    join_all(
        targets
            .into_iter()
            .map(|planned| deliver_target(providers, &notification, planned)),
    )
    .await
}

async fn deliver_target(
    providers: &Providers,
    notification: &Arc<Notification>,
    planned: PlannedTarget,
) -> Report {
    let fate = fate(providers, notification, &planned).await;
    Report { planned, fate }
}

async fn fate(
    providers: &Providers,
    notification: &Arc<Notification>,
    planned: &PlannedTarget,
) -> Fate {
    if notification.is_expired(Utc::now()) {
        return Fate::Expired;
    }
    let wait = planned
        .target
        .not_before
        .and_then(|at| (at - Utc::now()).to_std().ok());
    if let Some(wait) = wait.filter(|wait| !wait.is_zero()) {
        return Fate::Held(wait);
    }
    let Some(platform) = planned.platform.filter(|_| !planned.routes.is_empty()) else {
        return Fate::Gone;
    };
    let mut tries = Vec::new();
    for token in &planned.routes {
        if notification.is_expired(Utc::now()) {
            break;
        }
        let push = Push {
            notification: Arc::clone(notification),
            token: token.clone(),
            platform,
        };
        let outcome = send(providers, push).await;
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
        Fate::Expired
    } else {
        Fate::Tried(tries)
    }
}

async fn send(providers: &Providers, push: Push) -> Outcome {
    let (provider, started) = (push.token.provider(), std::time::Instant::now());
    let (id, token) = (push.notification.id, push.token.clone());
    let outcome = providers.send(push).await;
    metrics::provider_answered(provider, &outcome, started.elapsed());
    log(id, &token, &outcome);
    outcome
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
        Outcome::OperatorMustAct(cause) => {
            tracing::error!(notification.id = %notification, provider, %token, code = cause.code, "an operator must act: {}", cause.text);
        }
        Outcome::Refused(cause) => {
            tracing::warn!(notification.id = %notification, provider, %token, code = cause.code, "the message is refused for good: {}", cause.text);
        }
    }
}
