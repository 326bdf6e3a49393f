//! Stopping is a path, not an accident: soft first, hard at the end of the grace.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The two ways in which a process is asked to stop.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    /// Take nothing new, finish what is in flight.
    pub soft: CancellationToken,
    /// Drop what is in flight; the queue still has it.
    pub hard: CancellationToken,
}

impl Shutdown {
    /// Listens for SIGTERM and SIGINT: the first stops softly; a second, or `grace` after the
    /// first, stops hard.
    ///
    /// # Errors
    /// When the signals cannot be listened for.
    pub fn on_signals(grace: Duration) -> std::io::Result<Self> {
        let shutdown = Self::default();
        let (mut terminate, mut interrupt) = (
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
        );
        let handle = shutdown.clone();
        tokio::spawn(async move {
            let mut signalled = async || tokio::select! { _ = terminate.recv() => "SIGTERM", _ = interrupt.recv() => "SIGINT" };
            let name = signalled().await;
            tracing::info!(
                signal = name,
                grace_seconds = grace.as_secs(),
                "stopping: finishing what is in flight"
            );
            handle.soft.cancel();
            tokio::select! {
                name = signalled() => tracing::warn!(signal = name, "second signal: stopping hard"),
                () = tokio::time::sleep(grace) => tracing::warn!("the grace is over: stopping hard"),
            }
            handle.hard.cancel();
        });
        Ok(shutdown)
    }
}
