//! `console_sessions`: who is signed in to the console, on whichever replica. None of it opens anything by itself: a
//! session has the rights that its API key has at the moment it is used.

use chrono::{DateTime, Utc};

use crate::Store;
use crate::decode::millis;
use crate::error::StoreError;

const BEGIN_SESSION: &str = "\
    INSERT INTO console_sessions (session_hash, key_name, key_hash, expires_at) VALUES (?, ?, ?, ?)";

const LIVE_SESSION: &str = "\
    SELECT key_name, key_hash, expires_at FROM console_sessions WHERE session_hash = ? AND expires_at > ?";

const END_SESSION: &str = "DELETE FROM console_sessions WHERE session_hash = ?";

const PURGE_SESSIONS: &str =
    "DELETE FROM console_sessions WHERE expires_at < ? ORDER BY expires_at LIMIT ?";

#[cfg(test)]
pub(crate) const STATEMENTS: &[(&str, &str)] = &[
    ("BEGIN_SESSION", BEGIN_SESSION),
    ("LIVE_SESSION", LIVE_SESSION),
    ("END_SESSION", END_SESSION),
    ("PURGE_SESSIONS", PURGE_SESSIONS),
];

/// SHA-256 of the secret that a browser keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionHash(pub [u8; 32]);

/// With which API key somebody signed in, and until when that holds.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Session {
    /// The key's name.
    pub key_name: String,
    /// SHA-256 of the key's hash.
    pub key_hash: Vec<u8>,
    /// The end.
    pub expires_at: DateTime<Utc>,
}

impl Store {
    /// Begins a session.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked.
    pub async fn begin_session(
        &self,
        hash: SessionHash,
        session: &Session,
    ) -> Result<(), StoreError> {
        sqlx::query(BEGIN_SESSION)
            .bind(hash.0.as_slice())
            .bind(&session.key_name)
            .bind(&session.key_hash)
            .bind(millis(session.expires_at))
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// The session, if there is one that is not over.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked.
    pub async fn session(
        &self,
        hash: SessionHash,
        now: DateTime<Utc>,
    ) -> Result<Option<Session>, StoreError> {
        let session = sqlx::query_as(LIVE_SESSION)
            .bind(hash.0.as_slice())
            .bind(millis(now));
        Ok(session.fetch_optional(&self.pool).await?)
    }

    /// Ends a session. There may be none.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked.
    pub async fn end_session(&self, hash: SessionHash) -> Result<(), StoreError> {
        sqlx::query(END_SESSION)
            .bind(hash.0.as_slice())
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Forgets sessions that were over by `until`, `limit` at most. Returns how many.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked.
    pub async fn purge_sessions(
        &self,
        until: DateTime<Utc>,
        limit: u32,
    ) -> Result<u64, StoreError> {
        self.purge(PURGE_SESSIONS, until, limit).await
    }
}
