//! Whether dead letters wait for somebody.

use serde::Deserialize;
use serde_json::{Value, json};

use super::finding::Findings;
use crate::client::Client;
use crate::failure::Failure;

const CHECK: &str = "dead letters";

#[derive(Deserialize)]
struct Counted {
    count: u64,
}

/// Counts them.
pub async fn check(client: &Client, findings: &mut Findings) {
    let counts = async {
        let all = count(client, json!({})).await?;
        let to_mend = count(client, json!({"reason": "operator_must_act"})).await?;
        Ok::<_, Failure>((all, to_mend))
    };
    match counts.await {
        Ok((0, _)) => findings.ok(CHECK, "none waits for anybody"),
        Ok((all, 0)) => findings.warning(
            CHECK,
            format!("{all} wait for somebody"),
            "pushctl dead list --state open; then replay or discard them",
        ),
        Ok((all, to_mend)) => findings.warning(
            CHECK,
            format!("{all} wait for somebody, {to_mend} of them for something that an operator can mend"),
            "pushctl dead list --state open --reason operator_must_act says what; once it is mended: pushctl dead replay \
             --reason operator_must_act",
        ),
        Err(failure) => findings.problem(
            CHECK,
            failure.to_string(),
            "mend what `ready` says, and try again",
        ),
    }
}

async fn count(client: &Client, filter: Value) -> Result<u64, Failure> {
    let body = json!({"filter": filter, "dryRun": true});
    let path = ["admin", "deadLetters", "replay"];
    let counted: Counted = client.post(&path, &body).answer().await?.read()?;
    Ok(counted.count)
}
