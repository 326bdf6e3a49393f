//! What the functions usually get: the news that a technician has arrived, for a customer with one phone.

use std::sync::Arc;

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use push_api::catalogue::Catalogue;
use push_api::counted::read;
use push_api::privacy::Guard;
use push_core::id::{NotificationId, RegistrationId};
use push_core::job::Job;
use push_core::notification::Notification;
use push_core::plan::Device;
use push_core::provider::Platform;
use push_core::token::{ExpoToken, FcmToken, Token};
use push_providers::Push;
use push_seal::Keyring;
use uuid::Uuid;

/// As the guide sends it.
pub const BODY: &str = r#"{
    "id": 123,
    "title": "Technician has arrived! ✅",
    "body": "Ravi Kumar has reached your location and is ready to start. (Booking: TRK123)",
    "data": {
        "type": "reached",
        "bookingId": 456,
        "trackId": "TRK123",
        "status": "Reached",
        "techName": "Ravi Kumar",
        "priority": "high"
    }
}"#;

/// A key that anybody may know.
const KEYS: &str = "a:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
/// As long as FCM's are.
const FCM_TOKEN: &str = "fXk2b9QdT0m7Yw1sLr5Jzp:APA91bE3nVx8cUoKq4RtGh6yWm2PjSa9ZlDf7CiBv5NeXr1TuYkQw0HsMg4JpLz8OaFdIc3VbE7xRn6UtKy2\
    WmGqSj9PhLo5ZfDa1CiXv4Be8NrTuYk7Qw0Hs";
const EXPO_TOKEN: &str = "ExponentPushToken[xxxxxxxxxxxxxxxxxxxxxx]";

/// When everything happens.
pub fn now() -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + chrono::TimeDelta::seconds(1_900_000_000)
}

pub fn keys() -> anyhow::Result<Keyring> {
    Ok(Keyring::parse(KEYS)?)
}

pub fn catalogue() -> anyhow::Result<Catalogue> {
    Catalogue::load(None).map_err(|problems| anyhow::anyhow!(problems.join("; ")))
}

/// What [`BODY`] asks for, accepted [`now`].
pub fn notification() -> anyhow::Result<Notification> {
    let notification = read(BODY.as_bytes(), now(), &catalogue()?, Guard::Off);
    let notification = notification.map_err(|why| anyhow::anyhow!("{why:?}"))?;
    Ok(Notification {
        id: NotificationId::from(Uuid::from_u128(0x0198_c5a1_7c3e_7d0a_b7a5_3f6f_4f0e_9c11)),
        ..notification
    })
}

pub fn job() -> anyhow::Result<Job> {
    Ok(Job::first(notification()?))
}

/// The customer's phone, which both providers reach.
pub fn device() -> anyhow::Result<Device> {
    Ok(Device {
        registration: RegistrationId(789),
        device_id: None,
        platform: Platform::Android,
        fcm: Some(FcmToken::parse(FCM_TOKEN)?),
        expo: Some(ExpoToken::parse(EXPO_TOKEN)?),
    })
}

/// A push to it.
pub fn push(token: Token) -> anyhow::Result<Push> {
    Ok(Push {
        notification: Arc::new(notification()?),
        token,
        platform: Platform::Android,
        still_wanted: Arc::new(()),
    })
}

pub fn fcm_token() -> anyhow::Result<Token> {
    device()?.fcm.map(Token::Fcm).context("no token")
}

pub fn expo_token() -> anyhow::Result<Token> {
    device()?.expo.map(Token::Expo).context("no token")
}
