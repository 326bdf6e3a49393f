//! `POST /api/Push/register`

use axum::Json;
use axum::extract::State;
use push_core::id::{CustomerId, DeviceId};
use push_core::provider::Platform;
use push_core::token::{ExpoToken, FcmToken};
use push_store::Registration;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::answer::Done;
use crate::caller::{Caller, Register};
use crate::error::{ApiError, BodyErrors, CallErrors, CustomerErrors};
use crate::request::{Field, JsonBody, Problems};
use crate::schemas;
use crate::state::{AppState, now};

/// A device of a customer, with at least one token.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = RegisterRequest)]
pub struct Request {
    /// Always `customer`.
    #[serde(default)]
    #[schema(value_type = String, required, pattern = "^customer$", example = "customer")]
    user_type: Field<String>,
    /// The customer.
    #[serde(default)]
    #[schema(value_type = i64, required, minimum = 1, example = 123)]
    id: Field<i64>,
    /// The FCM registration token, as the Firebase SDK's `getToken()` returns it.
    #[serde(default)]
    #[schema(value_type = Option<String>, min_length = 20, max_length = 500,
             example = "cXyzAbCdEfGhIjKlMnOpQr:APA91bEXAMPLE")]
    fcm_token: Field<String>,
    /// The Expo push token, as `getExpoPushTokenAsync()` returns it.
    #[serde(default)]
    #[schema(value_type = Option<String>, max_length = 255,
             example = "ExponentPushToken[xxxxxxxxxxxxxxxxxxxxxx]")]
    expo_push_token: Field<String>,
    /// What the device runs.
    #[serde(default)]
    #[schema(schema_with = schemas::platform, required)]
    platform: Field<String>,
    /// The app's own name for the device, unique for the customer.
    #[serde(default)]
    #[schema(value_type = Option<String>, max_length = 191, pattern = "^[!-~]([ -~]*[!-~])?$", example = "9774d56d682e549c")]
    device_id: Field<String>,
}

/// The `userType` of the guide: there is one kind.
pub(super) fn check_user_type(problems: &mut Problems, user_type: Field<String>) {
    problems.required("userType", user_type, |text| {
        if text == "customer" {
            Ok(())
        } else {
            Err("must be \"customer\"")
        }
    });
}

impl Request {
    fn parse(self) -> Result<Registration, ApiError> {
        let mut problems = Problems::default();
        check_user_type(&mut problems, self.user_type);
        let customer = problems.required("id", self.id, CustomerId::try_from);
        if (&self.fcm_token, &self.expo_push_token) == (&Field::Missing, &Field::Missing) {
            problems.note("fcmToken", "is required, unless expoPushToken is given");
        }
        let fcm = problems.optional("fcmToken", self.fcm_token, |text| FcmToken::parse(&text));
        let expo = problems.optional("expoPushToken", self.expo_push_token, |text| {
            ExpoToken::parse(&text)
        });
        let platform = problems.required("platform", self.platform, |text| {
            Platform::from_spelling(&text).ok_or("must be android, ios or web")
        });
        let device_id =
            problems.optional("deviceId", self.device_id, |text| DeviceId::parse(&text));
        problems.finish(
            customer
                .zip(platform)
                .map(|(customer, platform)| Registration {
                    customer,
                    platform,
                    device_id,
                    fcm,
                    expo,
                }),
        )
    }
}

/// Registers a device's push tokens.
///
/// One row is one device; a customer may have several. Registering again updates: a device is matched
/// by `deviceId`, else by either token. A token belongs to one customer at a time: registered for
/// another, it moves. A token that was switched off comes back.
///
/// A customer has at most 50 active devices: one more switches the one off that was registered longest ago.
#[utoipa::path(
    post,
    path = "/api/Push/register",
    operation_id = "registerDevice",
    tag = "devices",
    request_body = Request,
    responses(
        (status = 200, description = "Registered", body = Done,
         example = json!({"success": true, "message": "Push token registered successfully"})),
        BodyErrors, CallErrors, CustomerErrors,
    ),
)]
pub async fn register(
    caller: Caller<Register>,
    State(state): State<AppState>,
    JsonBody(request): JsonBody<Request>,
) -> Result<Json<Done>, ApiError> {
    let registration = request.parse()?;
    caller.own(registration.customer)?;
    state.admit_customer(registration.customer).await?;
    state
        .change(|store| async move {
            let registered = store.register(&registration, now()).await?;
            Ok(registered.changed)
        })
        .await?;
    Ok(Json(Done::new("Push token registered successfully")))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::routes::send_to_customer::tests::problems_of;

    const FCM: &str = "cXyzAbCdEfGhIjKlMnOpQr:APA91bEXAMPLE";
    const EXPO: &str = "ExponentPushToken[xxxxxxxxxxxxxxxxxxxxxx]";

    fn parse(body: Value) -> Result<Registration, ApiError> {
        serde_json::from_value::<Request>(body).unwrap().parse()
    }

    #[test]
    fn one_token_is_enough_and_unknown_fields_are_ignored() {
        let registration = parse(json!({
            "userType": "customer", "id": 123, "fcmToken": FCM, "expoPushToken": null,
            "platform": "android", "deviceId": "d-1", "appVersion": "2.1",
        }))
        .unwrap();
        assert_eq!(registration.customer.get(), 123);
        assert_eq!(registration.fcm.unwrap().reveal(), FCM);
        assert_eq!(registration.expo, None);
        assert_eq!(registration.device_id.unwrap().as_str(), "d-1");
        let both = json!({"userType": "customer", "id": 1, "fcmToken": FCM, "expoPushToken": EXPO, "platform": "ios"});
        let both = parse(both).unwrap();
        assert!(both.fcm.is_some() && both.expo.is_some() && both.device_id.is_none());
    }

    #[test]
    fn every_problem_is_told_and_no_token() {
        let told = parse(json!({
            "userType": "admin", "id": 0, "fcmToken": "s3cret", "expoPushToken": "s3cret",
            "platform": "symbian", "deviceId": "",
        }));
        let problems = problems_of(told);
        let fields: Vec<&str> = problems.iter().map(|(field, _)| field.as_str()).collect();
        assert_eq!(
            fields,
            [
                "userType",
                "id",
                "fcmToken",
                "expoPushToken",
                "platform",
                "deviceId"
            ]
        );
        assert!(!format!("{problems:?}").contains("s3cret"));
        let fields: Vec<_> = problems_of(parse(json!({})))
            .into_iter()
            .map(|(field, _)| field)
            .collect();
        assert_eq!(fields, ["userType", "id", "fcmToken", "platform"]);
        let swapped = json!({"userType": "customer", "id": 1, "fcmToken": EXPO, "platform": "ios"});
        assert!(problems_of(parse(swapped))[0].1.contains("`expoPushToken`"));
        let wrong = json!({"userType": 1, "id": "1", "fcmToken": 1, "expoPushToken": {}, "platform": [], "deviceId": true});
        assert_eq!(problems_of(parse(wrong)).len(), 6);
    }
}
