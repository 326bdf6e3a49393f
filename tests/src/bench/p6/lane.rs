//! The two providers, and what may be wrong with one.

use serde_json::json;

use crate::sim::{Provider, Sim};

/// A provider that notifications go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Lane {
    Fcm,
    Expo,
}

impl Lane {
    pub(super) const ALL: [Self; 2] = [Self::Fcm, Self::Expo];

    pub(super) const fn other(self) -> Self {
        match self {
            Self::Fcm => Self::Expo,
            Self::Expo => Self::Fcm,
        }
    }

    pub(super) const fn provider(self) -> Provider {
        match self {
            Self::Fcm => Provider::Fcm,
            Self::Expo => Provider::Expo,
        }
    }

    /// As people write it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Fcm => "FCM",
            Self::Expo => "Expo",
        }
    }
}

/// What is wrong with a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It reads requests and never answers.
    Hang,
    /// It resets connections.
    Down,
    /// It answers 503.
    Unavailable,
    /// It answers 429, and asks for a pause.
    Throttle,
}

/// What a provider that throttles asks for: short, so that several such answers come in one phase.
const RETRY_AFTER: &str = "5";

impl Trouble {
    /// Reads `hang`, `down`, `503` or `throttle`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "hang" => Some(Self::Hang),
            "down" => Some(Self::Down),
            "503" => Some(Self::Unavailable),
            "throttle" => Some(Self::Throttle),
            _ => None,
        }
    }

    /// What a provider does: `FCM hangs`.
    pub(super) const fn verb(self) -> &'static str {
        match self {
            Self::Hang => "hangs",
            Self::Down => "is down",
            Self::Unavailable => "answers 503",
            Self::Throttle => "throttles",
        }
    }

    pub(super) async fn begin(self, sim: &Sim, lane: Lane) {
        let provider = lane.provider();
        match self {
            Self::Hang => sim.outage(provider, "hang").await,
            Self::Down => sim.outage(provider, "down").await,
            Self::Unavailable => sim.outage(provider, "503").await,
            Self::Throttle => {
                let case = match lane {
                    Lane::Fcm => "quota_exceeded",
                    Lane::Expo => "rate_limited",
                };
                let answer = json!({"case": case, "headers": {"retry-after": RETRY_AFTER}});
                sim.always_all(provider, answer).await;
            }
        }
    }

    pub(super) async fn end(self, sim: &Sim, lane: Lane) {
        let provider = lane.provider();
        match self {
            Self::Hang | Self::Down | Self::Unavailable => sim.outage(provider, "ok").await,
            Self::Throttle => sim.script_all(provider, json!([])).await,
        }
    }
}
