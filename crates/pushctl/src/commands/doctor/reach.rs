//! Whether push-api can be reached, how fast, whether it is ready, and whether the clocks agree.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use reqwest::Url;
use serde::Deserialize;
use serde_json::Value;

use super::finding::Findings;
use crate::client::{Answer, Client};
use crate::failure::Failure;

/// From here on a person notices.
const SLOW: Duration = Duration::from_millis(500);
/// A `Date` is of whole seconds, and so may be off by one.
const DATE_STEP: TimeDelta = TimeDelta::seconds(1);
/// From here on records of two machines cannot be compared any more.
const SKEW_ODD: TimeDelta = TimeDelta::seconds(2);
/// From here on tokens and times of events are refused, sooner or later.
const SKEW_BAD: TimeDelta = TimeDelta::seconds(60);

/// Whether anything answers at all.
pub async fn check(client: &Client, now: fn() -> DateTime<Utc>, findings: &mut Findings) -> bool {
    const CHECK: &str = "reachable";
    let url = client.url();
    // The first one opens the connection.
    if let Err(failure) = client.probe("healthz").answer().await {
        let mend = if matches!(failure, Failure::Unreachable { .. }) {
            "does push-api run, is PUSH_URL right, and does a firewall, proxy or certificate stand between?"
        } else {
            "set PUSH_URL to where push-api is; if it is right, look at the proxy before it"
        };
        findings.problem(CHECK, failure.to_string(), mend);
        return false;
    }
    let asked_at = now();
    match client.probe("healthz").answer().await {
        Ok(answer) => {
            let told = format!("{url} answers in {} ms", answer.took.as_millis());
            if answer.took > SLOW {
                let mend = "is the network slow, or push-api overloaded? See the alert PushApiSlow and its runbook";
                findings.warning(CHECK, told, mend);
            } else {
                findings.ok(CHECK, told);
            }
            clocks(&answer, asked_at, findings);
        }
        Err(failure) => findings.problem(
            CHECK,
            failure.to_string(),
            "it answered a moment ago: does it restart?",
        ),
    }
    if is_in_the_clear(url) {
        findings.warning(
            "encrypted",
            format!("the key travels to {url} unencrypted"),
            "use https (HTTP_TLS_CERT_FILE, or a proxy that speaks TLS), or a tunnel",
        );
    }
    ready(client, findings).await;
    true
}

fn is_in_the_clear(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let host = host.trim_matches(['[', ']']);
    let is_here = host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback());
    url.scheme() == "http" && !is_here
}

/// By how much two clocks differ for sure, whenever within the exchange the answer was dated.
fn skew(date: DateTime<Utc>, asked_at: DateTime<Utc>, took: Duration) -> TimeDelta {
    let answered_at = asked_at + TimeDelta::from_std(took).unwrap_or(TimeDelta::zero());
    if date > answered_at {
        date - answered_at
    } else if date + DATE_STEP < asked_at {
        date + DATE_STEP - asked_at
    } else {
        TimeDelta::zero()
    }
}

fn clocks(answer: &Answer, asked_at: DateTime<Utc>, findings: &mut Findings) {
    const CHECK: &str = "clock";
    let Some(date) = answer.date else {
        findings.warning(
            CHECK,
            "the answer has no date, so the clocks cannot be compared",
            "does a proxy take it away?",
        );
        return;
    };
    let skew = skew(date, asked_at, answer.took);
    let seconds = skew.num_seconds().abs();
    let which = if skew > TimeDelta::zero() {
        "ahead of"
    } else {
        "behind"
    };
    let told = format!("push-api's clock is {seconds} s {which} this machine's");
    let mend = "have both machines set their clocks by NTP (chrony, systemd-timesyncd)";
    if skew.abs() >= SKEW_BAD {
        findings.problem(
            CHECK,
            told,
            format!("{mend}: Google and customers' tokens are judged by them"),
        );
    } else if skew.abs() >= SKEW_ODD {
        findings.warning(CHECK, told, mend);
    } else {
        findings.ok(CHECK, "the clocks agree");
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Readiness {
    status: String,
    message: String,
}

async fn ready(client: &Client, findings: &mut Findings) {
    const CHECK: &str = "ready";
    let body: Value = match client.probe("readyz").any_answer().await {
        Ok(Ok(answer)) => answer.body,
        Ok(Err(refusal)) => refusal.body,
        Err(failure) => {
            findings.problem(
                CHECK,
                failure.to_string(),
                "it answered a moment ago: does it restart?",
            );
            return;
        }
    };
    let readiness = Readiness::deserialize(&body).unwrap_or_default();
    match readiness.status.as_str() {
        "ready" => findings.ok(CHECK, "push-api has all that it needs"),
        "degraded" => findings.warning(
            CHECK,
            readiness.message,
            "notifications are accepted and delivered later: mend what is named, see the alert PushBrokerAway and its runbook",
        ),
        _ => findings.problem(
            CHECK,
            readiness.message,
            "nothing is accepted: mend what is named, see the alert PushDatabaseAway and its runbook",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_could_listen_on_the_way_is_warned_of() {
        for (url, expected) in [
            ("http://push.example.com", true),
            ("http://10.0.0.1:8080", true),
            ("https://push.example.com", false),
            ("http://localhost:8080", false),
            ("http://127.0.0.1:8080", false),
            ("http://[::1]:8080", false),
        ] {
            assert_eq!(
                is_in_the_clear(&Url::parse(url).unwrap()),
                expected,
                "{url}"
            );
        }
    }

    #[test]
    fn clocks_differ_by_what_neither_rounding_nor_the_way_explains() {
        let asked: DateTime<Utc> = "2026-03-02T10:20:30.900Z".parse().unwrap();
        let took = Duration::from_millis(400);
        let skew_of = |date: &str| skew(date.parse().unwrap(), asked, took).num_milliseconds();
        // Dated within the exchange, cut to the second.
        assert_eq!(skew_of("2026-03-02T10:20:30Z"), 0);
        assert_eq!(skew_of("2026-03-02T10:20:31Z"), 0);
        assert_eq!(skew_of("2026-03-02T10:20:36Z"), 4_700);
        assert_eq!(skew_of("2026-03-02T10:20:24Z"), -5_900);
    }
}
