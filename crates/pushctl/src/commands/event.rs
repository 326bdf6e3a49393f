//! `pushctl event`

use chrono::Utc;
use serde_json::{Value, json};

use crate::commands::Context;
use crate::commands::send::set;
use crate::commands::sending::Sending;
use crate::failure::Failure;
use crate::when::When;

/// What happened, and to which booking.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// technician_assigned, status_changed, or another type that has a text
    event: String,
    /// Whose booking
    #[arg(long, value_name = "ID", value_parser = clap::value_parser!(i64).range(1..))]
    customer: i64,
    /// The booking's own id
    #[arg(long, value_name = "ID")]
    booking: String,
    /// The number that the customer knows it by
    #[arg(long, value_name = "ID")]
    track: String,
    /// The technician's name, where the text has it
    #[arg(long, value_name = "NAME")]
    technician: Option<String>,
    /// The status before
    #[arg(long, value_name = "STATUS")]
    old_status: Option<String>,
    /// The status now; status_changed needs it
    #[arg(long, value_name = "STATUS")]
    new_status: Option<String>,
    /// When it happened [default: now]
    #[arg(long, value_name = "TIME", value_parser = When::parse)]
    occurred_at: Option<When>,
    /// The language of the text, such as de-AT [default: what the customer prefers]
    #[arg(long, value_name = "TAG")]
    locale: Option<String>,
    #[command(flatten)]
    sending: Sending,
}

impl Args {
    /// Posts it.
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let body = self.body();
        self.sending.post(context, "events", &body, 0).await
    }

    fn body(&self) -> Value {
        let mut body = json!({
            "event": self.event,
            "customerId": self.customer,
            "bookingId": self.booking,
            "trackId": self.track,
        });
        let optional = [
            (
                "technician",
                self.technician.as_ref().map(|name| json!({"name": name})),
            ),
            ("oldStatus", self.old_status.clone().map(Value::from)),
            ("newStatus", self.new_status.clone().map(Value::from)),
            (
                "occurredAt",
                self.occurred_at.map(|at| at.before(Utc::now()).into()),
            ),
            ("locale", self.locale.clone().map(Value::from)),
        ];
        set(&mut body, optional);
        body
    }
}
