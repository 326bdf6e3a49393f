//! The judgement: what was promised (P1 to P8) against what was found. Knows nothing of servers, so that it can be
//! tried with made-up findings.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::arrivals::Arrival;
use super::phones::{Change, Life};

/// A request that left in time may arrive so late on a busy machine, beyond what wires and frozen programs explain.
const LATE_MS: u64 = 5_000;
/// A worker may have looked at the devices before another one was told that a token is dead, and an outage of the
/// database may keep that from being recorded for some time: known for long is what is older than this.
const DEAD_FOR_LONG_MS: u64 = 60_000;
/// So many findings of a kind are told.
const EXAMPLES_MAX: usize = 5;

/// A row's status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Pending,
    Sent,
    Failed,
    Suppressed,
}

/// A row of the history.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) customer: i64,
    pub(crate) status: Status,
    pub(crate) reason: String,
    pub(crate) created_ms: u64,
    pub(crate) expires_ms: Option<u64>,
    pub(crate) completed_ms: Option<u64>,
    /// Its timeline tells that a worker was interrupted while it had it in hand: maybe sent already.
    pub(crate) interrupted: bool,
    /// Its timeline tells that a newer one has taken its place.
    pub(crate) overtaken: bool,
}

/// A row of the deliveries.
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    pub(crate) notification: u128,
    pub(crate) phone: usize,
    pub(crate) accepted: bool,
    /// It will be, or would have been, tried again: the last word is not the provider's.
    pub(crate) outcome: String,
    pub(crate) maybe: bool,
}

/// Everything that was found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Evidence {
    /// Notification and customer of each 2xx.
    pub(crate) accepted: Vec<(u128, i64)>,
    /// Of these: the statuses of one booking, in their order.
    pub(crate) bookings: Vec<Vec<u128>>,
    pub(crate) rows: HashMap<u128, Row>,
    pub(crate) deliveries: Vec<Delivery>,
    pub(crate) arrivals: Vec<Arrival>,
    pub(crate) lives: Vec<Life>,
    /// From when to when requests were held up on their way.
    pub(crate) slow: Vec<(u64, u64)>,
    /// Books that did not balance (P8).
    pub(crate) books: Vec<String>,
    /// Log lines and metrics that tell what they must not (P7).
    pub(crate) leaks: Vec<String>,
    pub(crate) panics: Vec<String>,
    /// Messages left on queues.
    pub(crate) leftovers: Vec<String>,
    /// Exit codes, ends, and programs that never came back.
    pub(crate) misdeeds: Vec<String>,
    /// What keeps the run from proving anything.
    pub(crate) doubts: Vec<String>,
}

/// What is found of a kind: how often, and some of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Finding {
    pub(crate) count: usize,
    pub(crate) examples: Vec<String>,
}

impl Finding {
    fn add(&mut self, example: String) {
        self.count += 1;
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(example);
        }
    }

    fn of(all: &[String]) -> Self {
        let mut finding = Self::default();
        all.iter().for_each(|one| finding.add(one.clone()));
        finding
    }
}

/// The figures, and what is wrong.
#[derive(Clone, Debug, Default)]
pub(crate) struct Judgement {
    /// Name and number, in the order of the table.
    pub(crate) figures: Vec<(&'static str, usize)>,
    /// What must not be: name and what was found.
    pub(crate) never: Vec<(&'static str, Finding)>,
    /// Notifications that rang twice without a record, for whoever looks for the reason.
    pub(crate) suspects: Vec<u128>,
}

impl Judgement {
    /// Why the run is judged bad; empty when it is good.
    pub(crate) fn reasons(&self) -> Vec<String> {
        let bad = self.never.iter().filter(|(_, finding)| finding.count > 0);
        bad.map(|(name, finding)| {
            let examples = finding.examples.join("\n      ");
            format!("{name}: {}\n      {examples}", finding.count)
        })
        .collect()
    }
}

/// Judges.
pub(crate) fn judge(evidence: &Evidence) -> Judgement {
    let known = Known::of(evidence);
    let status = |status| {
        let rows = evidence.rows.values();
        rows.filter(|row| row.status == status).count()
    };
    let overtaken = evidence.rows.values().filter(|row| row.overtaken).count();
    let maybe = evidence.deliveries.iter().filter(|row| row.maybe).count();
    let twice = known.shown.iter().filter(|(_, times)| **times > 1);
    let (allowed, others): (Vec<_>, Vec<_>) =
        twice.partition(|(key, _)| known.maybe.contains(*key));
    let (gone, forbidden): (Vec<_>, Vec<_>) = others
        .into_iter()
        .partition(|(key, _)| has_left(evidence, &known, **key));
    let mut doubled = Finding::default();
    for ((notification, phone), times) in &forbidden {
        doubled.add(format!(
            "{} rang {times} times on phone {phone}",
            name(*notification)
        ));
    }
    let suspects = forbidden.iter().take(EXAMPLES_MAX);
    let suspects = suspects
        .map(|((notification, _), _)| *notification)
        .collect();
    let unrecorded = known
        .shown
        .keys()
        .filter(|key| !known.delivered.contains_key(*key))
        .count();
    Judgement {
        figures: vec![
            ("accepted (2xx told to a caller)", evidence.accepted.len()),
            ("in the history", evidence.rows.len()),
            ("sent", status(Status::Sent)),
            ("failed", status(Status::Failed)),
            ("suppressed", status(Status::Suppressed)),
            ("overtaken by a newer status", overtaken),
            ("pushes that reached a provider", evidence.arrivals.len()),
            (
                "displayed once",
                known.shown.values().filter(|times| **times == 1).count(),
            ),
            (
                "displayed twice",
                allowed.len() + gone.len() + forbidden.len(),
            ),
            ("  of these recorded as maybe delivered", allowed.len()),
            ("  interrupted, and the phone has left since", gone.len()),
            ("maybe delivered, in all", maybe),
            ("displayed, but the phone is not in the record", unrecorded),
        ],
        never: vec![
            ("lost", lost(evidence)),
            ("accepted twice under one key", accepted_twice(evidence)),
            ("displayed twice, not recorded as maybe", doubled),
            ("wrong person", wrong_person(evidence)),
            ("stale", stale(evidence)),
            (
                "an older status after a newer one",
                disordered(evidence, &known),
            ),
            ("dead token used long after", dead_token_used(evidence)),
            (
                "recorded as accepted, never displayed",
                unfounded(evidence, &known),
            ),
            (
                "recorded as not delivered, displayed",
                contradicted(evidence, &known),
            ),
            ("phone left out", left_out(evidence, &known)),
            ("unbalanced books", Finding::of(&evidence.books)),
            ("leaked secrets", Finding::of(&evidence.leaks)),
            ("panics", Finding::of(&evidence.panics)),
            ("left on queues", Finding::of(&evidence.leftovers)),
            ("exit codes and ends", Finding::of(&evidence.misdeeds)),
            ("doubts about the run itself", Finding::of(&evidence.doubts)),
        ],
        suspects,
    }
}

type Key = (u128, usize);

/// Looked up by notification and phone.
struct Known {
    shown: HashMap<Key, usize>,
    maybe: HashSet<Key>,
    delivered: HashMap<Key, bool>,
}

impl Known {
    fn of(evidence: &Evidence) -> Self {
        let mut known = Self {
            shown: HashMap::new(),
            maybe: HashSet::new(),
            delivered: HashMap::new(),
        };
        for arrival in evidence.arrivals.iter().filter(|arrival| arrival.shown) {
            let key = (arrival.notification, arrival.phone);
            *known.shown.entry(key).or_default() += 1;
        }
        for row in &evidence.deliveries {
            let key = (row.notification, row.phone);
            *known.delivered.entry(key).or_default() |= row.accepted;
            if row.maybe {
                known.maybe.insert(key);
            }
        }
        known
    }
}

fn name(notification: u128) -> uuid::Uuid {
    uuid::Uuid::from_u128(notification)
}

/// P2: a phone that changed hands before the round was recorded has no row to say *maybe delivered*. The notification
/// must say then that a worker was interrupted.
fn has_left(evidence: &Evidence, known: &Known, key: Key) -> bool {
    let (notification, phone) = key;
    let Some(row) = evidence.rows.get(&notification) else {
        return false;
    };
    let until = row.completed_ms.unwrap_or(u64::MAX);
    let owners = possible_owners(&evidence.lives[phone].changes, row.created_ms, until);
    let has_left = owners.iter().any(|owner| *owner != Some(row.customer));
    let died = evidence.lives[phone]
        .deaths
        .iter()
        .any(|(at, _)| *at <= until);
    row.interrupted && !known.delivered.contains_key(&key) && (has_left || died)
}

/// P1: what got a 2xx is there, and has ended.
fn lost(evidence: &Evidence) -> Finding {
    let mut lost = Finding::default();
    for (notification, customer) in &evidence.accepted {
        match evidence.rows.get(notification) {
            None => lost.add(format!("{} is not in the history", name(*notification))),
            Some(row) if row.customer != *customer => {
                lost.add(format!("{} has another customer", name(*notification)));
            }
            Some(_) => {}
        }
    }
    for (notification, row) in &evidence.rows {
        if row.status == Status::Pending {
            lost.add(format!("{} is pending for ever", name(*notification)));
        }
    }
    lost
}

/// Every send was repeated until it was answered, so each row belongs to an answer.
fn accepted_twice(evidence: &Evidence) -> Finding {
    let told: HashSet<u128> = evidence.accepted.iter().map(|(id, _)| *id).collect();
    let mut twice = Finding::default();
    for notification in evidence.rows.keys().filter(|id| !told.contains(id)) {
        twice.add(format!("{} was told to nobody", name(*notification)));
    }
    if told.len() != evidence.accepted.len() {
        twice.add("two sends were given the same notification".to_owned());
    }
    twice
}

/// P4: whose phone it surely was not when the notification was accepted.
fn wrong_person(evidence: &Evidence) -> Finding {
    let mut wrong = Finding::default();
    for arrival in evidence.arrivals.iter().filter(|arrival| arrival.shown) {
        let Some(row) = evidence.rows.get(&arrival.notification) else {
            continue;
        };
        let changes = &evidence.lives[arrival.phone].changes;
        let owners = possible_owners(changes, row.created_ms, arrival.at_ms);
        if !owners.contains(&Some(row.customer)) {
            wrong.add(format!(
                "{} of customer {}, accepted at {}, shown at {} on phone {}, which was {owners:?}'s",
                name(arrival.notification),
                row.customer,
                row.created_ms,
                arrival.at_ms,
                arrival.phone
            ));
        }
    }
    wrong
}

/// All that a phone may have been from `since` to `until`. A change counts from its first request on, because it may
/// have been carried out at any moment after that.
fn possible_owners(changes: &[Change], since: u64, until: u64) -> Vec<Option<i64>> {
    let settled = changes
        .iter()
        .rposition(|change| change.acked_ms.is_some_and(|acked| acked <= since));
    let begun = changes.iter().skip(settled.unwrap_or(0));
    let begun = begun.filter(|change| change.started_ms <= until);
    let mut owners: Vec<_> = begun.map(|change| change.to).collect();
    if settled.is_none() {
        owners.push(None);
    }
    owners
}

/// P3: sent after its time was over.
fn stale(evidence: &Evidence) -> Finding {
    let mut stale = Finding::default();
    for arrival in &evidence.arrivals {
        let row = evidence.rows.get(&arrival.notification);
        let Some(expires) = row.and_then(|row| row.expires_ms) else {
            continue;
        };
        let late = unexplained(&evidence.slow, expires, arrival.at_ms);
        if late > LATE_MS {
            stale.add(format!(
                "{} reached its provider {} ms after its end, of which {late} ms are not explained",
                name(arrival.notification),
                arrival.at_ms - expires
            ));
        }
    }
    stale
}

/// P3: an older status of a booking reached its provider after a newer one. What is recorded as maybe delivered was sent in
/// time, and held up on its way.
fn disordered(evidence: &Evidence, known: &Known) -> Finding {
    let mut place: HashMap<u128, (usize, usize)> = HashMap::new();
    for (booking, statuses) in evidence.bookings.iter().enumerate() {
        let places = statuses.iter().enumerate();
        place.extend(places.map(|(status, id)| (*id, (booking, status))));
    }
    let mut arrivals: Vec<&Arrival> = evidence.arrivals.iter().collect();
    arrivals.sort_by_key(|arrival| arrival.at_ms);
    let mut newest: HashMap<(usize, usize), usize> = HashMap::new();
    let mut disordered = Finding::default();
    for arrival in arrivals {
        let Some((booking, status)) = place.get(&arrival.notification) else {
            continue;
        };
        let newest = newest.entry((*booking, arrival.phone)).or_insert(*status);
        let interrupted = || {
            let row = evidence.rows.get(&arrival.notification);
            row.is_some_and(|row| row.interrupted)
        };
        let maybe = || known.maybe.contains(&(arrival.notification, arrival.phone));
        if status < newest && !maybe() && !interrupted() {
            disordered.add(format!(
                "{}, status {status} of its booking, reached phone {} at {} after status {newest}",
                name(arrival.notification),
                arrival.phone,
                arrival.at_ms
            ));
        }
        *newest = (*newest).max(*status);
    }
    disordered
}

/// Milliseconds from `from` to `to` in which nothing was held up.
fn unexplained(slow: &[(u64, u64)], from: u64, to: u64) -> u64 {
    if from >= to {
        return 0;
    }
    let mut held: Vec<(u64, u64)> = slow
        .iter()
        .map(|(begin, end)| ((*begin).max(from), (*end).min(to)))
        .filter(|(begin, end)| begin < end)
        .collect();
    held.sort_unstable();
    let mut left = to - from;
    let mut reached = from;
    for (begin, end) in held {
        let begin = begin.max(reached);
        left -= end.saturating_sub(begin);
        reached = reached.max(end);
    }
    left
}

/// P5: a token that its provider reported as dead, used for what was accepted long after that.
fn dead_token_used(evidence: &Evidence) -> Finding {
    let mut reported: HashMap<&str, u64> = HashMap::new();
    for arrival in evidence.arrivals.iter().filter(|arrival| arrival.told_dead) {
        let died = evidence.lives[arrival.phone]
            .deaths
            .iter()
            .any(|(at, token)| *at <= arrival.at_ms && *token == arrival.token);
        if died {
            let first = reported.entry(&arrival.token).or_insert(arrival.at_ms);
            *first = (*first).min(arrival.at_ms);
        }
    }
    let mut used = Finding::default();
    for arrival in &evidence.arrivals {
        let Some(row) = evidence.rows.get(&arrival.notification) else {
            continue;
        };
        let since = reported.get(arrival.token.as_str());
        if since.is_some_and(|since| row.created_ms > since + DEAD_FOR_LONG_MS) {
            used.add(format!(
                "{} went to a dead token of phone {}",
                name(arrival.notification),
                arrival.phone
            ));
        }
    }
    used
}

/// P8 and P1: the record says that a provider took it, and no provider knows of it.
fn unfounded(evidence: &Evidence, known: &Known) -> Finding {
    let mut unfounded = Finding::default();
    for row in evidence.deliveries.iter().filter(|row| row.accepted) {
        if !known.shown.contains_key(&(row.notification, row.phone)) {
            unfounded.add(format!("{} on phone {}", name(row.notification), row.phone));
        }
    }
    let mut taken: HashSet<u128> = HashSet::new();
    taken.extend(known.shown.keys().map(|(notification, _)| notification));
    for (notification, row) in &evidence.rows {
        if row.status == Status::Sent && !taken.contains(notification) {
            unfounded.add(format!("{} is sent, on no phone", name(*notification)));
        }
    }
    unfounded
}

/// P2: the record says that it surely did not get through, and it did.
fn contradicted(evidence: &Evidence, known: &Known) -> Finding {
    let mut contradicted = Finding::default();
    for row in &evidence.deliveries {
        let key = (row.notification, row.phone);
        let is_recorded = known.delivered.get(&key) == Some(&true) || known.maybe.contains(&key);
        if !is_recorded && known.shown.contains_key(&key) {
            contradicted.add(format!(
                "{} on phone {}: {}",
                name(row.notification),
                row.phone,
                row.outcome
            ));
        }
    }
    contradicted
}

/// P1, device by device: a phone that was its customer's all the time was forgotten.
fn left_out(evidence: &Evidence, known: &Known) -> Finding {
    let mut phones_of: BTreeMap<i64, Vec<usize>> = BTreeMap::new();
    for (phone, life) in evidence.lives.iter().enumerate() {
        let owners: HashSet<_> = life.changes.iter().filter_map(|change| change.to).collect();
        for owner in owners {
            phones_of.entry(owner).or_default().push(phone);
        }
    }
    let mut left_out = Finding::default();
    for (notification, row) in &evidence.rows {
        let Some(completed) = row.completed_ms.filter(|_| is_for_all_devices(row)) else {
            continue;
        };
        for phone in phones_of.get(&row.customer).into_iter().flatten() {
            let life = &evidence.lives[*phone];
            let key = (*notification, *phone);
            let is_known = known.delivered.contains_key(&key) || known.shown.contains_key(&key);
            if !is_known && was_all_the_time(life, row.customer, row.created_ms, completed) {
                left_out.add(format!(
                    "{} ({:?} {}) not for phone {phone}",
                    name(*notification),
                    row.status,
                    row.reason
                ));
            }
        }
    }
    left_out
}

/// Whether each device of the customer must have been tried. What ended when its time was over, or a newer one took its
/// place, may have been too late for some of them.
fn is_for_all_devices(row: &Row) -> bool {
    if row.overtaken {
        return false;
    }
    if row
        .expires_ms
        .is_some_and(|expires| row.completed_ms >= Some(expires))
    {
        return false;
    }
    match row.status {
        Status::Sent => true,
        Status::Suppressed => row.reason == "no_active_device",
        // As a whole given up, or tried and given up: the dead letters tell.
        Status::Failed => row.reason == "invalid_tokens",
        Status::Pending => false,
    }
}

fn was_all_the_time(life: &Life, customer: i64, since: u64, until: u64) -> bool {
    let is_alive = life.deaths.iter().all(|(at, _)| *at > until)
        || life.deaths.iter().all(|(died, _)| {
            // It got new tokens after the last death, and was registered with them.
            life.changes.iter().any(|change| {
                change.started_ms > *died && change.acked_ms.is_some_and(|acked| acked <= since)
            })
        });
    is_alive && possible_owners(&life.changes, since, until) == [Some(customer)]
}

#[cfg(test)]
mod tests {
    use super::*;

    const N: u128 = 1;

    /// Customer 7 has phone 0 since 10; a notification was accepted at 1,000, sent and shown.
    fn good() -> Evidence {
        let row = Row {
            customer: 7,
            status: Status::Sent,
            reason: String::new(),
            created_ms: 1_000,
            expires_ms: Some(90_000),
            completed_ms: Some(2_000),
            interrupted: false,
            overtaken: false,
        };
        Evidence {
            accepted: vec![(N, 7)],
            rows: HashMap::from([(N, row)]),
            deliveries: vec![delivery(true, false)],
            arrivals: vec![arrival(1_500)],
            lives: vec![Life {
                changes: vec![change(Some(7), 10)],
                deaths: Vec::new(),
            }],
            ..Evidence::default()
        }
    }

    fn change(to: Option<i64>, acked: u64) -> Change {
        Change {
            to,
            started_ms: acked - 5,
            acked_ms: Some(acked),
        }
    }

    fn delivery(accepted: bool, maybe: bool) -> Delivery {
        Delivery {
            notification: N,
            phone: 0,
            accepted,
            outcome: "x".to_owned(),
            maybe,
        }
    }

    fn arrival(at_ms: u64) -> Arrival {
        Arrival {
            at_ms,
            notification: N,
            phone: 0,
            token: "t".to_owned(),
            shown: true,
            told_dead: false,
        }
    }

    fn row(evidence: &mut Evidence) -> &mut Row {
        evidence.rows.get_mut(&N).unwrap()
    }

    /// The names of what is found to be wrong.
    fn found(evidence: &Evidence) -> Vec<&'static str> {
        let never = judge(evidence).never.into_iter();
        never
            .filter(|(_, finding)| finding.count > 0)
            .map(|(name, _)| name)
            .collect()
    }

    fn figure(evidence: &Evidence, name: &str) -> usize {
        let figures = judge(evidence).figures;
        figures.iter().find(|(other, _)| *other == name).unwrap().1
    }

    #[test]
    fn what_is_as_promised_is_good() {
        assert_eq!(found(&good()), Vec::<&str>::new());
        assert!(judge(&good()).reasons().is_empty());
        assert_eq!(figure(&good(), "displayed once"), 1);
    }

    #[test]
    fn what_is_gone_or_never_ends_is_lost() {
        let mut gone = good();
        gone.accepted.push((2, 7));
        assert_eq!(found(&gone), ["lost"]);
        let mut pending = good();
        row(&mut pending).status = Status::Pending;
        assert_eq!(found(&pending), ["lost"]);
        assert!(judge(&pending).reasons()[0].contains("pending for ever"));
    }

    #[test]
    fn one_send_is_one_notification() {
        let mut extra = good();
        let row = extra.rows[&N].clone();
        extra.rows.insert(
            2,
            Row {
                status: Status::Suppressed,
                ..row
            },
        );
        assert_eq!(found(&extra), ["accepted twice under one key"]);
        let mut shared = good();
        shared.accepted.push((N, 7));
        assert_eq!(found(&shared), ["accepted twice under one key"]);
    }

    #[test]
    fn twice_is_allowed_where_it_was_recorded_as_maybe() {
        let mut twice = good();
        twice.arrivals.push(arrival(1_700));
        assert_eq!(found(&twice), ["displayed twice, not recorded as maybe"]);
        twice.deliveries = vec![delivery(true, true)];
        assert_eq!(found(&twice), Vec::<&str>::new());
        assert_eq!(figure(&twice, "displayed twice"), 1);
        assert_eq!(figure(&twice, "maybe delivered, in all"), 1);
    }

    #[test]
    fn twice_on_a_phone_that_left_must_be_told_as_an_interruption() {
        let mut left = good();
        left.arrivals.push(arrival(1_700));
        left.deliveries.clear();
        left.lives[0].changes.push(change(Some(8), 1_900));
        let name = "displayed twice, not recorded as maybe";
        assert_eq!(found(&left), [name]);
        row(&mut left).interrupted = true;
        assert_eq!(found(&left), Vec::<&str>::new());
        left.deliveries = vec![delivery(true, false)];
        assert_eq!(found(&left), [name]);
        left.deliveries.clear();
        left.lives[0].changes.pop();
        assert_eq!(found(&left), [name]);
    }

    #[test]
    fn a_phone_that_had_moved_before_it_was_accepted_shows_it_to_the_wrong_person() {
        let mut moved = good();
        moved.lives[0].changes.push(change(Some(8), 900));
        assert_eq!(found(&moved), ["wrong person"]);
        // Signed out counts as well.
        moved.lives[0].changes[1].to = None;
        assert_eq!(found(&moved), ["wrong person"]);
    }

    #[test]
    fn a_phone_that_moves_meanwhile_may_show_it() {
        let mut moves = good();
        moves.lives[0].changes.push(change(Some(8), 1_200));
        assert_eq!(found(&moves), Vec::<&str>::new());
        // Asked for before, answered never: nobody knows.
        moves.lives[0].changes[1] = Change {
            to: Some(8),
            started_ms: 500,
            acked_ms: None,
        };
        assert_eq!(found(&moves), Vec::<&str>::new());
    }

    #[test]
    fn late_is_stale_unless_something_held_it_up() {
        let mut late = good();
        row(&mut late).expires_ms = Some(1_100);
        late.arrivals[0].at_ms = 1_100 + LATE_MS;
        assert_eq!(found(&late), Vec::<&str>::new());
        late.arrivals[0].at_ms += 10_000;
        assert_eq!(found(&late), ["stale"]);
        late.slow = vec![(0, 8_000), (7_000, 12_000)];
        assert_eq!(found(&late), Vec::<&str>::new());
        // Even what was not shown was sent.
        late.slow.clear();
        late.arrivals.push(Arrival {
            shown: false,
            ..late.arrivals[0].clone()
        });
        late.arrivals[0].at_ms = 1_000;
        assert_eq!(found(&late), ["stale"]);
    }

    #[test]
    fn an_older_status_comes_before_a_newer_one_or_never() {
        let name = "an older status after a newer one";
        let mut two = good();
        two.rows.insert(2, two.rows[&N].clone());
        two.accepted.push((2, 7));
        two.deliveries.push(Delivery {
            notification: 2,
            ..delivery(true, false)
        });
        two.arrivals.push(Arrival {
            notification: 2,
            ..arrival(1_700)
        });
        two.bookings = vec![vec![N, 2]];
        assert_eq!(found(&two), Vec::<&str>::new());
        two.bookings = vec![vec![2, N]];
        assert_eq!(found(&two), [name]);
        // Sent in time, and held up on its way.
        two.deliveries[1].maybe = true;
        assert_eq!(found(&two), Vec::<&str>::new());
        two.deliveries[1].maybe = false;
        two.rows.get_mut(&2).unwrap().interrupted = true;
        assert_eq!(found(&two), Vec::<&str>::new());
        two.rows.get_mut(&2).unwrap().interrupted = false;
        two.bookings = vec![vec![2], vec![N]];
        assert_eq!(found(&two), Vec::<&str>::new(), "two bookings");
    }

    #[test]
    fn a_token_that_is_known_to_be_dead_is_not_used_long_after() {
        let mut dead = good();
        dead.lives[0].deaths.push((400, "t".to_owned()));
        dead.deliveries.clear();
        row(&mut dead).status = Status::Failed;
        dead.arrivals = vec![Arrival {
            shown: false,
            told_dead: true,
            ..arrival(500)
        }];
        row(&mut dead).created_ms = 400;
        assert_eq!(found(&dead), Vec::<&str>::new());
        let mut again = dead.clone();
        again.rows.insert(
            2,
            Row {
                created_ms: 501 + DEAD_FOR_LONG_MS,
                expires_ms: None,
                ..dead.rows[&N].clone()
            },
        );
        again.accepted.push((2, 7));
        again.arrivals.push(Arrival {
            notification: 2,
            at_ms: 70_000,
            ..dead.arrivals[0].clone()
        });
        assert_eq!(found(&again), ["dead token used long after"]);
        // Refused for another reason, as long as it was alive.
        again.lives[0].deaths[0].0 = 69_000;
        assert_eq!(found(&again), Vec::<&str>::new());
    }

    #[test]
    fn the_record_must_agree_with_the_phones() {
        let mut silent = good();
        silent.arrivals.clear();
        assert_eq!(found(&silent), ["recorded as accepted, never displayed"]);
        let mut denied = good();
        denied.deliveries = vec![delivery(false, false)];
        assert_eq!(found(&denied), ["recorded as not delivered, displayed"]);
        denied.deliveries = vec![delivery(false, true)];
        assert_eq!(found(&denied), Vec::<&str>::new());
    }

    #[test]
    fn a_phone_that_was_there_all_the_time_is_not_left_out() {
        let mut two = good();
        let second = Life {
            changes: vec![change(Some(7), 20)],
            deaths: Vec::new(),
        };
        two.lives.push(second);
        assert_eq!(found(&two), ["phone left out"]);
        two.lives[1].changes.push(change(None, 1_800));
        assert_eq!(found(&two), Vec::<&str>::new());
        two.lives[1].changes.pop();
        two.lives[1].deaths.push((1_800, "u".to_owned()));
        assert_eq!(found(&two), Vec::<&str>::new());
        row(&mut two).overtaken = true;
        two.lives[1].deaths.clear();
        assert_eq!(found(&two), Vec::<&str>::new(), "before it was its turn");
        row(&mut two).overtaken = false;
        two.lives[1].deaths.push((1_800, "u".to_owned()));
        // Dead before, and alive again with new tokens.
        two.lives[1].deaths[0].0 = 500;
        two.lives[1].changes.push(change(Some(7), 600));
        assert_eq!(found(&two), ["phone left out"]);
    }

    #[test]
    fn everything_else_that_must_not_be_is_told() {
        let mut bad = good();
        for list in [
            &mut bad.books,
            &mut bad.leaks,
            &mut bad.panics,
            &mut bad.leftovers,
            &mut bad.misdeeds,
            &mut bad.doubts,
        ] {
            list.push("something".to_owned());
        }
        assert_eq!(found(&bad).len(), 6);
        assert!(judge(&bad).reasons()[0].contains("unbalanced books: 1"));
    }

    #[test]
    fn overlapping_delays_explain_a_moment_once() {
        assert_eq!(unexplained(&[], 10, 30), 20);
        assert_eq!(unexplained(&[(0, 15), (12, 20), (12, 14)], 10, 30), 10);
        assert_eq!(unexplained(&[(0, 100)], 10, 30), 0);
        assert_eq!(unexplained(&[], 30, 10), 0);
    }
}
