//! Customers, as operators see them.

mod detail;
mod erase;

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use push_core::id::CustomerId;
use utoipa_axum::router::OpenApiRouter;

use crate::error::ApiError;
use crate::routes::closed::closed;
use crate::state::AppState;

/// The endpoints, a file each.
pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(closed!(detail::detail))
        .routes(closed!(erase::erase))
}

/// What is no customer's id names no customer.
fn customer(path: Result<Path<i64>, PathRejection>) -> Result<CustomerId, ApiError> {
    let Path(id) = path.map_err(|_| ApiError::UnknownCustomer)?;
    CustomerId::try_from(id).map_err(|_| ApiError::UnknownCustomer)
}
