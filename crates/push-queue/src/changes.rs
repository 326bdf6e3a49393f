//! Hearing of changes, over all reconnects. Unlike a job, a change that was said while nobody listened is not kept:
//! instead it is told that there was a gap.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use lapin::options::BasicConsumeOptions;
use lapin::types::FieldTable;
use lapin::{Channel, Consumer};
use push_core::changed::Changed;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::link::{Link, reason_of};
use crate::supervisor::Links;
use crate::topology::{EXCHANGE_INVALIDATE, declare_for_changes};

/// For subscribing.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// What was heard and is not dealt with yet; more waits on the broker.
const UNREAD_MAX: usize = 256;

/// What a listener hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Somebody changed something.
    Changed(Vec<Changed>),
    /// From here on changes are heard; what changed before may have gone unheard. Also said of what cannot be read.
    Gap,
}

/// What is said on `push.invalidate`.
pub struct Changes {
    incoming: mpsc::Receiver<Heard>,
}

impl Changes {
    /// The next one; `None` when it was stopped.
    pub async fn recv(&mut self) -> Option<Heard> {
        self.incoming.recv().await
    }
}

pub(crate) fn start(links: Links, stop: CancellationToken) -> Changes {
    let (outgoing, incoming) = mpsc::channel(UNREAD_MAX);
    tokio::spawn(Listener::run(Listener { links, outgoing }, stop));
    Changes { incoming }
}

struct Listener {
    links: Links,
    outgoing: mpsc::Sender<Heard>,
}

/// Nobody reads any more, or no link will come.
struct Ended;

impl Listener {
    async fn run(mut self, stop: CancellationToken) {
        stop.run_until_cancelled(async {
            while let Ok(link) = self.next_link().await {
                let lost = match subscribe(&link).await {
                    Ok((channel, consumer)) => self.listen(&channel, consumer).await,
                    Err(reason) => Ok(Some(reason)),
                };
                match lost {
                    Ok(Some(reason)) => {
                        link.fail(format!("listening to {EXCHANGE_INVALIDATE}: {reason}"));
                    }
                    // The queue was deleted by hand: the next one has another name.
                    Ok(None) => {}
                    Err(Ended) => return,
                }
            }
        })
        .await;
    }

    async fn next_link(&mut self) -> Result<Arc<Link>, Ended> {
        let works = |link: &Option<Arc<Link>>| link.as_ref().is_some_and(|link| !link.has_failed());
        let link = tokio::select! {
            () = self.outgoing.closed() => return Err(Ended),
            link = self.links.wait_for(works) => link.map_err(|_| Ended)?.clone(),
        };
        link.ok_or(Ended)
    }

    /// Why the channel was lost; `None` when the broker only cancelled the consumer.
    async fn listen(
        &self,
        channel: &Channel,
        mut consumer: Consumer,
    ) -> Result<Option<String>, Ended> {
        self.hand_over(Heard::Gap).await?;
        loop {
            let message = tokio::select! {
                () = self.outgoing.closed() => return Err(Ended),
                message = consumer.next() => message,
            };
            match message {
                Some(Ok(message)) => {
                    let heard = Changed::decode(&message.data).map_or(Heard::Gap, Heard::Changed);
                    self.hand_over(heard).await?;
                }
                Some(Err(error)) => return Ok(Some(reason_of(&error))),
                None if channel.status().connected() => return Ok(None),
                None => return Ok(Some("the channel was closed".to_owned())),
            }
        }
    }

    async fn hand_over(&self, heard: Heard) -> Result<(), Ended> {
        self.outgoing.send(heard).await.map_err(|_| Ended)
    }
}

async fn subscribe(link: &Link) -> Result<(Channel, Consumer), String> {
    let subscribe = async {
        let channel = link.consuming.create_channel().await?;
        let queue = declare_for_changes(&channel).await?;
        let options = BasicConsumeOptions {
            no_ack: true,
            exclusive: true,
            ..Default::default()
        };
        let consumer = channel
            .basic_consume(
                queue.as_str().into(),
                "".into(),
                options,
                FieldTable::default(),
            )
            .await?;
        Ok((channel, consumer))
    };
    match timeout(ANSWER_MAX, subscribe).await {
        Ok(subscribed) => subscribed.map_err(|error: lapin::Error| reason_of(&error)),
        Err(_) => Err("no answer in time".to_owned()),
    }
}
