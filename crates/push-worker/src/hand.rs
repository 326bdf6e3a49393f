//! What this worker has in hand: which rounds, under which claims, and until when it may still send them (P2).
//!
//! When the connection to the broker is lost, the broker delivers again what was not acknowledged, while the
//! first copy is still being sent here. The second copy is recognised by this and dropped: the first will be
//! recorded, and should this worker die before that, the reconciler finds it. Counted by round: the next
//! round is no copy, and may be here before the last one is forgotten.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use push_core::changed::{Changed, CustomerVersion};
use push_core::id::{CustomerId, NotificationId};
use push_core::outcome::Withheld;
use push_core::token::Token;
use push_providers::StillWanted;
use push_store::{ClaimId, Held, Store};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

use crate::dead_tokens::DeadTokens;

type Round = (NotificationId, u32);

/// The rounds in hand. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Hand(Arc<Mutex<Rounds>>);

#[derive(Debug, Default)]
struct Rounds {
    held: HashMap<Round, Entry>,
    /// Dropped without a record: their claims are to be let go.
    dropped: Vec<Held>,
}

#[derive(Debug)]
struct Entry {
    customer: CustomerId,
    claim: ClaimId,
    taken: Instant,
    /// `None`: not claimed yet.
    claimed: Option<Claimed>,
    /// The last change of its customer that was heard of since it was taken.
    changed: CustomerVersion,
    /// Some request for it has been started.
    sent: bool,
}

/// A round is in hand for as long as this lives.
#[derive(Debug)]
pub struct InHand {
    hand: Hand,
    round: Round,
    claim: ClaimId,
    /// One of `PREFETCH`: the broker's own limit holds for one connection, this one over reconnects.
    _room: OwnedSemaphorePermit,
}

/// By our own steady clock, from before the database was asked.
#[derive(Clone, Copy, Debug)]
struct Claimed {
    /// When its devices were read.
    at: Instant,
    /// At which version of the customer.
    version: CustomerVersion,
    /// The claim is ours until then.
    until: Instant,
}

impl Hand {
    /// Takes a round in hand, unless it is already.
    pub fn take(
        &self,
        round: Round,
        customer: CustomerId,
        claim: ClaimId,
        room: OwnedSemaphorePermit,
    ) -> Option<InHand> {
        let mut rounds = self.rounds();
        if rounds.held.contains_key(&round) {
            return None;
        }
        let entry = Entry {
            customer,
            claim,
            taken: Instant::now(),
            claimed: None,
            changed: CustomerVersion::default(),
            sent: false,
        };
        rounds.held.insert(round, entry);
        Some(InHand {
            hand: self.clone(),
            round,
            claim,
            _room: room,
        })
    }

    /// Customers changed: pushes of rounds that read them before do not go out any more.
    pub fn changed(&self, changes: &[Changed]) {
        let versions: HashMap<_, _> = changes
            .iter()
            .map(|changed| (changed.customer, changed.version))
            .collect();
        for entry in self.rounds().held.values_mut() {
            if let Some(version) = versions.get(&entry.customer) {
                entry.changed = entry.changed.max(*version);
            }
        }
    }

    /// A change by this worker itself, of which its rounds are told in another way: those that were up to date before
    /// it still are.
    pub fn knows(&self, changed: &Changed) {
        let mut rounds = self.rounds();
        let entries = rounds.held.values_mut();
        for entry in entries.filter(|entry| entry.customer == changed.customer) {
            if let Some(claimed) = &mut entry.claimed
                && changed.version.follows(claimed.version)
            {
                claimed.version = changed.version;
            }
        }
    }

    /// Asks the database for changes that nobody told of.
    pub async fn compare(&self, store: &Store, claim_for: Duration) {
        let customers: Vec<_> = {
            let rounds = self.rounds();
            rounds.held.values().map(|entry| entry.customer).collect()
        };
        if customers.is_empty() {
            return;
        }
        let asked = tokio::time::timeout(pace(claim_for), store.versions(&customers));
        match asked.await {
            Ok(Ok(versions)) => self.changed(&versions),
            Ok(Err(_)) | Err(_) => tracing::debug!("what is in hand could not be compared"),
        }
    }

    /// Renews the claims and compares what they hold with the database, lets those go that were dropped, and forgets
    /// `dead` tokens that no round in hand can know as alive any more; until `stop`.
    pub async fn keep(
        &self,
        store: &Store,
        dead: &DeadTokens,
        claim_for: Duration,
        stop: &CancellationToken,
    ) {
        let every = pace(claim_for);
        let keep = async {
            loop {
                tokio::time::sleep(every).await;
                self.let_go_of_dropped(store).await;
                self.renew(store, claim_for, every).await;
                self.compare(store, claim_for).await;
                dead.forget_before(self.oldest());
            }
        };
        stop.run_until_cancelled(keep).await;
    }

    /// No round in hand has read its devices before that.
    fn oldest(&self) -> Instant {
        let rounds = self.rounds();
        let taken = rounds.held.values().map(|entry| entry.taken);
        taken.min().unwrap_or_else(Instant::now)
    }

    async fn renew(&self, store: &Store, claim_for: Duration, every: Duration) {
        let now = Instant::now();
        let held = self.held_before(now + claim_for - every);
        if held.is_empty() {
            return;
        }
        let renewed = tokio::time::timeout(every, store.renew_claims(&held, claim_for)).await;
        if matches!(renewed, Ok(Ok(()))) {
            self.renewed(&held, Instant::now(), now + claim_for);
        } else {
            // Nothing is sent any more when the claims come near their end; that is told where it happens.
            tracing::debug!(rounds = held.len(), "claims could not be renewed");
        }
    }

    /// Tells the database which rounds ended without a record. What it does not hear ends by itself.
    pub async fn let_go_of_dropped(&self, store: &Store) {
        const ANSWER_MAX: Duration = Duration::from_secs(2);
        let dropped = std::mem::take(&mut self.rounds().dropped);
        if dropped.is_empty() {
            return;
        }
        let told = tokio::time::timeout(ANSWER_MAX, store.let_go(&dropped)).await;
        if !matches!(told, Ok(Ok(()))) {
            tracing::debug!(rounds = dropped.len(), "claims could not be let go");
        }
    }

    /// Claims that are older than the youngest ones.
    fn held_before(&self, until: Instant) -> Vec<Held> {
        let rounds = self.rounds();
        let old = rounds
            .held
            .iter()
            .filter(|(_, entry)| entry.claimed.is_some_and(|claimed| claimed.until < until));
        old.map(|(round, entry)| entry.held(*round)).collect()
    }

    /// Those that were still ours when the answer was there. What was over before that may have been taken by somebody
    /// else, before the database came to renew it.
    fn renewed(&self, held: &[Held], answered: Instant, until: Instant) {
        let held: HashSet<_> = held
            .iter()
            .map(|held| (held.notification, held.claim))
            .collect();
        for ((notification, _), entry) in &mut self.rounds().held {
            if let Some(claimed) = &mut entry.claimed
                && claimed.until > answered
                && held.contains(&(*notification, entry.claim))
            {
                claimed.until = until;
            }
        }
    }

    fn rounds(&self) -> MutexGuard<'_, Rounds> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How often claims are renewed: several tries may fail before a claim is too short for another request.
fn pace(claim_for: Duration) -> Duration {
    claim_for / 8
}

impl Entry {
    fn held(&self, (notification, _): Round) -> Held {
        Held {
            notification,
            claim: self.claim,
            sent: self.sent,
        }
    }
}

impl InHand {
    /// Under which claim.
    pub const fn claim(&self) -> ClaimId {
        self.claim
    }

    /// At which version of the customer it is worked on.
    pub fn version(&self) -> CustomerVersion {
        let rounds = self.hand.rounds();
        let claimed = rounds.held.get(&self.round).and_then(|entry| entry.claimed);
        claimed.map_or_else(CustomerVersion::default, |claimed| claimed.version)
    }

    /// It is claimed, and its devices were read at this version of the customer, since `at`; the claim is ours for so
    /// long.
    pub fn claimed(&self, at: Instant, version: CustomerVersion, claim_for: Duration) {
        if let Some(entry) = self.hand.rounds().held.get_mut(&self.round) {
            let until = at + claim_for;
            entry.claimed = Some(Claimed { at, version, until });
        }
    }

    /// It is recorded, so the claim has ended.
    pub fn recorded(self) {
        self.hand.rounds().held.remove(&self.round);
    }

    /// What a push of this round asks before it goes out.
    pub fn leave(&self, token: Token, dead: DeadTokens, answer_max: Duration) -> Leave {
        Leave {
            hand: self.hand.clone(),
            round: self.round,
            token,
            dead,
            answer_max,
        }
    }
}

impl Drop for InHand {
    fn drop(&mut self) {
        let mut rounds = self.hand.rounds();
        let Some(entry) = rounds.held.remove(&self.round) else {
            return;
        };
        if entry.claimed.is_some() {
            rounds.dropped.push(entry.held(self.round));
        }
    }
}

/// Whether a push may go out now.
#[derive(Debug)]
pub struct Leave {
    hand: Hand,
    round: Round,
    token: Token,
    dead: DeadTokens,
    /// How long the provider may take: the claim must hold until then.
    answer_max: Duration,
}

impl StillWanted for Leave {
    fn withheld(&self) -> Option<Withheld> {
        let mut rounds = self.hand.rounds();
        let held = rounds.held.get_mut(&self.round);
        let Some((entry, claimed)) = held.and_then(|entry| {
            let claimed = entry.claimed?;
            Some((entry, claimed))
        }) else {
            return Some(Withheld::ClaimOver);
        };
        if claimed.until < Instant::now() + self.answer_max {
            return Some(Withheld::ClaimOver);
        }
        if self.dead.contains(&self.token, claimed.at) {
            return Some(Withheld::TokenDead);
        }
        if claimed.version < entry.changed {
            return Some(Withheld::CustomerChanged);
        }
        entry.sent = true;
        None
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use push_core::token::FcmToken;
    use tokio::sync::Semaphore;

    use super::*;

    const ANSWER_MAX: Duration = Duration::from_secs(15);
    const READ: CustomerVersion = CustomerVersion(3);

    fn customer() -> CustomerId {
        CustomerId::try_from(1).unwrap()
    }

    /// The customer is at this version.
    fn at_version(version: u64) -> Changed {
        Changed {
            customer: customer(),
            version: CustomerVersion(version),
        }
    }

    fn take(hand: &Hand, id: NotificationId, round: u32) -> Option<InHand> {
        let room = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        hand.take((id, round), customer(), ClaimId::generate(), room)
    }

    fn token() -> Token {
        Token::Fcm(FcmToken::parse("a-token-that-is-long-enough").unwrap())
    }

    #[test]
    fn a_second_copy_is_not_taken_until_the_first_is_done() {
        let (hand, id) = (Hand::default(), NotificationId::generate());
        let first = take(&hand, id, 1).unwrap();
        assert!(take(&hand, id, 1).is_none());
        assert!(take(&hand, id, 2).is_some(), "the next round is no copy");
        first.recorded();
        assert!(take(&hand, id, 1).is_some());
    }

    #[test]
    fn nothing_goes_out_unless_the_claim_holds_until_the_answer() {
        let (hand, id) = (Hand::default(), NotificationId::generate());
        let mine = take(&hand, id, 1).unwrap();
        let leave = mine.leave(token(), DeadTokens::default(), ANSWER_MAX);
        assert_eq!(leave.withheld(), Some(Withheld::ClaimOver), "not claimed");
        mine.claimed(Instant::now(), READ, ANSWER_MAX * 2);
        assert_eq!(leave.withheld(), None);
        mine.claimed(Instant::now(), READ, ANSWER_MAX / 2);
        assert_eq!(leave.withheld(), Some(Withheld::ClaimOver), "too short");
        let old = hand.held_before(Instant::now() + ANSWER_MAX);
        assert_eq!(old.len(), 1);
        let renew = || hand.renewed(&old, Instant::now(), Instant::now() + ANSWER_MAX * 2);
        renew();
        assert_eq!(leave.withheld(), None, "renewed");
        mine.claimed(Instant::now(), READ, Duration::ZERO);
        renew();
        assert_eq!(leave.withheld(), Some(Withheld::ClaimOver), "too late");
        mine.recorded();
        assert_eq!(leave.withheld(), Some(Withheld::ClaimOver));
    }

    #[test]
    fn what_is_dropped_without_a_record_is_let_go_with_what_was_sent() {
        let hand = Hand::default();
        let ids = [1, 2, 3, 4].map(|_| NotificationId::generate());
        let [sent, waiting, recorded, stranger] = ids.map(|id| take(&hand, id, 1).unwrap());
        for mine in [&sent, &waiting, &recorded] {
            mine.claimed(Instant::now(), READ, ANSWER_MAX * 2);
        }
        let leave = sent.leave(token(), DeadTokens::default(), ANSWER_MAX);
        assert_eq!(leave.withheld(), None);
        recorded.recorded();
        drop((sent, waiting, stranger));
        let dropped = hand.rounds().dropped.clone();
        let told = dropped.iter().map(|held| (held.notification, held.sent));
        assert_eq!(told.collect::<Vec<_>>(), [(ids[0], true), (ids[1], false)]);
    }

    #[test]
    fn no_push_goes_to_a_token_that_was_found_dead_after_its_devices_were_read() {
        let (hand, dead) = (Hand::default(), DeadTokens::default());
        let leave_of = |round: u32| {
            let mine = take(&hand, NotificationId::generate(), round).unwrap();
            mine.claimed(Instant::now(), READ, ANSWER_MAX * 2);
            let leave = mine.leave(token(), dead.clone(), ANSWER_MAX);
            (mine, leave)
        };
        let (mine, before) = leave_of(1);
        dead.report(&token(), chrono::Utc::now());
        assert_eq!(before.withheld(), Some(Withheld::TokenDead));
        dead.forget_before(hand.oldest());
        dead.switched_off(&dead.reported(), Instant::now());
        dead.forget_before(hand.oldest());
        assert_eq!(
            before.withheld(),
            Some(Withheld::TokenDead),
            "it still has the token"
        );
        // Whoever reads the devices now is told by them: the app may have registered it again.
        let (_mine, after) = leave_of(1);
        assert_eq!(after.withheld(), None);
        drop(mine);
        assert!(dead.contains(&token(), Instant::now() - ANSWER_MAX));
        dead.forget_before(hand.oldest());
        assert!(!dead.contains(&token(), Instant::now() - ANSWER_MAX));
    }
    #[test]
    fn no_push_goes_out_whose_customer_changed_after_the_devices_were_read() {
        let hand = Hand::default();
        let mine = take(&hand, NotificationId::generate(), 1).unwrap();
        let leave = mine.leave(token(), DeadTokens::default(), ANSWER_MAX);
        // Heard while the database is being asked.
        hand.changed(&[at_version(3)]);
        mine.claimed(Instant::now(), READ, ANSWER_MAX * 2);
        assert_eq!(leave.withheld(), None, "read after that change");
        let stranger = CustomerId::try_from(2).unwrap();
        let elsewhere = Changed {
            customer: stranger,
            ..at_version(9)
        };
        hand.changed(&[elsewhere, at_version(2)]);
        assert_eq!(leave.withheld(), None, "another customer's, and old news");
        hand.changed(&[at_version(4)]);
        assert_eq!(leave.withheld(), Some(Withheld::CustomerChanged));
        hand.changed(&[at_version(3)]);
        assert_eq!(leave.withheld(), Some(Withheld::CustomerChanged), "late");
        // The answer was on its way when the change was heard of.
        let next = take(&hand, NotificationId::generate(), 1).unwrap();
        let leave = next.leave(token(), DeadTokens::default(), ANSWER_MAX);
        hand.changed(&[at_version(4)]);
        next.claimed(Instant::now(), READ, ANSWER_MAX * 2);
        assert_eq!(leave.withheld(), Some(Withheld::CustomerChanged));
    }

    #[test]
    fn a_change_of_ones_own_holds_up_nobody_who_was_up_to_date() {
        let hand = Hand::default();
        let mine = take(&hand, NotificationId::generate(), 1).unwrap();
        let leave = mine.leave(token(), DeadTokens::default(), ANSWER_MAX);
        mine.claimed(Instant::now(), READ, ANSWER_MAX * 2);
        hand.knows(&at_version(4));
        hand.changed(&[at_version(4)]);
        assert_eq!(leave.withheld(), None);
        hand.knows(&at_version(6));
        hand.changed(&[at_version(6)]);
        assert_eq!(
            leave.withheld(),
            Some(Withheld::CustomerChanged),
            "somebody else's change was between"
        );
    }
}
