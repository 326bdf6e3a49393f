//! Customers, as operators see them.

mod detail;
mod erase;

use utoipa_axum::router::OpenApiRouter;

use crate::routes::closed::closed;
use crate::state::AppState;

/// The endpoints, a file each.
pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(closed!(detail::detail))
        .routes(closed!(erase::erase))
}
