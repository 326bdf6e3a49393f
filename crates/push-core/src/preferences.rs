//! What a customer wants to get, and when.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};

use crate::locale::Locale;
use crate::notification::{Notification, NotificationType, Priority};
use crate::wanted::{Suppression, Verdict};

mod quiet;

pub use quiet::{QuietHours, TimeOfDay, zone};

/// A customer's preferences. Who never said anything wants everything, at any time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preferences {
    /// Whether any push is wanted at all.
    pub push_enabled: bool,
    /// What is wanted by type; a type that is missing is.
    pub types: BTreeMap<NotificationType, bool>,
    /// When only what is urgent is wanted.
    pub quiet_hours: Option<QuietHours>,
    /// In which language.
    pub locale: Option<Locale>,
}

impl Preferences {
    /// Types that one customer can have an opinion of: several times what an app shows switches for.
    pub const TYPES_MAX: usize = 100;
}

impl Default for Preferences {
    fn default() -> Self {
        Self {
            push_enabled: true,
            types: BTreeMap::new(),
            quiet_hours: None,
            locale: None,
        }
    }
}

/// Types that nobody can switch off (`MANDATORY_TYPES`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MandatoryTypes(BTreeSet<NotificationType>);

impl MandatoryTypes {
    /// Reads names that are separated by commas.
    ///
    /// # Errors
    /// The name that is none, and what one looks like.
    pub fn parse(text: &str) -> Result<Self, String> {
        let names = text
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty());
        let parse = |name| {
            NotificationType::parse(name).map_err(|wrong| format!("has {name:?}: a type {wrong}"))
        };
        names.map(parse).collect::<Result<_, _>>().map(Self)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &NotificationType> {
        self.0.iter()
    }

    fn has(&self, kind: &NotificationType) -> bool {
        self.0.contains(kind)
    }
}

/// What a customer switched off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptedOut {
    /// All pushes.
    Everything,
    /// Those of this type.
    Type,
}

impl Preferences {
    /// What they say of `notification` now. Asked before each round, so that what waits for another attempt is not sent
    /// either once it is no longer wanted. One that has expired is left to whoever looks at its time.
    #[must_use]
    pub fn say(
        &self,
        notification: &Notification,
        mandatory: &MandatoryTypes,
        now: DateTime<Utc>,
    ) -> Verdict {
        if let Some(opted_out) = self.opted_out(&notification.kind)
            && !mandatory.has(&notification.kind)
        {
            return Verdict::Suppress(Suppression::OptedOut(opted_out));
        }
        match (notification.priority, self.quiet_until(now)) {
            (Priority::High, _) | (Priority::Normal, None) => Verdict::Deliver,
            (Priority::Normal, Some(_)) if notification.is_expired(now) => Verdict::Deliver,
            (Priority::Normal, Some(until)) if notification.is_expired(until) => {
                Verdict::Suppress(Suppression::QuietHours { until })
            }
            (Priority::Normal, Some(until)) => Verdict::PutOff(until),
        }
    }

    fn opted_out(&self, kind: &NotificationType) -> Option<OptedOut> {
        if !self.push_enabled {
            return Some(OptedOut::Everything);
        }
        let wanted = self.types.get(kind).copied().unwrap_or(true);
        (!wanted).then_some(OptedOut::Type)
    }

    fn quiet_until(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.quiet_hours.as_ref()?.end_after(now)
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::job::Job;

    const GOLDEN_V1: &str = include_str!("../golden/job_v1.json");

    fn notification(kind: &str, priority: Priority) -> Notification {
        let golden: serde_json::Value = serde_json::from_str(GOLDEN_V1).unwrap();
        let job = Job::decode(golden[0].to_string().as_bytes()).unwrap();
        Notification {
            kind: NotificationType::parse(kind).unwrap(),
            priority,
            created_at: at("2030-01-01T00:00:00Z"),
            expires_at: at("2030-01-02T00:00:00Z"),
            ..job.notification
        }
    }

    fn opted_out(what: OptedOut) -> Verdict {
        Verdict::Suppress(Suppression::OptedOut(what))
    }

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn preferences(types: &[(&str, bool)], quiet: Option<(&str, &str)>) -> Preferences {
        let types = types
            .iter()
            .map(|(kind, wanted)| (NotificationType::parse(kind).unwrap(), *wanted));
        let quiet = quiet.map(|(start, end)| {
            let [start, end] = [start, end].map(|text| TimeOfDay::parse(text).unwrap());
            QuietHours::new(start, end, zone("Asia/Dhaka").unwrap()).unwrap()
        });
        Preferences {
            types: types.collect(),
            quiet_hours: quiet,
            ..Preferences::default()
        }
    }

    #[test]
    fn what_is_not_wanted_is_not_sent_unless_it_is_mandatory() {
        let (now, none) = (at("2030-01-01T00:00:00Z"), MandatoryTypes::default());
        let mandatory = MandatoryTypes::parse(" invoice , ,security").unwrap();
        let [invoice, offer] = ["invoice", "offer"].map(|kind| notification(kind, Priority::High));
        let some = preferences(&[("invoice", false), ("reached", true)], None);
        let off = Preferences {
            push_enabled: false,
            ..preferences(&[("invoice", true), ("offer", true)], None)
        };
        assert_eq!(
            Preferences::default().say(&offer, &none, now),
            Verdict::Deliver
        );
        assert_eq!(some.say(&offer, &none, now), Verdict::Deliver);
        assert_eq!(some.say(&invoice, &none, now), opted_out(OptedOut::Type));
        let everything = opted_out(OptedOut::Everything);
        assert_eq!(off.say(&offer, &none, now), everything);
        for preferences in [&some, &off] {
            assert_eq!(preferences.say(&invoice, &mandatory, now), Verdict::Deliver);
        }
        assert_eq!(off.say(&offer, &mandatory, now), everything);
    }

    #[test]
    fn in_quiet_hours_only_what_is_urgent_does_not_wait() {
        // In Dhaka it is six hours later: quiet from 16:00 to 01:00.
        let quiet = preferences(&[("offer", false)], Some(("22:00", "07:00")));
        let mandatory = MandatoryTypes::parse("invoice").unwrap();
        let (start, end) = (at("2030-01-01T16:00:00Z"), at("2030-01-02T01:00:00Z"));
        let second = TimeDelta::seconds(1);
        let lasting = |until, priority| Notification {
            expires_at: until,
            ..notification("invoice", priority)
        };
        let normal = lasting(end + second, Priority::Normal);
        let say = |notification: &Notification, now| quiet.say(notification, &mandatory, now);
        assert_eq!(say(&normal, start - second), Verdict::Deliver);
        for now in [start, end - second] {
            assert_eq!(say(&normal, now), Verdict::PutOff(end), "mandatory or not");
            let high = lasting(end + second, Priority::High);
            assert_eq!(say(&high, now), Verdict::Deliver);
            let short = lasting(end, Priority::Normal);
            assert_eq!(
                say(&short, now),
                Verdict::Suppress(Suppression::QuietHours { until: end })
            );
        }
        assert_eq!(say(&normal, end), Verdict::Deliver);
        let over = lasting(start, Priority::Normal);
        assert_eq!(
            say(&over, start + second),
            Verdict::Deliver,
            "it has expired"
        );
        let offer = notification("offer", Priority::Normal);
        assert_eq!(say(&offer, start), opted_out(OptedOut::Type));
    }

    #[test]
    fn a_name_that_is_no_type_is_told() {
        let wrong = MandatoryTypes::parse("invoice,No Type").unwrap_err();
        assert!(
            wrong.contains("\"No Type\"") && wrong.contains("a-z"),
            "{wrong}"
        );
        assert_eq!(
            MandatoryTypes::parse("").unwrap(),
            MandatoryTypes::default()
        );
        let listed = MandatoryTypes::parse("b,a,b").unwrap();
        let listed: Vec<_> = listed.iter().map(NotificationType::as_str).collect();
        assert_eq!(listed, ["a", "b"]);
    }
}
