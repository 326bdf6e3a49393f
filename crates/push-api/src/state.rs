//! What all handlers share.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, SubsecRound as _, Utc};
use push_core::changed::Changed;
use push_core::id::{CustomerId, NotificationId};
use push_core::notification::Notification;
use push_core::preferences::MandatoryTypes;
use push_core::rate::Rate;
use push_core::timeline::{Step, TimelineEntry};
use push_queue::Broker;
use push_runtime::telemetry::Metrics;
use push_store::{
    DeadLetterId, IdempotencyKey, Item, KeptAnswer, Replay, Replayed, Store, StoreError,
    UnknownCustomer,
};
use tokio_util::task::TaskTracker;

use crate::accept::{Accepted, Acceptor, Submission};
use crate::books::LastReading;
use crate::caller::Access;
use crate::catalogue::Catalogue;
use crate::database::in_time;
use crate::error::ApiError;
use crate::health::Health;
use crate::limits::gate::Gate;
use crate::limits::policy::{Exhausted, Limit};
use crate::metrics;
use crate::notes::Notes;
use crate::outcomes::Outcomes;
use crate::privacy::PrivacyGuard;
use crate::publish::Publisher;
use crate::request::BatchRoom;
use crate::routes::Exports;
use crate::schema::Schema;
use crate::turns::{Question, Turns};
use push_core::trace::TraceContext;

/// Shared by all handlers; cheap to clone.
#[derive(Clone)]
pub struct AppState(Arc<Parts>);

/// The parts of [`AppState`].
pub struct Parts {
    /// Who is let in.
    pub(crate) access: Access,
    /// What stood in the books.
    pub(crate) last_reading: LastReading,
    /// Whether callers come over TLS that is ours.
    pub(crate) speaks_tls: bool,
    /// What happens to customers that nobody knows.
    pub(crate) unknown_customer: UnknownCustomer,
    /// Counts requests.
    pub(crate) gate: Gate,
    /// How many notifications a customer may get.
    pub(crate) customer_rate: Option<Rate>,
    /// What nobody can switch off.
    pub(crate) mandatory_types: MandatoryTypes,
    /// The database; handlers go through [`AppState::ask`].
    pub(crate) database: Store,
    /// How many handlers ask the database at a time.
    pub(crate) turns: Turns,
    /// Of which notifications a note is being made.
    pub(crate) notes: Notes,
    /// Whether the database has our tables.
    pub(crate) schema: Schema,
    /// The texts of events.
    pub(crate) catalogue: Arc<Catalogue>,
    /// What must not go out in a push.
    pub(crate) guard: PrivacyGuard,
    /// What readiness looks at.
    pub(crate) health: Health,
    /// Room for the bodies of batches.
    pub(crate) batch_room: BatchRoom,
    /// Files that are being sent.
    pub(crate) exports: Exports,
    /// Commits notifications.
    pub(crate) acceptor: Acceptor,
    /// The broker, to be looked at.
    pub(crate) broker: Broker,
    /// Publishes their jobs.
    pub(crate) publisher: Publisher,
    /// Tells what became of them.
    pub(crate) outcomes: Outcomes,
    /// How long a notification may be without news before a worker looks for its job.
    pub(crate) reconcile_after: Duration,
    /// What `/metrics` tells, where it is served beside the API.
    pub(crate) metrics: Option<Metrics>,
    /// What has to end before the process does.
    pub(crate) tasks: TaskTracker,
}

impl Deref for AppState {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

/// The time, as precise as the database keeps it: job, answer and row tell the same.
#[must_use]
pub fn now() -> DateTime<Utc> {
    Utc::now().trunc_subsecs(3)
}

impl AppState {
    /// All parts together.
    #[must_use]
    pub(crate) fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    /// What the database answers, once it has our tables, and if it does in time.
    ///
    /// # Errors
    /// [`ApiError::DatabaseUnavailable`], or that it refuses.
    pub async fn ask<T, F>(&self, question: impl FnOnce(Store) -> F) -> Result<T, ApiError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        self.ask_as(Question::Short, question).await
    }

    /// The same of many things.
    ///
    /// # Errors
    /// The same.
    pub async fn ask_of_many<T, F>(&self, question: impl FnOnce(Store) -> F) -> Result<T, ApiError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        self.ask_as(Question::Long, question).await
    }

    async fn ask_as<T, F>(
        &self,
        kind: Question,
        question: impl FnOnce(Store) -> F,
    ) -> Result<T, ApiError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        self.schema.ready().await?;
        let _turn = self.turns.turn(kind).await?;
        Ok(in_time(question(self.database.clone())).await?)
    }

    /// Lets a customer through who is known, or may become so.
    ///
    /// # Errors
    /// [`ApiError::UnknownCustomer`], or what the database says.
    pub async fn admit_customer(&self, customer: CustomerId) -> Result<(), ApiError> {
        let unknown = self.unknown_customer;
        let known = self.ask(move |store| async move {
            match unknown {
                UnknownCustomer::Create => store.ensure_customer(customer).await,
                UnknownCustomer::Reject => store
                    .known_customers(&[customer])
                    .await
                    .map(|known| !known.is_empty()),
            }
        });
        if known.await? {
            Ok(())
        } else {
            Err(ApiError::UnknownCustomer)
        }
    }

    /// Commits a change of devices, and tells the workers of it without keeping the caller waiting. Both are done even
    /// if the caller hangs up meanwhile, and before the process ends.
    ///
    /// # Errors
    /// Where it was not committed. A broker that is away is no error: workers find the change in the database.
    pub async fn change<F>(
        &self,
        change: impl FnOnce(Store) -> F + Send + 'static,
    ) -> Result<(), ApiError>
    where
        F: Future<Output = Result<Vec<Changed>, StoreError>> + Send + 'static,
    {
        let state = self.clone();
        let changing = self.tasks.spawn(async move {
            let changes = state.ask(change).await?;
            let publisher = state.publisher.clone();
            state
                .tasks
                .spawn(async move { publisher.tell(&changes).await });
            Ok(())
        });
        let lost = |_| {
            Err(ApiError::Internal(
                "the change ended without an answer".to_owned(),
            ))
        };
        changing.await.unwrap_or_else(lost)
    }

    /// Commits what a request asks for and has the jobs published that are due, unless it came before. Both are done even if
    /// the caller hangs up meanwhile, and before the process ends.
    ///
    /// # Errors
    /// Where it was not committed. A broker that is away is no error.
    pub async fn accept(&self, submission: Submission) -> Result<Accepted, ApiError> {
        self.schema.ready().await?;
        self.acceptor.accept(submission).await
    }

    /// Why a notification of a request was not accepted.
    #[must_use]
    pub fn refused(&self, item: Option<&Item>) -> ApiError {
        match (item, self.customer_rate) {
            (Some(Item::RateLimited(after)), Some(rate)) => {
                ApiError::RateLimited(Exhausted::new(Limit::Customer, rate, *after))
            }
            (
                Some(
                    Item::RateLimited(_)
                    | Item::UnknownCustomer
                    | Item::Ignored(_)
                    | Item::Accepted,
                )
                | None,
                _,
            ) => ApiError::UnknownCustomer,
        }
    }

    /// How a request was answered before that is wrong now: what stood in the future may be over meanwhile.
    ///
    /// # Errors
    /// `wrong` if it was not answered before, or what the database says.
    pub async fn answered_before(
        &self,
        key: Option<IdempotencyKey>,
        wrong: ApiError,
    ) -> Result<KeptAnswer, ApiError> {
        self.kept_answer(key).await?.ok_or(wrong)
    }

    /// How a request was answered before under its key.
    ///
    /// # Errors
    /// What the database says.
    pub async fn kept_answer(
        &self,
        key: Option<IdempotencyKey>,
    ) -> Result<Option<KeptAnswer>, ApiError> {
        let Some(key) = key else {
            return Ok(None);
        };
        let kept = self
            .ask(|store| async move { store.kept_answer(&key, now()).await })
            .await?;
        metrics::replayed(usize::from(kept.is_some()));
        Ok(kept)
    }

    /// Has the timelines say that the notifications were asked for once more under their key, without keeping the caller
    /// waiting: should that not come to pass, nothing else is wrong. It does not where others are asking the database.
    pub fn tell_of_repetition(&self, ids: Vec<NotificationId>) {
        let text = "asked for again with the same Idempotency-Key: nothing was sent for that";
        self.tell_of_duplicate(text, async move |_| Ok(ids));
    }

    /// The same of a booking event that has come before: the notification that it made is the newest of its booking.
    pub fn tell_of_unchanged(&self, notification: &Notification) {
        let (customer, kind) = (notification.customer, notification.kind.clone());
        let Some(key) = notification.collapse_key.clone() else {
            return;
        };
        let text = "the same event came again: nothing was sent for that";
        self.tell_of_duplicate(text, async move |store: Store| {
            let newest = store.newest(customer, &key, &kind).await?;
            Ok(newest.into_iter().collect())
        });
    }

    fn tell_of_duplicate<F>(
        &self,
        text: &'static str,
        about: impl FnOnce(Store) -> F + Send + 'static,
    ) where
        F: Future<Output = Result<Vec<NotificationId>, StoreError>> + Send + 'static,
    {
        let state = self.clone();
        let entry = TimelineEntry::new(now(), Step::Duplicate, text);
        self.tasks.spawn(async move {
            let Some(_turn) = state.turns.try_turn(Question::Long) else {
                return;
            };
            let telling = async {
                let ids = about(state.database.clone()).await?;
                let taken = state.notes.take(ids);
                if taken.ids().is_empty() {
                    return Ok(());
                }
                state.database.tell(taken.ids(), &entry, true).await
            };
            if let Err(error) = in_time(telling).await {
                tracing::debug!(%error, "a timeline does not tell of a repetition");
            }
        });
    }

    /// Commits the replay of a dead letter and publishes its job. Both are done even if the caller hangs up
    /// meanwhile, and before the process ends.
    ///
    /// # Errors
    /// Why it was not replayed. A broker that is away is no error.
    pub async fn replay(
        &self,
        letter: DeadLetterId,
        how: Replay,
        trace: TraceContext,
    ) -> Result<(), ApiError> {
        self.schema.ready().await?;
        let state = self.clone();
        let replaying = self.tasks.spawn(async move {
            let turn = state.turns.turn(Question::Short).await?;
            let replaying = state.database.replay_dead_letter(letter, &how, now());
            let replayed = in_time(replaying).await?.map_err(ApiError::DeadLetter)?;
            drop(turn);
            if let Replayed::Job(replayed) = replayed {
                metrics::reopened(replayed.was);
                state.publisher.publish(&[(*replayed.job, trace)]).await;
            }
            Ok(())
        });
        let lost = |_| {
            Err(ApiError::Internal(
                "a replay ended without an answer".to_owned(),
            ))
        };
        replaying.await.unwrap_or_else(lost)
    }
}
