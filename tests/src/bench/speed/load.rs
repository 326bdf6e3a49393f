//! The callers: raw HTTP over connections that are kept, so cheap that they are not what is measured.
//!
//! Either as fast as the API answers, or at a steady rate whatever it does: then a wait begins when a request was to be
//! sent, so that callers who are held up hide nothing (no coordinated omission).

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::meter::Role;
use super::part::{measured, meter};

/// Requests that are under way at one time at most, when they come at a steady rate. Beyond that the next ones are late,
/// which counts as waiting.
const CALLERS_MAX: usize = 1_000;

/// How the callers call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Pace {
    /// So many callers, each as soon as it is answered, for so long, and so many requests at most.
    Full {
        callers: usize,
        lasting: Duration,
        requests: usize,
    },
    /// So many requests a second, for so long.
    Steady { per_second: f64, lasting: Duration },
}

/// What is called, and how.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Orders {
    pub(super) address: String,
    pub(super) path: String,
    pub(super) bearer: String,
    /// The first of the customers who take turns, and how many they are.
    pub(super) customers: (i64, usize),
    /// Notifications of one request: 1 is `sendToCustomer`, more is `sendBatch`.
    pub(super) a_request: usize,
    pub(super) pace: Pace,
}

impl Orders {
    pub(super) fn json(&self) -> Value {
        let pace = match self.pace {
            Pace::Full {
                callers,
                lasting,
                requests,
            } => {
                json!({"callers": callers, "seconds": lasting.as_secs_f64(), "requests": requests})
            }
            Pace::Steady {
                per_second,
                lasting,
            } => json!({"perSecond": per_second, "seconds": lasting.as_secs_f64()}),
        };
        json!({
            "address": self.address, "path": self.path, "bearer": self.bearer, "first": self.customers.0,
            "customers": self.customers.1, "aRequest": self.a_request, "pace": pace,
        })
    }

    fn parse(json: &Value) -> Option<Self> {
        let text = |name: &str| Some(json[name].as_str()?.to_owned());
        let pace = &json["pace"];
        let lasting = Duration::try_from_secs_f64(pace["seconds"].as_f64()?).ok()?;
        let pace = match pace["perSecond"].as_f64() {
            Some(per_second) => Pace::Steady {
                per_second,
                lasting,
            },
            None => Pace::Full {
                callers: count(&pace["callers"])?,
                lasting,
                requests: count(&pace["requests"])?,
            },
        };
        Some(Self {
            address: text("address")?,
            path: text("path")?,
            bearer: text("bearer")?,
            customers: (json["first"].as_i64()?, count(&json["customers"])?),
            a_request: count(&json["aRequest"])?,
            pace,
        })
    }

    /// The bodies that take turns.
    fn bodies(&self) -> Vec<Bytes> {
        let (first, count) = self.customers;
        let customers: Vec<i64> = (first..).take(count).collect();
        customers
            .chunks(self.a_request)
            .map(|customers| match customers {
                [customer] if self.a_request == 1 => notification(*customer).to_string(),
                many => {
                    let many: Vec<_> = many.iter().copied().map(notification).collect();
                    json!({"notifications": many}).to_string()
                }
            })
            .map(Bytes::from)
            .collect()
    }

    fn request(&self, body: Bytes) -> Request<Full<Bytes>> {
        let request = Request::post(&self.path)
            .header("host", &self.address)
            .header("authorization", format!("Bearer {}", self.bearer))
            .header("content-type", "application/json");
        request.body(Full::new(body)).expect("a request")
    }
}

fn count(json: &Value) -> Option<usize> {
    usize::try_from(json.as_u64()?).ok()
}

/// What the guide's booking backend sends.
pub(super) fn notification(customer: i64) -> Value {
    json!({
        "id": customer, "title": "Technician Assigned! 🚗",
        "body": "John has been assigned to your booking BID123. They will contact you soon.",
        "data": {"type": "technician_assigned", "bookingId": "456", "trackId": "BID123", "techName": "John",
            "priority": "high"},
    })
}

/// A request that was answered.
#[derive(Clone, Copy, Debug)]
struct Call {
    /// Whose turn it was.
    turn: usize,
    /// When it was to be sent, and when it was answered: microseconds since the beginning.
    due: u64,
    answered: u64,
    /// Notifications that were accepted; 0: refused.
    accepted: usize,
}

/// Does what it is told. Its answer: `items` is notifications accepted; `calls` are `[turn, due, answered]` of the requests
/// that were, in microseconds since `beganUs`.
pub(super) async fn run(told: &Value) -> Value {
    let orders = Arc::new(Orders::parse(told).expect("orders"));
    let bodies: Arc<[Bytes]> = orders.bodies().into();
    let callers = match orders.pace {
        Pace::Full { callers, .. } => callers,
        Pace::Steady { .. } => 1,
    };
    let mut connections = Vec::new();
    for _ in 0..callers {
        connections.push(connect(&orders.address).await);
    }
    let meter = meter(Role::Load, told);
    let began = (Instant::now(), since_epoch());
    let calls = match orders.pace {
        Pace::Full {
            lasting, requests, ..
        } => {
            let turns = Arc::new(AtomicUsize::new(0));
            let mut callers = JoinSet::new();
            for connection in connections {
                let (orders, bodies) = (Arc::clone(&orders), Arc::clone(&bodies));
                let turns = Arc::clone(&turns);
                callers.spawn(async move {
                    let until = (began.0 + lasting, requests);
                    one_after_the_other(&orders, &bodies, connection, &turns, (began.0, until))
                        .await
                });
            }
            callers.join_all().await.concat()
        }
        Pace::Steady {
            per_second,
            lasting,
        } => {
            steadily(
                &orders,
                &bodies,
                connections,
                (began.0, per_second, lasting),
            )
            .await
        }
    };
    let accepted = calls.iter().map(|call| call.accepted).sum();
    let mut answer = measured(meter, accepted);
    answer["beganUs"] = began.1.into();
    answer["requests"] = calls.len().into();
    answer["refused"] = calls
        .iter()
        .filter(|call| call.accepted == 0)
        .count()
        .into();
    let told = |call: &Call| json!([call.turn, call.due, call.answered]);
    answer["calls"] = calls
        .iter()
        .filter(|call| call.accepted > 0)
        .map(told)
        .collect();
    answer
}

/// Microseconds since 1970.
pub(super) fn since_epoch() -> u64 {
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    u64::try_from(now.as_micros()).unwrap_or(u64::MAX)
}

type Connection = SendRequest<Full<Bytes>>;

async fn connect(address: &str) -> Connection {
    let stream = TcpStream::connect(address).await.expect("the API listens");
    stream.set_nodelay(true).expect("a socket");
    let (sender, connection) = handshake(TokioIo::new(stream)).await.expect("a connection");
    tokio::spawn(connection);
    sender
}

async fn one_after_the_other(
    orders: &Orders,
    bodies: &[Bytes],
    mut connection: Connection,
    turns: &AtomicUsize,
    (began, (until, requests)): (Instant, (Instant, usize)),
) -> Vec<Call> {
    let mut calls = Vec::new();
    loop {
        let due = Instant::now();
        let turn = turns.fetch_add(1, Ordering::Relaxed);
        if due >= until || turn >= requests {
            return calls;
        }
        calls.push(call(orders, bodies, &mut connection, turn, (began, due)).await);
    }
}

async fn steadily(
    orders: &Arc<Orders>,
    bodies: &Arc<[Bytes]>,
    connections: Vec<Connection>,
    (began, per_second, lasting): (Instant, f64, Duration),
) -> Vec<Call> {
    let idle = Arc::new(Mutex::new(connections));
    let places = Arc::new(tokio::sync::Semaphore::new(CALLERS_MAX));
    let mut calls = JoinSet::new();
    for turn in 0.. {
        let at = due(turn, per_second);
        if at >= lasting {
            break;
        }
        sleep_until(began + at).await;
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            break;
        };
        let (orders, bodies, idle) = (Arc::clone(orders), Arc::clone(bodies), Arc::clone(&idle));
        calls.spawn(async move {
            let _place = place;
            let kept = lock(&idle).pop();
            let mut connection = match kept {
                Some(connection) => connection,
                None => connect(&orders.address).await,
            };
            let done = call(&orders, &bodies, &mut connection, turn, (began, began + at)).await;
            lock(&idle).push(connection);
            done
        });
    }
    calls.join_all().await
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// When a request is to be sent, after the beginning: each by itself, so that nothing adds up.
fn due(turn: usize, per_second: f64) -> Duration {
    Duration::from_secs_f64(turn as f64 / per_second)
}

async fn call(
    orders: &Orders,
    bodies: &[Bytes],
    connection: &mut Connection,
    turn: usize,
    (began, due): (Instant, Instant),
) -> Call {
    let body = &bodies[turn % bodies.len()];
    let accepted = ask(connection, orders.request(body.clone())).await;
    let since = |at: Instant| u64::try_from((at - began).as_micros()).unwrap_or(u64::MAX);
    Call {
        turn,
        due: since(due),
        answered: since(Instant::now()),
        accepted: accepted.map_or(0, |body| {
            if orders.a_request == 1 {
                1
            } else {
                accepted_of(&body)
            }
        }),
    }
}

/// The body of a 202.
async fn ask(connection: &mut Connection, request: Request<Full<Bytes>>) -> Option<Bytes> {
    connection.ready().await.ok()?;
    let answer = connection.send_request(request).await.ok()?;
    let status = answer.status();
    let body = answer.into_body().collect().await.ok()?.to_bytes();
    (status == StatusCode::ACCEPTED).then_some(body)
}

/// Those of a batch that were accepted: they have an id.
fn accepted_of(body: &[u8]) -> usize {
    String::from_utf8_lossy(body)
        .matches("\"notificationId\"")
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn orders(a_request: usize, pace: Pace) -> Orders {
        Orders {
            address: "127.0.0.1:1".to_owned(),
            path: "/".to_owned(),
            bearer: "key".to_owned(),
            customers: (5, 7),
            a_request,
            pace,
        }
    }

    #[test]
    fn a_schedule_does_not_drift() {
        assert_eq!(due(0, 200.0), Duration::ZERO);
        assert_eq!(due(1, 200.0), Duration::from_millis(5));
        assert_eq!(due(720_000, 200.0), Duration::from_secs(3_600));
        // 0.3 milliseconds each, rounded once.
        let third = due(3_000_000, 10_000.0 / 3.0);
        assert!((third.as_secs_f64() - 900.0).abs() < 1e-6, "{third:?}");
    }

    #[test]
    fn orders_arrive_as_they_were_given() {
        let lasting = Duration::from_millis(1_500);
        let full = Pace::Full {
            callers: 64,
            lasting,
            requests: 20,
        };
        let steady = Pace::Steady {
            per_second: 0.7,
            lasting,
        };
        for orders in [orders(1, full), orders(1_000, steady)] {
            assert_eq!(Orders::parse(&orders.json()), Some(orders));
        }
    }

    #[test]
    fn customers_take_turns_alone_or_in_batches() {
        let steady = Pace::Steady {
            per_second: 1.0,
            lasting: Duration::ZERO,
        };
        let read = |body: &Bytes| serde_json::from_slice::<Value>(body).unwrap();
        let single: Vec<_> = orders(1, steady).bodies().iter().map(read).collect();
        assert_eq!((single.len(), &single[6]["id"]), (7, &json!(11)));
        let batches: Vec<_> = orders(3, steady).bodies().iter().map(read).collect();
        let sizes = batches
            .iter()
            .map(|batch| batch["notifications"].as_array().unwrap().len());
        assert_eq!(sizes.collect::<Vec<_>>(), [3, 3, 1]);
    }

    #[test]
    fn of_a_batch_counts_what_was_accepted() {
        let body = json!({"results": [{"notificationId": "a"}, {"code": "unknown_customer"}, {"notificationId": "b"}]});
        assert_eq!(accepted_of(body.to_string().as_bytes()), 2);
    }

    #[tokio::test]
    async fn who_is_slow_hides_nothing() {
        // It answers after 200 ms, one at a time; five were to be sent within 50 ms.
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let slow = Arc::new(tokio::sync::Mutex::new(()));
        let app = axum::Router::new().fallback(move || {
            let slow = Arc::clone(&slow);
            async move {
                let _alone = slow.lock().await;
                tokio::time::sleep(Duration::from_millis(200)).await;
                StatusCode::ACCEPTED
            }
        });
        tokio::spawn(async move { axum::serve(listener, app).await });
        let pace = Pace::Steady {
            per_second: 100.0,
            lasting: Duration::from_millis(50),
        };
        let orders = Orders {
            address,
            ..orders(1, pace)
        };
        let answer = run(&orders.json()).await;
        assert_eq!(
            (&answer["items"], &answer["refused"]),
            (&json!(5), &json!(0))
        );
        let calls = answer["calls"].as_array().unwrap();
        let last = calls.iter().find(|call| call[0] == 4).unwrap();
        assert_eq!(last[1], 40_000);
        let waited = last[2].as_u64().unwrap() - 40_000;
        assert!(waited > 900_000, "{waited}");
    }
}
