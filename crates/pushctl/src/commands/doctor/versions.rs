//! Whether push-api and pushctl are of one version.

use serde::Deserialize;

use super::finding::Findings;
use crate::client::Client;
use crate::failure::Failure;

const CHECK: &str = "version";
const OURS: &str = env!("CARGO_PKG_VERSION");

#[derive(Deserialize)]
struct Document {
    info: Info,
}

#[derive(Deserialize)]
struct Info {
    version: String,
}

/// Compares them.
pub async fn check(client: &Client, findings: &mut Findings) {
    match of_api(client).await {
        Ok(theirs) if theirs == OURS => {
            findings.ok(CHECK, format!("push-api and pushctl are {OURS}"));
        }
        Ok(theirs) => findings.warning(
            CHECK,
            format!("push-api is {theirs}, pushctl is {OURS}"),
            "use the pushctl of the same release",
        ),
        Err(failure) => findings.warning(
            CHECK,
            failure.to_string(),
            "does a proxy keep /openapi.json back?",
        ),
    }
}

async fn of_api(client: &Client) -> Result<String, Failure> {
    let document: Document = client.probe("openapi.json").answer().await?.read()?;
    Ok(document.info.version)
}
