//! Single values that callers and operators write: tokens, times, names, texts.
#![no_main]

use std::fmt::Display;
use std::sync::LazyLock;

use chrono::{DateTime, Utc};
use libfuzzer_sys::fuzz_target;
use push_core::booking::BookingId;
use push_core::id::DeviceId;
use push_core::ladder::{Ladder, RetryDelay};
use push_core::locale::Locale;
use push_core::notification::{Body, CollapseKey, Data, ImageUrl, NotificationType, SendAt, Title};
use push_core::preferences::{MandatoryTypes, QuietHours, TimeOfDay, zone};
use push_core::time;
use push_core::token::{ExpoToken, FcmToken, Token};
use push_seal::{Keyring, Place};

/// Stands in no complaint of ours.
const MARK: &str = "s3cr3t";

/// Reads a text; and the same with a mark, since a complaint says what is allowed and never what was given.
fn read<T, E: Display>(parse: impl Fn(&str) -> Result<T, E>, text: &str) -> Option<T> {
    if let Err(why) = parse(&format!("{text}{MARK}")) {
        assert!(
            !why.to_string().contains(MARK),
            "a complaint that repeats what was given"
        );
    }
    parse(text).ok()
}

static KEYS: LazyLock<Keyring> = LazyLock::new(|| {
    let keys = "k:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    Keyring::parse(keys).expect("a key")
});

fn masked(token: Token) {
    let masked = token.masked();
    assert!(!masked.as_str().contains(token.reveal()));
    assert!(!format!("{token:?}").contains(token.reveal()));
}

fuzz_target!(|text: &str| {
    let now = DateTime::<Utc>::UNIX_EPOCH;
    if let Some(token) = read(FcmToken::parse, text) {
        masked(Token::Fcm(token));
    }
    if let Some(token) = read(ExpoToken::parse, text) {
        masked(Token::Expo(token));
    }
    if let Ok(at) = time::parse(text) {
        assert_eq!(time::parse(&at.to_rfc3339()).ok(), Some(at));
    }
    let _ = SendAt::parse(text, now);
    read(DeviceId::parse, text);
    read(BookingId::parse, text);
    read(CollapseKey::parse, text);
    read(Title::parse, text);
    read(Body::parse, text);
    read(ImageUrl::parse, text);
    read(NotificationType::parse, text);
    if let Some(locale) = read(Locale::parse, text) {
        assert_eq!(Locale::parse(locale.as_str()).ok(), Some(locale));
    }
    let _ = MandatoryTypes::parse(text);
    let rungs: Result<Vec<_>, _> = text.split(',').map(RetryDelay::parse).collect();
    if let Ok(Ok(ladder)) = rungs.map(Ladder::configured) {
        assert_eq!(ladder.rungs().len() + 1, ladder.tries_max() as usize);
    }
    // A sealed value from the database or the broker; and what is sealed opens again.
    let _ = Keyring::parse(text);
    let place = Place::of("fuzz", &[]);
    if let Ok(opened) = KEYS.open(&place, text.to_owned()) {
        // What is not sealed is taken as it is.
        assert_eq!(opened, text);
        let sealed = KEYS.seal(&place, opened).expect("there is a key");
        assert_eq!(KEYS.open(&place, sealed).as_deref(), Ok(text));
    }
    // start, end and zone of quiet hours.
    let mut parts = text.splitn(3, ' ');
    if let (Some(start), Some(end), Some(name)) = (parts.next(), parts.next(), parts.next())
        && let (Ok(start), Ok(end), Ok(zone)) =
            (TimeOfDay::parse(start), TimeOfDay::parse(end), zone(name))
        && let Ok(quiet) = QuietHours::new(start, end, zone)
        && let Some(until) = quiet.end_after(now)
    {
        assert!(until > now);
    }
    if let Ok(serde_json::Value::Object(object)) = serde_json::from_str(text)
        && let Ok(data) = Data::parse(&object)
    {
        assert!(data.iter().count() <= 64);
    }
});
