//! The way to the collector: a bounded queue, and a thread that sends what is in it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use metrics::counter;
use opentelemetry::KeyValue;
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{
    Protocol, RetryPolicy, SpanExporter as OtlpExporter, WithExportConfig, WithHttpConfig,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, SpanData, SpanExporter, SpanProcessor,
};
use reqwest::{Client, redirect, retry};
use tokio::runtime::Handle;

use crate::Program;
use crate::settings::CollectorSettings;

/// Spans that may wait for the collector: a second of a busy program's, about 8 MB.
const WAITING_MAX: usize = 8_192;
/// In one request.
const BATCH_MAX: usize = 512;
/// They wait for so long at most until they are sent.
const SENT_EVERY: Duration = Duration::from_secs(1);
/// For one request, with its answer.
const REQUEST_MAX: Duration = Duration::from_secs(5);
/// An answer tells nothing worth more than that.
const ANSWER_MAX: usize = 64 * 1024;
/// For what is not sent when the program stops.
const FLUSH_MAX: Duration = Duration::from_secs(2);

/// Spans that did not get to the collector, because it was away or too slow.
const DROPPED: &str = "push_trace_spans_dropped_total";

/// The collector cannot be spoken to.
#[derive(Debug, thiserror::Error)]
#[error("traces cannot be sent to OTEL_EXPORTER_OTLP_ENDPOINT: {0}")]
pub struct CollectorError(String);

/// Takes spans, and sends them.
pub(crate) struct Collector {
    processor: Arc<BatchSpanProcessor>,
    waiting: Arc<AtomicUsize>,
}

impl Collector {
    /// Within a runtime, which sends the requests.
    pub(crate) fn start(
        settings: &CollectorSettings,
        program: Program,
    ) -> Result<Self, CollectorError> {
        counter!(DROPPED).increment(0);
        let waiting = Arc::new(AtomicUsize::new(0));
        let exporter = Exporter {
            otlp: exporter(settings)?,
            waiting: Arc::clone(&waiting),
            is_away: AtomicBool::new(false),
        };
        let batches = BatchConfigBuilder::default()
            .with_max_queue_size(WAITING_MAX)
            .with_max_export_batch_size(BATCH_MAX)
            .with_scheduled_delay(SENT_EVERY)
            .build();
        let mut processor = BatchSpanProcessor::new(exporter, batches);
        // Adds what OTEL_RESOURCE_ATTRIBUTES says, such as the instance.
        let resource = Resource::builder()
            .with_service_name(program.name)
            .with_attribute(KeyValue::new("service.version", program.version))
            .build();
        processor.set_resource(&resource);
        Ok(Self {
            processor: Arc::new(processor),
            waiting,
        })
    }

    /// Never waits.
    pub(crate) fn take(&self, span: SpanData) {
        if self.waiting.fetch_add(1, Ordering::Relaxed) < WAITING_MAX {
            self.processor.on_end(span);
        } else {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            counter!(DROPPED).increment(1);
        }
    }

    /// Sends what waits.
    pub(crate) async fn stop(&self) {
        let processor = Arc::clone(&self.processor);
        let stopped =
            tokio::task::spawn_blocking(move || processor.shutdown_with_timeout(FLUSH_MAX));
        if !matches!(stopped.await, Ok(Ok(()))) {
            let spans = self.waiting.load(Ordering::Relaxed);
            tracing::warn!(spans, "the last traces did not get to the collector");
        }
    }
}

fn exporter(settings: &CollectorSettings) -> Result<OtlpExporter, CollectorError> {
    let wrong = |error: &dyn fmt::Display| CollectorError(error.to_string());
    let client = Client::builder()
        .timeout(REQUEST_MAX)
        .connect_timeout(REQUEST_MAX)
        .redirect(redirect::Policy::none())
        .no_proxy()
        .retry(retry::never())
        .build()
        .map_err(|error| wrong(&error.without_url()))?;
    let client = OnRuntime {
        client,
        runtime: Handle::current(),
    };
    OtlpExporter::builder()
        .with_http()
        .with_http_client(client)
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(&settings.url)
        .with_headers(settings.headers.reveal())
        .with_timeout(REQUEST_MAX)
        // What cannot be sent makes room for what is newer.
        .with_retry_policy(RetryPolicy::disabled())
        .build()
        .map_err(|error| wrong(&error))
}

/// Sends no spans at all.
pub(crate) async fn try_out(settings: &CollectorSettings) -> Result<(), CollectorError> {
    let tried = exporter(settings)?.export(Vec::new()).await;
    tried.map_err(|error| CollectorError(error.to_string()))
}

/// Our client, for a thread that has no runtime.
#[derive(Debug)]
struct OnRuntime {
    client: Client,
    runtime: Handle,
}

#[async_trait]
impl HttpClient for OnRuntime {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.client.clone();
        self.runtime
            .spawn(async move { exchange(&client, request).await })
            .await?
            .map_err(|error| error.without_url().into())
    }
}

async fn exchange(
    client: &Client,
    request: Request<Bytes>,
) -> Result<Response<Bytes>, reqwest::Error> {
    let mut answer = client.execute(request.try_into()?).await?;
    let mut body = Vec::new();
    while body.len() < ANSWER_MAX
        && let Some(chunk) = answer.chunk().await?
    {
        body.extend_from_slice(&chunk);
    }
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = answer.status();
    *response.headers_mut() = std::mem::take(answer.headers_mut());
    Ok(response)
}

/// Counts what is dropped, and says once that it is.
#[derive(Debug)]
struct Exporter {
    otlp: OtlpExporter,
    waiting: Arc<AtomicUsize>,
    is_away: AtomicBool,
}

impl SpanExporter for Exporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let sent = self.otlp.export(batch).await;
        self.waiting.fetch_sub(spans, Ordering::Relaxed);
        let was_away = self.is_away.swap(sent.is_err(), Ordering::Relaxed);
        match &sent {
            Ok(()) if was_away => tracing::info!("traces get to the collector again"),
            Ok(()) => {}
            Err(error) => {
                counter!(DROPPED).increment(spans as u64);
                if !was_away {
                    tracing::warn!(%error, "traces do not get to the collector: they are dropped");
                }
            }
        }
        sent
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.otlp.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.otlp.set_resource(resource);
    }
}
