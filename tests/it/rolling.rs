//! A rolling upgrade: replicas are replaced one after the other, and whoever follows their readiness notices nothing.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use push_tests::{Device, Stack, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn replicas_that_are_replaced_in_turn_fail_no_request() {
    let mut stack = Stack::with()
        .apis(2)
        .workers(3)
        .env_api("SHUTDOWN_DRAIN", "4s")
        .start()
        .await;
    stack.all_ready().await;
    let phone = stack.register(1, Device::android_fcm("pixel")).await;
    let mut ids = Vec::new();
    for _ in 0..2 {
        let (leaving, staying) = (stack.api_at(0), stack.api_at(1));
        let (ready, enough) = (AtomicBool::new(true), AtomicBool::new(false));
        let sent = AtomicUsize::new(0);
        let prober = async {
            let mut told = 0;
            while !enough.load(Ordering::Relaxed) {
                let answer = leaving.get("/readyz").anonymous().try_answer().await;
                let is_ready = answer.is_ok_and(|answer| answer.status == 200);
                ready.store(is_ready, Ordering::Relaxed);
                told += usize::from(!is_ready);
                if told == 1 {
                    // The doors are still open, and each answer says that they will close.
                    let late = leaving.send(1).try_answer().await;
                    let late = late.expect("served while it drains").expect(202);
                    assert_eq!(late.header("connection"), "close");
                }
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        let caller = async |turn: usize| {
            let mut ids = Vec::new();
            while !enough.load(Ordering::Relaxed) {
                let to_leaving = turn + ids.len();
                let api = if ready.load(Ordering::Relaxed) && to_leaving.is_multiple_of(2) {
                    &leaving
                } else {
                    &staying
                };
                let answer = api.send(1).try_answer().await;
                ids.push(answer.expect("no request fails").expect(202).id());
                sent.fetch_add(1, Ordering::Relaxed);
            }
            ids
        };
        let replaced = async {
            stack.counters_restart();
            eventually("the load is on", async || {
                (sent.load(Ordering::Relaxed) > 20).then_some(())
            })
            .await;
            stack.apis[0].signal_terminate();
            eventually("its doors are closed", async || {
                let log = stack.apis[0].log.lines();
                log.iter()
                    .any(|line| line.contains("\"stopped\""))
                    .then_some(())
            })
            .await;
            enough.store(true, Ordering::Relaxed);
        };
        let callers = futures::future::join_all((0..4).map(caller));
        let (sent, (), ()) = tokio::join!(callers, prober, replaced);
        ids.extend(sent.concat());
        assert_eq!(stack.terminate_api().await, Some(0));
        stack.start_api().await;
        stack.all_ready().await;
    }
    for _ in 0..3 {
        ids.extend(stack.send_many(1, 20).await);
        assert_eq!(stack.terminate_worker().await, Some(0));
        stack.start_worker().await;
    }
    stack.all_settled().await;
    let displays = stack.sim.displays(&phone).await;
    for id in &ids {
        assert_eq!(displays[id], 1, "{id}");
    }
}
