//! Where traces go, and how many.

use std::collections::HashMap;

use http::{HeaderName, HeaderValue};
use percent_encoding::percent_decode_str;
use push_core::trace::SampledShare;
use push_runtime::env::{Env, Setting, parse};
use secrecy::{ExposeSecret, SecretString};

/// Where the collector is.
pub const ENDPOINT: Setting = Setting {
    name: "OTEL_EXPORTER_OTLP_ENDPOINT",
    default: "",
    meaning: "where traces are sent, as OTLP over HTTP with protobuf: the collector without /v1/traces, such as http://collector:4318; unset: nowhere",
};
/// What the collector wants to see.
pub const HEADERS: Setting = Setting {
    name: "OTEL_EXPORTER_OTLP_HEADERS",
    default: "",
    meaning: "headers for a collector that asks for credentials: name=value, comma-separated, values percent-encoded",
};
/// How many traces are recorded.
pub const SAMPLER_ARG: Setting = Setting {
    name: "OTEL_TRACES_SAMPLER_ARG",
    default: "0.1",
    meaning: "which share of the traces that begin here is recorded, 0 to 1; where a caller sends a traceparent, that decides",
};

/// Where traces go, and how many.
#[derive(Debug)]
pub struct TraceSettings {
    /// The collector, if there is one.
    pub(crate) collector: Option<CollectorSettings>,
    /// Which share of new traces is recorded.
    pub(crate) share: SampledShare,
}

/// The collector.
#[derive(Debug)]
pub(crate) struct CollectorSettings {
    /// Where spans are posted to.
    pub(crate) url: String,
    /// Sent along.
    pub(crate) headers: Headers,
}

/// Headers whose values are not shown.
#[derive(Debug, Default)]
pub(crate) struct Headers(Vec<(String, SecretString)>);

impl TraceSettings {
    /// Reads the settings; `None` when a problem was noted.
    pub fn read(env: &mut Env) -> Option<Self> {
        let endpoint = env.optional(ENDPOINT, parse::base_url);
        let headers = env.or_default(HEADERS, Headers::parse);
        let share = env.or_default(SAMPLER_ARG, SampledShare::parse);
        let headers = headers?;
        Some(Self {
            collector: endpoint.map(|endpoint| CollectorSettings {
                url: format!("{endpoint}/v1/traces"),
                headers,
            }),
            share: share?,
        })
    }
}

impl Headers {
    /// The problem does not repeat what may be a secret.
    fn parse(text: &str) -> Result<Self, &'static str> {
        let headers = text.split(',').map(str::trim).filter(|it| !it.is_empty());
        let headers = headers.map(|header| {
            let (name, value) = header.split_once('=')?;
            let value = percent_decode_str(value.trim()).decode_utf8().ok()?;
            let (name, value) = (name.trim().to_owned(), value.into_owned());
            let is_header =
                HeaderName::try_from(&name).is_ok() && HeaderValue::try_from(&value).is_ok();
            is_header.then(|| (name, SecretString::from(value)))
        });
        let headers = headers.collect::<Option<_>>();
        let wrong = "has something else than name=value, comma-separated, values percent-encoded";
        headers.map(Self).ok_or(wrong)
    }

    pub(crate) fn reveal(&self) -> HashMap<String, String> {
        let headers = self.0.iter();
        headers
            .map(|(name, value)| (name.clone(), value.expose_secret().to_owned()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<TraceSettings, String> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let mut env = Env::from_pairs(pairs.iter().map(owned));
        let settings = TraceSettings::read(&mut env);
        env.finish(|| settings).map_err(|wrong| wrong.to_string())
    }

    #[test]
    fn traces_go_nowhere_unless_there_is_a_collector() {
        assert!(read(&[]).unwrap().collector.is_none());
        let settings = read(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/")]);
        let collector = settings.unwrap().collector.unwrap();
        assert_eq!(collector.url, "http://collector:4318/v1/traces");
    }

    #[test]
    fn headers_are_decoded_and_never_shown() {
        let settings = read(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector"),
            (
                "OTEL_EXPORTER_OTLP_HEADERS",
                "Authorization=Bearer%20s3cret, x-scope = a",
            ),
        ]);
        let settings = settings.unwrap();
        assert!(!format!("{settings:?}").contains("s3cret"), "{settings:?}");
        let headers = settings.collector.unwrap().headers.reveal();
        assert_eq!(headers["Authorization"], "Bearer s3cret");
        assert_eq!(headers["x-scope"], "a");
    }

    #[test]
    fn all_problems_are_told_and_no_secret() {
        let wrong = read(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "s3cret"),
            ("OTEL_TRACES_SAMPLER_ARG", "2"),
        ]);
        let wrong = wrong.unwrap_err();
        for setting in [ENDPOINT, HEADERS, SAMPLER_ARG] {
            assert!(wrong.contains(setting.name), "{wrong}");
        }
        assert!(!wrong.contains("s3cret"), "{wrong}");
    }
}
