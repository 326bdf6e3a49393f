//! How a message looks on the broker, and how a foreign one is received.

use push_core::job::Job;
use push_core::trace::TraceContext;
use push_queue::{ConsumeFrom, Message, Route};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::support::{Stand, next};

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn job() -> Job {
    let golden = include_str!("../../../push-core/golden/job_v1.json");
    let jobs: serde_json::Value = serde_json::from_str(golden).unwrap();
    Job::decode(jobs[0].to_string().as_bytes()).unwrap()
}

#[tokio::test]
async fn a_job_has_the_contracts_properties() {
    let stand = Stand::new();
    let broker = stand.broker().await;
    let job = job();
    let message = Message::job(&job, TraceContext::parse(TRACE));
    broker.publish(Route::Jobs, message).await.unwrap();

    let mut found = stand.management.get_message(&stand.vhost, "push.jobs");
    // Added by the broker, by some versions already for the first delivery.
    found["properties"]["headers"]
        .as_object_mut()
        .unwrap()
        .retain(|name, _| !name.starts_with("x-"));
    assert_eq!(found["exchange"], "push");
    assert_eq!(found["routing_key"], "push.jobs");
    assert_eq!(
        found["properties"],
        json!({
            "content_type": "application/json",
            "delivery_mode": 2,
            "headers": {"traceparent": TRACE},
            "message_id": job.notification.id.to_string(),
            "timestamp": job.notification.created_at.timestamp(),
            "type": "push.job",
        })
    );
    let payload = found["payload"].as_str().unwrap();
    assert_eq!(Job::decode(payload.as_bytes()), Ok(job));
    broker.close().await;
}

#[tokio::test]
async fn a_job_comes_out_as_it_went_in() {
    let stand = Stand::new();
    let broker = stand.broker().await;
    let job = job();
    broker
        .publish(Route::Jobs, Message::job(&job, TraceContext::parse(TRACE)))
        .await
        .unwrap();

    let mut deliveries = broker.consume(ConsumeFrom::Jobs, 10, CancellationToken::new());
    let delivery = next(&mut deliveries).await;
    assert_eq!(Job::decode(&delivery.body), Ok(job.clone()));
    assert_eq!(delivery.message_id, Some(job.notification.id.to_string()));
    assert_eq!(delivery.kind.as_deref(), Some(Message::JOB));
    assert_eq!(
        delivery.timestamp,
        u64::try_from(job.notification.created_at.timestamp()).ok()
    );
    assert_eq!(delivery.trace_parent, TraceContext::parse(TRACE));
    assert_eq!((delivery.redelivered, delivery.delivery_count), (false, 0));
    assert_eq!(delivery.death, None);
    delivery.ack().await.unwrap();
    broker.close().await;
}

#[tokio::test]
async fn garbage_is_delivered_as_it_is_and_disturbs_nothing() {
    let stand = Stand::new();
    let broker = stand.broker().await;
    let mut deliveries = broker.consume(ConsumeFrom::Jobs, 10, CancellationToken::new());
    let big = vec![0xff; 1024 * 1024];
    let odd_headers =
        json!({"headers": {"x-death": "what?", "x-delivery-count": "many", "traceparent": 7}});
    for (properties, payload) in [
        (&json!({}), &b""[..]),
        (&odd_headers, &b"\x00\xffgarbage"[..]),
        (&json!({}), &big[..]),
    ] {
        stand
            .management
            .put_message(&stand.vhost, "push.jobs", properties, payload);
        let delivery = next(&mut deliveries).await;
        assert_eq!(delivery.body, payload);
        assert_eq!(
            (&delivery.message_id, &delivery.kind, &delivery.trace_parent),
            (&None, &None, &None)
        );
        delivery.dead_letter().await.unwrap();
    }
    let mut dead = broker.consume(ConsumeFrom::Dead, 10, CancellationToken::new());
    for _ in 0..3 {
        let death = next(&mut dead).await.death.unwrap();
        assert_eq!(death.reason, "rejected");
    }
    broker.close().await;
}
