//! What is sent: a notification's parts, each checked once at the door and right from then on.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::booking::BookingId;
use crate::id::{CustomerId, NotificationId};
use crate::provider::spelled;

/// Title, body, data keys and data values together, in bytes of UTF-8. Both providers end at 4,096
/// for everything; the rest is room for their envelopes, ours and the ids that are added.
pub const CONTENT_BYTES_MAX: usize = 3_500;

/// The same with the picture's address. Of the 4,096 bytes FCM counts 310 that we add: 155 of `data`
/// (`click_action`, `notificationId`, `tag`), 14 for the keys of title, body and image, 141 of Android's
/// part (`channel_id`, `sound`, `notification_priority`, `tag`), with the longest tag and the guide's
/// sound, channel and click action. Those three may have 86 bytes more before a largest push is refused.
pub const CONTENT_AND_IMAGE_BYTES_MAX: usize = 3_700;

/// A notification as it was accepted. Its parts have been checked; it never changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    /// Its id for life.
    pub id: NotificationId,
    /// Whom it is for.
    pub customer: CustomerId,
    /// What kind of news it is.
    pub kind: NotificationType,
    /// What the customer reads, and what the app gets.
    pub content: Content,
    /// How urgently the device is woken.
    pub priority: Priority,
    /// What it replaces on the device, if it replaces anything.
    pub collapse_key: Option<CollapseKey>,
    /// When it was accepted.
    pub created_at: DateTime<Utc>,
    /// It is not sent before; `None`: at once.
    pub send_at: Option<DateTime<Utc>>,
    /// From when on it is not sent any more.
    pub expires_at: DateTime<Utc>,
}

impl Notification {
    /// The tag by which a device replaces an older showing: equal for every send of a notification,
    /// and for all notifications with one collapse key.
    #[must_use]
    pub fn tag(&self) -> String {
        self.collapse_key
            .as_ref()
            .map_or_else(|| self.id.to_string(), |key| key.0.clone())
    }

    /// Whether it is too old to be sent.
    #[must_use]
    pub fn is_expired(&self, now: DateTime<Utc>) -> bool {
        now >= self.expires_at
    }

    /// Whether its time was over already when it was accepted: then it is not sent at all.
    #[must_use]
    pub fn is_late(&self) -> bool {
        self.is_expired(self.created_at)
    }

    /// What is left of its time to live.
    #[must_use]
    pub fn time_left(&self, now: DateTime<Utc>) -> Duration {
        (self.expires_at - now).to_std().unwrap_or(Duration::ZERO)
    }
}

/// What the customer reads, and what the app gets. Its `Debug` shows sizes only.
#[derive(Clone, PartialEq, Eq)]
pub struct Content {
    /// The headline.
    pub title: Title,
    /// The text.
    pub body: Body,
    /// Key-value pairs for the app.
    pub data: Data,
    /// A picture shown with it.
    pub image_url: Option<ImageUrl>,
}

impl Content {
    /// The bytes that count towards [`CONTENT_BYTES_MAX`].
    #[must_use]
    pub fn bytes(&self) -> usize {
        let data: usize = self
            .data
            .iter()
            .map(|(key, value)| key.len() + value.len())
            .sum();
        self.title.0.len() + self.body.0.len() + data
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Content({} bytes)", self.bytes())
    }
}

/// The room that a caller's content takes in a push. Counted whatever else is wrong with it, so that all
/// problems are told together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentSize {
    content: usize,
    image: usize,
}

impl ContentSize {
    /// Of what was sent, as far as it was.
    #[must_use]
    pub fn of(
        title: Option<&str>,
        body: Option<&str>,
        data: Option<&serde_json::Map<String, Value>>,
        image_url: Option<&str>,
    ) -> Self {
        let pair = |(key, value): (&String, &Value)| match scalar(value) {
            Some(text) => key.len() + text.len(),
            None if value.is_null() => 0,
            None => key.len(),
        };
        let bytes = |text: Option<&str>| text.map_or(0, str::len);
        let data: usize = data.map_or(0, |data| data.iter().map(pair).sum());
        Self {
            content: bytes(title) + bytes(body) + data,
            image: bytes(image_url),
        }
    }

    /// Whether title, body and data fit.
    ///
    /// # Errors
    /// [`Invalid`] with the size when it is over [`CONTENT_BYTES_MAX`].
    pub fn check_content(self) -> Result<(), Invalid> {
        let bytes = self.content;
        if bytes > CONTENT_BYTES_MAX {
            return Err(Invalid(format!(
                "title, body and data have {bytes} bytes of UTF-8 together; at most {CONTENT_BYTES_MAX} fit into a push"
            )));
        }
        Ok(())
    }

    /// Whether the picture's address fits beside them, once they fit themselves.
    ///
    /// # Errors
    /// [`Invalid`] with the size when it is over [`CONTENT_AND_IMAGE_BYTES_MAX`].
    pub fn check_image(self) -> Result<(), Invalid> {
        let bytes = self.content.min(CONTENT_BYTES_MAX) + self.image;
        if self.image > 0 && bytes > CONTENT_AND_IMAGE_BYTES_MAX {
            return Err(Invalid(format!(
                "has {bytes} bytes together with title, body and data; at most {CONTENT_AND_IMAGE_BYTES_MAX} fit into a push"
            )));
        }
        Ok(())
    }
}

/// What is wrong with a value, in words that complete "`field` …".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub String);

/// A text type with one way in.
macro_rules! text {
    ($(#[$doc:meta])* $name:ident, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String")]
        pub struct $name(String);

        impl $name {
            /// Reads it from a caller.
            ///
            /// # Errors
            /// [`Invalid`], saying what is allowed. Never repeats the text.
            pub fn parse(text: &str) -> Result<Self, Invalid> {
                Self::check(text)?;
                Ok(Self(text.to_owned()))
            }

            fn check(text: &str) -> Result<(), Invalid> {
                let check: fn(&str) -> Result<(), &'static str> = $check;
                check(text).map_err(|what| Invalid(what.to_owned()))
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        /// Shows the size only: content stays out of logs.
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({} bytes)", stringify!($name), self.0.len())
            }
        }

        impl TryFrom<String> for $name {
            type Error = Invalid;

            fn try_from(text: String) -> Result<Self, Invalid> {
                Self::check(&text)?;
                Ok(Self(text))
            }
        }

        impl From<$name> for String {
            fn from(text: $name) -> Self {
                text.0
            }
        }
    };
}

fn require(condition: bool, otherwise: &'static str) -> Result<(), &'static str> {
    if condition { Ok(()) } else { Err(otherwise) }
}

text! {
    /// The headline: 1 to 200 characters (the width of `notification_history.title`).
    Title, |text| {
        require(!text.trim().is_empty(), "must not be empty")?;
        require(text.chars().count() <= 200, "must have at most 200 characters")
    }
}

text! {
    /// The text: not empty; its length is bounded by [`CONTENT_BYTES_MAX`].
    Body, |text| require(!text.trim().is_empty(), "must not be empty")
}

text! {
    /// What kind of news: the preference key, the filter in the history, `data.type` in the app.
    NotificationType, |text| {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_.-".contains(&byte);
        require(
            (1..=50).contains(&text.len()) && text.bytes().all(allowed),
            "must be 1 to 50 of the characters a-z, 0-9, `_`, `.` and `-`",
        )
    }
}

impl NotificationType {
    /// What the guide logs when nothing else is said.
    #[must_use]
    pub fn service_update() -> Self {
        Self("service_update".to_owned())
    }
}

text! {
    /// Names what a newer notification replaces. At most 64 bytes, the limit of `apns-collapse-id`
    /// (Apple, "Sending notification requests to APNs"), so that it can serve as the tag as it is.
    CollapseKey, |text| require(
        (1..=Self::BYTES_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()),
        "must be 1 to 64 visible ASCII characters",
    )
}

impl CollapseKey {
    /// The limit of `apns-collapse-id`.
    pub const BYTES_MAX: usize = 64;
    pub(crate) const OF_BOOKING: &'static str = "booking-";

    /// What all notifications of a booking share: a newer one replaces the older ones.
    #[must_use]
    pub fn of_booking(booking: &BookingId) -> Self {
        Self(format!("{}{}", Self::OF_BOOKING, booking.as_str()))
    }
}

text! {
    /// The address of a picture; both providers fetch it over https only.
    ImageUrl, |text| require(
        text.len() <= 2_000 && text.len() > "https://".len() && text.starts_with("https://")
            && text.bytes().all(|byte| byte.is_ascii_graphic()),
        "must be an https:// address of at most 2,000 characters",
    )
}

spelled! {
    /// How urgently a device is woken.
    Priority {
        /// At once, even from doze.
        High = "high",
        /// When the device finds it convenient.
        Normal = "normal",
    }
}

/// How long a notification is worth sending: 0 to four weeks, FCM's maximum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ttl(Duration);

impl Ttl {
    /// Four weeks, FCM's maximum (FCM v1 discovery document, `AndroidConfig.ttl`).
    pub const SECONDS_MAX: i64 = 2_419_200;
    /// A day, for what is no booking status.
    pub const DEFAULT: Self = Self(Duration::from_secs(86_400));
    /// An hour: the status of a booking is soon overtaken.
    pub const BOOKING: Self = Self(Duration::from_secs(3_600));

    /// Reads a number of seconds.
    ///
    /// # Errors
    /// [`Invalid`] outside of 0 to [`Ttl::SECONDS_MAX`].
    pub fn from_seconds(seconds: i64) -> Result<Self, Invalid> {
        match u64::try_from(seconds) {
            Ok(ttl) if seconds <= Self::SECONDS_MAX => Ok(Self(Duration::from_secs(ttl))),
            _ => Err(Invalid(format!(
                "must be 0 to {} seconds",
                Self::SECONDS_MAX
            ))),
        }
    }

    /// The duration.
    #[must_use]
    pub const fn as_duration(self) -> Duration {
        self.0
    }
}

/// When a notification is to be sent, at a time that its caller chose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendAt(DateTime<Utc>);

impl SendAt {
    /// How far ahead it may be.
    pub const AHEAD_MAX: TimeDelta = TimeDelta::days(30);
    /// Clocks differ, and requests take their time: what was to be sent so long ago is sent at once.
    pub const LATE_MAX: TimeDelta = TimeDelta::minutes(1);

    /// Reads a time. `None`: it has come.
    ///
    /// # Errors
    /// [`Invalid`] when it is none, is long over, or too far ahead.
    pub fn parse(text: &str, now: DateTime<Utc>) -> Result<Option<Self>, Invalid> {
        let at = crate::time::parse(text)?;
        if at > now + Self::AHEAD_MAX {
            return Err(Invalid(format!(
                "must be at most {} days ahead",
                Self::AHEAD_MAX.num_days()
            )));
        }
        if at < now - Self::LATE_MAX {
            return Err(Invalid("must not be in the past".to_owned()));
        }
        Ok((at > now).then_some(Self(at)))
    }

    /// The time.
    #[must_use]
    pub const fn at(self) -> DateTime<Utc> {
        self.0
    }
}

/// Key-value pairs for the app. Values are strings: FCM takes no others.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Data(BTreeMap<String, String>);

impl Data {
    /// Enough for any event of ours; the size limit is met long before.
    pub const KEYS_MAX: usize = 64;

    /// Reads a JSON object: numbers and booleans become strings, `null` is dropped once it was checked.
    ///
    /// # Errors
    /// Every problem, each with the path of its field below `data`.
    pub fn parse(object: &serde_json::Map<String, Value>) -> Result<Self, Vec<(String, Invalid)>> {
        let mut data = BTreeMap::new();
        let mut problems = Vec::new();
        if object.len() > Self::KEYS_MAX {
            problems.push((
                "data".to_owned(),
                Invalid(format!("must have at most {} keys", Self::KEYS_MAX)),
            ));
        }
        for (key, value) in object {
            let checked = check_key(key).and_then(|()| check_value(value));
            match (checked, scalar(value)) {
                (Ok(()), Some(text)) => drop(data.insert(key.clone(), text)),
                (Ok(()), None) => {}
                (Err(problem), _) => problems.push((format!("data.{key}"), problem)),
            }
        }
        if problems.is_empty() {
            Ok(Self(data))
        } else {
            Err(problems)
        }
    }

    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// All pairs, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
    }
}

/// Shows the number of keys only: content stays out of logs.
impl fmt::Debug for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Data({} keys)", self.0.len())
    }
}

impl FromIterator<(String, String)> for Data {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(pairs: I) -> Self {
        Self(pairs.into_iter().collect())
    }
}

/// Keys that FCM refuses (its docs, "ErrorCode"; the v1 discovery document), that its Android SDK
/// drops before the app sees them (`Constants.java`), or that we set ourselves.
fn check_key(key: &str) -> Result<(), Invalid> {
    let of_fcm = ["from", "message_type", "collapse_key", "gcm"].contains(&key)
        || key.starts_with("google")
        || key.starts_with("gcm.");
    if of_fcm {
        return Err(Invalid(
            "is a key reserved by FCM; choose another name".to_owned(),
        ));
    }
    if ["notificationId", "tag", "click_action"].contains(&key) {
        return Err(Invalid(
            "is set by the push service itself; choose another name".to_owned(),
        ));
    }
    if key.is_empty() {
        return Err(Invalid("must have a key that is not empty".to_owned()));
    }
    Ok(())
}

/// From here on a JSON number (a double) leaves integers out: 2^53.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

fn check_value(value: &Value) -> Result<(), Invalid> {
    match value {
        Value::Null | Value::Bool(_) | Value::String(_) => Ok(()),
        // An integer that fits is kept to the digit; any other number went through a double.
        Value::Number(number) if number.is_i64() || number.is_u64() => Ok(()),
        Value::Number(number) if number.as_f64().is_some_and(|float| float.abs() < EXACT_MAX) => {
            Ok(())
        }
        Value::Number(_) => Err(Invalid(
            "is a number too large to be kept exactly; send it as a string".to_owned(),
        )),
        Value::Array(_) | Value::Object(_) => Err(Invalid(
            "must be a string, number or boolean; nested values do not reach the app".to_owned(),
        )),
    }
}

/// The text of a value, where it is one.
fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Number(number) => Some(number.to_string()),
        Value::String(text) => Some(text.clone()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_time_to_send_at_is_ahead_and_not_too_far() {
        let now: DateTime<Utc> = "2030-01-01T12:00:00Z".parse().unwrap();
        let read =
            |text: &str| SendAt::parse(text, now).map(|at| at.map(|at| at.at().to_rfc3339()));
        let ahead = |text: &str| Ok(Some(text.to_owned()));
        assert_eq!(
            read("2030-01-01T12:00:00.0019Z"),
            ahead("2030-01-01T12:00:00.001+00:00")
        );
        assert_eq!(
            read("2030-01-01T14:30:00+02:00"),
            ahead("2030-01-01T12:30:00+00:00")
        );
        assert_eq!(
            read("2030-01-31T12:00:00Z"),
            ahead("2030-01-31T12:00:00+00:00")
        );
        for at_once in ["2030-01-01T12:00:00Z", "2030-01-01T11:59:00Z"] {
            assert_eq!(read(at_once), Ok(None), "{at_once}");
        }
        for (wrong, what) in [
            ("2030-01-31T12:00:00.001Z", "30 days"),
            ("2030-01-01T11:58:59.999Z", "past"),
            ("2030-01-01", "RFC 3339"),
            ("2030-01-01T12:00:00", "RFC 3339"),
            ("tomorrow", "RFC 3339"),
            ("+262143-01-01T00:00:00Z", "RFC 3339"),
            ("9999-12-31T23:59:59Z", "30 days"),
            ("0000-01-01T00:00:00Z", "from 1970 on"),
        ] {
            let Invalid(told) = read(wrong).unwrap_err();
            assert!(told.contains(what), "{wrong}: {told}");
        }
    }

    fn data(value: Value) -> Result<Data, Vec<(String, Invalid)>> {
        Data::parse(value.as_object().unwrap())
    }

    #[test]
    fn data_values_become_strings_and_null_is_dropped() {
        let data = data(json!({"a": 1, "b": true, "c": null, "d": "x", "e": 1.5})).unwrap();
        let pairs: Vec<_> = data.iter().collect();
        assert_eq!(pairs, [("a", "1"), ("b", "true"), ("d", "x"), ("e", "1.5")]);
    }

    #[test]
    fn every_bad_key_is_named() {
        let problems =
            data(json!({"from": 1, "google.x": 1, "gcm": 1, "tag": 1, "ok": {"no": 1}, "fine": 2}))
                .unwrap_err();
        let fields: Vec<_> = problems.iter().map(|(field, _)| field.as_str()).collect();
        assert_eq!(
            fields,
            [
                "data.from",
                "data.gcm",
                "data.google.x",
                "data.ok",
                "data.tag"
            ]
        );
    }

    #[test]
    fn limits_hold_at_the_limit() {
        assert!(Title::parse(&"🚗".repeat(200)).is_ok());
        assert!(Title::parse(&"🚗".repeat(201)).is_err());
        assert!(Title::parse(" \n").is_err());
        assert!(NotificationType::parse(&"a".repeat(50)).is_ok());
        assert!(NotificationType::parse(&"a".repeat(51)).is_err());
        assert!(NotificationType::parse("Upper").is_err());
        assert!(Ttl::from_seconds(Ttl::SECONDS_MAX).is_ok());
        assert!(Ttl::from_seconds(Ttl::SECONDS_MAX + 1).is_err());
        assert!(Ttl::from_seconds(-1).is_err());
        assert!(CollapseKey::parse(&"k".repeat(64)).is_ok());
        assert!(CollapseKey::parse(&"k".repeat(65)).is_err());
        assert!(ImageUrl::parse("http://plain").is_err());
        let many: serde_json::Map<_, _> = (0..65).map(|n| (n.to_string(), json!(n))).collect();
        assert!(Data::parse(&many).is_err());
    }

    #[test]
    fn every_key_is_looked_at_and_null_counts() {
        let mut many: serde_json::Map<_, _> = (0..Data::KEYS_MAX)
            .map(|n| (n.to_string(), json!(n)))
            .collect();
        assert!(Data::parse(&many).is_ok());
        many.insert("none".to_owned(), Value::Null);
        many.insert("tag".to_owned(), Value::Null);
        let problems = Data::parse(&many).unwrap_err();
        let fields: Vec<_> = problems.iter().map(|(field, _)| field.as_str()).collect();
        assert_eq!(fields, ["data", "data.tag"]);
    }

    #[test]
    fn a_number_arrives_as_it_was_sent_or_not_at_all() {
        let text = r#"{"a": 18446744073709551615, "b": -9223372036854775808, "c": 0.1, "d": 1e2}"#;
        let given = data(serde_json::from_str(text).unwrap()).unwrap();
        let pairs: Vec<_> = given.iter().map(|(_, value)| value).collect();
        assert_eq!(
            pairs,
            [
                "18446744073709551615",
                "-9223372036854775808",
                "0.1",
                "100.0"
            ]
        );
        for text in [
            r#"{"orderId": 20231127123456789012}"#,
            r#"{"orderId": 18446744073709551616}"#,
            r#"{"orderId": -9223372036854775809}"#,
            r#"{"orderId": 9007199254740992.0}"#,
            r#"{"orderId": -1e300}"#,
        ] {
            let problems = data(serde_json::from_str(text).unwrap()).unwrap_err();
            assert_eq!(problems[0].0, "data.orderId");
            assert!(problems[0].1.0.contains("send it as a string"), "{text}");
        }
    }

    #[test]
    fn the_size_counts_title_body_and_data_and_then_the_picture() {
        let data = json!({"key": "value", "n": 12, "flag": true, "gone": null, "nested": [1]});
        let data = data.as_object();
        let counted = 2 + 8 + 3 + 8 + 6;
        let size = |body: usize, image: usize| {
            let (body, image) = ("x".repeat(body), "i".repeat(image));
            ContentSize::of(Some("ab"), Some(&body), data, Some(&image))
        };
        let most = CONTENT_BYTES_MAX - counted;
        assert!(size(most, 0).check_content().is_ok());
        assert!(size(most + 1, 0).check_content().is_err());
        assert!(size(most + 1_000, 0).check_image().is_ok());
        let beside = CONTENT_AND_IMAGE_BYTES_MAX - CONTENT_BYTES_MAX;
        assert!(size(most, beside).check_image().is_ok());
        assert!(size(most, beside + 1).check_image().is_err());
        // Their excess is their own problem.
        assert!(size(most + 1_000, beside).check_image().is_ok());
        assert!(size(0, 2_000).check_image().is_ok());
        let nothing = ContentSize::of(None, None, None, None);
        assert_eq!((nothing.content, nothing.image), (0, 0));
    }
}
