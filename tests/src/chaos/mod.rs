//! Faults on real processes: the whole service, each wire through a proxy, and bad luck at every moment, under a
//! steady stream of notifications. In the end everything is mended, comes to rest, and is judged: P1 to P8.
//!
//! The seed decides what is broken, when and for how long, who sends what to whom, and what befalls phones and
//! providers. What the programs are doing at that moment is not up to it: they are real processes, and that is the
//! point. So a seed repeats the run, and mostly, not surely, what it found.

mod arrivals;
mod crowd;
mod dice;
mod evidence;
mod journal;
mod judge;
mod node;
mod phones;
mod plan;
mod strike;
mod surgery;
mod watch;
mod world;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use self::arrivals::Arrivals;
use self::crowd::Crowd;
use self::evidence::Logs;
use self::journal::Journal;
pub(crate) use self::journal::now_ms;
use self::judge::{Evidence, Judgement, judge};
use self::plan::{Fault, Shape};
use self::strike::{Effect, strike};
use self::watch::Watch;
use self::world::World;
use crate::device::unique;
use crate::servers::services_dir;
use crate::wait::within;

/// A run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// What everything derives from.
    pub seed: u64,
    /// How many faults.
    pub faults: usize,
    /// How many notifications are sent.
    pub notifications: usize,
    /// From one fault to the next. Several overlap.
    pub pace: Duration,
    /// Whether the terminal is told what goes on.
    pub talkative: bool,
}

/// What came of a run.
#[derive(Debug)]
pub struct Verdict {
    /// The table.
    pub table: String,
    /// Why it is judged bad; empty when it is good.
    pub reasons: Vec<String>,
    /// Journal and logs; gone when the run was good.
    pub folder: PathBuf,
}

const SHAPE: Shape = Shape {
    apis: 2,
    workers: 3,
    rungs: world::RUNGS.len(),
};
/// Beyond the planned end of the faults and sends, for a machine that is busy with other things.
const OVERTIME: Duration = Duration::from_secs(600);
/// An admin who does not think long.
const REPLAY_PACE: Duration = Duration::from_secs(6);
/// How long everything may take to come to rest as long as nothing changes any more.
const REST_MAX: Duration = Duration::from_secs(120);

/// Runs, and judges.
pub async fn run(options: Options) -> Verdict {
    let folder = services_dir().join(unique(&format!("chaos-{}-", options.seed)));
    let journal = Arc::new(Journal::begin(folder.clone(), options.talkative));
    journal.say(&format!(
        "seed {}, {} faults, {} notifications; logs in {}",
        options.seed,
        options.faults,
        options.notifications,
        folder.display()
    ));
    let mut run = Run::start(options, Arc::clone(&journal)).await;
    run.under_fire().await;
    run.come_to_rest().await;
    let verdict = run.judge().await;
    if verdict.reasons.is_empty() {
        journal.remove();
    }
    verdict
}

struct Run {
    options: Options,
    journal: Arc<Journal>,
    world: Arc<World>,
    crowd: Arc<Crowd>,
    arrivals: Arc<Arrivals>,
    watch: Arc<Watch>,
    evidence: Evidence,
    /// Faults that took effect, by kind.
    struck: BTreeMap<&'static str, usize>,
    without_effect: usize,
}

impl Run {
    async fn start(options: Options, journal: Arc<Journal>) -> Self {
        let world = Arc::new(World::start(SHAPE, Arc::clone(&journal)).await);
        let customers = (options.notifications / 100).clamp(30, 400);
        let customers = i64::try_from(customers).unwrap_or(30);
        let crowd = Arc::new(Crowd::new(Arc::clone(&world), options.seed, customers));
        world.start_programs().await;
        let mut evidence = Evidence::default();
        for name in world.wait_until_ready().await {
            evidence.misdeeds.push(format!("{name} did not get ready"));
        }
        crowd.register_all().await;
        if let Err(error) = surgery::tap(&world).await {
            evidence.doubts.push(format!("no tap: {error}"));
        }
        journal.say(&format!(
            "{} APIs, {} workers, {customers} customers with {} phones; set for speed: {:?}",
            SHAPE.apis,
            SHAPE.workers,
            crowd.phones.count(),
            world::FAST
        ));
        Self {
            options,
            journal,
            world,
            crowd,
            arrivals: Arc::default(),
            watch: Arc::default(),
            evidence,
            struck: BTreeMap::new(),
            without_effect: 0,
        }
    }

    fn lasting(&self) -> Duration {
        let faults = u32::try_from(self.options.faults).unwrap_or(u32::MAX);
        self.options.pace * faults
    }

    /// Faults, sends, moods and lives, until the plan is through.
    async fn under_fire(&mut self) {
        let lasting = self.lasting();
        // Lives and deaths of a short run are short as well.
        let life = (lasting / 150).clamp(Duration::from_millis(300), Duration::from_millis(1_500));
        let patience = (lasting / 8).min(Duration::from_secs(90));
        let (told, faults) = mpsc::unbounded_channel();
        let mut aside = JoinSet::new();
        aside.spawn(Arc::clone(&self.crowd).live(life, patience));
        aside.spawn(Arc::clone(&self.crowd).moods(Duration::from_millis(700)));
        aside.spawn(Arc::clone(&self.crowd).replay(REPLAY_PACE));
        let mut watching = JoinSet::new();
        let (watch, crowd) = (Arc::clone(&self.watch), Arc::clone(&self.crowd));
        watching.spawn(async move { watch.run(&crowd, faults).await });
        let (arrivals, world) = (Arc::clone(&self.arrivals), Arc::clone(&self.world));
        let phones = Arc::clone(&self.crowd.phones);
        aside.spawn(async move { arrivals.follow(&world, &phones).await });

        let sends = Arc::clone(&self.crowd).send_all(self.options.notifications, lasting);
        let mut sends = JoinSet::from_iter([sends]);
        let all = async {
            self.strike_all(told).await;
            while sends.join_next().await.is_some() {}
        };
        let in_time = timeout(lasting + OVERTIME, all).await.is_ok();
        aside.shutdown().await;
        if !in_time {
            self.doubt("the plan was not through in time");
        }
        // It ends with the last fault that it was told of.
        let ended = timeout(OVERTIME, async {
            while watching.join_next().await.is_some() {}
        });
        if ended.await.is_err() {
            self.doubt("the books could not be looked at");
        }
    }

    fn doubt(&mut self, why: &str) {
        self.journal.say(why);
        self.evidence.doubts.push(why.to_owned());
    }

    /// All strikes in one task: they wait most of the time.
    async fn strike_all(&mut self, told: mpsc::UnboundedSender<()>) {
        let since = Instant::now();
        let Options {
            seed, faults, pace, ..
        } = self.options;
        let plan = plan::faults(seed, faults, pace, SHAPE)
            .into_iter()
            .enumerate();
        let (world, journal) = (&self.world, &self.journal);
        let strikes = plan.map(|(number, planned)| async move {
            sleep_until(since + planned.at).await;
            if number % 50 == 0 {
                journal.say(&format!("fault {number} of {faults}"));
            }
            (planned.fault, strike(world, planned.fault).await)
        });
        let mut strikes: FuturesUnordered<_> = strikes.collect();
        let mut all = Vec::with_capacity(faults);
        while let Some(struck) = strikes.next().await {
            all.push(struck);
            // Its receiver ends last.
            let _ = told.send(());
        }
        drop(strikes);
        all.into_iter().for_each(|struck| self.count(struck));
    }

    fn count(&mut self, (fault, effect): (Fault, Effect)) {
        match effect {
            Effect::Done => *self.struck.entry(kind(fault)).or_default() += 1,
            Effect::Nothing(_) => self.without_effect += 1,
        }
    }

    /// No more faults: all is mended, and waited for until nothing is pending and nothing lies on a queue.
    async fn come_to_rest(&mut self) {
        self.journal.say("the faults are over: all is mended");
        self.world.mend().await;
        for provider in [crate::sim::Provider::Fcm, crate::sim::Provider::Expo] {
            self.world.sim.outage(provider, "ok").await;
            self.world
                .sim
                .script_all(provider, serde_json::json!([]))
                .await;
        }
        for name in self.world.wait_until_ready().await {
            let misdeed = format!("{name} did not get ready again");
            self.evidence.misdeeds.push(misdeed);
        }
        self.nothing_is_pending().await;
        let world = Arc::clone(&self.world);
        let empty = within(REST_MAX, async || {
            surgery::leftovers(&world).await.is_empty().then_some(())
        });
        if empty.await.is_none() {
            self.journal.say("something is left on the queues");
        }
        self.arrivals
            .catch_up(&self.world, &self.crowd.phones)
            .await;
        self.look_at_metrics().await;
        self.journal.say("SIGTERM to all programs");
        let misdeeds = self.world.stop_programs().await;
        self.evidence.misdeeds.extend(misdeeds);
        self.arrivals
            .catch_up(&self.world, &self.crowd.phones)
            .await;
        for (queue, depth) in surgery::leftovers(&self.world).await {
            self.evidence.leftovers.push(format!("{depth} on {queue}"));
        }
    }

    /// As long as it becomes less, it is waited for.
    async fn nothing_is_pending(&self) {
        let mut least = usize::MAX;
        loop {
            let (world, before) = (&self.world, least);
            let less = within(REST_MAX, async || {
                let pending = pending(world).await?;
                (pending < before).then_some(pending)
            });
            match less.await {
                Some(0) => return,
                Some(pending) => {
                    self.journal.note(&format!("{pending} are pending"));
                    least = pending;
                }
                None => return self.journal.say("nothing moves any more"),
            }
        }
    }

    async fn look_at_metrics(&mut self) {
        for (name, text) in self.world.metrics().await {
            let told = text.lines().filter(|line| line.contains(phones::MARK));
            let leaks = told.map(|line| format!("{name}: metrics: {line}"));
            self.evidence.leaks.extend(leaks);
        }
    }

    async fn judge(mut self) -> Verdict {
        self.journal.say("judging");
        let (looks, books) = self.watch.finish();
        let evidence = &mut self.evidence;
        evidence.books.extend(books);
        match watch::unbalanced(&self.world, "TRUE").await {
            Some(findings) => evidence.books.extend(findings),
            None => evidence.doubts.push("the books cannot be read".to_owned()),
        }
        match evidence::rows(&self.world).await {
            Some(rows) => evidence.rows = rows,
            None => evidence
                .doubts
                .push("the history cannot be read".to_owned()),
        }
        match evidence::deliveries(&self.world, &self.crowd.phones).await {
            Some(deliveries) => evidence.deliveries = deliveries,
            None => evidence
                .doubts
                .push("the deliveries cannot be read".to_owned()),
        }
        let (arrivals, problems) = self.arrivals.finish();
        evidence.arrivals = arrivals;
        evidence.doubts.extend(problems);
        evidence.lives = self.crowd.phones.lives();
        evidence.slow = self
            .world
            .slow
            .lock()
            .expect("nobody panics with it")
            .clone();
        let logs = evidence::logs(self.journal.folder());
        evidence.leaks.extend(logs.leaks.iter().cloned());
        evidence.panics.extend(logs.panics.iter().cloned());
        {
            let told = self.crowd.told.lock().expect("nobody panics with it");
            evidence.accepted.clone_from(&told.accepted);
            evidence.bookings.clone_from(&told.bookings);
        }
        let judgement = judge(&self.evidence);
        let table = self.table(&judgement, &logs, looks);
        self.journal.note(&table);
        let reasons = judgement.reasons();
        for reason in &reasons {
            self.journal.note(reason);
        }
        for suspect in &judgement.suspects {
            self.tell_all_of(*suspect).await;
        }
        Verdict {
            table,
            reasons,
            folder: self.journal.folder().to_owned(),
        }
    }

    /// What the simulator and the rows know of a notification.
    async fn tell_all_of(&self, notification: u128) {
        let arrivals = self.evidence.arrivals.iter();
        for arrival in arrivals.filter(|arrival| arrival.notification == notification) {
            self.journal.note(&format!("{arrival:?}"));
        }
        for line in evidence::story(&self.world, notification).await {
            self.journal.note(&line);
        }
    }

    fn table(&self, judgement: &Judgement, logs: &Logs, looks: usize) -> String {
        let mut text = String::new();
        let mut line = |name: &str, value: &dyn std::fmt::Display| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "  {name:<48} {value:>10}");
        };
        let struck: usize = self.struck.values().sum();
        line("seed", &self.options.seed);
        line("seconds", &self.journal.elapsed().as_secs());
        line("faults that took effect", &struck);
        for (kind, count) in &self.struck {
            line(&format!("  {kind}"), count);
        }
        line("faults without effect", &self.without_effect);
        line("looks at the books in between", &looks);
        let told = self.crowd.told.lock().expect("nobody panics with it");
        line("requests that were not answered", &told.unanswered);
        for (status, count) in &told.refused {
            line(&format!("requests answered with {status}"), count);
        }
        line("sends repeated under the same key", &told.repeated);
        line("bulk replays of dead letters", &told.replays);
        for (name, count) in &judgement.figures {
            line(name, count);
        }
        for (name, finding) in &judgement.never {
            line(name, &finding.count);
        }
        line("log lines", &logs.lines);
        for (message, count) in &logs.errors {
            let message: String = message.chars().take(120).collect();
            line("log lines of level ERROR", &format!("{count} × {message}"));
        }
        text
    }
}

/// Notifications, and bulk replays that still bring some back.
async fn pending(world: &World) -> Option<usize> {
    let statement = "SELECT CAST((SELECT COUNT(*) FROM notification_history WHERE status = 'pending') + \
         (SELECT COUNT(*) FROM operations WHERE state = 'running') AS CHAR)";
    let counted = world
        .database
        .try_texts(statement, Duration::from_secs(10))
        .await?;
    counted.first()?.parse().ok()
}

fn kind(fault: Fault) -> &'static str {
    match fault {
        Fault::Wire(..) => "wire broken",
        Fault::Kill(plan::Target::Api(_), _) => "API killed",
        Fault::Kill(plan::Target::Worker(_), _) => "worker killed",
        Fault::Kill(plan::Target::Broker, _) => "broker killed",
        Fault::Kill(plan::Target::Database, _) => "database killed",
        Fault::Restart(_) => "API or worker restarted",
        Fault::Freeze(..) => "process stopped for a while",
        Fault::Wipe(_) => "broker's disk wiped",
        Fault::Purge(_) => "queue purged",
        Fault::Delete(_) => "queue deleted",
        Fault::Duplicate(_) => "old jobs published again",
        Fault::Provider(..) => "provider out of order",
    }
}
