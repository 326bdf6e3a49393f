//! Publishing says what became of a message.

use push_queue::{Broker, PublishError, Queue, Route};

use crate::support::{Stand, delay, message, until};

#[tokio::test]
async fn what_is_confirmed_lies_in_its_queue() {
    let stand = Stand::new();
    let broker = stand.broker().await;
    broker.publish(Route::Jobs, message("job")).await.unwrap();
    broker
        .publish(Route::Retry(delay("1h")), message("later"))
        .await
        .unwrap();
    broker.publish(Route::Dead, message("dead")).await.unwrap();
    for queue in [Queue::Jobs, Queue::Retry(delay("1h")), Queue::Dead] {
        until("the message", || async {
            broker.depth(queue).await.unwrap().ready == 1
        })
        .await;
    }
    assert_eq!(broker.depth(Queue::Receipts).await.unwrap().ready, 0);
    broker.close().await;
}

/// On several threads, and again and again: lapin numbers and queues a message in two steps, and gives
/// a returned one to whichever confirm comes next.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_are_published_at_once_and_each_gets_its_own_answer() {
    let stand = Stand::new();
    let broker = stand.broker().await;
    for round in 1..=5 {
        publish_good_and_bad(&broker).await;
        until("all messages", || async {
            broker.depth(Queue::Jobs).await.unwrap().ready == round * 1_188
        })
        .await;
    }
    broker.close().await;
}

async fn publish_good_and_bad(broker: &Broker) {
    let unknown_rung = Route::Retry(delay("77s"));
    let messages = (0..1_200)
        .map(|number| {
            let route = if number % 100 == 7 {
                unknown_rung
            } else {
                Route::Jobs
            };
            (route, message(&number.to_string()))
        })
        .collect();
    let results = broker.publish_all(messages).await;
    assert_eq!(results.len(), 1_200);
    for (number, result) in results.iter().enumerate() {
        let expected = if number % 100 == 7 {
            Err(PublishError::Unroutable)
        } else {
            Ok(())
        };
        assert_eq!(*result, expected, "{number}");
    }
}

#[tokio::test]
async fn a_message_for_no_queue_is_unroutable_and_a_deleted_queue_comes_back() {
    let stand = Stand::new();
    let broker = stand.broker().await;
    let nowhere = broker
        .publish(Route::Retry(delay("77s")), message("1"))
        .await;
    assert_eq!(nowhere, Err(PublishError::Unroutable));

    stand.management.delete_queue(&stand.vhost, "push.jobs");
    let lost = broker.publish(Route::Jobs, message("2")).await;
    assert_eq!(lost, Err(PublishError::Unroutable));
    until("push.jobs, declared again", || async {
        broker.publish(Route::Jobs, message("3")).await.is_ok()
    })
    .await;
    broker.close().await;
}

#[tokio::test]
async fn a_full_queue_refuses() {
    let stand = Stand::new();
    let broker = stand.broker().await;
    // As an operator might limit it.
    stand.management.limit_queue(&stand.vhost, "push.jobs", 1);
    until("the refusal", || async {
        broker.publish(Route::Jobs, message("more")).await == Err(PublishError::Refused)
    })
    .await;
    broker.close().await;
}

#[tokio::test]
async fn the_depth_of_a_queue_that_is_not_there_is_an_error_and_harms_nothing() {
    let stand = Stand::new();
    let broker = stand.broker().await;
    let error = broker.depth(Queue::Retry(delay("77s"))).await.unwrap_err();
    assert!(error.to_string().contains("NOT_FOUND"), "{error}");
    broker.publish(Route::Jobs, message("1")).await.unwrap();
    broker.close().await;
}
