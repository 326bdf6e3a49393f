//! What is sealed in the database, and where each value belongs.
//!
//! Tokens are found by their SHA-256, which stays: a token is random and long, so nobody finds it by trying.

use std::fmt::Display;

use chrono::{DateTime, Utc};
use push_core::job::Job;
use push_core::provider::Provider;
use push_seal::{Keyring, Place, Unopened};
use uuid::Uuid;

use crate::decode::Row;
use crate::error::{StoreError, Unavailable};

/// `notification_history.sealed`.
pub(crate) fn content(notification: Uuid) -> Place {
    Place::of("notification_history.sealed", &[notification.as_bytes()])
}

/// `notification_history.next_job`.
pub(crate) fn next_job(notification: Uuid) -> Place {
    Place::of("notification_history.next_job", &[notification.as_bytes()])
}

/// The token columns of `customer_push_tokens`.
pub(crate) fn token(provider: Provider, customer: i64) -> Place {
    let column = match provider {
        Provider::Fcm => "customer_push_tokens.fcm_token",
        Provider::Expo => "customer_push_tokens.expo_push_token",
    };
    Place::of(column, &[&customer.to_le_bytes()])
}

/// `dead_letters.job`.
pub(crate) fn letter_job(
    notification: Option<Uuid>,
    registration: Option<u64>,
    provider: Option<&str>,
) -> Place {
    let registration = registration.unwrap_or_default();
    Place::of(
        "dead_letters.job",
        &[
            notification.unwrap_or_default().as_bytes(),
            &registration.to_le_bytes(),
            provider.unwrap_or_default().as_bytes(),
        ],
    )
}

/// `dead_letters.raw`.
pub(crate) fn letter_raw(created_at: DateTime<Utc>) -> Place {
    let created_at = created_at.timestamp_millis();
    Place::of("dead_letters.raw", &[&created_at.to_le_bytes()])
}

/// The value for its column.
pub(crate) fn seal(keys: &Keyring, place: &Place, clear: String) -> Result<String, StoreError> {
    keys.seal(place, clear)
        .map_err(|_| StoreError::Unusable("a value cannot be sealed"))
}

/// A job for its column.
pub(crate) fn seal_job(keys: &Keyring, place: &Place, job: &Job) -> Result<String, StoreError> {
    let json = String::from_utf8_lossy(&job.encode()).into_owned();
    seal(keys, place, json)
}

/// The value of a column.
pub(crate) fn open<K: Display>(
    keys: &Keyring,
    place: &Place,
    value: String,
    at: &Row<K>,
    column: &'static str,
) -> Result<String, StoreError> {
    keys.open(place, value).map_err(|why| match why {
        Unopened::UnknownKey(key) => Unavailable::KeyMissing(key).into(),
        Unopened::Damaged => at.corrupt(column, "it is sealed and does not open"),
    })
}

/// The job of `next_job`.
pub(crate) fn read_next_job(
    keys: &Keyring,
    value: String,
    at: &Row<Uuid>,
) -> Result<Job, StoreError> {
    let json = open(keys, &next_job(at.key), value, at, "next_job")?;
    at.read("next_job", Job::decode(json.as_bytes()).ok())
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    /// What was copied to another place does not open there.
    #[test]
    fn no_two_places_are_alike() {
        let [one, other] = [1, 2].map(Uuid::from_u128);
        let [then, later] =
            [0, 1].map(|millis| DateTime::UNIX_EPOCH + TimeDelta::milliseconds(millis));
        let (fcm, expo) = (Provider::Fcm, Provider::Expo);
        let places = [
            content(one),
            content(other),
            next_job(one),
            next_job(other),
            token(fcm, 1),
            token(fcm, 2),
            token(expo, 1),
            token(expo, 2),
            letter_job(None, None, None),
            letter_job(Some(one), None, None),
            letter_job(Some(other), None, None),
            letter_job(Some(one), Some(1), Some("fcm")),
            letter_job(Some(one), Some(2), Some("fcm")),
            letter_job(Some(one), Some(1), Some("expo")),
            letter_raw(then),
            letter_raw(later),
        ];
        for (index, place) in places.iter().enumerate() {
            assert_eq!(places.iter().position(|other| other == place), Some(index));
        }
    }
}
