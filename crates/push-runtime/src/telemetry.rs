//! Logs and metrics of a process.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until};
use tracing_subscriber::EnvFilter;

use crate::env::{Env, Setting};
use crate::measures;

const LOG_FORMAT: Setting = Setting {
    name: "LOG_FORMAT",
    default: "json",
    meaning: "how log lines look: json or pretty",
};
const RUST_LOG: Setting = Setting {
    name: "RUST_LOG",
    default: "info",
    meaning: "which log lines are written, as tracing's EnvFilter reads it",
};

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people at a terminal.
    Pretty,
}

/// What is logged, and how.
#[derive(Debug)]
pub struct LogSettings {
    format: LogFormat,
    filter: EnvFilter,
}

impl LogSettings {
    /// Reads the settings; `None` when a problem was noted. `always` are directives, separated by
    /// commas, that hold whatever an operator configures: for libraries that log what must not be
    /// logged.
    pub fn read(env: &mut Env, always: &str) -> Option<Self> {
        let format = env.or_default(LOG_FORMAT, |text| match text {
            "json" => Ok(LogFormat::Json),
            "pretty" => Ok(LogFormat::Pretty),
            _ => Err(format!("is {text:?}; write json or pretty")),
        });
        let filter = env.or_default(RUST_LOG, |text| {
            EnvFilter::try_new(format!("{text},{always}")).map_err(|error| {
                format!("cannot be read: {error}; write for example info,push_worker=debug")
            })
        });
        Some(Self {
            format: format?,
            filter: filter?,
        })
    }
}

/// Sends the log lines of this process to standard output, from now on.
pub fn install_logs(settings: LogSettings) {
    let builder = tracing_subscriber::fmt().with_env_filter(settings.filter);
    // An error only means that a test has installed its own.
    drop(match settings.format {
        LogFormat::Json => builder
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .try_init(),
        LogFormat::Pretty => builder.try_init(),
    });
}

/// Upper bounds of the duration histograms, in seconds: from an accept on loopback to a request
/// that ran into the provider's time limit.
const DURATION_BUCKETS: [f64; 14] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0,
];

/// The same for the way of a notification and its parts, which may wait in a queue for long.
const WAY_BUCKETS: [f64; 16] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0,
    1800.0,
];
const WAYS: [&str; 2] = [measures::STAGE_DURATION, measures::DELIVERY_DURATION];

/// What was measured is added up so often: until then every duration is kept by itself.
const ADDED_UP_EVERY: Duration = Duration::from_secs(5);

/// Writing the metrics down takes this share of the time at most: anybody may ask for them.
const RENDERING_SHARE: u32 = 20;

/// The metrics of this process, as Prometheus reads them.
#[derive(Clone)]
pub struct Metrics {
    recorder: PrometheusHandle,
    last: Arc<Mutex<Option<Rendered>>>,
}

/// What was told, when it was begun and done.
struct Rendered {
    begun: Instant,
    done: Instant,
    text: Bytes,
}

impl Metrics {
    /// Collects the metrics of this process, from now on, and keeps them small though nobody asks for them. Once a process,
    /// within a runtime.
    ///
    /// # Errors
    /// When it was done before.
    pub fn install() -> Result<Self, metrics_exporter_prometheus::BuildError> {
        let builder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &DURATION_BUCKETS)?;
        let builder = WAYS.iter().try_fold(builder, |builder, name| {
            let metric = Matcher::Full((*name).to_owned());
            builder.set_buckets_for_metric(metric, &WAY_BUCKETS)
        })?;
        let recorder = builder.install_recorder()?;
        let kept = recorder.clone();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(ADDED_UP_EVERY).await;
                kept.run_upkeep();
            }
        });
        Ok(Self {
            recorder,
            last: Arc::default(),
        })
    }

    /// The text that `/metrics` answers, never older than the question: those who ask at the same time share it.
    pub async fn render(&self) -> Bytes {
        let asked = Instant::now();
        let mut last = self.last.lock().await;
        if let Some(rendered) = &*last {
            if rendered.begun >= asked {
                return rendered.text.clone();
            }
            let cost = rendered.done - rendered.begun;
            sleep_until(rendered.done + cost * RENDERING_SHARE).await;
        }
        let begun = Instant::now();
        self.recorder.run_upkeep();
        let text = Bytes::from(self.recorder.render());
        let done = Instant::now();
        *last = Some(Rendered {
            begun,
            done,
            text: text.clone(),
        });
        text
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}
