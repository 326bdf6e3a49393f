//! Discarding dead letters: somebody has looked, and nothing is to follow.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sqlx::MySqlConnection;

use super::letter::closed_key;
use super::lock::{array, lock};
use super::{DeadLetterId, Discard, Refusal};
use crate::Store;
use crate::decode::millis;
use crate::error::StoreError;
use crate::retry::Tries;

const DISCARD: &str = concat!(
    "\
    UPDATE JSON_TABLE(?, '$[*]' COLUMNS (id BIGINT UNSIGNED PATH '$')) AS chosen \
    STRAIGHT_JOIN dead_letters AS letter FORCE INDEX (PRIMARY) ON letter.id = chosen.id \
    SET letter.discarded_at = ?, letter.discarded_by = ?, letter.discard_reason = ?, letter.dedupe_key = ",
    closed_key!(),
    " WHERE letter.replayed_at IS NULL AND letter.discarded_at IS NULL"
);

#[cfg(test)]
pub(crate) const STATEMENTS: &[(&str, &str)] = &[("DISCARD", DISCARD)];

impl Store {
    /// Discards one dead letter, or says why not.
    ///
    /// # Errors
    /// [`StoreError`]; then nothing was changed, unless the connection broke during the commit.
    pub async fn discard_dead_letter(
        &self,
        id: DeadLetterId,
        how: &Discard,
        now: DateTime<Utc>,
    ) -> Result<Result<(), Refusal>, StoreError> {
        let mut tries = Tries::new();
        loop {
            let discarded = async {
                let mut transaction = self.pool.begin().await?;
                let judged = discard_in(&mut transaction, &[id], how, now).await?;
                transaction.commit().await?;
                Ok(judged
                    .into_iter()
                    .next()
                    .map_or(Ok(()), |(_, judged)| judged))
            };
            match discarded.await {
                Err(error) if tries.again(&error).await => {}
                result => return result,
            }
        }
    }
}

/// Discards those that are open, and says of each what became of it, in the order of the key.
pub(crate) async fn discard_in(
    connection: &mut MySqlConnection,
    ids: &[DeadLetterId],
    how: &Discard,
    now: DateTime<Utc>,
) -> Result<Vec<(DeadLetterId, Result<(), Refusal>)>, StoreError> {
    let letters = lock(connection, ids).await?;
    let closed: HashMap<u64, Option<Refusal>> = letters
        .iter()
        .map(|letter| (letter.id, letter.closed()))
        .collect();
    let judge = |id: &DeadLetterId| match closed.get(&id.0) {
        None => (*id, Err(Refusal::Unknown)),
        Some(Some(refusal)) => (*id, Err(*refusal)),
        Some(None) => (*id, Ok(())),
    };
    let judged: Vec<_> = ids.iter().map(judge).collect();
    let open: Vec<_> = judged
        .iter()
        .filter(|(_, judged)| judged.is_ok())
        .map(|(id, _)| *id)
        .collect();
    if open.is_empty() {
        return Ok(judged);
    }
    let changed = sqlx::query(DISCARD)
        .bind(array(&open)?)
        .bind(millis(now))
        .bind(&how.by)
        .bind(&how.reason)
        .execute(connection)
        .await?
        .rows_affected();
    if changed == open.len() as u64 {
        Ok(judged)
    } else {
        Err(StoreError::Unusable(
            "an open dead letter was not discarded",
        ))
    }
}
