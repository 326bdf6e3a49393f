//! Locking dead letters before something is decided about them.

use chrono::{DateTime, Utc};
use push_core::provider::Provider;
use push_core::token::MaskedToken;
use push_seal::Keyring;
use sqlx::{FromRow, MySqlConnection};
use uuid::Uuid;

use super::{DeadLetterId, Refusal};
use crate::decode::Row;
use crate::error::StoreError;
use crate::{bulk, sealing};

/// Row by row in the order of the array, as the history is locked.
const LOCK_LETTERS: &str = "\
    SELECT letter.id, letter.notification_id, letter.registration_id, letter.provider, letter.token_masked, \
        letter.state, letter.job, letter.raw, letter.raw_bytes, letter.emptied, letter.created_at \
    FROM (SELECT id FROM JSON_TABLE(?, '$[*]' COLUMNS (id BIGINT UNSIGNED PATH '$')) AS listed) AS wanted \
    STRAIGHT_JOIN dead_letters AS letter FORCE INDEX (PRIMARY) ON letter.id = wanted.id \
    FOR UPDATE";

#[cfg(test)]
pub(crate) const STATEMENTS: &[(&str, &str)] = &[("LOCK_LETTERS", LOCK_LETTERS)];

/// A dead letter that nobody else changes until the transaction ends.
#[derive(FromRow)]
pub(super) struct LockedLetter {
    pub(super) id: u64,
    pub(super) notification_id: Option<Uuid>,
    pub(super) registration_id: Option<u64>,
    provider: Option<String>,
    token_masked: Option<String>,
    state: String,
    pub(super) job: Option<String>,
    pub(super) raw: Option<String>,
    pub(super) raw_bytes: Option<u32>,
    /// Its content is gone.
    pub(super) emptied: u8,
    created_at: DateTime<Utc>,
}

impl LockedLetter {
    /// To be replayed. What does not open is as good as cut.
    pub(super) fn open(mut self, keys: &Keyring) -> Result<Self, StoreError> {
        let at = Row {
            table: "dead_letters",
            key: self.id,
        };
        let place = sealing::letter_job(
            self.notification_id,
            self.registration_id,
            self.provider.as_deref(),
        );
        let opened = |place, value: Option<String>, column| {
            let opened = value.map(|value| sealing::open(keys, place, value, &at, column));
            match opened.transpose() {
                Err(error) if !error.is_unavailable() => Ok(Some(String::new())),
                other => other,
            }
        };
        self.job = opened(&place, self.job.take(), "job")?;
        let place = sealing::letter_raw(self.created_at);
        self.raw = opened(&place, self.raw.take(), "raw")?;
        Ok(self)
    }

    /// Why nothing more can be done with it, if somebody has done something already.
    pub(super) fn closed(&self) -> Option<Refusal> {
        match self.state.as_str() {
            "open" => None,
            "replayed" => Some(Refusal::AlreadyReplayed),
            _ => Some(Refusal::AlreadyDiscarded),
        }
    }

    /// The provider that was asked last.
    pub(super) fn provider(&self) -> Option<Provider> {
        self.provider.as_deref().and_then(Provider::from_spelling)
    }

    /// What it is about, for people.
    pub(super) fn told(&self) -> String {
        match (&self.provider, &self.token_masked) {
            (Some(provider), Some(token)) => {
                let token = MaskedToken::from_stored(token.clone());
                format!("{provider} {}", token.as_str())
            }
            (Some(provider), None) => provider.clone(),
            (None, _) => "the whole job".to_owned(),
        }
    }
}

/// Locks the rows of `ids` in the order of the key; those that do not exist are left out.
pub(super) async fn lock(
    connection: &mut MySqlConnection,
    ids: &[DeadLetterId],
) -> Result<Vec<LockedLetter>, StoreError> {
    Ok(sqlx::query_as(LOCK_LETTERS)
        .bind(array(ids)?)
        .fetch_all(connection)
        .await?)
}

/// The parameter for letters, in the order of the key.
pub(crate) fn array(ids: &[DeadLetterId]) -> Result<String, StoreError> {
    let mut ids: Vec<u64> = ids.iter().map(|id| id.0).collect();
    ids.sort_unstable();
    ids.dedup();
    bulk::array(&ids)
}
