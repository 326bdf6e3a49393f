//! What must be true after every test, whatever it did.

use std::time::Duration;

use crate::broker::Broker;
use crate::metrics::Metrics;
use crate::signals;
use crate::stack::{Announced, Stack};
use crate::wait::within;

/// What is in flight at the end of a test ends within this.
const PATIENCE: Duration = Duration::from_secs(45);

/// Notifications that have ended, by status.
const SETTLED: &str = "push_notifications_settled_total";
/// Of those: what has another status since.
const TAKEN_BACK: &str = "push_notifications_taken_back_total";
const REOPENED: &str = "push_notifications_reopened_total";

/// What must hold for no row of the history (`h`), and what it means if it does.
pub(crate) const NEVER: &[(&str, &str)] = &[
    (
        "h.status <> 'pending' AND (h.fcm_result = 'queued' OR h.expo_result = 'queued' OR h.completed_at IS NULL)",
        "a notification has ended but looks unfinished",
    ),
    (
        "h.status = 'pending' AND (h.completed_at IS NOT NULL OR h.reason IS NOT NULL)",
        "a notification is pending but looks finished",
    ),
    (
        "h.status = 'sent' AND (h.sent_at IS NULL OR (h.fcm_result <> 'success' AND h.expo_result <> 'success'))",
        "a notification is sent, but no provider took it",
    ),
    (
        "h.status IN ('failed', 'suppressed') AND (h.reason IS NULL OR h.fcm_result = 'success' OR h.expo_result = 'success')",
        "a notification has not been sent, without a reason or although a provider took it",
    ),
    (
        // Between two tries it may have been overtaken, cancelled or no longer be wanted.
        "h.status = 'suppressed' AND h.attempts > 0 AND h.reason IN ('no_active_device', 'expired')",
        "a notification was tried, and is suppressed as if nobody had been there to try",
    ),
    (
        "h.status = 'failed' AND h.reason = 'dead_lettered' AND NOT EXISTS \
         (SELECT 1 FROM dead_letters d WHERE d.notification_id = h.notification_id)",
        "a notification was dead-lettered, but there is no dead letter",
    ),
];

/// The same for the devices.
pub(crate) const TOKEN_TWICE: (&str, &str) = (
    "SELECT COUNT(*) FROM (SELECT fcm_token FROM customer_push_tokens WHERE is_active AND fcm_token IS NOT NULL GROUP BY fcm_token HAVING COUNT(*) > 1) twice",
    "a token belongs to two rows",
);

/// With all programs up: everything has ended, rows and metrics agree, nothing rang twice, nothing secret is told.
pub(crate) async fn check_while_running(stack: &Stack, announced: &Announced) -> Vec<String> {
    let mut problems = Vec::new();
    if !announced.leaves_pending
        && within(PATIENCE, async || pending(stack).await.eq(&0).then_some(()))
            .await
            .is_none()
    {
        problems.push(format!(
            "{} notifications are still pending",
            pending(stack).await
        ));
    }
    let never = NEVER.iter().map(|(condition, meaning)| {
        let statement = format!("SELECT COUNT(*) FROM notification_history h WHERE {condition}");
        (statement, *meaning)
    });
    let (statement, meaning) = TOKEN_TWICE;
    for (statement, meaning) in never.chain([(statement.to_owned(), meaning)]) {
        let found = stack.database.number(&statement).await;
        if found != 0 {
            problems.push(format!("{meaning} ({found} times)"));
        }
    }
    problems.extend(check_metrics(stack, announced).await);
    problems.extend(repeated(stack, announced).await);
    let metrics = stack.metrics_text().await;
    problems.extend(
        signals::undocumented_metrics(&metrics)
            .into_iter()
            .map(|metric| format!("{metric} is a metric that signals.md does not have so")),
    );
    let told = stack.secrets.found_in(&metrics);
    problems.extend(
        told.into_iter()
            .map(|secret| format!("the metrics tell {secret:?}")),
    );
    problems
}

async fn repeated(stack: &Stack, announced: &Announced) -> Option<String> {
    let counts = stack.sim.counts().await;
    let repeated = counts["displays"]["repeated"].as_u64().unwrap_or(0);
    (!announced.rings_twice && repeated != 0)
        .then(|| format!("phones rang {repeated} times for what they had shown before"))
}

/// With all programs stopped: copies of what has ended, which were on their way then, are recognised as such by one
/// more worker, and nothing is left of them.
pub(crate) async fn take_in_copies(stack: &mut Stack, announced: &Announced) -> Vec<String> {
    let mut problems = Vec::new();
    let gone = within(PATIENCE, async || {
        let left = stack.broker.jobs().await;
        if left == 0 {
            return Some(());
        }
        stack.start_worker().await;
        let mut worker = stack.workers.pop()?;
        let seen = within(PATIENCE, async || {
            let taken = stack.metrics_of(&worker).await.sum("push_jobs_total", "");
            taken.filter(|taken| *taken >= f64::from(left))
        });
        if seen.await.is_none() {
            problems.push(format!("{left} copies are not taken"));
        }
        let code = worker.terminate().await;
        if code != Some(0) {
            problems.push(format!("{} ended with {code:?}", worker.log.name));
        }
        None
    });
    if gone.await.is_none() {
        problems.push("copies come back again and again".to_owned());
    }
    problems.extend(repeated(stack, announced).await);
    problems
}

/// With all programs stopped: no job is left over, and the logs hold no error and no secret.
pub(crate) async fn check_at_rest(stack: &Stack, announced: &Announced) -> Vec<String> {
    let mut problems = Vec::new();
    if !announced.leaves_pending {
        for queue in [Broker::JOBS, Broker::DEAD] {
            let depth = stack.broker.depth(queue).await;
            if depth != 0 {
                problems.push(format!("{depth} messages are left on {queue}"));
            }
        }
    }
    for log in stack.logs() {
        for line in log.errors() {
            if !announced.errors.iter().any(|text| line.contains(text)) {
                problems.push(format!(
                    "an error that nobody announced: {}: {line}",
                    log.name
                ));
            }
        }
        for field in signals::undocumented_fields(log) {
            problems.push(format!(
                "{} logs the field {field}, which signals.md does not have",
                log.name
            ));
        }
        for line in log.lines() {
            for secret in stack.secrets.found_in(&line) {
                problems.push(format!("{} tells {secret:?}: {line}", log.name));
            }
        }
    }
    problems
}

async fn pending(stack: &Stack) -> i64 {
    stack
        .database
        .number("SELECT COUNT(*) FROM notification_history WHERE status = 'pending'")
        .await
}

/// P8: accepted = sent + failed + suppressed + pending, in the rows, in the metrics and in the figures.
async fn check_metrics(stack: &Stack, announced: &Announced) -> Vec<String> {
    let all_counted =
        !announced.counters_restarted && !stack.apis.is_empty() && !stack.workers.is_empty();
    let mut last = Vec::new();
    let balanced = within(Duration::from_secs(15), async || {
        last = differences(stack, all_counted).await;
        last.extend(wrong_figures(stack).await);
        last.is_empty().then_some(())
    });
    match balanced.await {
        Some(()) => Vec::new(),
        None => last,
    }
}

/// What a program counted that has been killed is gone with it; the gauge tells of the rows.
async fn differences(stack: &Stack, all_counted: bool) -> Vec<String> {
    let metrics = Metrics::parse_all(&stack.metrics_text().await);
    let rows = stack.database.by_status().await;
    let count = |status: &str| rows.get(status).copied().unwrap_or(0);
    let mut wanted = vec![("push_books_out_of_balance", String::new(), 0)];
    if all_counted {
        let accepted = rows.values().sum();
        wanted.push(("push_notifications_accepted_total", String::new(), accepted));
    }
    for status in ["sent", "failed", "suppressed"]
        .into_iter()
        .filter(|_| all_counted)
    {
        wanted.push((SETTLED, format!("status=\"{status}\""), count(status)));
    }
    let differs = |(name, label, rows): (&str, String, i64)| {
        #[expect(clippy::cast_precision_loss, reason = "tests do not send that many")]
        let wanted = rows as f64;
        let mut told = metrics.sum(name, &label).unwrap_or(0.0);
        if name == SETTLED {
            // A counter never goes back: what ended otherwise after all, or was replayed, is counted beside it.
            told -= metrics.sum(TAKEN_BACK, &label).unwrap_or(0.0);
            told -= metrics.sum(REOPENED, &label).unwrap_or(0.0);
        }
        // A gauge may be told by each program; a counter is added up.
        (told - wanted)
            .abs()
            .ge(&0.5)
            .then(|| format!("{name}{{{label}}} is {told}, the rows say {rows}"))
    };
    wanted.into_iter().filter_map(differs).collect()
}

/// `GET stats` over all tests take, against the rows.
async fn wrong_figures(stack: &Stack) -> Vec<String> {
    let Some(last) = stack.apis.len().checked_sub(1) else {
        return Vec::new();
    };
    let api = stack.api_at(last);
    let told = match api.get("/api/Push/stats?interval=day").try_answer().await {
        Ok(told) if told.status == 200 => told.json["totals"].clone(),
        Ok(told) => return vec![format!("stats are answered {}", told.status)],
        Err(error) => return vec![format!("stats are not answered: {error}")],
    };
    let rows = stack.database.by_status().await;
    let count = |status: &str| rows.get(status).copied().unwrap_or(0);
    let mut wanted = vec![("/accepted".to_owned(), rows.values().sum())];
    for status in ["sent", "failed", "suppressed", "pending"] {
        wanted.push((format!("/{status}"), count(status)));
    }
    for (path, condition) in [
        ("/opened", "opened_at IS NOT NULL"),
        ("/deliveryTimeMs/count", "status = 'sent'"),
        (
            "/providers/fcm/success",
            "status <> 'pending' AND fcm_result = 'success'",
        ),
        (
            "/providers/fcm/failed",
            "status <> 'pending' AND fcm_result = 'failed'",
        ),
        (
            "/providers/expo/success",
            "status <> 'pending' AND expo_result = 'success'",
        ),
        (
            "/providers/expo/failed",
            "status <> 'pending' AND expo_result = 'failed'",
        ),
        ("/failedByReason/dead_lettered", "reason = 'dead_lettered'"),
        (
            "/failedByReason/invalid_tokens",
            "reason = 'invalid_tokens'",
        ),
        ("/suppressedByReason/superseded", "reason = 'superseded'"),
    ] {
        let statement = format!("SELECT COUNT(*) FROM notification_history WHERE {condition}");
        wanted.push((path.to_owned(), stack.database.number(&statement).await));
    }
    for provider in ["fcm", "expo"] {
        let statement = format!(
            "SELECT COUNT(*) FROM notification_deliveries WHERE provider = '{provider}' AND outcome = 'accepted'"
        );
        let path = format!("/providers/{provider}/deliveryTimeMs/count");
        wanted.push((path, stack.database.number(&statement).await));
    }
    let differs = |(path, rows): (String, i64)| {
        let figure = told
            .pointer(&path)
            .and_then(serde_json::Value::as_i64)
            .unwrap_or(0);
        (figure != rows).then(|| format!("stats{path} is {figure}, the rows say {rows}"))
    };
    wanted.into_iter().filter_map(differs).collect()
}
