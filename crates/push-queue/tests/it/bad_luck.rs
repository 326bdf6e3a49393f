//! Wrong settings.

use push_queue::{Broker, BrokerState, ConnectError};
use tokio_util::sync::CancellationToken;

use crate::support::log::Log;
use crate::support::{Stand, settings, start, until_state, within};

#[tokio::test]
async fn a_bad_url_is_refused_at_start_without_its_password() {
    for url in [
        "amqp://u:s3cret@host:what/%2f",
        "http://u:s3cret@host",
        "amqp://u:s3cret@host/",
    ] {
        let error = Broker::start(settings(url.to_owned()), CancellationToken::new())
            .err()
            .unwrap();
        assert!(!error.to_string().contains("s3cret"), "{error}");
    }
}

#[tokio::test]
async fn a_wrong_password_is_told_without_repeating_it() {
    let stand = Stand::new();
    let url = format!("amqp://guest:s3cret@{}/%2f", stand.host_and_port());
    let log = Log::start();
    let broker = start(settings(url.clone()));
    until_state(&broker, "the refusal", |state| {
        matches!(state, BrokerState::Disconnected { reason } if reason.contains("ACCESS_REFUSED"))
    })
    .await;
    let checked = Broker::check(&settings(url)).await;
    assert!(
        matches!(checked, Err(ConnectError::Refused(_))),
        "{checked:?}"
    );
    let told = format!("{:?} {checked:?} {:?}", broker.state(), log.lines());
    assert!(!told.contains("s3cret"), "{told}");
    broker.close().await;
}

#[tokio::test]
async fn a_virtual_host_that_is_not_there_is_told() {
    let stand = Stand::new();
    let url = stand.url().replace("queue", "nowhere");
    let error = Broker::check(&settings(url)).await.unwrap_err();
    assert!(
        matches!(&error, ConnectError::Refused(reason) if reason.contains("nowhere")),
        "{error:?}"
    );
    Broker::check(&stand.settings()).await.unwrap();
}

#[tokio::test]
async fn tls_to_a_port_without_tls_fails() {
    let stand = Stand::new();
    let url = stand.url().replace("amqp://", "amqps://");
    let error = within("the failure", Broker::check(&settings(url)))
        .await
        .unwrap_err();
    assert!(matches!(error, ConnectError::Tls(_)), "{error:?}");
}
