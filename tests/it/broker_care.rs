//! What can happen to the broker, or to what we may do there: both programs say what is wrong, once, stay up, and go on by
//! themselves.

use push_tests::{
    Broker, Builder, Device, Log, PrivateRabbit, Provider, Servers, Stack, eventually,
};
use serde_json::json;

/// Both programs say in their readiness what is wrong: the API can do without the broker, the worker cannot.
async fn both_tell(stack: &Stack, reason: &str) {
    for (program, status) in [(&stack.apis[0], 200), (&stack.workers[0], 503)] {
        let told = eventually(
            &format!("{} tells: {reason}", program.log.name),
            async || {
                let answer = stack.readiness(program).await;
                let broker = answer.json["checks"]["broker"].to_string();
                broker.contains(reason).then_some(answer)
            },
        )
        .await;
        assert_eq!(told.status, status, "{}", told.text);
    }
}

/// How many lines of a log contain all of these.
fn lines_with(log: &Log, texts: &[&str]) -> usize {
    let lines = log.lines();
    let with = lines
        .iter()
        .filter(|line| texts.iter().all(|text| line.contains(text)));
    with.count()
}

fn each_told_once(stack: &Stack, texts: &[&str]) {
    for log in stack.logs() {
        assert_eq!(lines_with(log, texts), 1, "{}: {texts:?}", log.name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn rights_that_are_taken_away_and_given_back() {
    let stack = Stack::with().through_links().start().await;
    stack.all_ready().await;
    let phone = stack.register(1, Device::android_fcm("pixel")).await;
    stack.expect_errors("until someone acts");
    let reconnect = || {
        stack.links().cut_broker();
        stack.links().restore();
    };
    let mut ids = Vec::new();
    let mut refused = async |reason: &str| {
        both_tell(&stack, "the broker refuses us").await;
        both_tell(&stack, reason).await;
        each_told_once(&stack, &["ERROR", "until someone acts", reason, "AMQP_URL"]);
        ids.push(stack.send(1).accepted().await);
    };

    stack.broker.forbid().await;
    reconnect();
    let vhost = format!("access to vhost '{}' refused", stack.broker.vhost());
    refused(&vhost).await;
    stack.broker.permit().await;
    stack.all_ready().await;

    stack.broker.permit_nothing().await;
    reconnect();
    refused("access to exchange").await;
    stack.broker.permit().await;
    stack.all_ready().await;

    stack.broker.set_password("another one").await;
    reconnect();
    refused("Login was refused").await;
    stack.broker.set_password(Broker::PASSWORD).await;
    stack.all_ready().await;

    // With all that was in it.
    stack.broker.delete_vhost().await;
    refused("not found").await;
    stack.broker.create_vhost().await;
    stack.broker.permit().await;
    stack.all_ready().await;

    for id in &ids {
        assert_eq!(stack.settled(id).await.status, "sent");
        assert_eq!(stack.sim.rings(&phone, id).await, 1);
    }
    for log in stack.logs() {
        assert!(lines_with(log, &["broker"]) <= 16, "{:#?}", log.lines());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_wire_that_goes_silent_is_noticed_by_its_heartbeat() {
    let stack = Stack::with().through_links().start().await;
    stack.all_ready().await;
    let phone = stack.register(1, Device::android_fcm("pixel")).await;
    stack.links().api_broker.stall();
    stack.links().worker_broker.stall();
    // No connection breaks; afterwards no new one is answered.
    both_tell(&stack, "no connection to the broker").await;
    for log in stack.logs() {
        // A worker may notice earlier, when it subscribes anew.
        let told = lines_with(log, &["the connection to the broker is lost"]);
        assert_eq!(told, 1, "{:#?}", log.lines());
        assert!(log.says("no heartbeat") || log.says("no answer in time"));
    }
    let id = stack.send(1).accepted().await;
    stack.links().restore();
    stack.all_ready().await;
    assert_eq!(stack.settled(&id).await.status, "sent");
    assert_eq!(stack.sim.rings(&phone, &id).await, 1);
}

fn on(rabbit: &PrivateRabbit) -> Builder {
    let servers = Servers {
        broker: rabbit.server(),
        ..Servers::of_environment()
    };
    Stack::with().on(servers, false)
}

/// Both programs say that they are blocked, and by what; neither asks to be taken out of service.
async fn both_tell_of_the_alarm(stack: &Stack, resource: &str) {
    for program in [&stack.apis[0], &stack.workers[0]] {
        let told = eventually("it tells of the alarm", async || {
            let answer = stack.readiness(program).await;
            let broker = answer.json["checks"]["broker"].to_string();
            let told = broker.contains("blocked by an alarm") && broker.contains(resource);
            told.then_some(answer)
        })
        .await;
        assert_eq!(
            (told.status, &told.json["status"]),
            (200, &json!("degraded")),
            "{}",
            told.text
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_alarm_of_the_broker_holds_up_what_is_published_and_nothing_else() {
    const JOBS: usize = 40;
    let rabbit = PrivateRabbit::start().await;
    let stack = on(&rabbit)
        .env_worker("PREFETCH", "1")
        .env_worker("RETRY_DELAYS", "5s,5s,5s,5s")
        .start()
        .await;
    stack.all_ready().await;
    let phone = stack.register(1, Device::android_fcm("pixel")).await;
    // The worker is busy for some ten seconds, and each job must be tried again.
    let unavailable = json!({"case": "unavailable", "delayMs": 300});
    let answers = vec![unavailable; JOBS];
    stack.sim.script_all(Provider::Fcm, json!(answers)).await;
    let mut ids = stack.send_many(1, JOBS).await;
    rabbit
        .ctl(&["set_vm_memory_high_watermark", "0.00001"])
        .await;
    // The broker blocks who publishes, and tells nobody else.
    ids.push(stack.send(1).accepted().await);
    both_tell_of_the_alarm(&stack, "memory").await;
    let held_up = stack.send(1).accepted().await;
    let tried = "SELECT COUNT(*) FROM notification_history WHERE round > 0";
    eventually(
        "all are delivered, and wait to be tried again",
        async || (stack.database.number(tried).await == 40).then_some(()),
    )
    .await;
    let unpublished = "SELECT COUNT(*) FROM notification_history WHERE unpublished";
    eventually(
        "some of them, and a new one, wait for the reconciler",
        async || (stack.database.number(unpublished).await > 1).then_some(()),
    )
    .await;
    rabbit
        .ctl(&["set_vm_memory_high_watermark", "absolute", "512MiB"])
        .await;
    stack.all_ready().await;
    ids.push(held_up);
    for id in &ids {
        assert_eq!(stack.settled(id).await.status, "sent");
        assert_eq!(stack.sim.rings(&phone, id).await, 1);
    }
    let metrics = stack.metrics_of(&stack.workers[0]).await;
    assert!(metrics.sum("push_republished_total", "") > Some(1.0));
    each_told_once(&stack, &["WARN", "the broker has an alarm", "memory"]);
    each_told_once(&stack, &["the broker's alarm is over"]);
    drop(stack);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_full_disk_of_the_broker_delays_what_is_accepted_meanwhile_and_needs_no_restart() {
    let rabbit = PrivateRabbit::start().await;
    let stack = on(&rabbit).env_worker("RETRY_DELAYS", "1s").start().await;
    stack.all_ready().await;
    let phone = stack.register(1, Device::android_fcm("pixel")).await;
    let lever = async |what: &str| {
        let path = format!("/api/Push/admin/providers/fcm/{what}");
        let call = stack.api().post(&path, &json!({}));
        assert_eq!(call.answer().await.status, 200);
    };
    // What waits for a paused provider comes back and is published again every second.
    lever("pause").await;
    eventually("the worker obeys", async || {
        let log = &stack.workers[0].log;
        log.says("an operator paused the provider").then_some(())
    })
    .await;
    let mut ids = vec![stack.send(1).accepted().await];
    let put_back = "SELECT COUNT(*) FROM notification_history WHERE round > 0";
    eventually("it goes round and round", async || {
        (stack.database.number(put_back).await == 1).then_some(())
    })
    .await;
    rabbit.ctl(&["set_disk_free_limit", "100000GB"]).await;
    // The broker blocks who publishes, and tells nobody else.
    ids.push(stack.send(1).accepted().await);
    both_tell_of_the_alarm(&stack, "disk").await;
    let held_up = stack.send(1).accepted().await;
    let unpublished = "SELECT COUNT(*) FROM notification_history WHERE unpublished";
    eventually("a new one waits for the reconciler", async || {
        (stack.database.number(unpublished).await > 0).then_some(())
    })
    .await;
    lever("resume").await;
    assert_eq!(
        stack.database.history(&held_up).await.unwrap().status,
        "pending"
    );
    rabbit.ctl(&["set_disk_free_limit", "1MB"]).await;
    stack.all_ready().await;
    ids.push(held_up);
    for id in &ids {
        let row = stack.settled(id).await;
        assert_eq!((row.status.as_str(), row.attempts), ("sent", 1), "{row:?}");
        assert_eq!(stack.sim.rings(&phone, id).await, 1);
    }
    each_told_once(&stack, &["WARN", "the broker has an alarm", "disk"]);
    each_told_once(&stack, &["the broker's alarm is over"]);
    drop(stack);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_channel_that_the_broker_closes_is_made_anew() {
    // As after 30 minutes, but sooner.
    let rabbit =
        PrivateRabbit::configured("{consumer_timeout, 2000}, {channel_tick_interval, 500}").await;
    let stack = on(&rabbit).start().await;
    stack.all_ready().await;
    let phone = stack.register(1, Device::android_fcm("pixel")).await;
    // Longer than the broker waits, and answered all the same.
    let script = json!([{"delayMs": 6_000}]);
    stack.sim.script(Provider::Fcm, phone.fcm(), script).await;
    let id = stack.send(1).accepted().await;
    let log = &stack.workers[0].log;
    let closed = "delivery acknowledgement on channel";
    eventually("the broker has closed the channel", async || {
        log.says(closed).then_some(())
    })
    .await;
    let row = stack.settled(&id).await;
    assert_eq!((row.status.as_str(), row.attempts), ("sent", 1));
    stack.all_ready().await;
    assert_eq!(stack.sim.rings(&phone, &id).await, 1);
    assert_eq!(
        lines_with(
            log,
            &["WARN", "the connection to the broker is lost", closed]
        ),
        1
    );
    let again = stack.send(1).wait(20).answer().await.expect(200);
    assert_eq!(again.json["status"], "sent");
    drop(stack);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_long_outage_is_told_in_a_few_lines() {
    let stack = Stack::with().through_links().start().await;
    stack.all_ready().await;
    stack.register(1, Device::android_fcm("pixel")).await;
    stack.links().cut_broker();
    both_tell(&stack, "no connection to the broker").await;
    let links = stack.links();
    let attempts = || [&links.api_broker, &links.worker_broker].map(|link| link.connections());
    let before = attempts();
    for _ in 0..20 {
        stack.send(1).accepted().await;
    }
    eventually("both try again and again", async || {
        let tried = |(now, before)| now >= before + 6;
        attempts().into_iter().zip(before).all(tried).then_some(())
    })
    .await;
    for log in stack.logs() {
        let told = lines_with(log, &["broker.reason"]);
        assert_eq!(told, 1, "{:#?}", log.lines());
    }
    stack.links().restore();
    stack.all_ready().await;
    stack.all_settled().await;
}
