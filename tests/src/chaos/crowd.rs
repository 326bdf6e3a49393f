//! Those outside: the booking backend, which sends all the time, and the apps, whose owners sign in and out, buy new
//! phones and throw old ones away.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use uuid::Uuid;

use super::dice::Dice;
use super::phones::{MARK, Phones};
use super::strike::moody_provider;
use super::world::World;
use crate::answer::Answer;
use crate::api::Key;
use crate::sim::Provider;

/// How long a caller waits for an answer.
const CALL_MAX: Duration = Duration::from_secs(5);
/// Between two tries of a caller.
const CALL_PAUSE: Duration = Duration::from_millis(300);
/// Callers that wait for an answer at one time.
const CALLERS_MAX: usize = 256;
/// A request without an answer may still be carried out after so long: it lay in a stalled wire or in a frozen program.
const ECHO_MAX: Duration = Duration::from_secs(40);
/// Statuses of a booking.
const STATUSES: usize = 3;
/// Any of them: the number goes round.
const SOME_API: usize = 1_000;
/// Apps that register at one time, at the beginning.
const REGISTER_AT_ONCE: usize = 16;

/// What the backend was told.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// Notification and customer of each 2xx.
    pub(crate) accepted: Vec<(u128, i64)>,
    /// Of these: the statuses of one booking, in their order.
    pub(crate) bookings: Vec<Vec<u128>>,
    /// Of these: sent more than once before that was known, with the same key.
    pub(crate) repeated: usize,
    /// Requests that were never answered.
    pub(crate) unanswered: usize,
    /// Answers that were no 2xx, by status.
    pub(crate) refused: BTreeMap<u16, usize>,
    /// Bulk replays of dead letters that were begun.
    pub(crate) replays: usize,
}

impl Told {
    fn refuse(&mut self, status: u16) {
        *self.refused.entry(status).or_default() += 1;
    }
}

/// The crowd.
#[derive(Debug)]
pub(crate) struct Crowd {
    pub(crate) world: Arc<World>,
    pub(crate) phones: Arc<Phones>,
    pub(crate) told: Mutex<Told>,
    seed: u64,
    customers: i64,
}

impl Crowd {
    pub(crate) fn new(world: Arc<World>, seed: u64, customers: i64) -> Self {
        Self {
            phones: Arc::new(Phones::of_customers(seed, customers)),
            told: Mutex::default(),
            world,
            seed,
            customers,
        }
    }

    async fn post(&self, api: usize, path: &str, key: Key, body: &Value) -> Option<Answer> {
        let url = format!("{}{path}", self.world.api(api));
        let request = self.world.http.post(url).timeout(CALL_MAX);
        let request = request.bearer_auth(key.secret()).json(body);
        Answer::read(request.send().await.ok()?).await.ok()
    }

    // ---- the apps ----

    /// Before anything breaks.
    pub(crate) async fn register_all(&self) {
        let values: Vec<_> = (1..=self.customers).map(|id| format!("({id})")).collect();
        let statement = format!(
            "INSERT IGNORE INTO customers (id) VALUES {}",
            values.join(",")
        );
        self.world.database.execute(&statement).await;
        stream::iter(0..self.phones.count())
            .for_each_concurrent(REGISTER_AT_ONCE, async |phone| {
                self.register(phone, self.phones.owner(phone)).await;
            })
            .await;
    }

    /// Until it is answered. True when every try was.
    async fn register(&self, phone: usize, customer: i64) -> bool {
        let body = self.phones.registration(phone, customer);
        self.change(phone, Some(customer), "/api/Push/register", &body)
            .await
    }

    async fn unregister(&self, phone: usize) -> bool {
        let body = json!({"userType": "customer", "id": self.phones.owner(phone), "deviceId": format!("phone-{phone}")});
        self.change(phone, None, "/api/Push/unregister", &body)
            .await
    }

    async fn change(&self, phone: usize, to: Option<i64>, path: &str, body: &Value) -> bool {
        self.phones.begin(phone, to);
        let mut is_clear = true;
        for api in phone.. {
            let answer = self.post(api, path, Key::Register, body).await;
            match answer.map(|answer| answer.status) {
                Some(200) => break,
                Some(status @ 400..=499) => self.world.journal.say(&format!("{path}: {status}")),
                Some(_) | None => {}
            }
            is_clear = false;
            sleep(CALL_PAUSE).await;
        }
        self.phones.acked(phone);
        is_clear
    }

    /// People's lives, until the task is dropped: one event every `pace`.
    pub(crate) async fn live(self: Arc<Self>, pace: Duration, patience: Duration) {
        let mut events = JoinSet::new();
        for number in 0_u32.. {
            sleep(pace).await;
            let crowd = Arc::clone(&self);
            events.spawn(async move { crowd.live_once(number, patience).await });
            while events.try_join_next().is_some() {}
        }
    }

    async fn live_once(&self, number: u32, patience: Duration) {
        let mut dice = Dice::new(self.seed, "lives", u64::from(number));
        let phone = dice.below(self.phones.count());
        let Ok(_busy) = self.phones.busy[phone].try_lock() else {
            return;
        };
        let is_clear =
            match dice.weigh(&[(Event::Moves, 50), (Event::Dies, 30), (Event::Leaves, 20)]) {
                Event::Moves => {
                    let to = self.some_customer(&mut dice);
                    self.register(phone, to).await
                }
                Event::Dies => {
                    self.die(phone).await;
                    sleep(patience.mul_f64(0.5 + f64::from(number % 10) / 10.0)).await;
                    self.phones.renew_tokens(phone);
                    self.register(phone, self.phones.owner(phone)).await
                }
                Event::Leaves => {
                    let is_clear = self.unregister(phone).await;
                    if !is_clear {
                        sleep(ECHO_MAX).await;
                    }
                    sleep(patience / 4).await;
                    self.register(phone, self.phones.owner(phone)).await
                }
            };
        if !is_clear {
            // What was not answered may be done once more. Nothing else happens to the phone until then.
            sleep(ECHO_MAX).await;
        }
    }

    async fn die(&self, phone: usize) {
        let (fcm, expo) = self.phones.die(phone);
        let sim = &self.world.sim;
        if let Some(token) = fcm {
            let dead = json!({"case": "unregistered"});
            sim.always(Provider::Fcm, &token, dead).await;
        }
        if let Some(token) = expo {
            let dead = json!({"case": "ticket_device_not_registered"});
            sim.always(Provider::Expo, &token, dead).await;
        }
    }

    fn some_customer(&self, dice: &mut Dice) -> i64 {
        let count = usize::try_from(self.customers).unwrap_or(1);
        1 + i64::try_from(dice.below(count)).unwrap_or_default()
    }

    // ---- the providers ----

    /// Bad moods of the providers, until the task is dropped.
    pub(crate) async fn moods(self: Arc<Self>, pace: Duration) {
        let mut dice = Dice::new(self.seed, "moods", 0);
        loop {
            sleep(pace).await;
            moody_provider(&self.world, dice.below(10_000)).await;
        }
    }

    // ---- the backend ----

    /// Sends so many, evenly over `lasting`.
    pub(crate) async fn send_all(self: Arc<Self>, count: usize, lasting: Duration) {
        let since = Instant::now();
        let callers = Arc::new(Semaphore::new(CALLERS_MAX));
        let mut sends = JoinSet::new();
        for number in 0..count {
            let share = number as f64 / count as f64;
            sleep_until(since + lasting.mul_f64(share)).await;
            let Ok(caller) = Arc::clone(&callers).acquire_owned().await else {
                break;
            };
            let crowd = Arc::clone(&self);
            sends.spawn(async move {
                crowd.send(number).await;
                drop(caller);
            });
            while sends.try_join_next().is_some() {}
        }
        sends.join_all().await;
    }

    /// A notification of its own; or the statuses of a booking, each after the one before is accepted.
    async fn send(&self, number: usize) {
        let mut dice = Dice::new(self.seed, "sends", number as u64);
        let customer = self.some_customer(&mut dice);
        let mut body = json!({
            "id": customer,
            "title": format!("{MARK} title {number} 🚗"),
            "body": format!("{MARK} text {number}"),
            "data": {"booking": format!("{MARK}-{number}")},
        });
        let key = format!("chaos-{}-{number}", self.seed);
        if dice.chance(15) {
            body["collapseKey"] = format!("booking-{number}").into();
            let mut statuses = Vec::new();
            for status in 0..STATUSES {
                let key = format!("{key}-{status}");
                statuses.push(self.send_surely(&mut dice, &key, &body, customer).await);
            }
            return self.told().bookings.push(statuses);
        }
        if dice.chance(15) {
            body["ttlSeconds"] = (1 + dice.below(9)).into();
        }
        self.send_surely(&mut dice, &key, &body, customer).await;
    }

    /// Until it is accepted; its id.
    async fn send_surely(&self, dice: &mut Dice, key: &str, body: &Value, customer: i64) -> u128 {
        let mut tries = 0;
        loop {
            tries += 1;
            let api = dice.below(SOME_API) + tries;
            let answer = self.send_once(api, key, body).await;
            match answer.as_ref().map(|answer| answer.status) {
                Some(200..=299) => return self.accepted(answer.as_ref(), customer, tries),
                Some(status) => self.told().refuse(status),
                None => self.told().unanswered += 1,
            }
            sleep(CALL_PAUSE).await;
        }
    }

    /// With a key, so that it can be repeated until it is answered.
    async fn send_once(&self, api: usize, key: &str, body: &Value) -> Option<Answer> {
        let url = format!("{}/api/Push/sendToCustomer", self.world.api(api));
        let request = self.world.http.post(url).timeout(CALL_MAX);
        let request = request.header("idempotency-key", key);
        let request = request.bearer_auth(Key::Send.secret()).json(body);
        Answer::read(request.send().await.ok()?).await.ok()
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().expect("nobody panics with it")
    }

    fn accepted(&self, answer: Option<&Answer>, customer: i64, tries: usize) -> u128 {
        let id = answer.and_then(|answer| answer.json["notificationId"].as_str());
        let id = id.and_then(|id| Uuid::parse_str(id).ok());
        let id = id.expect("a 2xx names its notification");
        let mut told = self.told();
        told.accepted.push((id.as_u128(), customer));
        told.repeated += usize::from(tries > 1);
        id.as_u128()
    }

    // ---- the admin ----

    /// Replays whatever was given up, until the task is dropped.
    pub(crate) async fn replay(self: Arc<Self>, pace: Duration) {
        for number in 0.. {
            sleep(pace).await;
            let provider = if number % 2 == 0 { "fcm" } else { "expo" };
            let body = json!({"filter": {"provider": provider}, "perSecond": 50});
            let path = "/api/Push/admin/deadLetters/replay";
            let answer = self.post(number, path, Key::All, &body).await;
            match answer.map(|answer| answer.status) {
                Some(202) => self.told().replays += 1,
                Some(status @ 400..=499) => self.told().refuse(status),
                Some(_) | None => {}
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Event {
    /// Somebody else signs in on the phone.
    Moves,
    /// The app is removed; later it is installed again.
    Dies,
    /// Its owner signs out, and in again.
    Leaves,
}
