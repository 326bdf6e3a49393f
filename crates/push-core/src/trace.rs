//! W3C trace context: which trace work belongs to, and which span of it caused it.
//!
//! It travels as the header `traceparent` of a request and of a message (W3C recommendation "Trace Context").

use std::fmt;
use std::num::NonZeroU64;

use uuid::Uuid;

/// The header of the recommendation.
pub const TRACE_PARENT: &str = "traceparent";

/// The flag "sampled": whoever made the span may have recorded it.
const SAMPLED: u8 = 1;

/// A span in a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    trace: u128,
    span: NonZeroU64,
    flags: u8,
}

/// Which share of the traces that begin here is recorded, in parts of a million. None by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SampledShare(u32);

const WHOLE: u32 = 1_000_000;

impl SampledShare {
    /// Reads a number from 0 to 1, such as `0.1`.
    ///
    /// # Errors
    /// What is expected instead.
    pub fn parse(text: &str) -> Result<Self, String> {
        let share = text.parse::<f64>().ok();
        let share = share.filter(|share| (0.0..=1.0).contains(share));
        let share = share.ok_or_else(|| format!("is {text:?}; write a share from 0 to 1"))?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 0 and a million"
        )]
        Ok(Self((share * f64::from(WHOLE)).round() as u32))
    }

    /// Trace ids are random, so that they decide.
    fn takes(self, trace: u128) -> bool {
        trace % u128::from(WHOLE) < u128::from(self.0)
    }
}

impl TraceContext {
    /// The first span of a new trace.
    #[must_use]
    pub fn begin(share: SampledShare) -> Self {
        let trace = Uuid::new_v4().as_u128();
        Self {
            trace,
            span: random_span(),
            flags: u8::from(share.takes(trace)) * SAMPLED,
        }
    }

    /// Another span of this trace. Where the trace is not recorded nobody would tell it from this one.
    #[must_use]
    pub fn child(self) -> Self {
        let span = if self.is_sampled() {
            random_span()
        } else {
            self.span
        };
        Self { span, ..self }
    }

    /// The span that a header's value names. Later versions of the recommendation may be longer, and begin alike.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let (version, trace) = (hex(parts.next()?, 2)?, hex(parts.next()?, 32)?);
        let (span, flags) = (hex(parts.next()?, 16)?, hex(parts.next()?, 2)?);
        let longer = parts.next().is_some();
        let valid = version != 0xff && trace != 0 && (version != 0 || !longer);
        valid.then_some(Self {
            trace,
            span: NonZeroU64::new(u64::try_from(span).ok()?)?,
            // The others are not ours to hand on: their meaning may belong to that span only.
            flags: u8::try_from(flags).ok()? & SAMPLED,
        })
    }

    /// Whether the spans of this trace are recorded, where somebody records.
    #[must_use]
    pub const fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// The trace's id.
    #[must_use]
    pub const fn trace(&self) -> u128 {
        self.trace
    }

    /// The span's id.
    #[must_use]
    pub const fn span(&self) -> NonZeroU64 {
        self.span
    }

    /// The trace's id, for logs.
    #[must_use]
    pub fn trace_id(&self) -> impl fmt::Display {
        let trace = self.trace;
        fmt::from_fn(move |f| write!(f, "{trace:032x}"))
    }
}

/// The header's value for whoever works on.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "00-{:032x}-{:016x}-{:02x}",
            self.trace, self.span, self.flags
        )
    }
}

fn random_span() -> NonZeroU64 {
    // The version's digit is among these bits, so that they are never all zero.
    NonZeroU64::new(Uuid::new_v4().as_u64_pair().0).unwrap_or(NonZeroU64::MIN)
}

fn hex(text: &str, length: usize) -> Option<u128> {
    let lower = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let valid = text.len() == length && text.bytes().all(lower);
    valid.then(|| u128::from_str_radix(text, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_child_is_another_span_of_the_same_trace() {
        let parent = TraceContext::parse(PARENT).unwrap();
        assert_eq!(parent.to_string(), PARENT);
        let child = parent.child();
        assert_eq!(
            (child.trace(), child.is_sampled()),
            (parent.trace(), parent.is_sampled())
        );
        assert_ne!(child.span(), parent.span());
        assert_eq!(TraceContext::parse(&child.to_string()), Some(child));
    }

    #[test]
    fn a_later_version_may_be_longer() {
        let newer = "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more";
        assert_eq!(TraceContext::parse(newer), TraceContext::parse(PARENT));
    }

    #[test]
    fn anything_else_is_no_trace() {
        for text in [
            "",
            "garbage",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert_eq!(TraceContext::parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_share_says_how_many_traces_are_recorded() {
        let sampled = |share: &str| {
            let share = SampledShare::parse(share).unwrap();
            let traces = (0..10_000).map(|_| TraceContext::begin(share));
            traces.filter(TraceContext::is_sampled).count()
        };
        assert_eq!((sampled("0"), sampled("1")), (0, 10_000));
        // Six standard deviations are 300 of the 5,000.
        assert!((4_700..5_300).contains(&sampled("0.5")));
        for wrong in ["", "-0.1", "1.1", "NaN", "all"] {
            assert!(SampledShare::parse(wrong).is_err(), "{wrong}");
        }
    }
}
