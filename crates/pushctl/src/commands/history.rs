//! `pushctl history`

use chrono::{DateTime, Utc};
use comfy_table::Table;

use crate::client::Call;
use crate::commands::Context;
use crate::commands::notification::{Notification, or_nothing};
use crate::escape::escape;
use crate::failure::Failure;
use crate::pages::{self, Paging};
use crate::screen::{Paint, keep_whole};
use crate::when::{When, short};

/// Which notifications.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Whom they are for
    #[arg(long, value_name = "ID")]
    customer: Option<i64>,
    /// Which booking its events told of
    #[arg(long, value_name = "ID")]
    booking: Option<String>,
    /// Where they stand
    #[arg(long, value_parser = ["pending", "sent", "failed", "suppressed"])]
    status: Option<String>,
    /// What kind of news they are
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// Why they failed or were suppressed
    #[arg(long)]
    reason: Option<String>,
    /// Accepted at this time or later
    #[arg(long, value_name = "TIME", value_parser = When::parse)]
    from: Option<When>,
    /// Accepted before this time
    #[arg(long, value_name = "TIME", value_parser = When::parse)]
    to: Option<When>,
    #[command(flatten)]
    paging: Paging,
}

impl Args {
    /// Lists them.
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let now = Utc::now();
        pages::show(context, &self.paging, || self.call(context, now), table).await
    }

    /// Relative times are from when the command began, on every page.
    fn call<'c>(&self, context: &'c Context, now: DateTime<Utc>) -> Call<'c> {
        let call = context.client.get(&["history"]);
        call.query("customerId", self.customer)
            .query("bookingId", self.booking.as_ref())
            .query("status", self.status.as_ref())
            .query("type", self.kind.as_ref())
            .query("reason", self.reason.as_ref())
            .query("from", self.from.map(|from| from.before(now)))
            .query("to", self.to.map(|to| to.before(now)))
    }
}

/// A row a notification.
pub fn table(paint: Paint, notifications: &[Notification]) -> Table {
    let mut table = paint.table([
        "ACCEPTED (UTC)",
        "NOTIFICATION",
        "CUSTOMER",
        "TYPE",
        "STATUS",
        "REASON",
        "TITLE",
    ]);
    for item in notifications {
        table.add_row([
            short(item.created_at),
            escape(&item.notification_id),
            item.customer_id.to_string(),
            escape(&item.kind),
            escape(&item.status),
            or_nothing(item.reason.as_deref()),
            escape(&item.title),
        ]);
    }
    keep_whole(&mut table, &[0, 1]);
    table
}
