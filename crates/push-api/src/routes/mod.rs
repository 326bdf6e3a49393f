//! The endpoints, a file each: what it reads, what it answers, what it does. The listing of this
//! folder is the table of routes.

pub(crate) mod admin;
mod cancel;
mod closed;
mod events;
mod health;
mod history;
mod metrics;
mod notification;
mod openapi;
mod opened;
mod preferences;
mod readiness;
mod register;
mod send_batch;
pub(crate) mod send_to_customer;
mod stats;
mod test;
mod unregister;

use axum::extract::rejection::PathRejection;
use axum::extract::{FromRef, Path};
use closed::closed;
pub use history::Exports;
pub use openapi::Document;
use push_core::id::CustomerId;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::error::ApiError;
use crate::health::Probes;
use crate::state::AppState;

/// What needs a caller.
pub fn api() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(closed!(register::register))
        .routes(closed!(unregister::unregister))
        .routes(closed!(send_to_customer::send_to_customer))
        .routes(closed!(send_batch::send_batch))
        .routes(closed!(events::events))
        .routes(closed!(test::test))
        .routes(closed!(notification::notification))
        .routes(closed!(history::history))
        .routes(closed!(stats::stats))
        .routes(closed!(opened::opened))
        .routes(closed!(cancel::cancel))
        .routes(closed!(preferences::preferences))
        .routes(closed!(preferences::set_preferences))
        .merge(admin::routes())
}

/// What anybody may ask. `/metrics` is among them unless it has an address of its own.
pub fn probes<S>(with_metrics: bool) -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Probes: FromRef<S>,
{
    let probes = OpenApiRouter::new()
        .routes(routes!(health::healthz))
        .routes(routes!(readiness::readyz))
        .routes(routes!(openapi::openapi));
    if with_metrics {
        probes.routes(routes!(metrics::metrics))
    } else {
        probes
    }
}

/// A customer's id in a path, or what stands in its place.
type CustomerPath = Result<Path<i64>, PathRejection>;

/// What is no customer's id names no customer.
fn customer_of(path: CustomerPath) -> Result<CustomerId, ApiError> {
    let Path(id) = path.map_err(|_| ApiError::UnknownCustomer)?;
    CustomerId::try_from(id).map_err(|_| ApiError::UnknownCustomer)
}
