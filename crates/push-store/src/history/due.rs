//! Pending notifications that no queue knows any more: what the reconciler works on.

use chrono::{DateTime, TimeDelta, Utc};
use push_core::id::NotificationId;
use push_core::job::Job;
use push_core::timeline::TimelineEntry;
use push_seal::Keyring;
use sqlx::FromRow;

use super::content::NotificationRow;
use super::timeline::{bounded, lines};
use super::{Due, DueJob, DueTaken, TABLE, WhyDue};
use crate::Store;
use crate::bulk::{self, KEYS_MAX};
use crate::collapse::{self, Raised};
use crate::decode::{Row, millis};
use crate::devices::count_up;
use crate::error::StoreError;
use crate::quiet;
use crate::retry::Tries;
use crate::sealing;

/// What is locked is in somebody's hands just now. It is left for the next look, so that one lock whose owner is gone does
/// not keep all the others waiting.
const DUE: &str = "\
    SELECT notification_id, customer_id, notification_type, title, body, data, image_url, sealed, priority, collapse_key, \
        created_at, send_at, expires_at, round, due_at, next_job \
    FROM notification_history FORCE INDEX (status_due) \
    WHERE status = 'pending' AND unpublished = ? AND due_at <= ? \
        AND (claimed_until IS NULL OR claimed_until <= NOW(3)) \
    ORDER BY due_at LIMIT ? FOR UPDATE SKIP LOCKED";

const LATER: &str = "\
    UPDATE notification_history FORCE INDEX (notification) \
    SET due_at = ? WHERE notification_id = ? AND status = 'pending'";

/// What waits in the database anyway comes by itself, at its time.
const UNPUBLISHED: &str = "\
    UPDATE JSON_TABLE(?, '$[*]' COLUMNS (id CHAR(32) PATH '$')) AS unpublished \
    STRAIGHT_JOIN notification_history AS history FORCE INDEX (notification) \
        ON history.notification_id = UNHEX(unpublished.id) \
    SET history.due_at = GREATEST(?, COALESCE(history.next_at, history.created_at)), history.unpublished = TRUE \
    WHERE history.status = 'pending' AND history.due_at > ? AND history.unpublished = FALSE";

/// One look at the front of the index.
const FIRST_TIMED: &str = "\
    SELECT due_at FROM notification_history FORCE INDEX (status_due) \
    WHERE status = 'pending' AND unpublished = ? ORDER BY due_at LIMIT 1";

const PUSHED_BACK: &str = "\
    UPDATE JSON_TABLE(?, '$[*]' COLUMNS (id CHAR(32) PATH '$')) AS published \
    STRAIGHT_JOIN notification_history AS history FORCE INDEX (notification) \
        ON history.notification_id = UNHEX(published.id) \
    SET history.due_at = ?, history.unpublished = FALSE";

const TELL: &str = concat!(
    "\
    UPDATE JSON_TABLE(?, '$[*]' COLUMNS (id CHAR(32) PATH '$')) AS published \
    STRAIGHT_JOIN notification_history AS history FORCE INDEX (notification) \
        ON history.notification_id = UNHEX(published.id) \
    SET history.timeline = CONCAT(",
    bounded!("history.timeline"),
    ", ?) \
    WHERE (history.status = 'pending' OR ?) AND COALESCE(SUBSTRING_INDEX(history.timeline, CHAR(10), -2), '') NOT LIKE ?"
);

#[cfg(test)]
pub(crate) const STATEMENTS: &[(&str, &str)] = &[
    ("DUE", DUE),
    ("LATER", LATER),
    ("UNPUBLISHED", UNPUBLISHED),
    ("PUSHED_BACK", PUSHED_BACK),
    ("TELL", TELL),
    ("FIRST_TIMED", FIRST_TIMED),
];

/// When to look again at a row that cannot be read: someone has to mend it first.
const CORRUPT_PAUSE: TimeDelta = TimeDelta::hours(1);

impl Store {
    /// Makes due what the broker surely did not take, the first job or a later one: at once, or when the wait is over that a
    /// retry was to spend on its rung. (What it may have taken becomes due by itself, after the grace.)
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked; they become due later by themselves.
    pub async fn mark_unpublished(
        &self,
        ids: &[NotificationId],
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        for some in ids.chunks(KEYS_MAX) {
            sqlx::query(UNPUBLISHED)
                .bind(bulk::ids(some)?)
                .bind(millis(now))
                .bind(millis(now))
                .execute(&self.pool)
                .await?;
        }
        Ok(())
    }

    /// Takes the pending notifications that are due `before` a time and in nobody's hands, longest first, with the job that
    /// comes next for each. They are about to be published, and are not due before `until`. A row that cannot be
    /// read is logged and looked at again in an hour; it does not keep the others waiting. What was scheduled takes the
    /// place of older ones with its collapse key.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked; then all stay due, unless the connection broke during the commit.
    pub async fn take_due(
        &self,
        which: Due,
        before: DateTime<Utc>,
        until: DateTime<Utc>,
        limit: u32,
    ) -> Result<DueTaken, StoreError> {
        let mut tries = Tries::new();
        loop {
            let taken = self.opening(|keys| self.take_due_once(keys, which, before, until, limit));
            match taken.await {
                Err(error) if tries.again(&error).await => {}
                result => return result,
            }
        }
    }

    async fn take_due_once(
        &self,
        keys: Keyring,
        which: Due,
        before: DateTime<Utc>,
        until: DateTime<Utc>,
        limit: u32,
    ) -> Result<DueTaken, StoreError> {
        let mut transaction = self.pool.begin().await?;
        let rows: Vec<DueRow> = sqlx::query_as(DUE)
            .bind(which.unpublished())
            .bind(millis(before))
            .bind(limit)
            .fetch_all(&mut *transaction)
            .await?;
        let mut taken = DueTaken::default();
        for row in rows {
            let id = row.notification.notification_id;
            match row.due(&keys) {
                Ok(job) => taken.jobs.push(job),
                Err(error) if error.is_unavailable() => {
                    // Before it is asked again, which would pass over what is still locked.
                    transaction.rollback().await?;
                    return Err(error);
                }
                Err(error) => {
                    tracing::error!(notification.id = %id, %error, "a due notification cannot be read; again in an hour");
                    sqlx::query(LATER)
                        .bind(millis(before + CORRUPT_PAUSE))
                        .bind(id)
                        .execute(&mut *transaction)
                        .await?;
                }
            }
        }
        let ids: Vec<_> = taken
            .jobs
            .iter()
            .map(|due| due.job.notification.id)
            .collect();
        if which == Due::Timed {
            let quiet = quiet::over(&mut transaction, &ids).await?;
            for due in &mut taken.jobs {
                due.why = if quiet.contains(&due.job.notification.id) {
                    WhyDue::QuietHoursOver
                } else {
                    WhyDue::TimeCame
                };
            }
        }
        for some in ids.chunks(KEYS_MAX) {
            sqlx::query(PUSHED_BACK)
                .bind(bulk::ids(some)?)
                .bind(millis(until))
                .execute(&mut *transaction)
                .await?;
        }
        if which == Due::Timed {
            let newest = taken.jobs.iter().filter_map(newest);
            let overtaken = collapse::raise(&mut transaction, newest).await?;
            taken.changed = count_up(&mut transaction, &overtaken).await?;
        }
        transaction.commit().await?;
        Ok(taken)
    }

    /// When the first of those that wait for a chosen time is due; `None` where none waits.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked.
    pub async fn next_timed(&self) -> Result<Option<DateTime<Utc>>, StoreError> {
        let due_at = sqlx::query_scalar(FIRST_TIMED)
            .bind(Due::Timed.unpublished())
            .fetch_optional(&self.pool)
            .await?;
        Ok(due_at)
    }

    /// Adds `entry` to their timelines, where those do not end with one of its kind; `also_ended`: or only to those that
    /// are pending.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked; then some do not tell.
    pub async fn tell(
        &self,
        ids: &[NotificationId],
        entry: &TimelineEntry,
        also_ended: bool,
    ) -> Result<(), StoreError> {
        for some in ids.chunks(KEYS_MAX) {
            sqlx::query(TELL)
                .bind(bulk::ids(some)?)
                .bind(lines(std::slice::from_ref(entry)))
                .bind(also_ended)
                .bind(format!("%\"step\":\"{}\"%", entry.step))
                .execute(&self.pool)
                .await?;
        }
        Ok(())
    }
}

/// Its time makes it the newest of its collapse key, if it was scheduled and has one.
fn newest(due: &DueJob) -> Option<Raised<'_>> {
    let notification = &due.job.notification;
    let first = due.job.round == 1;
    Some(Raised {
        customer: notification.customer,
        key: notification.collapse_key.as_ref()?,
        notification: notification.id,
        at: notification.send_at.filter(|_| first)?,
        scheduled: true,
    })
}

#[derive(FromRow)]
struct DueRow {
    #[sqlx(flatten)]
    notification: NotificationRow,
    round: u32,
    due_at: DateTime<Utc>,
    next_job: Option<String>,
}

impl DueRow {
    fn due(self, keys: &Keyring) -> Result<DueJob, StoreError> {
        let row = self;
        let at = Row {
            table: TABLE,
            key: row.notification.notification_id,
        };
        let (due_at, recorded) = (row.due_at, row.round);
        let mut job = match row.next_job {
            Some(next) => sealing::read_next_job(keys, next, &at)?,
            None => Job::first(row.notification.read(keys)?),
        };
        // Whatever was recorded, the next round must be news to the worker.
        job.round = job.round.max(recorded.saturating_add(1));
        let why = WhyDue::Lost;
        Ok(DueJob { job, due_at, why })
    }
}
