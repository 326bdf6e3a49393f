//! Requests to our own programs.

use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::time::Duration;
use ureq::Agent;

/// A 2xx answer.
pub struct Answer {
    /// Word for word
    pub text: String,
    /// As JSON
    pub json: Value,
}

/// A client with an API key.
pub struct Client {
    agent: Agent,
    base: String,
    key: String,
}

impl Client {
    /// For the API at `base`, for example `http://127.0.0.1:8080`.
    pub fn new(base: &str, key: &str) -> Self {
        let config = Agent::config_builder()
            .timeout_global(Some(Duration::from_secs(45)))
            // A refusal's body says what is wrong; it must not be lost in an error.
            .http_status_as_error(false)
            .proxy(None)
            .build();
        Self {
            agent: config.into(),
            base: base.trim_end_matches('/').to_owned(),
            key: key.to_owned(),
        }
    }

    /// Posts JSON and returns the 2xx answer.
    pub fn post(&self, path: &str, headers: &[(&str, &str)], body: &str) -> Result<Answer> {
        let url = format!("{}{path}", self.base);
        let mut request = self
            .agent
            .post(&url)
            .header("Authorization", format!("Bearer {}", self.key))
            .header("Content-Type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request
            .send(body)
            .with_context(|| format!("POST {url} got no answer"))?;
        read(response).with_context(|| format!("POST {url}"))
    }

    /// Gets the 2xx answer.
    pub fn get(&self, path: &str) -> Result<Answer> {
        let url = format!("{}{path}", self.base);
        let response = self
            .agent
            .get(&url)
            .header("Authorization", format!("Bearer {}", self.key))
            .call()
            .with_context(|| format!("GET {url} got no answer"))?;
        read(response).with_context(|| format!("GET {url}"))
    }

    /// Has the program all that it needs? If not, the error is its own word on what is missing.
    pub fn ready(&self) -> Result<()> {
        let url = format!("{}/readyz", self.base);
        let mut response = self.agent.get(&url).call().context("no answer")?;
        let text = response
            .body_mut()
            .read_to_string()
            .context("the answer broke off")?;
        // `degraded` answers 200 too.
        let body: Value = serde_json::from_str(&text).unwrap_or_default();
        if response.status().is_success() && body["status"] == "ready" {
            return Ok(());
        }
        bail!("{url} answers {}: {text}", response.status())
    }

    /// What the program's metrics say under a name without labels, if it is there yet.
    pub fn metric(&self, name: &str) -> Result<Option<f64>> {
        let url = format!("{}/metrics", self.base);
        let mut response = self.agent.get(&url).call().context("no answer")?;
        let text = response
            .body_mut()
            .read_to_string()
            .context("the answer broke off")?;
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map(|value| {
            value
                .parse()
                .with_context(|| format!("{name} is {value:?}"))
        })
        .transpose()
    }

    /// Is there something at this path?
    pub fn exists(&self, path: &str) -> bool {
        self.agent
            .get(format!("{}{path}", self.base))
            .call()
            .is_ok_and(|response| response.status().is_success())
    }
}

fn read(mut response: ureq::http::Response<ureq::Body>) -> Result<Answer> {
    let status = response.status();
    let text = response
        .body_mut()
        .read_to_string()
        .context("the answer broke off")?;
    if !status.is_success() {
        bail!("answered {status}: {text}");
    }
    let json = serde_json::from_str(&text)
        .with_context(|| format!("answered {status}, but no JSON: {text}"))?;
    Ok(Answer { text, json })
}
