//! Lists, page by page.

use std::io::{self, IsTerminal as _};

use clap::Args;
use comfy_table::Table;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::client::{Answer, Call};
use crate::commands::Context;
use crate::failure::Failure;
use crate::follow;
use crate::progress::Progress;
use crate::screen::{Paint, drawn};

/// Items of a page at most.
const PAGE_MAX: u32 = 200;

/// How much of a list.
#[derive(Args, Clone, Debug)]
pub struct Paging {
    /// How many at most
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// All of them, page by page
    #[arg(long, conflicts_with = "limit")]
    all: bool,
    /// Go on where a list ended before, with the same filters
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    items: Vec<Value>,
    next_cursor: Option<String>,
}

impl Paging {
    /// How many are still wanted of a page.
    fn wanted(&self, seen: u64) -> u32 {
        if self.all {
            return PAGE_MAX;
        }
        let left = u64::from(self.limit).saturating_sub(seen);
        u32::try_from(left).unwrap_or(u32::MAX).min(PAGE_MAX)
    }

    /// Whether one answer holds all that is wanted.
    const fn is_one_page(&self) -> bool {
        !self.all && self.limit <= PAGE_MAX
    }
}

/// Shows a list: for programs one page as it is, or an item a line; for people a table a page.
pub async fn show<'c, T: DeserializeOwned>(
    context: &'c Context,
    paging: &Paging,
    call: impl Fn() -> Call<'c>,
    table: impl Fn(Paint, &[T]) -> Table,
) -> Result<(), Failure> {
    let screen = context.screen;
    let counts = !paging.is_one_page() && !io::stdout().is_terminal();
    let progress = counts.then(|| Progress::count("reading"));
    let (mut seen, mut cursor) = (0, paging.cursor.clone());
    loop {
        let limit = paging.wanted(seen);
        let ask = || {
            call()
                .query("limit", Some(limit))
                .query("cursor", cursor.as_deref())
        };
        let answer = follow::while_busy(screen, ask).await?;
        let page: Page = answer.read()?;
        if screen.json && paging.is_one_page() {
            return screen.document(&answer.body);
        }
        if screen.json {
            page.items.iter().try_for_each(|item| screen.item(item))?;
        } else if !page.items.is_empty() {
            let items: Vec<T> = read_all(&answer)?;
            screen.text(&drawn(&table(screen.paint(), &items)))?;
        }
        seen += page.items.len() as u64;
        if let Some(progress) = &progress {
            progress.set(seen, 0, "");
        }
        cursor = page.next_cursor;
        if cursor.is_none() || page.items.is_empty() || paging.wanted(seen) == 0 {
            break;
        }
    }
    drop(progress);
    match cursor {
        _ if seen == 0 => screen.note("None found."),
        Some(cursor) => screen.note(&format!(
            "There are more: --all, or go on with --cursor {}",
            crate::escape::escape(&cursor)
        )),
        None => {}
    }
    Ok(())
}

fn read_all<T: DeserializeOwned>(answer: &Answer) -> Result<Vec<T>, Failure> {
    #[derive(Deserialize)]
    struct Items<T> {
        items: Vec<T>,
    }
    Ok(answer.read::<Items<T>>()?.items)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_no_longer_than_what_is_wanted_or_given() {
        let paging = |limit, all| Paging {
            limit,
            all,
            cursor: None,
        };
        let wanted = |limit, all, seen| paging(limit, all).wanted(seen);
        assert_eq!(wanted(50, false, 0), 50);
        assert_eq!(wanted(250, false, 0), 200);
        assert_eq!(wanted(250, false, 200), 50);
        assert_eq!(wanted(250, false, 250), 0);
        assert_eq!(wanted(50, true, 1_000_000), 200);
        assert!(paging(200, false).is_one_page());
        assert!(!paging(201, false).is_one_page() && !paging(50, true).is_one_page());
    }
}
