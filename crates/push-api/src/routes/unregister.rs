//! `POST /api/Push/unregister`

use axum::Json;
use axum::extract::State;
use push_core::id::{CustomerId, DeviceId};
use push_core::token::{ExpoToken, FcmToken};
use push_store::{Identification, Store};
use serde::Deserialize;
use utoipa::ToSchema;

use super::register::check_user_type;
use crate::answer::Done;
use crate::caller::{Caller, Register};
use crate::error::{ApiError, BodyErrors, CallErrors};
use crate::request::{Field, JsonBody, Problems};
use crate::state::{AppState, now};

/// A device by its `deviceId`, or single tokens.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = UnregisterRequest)]
pub struct Request {
    /// Always `customer`.
    #[serde(default)]
    #[schema(value_type = String, required, pattern = "^customer$", example = "customer")]
    user_type: Field<String>,
    /// The customer.
    #[serde(default)]
    #[schema(value_type = i64, required, minimum = 1, example = 123)]
    id: Field<i64>,
    /// An FCM registration token: it alone is dropped.
    #[serde(default)]
    #[schema(value_type = Option<String>, min_length = 20, max_length = 500,
             example = "cXyzAbCdEfGhIjKlMnOpQr:APA91bEXAMPLE")]
    fcm_token: Field<String>,
    /// An Expo push token: it alone is dropped.
    #[serde(default)]
    #[schema(value_type = Option<String>, max_length = 255,
             example = "ExponentPushToken[xxxxxxxxxxxxxxxxxxxxxx]")]
    expo_push_token: Field<String>,
    /// The app's own name for the device: the whole device is dropped.
    #[serde(default)]
    #[schema(value_type = Option<String>, max_length = 191, example = "9774d56d682e549c")]
    device_id: Field<String>,
}

impl Request {
    fn parse(self) -> Result<(CustomerId, Identification), ApiError> {
        let mut problems = Problems::default();
        check_user_type(&mut problems, self.user_type);
        let customer = problems.required("id", self.id, CustomerId::try_from);
        let nothing = (&Field::Missing, &Field::Missing, &Field::Missing);
        if (&self.fcm_token, &self.expo_push_token, &self.device_id) == nothing {
            problems.note(
                "deviceId",
                "is required, unless fcmToken or expoPushToken is given",
            );
        }
        let fcm = problems.optional("fcmToken", self.fcm_token, |text| FcmToken::parse(&text));
        let expo = problems.optional("expoPushToken", self.expo_push_token, |text| {
            ExpoToken::parse(&text)
        });
        let device_id =
            problems.optional("deviceId", self.device_id, |text| DeviceId::parse(&text));
        let identification = Identification {
            device_id,
            fcm,
            expo,
        };
        problems.finish(customer.map(|customer| (customer, identification)))
    }
}

/// Switches a device or a token off.
///
/// A token drops that token, a `deviceId` the whole device. Idempotent: what is off, or was never
/// registered, is answered alike.
#[utoipa::path(
    post,
    path = "/api/Push/unregister",
    operation_id = "unregisterDevice",
    tag = "devices",
    request_body = Request,
    responses(
        (status = 200, description = "Off", body = Done,
         example = json!({"success": true, "message": "Push token unregistered successfully"})),
        BodyErrors, CallErrors,
    ),
)]
pub async fn unregister(
    caller: Caller<Register>,
    State(state): State<AppState>,
    JsonBody(request): JsonBody<Request>,
) -> Result<Json<Done>, ApiError> {
    let (customer, identification) = request.parse()?;
    caller.own(customer)?;
    let off = move |store: Store| async move {
        let changed = store.unregister(customer, &identification, now()).await?;
        Ok(Vec::from_iter(changed))
    };
    state.change(off).await?;
    Ok(Json(Done::new("Push token unregistered successfully")))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::routes::send_to_customer::tests::problems_of;

    fn parse(body: Value) -> Result<(CustomerId, Identification), ApiError> {
        serde_json::from_value::<Request>(body).unwrap().parse()
    }

    #[test]
    fn a_device_or_a_token_has_to_be_named() {
        let (customer, identification) =
            parse(json!({"userType": "customer", "id": 7, "deviceId": "d-1"})).unwrap();
        assert_eq!((customer.get(), identification.fcm), (7, None));
        assert_eq!(identification.device_id.unwrap().as_str(), "d-1");
        let told = problems_of(parse(json!({"userType": "customer", "id": 7})));
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].0, "deviceId");
        let told = problems_of(parse(json!({"id": -1, "expoPushToken": "s3cret"})));
        assert_eq!(told.len(), 3);
        assert!(!format!("{told:?}").contains("s3cret"));
    }
}
