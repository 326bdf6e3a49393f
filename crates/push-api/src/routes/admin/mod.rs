//! What operators do: the scope `admin` for all of it.

mod books;
mod customers;
mod dead_letters;
mod operations;
mod providers;
pub(crate) mod queues;
mod session;

use utoipa_axum::router::OpenApiRouter;

use crate::state::AppState;

/// All of them.
pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .merge(books::routes())
        .merge(customers::routes())
        .merge(dead_letters::routes())
        .merge(operations::routes())
        .merge(providers::routes())
        .merge(queues::routes())
        .merge(session::routes())
}
