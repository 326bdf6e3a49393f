//! The life of a job: what can happen next, in every state.

use std::collections::{BTreeMap, BTreeSet};

use push_core::admit::Admission;
use push_core::job::Job;
use push_core::ladder::{Ladder, RetryDelay};
use push_core::outcome::Sent;
use push_core::plan::{Device, PlannedTarget, Reach};
use push_core::provider::{DeliveryPolicy, Provider};
use push_core::settle::{Next, Settlement, settle};
use push_core::status::Status;
use stateright::{Model, Property};

use crate::database::{Database, Written};
use crate::flaw::Flaw;
use crate::promises;
use crate::world::{Answer, Message, Target, alive, at, device, reports, turn};

/// Enough for one to take over from the other.
const WORKERS: usize = 2;
/// Copies that a queue may hold before no more are made.
const QUEUE_MAX: usize = 2;

/// What is checked: the devices, what may go wrong, and how often.
#[derive(Clone, Debug)]
pub struct Life {
    pub devices: Vec<Device>,
    /// What a provider may answer.
    pub answers: Vec<Answer>,
    /// Crashes, losses, copies, and all else that goes wrong, taken together.
    pub faults: u8,
    /// Replays of its dead letters by an admin.
    pub replays: u8,
    pub flaw: Option<Flaw>,
}

impl Life {
    /// One device that both providers reach.
    pub fn of_one_device() -> Self {
        Self {
            devices: vec![device(1, &[Provider::Fcm, Provider::Expo])],
            answers: vec![
                Answer::Accepted,
                Answer::SilentShown,
                Answer::SilentLost,
                Answer::NotNow,
                Answer::Dead,
            ],
            faults: 2,
            replays: 1,
            flaw: None,
        }
    }

    /// Two devices, each with a provider of its own: one may be settled while the other is not.
    pub fn of_two_devices() -> Self {
        Self {
            devices: vec![device(1, &[Provider::Fcm]), device(2, &[Provider::Expo])],
            answers: vec![Answer::Accepted, Answer::NotNow],
            faults: 2,
            replays: 1,
            flaw: None,
        }
    }

    /// The same with a mistake in it.
    pub fn with(self, flaw: Flaw) -> Self {
        Self {
            flaw: Some(flaw),
            ..self
        }
    }

    fn has(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    /// Two tries, then it is given up: more rungs would repeat the same.
    fn ladder() -> Ladder {
        Ladder::configured(vec![RetryDelay::parse("1s").unwrap()]).unwrap()
    }

    /// The targets of a round.
    pub fn plan(&self, round: &Round) -> Vec<PlannedTarget> {
        let reach = Reach {
            policy: DeliveryPolicy::Failover,
            providers: Provider::ALL.to_vec(),
        };
        let mut job = round.job();
        if self.has(Flaw::AsksAnotherAfterMaybe) {
            job.interrupted = false;
            for target in job.targets.iter_mut().flatten() {
                target.sent = Sent::SurelyNot;
            }
        }
        reach.plan(&job, &alive(&self.devices, &round.dead))
    }

    fn settlement(&self, round: &Round, answers: &[Vec<Answer>]) -> Settlement {
        let plan = self.plan(round);
        let job = round.job();
        let mut settlement = settle(&job, &reports(plan.clone(), answers), &Self::ladder(), at());
        if let (true, Next::Wait(_, next)) =
            (self.has(Flaw::RetriesAllTargets), &mut settlement.next)
        {
            let tried = |planned: PlannedTarget| push_core::job::JobTarget {
                tries: planned.target.tries + 1,
                ..planned.target
            };
            next.targets = Some(plan.into_iter().map(tried).collect());
        }
        settlement
    }
}

/// How far the API is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Api {
    /// The request has arrived.
    Asked,
    /// The notification is committed; the caller may have been told so.
    Accepted,
    /// The first job is published, or the API was killed before.
    Done,
}

/// What a worker is at.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Worker {
    Idle,
    Busy(Round),
}

/// A round in hand.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Round {
    pub message: Message,
    /// The broker gives the message to somebody else if this worker is gone.
    unacknowledged: bool,
    interrupted: bool,
    /// The tokens that were switched off when the devices were read.
    dead: BTreeSet<Target>,
    /// Only where the protocol is broken: the next job is out before the record.
    published: bool,
    phase: Phase,
}

impl Round {
    fn job(&self) -> Job {
        Job {
            interrupted: self.interrupted,
            ..Job::clone(self.message.job())
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Phase {
    /// The providers are asked, one target after the other.
    Sending {
        /// Of each target so far, in the order of its routes.
        answers: Vec<Vec<Answer>>,
        /// The claim was looked at, and the request goes out: whatever happens meanwhile.
        leaving: bool,
    },
    /// The round is recorded, and this is to be published.
    Recorded(Message),
    /// Nothing is left but to acknowledge.
    Followed,
}

/// Everything, at one moment. What a killed program knew is gone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    pub api: Api,
    pub database: Database,
    /// `push.jobs` and the rungs: what waits on a rung is there some time, like all else.
    pub jobs: Vec<Message>,
    /// `push.dead`.
    pub dead: Vec<Message>,
    pub workers: [Worker; WORKERS],
    /// The reconciler has read this, and is about to publish it.
    pub reconciler: Option<Message>,
    /// How often each device rang through each provider.
    pub rings: BTreeMap<Target, u8>,
    /// What a provider said for good about a token, and says again: until somebody mends it, if it can be mended.
    verdicts: BTreeMap<Target, Answer>,
    /// Somebody turned to Expo for a device that FCM had reached already.
    pub strayed: bool,
    /// The broker, or the API before it published, lost a job; or a worker dropped a copy of what it has in hand: from
    /// now on it is the reconciler's.
    pub left_to_the_reconciler: bool,
    /// How often it ended, less how often it was replayed.
    pub endings: u8,
    faults_left: u8,
    replays_left: u8,
}

impl State {
    /// Whether any program or queue still has it.
    pub fn is_known(&self) -> bool {
        let busy = self.workers.iter().any(|worker| match worker {
            Worker::Busy(_) => true,
            Worker::Idle => false,
        });
        let in_a_queue = !self.jobs.is_empty() || !self.dead.is_empty();
        busy || in_a_queue || self.reconciler.is_some() || self.api != Api::Done
    }

    pub fn status(&self) -> Option<Status> {
        self.database.row.as_ref().map(|row| row.status)
    }

    fn fault(&mut self) {
        self.faults_left -= 1;
    }

    fn end(&mut self, written: Written) {
        self.endings += u8::from(written == Written::Ended);
    }

    fn round(&mut self, worker: usize) -> Option<&mut Round> {
        match &mut self.workers[worker] {
            Worker::Busy(round) => Some(round),
            Worker::Idle => None,
        }
    }

    /// The worker has nothing in hand any more. What it did not acknowledge goes back.
    fn leave(&mut self, worker: usize, gives_back: bool) {
        if let Worker::Busy(round) = std::mem::replace(&mut self.workers[worker], Worker::Idle)
            && round.unacknowledged
            && gives_back
        {
            self.jobs.push(round.message);
        }
        self.database.forget(worker);
    }

    fn publish(&mut self, message: Message) {
        if message.job().is_given_up() {
            self.dead.push(message);
        } else {
            self.jobs.push(message);
        }
    }

    /// Queues have no order that anybody may rely on, and workers have no names.
    fn canonical(mut self) -> Self {
        self.jobs.sort();
        self.dead.sort();
        if self.workers[0] > self.workers[1] {
            self.workers.swap(0, 1);
            if let Some(row) = &mut self.database.row {
                row.claimed_by = row.claimed_by.map(|worker| 1 - worker);
            }
        }
        self
    }
}

/// One step. Numbers are places: of a worker, or in a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The API commits.
    Accept,
    /// The API publishes the first job.
    PublishFirst,
    /// The API is killed before that.
    KillApi,
    /// A worker takes a job, and claims its notification.
    Take(usize, usize),
    /// A worker takes a copy of what it has in hand, and drops it.
    DropCopy(usize, usize),
    /// A worker looks whether it may still send.
    AskLeave(usize),
    /// The request is with the provider, which does this.
    Send(usize, Answer),
    /// Only where the protocol is broken.
    PublishEarly(usize),
    /// The round is committed.
    Record(usize),
    /// The round is committed, and the answer is lost: the worker will try again.
    RecordUnheard(usize),
    /// What comes next is published.
    PublishNext(usize),
    /// The broker does not take it, or loses it.
    LoseNext(usize),
    /// The job is acknowledged.
    Acknowledge(usize),
    /// A worker is killed.
    Kill(usize),
    /// A worker must end before the round is over: it lets the claim go.
    Stop(usize),
    /// A worker's channel is lost while it goes on: the broker gives the job out again.
    Disconnect(usize),
    /// The claim is over.
    ClaimEnds,
    /// A job is lost.
    Lose(usize),
    /// A dead letter is lost.
    LoseLetter(usize),
    /// A job is published twice.
    Duplicate(usize),
    /// The broker loses its disk.
    Wipe,
    /// The broker delivered a job too often: it becomes a dead letter as it is.
    GiveUp(usize),
    /// The reconciler finds it.
    ReadDue,
    /// The reconciler publishes what it found.
    PublishDue,
    /// The recorder commits a dead letter.
    RecordLetter(usize),
    /// The recorder acknowledges it.
    AcknowledgeLetter(usize),
    /// An admin has the dead letters replayed.
    Replay,
}

impl Life {
    fn steps_of_worker(&self, state: &State, worker: usize, steps: &mut Vec<Step>) {
        let may_fail = state.faults_left > 0;
        let round = match &state.workers[worker] {
            Worker::Idle => {
                let places = 0..state.jobs.len();
                steps.extend(places.map(|place| Step::Take(worker, place)));
                return;
            }
            Worker::Busy(round) => round,
        };
        match &round.phase {
            Phase::Sending { answers, leaving } => {
                let copies = (0..state.jobs.len())
                    .filter(|place| state.jobs[*place].job().round == round.message.job().round);
                steps.extend(copies.map(|place| Step::DropCopy(worker, place)));
                match turn(&self.plan(round), answers) {
                    Some((_, target)) if *leaving => {
                        let said = state.verdicts.get(&target);
                        let possible = said.map_or(self.answers.as_slice(), std::slice::from_ref);
                        steps.extend(possible.iter().map(|answer| Step::Send(worker, *answer)));
                    }
                    Some(_) => steps.push(Step::AskLeave(worker)),
                    None if self.has(Flaw::PublishesBeforeRecord) && !round.published => {
                        steps.push(Step::PublishEarly(worker));
                    }
                    None => {
                        steps.push(Step::Record(worker));
                        if may_fail {
                            steps.push(Step::RecordUnheard(worker));
                        }
                    }
                }
                if may_fail {
                    steps.push(Step::Stop(worker));
                }
            }
            Phase::Recorded(_) => {
                steps.push(Step::PublishNext(worker));
                if may_fail {
                    steps.push(Step::LoseNext(worker));
                }
            }
            Phase::Followed => steps.push(Step::Acknowledge(worker)),
        }
        if may_fail {
            steps.push(Step::Kill(worker));
            if round.unacknowledged {
                steps.push(Step::Disconnect(worker));
            }
        }
    }

    fn steps_of_queues(&self, state: &State, steps: &mut Vec<Step>) {
        for place in 0..state.dead.len() {
            steps.push(if state.database.awaits(&state.dead[place], self.flaw) {
                Step::RecordLetter(place)
            } else {
                Step::AcknowledgeLetter(place)
            });
        }
        if state.faults_left == 0 {
            return;
        }
        for place in 0..state.jobs.len() {
            steps.extend([Step::Lose(place), Step::GiveUp(place)]);
            if state.jobs.len() < QUEUE_MAX {
                steps.push(Step::Duplicate(place));
            }
        }
        steps.extend((0..state.dead.len()).map(Step::LoseLetter));
        steps.push(Step::Wipe);
    }

    fn steps_of_database(&self, state: &State, steps: &mut Vec<Step>) {
        let may_fail = state.faults_left > 0;
        if let Some(row) = state.database.row.as_ref().filter(|row| row.claim_holds) {
            // Its owner renews it while it lives; unless it is frozen, or cut off from the database.
            if row.claimed_by.is_none() || may_fail {
                steps.push(Step::ClaimEnds);
            }
        }
        let due = self.has(Flaw::NeverReconciles) || state.database.due(self.flaw).is_none();
        // What some queue or worker still has is found only if it took too long.
        if !due && state.reconciler.is_none() && (!state.is_known() || may_fail) {
            steps.push(Step::ReadDue);
        }
        if state.reconciler.is_some() {
            steps.push(Step::PublishDue);
        }
        if state.replays_left > 0 && state.database.has_letters() {
            steps.push(Step::Replay);
        }
    }

    fn take(&self, state: &mut State, worker: usize, place: usize) -> Option<()> {
        let message = state.jobs.get(place)?.clone();
        let admission = state.database.claim(worker, &message, self.flaw);
        match admission {
            Admission::Deliver | Admission::DeliverInterrupted => {
                state.jobs.remove(place);
                state.workers[worker] = Worker::Busy(Round {
                    message,
                    unacknowledged: !self.has(Flaw::AcknowledgesBeforeRecord),
                    interrupted: admission == Admission::DeliverInterrupted,
                    dead: state.database.dead.clone(),
                    published: false,
                    phase: Phase::Sending {
                        answers: Vec::new(),
                        leaving: false,
                    },
                });
            }
            Admission::AlreadySettled | Admission::Stale => drop(state.jobs.remove(place)),
            Admission::Interrupts => {
                state.jobs.remove(place);
                state.dead.push(message);
            }
            // It waits on a rung, and comes back.
            Admission::Elsewhere | Admission::Behind | Admission::Unknown => return None,
        }
        Some(())
    }

    /// Writes down what a target heard.
    fn hear(&self, state: &mut State, worker: usize, heard: Answer) -> Option<Target> {
        let round = state.round(worker)?;
        let plan = self.plan(round);
        let Phase::Sending { answers, leaving } = &mut round.phase else {
            return None;
        };
        let (index, target) = turn(&plan, answers)?;
        answers.resize(answers.len().max(index + 1), Vec::new());
        answers[index].push(heard);
        *leaving = false;
        Some(target)
    }

    fn ask_leave(&self, state: &mut State, worker: usize) -> Option<()> {
        let row = state.database.row.as_ref()?;
        let sure =
            row.claimed_by == Some(worker) && row.claim_holds || self.has(Flaw::IgnoresClaims);
        if !sure {
            return self.hear(state, worker, Answer::Withheld).map(drop);
        }
        let round = state.round(worker)?;
        let plan = self.plan(round);
        let Phase::Sending { answers, leaving } = &mut round.phase else {
            return None;
        };
        *leaving = true;
        let (_, (device, provider)) = turn(&plan, answers)?;
        let reached = state.rings.contains_key(&(device, Provider::Fcm));
        state.strayed |= reached && provider == Provider::Expo;
        Some(())
    }

    fn send(&self, state: &mut State, worker: usize, answer: Answer) -> Option<()> {
        let target = self.hear(state, worker, answer)?;
        if answer.is_shown() {
            *state.rings.entry(target).or_default() += 1;
        }
        if answer.is_for_good() {
            state.verdicts.insert(target, answer);
        }
        Some(())
    }

    fn settled_round(&self, state: &mut State, worker: usize) -> Option<Settlement> {
        let round = state.round(worker)?;
        match &round.phase {
            Phase::Sending { answers, .. } => Some(self.settlement(round, answers)),
            Phase::Recorded(_) | Phase::Followed => None,
        }
    }

    fn record(&self, state: &mut State, worker: usize, is_heard: bool) -> Option<()> {
        let settlement = self.settled_round(state, worker)?;
        let written = state.database.record(worker, &settlement, self.flaw);
        state.end(written);
        if !is_heard {
            return (written != Written::Stale).then_some(());
        }
        let next = next_of(&settlement).filter(|_| written != Written::Stale);
        let round = state.round(worker)?;
        round.phase = match next.filter(|_| !round.published) {
            Some(next) => Phase::Recorded(next),
            None => Phase::Followed,
        };
        Some(())
    }

    fn publish_next(state: &mut State, worker: usize, is_taken: bool) -> Option<()> {
        let round = state.round(worker)?;
        let Phase::Recorded(next) = std::mem::replace(&mut round.phase, Phase::Followed) else {
            return None;
        };
        if is_taken {
            state.publish(next);
        } else {
            state.left_to_the_reconciler = true;
        }
        Some(())
    }

    fn stop(state: &mut State, worker: usize) -> Option<()> {
        let sent = match &state.round(worker)?.phase {
            Phase::Sending { answers, leaving } => {
                *leaving
                    || answers
                        .iter()
                        .flatten()
                        .any(|answer| *answer != Answer::Withheld)
            }
            Phase::Recorded(_) | Phase::Followed => return None,
        };
        state.database.let_go(worker, sent);
        state.leave(worker, true);
        Some(())
    }

    fn wipe(state: &mut State) {
        state.jobs.clear();
        state.dead.clear();
        for worker in &mut state.workers {
            match worker {
                Worker::Busy(round) => round.unacknowledged = false,
                Worker::Idle => {}
            }
        }
        state.left_to_the_reconciler = true;
    }

    fn go(&self, state: &mut State, step: Step) -> Option<()> {
        match step {
            Step::Accept => {
                state.database.accept();
                state.api = Api::Accepted;
            }
            Step::PublishFirst => {
                state.jobs.push(Message::first());
                state.api = Api::Done;
            }
            Step::KillApi => {
                state.fault();
                state.left_to_the_reconciler = true;
                state.api = Api::Done;
            }
            Step::Take(worker, place) => return self.take(state, worker, place),
            Step::DropCopy(_, place) => {
                state.jobs.remove(place);
                state.left_to_the_reconciler = true;
            }
            Step::AskLeave(worker) => return self.ask_leave(state, worker),
            Step::Send(worker, answer) => return self.send(state, worker, answer),
            Step::PublishEarly(worker) => {
                let next = next_of(&self.settled_round(state, worker)?);
                state.round(worker)?.published = true;
                if let Some(next) = next {
                    state.publish(next);
                }
            }
            Step::Record(worker) => return self.record(state, worker, true),
            Step::RecordUnheard(worker) => {
                state.fault();
                return self.record(state, worker, false);
            }
            Step::PublishNext(worker) => return Self::publish_next(state, worker, true),
            Step::LoseNext(worker) => {
                state.fault();
                return Self::publish_next(state, worker, false);
            }
            Step::Acknowledge(worker) => state.leave(worker, false),
            Step::Kill(worker) => {
                state.fault();
                state.leave(worker, true);
            }
            Step::Stop(worker) => {
                state.fault();
                return Self::stop(state, worker);
            }
            Step::Disconnect(worker) => {
                state.fault();
                let round = state.round(worker)?;
                round.unacknowledged = false;
                let copy = round.message.clone();
                state.jobs.push(copy);
            }
            Step::ClaimEnds => {
                let row = state.database.row.as_mut()?;
                row.claim_holds = false;
                if row.claimed_by.is_some() {
                    state.fault();
                }
            }
            Step::Lose(place) => {
                state.fault();
                state.jobs.remove(place);
                state.left_to_the_reconciler = true;
            }
            Step::LoseLetter(place) => {
                state.fault();
                state.dead.remove(place);
                state.left_to_the_reconciler = true;
            }
            Step::Duplicate(place) => {
                state.fault();
                let copy = state.jobs[place].clone();
                state.jobs.push(copy);
            }
            Step::Wipe => {
                state.fault();
                Self::wipe(state);
            }
            Step::GiveUp(place) => {
                state.fault();
                let job = state.jobs.remove(place);
                state.dead.push(job);
            }
            Step::ReadDue => {
                if state.is_known() {
                    state.fault();
                }
                state.reconciler = state.database.due(self.flaw);
            }
            Step::PublishDue => {
                let due = state.reconciler.take()?;
                state.publish(due);
            }
            Step::RecordLetter(place) => {
                let letter = state.dead[place].clone();
                let written = state.database.end(&letter, self.flaw);
                state.end(written);
            }
            Step::AcknowledgeLetter(place) => drop(state.dead.remove(place)),
            Step::Replay => {
                state.replays_left -= 1;
                state.database.replay(self.flaw);
                state.endings -= 1;
                // By then credentials are mended. A dead token stays dead.
                state.verdicts.retain(|_, verdict| *verdict == Answer::Dead);
                // Whoever replays publishes it, or leaves it to the reconciler.
                state.left_to_the_reconciler = true;
            }
        }
        Some(())
    }

    /// What happens by itself, without any fault or wish.
    pub fn goes_on(&self, state: &State) -> bool {
        let calm = State {
            faults_left: 0,
            replays_left: 0,
            ..state.clone()
        };
        !self.next_steps(&calm).is_empty()
    }
}

fn next_of(settlement: &Settlement) -> Option<Message> {
    match &settlement.next {
        Next::Done(_) => None,
        Next::Wait(_, job) | Next::Later(_, job) | Next::DeadLetter(job) => {
            Some(Message::of(Job::clone(job)))
        }
    }
}

impl Model for Life {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            api: Api::Asked,
            database: Database::default(),
            jobs: Vec::new(),
            dead: Vec::new(),
            workers: [const { Worker::Idle }; WORKERS],
            reconciler: None,
            rings: BTreeMap::new(),
            verdicts: BTreeMap::new(),
            strayed: false,
            left_to_the_reconciler: false,
            endings: 0,
            faults_left: self.faults,
            replays_left: self.replays,
        }]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        match state.api {
            Api::Asked => return steps.push(Step::Accept),
            Api::Accepted => {
                steps.push(Step::PublishFirst);
                if state.faults_left > 0 {
                    steps.push(Step::KillApi);
                }
            }
            Api::Done => {}
        }
        for worker in 0..WORKERS {
            self.steps_of_worker(state, worker, steps);
        }
        self.steps_of_queues(state, steps);
        self.steps_of_database(state, steps);
    }

    fn next_state(&self, state: &State, step: Step) -> Option<State> {
        let mut next = state.clone();
        self.go(&mut next, step)?;
        Some(next.canonical())
    }

    fn properties(&self) -> Vec<Property<Self>> {
        promises::all()
    }
}
