//! A database that stands still: who is one too many is told at once, so that nothing piles up.

use push_tests::{Answer, Api, Device, Key, Stack, eventually};
use tokio::task::JoinSet;

const NOBODY: &str = "/api/Push/notifications/0198c5a1-7c3e-7d0a-b7a5-3f6f4f0e9c11";
/// More than may ask and wait together: the places of `DATABASE_CONNECTIONS`, and 256.
const ASKING: usize = 600;
/// Of those that wait, so many are still there when somebody else is told. (All of them, on a machine with time.)
const WAITING: usize = 100;

/// Many ask at once. Whether one of them was told at once that it is too many, while those before it waited.
async fn somebody_is_refused_at_once(api: &Api) -> bool {
    let mut asking = JoinSet::new();
    for number in 0..ASKING {
        let call = api.get(NOBODY).key(Key::Read);
        asking.spawn(async move { (number, call.answer().await) });
    }
    let (mut seen, mut answered) = (false, Vec::new());
    while let Some(asked) = asking.join_next().await {
        let (number, answer): (usize, Answer) = asked.unwrap();
        assert_eq!(answer.status, 503, "{}", answer.text);
        let after: u64 = answer.header("retry-after").parse().unwrap();
        assert!((1..=60).contains(&after), "{after}");
        if answer.error_code() == "overloaded" {
            let before = answered.iter().filter(|other| **other < number).count();
            seen |= number - before >= WAITING;
        } else {
            assert_eq!(answer.error_code(), "database_unavailable");
        }
        answered.push(number);
    }
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn who_is_one_too_many_for_a_database_that_stands_still_is_told_at_once() {
    let stack = Stack::with().through_links().start().await;
    stack.all_ready().await;
    stack.register(1, Device::android_fcm("pixel")).await;
    stack.links().api_database.stall();
    let api = stack.api();
    eventually("somebody is refused at once", async || {
        somebody_is_refused_at_once(&api).await.then_some(())
    })
    .await;
    stack.links().restore();
    eventually("it answers again", async || {
        let answer = api.get(NOBODY).key(Key::Read).answer().await;
        (answer.status == 404).then_some(())
    })
    .await;
    let id = stack.send(1).accepted().await;
    assert_eq!(stack.settled(&id).await.status, "sent");
}
