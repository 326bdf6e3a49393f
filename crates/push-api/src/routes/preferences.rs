//! `GET`, `PUT /api/Push/preferences/{customerId}`

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use push_core::id::CustomerId;
use push_core::locale::Locale;
use push_core::notification::{Invalid, NotificationType};
use push_core::preferences::{MandatoryTypes, Preferences, QuietHours, TimeOfDay, zone};
use push_store::UnknownCustomer;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::caller::{Caller, Register};
use crate::error::{ApiError, BodyErrors, CallErrors, CustomerErrors};
use crate::request::{Field, JsonBody, Problems, typed};
use crate::routes::{CustomerPath, customer_of};
use crate::state::{AppState, now};

/// What a customer wants from now on: all of it, for what is not said is as if it had never been.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = PreferencesRequest)]
pub struct Request {
    /// Whether any push is wanted, but for those of mandatory types.
    #[serde(default)]
    #[schema(value_type = bool, required, example = true)]
    push_enabled: Field<bool>,
    /// Which types are wanted; one that is missing is. At most 100. What is said of a mandatory type is kept, and has no
    /// effect as long as it is mandatory.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, bool>, required, example = json!({"offer": false}))]
    types: Field<Map<String, Value>>,
    /// When only notifications of high priority are wanted: others wait until the end.
    #[serde(default)]
    #[schema(value_type = Option<QuietHoursRequest>)]
    quiet_hours: Field<Map<String, Value>>,
    /// In which language, as a BCP 47 tag.
    #[serde(default)]
    #[schema(value_type = Option<String>, max_length = 35, example = "de-AT")]
    locale: Field<String>,
}

/// Every day from one time to another one, which may be on the next day, by the customer's clock.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct QuietHoursRequest {
    /// When they begin.
    #[serde(default)]
    #[schema(value_type = String, required, pattern = "^([01][0-9]|2[0-3]):[0-5][0-9]$", example = "22:00")]
    start: Field<String>,
    /// When they end; not the same as `start`.
    #[serde(default)]
    #[schema(value_type = String, required, pattern = "^([01][0-9]|2[0-3]):[0-5][0-9]$", example = "07:00")]
    end: Field<String>,
    /// IANA name of the time zone.
    #[serde(default)]
    #[schema(value_type = String, required, example = "Europe/Vienna")]
    time_zone: Field<String>,
}

impl Request {
    fn parse(self) -> Result<Preferences, ApiError> {
        let mut problems = Problems::default();
        let push_enabled = problems.required("pushEnabled", self.push_enabled, Ok::<_, Invalid>);
        let types = problems.required("types", self.types, Ok::<_, Invalid>);
        let types = types.map(|types| parse_types(&mut problems, types));
        let quiet_hours = problems.optional("quietHours", self.quiet_hours, Ok::<_, Invalid>);
        let quiet_hours = match quiet_hours {
            Some(object) => typed::<QuietHoursRequest>(object.into())?.parse(&mut problems),
            None => None,
        };
        let locale = problems.optional("locale", self.locale, |text| Locale::parse(&text));
        let parsed = push_enabled.zip(types);
        problems.finish(parsed.map(|(push_enabled, types)| Preferences {
            push_enabled,
            types,
            quiet_hours,
            locale,
        }))
    }
}

fn parse_types(
    problems: &mut Problems,
    types: Map<String, Value>,
) -> BTreeMap<NotificationType, bool> {
    if types.len() > Preferences::TYPES_MAX {
        let most = Preferences::TYPES_MAX;
        problems.note("types", format!("must have at most {most} types"));
        return BTreeMap::new();
    }
    let mut parsed = BTreeMap::new();
    let mut misnamed = None;
    for (name, wanted) in types {
        match (NotificationType::parse(&name), wanted) {
            (Ok(kind), Value::Bool(wanted)) => drop(parsed.insert(kind, wanted)),
            (Ok(_), _) => problems.note(format!("types.{name}"), "must be true or false"),
            (Err(wrong), _) => misnamed = Some(wrong),
        }
    }
    // Once for all of them: what is no name is not repeated.
    if let Some(wrong) = misnamed {
        problems.note("types", format!("has a name that is no type: it {wrong}"));
    }
    parsed
}

impl QuietHoursRequest {
    /// `None` means that a problem was noted.
    fn parse(self, problems: &mut Problems) -> Option<QuietHours> {
        let time = |text: String| TimeOfDay::parse(&text);
        let start = problems.required("quietHours.start", self.start, time);
        let end = problems.required("quietHours.end", self.end, time);
        let zone = problems.required("quietHours.timeZone", self.time_zone, |name| zone(&name));
        let ((start, end), zone) = start.zip(end).zip(zone)?;
        QuietHours::new(start, end, zone)
            .map_err(|wrong| problems.note("quietHours.end", wrong))
            .ok()
    }
}

/// What a customer wants to get, and when.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Preferences)]
pub struct Answer {
    /// Always true.
    #[schema(example = true)]
    success: bool,
    /// For people.
    message: &'static str,
    /// Who.
    customer_id: i64,
    /// What.
    #[serde(flatten)]
    wanted: Wanted,
}

/// What is wanted, and when.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = WantedPreferences)]
pub struct Wanted {
    /// Whether any push is wanted, but for those of mandatory types.
    push_enabled: bool,
    /// Which types are wanted; one that is missing is.
    types: BTreeMap<String, bool>,
    /// When only notifications of high priority are wanted.
    quiet_hours: Option<Quiet>,
    /// In which language.
    #[schema(example = "de-AT")]
    locale: Option<String>,
    /// Types that cannot be switched off: an app shows their switches as on, and greyed out.
    mandatory_types: Vec<String>,
}

/// Quiet hours, every day.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = QuietHours)]
pub struct Quiet {
    /// When they begin.
    #[schema(example = "22:00")]
    start: String,
    /// When they end.
    #[schema(example = "07:00")]
    end: String,
    /// By whose clock.
    #[schema(example = "Europe/Vienna")]
    time_zone: String,
}

impl Answer {
    fn new(
        message: &'static str,
        customer: CustomerId,
        preferences: Preferences,
        mandatory: &MandatoryTypes,
    ) -> Self {
        Self {
            success: true,
            message,
            customer_id: customer.get(),
            wanted: Wanted::new(preferences, mandatory),
        }
    }
}

impl Wanted {
    /// As callers get it.
    pub fn new(preferences: Preferences, mandatory: &MandatoryTypes) -> Self {
        let types = preferences.types.into_iter();
        Self {
            push_enabled: preferences.push_enabled,
            types: types.map(|(kind, wanted)| (kind.into(), wanted)).collect(),
            quiet_hours: preferences.quiet_hours.map(|quiet| Quiet {
                start: quiet.start().to_string(),
                end: quiet.end().to_string(),
                time_zone: quiet.zone().name().to_owned(),
            }),
            locale: preferences.locale.map(Into::into),
            mandatory_types: mandatory.iter().cloned().map(Into::into).collect(),
        }
    }
}

/// What a customer wants to get, and when.
///
/// Who never said anything wants everything, at any time. `mandatoryTypes` are those that cannot be switched off.
#[utoipa::path(
    get,
    path = "/api/Push/preferences/{customerId}",
    operation_id = "getPreferences",
    tag = "preferences",
    params(("customerId" = i64, Path, description = "The customer", minimum = 1, example = 123)),
    responses(
        (status = 200, description = "The preferences", body = Answer,
         example = json!({"success": true, "message": "Preferences found", "customerId": 123, "pushEnabled": true,
                          "types": {"offer": false},
                          "quietHours": {"start": "22:00", "end": "07:00", "timeZone": "Europe/Vienna"},
                          "locale": "de-AT", "mandatoryTypes": ["cancelled"]})),
        CallErrors, CustomerErrors,
    ),
)]
pub async fn preferences(
    caller: Caller<Register>,
    State(state): State<AppState>,
    customer: CustomerPath,
) -> Result<Json<Answer>, ApiError> {
    let customer = caller.own(customer_of(customer)?)?;
    let may_be_unknown = state.unknown_customer == UnknownCustomer::Create;
    let found = state
        .ask(move |store| async move {
            let said = store.preferences(customer).await?;
            if said.is_some() || may_be_unknown {
                return Ok(Some(said.unwrap_or_default()));
            }
            let known = store.known_customers(&[customer]).await?;
            Ok(known.contains(&customer).then(Preferences::default))
        })
        .await?;
    let found = found.ok_or(ApiError::UnknownCustomer)?;
    let mandatory = &state.mandatory_types;
    Ok(Json(Answer::new(
        "Preferences found",
        customer,
        found,
        mandatory,
    )))
}

/// Sets what a customer wants to get, and when.
///
/// Replaces all that was said before, and holds on every worker from the answer on: what is no longer wanted is not sent any
/// more, also where it was accepted or tried before, unless a provider is being asked at this very moment.
///
/// In quiet hours notifications of normal priority wait until their end; those that expire before are `suppressed`
/// (`quiet_hours`). High priority passes. Where the customer's clock is set back, quiet hours begin with the first and end
/// with the last of two equal times; where it is set forward over their start or end, they begin or end then.
#[utoipa::path(
    put,
    path = "/api/Push/preferences/{customerId}",
    operation_id = "setPreferences",
    tag = "preferences",
    params(("customerId" = i64, Path, description = "The customer", minimum = 1, example = 123)),
    request_body(content = Request,
        example = json!({"pushEnabled": true, "types": {"offer": false},
                         "quietHours": {"start": "22:00", "end": "07:00", "timeZone": "Europe/Vienna"},
                         "locale": "de-AT"})),
    responses(
        (status = 200, description = "Kept: the preferences as they are now", body = Answer,
         example = json!({"success": true, "message": "Preferences saved", "customerId": 123, "pushEnabled": true,
                          "types": {"offer": false},
                          "quietHours": {"start": "22:00", "end": "07:00", "timeZone": "Europe/Vienna"},
                          "locale": "de-AT", "mandatoryTypes": ["cancelled"]})),
        BodyErrors, CallErrors, CustomerErrors,
    ),
)]
pub async fn set_preferences(
    caller: Caller<Register>,
    State(state): State<AppState>,
    customer: CustomerPath,
    JsonBody(request): JsonBody<Request>,
) -> Result<Json<Answer>, ApiError> {
    let customer = caller.own(customer_of(customer)?)?;
    let wanted = request.parse()?;
    state.admit_customer(customer).await?;
    let said = wanted.clone();
    state
        .change(move |store| async move { store.set_preferences(customer, &said, now()).await })
        .await?;
    let mandatory = &state.mandatory_types;
    Ok(Json(Answer::new(
        "Preferences saved",
        customer,
        wanted,
        mandatory,
    )))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::routes::send_to_customer::tests::problems_of;

    fn parse(body: Value) -> Result<Preferences, ApiError> {
        serde_json::from_value::<Request>(body).unwrap().parse()
    }

    #[test]
    fn what_is_said_is_answered() {
        let quiet = json!({"start": "22:00", "end": "07:00", "timeZone": "Europe/Vienna"});
        let said = json!({"pushEnabled": true, "types": {"offer": false, "reached": true}, "quietHours": quiet,
                          "locale": "de-AT", "theme": "dark"});
        let mandatory = MandatoryTypes::parse("reached,cancelled").unwrap();
        let customer = CustomerId::try_from(7).unwrap();
        let answered = Answer::new("saved", customer, parse(said).unwrap(), &mandatory);
        assert_eq!(
            serde_json::to_value(answered).unwrap(),
            json!({"success": true, "message": "saved", "customerId": 7, "pushEnabled": true,
                   "types": {"offer": false, "reached": true}, "quietHours": quiet, "locale": "de-AT",
                   "mandatoryTypes": ["cancelled", "reached"]})
        );
        let least = json!({"pushEnabled": false, "types": {}, "quietHours": null});
        let least = parse(least).unwrap();
        assert_eq!((least.push_enabled, &least.quiet_hours), (false, &None));
    }

    #[test]
    fn every_problem_is_told() {
        let fields = |body| {
            let told = problems_of(parse(body)).into_iter();
            told.map(|(field, _)| field).collect::<Vec<_>>()
        };
        assert_eq!(fields(json!({})), ["pushEnabled", "types"]);
        let wrong = json!({
            "pushEnabled": "yes", "types": {"offer": "no", "reached": null, "No Type s3cret": true, "": false},
            "quietHours": {"start": "25:00", "timeZone": "Wien"}, "locale": "Deutsch",
        });
        assert_eq!(
            fields(wrong.clone()),
            [
                "pushEnabled",
                "types.offer",
                "types.reached",
                "types",
                "quietHours.start",
                "quietHours.end",
                "quietHours.timeZone",
                "locale"
            ]
        );
        assert!(!format!("{:?}", problems_of(parse(wrong))).contains("s3cret"));
        let same = json!({"pushEnabled": true, "types": {},
                          "quietHours": {"start": "07:00", "end": "07:00", "timeZone": "UTC"}});
        assert_eq!(fields(same), ["quietHours.end"]);
        let kinds = json!({"pushEnabled": 1, "types": [], "quietHours": "always", "locale": 7});
        assert_eq!(
            fields(kinds),
            ["pushEnabled", "types", "quietHours", "locale"]
        );
    }

    #[test]
    fn a_hundred_types_and_no_more() {
        let types = |count: usize| {
            let types = (0..count).map(|n| (format!("type_{n}"), Value::Bool(false)));
            parse(json!({"pushEnabled": true, "types": types.collect::<Map<_, _>>()}))
        };
        assert_eq!(types(100).unwrap().types.len(), 100);
        assert_eq!(problems_of(types(101))[0].0, "types");
    }
}
