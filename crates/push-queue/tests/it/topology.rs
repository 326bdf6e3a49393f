//! What is declared is what the contract says, and what the broker has.

use push_queue::{Broker, BrokerState};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::support::{Stand, start, until_state, within};

/// From the contract, not from the code: name, arguments, and where it is bound.
fn expected_queues() -> Vec<(&'static str, Value, &'static str)> {
    let work = |to: &str| {
        json!({
            "x-queue-type": "quorum", "x-delivery-limit": 20, "x-overflow": "reject-publish",
            "x-dead-letter-exchange": "push.dlx", "x-dead-letter-routing-key": to,
            "x-dead-letter-strategy": "at-least-once",
        })
    };
    let rung = |millis: u64, to: &str| {
        json!({
            "x-queue-type": "quorum", "x-message-ttl": millis, "x-overflow": "reject-publish",
            "x-dead-letter-exchange": "push", "x-dead-letter-routing-key": to,
            "x-dead-letter-strategy": "at-least-once",
        })
    };
    let dead = json!({"x-queue-type": "quorum", "x-delivery-limit": 2_147_483_647});
    vec![
        ("push.dead", dead, "push.dlx"),
        ("push.jobs", work("push.dead"), "push"),
        ("push.receipts", work("push.dead"), "push"),
        ("push.receipts.15m", rung(900_000, "push.receipts"), "push"),
        ("push.retry.1h", rung(3_600_000, "push.jobs"), "push"),
        ("push.retry.200ms", rung(200, "push.jobs"), "push"),
    ]
}

#[tokio::test]
async fn the_broker_has_what_the_contract_says() {
    let stand = Stand::new();
    let broker = stand.broker().await;
    // A second program declares the same, and finds it there.
    let second = stand.broker().await;

    let mut queues = stand.management.list("queues", &stand.vhost);
    queues.sort_by_key(|queue| queue["name"].as_str().map(str::to_owned));
    let found: Vec<Value> = queues
        .iter()
        .map(|queue| json!([queue["name"], queue["durable"], queue["arguments"]]))
        .collect();
    let expected: Vec<Value> = expected_queues()
        .iter()
        .map(|(name, arguments, _)| json!([name, true, arguments]))
        .collect();
    assert_eq!(json!(found), json!(expected));

    let mut exchanges: Vec<(String, String, bool)> = stand
        .management
        .list("exchanges", &stand.vhost)
        .iter()
        .map(|exchange| {
            let text = |field: &str| exchange[field].as_str().unwrap().to_owned();
            (text("name"), text("type"), exchange["durable"] == true)
        })
        .filter(|(name, ..)| name.starts_with("push"))
        .collect();
    exchanges.sort();
    let expected = [
        ("push", "direct"),
        ("push.dlx", "direct"),
        ("push.invalidate", "fanout"),
    ]
    .map(|(name, kind)| (name.to_owned(), kind.to_owned(), true));
    assert_eq!(exchanges, expected);

    let mut bindings: Vec<(String, String, String)> = stand
        .management
        .list("bindings", &stand.vhost)
        .iter()
        .map(|binding| {
            let text = |field: &str| binding[field].as_str().unwrap().to_owned();
            (text("destination"), text("routing_key"), text("source"))
        })
        .filter(|(_, _, source)| !source.is_empty())
        .collect();
    bindings.sort();
    let expected: Vec<(String, String, String)> = expected_queues()
        .into_iter()
        .map(|(name, _, exchange)| (name.to_owned(), name.to_owned(), exchange.to_owned()))
        .collect();
    assert_eq!(bindings, expected);
    second.close().await;
    broker.close().await;
}

#[tokio::test]
async fn a_queue_with_other_arguments_is_named_and_waited_for() {
    let stand = Stand::new();
    let other = json!({"x-queue-type": "quorum", "x-message-ttl": 1});
    stand
        .management
        .create_queue(&stand.vhost, "push.retry.200ms", &other);
    let broker = start(stand.settings());
    until_state(&broker, "the refusal", |state| {
        matches!(state, BrokerState::Disconnected { reason }
            if reason.contains("queue \"push.retry.200ms\" cannot be declared, because it exists with other settings")
                && reason.contains("PRECONDITION_FAILED") && reason.contains("delete it once it is empty"))
    })
    .await;
    stand
        .management
        .delete_queue(&stand.vhost, "push.retry.200ms");
    within("the connection", broker.connected()).await;
    broker.close().await;
}

#[tokio::test]
async fn permissions_taken_away_are_told_and_waited_for() {
    let stand = Stand::new();
    stand.management.permit(&stand.vhost, "^$");
    let broker = Broker::start(stand.settings(), CancellationToken::new()).unwrap();
    until_state(&broker, "the refusal", |state| {
        matches!(state, BrokerState::Disconnected { reason } if reason.contains("ACCESS_REFUSED"))
    })
    .await;
    stand.management.permit(&stand.vhost, ".*");
    within("the connection", broker.connected()).await;
    assert_eq!(broker.state(), BrokerState::Connected);
    broker.close().await;
}
