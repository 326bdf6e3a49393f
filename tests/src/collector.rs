//! A collector of traces: OTLP over HTTP with protobuf, as OpenTelemetry's collector takes it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::{Router, routing};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use prost::Message;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// A span as it came.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// `service.name` of who sent it.
    pub service: String,
    /// Its name.
    pub name: String,
    /// OpenTelemetry's number: 1 internal, 2 server, 3 client, 4 producer, 5 consumer.
    pub kind: i32,
    /// In hexadecimal digits, as all ids.
    pub trace: String,
    /// Its own.
    pub id: String,
    /// Empty: none.
    pub parent: String,
    /// When it began and ended, in nanoseconds since 1970.
    pub times: (u64, u64),
    /// What is told of it.
    pub attributes: BTreeMap<String, String>,
    /// The code of what failed.
    pub failed: Option<String>,
}

/// What the collector does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    Takes,
    Hangs,
}

/// A collector that listens on loopback.
#[derive(Debug)]
pub struct Collector {
    /// What `OTEL_EXPORTER_OTLP_ENDPOINT` is.
    pub url: String,
    taken: Taken,
    mood: watch::Sender<Mood>,
    task: tokio::task::JoinHandle<()>,
}

type Taken = Arc<Mutex<Vec<(HeaderMap, Vec<Span>)>>>;

impl Collector {
    /// Starts one.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let (mood, moods) = watch::channel(Mood::Takes);
        let taken = Taken::default();
        let app = Router::new()
            .route("/v1/traces", routing::post(take))
            .with_state((Arc::clone(&taken), moods));
        let task = tokio::spawn(async move {
            axum::serve(listener, app).await.expect("serving");
        });
        Self {
            url: format!("http://{address}"),
            taken,
            mood,
            task,
        }
    }

    /// From now on it does not answer.
    pub fn hangs(&self) {
        self.mood.send_replace(Mood::Hangs);
    }

    /// From now on it does, also who asked before.
    pub fn takes(&self) {
        self.mood.send_replace(Mood::Takes);
    }

    /// All spans so far.
    #[must_use]
    pub fn spans(&self) -> Vec<Span> {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.iter().flat_map(|(_, spans)| spans.clone()).collect()
    }

    /// The values of a header in all requests so far.
    #[must_use]
    pub fn header(&self, name: &str) -> Vec<String> {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let values = taken.iter().filter_map(|(headers, _)| headers.get(name));
        let texts = values.filter_map(|value| value.to_str().ok());
        texts.map(str::to_owned).collect()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn take(
    State((taken, mut mood)): State<(Taken, watch::Receiver<Mood>)>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    if mood.wait_for(|mood| *mood == Mood::Takes).await.is_err() {
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    let Ok(request) = ExportTraceServiceRequest::decode(body) else {
        return StatusCode::BAD_REQUEST;
    };
    let spans = request.resource_spans.into_iter().flat_map(|resource| {
        let about = attributes(resource.resource.unwrap_or_default().attributes);
        let service = about.get("service.name").cloned().unwrap_or_default();
        let scopes = resource.scope_spans.into_iter();
        scopes
            .flat_map(|scope| scope.spans)
            .map(move |span| Span {
                service: service.clone(),
                name: span.name,
                kind: span.kind,
                trace: hex(&span.trace_id),
                id: hex(&span.span_id),
                parent: hex(&span.parent_span_id),
                times: (span.start_time_unix_nano, span.end_time_unix_nano),
                attributes: attributes(span.attributes),
                failed: span
                    .status
                    .filter(|status| status.code == 2)
                    .map(|status| status.message),
            })
            .collect::<Vec<_>>()
    });
    taken
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push((headers, spans.collect()));
    StatusCode::OK
}

fn attributes(pairs: Vec<KeyValue>) -> BTreeMap<String, String> {
    let pairs = pairs.into_iter();
    pairs.map(|pair| (pair.key, text(pair.value))).collect()
}

fn text(value: Option<AnyValue>) -> String {
    match value.and_then(|value| value.value) {
        Some(any_value::Value::StringValue(text)) => text,
        Some(any_value::Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
