//! `GET /sim/events`: arrivals as server-sent events.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures::Stream;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use crate::phones::Arrival;
use crate::sim::Sim;

/// An event `push` per arrival; a reader that lagged gets `lagged` with the number it missed.
pub(super) async fn events(
    State(sim): State<Arc<Sim>>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let arrivals = futures::stream::unfold(sim.phones.subscribe(), next);
    Sse::new(arrivals).keep_alive(KeepAlive::default())
}

async fn next(
    mut arrivals: Receiver<Arc<Arrival>>,
) -> Option<(Result<Event, Infallible>, Receiver<Arc<Arrival>>)> {
    let event = match arrivals.recv().await {
        Ok(arrival) => {
            let json = serde_json::to_string(arrival.as_ref()).unwrap_or_default();
            Event::default().event("push").data(json)
        }
        Err(RecvError::Lagged(missed)) => Event::default().event("lagged").data(missed.to_string()),
        Err(RecvError::Closed) => return None,
    };
    Some((Ok(event), arrivals))
}
