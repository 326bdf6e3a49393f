//! The endpoints, a file each: what it reads, what it answers, what it does. The listing of this
//! folder is the table of routes.

mod admin;
mod cancel;
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
mod send_to_customer;
mod stats;
mod test;
mod unregister;

use axum::extract::FromRef;
pub use history::Exports;
pub use openapi::Document;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::health::Probes;
use crate::state::AppState;

/// What needs a caller.
pub fn api() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(register::register))
        .routes(routes!(unregister::unregister))
        .routes(routes!(send_to_customer::send_to_customer))
        .routes(routes!(send_batch::send_batch))
        .routes(routes!(events::events))
        .routes(routes!(test::test))
        .routes(routes!(notification::notification))
        .routes(routes!(history::history))
        .routes(routes!(stats::stats))
        .routes(routes!(opened::opened))
        .routes(routes!(cancel::cancel))
        .routes(routes!(
            preferences::preferences,
            preferences::set_preferences
        ))
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
