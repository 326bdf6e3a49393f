//! `pushctl test`

use serde_json::json;

use crate::commands::Context;
use crate::commands::sending::Sending;
use crate::failure::Failure;

/// Long enough for a provider to answer.
const WAIT_DEFAULT: u32 = 10;

/// Whom to send the test to. It waits 10 seconds for the outcome, unless --wait says otherwise.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The customer
    #[arg(value_parser = clap::value_parser!(i64).range(1..))]
    customer: i64,
    #[command(flatten)]
    sending: Sending,
}

impl Args {
    /// Sends it.
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let body = json!({"customerId": self.customer});
        self.sending
            .post(context, "test", &body, WAIT_DEFAULT)
            .await
    }
}
