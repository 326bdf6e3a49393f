//! Spans: what a request and a notification spent their time with, in one trace from the caller's request through the queue
//! to the provider's answer and its record.
//!
//! Spans are written down when they are over, and only those of traces that are sampled, where there is a collector. Who
//! asks for one then hands it to a bounded queue; nobody waits for the collector, and what does not fit is counted and
//! dropped.
//!
//! No token and no content enters a span (P7): attributes are ids, codes and counts.

mod collector;
mod settings;

use std::borrow::Cow;
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime};

pub use opentelemetry::trace::SpanKind;
use opentelemetry::trace::{SpanContext, SpanId, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue, Value};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use push_core::trace::{SampledShare, TraceContext};

use crate::collector::Collector;
pub use crate::collector::CollectorError;
pub use crate::settings::TraceSettings;

/// Of this process.
static RECORDER: OnceLock<Recorder> = OnceLock::new();

struct Recorder {
    share: SampledShare,
    collector: Option<Collector>,
    scope: InstrumentationScope,
}

/// Which program it is, as a resource of its spans.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// `service.name`.
    pub name: &'static str,
    /// `service.version`.
    pub version: &'static str,
}

/// Records the spans of this process, from now on. Once a process, within a runtime.
///
/// # Errors
/// [`CollectorError`]: the collector cannot be spoken to, whatever its state.
pub fn install(settings: &TraceSettings, program: Program) -> Result<(), CollectorError> {
    let collector = settings.collector.as_ref();
    let recorder = Recorder {
        share: settings.share,
        collector: collector
            .map(|collector| Collector::start(collector, program))
            .transpose()?,
        scope: InstrumentationScope::builder(program.name)
            .with_version(program.version)
            .build(),
    };
    // A second one is a test's.
    let _kept = RECORDER.set(recorder);
    Ok(())
}

/// Whether the collector takes traces, tried with none; `None` where there is no collector.
///
/// # Errors
/// [`CollectorError`] says what it answered, or why it did not.
pub async fn check(settings: &TraceSettings) -> Option<Result<(), CollectorError>> {
    Some(collector::try_out(settings.collector.as_ref()?).await)
}

/// Sends what is not sent yet, for two seconds at most. Spans that end later are lost.
pub async fn flush() {
    if let Some(collector) = collector() {
        collector.stop().await;
    }
}

fn collector() -> Option<&'static Collector> {
    RECORDER.get()?.collector.as_ref()
}

/// Work that is being done, in a trace.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    context: TraceContext,
    parent: Option<TraceContext>,
    parent_is_remote: bool,
    started: Instant,
    /// The same by the wall's clock: read once, so that a part does not begin before the whole.
    began: SystemTime,
}

impl Span {
    /// What is done for somebody else's span; without one, a trace begins. Starts now.
    #[must_use]
    pub fn of_request(caller: Option<TraceContext>) -> Self {
        let begin = || {
            // Without a recorder nobody would see it.
            let share = RECORDER.get().map(|recorder| recorder.share);
            TraceContext::begin(share.unwrap_or_default())
        };
        Self {
            context: caller.map_or_else(begin, TraceContext::child),
            parent: caller,
            parent_is_remote: true,
            started: Instant::now(),
            began: SystemTime::now(),
        }
    }

    /// What is done here for a span of this program. Starts now.
    #[must_use]
    pub fn within(parent: TraceContext) -> Self {
        Self {
            context: parent.child(),
            parent: Some(parent),
            parent_is_remote: false,
            started: Instant::now(),
            began: SystemTime::now(),
        }
    }

    /// A part of it that began with it.
    #[must_use]
    pub fn first_part(&self) -> Self {
        Self {
            started: self.started,
            began: self.began,
            ..Self::within(self.context)
        }
    }

    /// What whoever works on is told.
    #[must_use]
    pub const fn context(&self) -> TraceContext {
        self.context
    }

    /// How long it has been going on.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Whether anybody will see it.
    #[must_use]
    pub fn is_recorded(&self) -> bool {
        self.recorder().is_some()
    }

    fn recorder(&self) -> Option<(&'static Collector, &'static InstrumentationScope)> {
        let recorder = RECORDER.get().filter(|_| self.context.is_sampled())?;
        Some((recorder.collector.as_ref()?, &recorder.scope))
    }

    /// It is over. `describe` is asked only if it is recorded.
    pub fn end(
        &self,
        kind: SpanKind,
        name: impl Into<Cow<'static, str>>,
        describe: impl FnOnce(&mut Description),
    ) {
        let Some((collector, scope)) = self.recorder() else {
            return;
        };
        let mut description = Description::default();
        describe(&mut description);
        let span_id = |context: TraceContext| SpanId::from(context.span().get());
        collector.take(SpanData {
            span_context: SpanContext::new(
                TraceId::from(self.context.trace()),
                span_id(self.context),
                TraceFlags::SAMPLED,
                false,
                TraceState::default(),
            ),
            parent_span_id: self.parent.map_or(SpanId::INVALID, span_id),
            parent_span_is_remote: self.parent.is_some() && self.parent_is_remote,
            span_kind: kind,
            name: name.into(),
            start_time: self.began,
            end_time: self.began + self.elapsed(),
            attributes: description.attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: description.status,
            instrumentation_scope: scope.clone(),
        });
    }
}

/// What is told of a span.
#[derive(Debug, Default)]
pub struct Description {
    attributes: Vec<KeyValue>,
    status: Status,
}

impl Description {
    /// An attribute. The names are OpenTelemetry's where it has one.
    pub fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        self.attributes.push(KeyValue::new(key, value));
    }

    /// It failed: a code, never a text of somebody else's.
    pub fn failed(&mut self, code: impl Into<Cow<'static, str>>) {
        self.status = Status::error(code);
    }
}
