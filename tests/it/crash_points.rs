//! P1, P2: a worker is killed at each single step between receiving a job and acknowledging it, and another one takes over.
//!
//! What the phone shows is the same in all of them, but for one window: between the request and the commit of what came of it nobody
//! can know, so it may ring twice, and is recorded as *maybe delivered*. Where a request was possible but not made, it rings once and
//! is recorded as *maybe* all the same, for whoever takes over cannot tell.

use Hold::{It, ItsAnswer, WhatFollows};
use push_tests::{Broker, Device, Hold, Moment, Phone, Provider, Stack, eventually};
use serde_json::{Value, json};

/// Where the worker is killed, and what must be seen after another has taken over.
struct Point {
    name: &'static str,
    moment: Moment,
    hold: Hold,
    /// How many of these moments pass before: the worker's way through the rounds of one notification is always the same.
    pass: usize,
    rings: u64,
    maybe: bool,
}

impl Point {
    const fn new(name: &'static str, moment: Moment, hold: Hold) -> Self {
        Self {
            name,
            moment,
            hold,
            pass: 0,
            rings: 1,
            maybe: false,
        }
    }

    /// In a later round.
    const fn after(mut self, pass: usize) -> Self {
        self.pass = pass;
        self
    }

    /// Nobody can know whether it was shown, and it was not.
    const fn maybe(mut self) -> Self {
        self.maybe = true;
        self
    }

    /// It was shown, and nobody can know.
    const fn twice(mut self) -> Self {
        self.rings = 2;
        self.maybe()
    }
}

const LOOK: Moment = Moment::Statement("AS claim_holds");
const CLAIM: Moment = Moment::Statement("SET history.claimed_by");
/// Of the round that ends it, and of one after which it goes on.
const SETTLE: &str = "SET history.status = ?";
const GO_ON: &str = "SET history.fcm_result = settled.fcm_result";
const END: &str = "FORCE INDEX (notification) SET status = ?";
const RETRY: Moment = Moment::Publish("push.retry");
const DEAD: Moment = Moment::Publish("push.dlx");

/// The steps of the round in which the provider takes it; after so many others.
const fn a_round(rounds: usize) -> [Point; 13] {
    [
        Point::new("handed out", Moment::Delivery, It).after(rounds),
        Point::new("before it looks", LOOK, It).after(rounds),
        Point::new("looked", LOOK, ItsAnswer).after(rounds),
        Point::new("before the claim", CLAIM, It).after(rounds),
        Point::new("claimed", CLAIM, ItsAnswer)
            .after(rounds)
            .maybe(),
        Point::new("before the request", Moment::Request, It)
            .after(rounds)
            .maybe(),
        Point::new("requested", Moment::Request, ItsAnswer)
            .after(rounds)
            .twice(),
        Point::new("answered, before the record", Moment::Statement(SETTLE), It).twice(),
        Point::new(
            "recorded, not committed",
            Moment::Statement(SETTLE),
            ItsAnswer,
        )
        .twice(),
        Point::new("before the commit", Moment::Commit(SETTLE), It).twice(),
        Point::new("committed", Moment::Commit(SETTLE), ItsAnswer),
        Point::new("before it is acknowledged", Moment::Acknowledgement, It).after(rounds),
        Point::new("acknowledged", Moment::Acknowledgement, WhatFollows).after(rounds),
    ]
}

/// The steps of the round after which it is to be tried again.
const THE_ROUND_BEFORE: [Point; 8] = [
    Point::new("refused for now", Moment::Request, ItsAnswer).maybe(),
    Point::new("before the commit", Moment::Commit(GO_ON), It).maybe(),
    Point::new("committed", Moment::Commit(GO_ON), ItsAnswer),
    Point::new("before the next job is published", RETRY, It),
    Point::new("the next job is published", RETRY, WhatFollows),
    Point::new("before it is confirmed", Moment::Confirm, It),
    Point::new("before it is acknowledged", Moment::Acknowledgement, It),
    Point::new("acknowledged", Moment::Acknowledgement, WhatFollows),
];

/// The steps in which it is given up, and kept.
const GIVEN_UP: [Point; 12] = [
    Point::new("refused", Moment::Request, ItsAnswer).maybe(),
    Point::new("before the commit", Moment::Commit(GO_ON), It).maybe(),
    Point::new("committed", Moment::Commit(GO_ON), ItsAnswer),
    Point::new("before the letter is published", DEAD, It),
    Point::new("before it is confirmed", Moment::Confirm, It),
    Point::new(
        "before one of both is acknowledged",
        Moment::Acknowledgement,
        It,
    ),
    Point::new("before the letter is handed out", Moment::Delivery, It).after(1),
    Point::new("before the letter is recorded", Moment::Statement(END), It),
    Point::new("before the letter is committed", Moment::Commit(END), It),
    Point::new("the letter is committed", Moment::Commit(END), ItsAnswer),
    Point::new(
        "before the other is acknowledged",
        Moment::Acknowledgement,
        It,
    )
    .after(1),
    Point::new(
        "both are acknowledged",
        Moment::Acknowledgement,
        WhatFollows,
    )
    .after(1),
];

/// One notification after the other, each to a phone of its own.
struct Story {
    stack: Stack,
    provider: Provider,
    /// What the provider answers to each phone first; it takes what comes after that.
    answers: Value,
    customer: i64,
}

impl Story {
    async fn begin(provider: Provider, answers: Value) -> Self {
        let stack = Stack::with()
            .workers(0)
            .env_worker("RETRY_DELAYS", "200ms,400ms")
            .start()
            .await;
        stack.rings_twice();
        Self {
            stack,
            provider,
            answers,
            customer: 0,
        }
    }

    async fn phone(&mut self) -> Phone {
        self.customer += 1;
        let name = format!("phone-{}", self.customer);
        let device = if self.provider == Provider::Fcm {
            Device::android_fcm(&name)
        } else {
            Device::ios_expo(&name)
        };
        let phone = self.stack.register(self.customer, device).await;
        let token = phone.device.fcm.as_ref().or(phone.device.expo.as_ref());
        let token = token.unwrap();
        let answers = self.answers.clone();
        self.stack.sim.script(self.provider, token, answers).await;
        phone
    }

    /// A notification whose worker is killed at `point`, and then taken over by another.
    async fn killed_at(&mut self, point: &Point) -> (Phone, String) {
        let phone = self.phone().await;
        let mut wires = self.stack.start_worker_on_tripwires().await;
        self.stack.all_ready().await;
        wires.set(point.moment, point.hold, point.pass);
        let id = self.stack.send(self.customer).accepted().await;
        wires.sprung().await;
        self.stack.kill_worker().await;
        drop(wires);
        self.time_passes().await;
        self.stack.start_worker().await;
        self.stack.settled(&id).await;
        self.comes_to_rest().await;
        (phone, id)
    }

    /// The claim of whoever was killed is over, and what no queue knows is due.
    async fn time_passes(&self) {
        let over = "UPDATE notification_history SET due_at = NOW(3), \
            claimed_until = IF(claimed_until IS NULL, NULL, NOW(3)) WHERE status = 'pending'";
        self.stack.database.execute(over).await;
    }

    /// No copy is left; and the worker that took over ends.
    async fn comes_to_rest(&mut self) {
        eventually("no job is left", async || {
            (self.stack.broker.jobs().await == 0).then_some(())
        })
        .await;
        assert_eq!(self.stack.terminate_worker().await, Some(0));
        assert_eq!(self.stack.broker.jobs().await, 0, "nothing was given back");
        assert_eq!(self.stack.broker.depth(Broker::DEAD).await, 0);
    }

    /// At each of these points: it ends as `status`, and what the phone showed is what the record says.
    async fn is_killed_at_each_of(&mut self, points: &[Point], status: &str) {
        for point in points {
            let name = point.name;
            let (phone, id) = self.killed_at(point).await;
            let row = self.stack.settled(&id).await;
            assert_eq!(row.status, status, "{name}: {row:?}");
            let rings = self.stack.sim.rings(&phone, &id).await;
            let expected = if status == "sent" { point.rings } else { 0 };
            assert_eq!(rings, expected, "{name}");
            let view = self.stack.notification(&id).await;
            let deliveries = view["deliveries"].as_array().unwrap();
            assert_eq!(deliveries.len(), 1, "{name}: {view}");
            assert_eq!(
                deliveries[0]["maybeDelivered"], point.maybe,
                "{name}: {view}"
            );
            let letters = self.stack.database.dead_letters_of(&id).await.len();
            assert_eq!(letters, usize::from(status == "failed"), "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_worker_is_killed_at_any_step_of_the_first_round_to_fcm() {
    let mut story = Story::begin(Provider::Fcm, json!([])).await;
    story.is_killed_at_each_of(&a_round(0), "sent").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_worker_is_killed_at_any_step_of_the_first_round_to_expo() {
    let mut story = Story::begin(Provider::Expo, json!([])).await;
    story.is_killed_at_each_of(&a_round(0), "sent").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_worker_is_killed_at_any_step_between_two_rounds() {
    let mut story = Story::begin(Provider::Fcm, json!([{"case": "unavailable"}])).await;
    story.is_killed_at_each_of(&THE_ROUND_BEFORE, "sent").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_worker_is_killed_at_any_step_of_a_later_round() {
    let mut story = Story::begin(Provider::Fcm, json!([{"case": "unavailable"}])).await;
    story.is_killed_at_each_of(&a_round(1), "sent").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_worker_is_killed_at_any_step_of_giving_up() {
    let refused = json!([{"case": "sender_id_mismatch"}, {"case": "sender_id_mismatch"}]);
    let mut story = Story::begin(Provider::Fcm, refused).await;
    story.stack.expect_errors("an operator must act");
    story.is_killed_at_each_of(&GIVEN_UP, "failed").await;
}
