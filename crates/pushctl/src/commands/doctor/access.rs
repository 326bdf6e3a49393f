//! What the key may do. Each scope is tried with a call that changes nothing: what it says is wrong, so that who may call
//! is told so, and who may not is told that.

use serde_json::json;

use super::finding::Findings;
use crate::client::{Call, Client};
use crate::failure::{Failure, Refusal};

const CHECK: &str = "key";

/// What was found out.
#[derive(Clone, Copy, Debug, Default)]
pub struct May {
    /// Whether what admins may can be looked at.
    pub admin: bool,
}

/// Tries each scope.
pub async fn check(client: &Client, findings: &mut Findings) -> May {
    let nothing = json!({});
    let tries = [
        ("read", client.get(&["history"]).query("limit", Some(1))),
        ("register", client.post(&["register"], &nothing)),
        ("send", client.post(&["sendToCustomer"], &nothing)),
        (
            "admin",
            client.get(&["admin", "operations"]).query("limit", Some(1)),
        ),
    ];
    let (mut has, mut lacks) = (Vec::new(), Vec::new());
    for (scope, call) in tries {
        match may(call).await {
            Ok(true) => has.push(scope),
            Ok(false) => lacks.push(scope),
            Err(failure) => {
                told(&failure, findings);
                return May::default();
            }
        }
    }
    let admin = has.contains(&"admin");
    if has.is_empty() {
        findings.problem(
            CHECK,
            "push-api knows the key, and it may do nothing",
            "give it scopes in API_KEYS",
        );
    } else if lacks.is_empty() {
        findings.ok(CHECK, "the key has every scope");
    } else {
        let found = format!(
            "the key has {}, and lacks {}",
            has.join(", "),
            lacks.join(", ")
        );
        if admin {
            findings.ok(CHECK, found);
        } else {
            let mend = "to see queues, lanes and dead letters, use a key with the scope admin";
            findings.warning(CHECK, found, mend);
        }
    }
    May { admin }
}

/// Whether the scope is there.
async fn may(call: Call<'_>) -> Result<bool, Failure> {
    match call.any_answer().await? {
        Ok(_) => Ok(true),
        Err(Refusal { status: 400, .. }) => Ok(true),
        Err(Refusal { status: 403, .. }) => Ok(false),
        Err(refusal) => Err(Failure::Refused(Box::new(refusal))),
    }
}

fn told(failure: &Failure, findings: &mut Findings) {
    let code = if let Failure::Refused(refusal) = failure {
        refusal.code()
    } else {
        ""
    };
    let mend = match code {
        "unauthorized" => {
            "push-api does not know the key: is it one of its API_KEYS, whole and without quotes? `push-api key NAME SCOPES` \
             makes one, and its entry goes there"
        }
        "rate_limited" => {
            "wait, or raise RATE_LIMIT_PER_KEY; addresses that try wrong keys are held back, too"
        }
        "database_unavailable" | "overloaded" | "timed_out" => {
            "mend what `ready` says, and try again"
        }
        _ => "look into the log of push-api under the request's id",
    };
    findings.problem(CHECK, failure.to_string(), mend);
}
