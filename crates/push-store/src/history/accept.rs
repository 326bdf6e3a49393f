//! Accepting: from here on a notification is never lost (P1).

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use push_core::booking::{BookingEvent, Ignored};
use push_core::id::CustomerId;
use push_core::notification::{Notification, Priority};
use push_core::timeline::{Step, TimelineEntry};
use push_seal::Keyring;
use sqlx::mysql::MySqlArguments;
use sqlx::query::Query;
use sqlx::{MySql, MySqlConnection};

use super::content::sealed;
use super::late::end_late;
use super::timeline::lines;
use super::{Acceptance, Committed, Due, Item, UnknownCustomer};
use crate::bookings::Bookings;
use crate::collapse::{self, Raised};
use crate::customers::KnownCustomers;
use crate::decode::millis;
use crate::devices::count_up;
use crate::error::StoreError;
use crate::idempotency::{IdempotencyKey, Kept, KeptAnswer, Keyed, Said};
use crate::rate::{Budget, Budgets};
use crate::retry::Tries;
use crate::stats::Changes;
use crate::{Store, bulk, customers, idempotency};

/// The places of a row of [`INSERT`].
macro_rules! row {
    () => {
        "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
    };
}

const INSERT: &str = concat!(
    "\
    INSERT INTO notification_history (notification_id, customer_id, notification_type, title, body, data, image_url, sealed, \
        priority, collapse_key, created_at, send_at, expires_at, due_at, next_at, unpublished, timeline, erasure_mark) \
    VALUES ",
    row!(),
    "«, ",
    row!(),
    "»"
);

#[cfg(test)]
pub(crate) const STATEMENTS: &[(&str, &str)] = &[("INSERT", INSERT)];

/// Rows of one [`INSERT`].
const ROWS_MAX: usize = 256;

/// A request that is to be accepted: its notifications, and its key if it has one.
#[derive(Debug, Clone, Copy)]
pub struct ToAccept<'a> {
    /// The notifications, in the order in which they are sent.
    pub notifications: &'a [Notification],
    /// The key of the whole request, and the answer that is kept with it.
    pub keyed: Option<&'a Keyed>,
    /// What happened to a booking, where the request is about that: its notification is accepted if it is news, and may be
    /// missing, if there is nothing to tell.
    pub event: Option<&'a BookingEvent>,
    /// Who asked for it, and how, for the timeline: words that follow "accepted".
    pub origin: &'a str,
}

/// What was judged together with requests that turned out to be repetitions has to be judged without them.
const IN_EACH_OTHERS_WAY: StoreError =
    StoreError::Unusable("requests of one batch are in each other's way; ask one by one");

impl<'a> From<&'a Notification> for ToAccept<'a> {
    fn from(notification: &'a Notification) -> Self {
        Self {
            notifications: std::slice::from_ref(notification),
            keyed: None,
            event: None,
            origin: "",
        }
    }
}

impl Store {
    /// Commits the notifications whose customers exist, all or none of them and with their requests' keys, and answers for
    /// each request in order. What was asked for before under its key is not accepted a second time, whatever became of
    /// the customers. `due_at`: when the reconciler shall look at those that are still pending, in case no queue
    /// ever got them. Those that are to be sent later are due then, and must not be published before.
    ///
    /// Each that has a collapse key takes the place of what is older; those that are to be sent later, when their time comes.
    ///
    /// # Errors
    /// [`StoreError`]; then none is accepted, unless the connection broke during the commit.
    pub async fn accept<'a, T>(
        &self,
        batch: &'a [T],
        unknown: UnknownCustomer,
        due_at: DateTime<Utc>,
    ) -> Result<Committed, StoreError>
    where
        &'a T: Into<ToAccept<'a>>,
    {
        self.may_seal().await?;
        let batch: Vec<ToAccept<'_>> = batch.iter().map(Into::into).collect();
        let mut tries = Tries::new();
        loop {
            match self.accept_once(&batch, unknown, due_at).await {
                Err(error) if tries.again(&error).await => {}
                result => return result,
            }
        }
    }

    async fn accept_once(
        &self,
        batch: &[ToAccept<'_>],
        unknown: UnknownCustomer,
        due_at: DateTime<Utc>,
    ) -> Result<Committed, StoreError> {
        let now = batch.iter().flat_map(ToAccept::times).max();
        let now = now.unwrap_or_default();
        let mut requests: Vec<Request<'_>> = batch.iter().map(Request::from).collect();
        let mut kept = Kept::default();
        let mut transaction = self.pool.begin().await?;
        kept.look(&mut transaction, keys(&requests), now).await?;
        answer_known(&mut requests, &kept);
        let known = customers_of(&mut transaction, &requests, unknown).await?;
        let mut bookings = Bookings::lock(&mut transaction, events(&requests, &known)).await?;
        let mut budgets = self
            .lock_budgets(&mut transaction, &requests, &known)
            .await?;
        for request in open(&mut requests) {
            request.judge(&known, &mut bookings, &mut budgets);
        }
        idempotency::keep(&mut transaction, to_keep(&requests), now).await?;
        kept.look(&mut transaction, keys(&requests), now).await?;
        answer_known(&mut requests, &kept);
        judge_again(&requests, &known, &mut bookings, &mut budgets)?;
        budgets.write(&mut transaction).await?;
        bookings.learn(&mut transaction).await?;
        insert(&mut transaction, &self.keys, &requests, &known, due_at).await?;
        let accepted = requests.iter().flat_map(Request::accepted);
        let overtaken = collapse::raise(&mut transaction, accepted.filter_map(newest)).await?;
        let changed = count_up(&mut transaction, &overtaken).await?;
        transaction.commit().await?;
        Ok(Committed {
            acceptances: requests.into_iter().map(Request::acceptance).collect(),
            changed,
        })
    }

    /// The budgets that may be taken from.
    async fn lock_budgets(
        &self,
        connection: &mut MySqlConnection,
        requests: &[Request<'_>],
        known: &KnownCustomers,
    ) -> Result<Budgets, StoreError> {
        let open = requests.iter().filter(|request| request.answered.is_none());
        let asked = open.flat_map(|request| {
            let notifications = request.asked.notifications.iter();
            notifications.map(move |asked| (asked, request.budget(asked)))
        });
        let asked: Vec<_> = asked
            .filter(|(asked, _)| known.contains(asked.customer))
            .collect();
        let budgets = asked
            .iter()
            .map(|(asked, budget)| (asked.customer, *budget));
        let appointments = asked
            .iter()
            .filter_map(|(asked, _)| Some((asked.customer, asked.send_at?)));
        let (budgets, appointments) = (budgets.collect(), appointments.collect());
        Budgets::lock(connection, self.customer_rate, budgets, appointments).await
    }
}

impl<'a> ToAccept<'a> {
    /// When all that belongs to it was asked for.
    fn times(&self) -> impl Iterator<Item = DateTime<Utc>> {
        let notifications = self.notifications.iter().map(|asked| asked.created_at);
        notifications.chain(self.event.map(|event| event.heard_at))
    }

    /// Whom it is about.
    fn customers(&self) -> impl Iterator<Item = CustomerId> + use<'a> {
        let notifications = self.notifications.iter().map(|asked| asked.customer);
        notifications.chain(self.event.map(|event| event.customer))
    }
}

/// A request, and what became of it as far as that is known.
struct Request<'a> {
    asked: ToAccept<'a>,
    /// Its key was there, with the answer of another request.
    answered: Option<Acceptance>,
    /// What becomes of each of its notifications, unless it is `answered`.
    items: Vec<Item>,
    /// The answer that is kept with its key.
    keeps: Option<KeptAnswer>,
}

impl<'a> From<&ToAccept<'a>> for Request<'a> {
    fn from(asked: &ToAccept<'a>) -> Self {
        Self {
            asked: *asked,
            answered: None,
            items: Vec::new(),
            keeps: None,
        }
    }
}

impl<'a> Request<'a> {
    fn key(&self) -> Option<&'a IdempotencyKey> {
        self.asked.keyed.map(|keyed| &keyed.key)
    }

    /// What a notification of it is counted as.
    fn budget(&self, notification: &Notification) -> Budget {
        match (self.asked.event, notification.priority) {
            (None, _) => Budget::General,
            (Some(event), Priority::High) if event.is_built_in() => Budget::UrgentBooking,
            (Some(_), Priority::High | Priority::Normal) => Budget::Booking,
        }
    }

    /// Decides what becomes of each notification, and so of the request.
    fn judge(&mut self, known: &KnownCustomers, bookings: &mut Bookings, budgets: &mut Budgets) {
        self.items = self.items(known, bookings, budgets);
        self.keeps = self
            .asked
            .keyed
            .and_then(|keyed| (keyed.answer)(&self.items));
    }

    /// What becomes of each notification.
    fn items(
        &self,
        known: &KnownCustomers,
        bookings: &mut Bookings,
        budgets: &mut Budgets,
    ) -> Vec<Item> {
        let Some(event) = self.asked.event else {
            let notifications = self.asked.notifications.iter();
            let item = |notification: &Notification| {
                if known.contains(notification.customer) {
                    self.count(notification, budgets)
                } else {
                    Item::UnknownCustomer
                }
            };
            return notifications.map(item).collect();
        };
        if known.contains(event.customer) {
            vec![self.hear(event, bookings, budgets)]
        } else {
            vec![Item::UnknownCustomer]
        }
    }

    /// What becomes of an event. One that is refused for its customer's budget was not heard: it may come again.
    fn hear(&self, event: &BookingEvent, bookings: &mut Bookings, budgets: &mut Budgets) -> Item {
        if let Err(ignored) = bookings.is_news(event) {
            return Item::Ignored(ignored);
        }
        let item = match self.asked.notifications.first() {
            None => Item::Ignored(Ignored::NoTemplate),
            Some(notification) => self.count(notification, budgets),
        };
        if matches!(item, Item::RateLimited(_)) {
            return item;
        }
        bookings.hear(event).map_or_else(Item::Ignored, |()| item)
    }

    fn count(&self, notification: &Notification, budgets: &mut Budgets) -> Item {
        let budget = self.budget(notification);
        let taken = budgets.take(notification.customer, budget, notification.send_at);
        taken.map_or_else(Item::RateLimited, |()| Item::Accepted)
    }

    /// The notifications that are accepted with it.
    fn accepted(&self) -> impl Iterator<Item = &'a Notification> {
        let news = self.answered.is_none().then_some(self.asked.notifications);
        let items = news.into_iter().flatten().zip(&self.items);
        items.filter_map(|(notification, item)| match item {
            Item::Accepted => Some(notification),
            Item::UnknownCustomer | Item::Ignored(_) | Item::RateLimited(_) => None,
        })
    }

    fn acceptance(self) -> Acceptance {
        self.answered.unwrap_or(Acceptance::Now(self.items))
    }
}

/// The events that may be news.
fn events<'r, 'a>(
    requests: &'r [Request<'a>],
    known: &'r KnownCustomers,
) -> impl Iterator<Item = &'a BookingEvent> {
    let open = requests.iter().filter(|request| request.answered.is_none());
    let events = open.filter_map(|request| request.asked.event);
    events.filter(|event| known.contains(event.customer) && !event.says_unchanged)
}

/// Leaves out what was heard and counted of requests that came before.
fn judge_again(
    requests: &[Request<'_>],
    known: &KnownCustomers,
    bookings: &mut Bookings,
    budgets: &mut Budgets,
) -> Result<(), StoreError> {
    bookings.forget();
    budgets.forget();
    let open = requests.iter().filter(|request| request.answered.is_none());
    for request in open {
        if request.items(known, bookings, budgets) != request.items {
            return Err(IN_EACH_OTHERS_WAY);
        }
    }
    Ok(())
}

/// Those that are not answered yet.
fn open<'r, 'a>(requests: &'r mut [Request<'a>]) -> impl Iterator<Item = &'r mut Request<'a>> {
    requests
        .iter_mut()
        .filter(|request| request.answered.is_none())
}

/// The keys of those that are not answered yet.
fn keys<'a>(requests: &[Request<'a>]) -> impl Iterator<Item = &'a IdempotencyKey> {
    let open = requests.iter().filter(|request| request.answered.is_none());
    open.filter_map(Request::key)
}

fn to_keep<'r>(
    requests: &'r [Request<'_>],
) -> impl Iterator<Item = (&'r IdempotencyKey, &'r KeptAnswer)> {
    requests
        .iter()
        .filter_map(|request| request.key().zip(request.keeps.as_ref()))
}

/// Answers those whose keys are there with another answer than theirs.
fn answer_known(requests: &mut [Request<'_>], kept: &Kept) {
    for request in open(requests) {
        let Some(key) = request.key() else { continue };
        request.answered = match kept.say(key, request.keeps.as_ref()) {
            Said::Nothing | Said::First => None,
            Said::Before(answer) => Some(Acceptance::Before(answer.clone())),
            Said::Other => Some(Acceptance::KeyReused),
        };
    }
}

/// It takes the place of what is older, if it has a collapse key and is sent at once.
fn newest(notification: &Notification) -> Option<Raised<'_>> {
    let key = notification
        .collapse_key
        .as_ref()
        .filter(|_| notification.send_at.is_none())?;
    Some(Raised {
        customer: notification.customer,
        key,
        notification: notification.id,
        at: notification.created_at,
        scheduled: false,
    })
}

/// The customers that exist, now that those were created that may be. What is accepted takes over the mark of an erasure
/// that is seen here: an erasure that comes after this look was there after it.
async fn customers_of(
    connection: &mut MySqlConnection,
    requests: &[Request<'_>],
    unknown: UnknownCustomer,
) -> Result<KnownCustomers, StoreError> {
    let open = requests.iter().filter(|request| request.answered.is_none());
    let customers = open.flat_map(|request| request.asked.customers());
    let customers: HashSet<CustomerId> = customers.collect();
    let customers: Vec<CustomerId> = customers.into_iter().collect();
    let mut known = customers::known(connection, &customers).await?;
    if unknown == UnknownCustomer::Create && known.len() < customers.len() {
        let missing: Vec<CustomerId> = customers
            .into_iter()
            .filter(|customer| !known.contains(*customer))
            .collect();
        let created = customers::create(connection, &missing).await?;
        known.extend(customers::known(connection, &created).await?);
    }
    Ok(known)
}

async fn insert(
    connection: &mut MySqlConnection,
    keys: &Keyring,
    requests: &[Request<'_>],
    known: &KnownCustomers,
    due_at: DateTime<Utc>,
) -> Result<(), StoreError> {
    let with_origin = requests.iter().flat_map(|request| {
        let accepted = request.accepted();
        accepted.map(|notification| (notification, request.asked.origin))
    });
    let with_origin: Vec<(&Notification, &str)> = with_origin.collect();
    for some in bulk::some_rows(&with_origin, ROWS_MAX) {
        let mut insert = sqlx::query(bulk::for_rows(INSERT, some.len()));
        for (notification, origin) in some {
            let mark = known.erasure_mark(notification.customer);
            insert = bind_row(insert, keys, notification, origin, mark, due_at)?;
        }
        insert.execute(&mut *connection).await?;
    }
    let accepted: Vec<&Notification> = with_origin.iter().map(|(accepted, _)| *accepted).collect();
    let mut changes = Changes::accepted(&accepted);
    end_late(connection, &accepted, &mut changes).await?;
    changes.write(connection).await
}

pub(crate) type Insert<'q> = Query<'q, MySql, MySqlArguments>;

/// [`INSERT`] for one, whose customer was never erased.
pub(crate) fn insert_row<'q>(
    keys: &Keyring,
    notification: &'q Notification,
    origin: &str,
    due_at: DateTime<Utc>,
) -> Result<Insert<'q>, StoreError> {
    let insert = sqlx::query(bulk::for_rows(INSERT, 1));
    bind_row(insert, keys, notification, origin, 0, due_at)
}

/// The values of a row of [`INSERT`].
fn bind_row<'q>(
    insert: Insert<'q>,
    keys: &Keyring,
    notification: &'q Notification,
    origin: &str,
    erasure_mark: u64,
    due_at: DateTime<Utc>,
) -> Result<Insert<'q>, StoreError> {
    let content = &notification.content;
    let sealed = sealed(keys, notification.id.as_uuid(), content)?;
    let clear = sealed.is_none();
    let send_at = notification.send_at.map(millis);
    let due = notification.send_at.map_or(Due::Overdue, |_| Due::Timed);
    // A map of strings always serializes.
    let data = clear.then(|| serde_json::to_string(&content.data).unwrap_or_default());
    let image_url = content.image_url.as_ref().filter(|_| clear);
    Ok(insert
        .bind(notification.id.as_uuid())
        .bind(notification.customer.get())
        .bind(notification.kind.as_str())
        .bind(if clear { content.title.as_str() } else { "" })
        .bind(if clear { content.body.as_str() } else { "" })
        .bind(data)
        .bind(image_url.map(|url| url.as_str()))
        .bind(sealed)
        .bind(notification.priority.as_str())
        .bind(notification.collapse_key.as_ref().map(|key| key.as_str()))
        .bind(millis(notification.created_at))
        .bind(send_at)
        .bind(millis(notification.expires_at))
        .bind(send_at.unwrap_or(millis(due_at)))
        .bind(send_at)
        .bind(due.unpublished())
        .bind(lines(&[told(notification, origin)]))
        .bind(erasure_mark))
}

fn told(notification: &Notification, origin: &str) -> TimelineEntry {
    let spelled = |time: DateTime<Utc>| time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
    let not_before = notification.send_at.map_or(String::new(), |send_at| {
        format!(" not before {}, and", spelled(send_at))
    });
    let text = format!(
        "accepted{}{origin} for customer {}, to be sent{not_before} before {}",
        if origin.is_empty() { "" } else { " " },
        notification.customer,
        spelled(notification.expires_at),
    );
    TimelineEntry::new(millis(notification.created_at), Step::Accepted, text)
}
