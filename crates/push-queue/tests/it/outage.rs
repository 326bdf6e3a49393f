//! The broker goes away and comes back.

use push_queue::{BrokerState, ChannelLost, ConsumeFrom, PublishError, Route};
use tokio_util::sync::CancellationToken;
use tracing::Level;

use crate::support::log::Log;
use crate::support::proxy::Proxy;
use crate::support::{
    Stand, connected, id, message, next, settings, start, until, until_state, within,
};

fn is_away(state: &BrokerState) -> bool {
    matches!(state, BrokerState::Disconnected { .. })
}

async fn until_published(broker: &push_queue::Broker, name: &str) {
    until("a publish that is confirmed", || async {
        broker.publish(Route::Jobs, message(name)).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn a_cut_is_survived_told_once_and_the_consumer_goes_on() {
    let stand = Stand::new();
    let proxy = Proxy::before(stand.host_and_port()).await;
    let log = Log::start();
    let broker = connected(settings(stand.url_at(&proxy.address()))).await;
    let mut deliveries = broker.consume(ConsumeFrom::Jobs, 10, CancellationToken::new());
    broker
        .publish(Route::Jobs, message("before"))
        .await
        .unwrap();
    let held = next(&mut deliveries).await;

    for _ in 0..2 {
        proxy.cut();
        until_state(&broker, "the loss", is_away).await;
        assert_eq!(
            broker.publish(Route::Jobs, message("during")).await,
            Err(PublishError::NotConnected)
        );
        // Several attempts fail meanwhile.
        within("attempts", async {
            let mut states = broker.watch_state();
            for _ in 0..4 {
                states.changed().await.unwrap();
            }
        })
        .await;
        proxy.restore();
        within("the connection", broker.connected()).await;
    }
    assert_eq!(held.ack().await, Err(ChannelLost));
    let again = next(&mut deliveries).await;
    assert_eq!(id(&again), "before");
    assert!(again.redelivered);
    again.ack().await.unwrap();
    until_published(&broker, "after").await;
    let after = next(&mut deliveries).await;
    assert_eq!(id(&after), "after");
    after.ack().await.unwrap();
    broker.close().await;
    // Connected, lost, back; the second cut followed at once and is the same outage.
    assert!(
        log.count(Level::WARN) <= 2 && log.count(Level::INFO) <= 3,
        "{:#?}",
        log.lines()
    );
    assert!(
        log.count(Level::WARN) >= 1 && log.count(Level::INFO) >= 2,
        "{:#?}",
        log.lines()
    );
    assert_eq!(log.count(Level::ERROR), 0);
}

#[tokio::test]
async fn a_frozen_broker_makes_publishes_unknown_and_is_left() {
    let stand = Stand::new();
    let proxy = Proxy::before(stand.host_and_port()).await;
    let url = format!("{}?heartbeat=1", stand.url_at(&proxy.address()));
    let broker = connected(settings(url)).await;
    let mut deliveries = broker.consume(ConsumeFrom::Jobs, 10, CancellationToken::new());
    until("the consumer", || async {
        broker
            .depth(push_queue::Queue::Jobs)
            .await
            .is_ok_and(|depth| depth.consumers == 1)
    })
    .await;
    proxy.stall();
    let error = broker
        .publish(Route::Jobs, message("lost?"))
        .await
        .unwrap_err();
    assert_eq!(error, PublishError::Unknown);
    assert!(error.may_be_published());
    until_state(&broker, "the missing heartbeat", is_away).await;
    proxy.restore();
    within("the connection", broker.connected()).await;
    until_published(&broker, "after").await;
    // The one that was unknown may have got through.
    loop {
        let delivery = next(&mut deliveries).await;
        let found = id(&delivery) == "after";
        delivery.ack().await.unwrap();
        if found {
            break;
        }
    }
    broker.close().await;
}

#[tokio::test]
async fn a_broker_that_is_not_there_at_start_is_waited_for() {
    let stand = Stand::new();
    let proxy = Proxy::before(stand.host_and_port()).await;
    proxy.cut();
    let log = Log::start();
    let broker = start(settings(stand.url_at(&proxy.address())));
    let mut deliveries = broker.consume(ConsumeFrom::Jobs, 10, CancellationToken::new());
    assert_eq!(
        broker.publish(Route::Jobs, message("1")).await,
        Err(PublishError::NotConnected)
    );
    assert!(broker.depth(push_queue::Queue::Jobs).await.is_err());
    until("the first attempt", || async {
        log.count(Level::WARN) == 1
    })
    .await;
    proxy.restore();
    within("the connection", broker.connected()).await;
    until_published(&broker, "2").await;
    assert_eq!(id(&next(&mut deliveries).await), "2");
    broker.close().await;
}

#[tokio::test]
async fn a_queue_deleted_by_hand_comes_back_with_its_consumer() {
    let stand = Stand::new();
    let broker = stand.broker().await;
    let mut deliveries = broker.consume(ConsumeFrom::Jobs, 10, CancellationToken::new());
    broker
        .publish(Route::Jobs, message("before"))
        .await
        .unwrap();
    next(&mut deliveries).await.ack().await.unwrap();
    stand.management.delete_queue(&stand.vhost, "push.jobs");
    until_published(&broker, "after").await;
    assert_eq!(id(&next(&mut deliveries).await), "after");
    broker.close().await;
}

#[tokio::test]
async fn a_channel_closed_by_the_server_is_made_anew() {
    let stand = Stand::new();
    let broker = stand.broker().await;
    // Publishing to an exchange that is not there closes the channel, with the confirms of all.
    stand.management.delete_exchange(&stand.vhost, "push.dlx");
    assert_eq!(
        broker.publish(Route::Dead, message("1")).await,
        Err(PublishError::Unknown)
    );
    until("the exchange, declared again", || async {
        broker.publish(Route::Dead, message("2")).await.is_ok()
    })
    .await;
    broker.close().await;
}

/// Frames of AMQP 0-9-1's extension "Blocked Connections": type 1, channel 0, class 10.
const BLOCKED: &[u8] = b"\x01\x00\x00\x00\x00\x00\x0f\x00\x0a\x00\x3c\x0alow memory\xce";
const UNBLOCKED: &[u8] = b"\x01\x00\x00\x00\x00\x00\x04\x00\x0a\x00\x3d\xce";

#[tokio::test]
async fn an_alarm_fails_publishes_at_once_and_lets_work_go_on() {
    let stand = Stand::new();
    let proxy = Proxy::before(stand.host_and_port()).await;
    let broker = connected(settings(stand.url_at(&proxy.address()))).await;
    broker.publish(Route::Jobs, message("1")).await.unwrap();

    // An alarm would hit all who share the broker, so the proxy plays it, to the publishing
    // connection: the second.
    proxy.inject_into(1, BLOCKED).await;
    let blocked = BrokerState::Blocked {
        reason: "low memory".to_owned(),
    };
    until_state(&broker, "the alarm", |state| *state == blocked).await;
    let error = broker.publish(Route::Jobs, message("2")).await.unwrap_err();
    assert_eq!(error, PublishError::Blocked("low memory".to_owned()));
    assert!(!error.may_be_published());
    let mut deliveries = broker.consume(ConsumeFrom::Jobs, 1, CancellationToken::new());
    next(&mut deliveries)
        .await
        .ack()
        .await
        .expect("what was delivered can be settled");

    proxy.inject_into(1, UNBLOCKED).await;
    until_state(&broker, "its end", |state| *state == BrokerState::Connected).await;
    broker.publish(Route::Jobs, message("3")).await.unwrap();
    assert_eq!(id(&next(&mut deliveries).await), "3");
    broker.close().await;
}

#[tokio::test]
async fn after_a_stop_a_lost_connection_is_not_made_again() {
    let stand = Stand::new();
    let proxy = Proxy::before(stand.host_and_port()).await;
    let stop = CancellationToken::new();
    let broker =
        push_queue::Broker::start(settings(stand.url_at(&proxy.address())), stop.clone()).unwrap();
    within("the connection", broker.connected()).await;
    let mut deliveries = broker.consume(ConsumeFrom::Jobs, 1, CancellationToken::new());
    stop.cancel();
    broker
        .publish(Route::Jobs, message("what was in flight"))
        .await
        .unwrap();
    next(&mut deliveries).await.ack().await.unwrap();
    proxy.cut();
    let ended = within("the end", deliveries.recv()).await;
    assert!(ended.is_none());
    within("the close", broker.close()).await;
}
