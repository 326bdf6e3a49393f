//! One message of a send request: which fields it may have, and what a phone gets of it.
//!
//! Fields and types are those of the Expo docs ("Message request format") and of the typings of
//! expo-server-sdk 7.2.0. How Expo treats an unknown field is not documented; here it is an error,
//! because a misspelt field is a bug that should be seen.

use crate::json::Json;
use crate::phones::Push;

/// Payload to Apple or Google (Expo docs, `MessageTooBig`).
const PAYLOAD_BYTES_MAX: usize = 4096;

enum Kind {
    Recipients,
    Text,
    TextOrNull,
    Sound,
    Object,
    Number,
    Count,
    Bool,
    OneOf(&'static [&'static str]),
}

const PRIORITIES: &[&str] = &["default", "normal", "high"];
const LEVELS: &[&str] = &["active", "critical", "passive", "time-sensitive"];

fn kind(field: &str) -> Option<Kind> {
    Some(match field {
        "to" => Kind::Recipients,
        "title" | "subtitle" | "body" | "icon" | "tag" | "collapseId" | "categoryId"
        | "threadId" | "targetContentId" | "filterCriteria" => Kind::Text,
        "channelId" => Kind::TextOrNull,
        "sound" => Kind::Sound,
        "data" | "richContent" => Kind::Object,
        "relevanceScore" => Kind::Number,
        "badge" | "ttl" | "expiration" => Kind::Count,
        "mutableContent" | "contentAvailable" | "_contentAvailable" => Kind::Bool,
        "priority" => Kind::OneOf(PRIORITIES),
        "interruptionLevel" => Kind::OneOf(LEVELS),
        _ => return None,
    })
}

/// What is wrong with the message at `index` of the request.
pub(super) fn problem(index: usize, message: &Json<'_>) -> Option<String> {
    if !matches!(message, Json::Object(_)) {
        return Some(format!("\"[{index}]\" must be of type object"));
    }
    if message.get("to").is_none() {
        return Some(format!("\"[{index}].to\" is required"));
    }
    message.entries().iter().find_map(|(field, value)| {
        let Some(kind) = kind(field) else {
            return Some(format!("\"[{index}].{field}\" is not allowed"));
        };
        let wrong = kind.wrong(value)?;
        Some(format!("\"[{index}].{field}\" {wrong}"))
    })
}

impl Kind {
    fn wrong(&self, value: &Json<'_>) -> Option<String> {
        let text = value.as_str();
        let (fits, rule) = match self {
            Kind::Recipients => return wrong_recipients(value).map(str::to_owned),
            Kind::Text => (text.is_some(), "must be a string"),
            Kind::TextOrNull => (text.is_some() || value.is_null(), "must be a string"),
            Kind::Sound => (
                text.is_some() || matches!(value, Json::Null | Json::Object(_)),
                "must be a string, an object or null",
            ),
            Kind::Object => (matches!(value, Json::Object(_)), "must be of type object"),
            Kind::Number => (matches!(value, Json::Number(_)), "must be a number"),
            Kind::Count => (
                matches!(value, Json::Number(number) if number.is_u64()),
                "must be an integer larger than or equal to 0",
            ),
            Kind::Bool => (matches!(value, Json::Bool(_)), "must be a boolean"),
            Kind::OneOf(values) => {
                let fits = text.is_some_and(|text| values.contains(&text));
                return (!fits).then(|| format!("must be one of [{}]", values.join(", ")));
            }
        };
        (!fits).then(|| rule.to_owned())
    }
}

fn wrong_recipients(to: &Json<'_>) -> Option<&'static str> {
    let Some(tokens) = tokens_of(to) else {
        return Some("must be a string");
    };
    if tokens.is_empty() {
        return Some("must contain at least 1 item");
    }
    let valid = tokens.iter().all(|token| is_push_token(token));
    (!valid).then_some("must be a valid Expo push token")
}

fn tokens_of<'j>(to: &'j Json<'_>) -> Option<Vec<&'j str>> {
    if let Json::Array(items) = to {
        items.iter().map(Json::as_str).collect()
    } else {
        to.as_str().map(|token| vec![token])
    }
}

/// The recipients of a message, in the order of its `to`.
pub(super) fn recipients<'j>(message: &'j Json<'_>) -> Vec<&'j str> {
    message.get("to").and_then(tokens_of).unwrap_or_default()
}

/// What a phone gets of it. `tag` acts on Android; `collapseId` replaces a shown entry on iOS only
/// (Expo docs).
pub(super) fn push<'j>(message: &'j Json<'_>) -> Push<'j> {
    let data = |name| message.get("data").and_then(|data| data.text(name));
    Push {
        title: message.text("title"),
        body: message.text("body"),
        image: message
            .get("richContent")
            .and_then(|rich| rich.text("image")),
        android_tag: message.text("tag"),
        ios_tag: message.text("collapseId"),
        notification_id: data("notificationId"),
        kind: data("type"),
    }
}

/// Whether what would go to Apple or Google is over 4096 bytes.
pub(super) fn is_too_big(message: &Json<'_>) -> bool {
    let text = |name| message.text(name).map_or(0, str::len);
    let data = message.get("data").map_or(0, |data| data.to_string().len());
    text("title") + text("subtitle") + text("body") + data > PAYLOAD_BYTES_MAX
}

/// `Expo.isExpoPushToken` of expo-server-sdk.
fn is_push_token(token: &str) -> bool {
    let bracketed = ["ExponentPushToken[", "ExpoPushToken["]
        .iter()
        .any(|prefix| token.starts_with(prefix))
        && token.ends_with(']');
    bracketed || is_uuid_like(token)
}

/// `^[a-z\d]{8}-[a-z\d]{4}-[a-z\d]{4}-[a-z\d]{4}-[a-z\d]{12}$`, case-insensitive.
fn is_uuid_like(token: &str) -> bool {
    let parts: Vec<_> = token.split('-').collect();
    let lengths = [8, 4, 4, 4, 12];
    parts.len() == lengths.len()
        && parts.iter().zip(lengths).all(|(part, length)| {
            part.len() == length && part.bytes().all(|byte| byte.is_ascii_alphanumeric())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(message: &str) -> Option<String> {
        problem(0, &Json::parse(message.as_bytes()).unwrap())
    }

    #[test]
    fn every_documented_field_is_taken() {
        let fixture = include_str!(
            "../../../../tests/fixtures/providers/expo/all_fields_with_access_token.json"
        );
        let fixture = Json::parse(fixture.as_bytes()).unwrap();
        let Some(Json::Array(messages)) = fixture.get("wire").and_then(|wire| wire.get("body"))
        else {
            panic!()
        };
        assert_eq!(problem(0, &messages[0]), None);
    }

    #[test]
    fn faults_are_named() {
        let table = [
            ("1", "\"[0]\" must be of type object"),
            (r#"{"title":"x"}"#, "\"[0].to\" is required"),
            (r#"{"to":1}"#, "\"[0].to\" must be a string"),
            (r#"{"to":[]}"#, "\"[0].to\" must contain at least 1 item"),
            (
                r#"{"to":"fcm:token"}"#,
                "\"[0].to\" must be a valid Expo push token",
            ),
            (
                r#"{"to":"TOKEN","data":"x"}"#,
                "\"[0].data\" must be of type object",
            ),
            (
                r#"{"to":"TOKEN","badge":"1"}"#,
                "\"[0].badge\" must be an integer larger than or equal to 0",
            ),
            (
                r#"{"to":"TOKEN","ttl":-1}"#,
                "\"[0].ttl\" must be an integer larger than or equal to 0",
            ),
            (
                r#"{"to":"TOKEN","priority":"HIGH"}"#,
                "\"[0].priority\" must be one of [default, normal, high]",
            ),
            (
                r#"{"to":"TOKEN","sound":true}"#,
                "\"[0].sound\" must be a string, an object or null",
            ),
            (
                r#"{"to":"TOKEN","titel":"x"}"#,
                "\"[0].titel\" is not allowed",
            ),
        ];
        for (message, expected) in table {
            let message = message.replace("TOKEN", "ExponentPushToken[x]");
            assert_eq!(judged(&message).as_deref(), Some(expected), "{message}");
        }
    }

    #[test]
    fn push_tokens_are_those_the_sdk_takes() {
        let table =
            include_str!("../../../../tests/fixtures/providers/expo/is_expo_push_token.json");
        let table: serde_json::Value = serde_json::from_str(table).unwrap();
        let rows = table["cases"].as_array().unwrap();
        for row in rows {
            if let Some(token) = row["token"].as_str() {
                let wanted = row["valid"].as_bool();
                assert_eq!(Some(is_push_token(token)), wanted, "{row}");
            }
        }
    }

    #[test]
    fn size_counts_text_and_data() {
        let message = |bytes: usize| {
            let text = format!(r#"{{"body":"{}","data":{{"a":1}}}}"#, "x".repeat(bytes));
            is_too_big(&Json::parse(text.as_bytes()).unwrap())
        };
        assert!(!message(4089));
        assert!(message(4090));
    }
}
