//! Whether workers run, the queues move, and the lanes are open.

use std::time::Duration;

use super::finding::Findings;
use crate::client::Client;
use crate::commands::queues::{Connection, Lane, Queue, Queues};
use crate::failure::Failure;
use crate::when::{exact, length};

/// The queue of what is to be delivered.
const JOBS: &str = "push.jobs";
/// From here on a queue does not keep up.
const OLD_SECONDS: u64 = 60;
/// From here on nothing seems to move.
const STUCK_SECONDS: u64 = 600;

/// Looks at them.
pub async fn check(client: &Client, findings: &mut Findings) {
    match ask(client).await {
        Ok(queues) => judge(&queues, findings),
        Err(failure) => findings.problem(
            "queues",
            failure.to_string(),
            "mend what `ready` says, and try again",
        ),
    }
}

async fn ask(client: &Client) -> Result<Queues, Failure> {
    client.get(&["admin", "queues"]).answer().await?.read()
}

fn judge(queues: &Queues, findings: &mut Findings) {
    broker(&queues.broker, findings);
    workers(queues, findings);
    for queue in &queues.queues {
        age(queue, findings);
    }
    for lane in &queues.providers {
        self::lane(lane, findings);
    }
}

fn broker(broker: &Connection, findings: &mut Findings) {
    const CHECK: &str = "broker";
    let reason = broker.reason.as_deref().unwrap_or("no reason is told");
    match broker.state.as_str() {
        "connected" => findings.ok(CHECK, "push-api is connected to RabbitMQ"),
        "blocked" => findings.problem(
            CHECK,
            format!("RabbitMQ has an alarm and takes nothing: {reason}"),
            "give it memory or disk; see the alert PushBrokerAway and its runbook",
        ),
        _ => findings.problem(
            CHECK,
            format!("push-api is not connected to RabbitMQ: {reason}"),
            "does it run, and is AMQP_URL right? See the alert PushBrokerAway and its runbook",
        ),
    }
    if let Some(seconds) = broker.unpublished_age_seconds {
        findings.warning(
            CHECK,
            format!(
                "notifications wait that the broker has not taken, the oldest for {}",
                length(Duration::from_secs(seconds))
            ),
            "workers publish them when they can; see the alert PushJobsRepublished and its runbook",
        );
    }
}

fn workers(queues: &Queues, findings: &mut Findings) {
    const CHECK: &str = "workers";
    let jobs = queues.queues.iter().find(|queue| queue.name == JOBS);
    match jobs.and_then(|queue| queue.consumers) {
        Some(0) => findings.problem(
            CHECK,
            "no worker takes jobs: nothing is delivered",
            "start push-worker, or look into its log and its /readyz; see the alert PushWorkerDown and its runbook",
        ),
        Some(count) => findings.ok(CHECK, format!("jobs are taken (consumers: {count})")),
        None => findings.warning(
            CHECK,
            "the broker does not tell whether a worker takes jobs",
            "mend the broker first",
        ),
    }
}

fn age(queue: &Queue, findings: &mut Findings) {
    const CHECK: &str = "queues";
    let depth = queue
        .depth
        .map_or_else(|| "?".to_owned(), |depth| depth.to_string());
    if let Some(problem) = &queue.problem {
        let found = format!("{} cannot be looked at: {problem}", queue.name);
        findings.warning(CHECK, found, "mend the broker first");
    }
    let Some(seconds) = queue.age_seconds.filter(|seconds| *seconds >= OLD_SECONDS) else {
        return;
    };
    let found = format!(
        "the oldest in {} waits for {}, and there are {depth}",
        queue.name,
        length(Duration::from_secs(seconds))
    );
    let mend = "do workers run, is a lane broken or paused, are there too few workers? See the alert PushBacklogOld \
                and its runbook";
    if seconds >= STUCK_SECONDS {
        findings.problem(CHECK, found, mend);
    } else {
        findings.warning(CHECK, found, mend);
    }
}

fn lane(lane: &Lane, findings: &mut Findings) {
    const CHECK: &str = "lanes";
    let name = &lane.provider;
    match lane.state.as_deref() {
        Some("open") => findings.ok(CHECK, format!("{name} is open")),
        Some("throttled") => findings.warning(
            CHECK,
            format!("{name} is throttled: the provider asks for less"),
            "it recovers by itself; see the alert PushProviderThrottled and its runbook",
        ),
        Some("broken") => findings.problem(
            CHECK,
            format!("{name} is broken: the provider fails, or refuses us"),
            "see `push-worker check`, and the alert PushProviderLaneBroken and its runbook",
        ),
        Some("paused") => {
            let by = lane.paused_by.as_deref().unwrap_or("somebody");
            let at = lane
                .paused_at
                .map_or_else(String::new, |at| format!(", {}", exact(at)));
            findings.warning(
                CHECK,
                format!("{name} is paused by {by}{at}"),
                format!("pushctl providers resume {name}"),
            );
        }
        Some(other) => findings.warning(
            CHECK,
            format!("{name} is {other}"),
            "use the pushctl of the same release",
        ),
        // One provider is enough; that no worker runs at all is told elsewhere.
        None => findings.ok(CHECK, format!("{name}: no running worker is set up for it")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::finding::Level;
    use super::*;

    fn found(change: impl FnOnce(&mut Value)) -> Vec<(Level, String)> {
        let mut queues = json!({
            "broker": {"state": "connected", "reason": null, "unpublishedAgeSeconds": null},
            "queues": [{"name": "push.jobs", "depth": 3, "consumers": 2, "ageSeconds": 1, "problem": null}],
            "providers": [{"provider": "fcm", "state": "open", "pausedBy": null, "pausedAt": null, "workers": []}],
        });
        change(&mut queues);
        let mut findings = Findings::default();
        judge(&serde_json::from_value(queues).unwrap(), &mut findings);
        let mut bad = findings.list();
        bad.retain(|(level, _)| *level != Level::Ok);
        bad
    }

    #[test]
    fn what_is_as_it_should_be_is_no_trouble() {
        assert_eq!(found(|_| {}), []);
        let unused = found(|queues| queues["providers"][0]["state"] = Value::Null);
        assert_eq!(unused, [], "one provider is enough");
    }

    #[test]
    fn everything_that_is_not_is_told_as_bad_as_it_is() {
        type Change = fn(&mut Value);
        let cases: [(Change, Level, &str); 11] = [
            (
                |q| q["broker"]["state"] = "blocked".into(),
                Level::Problem,
                "alarm",
            ),
            (
                |q| q["broker"]["state"] = "disconnected".into(),
                Level::Problem,
                "not connected",
            ),
            (
                |q| q["broker"]["unpublishedAgeSeconds"] = 5.into(),
                Level::Warning,
                "not taken",
            ),
            (
                |q| q["queues"][0]["consumers"] = 0.into(),
                Level::Problem,
                "no worker",
            ),
            (
                |q| q["queues"][0]["consumers"] = Value::Null,
                Level::Warning,
                "does not tell",
            ),
            (
                |q| q["queues"][0]["problem"] = "x".into(),
                Level::Warning,
                "cannot be looked at",
            ),
            (
                |q| q["queues"][0]["ageSeconds"] = 60.into(),
                Level::Warning,
                "1 min 0 s",
            ),
            (
                |q| q["queues"][0]["ageSeconds"] = 600.into(),
                Level::Problem,
                "10 min 0 s",
            ),
            (
                |q| q["providers"][0]["state"] = "broken".into(),
                Level::Problem,
                "broken",
            ),
            (
                |q| q["providers"][0]["state"] = "throttled".into(),
                Level::Warning,
                "throttled",
            ),
            (
                |q| q["providers"][0]["state"] = "paused".into(),
                Level::Warning,
                "paused by somebody",
            ),
        ];
        for (change, level, part) in cases {
            let bad = found(change);
            assert_eq!(bad.len(), 1, "{bad:?}");
            assert!(bad[0].0 == level && bad[0].1.contains(part), "{bad:?}");
        }
    }
}
