//! Asks the providers, target by target.

use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use futures::future::join_all;
use push_core::id::NotificationId;
use push_core::job::Job;
use push_core::lane::Barrier;
use push_core::notification::Notification;
use push_core::outcome::{Outcome, Withheld};
use push_core::plan::PlannedTarget;
use push_core::provider::{Platform, Provider};
use push_core::settle::{Fate, Hold, HoldReason, Report, Try};
use push_core::token::Token;
use push_core::trace::TraceContext;
use push_providers::Push;
use push_trace::{Span, SpanKind};

use crate::admit::since_due;
use crate::hand::InHand;
use crate::lanes::PutBack;
use crate::metrics;
use crate::run::Worker;

/// One round: all targets at once, each through its providers in turn.
pub async fn deliver(
    worker: &Worker,
    job: &Job,
    in_hand: &InHand,
    trace: TraceContext,
    targets: Vec<PlannedTarget>,
) -> Vec<Report> {
    let round = Round {
        worker,
        trace,
        is_counted: !was_put_off(job),
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
    trace: TraceContext,
    /// Whether how long it was on its way says anything about us.
    is_counted: bool,
}

/// It waited because somebody wanted that: its customer, or who replayed it.
fn was_put_off(job: &Job) -> bool {
    job.progress.replayed || job.progress.put_off
}

impl Round<'_> {
    async fn deliver(&self, planned: PlannedTarget) -> Report {
        let mut passed_over = None;
        let fate = self.fate(&planned, &mut passed_over).await;
        Report {
            planned,
            fate,
            passed_over,
        }
    }

    async fn fate(&self, planned: &PlannedTarget, passed_over: &mut Option<Provider>) -> Fate {
        if self.notification.is_expired(Utc::now()) {
            return Fate::Expired;
        }
        let wait = planned
            .target
            .not_before
            .and_then(|at| (at - Utc::now()).to_std().ok());
        if let Some(wait) = wait.filter(|wait| !wait.is_zero()) {
            return Fate::Held(Hold {
                reason: HoldReason::NotYet,
                wait,
                tried: Vec::new(),
                next: planned.target.provider,
            });
        }
        match planned.platform.filter(|_| !planned.routes.is_empty()) {
            Some(platform) => self.try_routes(planned, platform, passed_over).await,
            None => Fate::Gone,
        }
    }

    /// One route after the other, until one ends it. A route whose lane is broken is passed over, since nothing was sent
    /// there; whatever else keeps a lane from taking it has the target wait for it.
    async fn try_routes(
        &self,
        planned: &PlannedTarget,
        platform: Platform,
        passed_over: &mut Option<Provider>,
    ) -> Fate {
        let mut tries: Vec<Try> = Vec::new();
        let mut broken: Option<(Provider, PutBack)> = None;
        for token in &planned.routes {
            let provider = token.provider();
            let held = |reason, wait, tried, next| {
                Fate::Held(Hold {
                    reason,
                    wait,
                    tried,
                    next,
                })
            };
            let pass = match self.worker.lanes.enter(provider).await {
                Ok(pass) => pass,
                Err(put_back) if put_back.barrier == Barrier::Broken && broken.is_none() => {
                    broken = Some((provider, put_back));
                    continue;
                }
                Err(put_back) => {
                    // Of two that cannot be asked the first is waited for.
                    let (next, put_back) = broken.unwrap_or((provider, put_back));
                    let reason = HoldReason::Lane(next, put_back.barrier);
                    return held(reason, put_back.wait, tries, next);
                }
            };
            let outcome = match self.send(token, platform).await {
                Ok(outcome) => outcome,
                Err(Withheld::Expired) if tries.is_empty() => return Fate::Expired,
                Err(Withheld::Expired) => break,
                Err(Withheld::TokenDead) => continue,
                // What the providers before said is recorded; this one is asked next time.
                Err(why @ (Withheld::ClaimOver | Withheld::CustomerChanged)) => {
                    let reason = if why == Withheld::ClaimOver {
                        HoldReason::ClaimOver
                    } else {
                        HoldReason::CustomerChanged
                    };
                    let next = broken.map_or(provider, |(first, _)| first);
                    return held(reason, Duration::ZERO, tries, next);
                }
            };
            pass.ended(token, &outcome);
            *passed_over = broken.map(|(provider, _)| provider);
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
        let no_other = tries
            .last()
            .is_none_or(|last| last.outcome.permits_next_route());
        match broken {
            // Those that could be asked will not deliver: the broken one is waited for.
            Some((next, put_back)) if no_other => Fate::Held(Hold {
                reason: HoldReason::Lane(next, put_back.barrier),
                wait: put_back.wait,
                tried: tries,
                next,
            }),
            // All were found dead meanwhile; whether the app has registered new ones shows at the next look.
            None if tries.is_empty() => Fate::Held(Hold {
                reason: HoldReason::TokensDead,
                wait: Duration::ZERO,
                tried: tries,
                next: planned.target.provider,
            }),
            Some(_) | None => Fate::Tried(tries),
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
        let span = Span::within(self.trace);
        let outcome = worker.providers.send(push).await?;
        metrics::provider_answered(token.provider(), &outcome, span.elapsed());
        if self.is_counted && matches!(outcome, Outcome::Accepted(_)) {
            let on_its_way = since_due(&self.notification, Utc::now());
            metrics::delivered(token.provider(), on_its_way);
        }
        describe(&span, token, &outcome);
        log(self.notification.id, self.trace, token, &outcome);
        if let Outcome::TokenDead(_) = outcome {
            worker.dead_tokens.report(token, Utc::now());
        }
        Ok(outcome)
    }
}

/// The call as a span: what it came to, and never to whom it went.
fn describe(span: &Span, token: &Token, outcome: &Outcome) {
    let provider = token.provider().as_str();
    let name = match token.provider() {
        Provider::Fcm => "send fcm",
        Provider::Expo => "send expo",
    };
    span.end(SpanKind::Client, name, |about| {
        about.set("push.provider", provider);
        about.set("push.outcome", metrics::outcome_label(outcome));
        if let Some(cause) = outcome.cause() {
            about.failed(cause.code.clone());
        }
    });
}

/// An error where someone must act, a warning where something is odd, else for debugging only.
fn log(notification: NotificationId, trace: TraceContext, token: &Token, outcome: &Outcome) {
    let trace = trace.trace_id();
    let provider = token.provider().as_str();
    match outcome {
        Outcome::Accepted(_) => {
            tracing::debug!(notification.id = %notification, trace.id = %trace, provider, %token, "accepted")
        }
        Outcome::TokenDead(cause) => {
            tracing::info!(notification.id = %notification, trace.id = %trace, provider, %token, code = cause.code, "the token is dead: switched off");
        }
        Outcome::Retry(retry) => {
            tracing::info!(notification.id = %notification, trace.id = %trace, provider, %token, code = retry.cause.code, sent = ?retry.sent, "not now");
        }
        Outcome::OperatorMustAct { cause, .. } => {
            tracing::error!(notification.id = %notification, trace.id = %trace, provider, %token, code = cause.code, "an operator must act: {}", cause.text);
        }
        Outcome::Refused(cause) => {
            tracing::warn!(notification.id = %notification, trace.id = %trace, provider, %token, code = cause.code, "the message is refused for good: {}", cause.text);
        }
    }
}
