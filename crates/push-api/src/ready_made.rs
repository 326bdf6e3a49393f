//! A ready-made notification, as callers write it.

use chrono::{DateTime, Utc};
use push_core::id::{CustomerId, NotificationId};
use push_core::notification::{
    Body, CollapseKey, Content, ContentSize, Data, ImageUrl, Notification, NotificationType,
    Priority, SendAt, Title, Ttl,
};
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::catalogue::Catalogue;
use crate::privacy::Guard;
use crate::request::{Field, Problems};
use crate::schemas;

/// What to send, and how.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReadyMade {
    /// The headline.
    #[serde(default)]
    #[schema(value_type = String, required, min_length = 1, max_length = 200,
             example = "Technician Assigned! 🚗")]
    title: Field<String>,
    /// The text. Title, body, data keys and data values have at most 3,500 bytes of UTF-8 together.
    #[serde(default)]
    #[schema(value_type = String, required, min_length = 1,
             example = "Ravi Kumar has been assigned to your booking TRK123. They will contact you soon.")]
    body: Field<String>,
    /// At most 64 key-value pairs for the app. Numbers and booleans become strings, `null` is dropped. A number
    /// that a double cannot hold exactly (an id of 17 digits or more) has to be sent as a string.
    #[serde(default)]
    #[schema(value_type = Option<std::collections::BTreeMap<String, Value>>,
             example = json!({"type": "technician_assigned", "bookingId": "456", "priority": "high"}))]
    data: Field<Map<String, Value>>,
    /// What kind of news it is; default: `data.type`, else `service_update`.
    #[serde(rename = "type", default)]
    #[schema(value_type = Option<String>, pattern = "^[a-z0-9_.-]{1,50}$", example = "technician_assigned")]
    kind: Field<String>,
    /// How urgently the device is woken; default: `data.priority`, else `high`.
    #[serde(default)]
    #[schema(schema_with = schemas::priority_or_null, required = false)]
    priority: Field<String>,
    /// When to send it, at most 30 days ahead; it waits until then, and can be cancelled. A time that is over by a minute
    /// at most means at once.
    #[serde(default)]
    #[schema(value_type = Option<DateTime<Utc>>, example = "2030-01-31T08:00:00Z")]
    send_at: Field<String>,
    /// For how long it is worth sending, from `sendAt` on; default: 3,600 for the types that the catalogue of texts has, else 86,400.
    #[serde(default)]
    #[schema(value_type = Option<i64>, minimum = 0, maximum = 2_419_200, example = 3_600)]
    ttl_seconds: Field<i64>,
    /// A newer notification with the same key replaces this one.
    #[serde(default)]
    #[schema(value_type = Option<String>, pattern = "^[!-~]{1,64}$", example = "booking-456")]
    collapse_key: Field<String>,
    /// A picture shown with it. Its address has at most 3,700 bytes together with title, body and data.
    #[serde(default)]
    #[schema(value_type = Option<String>, pattern = "^https://", max_length = 2_000,
             example = "https://cdn.example.com/technician.jpg")]
    image_url: Field<String>,
}

/// What was read of a [`ReadyMade`]: a notification without its customer.
#[derive(Clone, Debug)]
pub struct Draft {
    kind: NotificationType,
    content: Content,
    priority: Priority,
    collapse_key: Option<CollapseKey>,
    send_at: Option<SendAt>,
    ttl: Ttl,
}

impl Draft {
    /// The notification for a customer, accepted at `now`.
    #[must_use]
    pub fn to(self, customer: CustomerId, now: DateTime<Utc>) -> Notification {
        let send_at = self.send_at.map(SendAt::at);
        Notification {
            id: NotificationId::generate(),
            customer,
            kind: self.kind,
            content: self.content,
            priority: self.priority,
            collapse_key: self.collapse_key,
            created_at: now,
            send_at,
            expires_at: send_at.unwrap_or(now) + self.ttl.as_duration(),
        }
    }
}

impl ReadyMade {
    /// What is asked for. `None` means that a problem was noted; all of them are.
    pub fn read(
        self,
        problems: &mut Problems,
        now: DateTime<Utc>,
        catalogue: &Catalogue,
        guard: Guard<'_>,
    ) -> Option<Draft> {
        let size = self.size();
        self.check_privacy(problems, guard);
        let title = problems.required("title", self.title, |text| Title::parse(&text));
        let body = problems.required("body", self.body, |text| Body::parse(&text));
        let of_data = OfData::read(&self.data);
        let data = read_data(problems, self.data);
        let kind = read_kind(problems, self.kind, of_data.kind);
        let priority = problems.optional("priority", self.priority, |text| {
            Priority::from_spelling(&text).ok_or("must be high or normal")
        });
        let send_at = problems.optional("sendAt", self.send_at, |text| SendAt::parse(&text, now));
        let ttl = problems.optional("ttlSeconds", self.ttl_seconds, Ttl::from_seconds);
        let collapse_key = problems.optional("collapseKey", self.collapse_key, |text| {
            CollapseKey::parse(&text)
        });
        let image_url =
            problems.optional("imageUrl", self.image_url, |text| ImageUrl::parse(&text));
        if let Err(problem) = size.check_content() {
            problems.note("body", problem);
        }
        if let Err(problem) = size.check_image() {
            problems.note("imageUrl", problem);
        }
        let content = Content {
            title: title?,
            body: body?,
            data: data?,
            image_url,
        };
        let kind = kind?;
        Some(Draft {
            ttl: ttl.unwrap_or_else(|| default_ttl(&kind, catalogue)),
            kind,
            content,
            priority: priority.or(of_data.priority).unwrap_or(Priority::High),
            collapse_key,
            send_at: send_at.flatten(),
        })
    }

    /// What must not go out in a push, whatever else is wrong with it.
    fn check_privacy(&self, problems: &mut Problems, guard: Guard<'_>) {
        for (field, text) in [("title", &self.title), ("body", &self.body)] {
            guard.check_text(problems, field, text.given().map(String::as_str));
        }
        guard.check_data(problems, self.data.given());
    }

    /// The room that it takes, whatever else is wrong with it.
    fn size(&self) -> ContentSize {
        fn text(field: &Field<String>) -> Option<&str> {
            field.given().map(String::as_str)
        }
        ContentSize::of(
            text(&self.title),
            text(&self.body),
            self.data.given(),
            text(&self.image_url),
        )
    }
}

/// What the guide's callers say within `data`.
struct OfData {
    kind: Option<String>,
    priority: Option<Priority>,
}

impl OfData {
    fn read(data: &Field<Map<String, Value>>) -> Self {
        let value = |key: &str| match data.given()?.get(key)? {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(flag) => Some(flag.to_string()),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        };
        Self {
            kind: value("type"),
            priority: value("priority").and_then(|text| Priority::from_spelling(&text)),
        }
    }
}

fn read_data(problems: &mut Problems, data: Field<Map<String, Value>>) -> Option<Data> {
    if data == Field::Missing {
        return Some(Data::default());
    }
    let object = problems.optional("data", data, Ok::<_, std::convert::Infallible>)?;
    match Data::parse(&object) {
        Ok(data) => Some(data),
        Err(wrong) => {
            wrong
                .into_iter()
                .for_each(|(field, problem)| problems.note(field, problem));
            None
        }
    }
}

fn read_kind(
    problems: &mut Problems,
    kind: Field<String>,
    of_data: Option<String>,
) -> Option<NotificationType> {
    let parse = |text: String| NotificationType::parse(&text);
    match (kind, of_data) {
        (Field::Missing, None) => Some(NotificationType::service_update()),
        (Field::Missing, Some(text)) => problems.required("data.type", Field::Given(text), parse),
        (kind, _) => problems.required("type", kind, parse),
    }
}

/// News of a booking is soon overtaken: what the catalogue has a text for.
fn default_ttl(kind: &NotificationType, catalogue: &Catalogue) -> Ttl {
    if catalogue.knows(kind) {
        Ttl::BOOKING
    } else {
        Ttl::DEFAULT
    }
}
