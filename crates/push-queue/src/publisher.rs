//! Publishing: done means confirmed.

use std::sync::Arc;
use std::time::Duration;

use lapin::Confirmation;
use lapin::options::BasicPublishOptions;
use tokio::time::{Instant, timeout_at};

use crate::error::PublishError;
use crate::link::{Link, UNCONFIRMED_MAX, reason_of};
use crate::message::Message;
use crate::topology::Route;

/// A confirm that takes longer is taken for unknown. Confirms of a healthy quorum queue take
/// milliseconds.
const CONFIRM_MAX: Duration = Duration::from_secs(2);
/// How many are published before the first confirm is waited for.
pub(crate) const PIPELINE_MAX: usize = 500;

pub(crate) async fn publish(
    link: Arc<Link>,
    route: Route,
    message: Message,
) -> Result<(), PublishError> {
    let deadline = Instant::now() + CONFIRM_MAX;
    let permits = Arc::clone(&link.unconfirmed);
    let permit = match timeout_at(deadline, permits.acquire_owned()).await {
        Ok(Ok(permit)) => permit,
        Ok(Err(_)) => return Err(PublishError::NotConnected),
        Err(_) => {
            let reason = format!("{UNCONFIRMED_MAX} publishes wait for their confirm");
            return Err(PublishError::Blocked(reason));
        }
    };
    // A task, because a confirm that nobody awaits any more would stay in lapin's memory until the
    // connection ends. The permit is held until the confirm comes, however late.
    let publish = tokio::spawn(async move {
        let result = publish_on(&link, route, &message).await;
        drop(permit);
        result
    });
    match timeout_at(deadline, publish).await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) | Err(_) => Err(PublishError::Unknown),
    }
}

async fn publish_on(link: &Arc<Link>, route: Route, message: &Message) -> Result<(), PublishError> {
    if link.has_failed() || !link.is_alive() {
        return Err(PublishError::NotConnected);
    }
    let (exchange, routing_key) = route.address();
    // Without `mandatory` a message that no queue takes is confirmed and gone.
    let options = BasicPublishOptions {
        mandatory: true,
        ..Default::default()
    };
    let publish = link.publisher.basic_publish(
        exchange.into(),
        routing_key.into(),
        options,
        &message.body,
        message.properties(),
    );
    let confirmation = match publish.await {
        Ok(confirm) => confirm.await,
        Err(error) => Err(error),
    };
    match confirmation {
        Ok(Confirmation::Ack(None)) => Ok(()),
        // An unroutable message is returned, and acknowledged nevertheless ("Publisher Confirms").
        Ok(Confirmation::Ack(Some(_)) | Confirmation::Nack(Some(_))) => {
            // Somebody deleted the queue or its binding.
            let link = Arc::clone(link);
            tokio::spawn(async move { link.declare_again().await });
            Err(PublishError::Unroutable)
        }
        Ok(Confirmation::Nack(None)) => Err(PublishError::Refused),
        Ok(Confirmation::NotRequested) => Err(PublishError::Unknown),
        Err(error) => {
            link.fail(reason_of(&error));
            Err(PublishError::Unknown)
        }
    }
}
