//! P1: the API is killed at each single step between receiving a notification and answering for it. What is committed is delivered,
//! once; of what is not committed nothing is left, and nobody was told otherwise.

use push_tests::{Device, Hold, Moment, Stack, eventually};

const INSERT: &str = "INSERT INTO notification_history";
const JOB: Moment = Moment::Publish("push.jobs");

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_api_is_killed_at_any_step_of_accepting() {
    let mut stack = Stack::start().await;
    stack.all_ready().await;
    let points = [
        (Moment::Statement(INSERT), Hold::It, 0),
        (Moment::Statement(INSERT), Hold::ItsAnswer, 0),
        (Moment::Commit(INSERT), Hold::It, 0),
        (Moment::Commit(INSERT), Hold::ItsAnswer, 1),
        (JOB, Hold::It, 1),
        (JOB, Hold::WhatFollows, 1),
        (Moment::Confirm, Hold::It, 1),
    ];
    for (customer, (moment, hold, accepted)) in (1..).zip(points) {
        let what = format!("{moment:?}, {hold:?}");
        let phone = stack
            .register(customer, Device::android_fcm(&format!("pixel-{customer}")))
            .await;
        let mut wires = stack.start_api_on_tripwires().await;
        stack.all_ready().await;
        wires.set(moment, hold, 0);
        let asked = tokio::spawn(stack.api_at(1).send(customer).try_answer());
        wires.sprung().await;
        stack.apis.swap(0, 1);
        stack.kill_api().await;
        drop(wires);
        let answer = asked.await.unwrap();
        assert!(
            answer.is_err(),
            "{what}: nobody was told that it is accepted"
        );
        // Minutes pass for what was not published.
        stack
            .database
            .execute("UPDATE notification_history SET due_at = NOW(3) WHERE status = 'pending'")
            .await;
        let rows = || async {
            let all = stack.database.all_history().await;
            all.into_iter()
                .filter(move |row| row.customer_id == customer)
        };
        assert_eq!(rows().await.count(), accepted, "{what}");
        stack.all_settled().await;
        for row in rows().await {
            assert_eq!(row.status, "sent", "{what}");
            assert_eq!(stack.sim.rings(&phone, &row.id).await, 1, "{what}");
        }
    }
    eventually("no copy is left", async || {
        (stack.broker.jobs().await == 0).then_some(())
    })
    .await;
}
