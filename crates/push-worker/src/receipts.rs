//! Fetches Expo's receipts, and acts on them.
//!
//! The messages on the broker are reminders; what is outstanding stands in the database. So a message may be lost, come
//! twice or come late. Like a job it is acknowledged when what came of it is committed.
//!
//! One request at a time, of up to a thousand ids from any number of messages: it shares the six that a worker has
//! open to Expo with the sends, and takes at most one of them.

pub mod overdue;

use std::collections::{BTreeMap, HashMap};

use chrono::Utc;
use push_core::ladder::RetryDelay;
use push_core::outcome::{Cause, Outcome, Pause, ProviderMessageId};
use push_core::receipt::{Answer, Receipt, Ticket};
use push_core::receipt_batch::ReceiptBatch;
use push_providers::Expo;
use push_queue::{ConsumeFrom, Delivery, Message, Route};
use push_store::{Noted, ReceiptsRecorded};
use tokio_util::sync::CancellationToken;

use crate::admit::{acknowledge, dead_letter};
use crate::database::{NoResult, in_time, until_available};
use crate::metrics;
use crate::run::Worker;
use crate::subscription::{Subscription, give_back};

/// Messages in hand at one time: several requests' worth, and soon worked off.
const PREFETCH: u16 = 200;
/// "At most 1000 ids a request" (Expo docs).
const TICKETS_MAX: usize = 1_000;

/// A message, and what it is about.
type Asked = (Delivery, ReceiptBatch);

/// Fetches until the worker is asked to stop. A worker without Expo leaves it to others.
pub async fn run(worker: &Worker) {
    let Some(expo) = &worker.providers.expo else {
        return worker.shutdown.soft.cancelled().await;
    };
    let mut messages = Subscription::start(worker, ConsumeFrom::Receipts, PREFETCH);
    let mut fetcher = Fetcher {
        worker,
        expo,
        complained: false,
    };
    loop {
        let batch = messages.next(worker, usize::from(PREFETCH)).await;
        if batch.is_empty() {
            return;
        }
        for part in parts(read(batch).await) {
            fetcher.fetch(part, &messages.pause()).await;
        }
    }
}

/// Reminds of the receipts of these tickets, after `delay`. What the broker does not take is found in the database when
/// it is overdue.
pub async fn remind(worker: &Worker, route: Route, tickets: &[Ticket]) {
    let messages = ReceiptBatch::of(tickets).map(|batch| (route, Message::receipts(&batch)));
    let messages: Vec<_> = messages.collect();
    if messages.is_empty() {
        return;
    }
    let results = worker.broker.publish_all(messages).await;
    if let Some(error) = results.into_iter().find_map(Result::err) {
        tracing::debug!(%error, "receipts to be fetched could not be queued; they will be found when they are overdue");
    }
}

/// What can be read; the rest goes to the dead letters.
async fn read(batch: Vec<Delivery>) -> Vec<Asked> {
    let mut asked = Vec::with_capacity(batch.len());
    for delivery in batch {
        if delivery.is_beyond_limit() {
            tracing::error!(
                deliveries = delivery.delivery_count,
                "a message about receipts comes again and again: dead-lettered"
            );
            dead_letter(delivery).await;
            continue;
        }
        match ReceiptBatch::decode(&delivery.body) {
            Ok(batch) => asked.push((delivery, batch)),
            Err(reason) => {
                tracing::error!(%reason, bytes = delivery.body.len(), "a message on the receipts' queue is none: dead-lettered");
                dead_letter(delivery).await;
            }
        }
    }
    asked
}

/// Whole messages, up to a full request each.
fn parts(asked: Vec<Asked>) -> Vec<Vec<Asked>> {
    let mut parts: Vec<Vec<Asked>> = Vec::new();
    let mut room = 0;
    for message in asked {
        let tickets = message.1.tickets.len();
        match parts.last_mut().filter(|_| tickets <= room) {
            Some(part) => part.push(message),
            None => {
                room = TICKETS_MAX;
                parts.push(vec![message]);
            }
        }
        room -= tickets;
    }
    parts
}

struct Fetcher<'a> {
    worker: &'a Worker,
    expo: &'a Expo,
    /// That someone must act for Expo to give receipts is told once.
    complained: bool,
}

impl Fetcher<'_> {
    /// Asks, records, reminds of what is to be asked again, acknowledges. What is not recorded before `pause` goes back
    /// to its queue: a question that is asked again does no harm.
    async fn fetch(&mut self, part: Vec<Asked>, pause: &CancellationToken) {
        let tickets = part.iter().flat_map(|(_, batch)| batch.tickets.iter());
        let tickets: Vec<Ticket> = tickets.cloned().collect();
        let asked = pause.run_until_cancelled(self.ask(tickets)).await;
        let Some(answers) = asked else {
            return give_back(self.worker, ConsumeFrom::Receipts, deliveries(part)).await;
        };
        match self.record(&answers, pause).await {
            Ok(recorded) => {
                self.follow_up(&answers, recorded).await;
                acknowledge(deliveries(part)).await;
            }
            Err(NoResult::Stopped) => {
                give_back(self.worker, ConsumeFrom::Receipts, deliveries(part)).await;
            }
            Err(NoResult::Failed(error)) => {
                tracing::warn!(%error, receipts = answers.len(), "receipts could not be recorded together; they are taken one by one");
                self.one_by_one(part, answers, pause).await;
            }
        }
    }

    /// So that one row that cannot be read holds up no other: it is looked at again when it is asked for again.
    async fn one_by_one(
        &self,
        part: Vec<Asked>,
        answers: Vec<(Ticket, Answer)>,
        pause: &CancellationToken,
    ) {
        for answer in answers {
            let answer = [answer];
            match self.record(&answer, pause).await {
                Ok(recorded) => self.follow_up(&answer, recorded).await,
                Err(NoResult::Stopped) => {
                    // What was recorded is recognised.
                    return give_back(self.worker, ConsumeFrom::Receipts, deliveries(part)).await;
                }
                Err(NoResult::Failed(error)) => {
                    let [(ticket, _)] = &answer;
                    tracing::error!(%error, notification.id = %ticket.notification, "a receipt cannot be recorded; again later");
                    self.put_off(ticket).await;
                }
            }
        }
        acknowledge(deliveries(part)).await;
    }

    async fn put_off(&self, ticket: &Ticket) {
        let until = Utc::now() + self.worker.receipts.later.as_duration();
        let tickets = std::slice::from_ref(ticket);
        if let Err(error) = in_time(self.worker.store.push_back_tickets(tickets, until)).await {
            tracing::debug!(%error, "a receipt could not be put off");
        }
    }

    async fn ask(&mut self, tickets: Vec<Ticket>) -> Vec<(Ticket, Answer)> {
        let mut ids: Vec<_> = tickets.iter().map(|ticket| ticket.ticket.clone()).collect();
        ids.sort_unstable();
        ids.dedup();
        let asked = self.expo.receipts(&ids).await;
        metrics::receipts_asked(asked.as_ref().err());
        let receipts: Result<HashMap<ProviderMessageId, Receipt>, Pause> = match asked {
            Ok(receipts) => {
                self.complained = false;
                Ok(receipts.into_iter().collect())
            }
            Err(outcome) => Err(self.refused(&outcome)),
        };
        let answer = |ticket: &Ticket| match &receipts {
            Ok(receipts) => match receipts.get(&ticket.ticket) {
                Some(receipt) => Answer::Receipt(receipt.clone()),
                None => Answer::Absent,
            },
            Err(pause) => Answer::NotNow(*pause),
        };
        let answers = tickets.into_iter().map(|ticket| {
            let answer = answer(&ticket);
            (ticket, answer)
        });
        answers.collect()
    }

    /// Expo gave no receipts. Whatever it was, it is asked again: what is mended meanwhile is mended.
    fn refused(&mut self, outcome: &Outcome) -> Pause {
        let someone = |cause: &Cause, complained: &mut bool| {
            if !std::mem::replace(complained, true) {
                tracing::error!(
                    provider = "expo",
                    code = cause.code,
                    "an operator must act for receipts: {}",
                    cause.text
                );
            }
            Pause::AtLeast(std::time::Duration::ZERO)
        };
        match outcome {
            Outcome::Retry(retry) => {
                tracing::info!(
                    provider = "expo",
                    code = retry.cause.code,
                    "no receipts now"
                );
                retry.pause
            }
            Outcome::OperatorMustAct { cause, .. }
            | Outcome::Refused(cause)
            | Outcome::TokenDead(cause) => someone(cause, &mut self.complained),
            Outcome::Accepted(_) => Pause::AtLeast(std::time::Duration::ZERO),
        }
    }

    async fn record(
        &self,
        answers: &[(Ticket, Answer)],
        pause: &CancellationToken,
    ) -> Result<ReceiptsRecorded, NoResult> {
        let worker = self.worker;
        let record = move || {
            let now = Utc::now();
            worker
                .store
                .record_receipts(answers, worker.receipts, now, worker.reconcile_after)
        };
        until_available(pause, record).await
    }

    async fn follow_up(&self, answers: &[(Ticket, Answer)], recorded: ReceiptsRecorded) {
        let mut again: BTreeMap<RetryDelay, Vec<Ticket>> = BTreeMap::new();
        for ((ticket, answer), noted) in answers.iter().zip(&recorded.noted) {
            metrics::receipt(answer, *noted);
            match noted {
                Noted::Later(delay) => again.entry(*delay).or_default().push(ticket.clone()),
                Noted::Recorded => log(ticket, answer),
                Noted::GivenUp => {
                    tracing::info!(notification.id = %ticket.notification, provider = "expo", "no receipt came, and it is not asked for any more");
                }
                Noted::Stale => {}
            }
        }
        for dead in &recorded.dead {
            // It is off already; but rounds in hand may have read it before.
            self.worker.dead_tokens.report(&dead.token, dead.at);
        }
        metrics::failed_by_receipt(recorded.failed);
        for letter in &recorded.letters {
            metrics::dead_lettered(letter, push_store::Kept::Only);
        }
        for (delay, tickets) in again {
            remind(self.worker, Route::ReceiptsAfter(delay), &tickets).await;
        }
    }
}

fn deliveries(part: Vec<Asked>) -> Vec<Delivery> {
    part.into_iter().map(|(delivery, _)| delivery).collect()
}

/// An error where someone must act, a warning where something is odd, as for a ticket.
fn log(ticket: &Ticket, answer: &Answer) {
    let (id, provider) = (ticket.notification, "expo");
    match answer {
        Answer::Receipt(Receipt::Failed(Outcome::OperatorMustAct { cause, .. })) => {
            tracing::error!(notification.id = %id, provider, code = cause.code, "a receipt says that an operator must act: {}", cause.text);
        }
        Answer::Receipt(Receipt::Failed(Outcome::TokenDead(cause))) => {
            tracing::info!(notification.id = %id, provider, code = cause.code, "a receipt says that the token is dead: switched off");
        }
        Answer::Receipt(Receipt::Failed(Outcome::Refused(cause))) => {
            tracing::warn!(notification.id = %id, provider, code = cause.code, "a receipt says that the message is refused for good: {}", cause.text);
        }
        Answer::Receipt(Receipt::Failed(Outcome::Retry(retry))) => {
            tracing::warn!(notification.id = %id, provider, code = retry.cause.code, "a receipt says that it was not delivered: {}", retry.cause.text);
        }
        Answer::Receipt(Receipt::Delivered | Receipt::Failed(Outcome::Accepted(_)))
        | Answer::Absent
        | Answer::NotNow(_) => {}
    }
}
