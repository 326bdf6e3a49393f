//! One dead letter with all that is known of it, and what came of it.

use push_core::id::NotificationId;
use push_core::job::TrailEntry;
use push_core::outcome::Cause;
use push_core::settle::DeliveryOutcome;
use push_seal::Keyring;
use sqlx::FromRow;
use sqlx::types::Json;

use super::list::LetterViewRow;
use super::{DeadLetterId, KeptBytes, LetterDetails, TargetNow};
use crate::decode::Row;
use crate::error::StoreError;
use crate::{Store, sealing};

const LETTER: &str = "\
    SELECT id, notification_id, customer_id, provider, platform, token_masked, reason, error_code, error_text, \
        attempts, created_at, state, replayed_at, replayed_by, discarded_at, discarded_by, discard_reason, \
        registration_id, trail, raw, raw_bytes \
    FROM dead_letters WHERE id = ?";

/// Of a job as a whole, whatever was given up after it.
const NEWER: &str = "\
    SELECT id FROM dead_letters FORCE INDEX (notification) \
    WHERE notification_id = ? AND id > ? \
        AND (? IS NULL OR registration_id IS NULL OR (registration_id = ? AND provider = ?)) \
    ORDER BY id LIMIT 1";

const TARGET: &str = "\
    SELECT outcome, provider_id, attempts, maybe_delivered, error_code, error_text, at \
    FROM notification_deliveries WHERE notification_id = ? AND registration_id = ? AND provider = ?";

#[cfg(test)]
pub(crate) const STATEMENTS: &[(&str, &str)] =
    &[("LETTER", LETTER), ("NEWER", NEWER), ("TARGET", TARGET)];

impl Store {
    /// The dead letter; `None` when there is none of that id.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked.
    pub async fn dead_letter(&self, id: DeadLetterId) -> Result<Option<LetterDetails>, StoreError> {
        self.opening(|keys| self.dead_letter_with(keys, id)).await
    }

    async fn dead_letter_with(
        &self,
        keys: Keyring,
        id: DeadLetterId,
    ) -> Result<Option<LetterDetails>, StoreError> {
        let row: Option<DetailsRow> = sqlx::query_as(LETTER)
            .bind(id.0)
            .fetch_optional(&self.pool)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let registration = row.registration_id;
        let mut details = row.details(&keys)?;
        let Some(notification) = details.letter.notification else {
            return Ok(Some(details));
        };
        let states = self.states(&[notification]).await?;
        details.notification = states.get(&notification).copied();
        let provider = details.letter.provider.map(|provider| provider.as_str());
        details.newer = sqlx::query_scalar(NEWER)
            .bind(notification.as_uuid())
            .bind(id.0)
            .bind(registration)
            .bind(registration)
            .bind(provider)
            .fetch_optional(&self.pool)
            .await?
            .map(DeadLetterId);
        if let (Some(registration), Some(provider)) = (registration, provider) {
            details.target = self
                .target_now(notification, registration, provider)
                .await?;
        }
        Ok(Some(details))
    }

    async fn target_now(
        &self,
        notification: NotificationId,
        registration: u64,
        provider: &'static str,
    ) -> Result<Option<TargetNow>, StoreError> {
        let row: Option<TargetRow> = sqlx::query_as(TARGET)
            .bind(notification.as_uuid())
            .bind(registration)
            .bind(provider)
            .fetch_optional(&self.pool)
            .await?;
        row.map(|row| row.now(registration)).transpose()
    }
}

#[derive(FromRow)]
struct DetailsRow {
    #[sqlx(flatten)]
    letter: LetterViewRow,
    registration_id: Option<u64>,
    trail: Option<Json<Vec<TrailEntry>>>,
    raw: Option<String>,
    raw_bytes: Option<u32>,
}

impl DetailsRow {
    fn details(self, keys: &Keyring) -> Result<LetterDetails, StoreError> {
        let letter = self.letter.view()?;
        let at = Row {
            table: "dead_letters",
            key: letter.id.0,
        };
        let place = sealing::letter_raw(letter.created_at);
        let raw = self
            .raw
            .map(|raw| sealing::open(keys, &place, raw, &at, "raw"));
        let raw = raw.transpose()?;
        Ok(LetterDetails {
            letter,
            trail: self.trail.map(|trail| trail.0).unwrap_or_default(),
            bytes: raw
                .zip(self.raw_bytes)
                .map(|(base64, length)| KeptBytes { base64, length }),
            notification: None,
            target: None,
            newer: None,
        })
    }
}

#[derive(FromRow)]
struct TargetRow {
    outcome: String,
    provider_id: Option<String>,
    attempts: u32,
    maybe_delivered: bool,
    error_code: Option<String>,
    error_text: Option<String>,
    at: chrono::DateTime<chrono::Utc>,
}

impl TargetRow {
    fn now(self, registration: u64) -> Result<TargetNow, StoreError> {
        let at = Row {
            table: "notification_deliveries",
            key: registration,
        };
        let text = self.error_text.unwrap_or_default();
        Ok(TargetNow {
            outcome: at.read("outcome", DeliveryOutcome::from_spelling(&self.outcome))?,
            provider_id: self.provider_id,
            attempts: self.attempts,
            maybe_delivered: self.maybe_delivered,
            error: self.error_code.map(|code| Cause { code, text }),
            at: self.at,
        })
    }
}
