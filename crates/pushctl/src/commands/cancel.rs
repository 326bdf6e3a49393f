//! `pushctl cancel`

use serde::Deserialize;
use uuid::Uuid;

use crate::commands::Context;
use crate::escape::escape;
use crate::failure::Failure;

/// Which notification to take back.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The notification
    notification: Uuid,
}

#[derive(Deserialize)]
struct Cancelled {
    message: String,
}

impl Args {
    /// Takes it back.
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let id = self.notification.to_string();
        let answer = context
            .client
            .delete(&["notifications", &id])
            .answer()
            .await?;
        let cancelled: Cancelled = answer.read()?;
        context
            .screen
            .answer(&answer.body, |_| escape(&cancelled.message))
    }
}
