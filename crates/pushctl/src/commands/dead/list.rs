//! `pushctl dead list`

use chrono::Utc;
use comfy_table::Table;

use super::filter::Filter;
use super::letter::Letter;
use crate::commands::Context;
use crate::commands::notification::{NOTHING, or_nothing};
use crate::escape::escape;
use crate::failure::Failure;
use crate::pages::{self, Paging};
use crate::screen::{Paint, keep_whole};
use crate::when::short;

/// Which dead letters.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    filter: Filter,
    /// What was done with them
    #[arg(long, value_parser = ["open", "replayed", "discarded"])]
    state: Option<String>,
    #[command(flatten)]
    paging: Paging,
}

impl Args {
    /// Lists them.
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let now = Utc::now();
        let call = || {
            let call = context.client.get(&["admin", "deadLetters"]);
            self.filter
                .query(call.query("state", self.state.as_ref()), now)
        };
        pages::show(context, &self.paging, call, table).await
    }
}

fn table(paint: Paint, letters: &[Letter]) -> Table {
    let mut table = paint.table([
        "ID",
        "RECORDED (UTC)",
        "STATE",
        "REASON",
        "PROVIDER",
        "CUSTOMER",
        "NOTIFICATION",
        "ERROR",
    ]);
    for letter in letters {
        table.add_row([
            letter.id.to_string(),
            short(letter.created_at),
            escape(&letter.state),
            escape(&letter.reason),
            or_nothing(letter.provider.as_deref()),
            letter
                .customer_id
                .map_or_else(|| NOTHING.to_owned(), |id| id.to_string()),
            or_nothing(letter.notification_id.as_deref()),
            escape(&letter.error.code),
        ]);
    }
    keep_whole(&mut table, &[0, 1, 6]);
    table
}
