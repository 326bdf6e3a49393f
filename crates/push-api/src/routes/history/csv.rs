//! The history as a file: all of it, a page at a time.
//!
//! A task reads a page only when the one before is on its way, and holds nothing of the database in between: a client may
//! take as long as it likes over each, within a minute. What goes wrong breaks the transfer, so that half a file does not
//! look like a whole one.

use std::borrow::Cow;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use csv::{Terminator, Writer, WriterBuilder};
use futures::stream;
use push_store::{HistoryFilter, HistoryItem, HistoryPlace};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::Wish;
use super::item::Item;
use crate::answer::Time;
use crate::error::ApiError;
use crate::state::{AppState, now};

/// Files that are being sent at a time, by this process: each keeps the database busy.
const EXPORTS_MAX: usize = 4;
/// Rows of a page: some hundred kilobytes.
const PAGE: u32 = 500;
/// How long a client may take over a page.
const PATIENCE: Duration = Duration::from_secs(60);

const COLUMNS: [&str; 19] = [
    "notificationId",
    "customerId",
    "type",
    "status",
    "reason",
    "fcmResult",
    "expoResult",
    "attempts",
    "priority",
    "collapseKey",
    "createdAt",
    "sendAt",
    "expiresAt",
    "completedAt",
    "openedAt",
    "title",
    "body",
    "data",
    "imageUrl",
];

/// What bounds the files that are being sent.
#[derive(Clone, Debug)]
pub struct Exports {
    places: Arc<Semaphore>,
    stop: CancellationToken,
}

impl Exports {
    /// With all places free, until `stop`.
    #[must_use]
    pub fn new(stop: CancellationToken) -> Self {
        let places = Arc::new(Semaphore::new(EXPORTS_MAX));
        Self { places, stop }
    }

    fn place(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        let places = Arc::clone(&self.places);
        places.try_acquire_owned().map_err(|_| ApiError::Overloaded)
    }
}

/// A file, from its first page on: an error before that is told as any other.
pub(super) async fn export(state: AppState, wish: Wish) -> Result<Response, ApiError> {
    let place = state.exports.place()?;
    let mut rest = Rest {
        filter: wish.filter,
        after: wish.after,
        left: wish.limit,
        done: false,
    };
    let mut first = header_row()?;
    first.extend(rest.page(&state).await?);
    let (sender, receiver) = mpsc::channel(1);
    let task = state.clone();
    state.tasks.spawn(async move {
        let stop = task.exports.stop.clone();
        let sending = send(&task, rest, first, sender);
        if stop.run_until_cancelled(sending).await.is_none() {
            tracing::info!("a file is broken off, because the program stops");
        }
        drop(place);
    });
    let name = format!(
        "attachment; filename=\"notifications-{}.csv\"",
        now().format("%Y%m%dT%H%M%SZ")
    );
    let headers = [
        (
            header::CONTENT_TYPE,
            "text/csv; charset=utf-8; header=present".to_owned(),
        ),
        (header::CONTENT_DISPOSITION, name),
    ];
    Ok((headers, body(receiver)).into_response())
}

/// A part of the file, or its end.
type Part = Option<Bytes>;

/// The parts as they come. Without an end they are not all.
fn body(receiver: mpsc::Receiver<Part>) -> Body {
    Body::from_stream(stream::try_unfold(
        receiver,
        async |mut receiver| match receiver.recv().await {
            Some(Some(bytes)) => Ok(Some((bytes, receiver))),
            Some(None) => Ok(None),
            None => Err(io::Error::other("the file is not complete")),
        },
    ))
}

async fn send(state: &AppState, mut rest: Rest, first: Vec<u8>, sender: mpsc::Sender<Part>) {
    let mut bytes = first;
    loop {
        let taken = sender
            .send_timeout(Some(Bytes::from(bytes)), PATIENCE)
            .await;
        if taken.is_err() {
            // The client is gone, or as good as that.
            return;
        }
        if rest.done {
            // It takes the end, or is gone.
            let _taken = sender.send_timeout(None, PATIENCE).await;
            return;
        }
        bytes = match rest.page(state).await {
            Ok(bytes) => bytes,
            Err(error) => {
                tracing::warn!(code = ?error.code(), "a file is broken off, because the history cannot be read");
                return;
            }
        };
    }
}

/// What is still to be sent.
struct Rest {
    filter: HistoryFilter,
    after: Option<HistoryPlace>,
    /// Rows at most.
    left: Option<u32>,
    done: bool,
}

impl Rest {
    async fn page(&mut self, state: &AppState) -> Result<Vec<u8>, ApiError> {
        let limit = self.left.map_or(PAGE, |left| left.min(PAGE));
        let (filter, after) = (self.filter.clone(), self.after);
        let found = state
            .ask_of_many(|store| async move { store.history(&filter, after, limit).await })
            .await?;
        self.after = found.last().map(|last| last.place).or(self.after);
        let count = u32::try_from(found.len()).unwrap_or(u32::MAX);
        self.left = self.left.map(|left| left - count);
        self.done = count < limit || self.left == Some(0);
        rows(found)
    }
}

fn writer() -> Writer<Vec<u8>> {
    WriterBuilder::new()
        .terminator(Terminator::CRLF)
        .from_writer(Vec::new())
}

fn header_row() -> Result<Vec<u8>, ApiError> {
    let mut writer = writer();
    writer.write_record(COLUMNS).map_err(unwritable)?;
    writer.into_inner().map_err(unwritable)
}

fn rows(items: Vec<HistoryItem>) -> Result<Vec<u8>, ApiError> {
    let mut writer = writer();
    for item in items {
        let item = Item::from(item.notification);
        let time = |time: &Option<Time>| time.as_ref().map(ToString::to_string).unwrap_or_default();
        let data = match item.data.is_empty() {
            true => String::new(),
            // A map of strings always serializes.
            false => serde_json::to_string(&item.data).unwrap_or_default(),
        };
        let cells = [
            item.notification_id.to_string(),
            item.customer_id.to_string(),
            item.kind,
            item.status.to_string(),
            item.reason
                .map(|reason| reason.to_string())
                .unwrap_or_default(),
            item.fcm_result.to_string(),
            item.expo_result.to_string(),
            item.attempts.to_string(),
            item.priority.to_string(),
            item.collapse_key.unwrap_or_default(),
            item.created_at.to_string(),
            time(&item.send_at),
            time(&item.expires_at),
            time(&item.completed_at),
            time(&item.opened_at),
            item.title,
            item.body,
            data,
            item.image_url.unwrap_or_default(),
        ];
        let cells = cells.iter().map(|cell| harmless(cell).into_owned());
        writer.write_record(cells).map_err(unwritable)?;
    }
    writer.into_inner().map_err(unwritable)
}

/// A cell that no spreadsheet takes for a formula (OWASP, "CSV Injection"): it begins with an apostrophe if its text begins
/// with what begins a formula, or with what is skipped before one.
fn harmless(cell: &str) -> Cow<'_, str> {
    let first = cell.chars().next();
    let begins_a_formula = first.is_some_and(|first| "=+-@\t\r\n＝＋－＠".contains(first));
    if begins_a_formula {
        Cow::Owned(format!("'{cell}"))
    } else {
        Cow::Borrowed(cell)
    }
}

fn unwritable(_: impl std::error::Error) -> ApiError {
    ApiError::Internal("a row cannot be written as CSV".to_owned())
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;

    use super::*;

    #[test]
    fn no_cell_is_a_formula() {
        for formula in [
            "=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1",
        ] {
            assert_eq!(harmless(formula), format!("'{formula}"));
        }
        for text in ["", "a=1", " =1", "🚗", "{\"a\":\"=1\"}", "'=1"] {
            assert_eq!(harmless(text), text);
        }
    }

    #[tokio::test]
    async fn a_file_without_its_end_is_an_error() {
        let (sender, receiver) = mpsc::channel(3);
        sender.send(Some(Bytes::from("a\r\n"))).await.unwrap();
        sender.send(None).await.unwrap();
        assert_eq!(to_bytes(body(receiver), 99).await.unwrap(), "a\r\n");
        let (sender, receiver) = mpsc::channel(3);
        sender.send(Some(Bytes::from("a\r\n"))).await.unwrap();
        drop(sender);
        assert!(to_bytes(body(receiver), 99).await.is_err());
    }
}
