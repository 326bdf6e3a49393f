//! What several rounds of the same come to.

use super::machine::Others;
use super::meter::{Costs, Role};
use super::step::{Raw, Scene, Step};
use super::{Evidence, Taken};

/// Of several rounds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) min: f64,
    pub(super) max: f64,
}

impl Spread {
    /// The median of an even number is the mean of the two in the middle; all is 0 where there is nothing.
    pub(super) fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (Some(min), Some(max)) = (values.first(), values.last()) else {
            return Self::default();
        };
        let (low, high) = ((values.len() - 1) / 2, values.len() / 2);
        Self {
            median: f64::midpoint(values[low], values[high]),
            min: *min,
            max: *max,
        }
    }
}

/// The parts that a notification to one device can be made of.
pub(super) const ONE_DEVICE: [Raw; 4] = [Raw::Accept, Raw::Broker, Raw::Database, Raw::Fcm];
/// And to two, one at each provider.
pub(super) const TWO_DEVICES: [Raw; 5] = [
    Raw::Accept,
    Raw::Broker,
    Raw::DatabaseTwo,
    Raw::Fcm,
    Raw::Expo,
];

impl Evidence {
    pub(super) fn of(&self, step: Step) -> &[Taken] {
        self.steps.get(&step).map_or(&[], Vec::as_slice)
    }

    /// A figure of the programs.
    pub(super) fn figure(&self, scene: Scene, figure: impl Fn(&Taken) -> f64) -> Spread {
        Spread::of(self.of(Step::Programs(scene)).iter().map(figure))
    }

    /// What a notification costs, each side's median.
    pub(super) fn costs(&self, step: Step) -> Costs {
        let side = |side: fn(Costs) -> f64| {
            Spread::of(self.of(step).iter().map(|taken| side(taken.costs()))).median
        };
        Costs {
            own: side(|costs| costs.own),
            servers: side(|costs| costs.servers),
            rest: side(|costs| costs.rest),
        }
    }

    /// Microseconds of CPU of one role for a notification.
    pub(super) fn cost_of(&self, scene: Scene, role: Role) -> f64 {
        let cost = |taken: &Taken| {
            taken.spent.get(&role).copied().unwrap_or_default() as f64 / taken.items.max(1) as f64
        };
        self.figure(scene, cost).median
    }

    /// The sum of the parts.
    pub(super) fn floor(&self, parts: &[Raw]) -> Costs {
        let parts = parts.iter().map(|part| self.costs(Step::Raw(*part)));
        parts.fold(Costs::default(), |sum, part| sum + part)
    }

    /// Whoever was in the way of these, if anybody was: in half of the rounds of one of them or more.
    pub(super) fn disturbed(&self, steps: &[Step]) -> Option<&Others> {
        let disturbed = steps.iter().filter_map(|step| {
            let mut others: Vec<_> = self.of(*step).iter().map(|taken| &taken.others).collect();
            others.sort_by(|one, other| one.share.total_cmp(&other.share));
            others.get(others.len() / 2).copied()
        });
        disturbed
            .filter(|others| others.are_in_the_way())
            .max_by(|one, other| one.share.total_cmp(&other.share))
    }
}

/// Parts as steps.
pub(super) fn raw(parts: &[Raw]) -> Vec<Step> {
    parts.iter().copied().map(Step::Raw).collect()
}

#[cfg(test)]
mod tests {
    use super::super::meter::Spent;
    use super::*;

    fn taken(own: u64, share: f64) -> Taken {
        Taken {
            items: 10,
            seconds: 2.0,
            spent: Spent::from([(Role::Raw, own), (Role::Broker, 100)]),
            others: Others {
                share,
                who: Vec::new(),
            },
            ..Taken::default()
        }
    }

    #[test]
    fn a_spread_is_median_least_and_most() {
        let of = |values: &[f64]| Spread::of(values.iter().copied());
        let wanted = |median, min, max| Spread { median, min, max };
        assert_eq!(of(&[3.0, 1.0, 2.0]), wanted(2.0, 1.0, 3.0));
        assert_eq!(of(&[4.0, 1.0]), wanted(2.5, 1.0, 4.0));
        assert_eq!(of(&[7.0]), wanted(7.0, 7.0, 7.0));
        assert_eq!(of(&[]), Spread::default());
    }

    #[test]
    fn the_floor_adds_up_the_medians_of_its_parts() {
        let mut evidence = Evidence::default();
        for (part, own) in [(Raw::Accept, 100), (Raw::Broker, 400)] {
            let rounds = [taken(own, 0.0), taken(own * 9, 0.0), taken(own, 0.0)];
            evidence.steps.insert(Step::Raw(part), rounds.to_vec());
        }
        let floor = evidence.floor(&[Raw::Accept, Raw::Broker]);
        assert!((floor.own - 50.0).abs() < 1e-9, "{floor:?}");
        assert!((floor.servers - 20.0).abs() < 1e-9, "{floor:?}");
    }

    #[test]
    fn one_disturbed_round_of_three_is_no_matter_and_two_are() {
        let mut evidence = Evidence::default();
        let (one, other) = (Step::Raw(Raw::Fcm), Step::Programs(Scene::Single));
        evidence
            .steps
            .insert(one, vec![taken(1, 0.5), taken(1, 0.0), taken(1, 0.05)]);
        assert_eq!(evidence.disturbed(&[one, other]), None);
        evidence
            .steps
            .insert(other, vec![taken(1, 0.5), taken(1, 0.0), taken(1, 0.3)]);
        let told = evidence.disturbed(&[one, other]).unwrap();
        assert!((told.share - 0.3).abs() < 1e-9);
        assert_eq!(evidence.disturbed(&[one]), None);
        // Of two rounds, one is half.
        evidence
            .steps
            .insert(one, vec![taken(1, 0.5), taken(1, 0.0)]);
        assert!(evidence.disturbed(&[one]).is_some());
    }
}
