//! Consuming, and what becomes of what was delivered.

use push_queue::{ConsumeFrom, Queue, Route, ack_all};
use tokio_util::sync::CancellationToken;

use crate::support::{Stand, delay, id, message, next, take, until, within};

fn never() -> CancellationToken {
    CancellationToken::new()
}

#[tokio::test]
async fn what_is_acknowledged_is_gone_and_nothing_else() {
    let stand = Stand::new();
    let broker = stand.broker().await;
    for number in 0..3 {
        broker
            .publish(Route::Jobs, message(&number.to_string()))
            .await
            .unwrap();
    }
    let mut deliveries = broker.consume(ConsumeFrom::Jobs, 10, never());
    let mut taken = take(&mut deliveries, 3).await;
    assert_eq!(broker.depth(Queue::Jobs).await.unwrap().consumers, 1);
    taken.remove(1).ack().await.unwrap();
    broker.close().await;

    let again = stand.broker().await;
    until("the other two", || async {
        again.depth(Queue::Jobs).await.unwrap().ready == 2
    })
    .await;
    drop(taken);
    again.close().await;
}

#[tokio::test]
async fn no_more_than_the_prefetch_is_delivered() {
    let stand = Stand::new();
    let broker = stand.broker().await;
    let messages = (0..20)
        .map(|number| (Route::Jobs, message(&number.to_string())))
        .collect();
    assert!(broker.publish_all(messages).await.iter().all(Result::is_ok));
    let mut deliveries = broker.consume(ConsumeFrom::Jobs, 5, never());
    let held = take(&mut deliveries, 5).await;
    until("the rest to stay", || async {
        broker.depth(Queue::Jobs).await.unwrap().ready == 15
    })
    .await;
    ack_all(held).await.unwrap();
    let batch = within("a batch", deliveries.recv_batch(3)).await;
    assert!((1..=3).contains(&batch.len()), "{}", batch.len());
    broker.close().await;
}

#[tokio::test]
async fn a_rung_brings_a_job_back() {
    let stand = Stand::new();
    let broker = stand.broker().await;
    let mut deliveries = broker.consume(ConsumeFrom::Jobs, 10, never());
    broker
        .publish(Route::Retry(delay("200ms")), message("again"))
        .await
        .unwrap();
    let delivery = next(&mut deliveries).await;
    assert_eq!(id(&delivery), "again");
    let death = delivery.death.clone().unwrap();
    assert_eq!(
        (death.reason.as_str(), death.queue.as_str()),
        ("expired", "push.retry.200ms")
    );
    delivery.ack().await.unwrap();
    broker.close().await;
}

#[tokio::test]
async fn what_is_dead_lettered_tells_why_even_after_a_rung() {
    let stand = Stand::new();
    let broker = stand.broker().await;
    let mut jobs = broker.consume(ConsumeFrom::Jobs, 10, never());
    let mut dead = broker.consume(ConsumeFrom::Dead, 10, never());
    broker
        .publish(Route::Retry(delay("200ms")), message("poison"))
        .await
        .unwrap();
    next(&mut jobs).await.dead_letter().await.unwrap();
    let delivery = next(&mut dead).await;
    assert_eq!(id(&delivery), "poison");
    let death = delivery.death.clone().unwrap();
    assert_eq!(
        (death.reason.as_str(), death.queue.as_str()),
        ("rejected", "push.jobs")
    );
    assert_eq!(death.exchange, "push");
    assert_eq!(death.first_reason.as_deref(), Some("expired"));
    assert_eq!(death.first_queue.as_deref(), Some("push.retry.200ms"));
    delivery.ack().await.unwrap();
    broker.close().await;
}

#[tokio::test]
async fn what_is_requeued_comes_again_and_is_counted() {
    let stand = Stand::new();
    let broker = stand.broker().await;
    broker.publish(Route::Jobs, message("twice")).await.unwrap();
    let mut deliveries = broker.consume(ConsumeFrom::Jobs, 10, never());
    next(&mut deliveries).await.requeue().await.unwrap();
    let again = next(&mut deliveries).await;
    assert_eq!((again.redelivered, again.delivery_count), (true, 1));
    again.requeue().await.unwrap();
    assert_eq!(next(&mut deliveries).await.delivery_count, 2);
    broker.close().await;
}

#[tokio::test]
async fn what_is_dropped_goes_back() {
    let stand = Stand::new();
    let broker = stand.broker().await;
    broker.publish(Route::Jobs, message("1")).await.unwrap();
    let mut deliveries = broker.consume(ConsumeFrom::Jobs, 1, never());
    // As when a task panics.
    drop(next(&mut deliveries).await);
    let again = next(&mut deliveries).await;
    assert!(again.redelivered);
    again.ack().await.unwrap();
    broker.close().await;
}

#[tokio::test]
async fn when_nobody_reads_any_more_everything_goes_back() {
    let stand = Stand::new();
    let broker = stand.broker().await;
    let messages = (0..10)
        .map(|number| (Route::Jobs, message(&number.to_string())))
        .collect();
    assert!(broker.publish_all(messages).await.iter().all(Result::is_ok));
    let mut deliveries = broker.consume(ConsumeFrom::Jobs, 10, never());
    let held = next(&mut deliveries).await;
    drop(deliveries);
    until("the unread ones", || async {
        broker.depth(Queue::Jobs).await.unwrap().ready == 9
    })
    .await;
    held.ack()
        .await
        .expect("the channel lives as long as a delivery");
    until("the consumer's end", || async {
        broker.depth(Queue::Jobs).await.unwrap().consumers == 0
    })
    .await;
    broker.close().await;
}

#[tokio::test]
async fn acknowledging_many_leaves_the_others_alone() {
    let stand = Stand::new();
    let broker = stand.broker().await;
    let messages = (0..100)
        .map(|number| (Route::Jobs, message(&number.to_string())))
        .collect();
    assert!(broker.publish_all(messages).await.iter().all(Result::is_ok));
    let stop = never();
    let mut deliveries = broker.consume(ConsumeFrom::Jobs, 100, stop.clone());
    let mut taken = take(&mut deliveries, 100).await;
    stop.cancel();
    assert!(within("the end", deliveries.recv()).await.is_none());
    let mut kept = Vec::new();
    // Something is kept in the middle, out of order, then the gap is closed by an own ack.
    for position in [90, 40, 41, 7] {
        kept.push(taken.remove(position));
    }
    taken.reverse();
    let later = taken.split_off(50);
    ack_all(taken).await.unwrap();
    ack_all(later).await.unwrap();
    kept.pop().unwrap().ack().await.unwrap();
    let mut kept_ids: Vec<String> = kept
        .iter()
        .map(|delivery| id(delivery).to_owned())
        .collect();
    drop(kept);
    until("what was kept", || async {
        broker.depth(Queue::Jobs).await.unwrap().ready == 3
    })
    .await;

    let mut deliveries = broker.consume(ConsumeFrom::Jobs, 100, never());
    let mut left: Vec<String> = take(&mut deliveries, 3)
        .await
        .iter()
        .map(|delivery| id(delivery).to_owned())
        .collect();
    kept_ids.sort();
    left.sort();
    assert_eq!(left, kept_ids);
    broker.close().await;
}

#[tokio::test]
async fn a_stop_hands_out_what_was_prefetched_and_ends() {
    let stand = Stand::new();
    let broker = stand.broker().await;
    let messages = (0..50)
        .map(|number| (Route::Jobs, message(&number.to_string())))
        .collect();
    assert!(broker.publish_all(messages).await.iter().all(Result::is_ok));
    let stop = never();
    let mut deliveries = broker.consume(ConsumeFrom::Jobs, 20, stop.clone());
    until("the prefetch", || async {
        broker.depth(Queue::Jobs).await.unwrap().ready == 30
    })
    .await;
    stop.cancel();
    let mut drained = Vec::new();
    loop {
        let batch = within("the end", deliveries.recv_batch(7)).await;
        if batch.is_empty() {
            break;
        }
        drained.extend(batch);
    }
    assert_eq!(drained.len(), 20);
    ack_all(drained).await.expect("the channel is still there");
    assert!(deliveries.recv().await.is_none());
    until("the consumer is gone", || async {
        broker.depth(Queue::Jobs).await.unwrap().consumers == 0
    })
    .await;
    assert_eq!(broker.depth(Queue::Jobs).await.unwrap().ready, 30);
    broker.close().await;
}

#[tokio::test]
async fn what_was_acknowledged_just_before_the_end_stays_acknowledged() {
    let stand = Stand::new();
    let broker = stand.broker().await;
    let messages = (0..200)
        .map(|number| (Route::Jobs, message(&number.to_string())))
        .collect();
    assert!(broker.publish_all(messages).await.iter().all(Result::is_ok));
    let mut deliveries = broker.consume(ConsumeFrom::Jobs, 200, never());
    let mut taken = take(&mut deliveries, 200).await;
    // Without the first no two can be acknowledged by one frame.
    let first = taken.remove(0);
    ack_all(taken).await.unwrap();
    broker.close().await;
    drop(first);

    let again = stand.broker().await;
    until("the first", || async {
        again.depth(Queue::Jobs).await.unwrap().ready > 0
    })
    .await;
    assert_eq!(again.depth(Queue::Jobs).await.unwrap().ready, 1);
    again.close().await;
}

#[tokio::test]
async fn what_kills_its_worker_again_and_again_ends_in_the_dead_letters() {
    let stand = Stand::new();
    let broker = stand.broker().await;
    broker
        .publish(Route::Jobs, message("killer"))
        .await
        .unwrap();
    let mut dead = broker.consume(ConsumeFrom::Dead, 1, never());
    // A lost channel counts on every version of RabbitMQ, unlike a return.
    for _ in 0..=push_queue::topology::DELIVERY_LIMIT {
        let worker = stand.broker().await;
        let delivery = next(&mut worker.consume(ConsumeFrom::Jobs, 1, never())).await;
        worker.close().await;
        drop(delivery);
    }
    let delivery = next(&mut dead).await;
    assert_eq!(id(&delivery), "killer");
    assert_eq!(delivery.death.as_ref().unwrap().reason, "delivery_limit");
    broker.close().await;
}

/// A subscription can be one for the broker and yet deliver nothing, after its queue was deleted and declared again.
#[tokio::test]
async fn a_silent_subscription_is_made_anew_and_loses_nothing() {
    let stand = Stand::new();
    let broker = stand.broker().await;
    let mut deliveries = broker.consume(ConsumeFrom::Jobs, 5, never());
    let consumer = || {
        let consumers = stand.management.list("consumers", &stand.vhost);
        consumers.first().map(|one| one["consumer_tag"].clone())
    };
    until("it consumes", || async { consumer().is_some() }).await;
    let first = consumer();
    until("it is another subscription", || async {
        let now = consumer();
        now.is_some() && now != first
    })
    .await;
    broker.publish(Route::Jobs, message("later")).await.unwrap();
    assert_eq!(id(&next(&mut deliveries).await), "later");
    broker.close().await;
}
