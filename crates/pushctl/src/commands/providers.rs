//! `pushctl providers`

use clap::{Subcommand, ValueEnum};
use serde_json::json;

use crate::commands::Context;
use crate::escape::escape;
use crate::failure::Failure;

/// The lever.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Stop all sending through a provider, on every worker, until it is resumed; what waits spends no attempts
    Pause {
        /// Whose lane
        provider: Provider,
    },
    /// Go on; what waited flows again within two minutes
    Resume {
        /// Whose lane
        provider: Provider,
    },
}

/// A provider.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Provider {
    /// Firebase Cloud Messaging
    Fcm,
    /// Expo Push
    Expo,
}

impl Command {
    /// Pulls it.
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let (provider, act) = match self {
            Self::Pause { provider } => (provider, "pause"),
            Self::Resume { provider } => (provider, "resume"),
        };
        let name = match provider {
            Provider::Fcm => "fcm",
            Provider::Expo => "expo",
        };
        let path = ["admin", "providers", name, act];
        let answer = context.client.post(&path, &json!({})).answer().await?;
        context.screen.answer(&answer.body, |_| {
            let message = answer.body["message"].as_str().unwrap_or_default();
            format!("{}: {name}", escape(message))
        })
    }
}
