//! What is measured, and in which order.

use std::time::Duration;

/// A part of the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Raw {
    Accept,
    Broker,
    /// The rows of a notification with one delivery.
    Database,
    /// With two.
    DatabaseTwo,
    Fcm,
    Expo,
}

/// What the programs are asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Scene {
    /// As fast as they can, to customers with one device, at FCM.
    Single,
    /// The same, a thousand in a request.
    Batch,
    /// As fast as they can, to customers with two devices, one at FCM and one at Expo.
    Two,
    /// [`STEADY`] a second.
    Steady,
    /// [`LOADED`] of what they can.
    Loaded,
    /// As `Single`, while FCM takes so many milliseconds to answer.
    Slow(u32),
}

/// One measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    Raw(Raw),
    Programs(Scene),
}

/// Notifications a second at which a wait is nobody's fault but the programs'.
pub(super) const STEADY: f64 = 200.0;
/// The part of what they can at which nobody should wait for long.
pub(super) const LOADED: f64 = 0.7;
/// Notifications of one `sendBatch`.
pub(super) const BATCH: usize = 1_000;
/// What Expo takes a second of one project, which the worker keeps to: no more than that can go to two devices.
pub(super) const EXPO_RATE: usize = 600;
/// Requests to FCM at one time, by default (`FCM_MAX_IN_FLIGHT`).
pub(super) const FCM_IN_FLIGHT: usize = 1_000;
/// How slow a provider is made.
pub(super) const SLOW: [u32; 2] = [40, 1_000];
/// So many times as long that is measured at least: then what is under way at the beginning and at the end is little of it.
pub(super) const ANSWERS: u32 = 10;

/// One round. Limits and programs take turns, so that what else goes on in the machine hits both alike.
pub(super) const ROUND: [Step; 13] = [
    Step::Raw(Raw::Accept),
    Step::Programs(Scene::Single),
    Step::Raw(Raw::Broker),
    Step::Programs(Scene::Batch),
    Step::Raw(Raw::Database),
    Step::Programs(Scene::Two),
    Step::Raw(Raw::Fcm),
    Step::Programs(Scene::Steady),
    Step::Raw(Raw::DatabaseTwo),
    Step::Programs(Scene::Loaded),
    Step::Raw(Raw::Expo),
    Step::Programs(Scene::Slow(SLOW[0])),
    Step::Programs(Scene::Slow(SLOW[1])),
];

/// How long things are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lengths {
    pub(super) raw: Duration,
    /// Of calling as fast as they answer; until all is delivered it may take longer.
    pub(super) full: Duration,
    pub(super) steady: Duration,
    pub(super) loaded: Duration,
    /// Requests of [`BATCH`].
    pub(super) batches: usize,
}

impl Lengths {
    pub(super) const LONG: Self = Self {
        raw: Duration::from_secs(4),
        full: Duration::from_secs(6),
        steady: Duration::from_secs(15),
        loaded: Duration::from_secs(10),
        batches: 20,
    };
    pub(super) const QUICK: Self = Self {
        raw: Duration::from_millis(1_500),
        full: Duration::from_secs(3),
        steady: Duration::from_secs(6),
        loaded: Duration::from_secs(4),
        batches: 5,
    };
}

impl Raw {
    /// As people write it.
    pub(super) const fn told(self) -> &'static str {
        match self {
            Self::Accept => "axum reads JSON, answers 202",
            Self::Broker => "lapin publishes, consumes, acks",
            Self::Database => "rows in batches, one delivery",
            Self::DatabaseTwo => "rows in batches, two deliveries",
            Self::Fcm => "hyper to FCM, HTTP/2",
            Self::Expo => "hyper to Expo, a hundred each",
        }
    }

    /// As programs read it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Broker => "broker",
            Self::Database => "database",
            Self::DatabaseTwo => "databaseTwo",
            Self::Fcm => "fcm",
            Self::Expo => "expo",
        }
    }
}

impl Scene {
    /// As people write it.
    pub(super) fn told(self) -> String {
        match self {
            Self::Single => "one device, full speed".to_owned(),
            Self::Batch => "one device, sendBatch of 1,000".to_owned(),
            Self::Two => "two devices, FCM and Expo".to_owned(),
            Self::Steady => "one device, 200/s".to_owned(),
            Self::Loaded => "one device, 70 % of full speed".to_owned(),
            Self::Slow(ms) => format!("one device, FCM takes {ms} ms"),
        }
    }

    /// As programs read it.
    pub(super) fn name(self) -> String {
        match self {
            Self::Single => "single".to_owned(),
            Self::Batch => "batch".to_owned(),
            Self::Two => "two".to_owned(),
            Self::Steady => "steady".to_owned(),
            Self::Loaded => "loaded".to_owned(),
            Self::Slow(ms) => format!("slow{ms}"),
        }
    }
}

impl Step {
    pub(super) fn told(self) -> String {
        match self {
            Self::Raw(raw) => format!("limit: {}", raw.told()),
            Self::Programs(scene) => format!("programs: {}", scene.told()),
        }
    }

    pub(super) fn name(self) -> String {
        match self {
            Self::Raw(raw) => raw.name().to_owned(),
            Self::Programs(scene) => scene.name(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_and_programs_take_turns_and_each_is_measured_once() {
        let is_raw = |step: &Step| match step {
            Step::Raw(_) => true,
            Step::Programs(_) => false,
        };
        let turns = ROUND.chunks(2).filter(|pair| is_raw(&pair[0]));
        assert_eq!(turns.count(), 6, "each limit is followed by programs");
        let names: std::collections::BTreeSet<_> = ROUND.iter().map(|step| step.name()).collect();
        assert_eq!(names.len(), ROUND.len());
        // What is asked of the programs at a part of their speed comes after that is known.
        let place = |scene| ROUND.iter().position(|step| *step == Step::Programs(scene));
        assert!(place(Scene::Single) < place(Scene::Loaded));
    }
}
