//! The FCM layer: values that are well-formed JSON of the right type and still refused.
//!
//! Sources: the FCM v1 discovery document and Firebase's page "ErrorCode". Where only the rule is
//! documented, not the wording, the wording is ours.

use super::message::{Message, Target};
use super::refusal::Refusal;
use crate::json::Json;

/// Keys and values of the payload, in bytes (Firebase docs, "ErrorCode").
const PAYLOAD_BYTES_MAX: usize = 4096;
/// Four weeks (FCM v1 discovery document, `AndroidConfig.ttl`).
const TTL_SECONDS_MAX: u64 = 2_419_200;
/// Apple, "Sending notification requests to APNs".
const COLLAPSE_ID_BYTES_MAX: usize = 64;
/// No registration is shorter: a bare Firebase installation id has 22 characters, 20 leaves room.
const TOKEN_BYTES_MIN: usize = 20;
const TOKEN_BYTES_MAX: usize = 4096;

/// The first rule that `message` breaks.
pub(super) fn check(message: &Message<'_>) -> Result<(), Refusal> {
    check_target(message)?;
    check_data(message)?;
    check_android(message)?;
    check_apns(message)?;
    check_webpush(message)?;
    check_labels(message)?;
    check_size(message)
}

fn check_target(message: &Message<'_>) -> Result<(), Refusal> {
    match message.target {
        None => Err(Refusal::value(
            "message",
            "Recipient of the message is not set.",
        )),
        Some(Target::Token(token) | Target::Fid(token)) if !looks_registered(token) => {
            Err(Refusal::value(
                "message.token",
                "The registration token is not a valid FCM registration token",
            ))
        }
        Some(_) => Ok(()),
    }
}

/// Google publishes no format; this refuses only what was never seen in a registration.
fn looks_registered(token: &str) -> bool {
    (TOKEN_BYTES_MIN..=TOKEN_BYTES_MAX).contains(&token.len())
        && token
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_:.%=+/-".contains(&byte))
}

fn check_data(message: &Message<'_>) -> Result<(), Refusal> {
    let android = message.android.and_then(|android| android.get("data"));
    for (field, data) in [
        ("message.data", message.data),
        ("message.android.data", android),
    ] {
        let keys = data.map(Json::entries).unwrap_or_default();
        if let Some((key, _)) = keys.iter().find(|(key, _)| is_reserved(key)) {
            return Err(Refusal::value(
                field,
                format!("Invalid data payload key: {key}"),
            ));
        }
    }
    Ok(())
}

/// The discovery document and the page "ErrorCode" name different sets; this is both.
fn is_reserved(key: &str) -> bool {
    matches!(key, "from" | "message_type" | "gcm")
        || key.starts_with("google")
        || key.starts_with("gcm.notification.")
}

fn check_android(message: &Message<'_>) -> Result<(), Refusal> {
    let Some(android) = message.android else {
        return Ok(());
    };
    if message.android_v2.is_some_and(|v2| !v2.is_null()) {
        return Err(Refusal::value(
            "message",
            "Only one of android and android_v2 can be set.",
        ));
    }
    if let Some(ttl) = android.text("ttl")
        && !ttl_in_range(ttl)
    {
        return Err(Refusal::value(
            "message.android.ttl",
            "The TTL must be between 0 and 2419200 seconds (4 weeks).",
        ));
    }
    let color = message.android_notification().and_then(|n| n.text("color"));
    if color.is_some_and(|color| !is_color(color)) {
        return Err(Refusal::value(
            "message.android.notification.color",
            "The color must be in the form #rrggbb.",
        ));
    }
    Ok(())
}

fn ttl_in_range(ttl: &str) -> bool {
    let whole = ttl.split(['.', 's']).next().unwrap_or_default();
    whole
        .parse::<u64>()
        .is_ok_and(|seconds| seconds <= TTL_SECONDS_MAX)
}

fn is_color(color: &str) -> bool {
    color
        .strip_prefix('#')
        .is_some_and(|hex| hex.len() == 6 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn check_apns(message: &Message<'_>) -> Result<(), Refusal> {
    if let Some(id) = message.apns_header("apns-collapse-id")
        && id.len() > COLLAPSE_ID_BYTES_MAX
    {
        return Err(Refusal::value(
            "message.apns.headers",
            "The apns-collapse-id must not exceed 64 bytes.",
        ));
    }
    match message.apns_header("apns-priority") {
        None | Some("1" | "5" | "10") => Ok(()),
        Some(_) => Err(Refusal::value(
            "message.apns.headers",
            "The apns-priority must be 1, 5 or 10.",
        )),
    }
}

fn check_webpush(message: &Message<'_>) -> Result<(), Refusal> {
    let Some(webpush) = message.webpush else {
        return Ok(());
    };
    let headers = webpush
        .get("headers")
        .map(Json::entries)
        .unwrap_or_default();
    let ttl = headers
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case("ttl"))
        .and_then(|(_, value)| value.as_str());
    if ttl.is_some_and(|ttl| ttl.is_empty() || !ttl.bytes().all(|byte| byte.is_ascii_digit())) {
        return Err(Refusal::value(
            "message.webpush.headers.TTL",
            "The TTL must be a non-negative integer.",
        ));
    }
    let link = webpush
        .either("fcmOptions", "fcm_options")
        .and_then(|options| options.text("link"));
    if link.is_some_and(|link| !link.starts_with("https://")) {
        return Err(Refusal::value(
            "message.webpush.fcm_options.link",
            "The link must be an HTTPS URL.",
        ));
    }
    Ok(())
}

fn check_labels(message: &Message<'_>) -> Result<(), Refusal> {
    let of = |part: Option<&Json<'_>>| {
        part.and_then(|part| part.either("fcmOptions", "fcm_options"))
            .and_then(|options| options.either("analyticsLabel", "analytics_label"))
            .and_then(Json::as_str)
            .is_some_and(|label| !is_label(label))
    };
    let own = message
        .fcm_options
        .and_then(|options| options.either("analyticsLabel", "analytics_label"))
        .and_then(Json::as_str)
        .is_some_and(|label| !is_label(label));
    if own || of(message.android) || of(message.apns) || of(message.webpush) {
        return Err(Refusal::value(
            "message.fcm_options.analytics_label",
            "The analytics label must match ^[a-zA-Z0-9-_.~%]{1,50}$.",
        ));
    }
    Ok(())
}

fn is_label(label: &str) -> bool {
    (1..=50).contains(&label.len())
        && label
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.~%".contains(&byte))
}

/// What each platform gets must fit. The service's exact formula is unknown; this is the documented
/// one (bytes of keys and values), for iOS the bytes of the JSON payload.
fn check_size(message: &Message<'_>) -> Result<(), Refusal> {
    let data = message.data.map_or(0, flat_bytes);
    let notification = message.notification.map_or(0, flat_bytes);
    if data + notification > PAYLOAD_BYTES_MAX {
        return Err(Refusal::TooBig(
            "Message is too large. The maximum is 4K (4096 bytes).",
        ));
    }
    let own_data = message.android.and_then(|android| android.get("data"));
    let android = own_data.map_or(data, flat_bytes)
        + notification
        + message.android_notification().map_or(0, flat_bytes);
    if android > PAYLOAD_BYTES_MAX {
        return Err(Refusal::TooBig("Android message is too big"));
    }
    if let Some(payload) = message.apns_payload() {
        let has_alert = payload
            .get("aps")
            .and_then(|aps| aps.get("alert"))
            .is_some();
        let alert = if has_alert { 0 } else { notification };
        if payload.to_string().len() + data + alert > PAYLOAD_BYTES_MAX {
            return Err(Refusal::TooBig(
                "Message is too large. The maximum is 4K (4096 bytes).",
            ));
        }
    }
    Ok(())
}

/// Bytes of keys and string values, one level deep.
fn flat_bytes(object: &Json<'_>) -> usize {
    object
        .entries()
        .iter()
        .map(|(key, value)| key.len() + value.as_str().map_or(0, str::len))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "eXaMpLeFid0123456789ab:APA91b";

    fn refused(parts: &str) -> Option<(String, bool)> {
        let request = format!(r#"{{"message":{{{parts}}}}}"#);
        let json = Json::parse(request.as_bytes()).unwrap();
        match check(&Message::read(&json)) {
            Ok(()) => None,
            Err(Refusal::Value { field, .. }) => Some((field.to_owned(), false)),
            Err(Refusal::TooBig(text)) => Some((text.to_owned(), true)),
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn bad_values_name_their_field() {
        let table = [
            ("", "message"),
            (r#""token":"short""#, "message.token"),
            (
                r#""token":"ExponentPushToken[xxxxxxxxxxxxx]""#,
                "message.token",
            ),
            (r#""token":"T","data":{"from":"x"}"#, "message.data"),
            (r#""token":"T","data":{"message_type":"x"}"#, "message.data"),
            (r#""token":"T","data":{"google.x":"x"}"#, "message.data"),
            (
                r#""token":"T","data":{"gcm.notification.x":"x"}"#,
                "message.data",
            ),
            (
                r#""token":"T","android":{"data":{"gcm":"x"}}"#,
                "message.android.data",
            ),
            (
                r#""token":"T","android":{"ttl":"2419201s"}"#,
                "message.android.ttl",
            ),
            (
                r#""token":"T","android":{"ttl":"-1s"}"#,
                "message.android.ttl",
            ),
            (r#""token":"T","android":{},"android_v2":{}"#, "message"),
            (
                r#""token":"T","android":{"notification":{"color":"red"}}"#,
                "message.android.notification.color",
            ),
            (
                r#""token":"T","apns":{"headers":{"apns-priority":"7"}}"#,
                "message.apns.headers",
            ),
            (
                r#""token":"T","webpush":{"headers":{"TTL":"-1"}}"#,
                "message.webpush.headers.TTL",
            ),
            (
                r#""token":"T","webpush":{"fcm_options":{"link":"http://x"}}"#,
                "message.webpush.fcm_options.link",
            ),
            (
                r#""token":"T","fcm_options":{"analytics_label":"a b"}"#,
                "message.fcm_options.analytics_label",
            ),
        ];
        for (parts, field) in table {
            let parts = parts.replace(r#""T""#, &format!("{TOKEN:?}"));
            assert_eq!(refused(&parts), Some((field.to_owned(), false)), "{parts}");
        }
    }

    #[test]
    fn values_at_the_limit_pass() {
        for parts in [
            r#""android":{"ttl":"2419200s"}"#,
            r#""android":{"ttl":"0s"}"#,
            r#""data":{"collapse_key":"x","fromage":"x"}"#,
            r##""android":{"notification":{"color":"#ff0000"}}"##,
        ] {
            let parts = format!(r#""token":"{TOKEN}",{parts}"#);
            assert_eq!(refused(&parts), None, "{parts}");
        }
        assert_eq!(refused(r#""topic":"news""#), None);
        let id = "x".repeat(64);
        let apns = format!(r#""topic":"n","apns":{{"headers":{{"apns-collapse-id":"{id}"}}}}"#);
        assert_eq!(refused(&apns), None);
        let apns = apns.replace(&id, &"x".repeat(65));
        assert_eq!(
            refused(&apns),
            Some(("message.apns.headers".to_owned(), false))
        );
    }

    #[test]
    fn size_is_judged_per_platform() {
        let with = |bytes: usize, more: &str| {
            let text = "x".repeat(bytes);
            refused(&format!(
                r#""token":"{TOKEN}","notification":{{"body":"{text}"}}{more}"#
            ))
        };
        let too_big = |text: &str| Some((text.to_owned(), true));
        assert_eq!(with(4092, ""), None);
        let generic = "Message is too large. The maximum is 4K (4096 bytes).";
        assert_eq!(with(4093, ""), too_big(generic));
        let tag = r#","android":{"notification":{"tag":"t"}}"#;
        assert_eq!(with(4088, tag), None);
        assert_eq!(with(4089, tag), too_big("Android message is too big"));
        let apns = r#","apns":{"payload":{"aps":{"badge":1}}}"#;
        assert_eq!(with(4075, apns), too_big(generic));
        let alert = r#","apns":{"payload":{"aps":{"alert":{"body":"short"}}}}"#;
        assert_eq!(with(4075, alert), None);
    }
}
