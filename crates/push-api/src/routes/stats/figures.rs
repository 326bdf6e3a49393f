//! How figures are told.

use std::collections::BTreeMap;

use push_core::provider::Provider;
use push_core::status::{Reason, Status};
use push_store::{Figures, ProviderFigures, Spread};
use serde::Serialize;
use utoipa::ToSchema;

use crate::schemas;

/// What became of the notifications.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Figures)]
pub struct FiguresAnswer {
    /// How many were accepted.
    accepted: u64,
    /// Of these: sent.
    sent: u64,
    /// Of these: failed.
    failed: u64,
    /// Of these: suppressed.
    suppressed: u64,
    /// Of these: those that have not ended.
    pending: u64,
    /// Of these: opened by their customer, whatever their status.
    opened: u64,
    /// Sent, of all that were sent or failed; `null` where there are none.
    #[schema(example = 0.9871)]
    success_rate: Option<f64>,
    /// Opened, of all that were sent, at most 1; `null` where there are none.
    #[schema(example = 0.3141)]
    open_rate: Option<f64>,
    /// Failed, by why.
    failed_by_reason: BTreeMap<&'static str, u64>,
    /// Suppressed, by why.
    suppressed_by_reason: BTreeMap<&'static str, u64>,
    /// From acceptance until they were sent.
    delivery_time_ms: Percentiles,
    /// What came of them at each provider.
    providers: Providers,
}

/// Each provider's part.
#[derive(Debug, Serialize, ToSchema)]
pub struct Providers {
    fcm: ProviderAnswer,
    expo: ProviderAnswer,
}

/// What came of notifications at one provider.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ProviderFigures)]
pub struct ProviderAnswer {
    /// Notifications that have ended, and of which it took a push.
    success: u64,
    /// Notifications that have ended, and of which it was asked in vain.
    failed: u64,
    /// `success` of both; `null` where there are none.
    success_rate: Option<f64>,
    /// From acceptance until it took the push, of single devices.
    delivery_time_ms: Percentiles,
}

/// A spread of times in milliseconds, told to 5 %; `null` where there are none.
#[derive(Debug, Serialize, ToSchema)]
pub struct Percentiles {
    /// How many there are.
    count: u64,
    /// Half of them took no longer.
    p50: Option<u64>,
    /// 95 % of them.
    p95: Option<u64>,
    /// 99 % of them.
    p99: Option<u64>,
}

/// One status, reason, provider or type.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = StatsGroup)]
pub struct Group {
    /// Which: `(other)` are all types beyond the 50 most frequent.
    #[schema(example = "sent")]
    key: String,
    /// How many notifications.
    count: u64,
    /// Of a reason: the status that it leads to.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = schemas::status, required = false)]
    status: Option<Status>,
    /// Of a type: all its figures.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    figures: Option<FiguresAnswer>,
    /// Of a provider: all its figures; `count` are those of which it took a push.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    provider: Option<ProviderAnswer>,
}

impl FiguresAnswer {
    /// As callers get them.
    pub(super) fn of(figures: &Figures) -> Self {
        let by_reason = |reasons: &BTreeMap<Reason, u64>| {
            reasons
                .iter()
                .map(|(reason, count)| (reason.as_str(), *count))
                .collect()
        };
        let (sent, failed) = (figures.sent, figures.failed());
        Self {
            accepted: figures.accepted,
            sent,
            failed,
            suppressed: figures.suppressed(),
            pending: figures.pending(),
            opened: figures.opened,
            success_rate: rate(sent, sent + failed),
            open_rate: rate(figures.opened.min(sent), sent),
            failed_by_reason: by_reason(&figures.failed),
            suppressed_by_reason: by_reason(&figures.suppressed),
            delivery_time_ms: Percentiles::of(&figures.took),
            providers: Providers {
                fcm: ProviderAnswer::of(&figures.providers.fcm),
                expo: ProviderAnswer::of(&figures.providers.expo),
            },
        }
    }
}

impl ProviderAnswer {
    fn of(figures: &ProviderFigures) -> Self {
        Self {
            success: figures.success,
            failed: figures.failed,
            success_rate: rate(figures.success, figures.success + figures.failed),
            delivery_time_ms: Percentiles::of(&figures.took),
        }
    }
}

impl Percentiles {
    fn of(spread: &Spread) -> Self {
        Self {
            count: spread.count(),
            p50: spread.percentile(50),
            p95: spread.percentile(95),
            p99: spread.percentile(99),
        }
    }
}

/// To four digits.
fn rate(part: u64, of: u64) -> Option<f64> {
    #[expect(
        clippy::cast_precision_loss,
        reason = "far more than four digits are left"
    )]
    let (part, whole) = (part as f64, of as f64);
    (of > 0).then(|| (part / whole * 10_000.0).round() / 10_000.0)
}

/// By what groups are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum GroupBy {
    Status,
    Reason,
    Provider,
    Type,
}

impl GroupBy {
    const ALL: [Self; 4] = [Self::Status, Self::Reason, Self::Provider, Self::Type];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Reason => "reason",
            Self::Provider => "provider",
            Self::Type => "type",
        }
    }

    pub(super) fn from_spelling(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|by| by.as_str() == text)
    }
}

/// All types beyond those that are told.
const OTHER: &str = "(other)";

/// The groups of a bucket: `sum` is all of it, `types` its parts. Of types and reasons, those that there are.
pub(super) fn groups(
    by: GroupBy,
    sum: &Figures,
    types: &BTreeMap<String, Figures>,
    told: &[String],
) -> Vec<Group> {
    match by {
        GroupBy::Status => Status::ALL
            .iter()
            .map(|status| of_status(*status, sum))
            .collect(),
        GroupBy::Reason => sum
            .failed
            .iter()
            .chain(&sum.suppressed)
            .map(of_reason)
            .collect(),
        GroupBy::Provider => Provider::ALL
            .iter()
            .map(|provider| of_provider(*provider, sum))
            .collect(),
        GroupBy::Type => of_types(types, told),
    }
}

fn group(key: impl Into<String>, count: u64) -> Group {
    Group {
        key: key.into(),
        count,
        status: None,
        figures: None,
        provider: None,
    }
}

fn of_status(status: Status, sum: &Figures) -> Group {
    let count = match status {
        Status::Pending => sum.pending(),
        Status::Sent => sum.sent,
        Status::Failed => sum.failed(),
        Status::Suppressed => sum.suppressed(),
    };
    group(status.as_str(), count)
}

fn of_reason((reason, count): (&Reason, &u64)) -> Group {
    Group {
        status: Some(reason.status()),
        ..group(reason.as_str(), *count)
    }
}

fn of_provider(provider: Provider, sum: &Figures) -> Group {
    let figures = sum.providers.get(provider);
    Group {
        provider: Some(ProviderAnswer::of(figures)),
        ..group(provider.as_str(), figures.success)
    }
}

fn of_types(types: &BTreeMap<String, Figures>, told: &[String]) -> Vec<Group> {
    let of = |key: &str, figures: &Figures| Group {
        figures: Some(FiguresAnswer::of(figures)),
        ..group(key, figures.accepted)
    };
    let mut other = Figures::default();
    let mut groups = Vec::new();
    for (kind, figures) in types {
        if told.contains(kind) {
            groups.push(of(kind, figures));
        } else {
            other.merge(figures);
        }
    }
    if other.accepted > 0 {
        groups.push(of(OTHER, &other));
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_of_what_there_is() {
        assert_eq!(rate(0, 0), None);
        assert_eq!(rate(1, 3), Some(0.3333));
        let figures = Figures {
            accepted: 5,
            sent: 2,
            failed: [(Reason::Refused, 1)].into(),
            suppressed: [(Reason::Expired, 1)].into(),
            opened: 3,
            ..Figures::default()
        };
        let told = FiguresAnswer::of(&figures);
        assert_eq!((told.pending, told.success_rate), (1, Some(0.6667)));
        // One of them was opened although it has failed: nobody heard that it had arrived.
        assert_eq!((told.opened, told.open_rate), (3, Some(1.0)));
        let keys = |by| -> Vec<(String, u64)> {
            let groups = groups(by, &figures, &BTreeMap::new(), &[]);
            groups
                .into_iter()
                .map(|group| (group.key, group.count))
                .collect()
        };
        let status = keys(GroupBy::Status);
        let statuses = [
            ("pending", 1),
            ("sent", 2),
            ("failed", 1),
            ("suppressed", 1),
        ];
        assert_eq!(status, statuses.map(|(key, count)| (key.to_owned(), count)));
        assert_eq!(keys(GroupBy::Reason).len(), 2);
        assert_eq!(keys(GroupBy::Provider).len(), 2);
    }

    #[test]
    fn types_beyond_the_most_frequent_are_told_together() {
        let of = |accepted| Figures {
            accepted,
            ..Figures::default()
        };
        let types = [
            ("a".to_owned(), of(1)),
            ("b".to_owned(), of(2)),
            ("c".to_owned(), of(3)),
        ]
        .into();
        let told = of_types(&types, &["c".to_owned()]);
        let told: Vec<_> = told
            .iter()
            .map(|group| (group.key.as_str(), group.count))
            .collect();
        assert_eq!(told, [("c", 3), (OTHER, 3)]);
    }
}
