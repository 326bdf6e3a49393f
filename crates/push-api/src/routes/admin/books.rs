//! `GET /api/Push/admin/books`: whether the books balance.

use axum::Json;
use axum::extract::State;
use push_core::replay::LetterState;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;

use crate::answer::Time;
use crate::books::Reading;
use crate::caller::{Admin, Caller};
use crate::error::{ApiError, CallErrors};
use crate::routes::closed::closed;
use crate::state::AppState;

/// The endpoint.
pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(closed!(books))
}

/// The books, as they were read last.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Books)]
pub struct Answer {
    /// Always true.
    #[schema(example = true)]
    success: bool,
    /// For people.
    #[schema(example = "The books balance")]
    message: &'static str,
    /// The figures; `null` as long as they were not read since the program's start.
    books: Option<Figures>,
}

/// All that is kept.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = BooksFigures)]
struct Figures {
    /// When they were read: every ten seconds; less often where very much is pending.
    #[schema(value_type = chrono::DateTime<chrono::Utc>)]
    read_at: Time,
    /// Notifications that were accepted.
    accepted: u64,
    /// Of these: sent.
    sent: u64,
    /// Of these: failed.
    failed: u64,
    /// Of these: suppressed.
    suppressed: u64,
    /// Of these: those that have not ended.
    pending: u64,
    /// Of the pending: those that nobody has looked after for five times `RECONCILE_AFTER`.
    overdue: u64,
    /// `accepted` less all the others, and less what nobody would look for: anything but 0 is a leak.
    out_of_balance: i64,
    /// Dead letters that wait for somebody.
    dead_letters_open: u64,
    /// Operations that are not over.
    operations_running: u64,
}

impl From<&Reading> for Figures {
    fn from(Reading { at, books, letters }: &Reading) -> Self {
        let open = letters.by_state.iter();
        Self {
            read_at: Time(*at),
            accepted: books.accepted,
            sent: books.sent,
            failed: books.failed,
            suppressed: books.suppressed,
            pending: books.pending,
            overdue: books.overdue,
            out_of_balance: books.out_of_balance(),
            dead_letters_open: open
                .filter(|((state, _), _)| *state == LetterState::Open)
                .map(|(_, count)| *count)
                .sum(),
            operations_running: letters.operations_running,
        }
    }
}

/// Whether all that was accepted is accounted for, and what waits for a person.
///
/// Answered from the last reading: it costs the database nothing, and works while it is away.
#[utoipa::path(
    get,
    path = "/api/Push/admin/books",
    operation_id = "getBooks",
    tag = "admin",
    responses(
        (status = 200, description = "The books", body = Answer,
         example = json!({"success": true, "message": "The books balance",
                          "books": {"readAt": "2030-01-01T00:00:00.000Z", "accepted": 1000, "sent": 980, "failed": 12, "suppressed": 5,
                                    "pending": 3, "overdue": 0, "outOfBalance": 0, "deadLettersOpen": 2, "operationsRunning": 0}})),
        CallErrors,
    ),
)]
pub async fn books(
    _caller: Caller<Admin>,
    State(state): State<AppState>,
) -> Result<Json<Answer>, ApiError> {
    let books = state.last_reading.get();
    let books = books.as_deref().map(Figures::from);
    let message = match &books {
        None => "The books have not been read yet",
        Some(figures) if figures.out_of_balance == 0 => "The books balance",
        Some(_) => "The books do not balance",
    };
    Ok(Json(Answer {
        success: true,
        message,
        books,
    }))
}
