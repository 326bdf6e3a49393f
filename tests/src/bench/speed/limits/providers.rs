//! Sending: requests with the bodies that our worker sends, to the same simulator.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;
use uuid::Uuid;

use super::{WARM_UP, lasting, text};
use crate::bench::speed::meter::Role;
use crate::bench::speed::part::{measured, meter};

/// Streams of the one connection to FCM.
const STREAMS: usize = 100;
/// Connections to Expo, and messages of one request: as many as it takes.
const EXPO: (usize, usize) = (4, 100);

/// Where a message of a request has its notification's id, and its token.
const ID: &str = "@NOTIFICATION@";
const TOKEN: &str = "@TOKEN@";

/// A message as it was sent once, made ready to be sent as many others.
pub(in crate::bench::speed) fn template(message: &Value, id: &str, token: &str) -> String {
    message.to_string().replace(id, ID).replace(token, TOKEN)
}

/// One of those others: no two are the same notification, or phones would ring for what they have shown.
fn message(template: &str, token: &str) -> String {
    let id = Uuid::new_v4().to_string();
    template.replace(ID, &id).replace(TOKEN, token)
}

/// What is asked for, by whom.
struct Orders {
    address: String,
    path: String,
    bearer: String,
    template: String,
    tokens: Vec<String>,
    turns: AtomicUsize,
}

impl Orders {
    fn parse(told: &Value) -> Arc<Self> {
        let tokens = told["tokens"].as_array().into_iter().flatten();
        let tokens: Vec<_> = tokens
            .filter_map(|token| token.as_str().map(ToOwned::to_owned))
            .collect();
        assert!(!tokens.is_empty(), "tokens");
        Arc::new(Self {
            address: text(told, "address").to_owned(),
            path: text(told, "path").to_owned(),
            bearer: text(told, "bearer").to_owned(),
            template: text(told, "template").to_owned(),
            tokens,
            turns: AtomicUsize::new(0),
        })
    }

    fn message(&self) -> String {
        let turn = self.turns.fetch_add(1, Ordering::Relaxed);
        message(&self.template, &self.tokens[turn % self.tokens.len()])
    }

    fn request(&self, authority: &str, body: String) -> Request<Full<Bytes>> {
        let request = Request::post(format!("{authority}{}", self.path))
            .header("authorization", format!("Bearer {}", self.bearer))
            .header("content-type", "application/json");
        let request = if authority.is_empty() {
            request.header("host", &self.address)
        } else {
            request
        };
        request
            .body(Full::new(Bytes::from(body)))
            .expect("a request")
    }
}

async fn stream(address: &str) -> TokioIo<TcpStream> {
    let stream = TcpStream::connect(address)
        .await
        .expect("the simulator listens");
    stream.set_nodelay(true).expect("a socket");
    TokioIo::new(stream)
}

/// One request after the other on each of many streams of one connection.
pub(in crate::bench::speed) async fn fcm(told: &Value) -> Value {
    let orders = Orders::parse(told);
    let handshake =
        http2::Builder::new(TokioExecutor::new()).handshake(stream(&orders.address).await);
    let (sender, connection) = handshake.await.expect("HTTP/2");
    tokio::spawn(connection);
    let until = async |until: Instant| {
        let mut streams = JoinSet::new();
        for _ in 0..STREAMS {
            let (mut sender, orders) = (sender.clone(), Arc::clone(&orders));
            streams.spawn(async move {
                let authority = format!("http://{}", orders.address);
                let mut done = 0;
                while Instant::now() < until {
                    let request = orders.request(&authority, orders.message());
                    let answer = sender.send_request(request).await.expect("an answer");
                    assert!(answer.status().is_success(), "{}", answer.status());
                    answer.into_body().collect().await.expect("all of it");
                    done += 1;
                }
                done
            });
        }
        streams.join_all().await.into_iter().sum()
    };
    until(Instant::now() + WARM_UP).await;
    let meter = meter(Role::Raw, told);
    let done = until(Instant::now() + lasting(told)).await;
    measured(meter, done)
}

/// One full request after the other on each of a few connections.
pub(in crate::bench::speed) async fn expo(told: &Value) -> Value {
    let orders = Orders::parse(told);
    let (connections, messages) = EXPO;
    let mut senders = Vec::new();
    for _ in 0..connections {
        let handshake = http1::handshake(stream(&orders.address).await);
        let (sender, connection) = handshake.await.expect("HTTP");
        tokio::spawn(connection);
        senders.push(sender);
    }
    let mut until = async |until: Instant| {
        let each = senders.iter_mut().map(async |sender| {
            let mut done = 0;
            while Instant::now() < until {
                let all: Vec<_> = std::iter::repeat_with(|| orders.message())
                    .take(messages)
                    .collect();
                let request = orders.request("", format!("[{}]", all.join(",")));
                sender.ready().await.expect("a connection");
                let answer = sender.send_request(request).await.expect("an answer");
                assert!(answer.status().is_success(), "{}", answer.status());
                answer.into_body().collect().await.expect("all of it");
                done += messages;
            }
            done
        });
        futures::future::join_all(each).await.into_iter().sum()
    };
    until(Instant::now() + WARM_UP).await;
    let meter = meter(Role::Raw, told);
    let done = until(Instant::now() + lasting(told)).await;
    measured(meter, done)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn no_two_messages_are_the_same_notification() {
        let sent = json!({"to": "a-token", "data": {"notificationId": "the-id"}});
        let template = template(&sent, "the-id", "a-token");
        let read = |token: &str| serde_json::from_str::<Value>(&message(&template, token)).unwrap();
        let (one, other) = (read("x"), read("y"));
        assert_eq!((&one["to"], &other["to"]), (&json!("x"), &json!("y")));
        assert_ne!(one["data"], other["data"]);
        assert!(!template.contains("the-id") && !template.contains("a-token"));
    }
}
