//! What is past its time already when it is accepted: it ends in the same transaction, and no queue ever sees it (P3).

use push_core::job::Job;
use push_core::notification::Notification;
use push_core::settle::suppress;
use push_core::status::{Ending, Reason};
use push_core::wanted::Suppression;
use serde::Serialize;
use sqlx::MySqlConnection;

use super::timeline::lines;
use crate::bulk::{self, KEYS_MAX};
use crate::error::StoreError;
use crate::stats::{Changes, Counted, Standing};

const END_LATE: &str = "\
    UPDATE JSON_TABLE(?, '$[*]' COLUMNS ( \
            id CHAR(32) PATH '$.id', \
            reason MEDIUMTEXT CHARACTER SET utf8mb4 PATH '$.reason', \
            fcm_result MEDIUMTEXT CHARACTER SET utf8mb4 PATH '$.fcm_result', \
            expo_result MEDIUMTEXT CHARACTER SET utf8mb4 PATH '$.expo_result', \
            timeline MEDIUMTEXT CHARACTER SET utf8mb4 PATH '$.timeline' \
        )) AS late \
    STRAIGHT_JOIN notification_history AS history FORCE INDEX (notification) \
        ON history.notification_id = UNHEX(late.id) \
    SET history.status = 'suppressed', history.reason = late.reason, history.fcm_result = late.fcm_result, \
        history.expo_result = late.expo_result, history.completed_at = history.created_at, history.due_at = NULL, \
        history.timeline = CONCAT(history.timeline, late.timeline)";

#[cfg(test)]
pub(crate) const STATEMENTS: &[(&str, &str)] = &[("END_LATE", END_LATE)];

/// Ends those of them, and adds that to what is counted.
pub(super) async fn end_late(
    connection: &mut MySqlConnection,
    accepted: &[&Notification],
    changes: &mut Changes,
) -> Result<(), StoreError> {
    let late = accepted
        .iter()
        .filter(|notification| notification.is_late());
    let mut rows = Vec::new();
    for notification in late {
        let job = Job::first((*notification).clone());
        let ended = suppress(&job, Suppression::Expired, notification.created_at);
        let standing = Standing {
            ending: Ending::Suppressed(Reason::Expired),
            results: ended.results,
            sent_at: None,
        };
        changes.moved(&Counted::of(notification), None, Some(&standing));
        rows.push(LateRow {
            id: bulk::id(notification.id),
            reason: Reason::Expired.as_str(),
            fcm_result: ended.results.fcm.as_str(),
            expo_result: ended.results.expo.as_str(),
            timeline: lines(&ended.timeline),
        });
    }
    for some in bulk::arrays(&rows, KEYS_MAX)? {
        sqlx::query(END_LATE)
            .bind(some.json)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

/// An element of [`END_LATE`]'s array.
#[derive(Serialize)]
struct LateRow {
    id: String,
    reason: &'static str,
    fcm_result: &'static str,
    expo_result: &'static str,
    timeline: String,
}
