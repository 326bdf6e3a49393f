//! Publishing: done means confirmed.

use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use futures::future::join_all;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{Channel, Confirmation, Connection};
use tokio::sync::{Mutex, oneshot};
use tokio::time::{Instant, timeout_at};

use crate::error::PublishError;
use crate::link::{Link, UNCONFIRMED_MAX, reason_of};
use crate::message::Message;
use crate::topology::Route;

/// A confirm that takes longer is taken for unknown. Confirms of a healthy quorum queue take
/// milliseconds.
const CONFIRM_MAX: Duration = Duration::from_secs(2);
/// How many are published before the first confirm is waited for.
pub(crate) const PIPELINE_MAX: usize = 200;
const _: () = assert!(PIPELINE_MAX <= UNCONFIRMED_MAX);

pub(crate) async fn publish(
    link: Arc<Link>,
    route: Route,
    message: Message,
) -> Result<(), PublishError> {
    let results = publish_in_order(link, vec![(route, message)]).await;
    let [result] = <[_; 1]>::try_from(results).unwrap_or([Err(PublishError::Unknown)]);
    result
}

/// Publishes up to [`PIPELINE_MAX`] without waiting for a confirm in between, and in order: so they stand in their queues.
pub(crate) async fn publish_in_order(
    link: Arc<Link>,
    messages: Vec<(Route, Message)>,
) -> Vec<Result<(), PublishError>> {
    let deadline = Instant::now() + CONFIRM_MAX;
    let permits = Arc::clone(&link.unconfirmed);
    let count = u32::try_from(messages.len()).unwrap_or(u32::MAX);
    let mut permits = match timeout_at(deadline, permits.acquire_many_owned(count)).await {
        Ok(Ok(permits)) => permits,
        Ok(Err(_)) => return vec![Err(PublishError::NotConnected); messages.len()],
        Err(_) => {
            let reason = format!("{UNCONFIRMED_MAX} publishes wait for their confirm");
            return vec![Err(PublishError::Blocked(reason)); messages.len()];
        }
    };
    let (publishes, answers): (Vec<_>, Vec<_>) = messages
        .into_iter()
        .map(|(route, message)| {
            let (answer, answered) = oneshot::channel();
            let (link, permit) = (Arc::clone(&link), permits.split(1));
            let publish = async move {
                let result = publish_on(&link, route, &message).await;
                drop(permit);
                // Whoever asked may be gone.
                drop(answer.send(result));
            };
            (publish, answered)
        })
        .unzip();
    // A task, because a confirm that nobody awaits any more would stay in lapin's memory until the
    // connection ends. The permits are held until the confirms come, however late. One task for all: it polls them, and
    // whichever had to wait, in order.
    tokio::spawn(join_all(publishes));
    let in_time =
        answers.into_iter().map(
            async |answered| match timeout_at(deadline, answered).await {
                Ok(Ok(result)) => result,
                Ok(Err(_)) | Err(_) => Err(PublishError::Unknown),
            },
        );
    join_all(in_time).await
}

async fn publish_on(link: &Arc<Link>, route: Route, message: &Message) -> Result<(), PublishError> {
    if link.has_failed() || !link.is_alive() {
        return Err(PublishError::NotConnected);
    }
    let publisher = match link.publishers.of(route, &link.publishing).await {
        Ok(publisher) => publisher,
        Err(error) => {
            link.fail(reason_of(&error));
            return Err(PublishError::NotConnected);
        }
    };
    match publisher.publish(route, message).await {
        Ok(Confirmation::Ack(None)) => Ok(()),
        // An unroutable message is returned, and acknowledged nevertheless ("Publisher Confirms").
        Ok(Confirmation::Ack(Some(_)) | Confirmation::Nack(Some(_))) => {
            // Somebody deleted the queue or its binding.
            let link = Arc::clone(link);
            tokio::spawn(async move { link.declare_again(&route.address().1).await });
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

/// The channels to publish on, one a route, shared by all tasks.
///
/// One a route, because lapin gives a returned message to whichever confirm comes next, not to the
/// one it belongs to (seen: with routable and unroutable messages on one channel, an unroutable one
/// was taken for published). On a channel that knows one route all messages share one fate, but for
/// the moment in which its queue is deleted or made: what is mistaken then, the reconciler finds.
#[derive(Default)]
pub(crate) struct Publishers(Mutex<HashMap<Route, Arc<Publisher>>>);

impl Publishers {
    async fn of(&self, route: Route, connection: &Connection) -> lapin::Result<Arc<Publisher>> {
        let mut publishers = self.0.lock().await;
        if let Some(publisher) = publishers.get(&route) {
            return Ok(Arc::clone(publisher));
        }
        let channel = connection.create_channel().await?;
        let options = ConfirmSelectOptions::default();
        channel.confirm_select(options).await?;
        let order = StdMutex::default();
        let publisher = Arc::new(Publisher { channel, order });
        publishers.insert(route, Arc::clone(&publisher));
        Ok(publisher)
    }
}

/// A channel in confirm mode.
struct Publisher {
    channel: Channel,
    /// Held while a message gets its number and its place in line. lapin does one after the other,
    /// so two threads could swap their confirms.
    order: StdMutex<()>,
}

impl Publisher {
    /// Publishes and waits for the confirm.
    async fn publish(&self, route: Route, message: &Message) -> lapin::Result<Confirmation> {
        let (exchange, routing_key) = route.address();
        // Without `mandatory` a message that no queue takes is confirmed and gone.
        let options = BasicPublishOptions {
            mandatory: route.is_mandatory(),
            ..Default::default()
        };
        let mut publish = pin!(self.channel.basic_publish(
            exchange.into(),
            routing_key.into(),
            options,
            &message.body,
            message.properties(),
        ));
        // The number is given and the frames are queued when it is polled first.
        let queued = poll_fn(|context| {
            let _order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
            Poll::Ready(publish.as_mut().poll(context))
        });
        let confirm = match queued.await {
            Poll::Ready(written) => written?,
            Poll::Pending => publish.await?,
        };
        confirm.await
    }
}
