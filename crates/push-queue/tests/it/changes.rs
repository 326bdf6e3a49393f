//! Changes are told to all who listen, and kept for nobody.

use push_core::changed::{Changed, CustomerVersion};
use push_core::id::CustomerId;
use push_queue::{Broker, Changes, Heard, Message, Route};
use tokio_util::sync::CancellationToken;

use crate::support::proxy::Proxy;
use crate::support::{Stand, connected, message, settings, until, within};

fn change(customer: i64, version: u64) -> Changed {
    Changed {
        customer: CustomerId::try_from(customer).unwrap(),
        version: CustomerVersion(version),
    }
}

async fn heard(changes: &mut Changes) -> Heard {
    within("news", changes.recv()).await.expect("it goes on")
}

/// Listens from now on.
async fn listen(broker: &Broker, stop: &CancellationToken) -> Changes {
    let mut changes = broker.changes(stop.clone());
    assert_eq!(heard(&mut changes).await, Heard::Gap, "the beginning");
    changes
}

#[tokio::test]
async fn all_who_listen_hear_of_a_change_and_nothing_is_kept() {
    let stand = Stand::new();
    let (broker, stop) = (stand.broker().await, CancellationToken::new());
    broker.tell(&[change(1, 1)]).await;
    let published = broker.publish(Route::Changed, Message::changed(&[change(1, 2)]));
    assert_eq!(published.await, Ok(()), "nobody has to listen");
    let other = stand.broker().await;
    let mut both = [listen(&broker, &stop).await, listen(&other, &stop).await];
    let two = vec![change(7, 3), change(8, 1)];
    broker.tell(&two).await;
    other.tell(&[change(7, 4)]).await;
    for changes in &mut both {
        assert_eq!(heard(changes).await, Heard::Changed(two.clone()));
        assert_eq!(heard(changes).await, Heard::Changed(vec![change(7, 4)]));
    }
    // What cannot be read may have been any change.
    broker
        .publish(Route::Changed, message("what?"))
        .await
        .unwrap();
    assert_eq!(heard(&mut both[0]).await, Heard::Gap);
    stop.cancel();
    assert_eq!(within("the end", both[0].recv()).await, None);
    broker.close().await;
    other.close().await;
    until("their queues to be gone", || async {
        let queues = stand.management.list("queues", &stand.vhost);
        let own = |queue: &serde_json::Value| {
            let name = queue["name"].as_str().unwrap();
            name.starts_with("push.invalidate.")
        };
        !queues.iter().any(own)
    })
    .await;
}

#[tokio::test]
async fn what_was_missed_while_the_broker_was_away_is_told_as_a_gap() {
    let stand = Stand::new();
    let proxy = Proxy::before(stand.host_and_port()).await;
    let (teller, stop) = (stand.broker().await, CancellationToken::new());
    let broker = connected(settings(stand.url_at(&proxy.address()))).await;
    let mut changes = listen(&broker, &stop).await;
    proxy.cut();
    until("the loss", || async {
        !matches!(broker.state(), push_queue::BrokerState::Connected)
    })
    .await;
    broker.tell(&[change(1, 1)]).await;
    teller.tell(&[change(1, 1)]).await;
    proxy.restore();
    assert_eq!(heard(&mut changes).await, Heard::Gap);
    teller.tell(&[change(1, 2)]).await;
    assert_eq!(
        heard(&mut changes).await,
        Heard::Changed(vec![change(1, 2)])
    );
    broker.close().await;
    teller.close().await;
}
