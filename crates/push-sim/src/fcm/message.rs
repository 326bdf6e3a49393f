//! A request of `messages:send` whose names and types are right: what it says.

use crate::json::Json;
use crate::phones::Push;

/// The parts of a message that the simulator acts on.
#[derive(Debug)]
pub(super) struct Message<'r> {
    pub(super) validate_only: bool,
    pub(super) target: Option<Target<'r>>,
    pub(super) notification: Option<&'r Json<'r>>,
    pub(super) data: Option<&'r Json<'r>>,
    pub(super) android: Option<&'r Json<'r>>,
    pub(super) android_v2: Option<&'r Json<'r>>,
    pub(super) apns: Option<&'r Json<'r>>,
    pub(super) webpush: Option<&'r Json<'r>>,
    pub(super) fcm_options: Option<&'r Json<'r>>,
}

/// Whom a message is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target<'r> {
    Token(&'r str),
    Fid(&'r str),
    Topic(&'r str),
    Condition(&'r str),
}

impl<'r> Target<'r> {
    /// The string that scripts, records and phones know the target by.
    pub(super) fn name(self) -> &'r str {
        match self {
            Target::Token(name)
            | Target::Fid(name)
            | Target::Topic(name)
            | Target::Condition(name) => name,
        }
    }

    /// Whether one phone is meant.
    pub(super) fn is_device(self) -> bool {
        match self {
            Target::Token(_) | Target::Fid(_) => true,
            Target::Topic(_) | Target::Condition(_) => false,
        }
    }
}

impl<'r> Message<'r> {
    pub(super) fn read(request: &'r Json<'r>) -> Message<'r> {
        let message = request.get("message").unwrap_or(&Json::Null);
        let part = |name| message.get(name).filter(|part| !part.is_null());
        Message {
            validate_only: request.either("validateOnly", "validate_only")
                == Some(&Json::Bool(true)),
            target: target(message),
            notification: part("notification"),
            data: part("data"),
            android: part("android"),
            android_v2: message.either("androidV2", "android_v2"),
            apns: part("apns"),
            webpush: part("webpush"),
            fcm_options: message.either("fcmOptions", "fcm_options"),
        }
    }

    pub(super) fn android_notification(&self) -> Option<&'r Json<'r>> {
        self.android.and_then(|android| android.get("notification"))
    }

    pub(super) fn apns_payload(&self) -> Option<&'r Json<'r>> {
        self.apns.and_then(|apns| apns.get("payload"))
    }

    pub(super) fn apns_header(&self, name: &str) -> Option<&'r str> {
        let headers = self.apns.and_then(|apns| apns.get("headers"))?;
        let (_, value) = headers
            .entries()
            .iter()
            .rev()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))?;
        value.as_str()
    }

    /// What a phone gets of it.
    pub(super) fn push(&self) -> Push<'r> {
        let alert = self
            .apns_payload()
            .and_then(|payload| payload.get("aps"))
            .and_then(|aps| aps.get("alert"));
        let webpush = self.webpush.and_then(|web| web.get("notification"));
        let places = [
            self.notification,
            self.android_notification(),
            alert,
            webpush,
        ];
        let first = |name| {
            places
                .iter()
                .flatten()
                .find_map(|place: &&'r Json<'r>| place.text(name))
        };
        let data = |name| self.data.and_then(|data| data.text(name));
        Push {
            title: first("title"),
            body: first("body"),
            image: first("image"),
            android_tag: self.android_notification().and_then(|n| n.text("tag")),
            ios_tag: self.apns_header("apns-collapse-id"),
            notification_id: data("notificationId"),
            kind: data("type"),
        }
    }
}

fn target<'r>(message: &'r Json<'r>) -> Option<Target<'r>> {
    let named = |name| message.text(name).filter(|text| !text.is_empty());
    named("token")
        .map(Target::Token)
        .or_else(|| named("fid").map(Target::Fid))
        .or_else(|| named("topic").map(Target::Topic))
        .or_else(|| named("condition").map(Target::Condition))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_a_phone_shows() {
        let json = Json::parse(
            br#"{"message":{"token":"t","notification":{"title":"T","body":"B"},
                "data":{"notificationId":"n1","type":"test"},
                "android":{"notification":{"tag":"a"}},
                "apns":{"headers":{"Apns-Collapse-Id":"i"}}}}"#,
        )
        .unwrap();
        let message = Message::read(&json);
        assert_eq!(message.target, Some(Target::Token("t")));
        let push = message.push();
        assert_eq!((push.title, push.body), (Some("T"), Some("B")));
        assert_eq!((push.android_tag, push.ios_tag), (Some("a"), Some("i")));
        assert_eq!(
            (push.notification_id, push.kind),
            (Some("n1"), Some("test"))
        );
    }

    #[test]
    fn an_empty_token_is_no_target() {
        let json = Json::parse(br#"{"message":{"token":""}}"#).unwrap();
        assert_eq!(Message::read(&json).target, None);
    }
}
