//! Reading an event, and finding the words for it.

use chrono::{DateTime, TimeDelta, Utc};
use push_core::booking::{BookingEvent, BookingId, BookingStatus, Fingerprint, Happened};
use push_core::id::{CustomerId, NotificationId};
use push_core::locale::Locale;
use push_core::notification::{
    CollapseKey, Content, Data, Invalid, Notification, NotificationType, Ttl,
};
use push_core::time;
use serde::Deserialize;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;

use crate::catalogue::{Catalogue, Placeholder, Template, Values};
use crate::error::ApiError;
use crate::privacy::Guard;
use crate::request::{Field, Id, Problems, at_once};

/// The clocks of two hosts differ; a time that is further ahead is a mistake.
const AHEAD_MAX: TimeDelta = TimeDelta::minutes(5);

/// The status of a booking that was given to a technician.
const ASSIGNED: &str = BookingStatus::ASSIGNED;
/// The event whose type is the status.
const STATUS_CHANGED: &str = "status_changed";

/// Something that happened to a booking.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = EventRequest)]
pub struct Request {
    /// `technician_assigned`, `status_changed`, or another type that the catalogue has a text for.
    #[serde(default)]
    #[schema(value_type = String, required, pattern = "^[a-z0-9_.-]{1,50}$", example = "status_changed")]
    event: Field<String>,
    /// The customer.
    #[serde(default)]
    #[schema(value_type = i64, required, minimum = 1, example = 123)]
    customer_id: Field<i64>,
    /// The booking's own id, a string of at most 56 visible ASCII characters or an integer.
    #[serde(default)]
    #[schema(value_type = StringOrInteger, required)]
    booking_id: Field<Id>,
    /// The number that the customer knows the booking by, a string of at most 64 characters or an integer.
    #[serde(default)]
    #[schema(value_type = StringOrInteger, required)]
    track_id: Field<Id>,
    /// Who comes; needed where the text names the technician.
    #[serde(default)]
    #[schema(value_type = Option<Technician>)]
    technician: Field<Map<String, Value>>,
    /// The status before. An event with the same status before and after is ignored.
    #[serde(default)]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 50, example = "Assigned")]
    old_status: Field<String>,
    /// The status now; `status_changed` needs it. Its type is the status in lower case.
    #[serde(default)]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 50, example = "StartJourney")]
    new_status: Field<String>,
    /// When it happened, at most five minutes ahead of our clock; default: now. An event that happened before the last one
    /// that is known is ignored. Its time to live, an hour, begins then.
    #[serde(default)]
    #[schema(value_type = Option<chrono::DateTime<Utc>>, example = "2026-11-28T09:30:00Z")]
    occurred_at: Field<String>,
    /// The language of the text (BCP 47); default: the one that the customer prefers, else English.
    #[serde(default)]
    #[schema(value_type = Option<String>, example = "de-AT")]
    locale: Field<String>,
    #[serde(default)]
    #[schema(ignore)]
    send_at: Field<String>,
}

/// Who comes to the customer.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "describes an object that is read field by field")]
struct Technician {
    /// The name, as the customer reads it.
    #[schema(min_length = 1, max_length = 100, example = "John")]
    name: String,
}

/// An id of the booking backend.
#[derive(Debug, ToSchema)]
#[schema(example = "456")]
#[serde(untagged)]
#[expect(dead_code, reason = "describes a value that is read as either")]
enum StringOrInteger {
    Text(String),
    Number(i64),
}

/// An event that was read.
#[derive(Debug)]
pub struct Event {
    /// What happened.
    pub booking_event: BookingEvent,
    /// In which language the customer is told, if its caller says so.
    pub locale: Option<Locale>,
    /// The type of its notification; `None`: the status is no name that a text could have.
    kind: Option<NotificationType>,
    values: Values,
}

impl Request {
    /// The event that is told.
    ///
    /// # Errors
    /// [`ApiError::InvalidInput`] with every problem.
    pub fn parse(
        self,
        now: DateTime<Utc>,
        catalogue: &Catalogue,
        guard: Guard<'_>,
    ) -> Result<Event, ApiError> {
        let mut problems = Problems::default();
        let name = problems.required("event", self.event, |name| event_name(name, catalogue));
        let customer = problems.required("customerId", self.customer_id, CustomerId::try_from);
        let booking = problems.required("bookingId", self.booking_id, |id| BookingId::parse(&id.0));
        let track_id = problems.required("trackId", self.track_id, |id| {
            text(id.0, Placeholder::TrackId)
        });
        let technician = technician(&mut problems, self.technician);
        let old_status = problems.optional("oldStatus", self.old_status, |status| {
            text(status, Placeholder::OldStatus)
        });
        let parse_new = |status| {
            let status = text(status, Placeholder::Status)?;
            // It is known by its name in lower case, which may be longer.
            text(status.to_lowercase(), Placeholder::Status).map(|_| status)
        };
        let new_status = if name.as_deref() == Some(STATUS_CHANGED) {
            problems.required("newStatus", self.new_status, parse_new)
        } else {
            problems.optional("newStatus", self.new_status, parse_new)
        };
        let occurred_at = problems.optional("occurredAt", self.occurred_at, |text| {
            occurred_at(&text, now)
        });
        let locale = problems.optional("locale", self.locale, |text| Locale::parse(&text));
        at_once(&mut problems, self.send_at);
        // What somebody has typed in; an id is an id, whatever its digits come to.
        for (field, text) in [
            ("technician.name", &technician),
            ("oldStatus", &old_status),
            ("newStatus", &new_status),
        ] {
            guard.check_text(&mut problems, field, text.as_deref());
        }
        let values = Values {
            technician,
            track_id,
            booking_id: booking.as_ref().map(|id| id.as_str().to_owned()),
            status: new_status,
            old_status,
        };
        let what = name.and_then(|name| happened(name, &values));
        let kind = what.as_ref().and_then(kind_of);
        let built = what.zip(customer).zip(booking);
        let built = built.map(|((what, customer), booking)| Event {
            booking_event: BookingEvent {
                booking,
                customer,
                says_unchanged: says_unchanged(&what, &values),
                what,
                occurred_at,
                heard_at: now,
            },
            locale: locale.clone(),
            kind: kind.clone(),
            values: values.clone(),
        });
        if built.is_none() || !problems.is_empty() {
            let template = kind.and_then(|kind| catalogue.template(&kind, locale.as_ref()));
            note_missing(&mut problems, template.as_ref(), &values);
        }
        problems.finish(built)
    }
}

impl Event {
    /// What the customer is told. `None`: there is no text for it.
    ///
    /// # Errors
    /// [`ApiError::InvalidInput`] naming what the text needs and the request does not tell.
    pub fn notification(&self, catalogue: &Catalogue) -> Result<Option<Notification>, ApiError> {
        let found = self.kind.as_ref().and_then(|kind| {
            let template = catalogue.template(kind, self.locale.as_ref())?;
            Some((kind.clone(), template))
        });
        let Some((kind, template)) = found else {
            return Ok(None);
        };
        let mut problems = Problems::default();
        note_missing(&mut problems, Some(&template), &self.values);
        problems.finish(Some(()))?;
        let filled = template.fill(&self.values);
        let (title, body) = filled.map_err(|broken| ApiError::Internal(broken.to_string()))?;
        let event = &self.booking_event;
        let now = event.heard_at;
        let happened = event.occurred_at.map_or(now, |at| at.min(now));
        // What is over already is accepted, and ends at once.
        let expires_at = (happened + Ttl::BOOKING.as_duration()).max(now);
        Ok(Some(Notification {
            id: NotificationId::generate(),
            customer: event.customer,
            content: Content {
                title,
                body,
                data: self.data(&kind, &template),
                image_url: None,
            },
            kind,
            priority: template.priority,
            collapse_key: Some(CollapseKey::of_booking(&event.booking)),
            created_at: now,
            send_at: None,
            expires_at,
        }))
    }

    /// The guide's data.
    fn data(&self, kind: &NotificationType, template: &Template<'_>) -> Data {
        let status = match &self.booking_event.what {
            Happened::Status(status) if status.name != ASSIGNED => self.values.status.as_deref(),
            Happened::Status(_) | Happened::Other(_) => None,
        };
        let pairs = [
            ("type", Some(kind.as_str())),
            ("bookingId", self.values.get(Placeholder::BookingId)),
            ("trackId", self.values.get(Placeholder::TrackId)),
            ("status", status),
            ("techName", self.values.get(Placeholder::Technician)),
            ("priority", Some(template.priority.as_str())),
        ];
        let given = pairs.into_iter();
        given
            .filter_map(|(key, value)| Some((key.to_owned(), value?.to_owned())))
            .collect()
    }
}

fn event_name(name: String, catalogue: &Catalogue) -> Result<String, Invalid> {
    let has_text = |name| NotificationType::parse(name).is_ok_and(|kind| catalogue.knows(&kind));
    // As events of their own they would leave the booking's status as it is.
    if BookingStatus::OTHERS.contains(&name.as_str()) {
        return Err(Invalid(format!(
            "is a status of the booking: send {STATUS_CHANGED} with it as newStatus"
        )));
    }
    if name == STATUS_CHANGED || has_text(&name) {
        Ok(name)
    } else {
        Err(Invalid(format!(
            "must be {ASSIGNED}, {STATUS_CHANGED}, or another type that the catalogue has a text for"
        )))
    }
}

/// A text that a customer may read. A value of at most so many characters as the catalogue was checked with.
fn text(text: String, placeholder: Placeholder) -> Result<String, Invalid> {
    let chars_max = placeholder.chars_max();
    if text.trim().is_empty() {
        return Err(Invalid("must not be empty".to_owned()));
    }
    if text.chars().count() > chars_max || text.chars().any(char::is_control) {
        return Err(Invalid(format!(
            "must have at most {chars_max} characters, and no control characters"
        )));
    }
    Ok(text)
}

fn technician(problems: &mut Problems, technician: Field<Map<String, Value>>) -> Option<String> {
    let parse = Ok::<_, std::convert::Infallible>;
    let mut technician = problems.optional("technician", technician, parse)?;
    let name = technician.remove("name");
    let name = name.map_or(Field::Missing, Field::from_value);
    problems.optional("technician.name", name, |name| {
        text(name, Placeholder::Technician)
    })
}

fn occurred_at(text: &str, now: DateTime<Utc>) -> Result<DateTime<Utc>, Invalid> {
    let at = time::parse(text)?;
    if at > now + AHEAD_MAX {
        return Err(Invalid(format!(
            "must not be more than {} minutes ahead",
            AHEAD_MAX.num_minutes()
        )));
    }
    Ok(at)
}

/// `None` where the status is missing.
fn happened(name: String, values: &Values) -> Option<Happened> {
    let status = if name == STATUS_CHANGED {
        values.status.as_ref()?.to_lowercase()
    } else if name == ASSIGNED {
        name
    } else {
        return NotificationType::parse(&name).ok().map(Happened::Other);
    };
    let technician = values.technician.as_deref();
    let technician = technician.filter(|_| status == ASSIGNED);
    Some(Happened::Status(BookingStatus {
        technician: technician.map(|name| Fingerprint(Sha256::digest(name).into())),
        name: status,
    }))
}

fn kind_of(what: &Happened) -> Option<NotificationType> {
    match what {
        Happened::Status(status) => NotificationType::parse(&status.name).ok(),
        Happened::Other(kind) => Some(kind.clone()),
    }
}

fn says_unchanged(what: &Happened, values: &Values) -> bool {
    let old = values.old_status.as_deref().map(str::to_lowercase);
    match what {
        Happened::Status(status) => old.as_ref() == Some(&status.name),
        Happened::Other(_) => false,
    }
}

fn note_missing(problems: &mut Problems, template: Option<&Template<'_>>, values: &Values) {
    let missing = template.map(|template| template.missing(values));
    for placeholder in missing.into_iter().flatten() {
        let field = placeholder.field();
        let object = field.split('.').next().unwrap_or_default();
        if !problems.has(field) && !problems.has(object) {
            let name = placeholder.name();
            problems.note(field, format!("is required: the text says {{ ${name} }}"));
        }
    }
}

#[cfg(test)]
mod tests;
