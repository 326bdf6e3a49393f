//! `GET /api/Push/admin/customers/{customerId}`

use axum::Json;
use axum::extract::State;
use push_core::id::CustomerId;
use push_core::left_out::{TokenOff, WhyOff};
use push_core::plan::Device as Registered;
use push_core::provider::Platform;
use push_core::token::Token;
use push_store::{Customer, Store};
use serde::Serialize;
use utoipa::ToSchema;

use crate::answer::Time;
use crate::caller::{Admin, Caller};
use crate::error::{ApiError, CallErrors, CustomerErrors};
use crate::routes::preferences;
use crate::routes::{CustomerPath, customer_of};
use crate::schemas;
use crate::state::AppState;

/// A customer.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = CustomerDetail)]
pub struct Answer {
    /// Always true.
    #[schema(example = true)]
    success: bool,
    /// For people.
    message: &'static str,
    /// Who.
    #[schema(example = 123)]
    customer_id: i64,
    /// Devices that a push can go to.
    devices: Vec<Device>,
    /// Tokens that nothing is sent to any more, of the latest ten devices that have some.
    tokens_off: Vec<Off>,
    /// What the customer wants to get, and when.
    preferences: preferences::Wanted,
}

/// A device with its tokens, masked.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = CustomerDevice)]
struct Device {
    /// The app's own name for it.
    device_id: Option<String>,
    /// What it runs.
    #[schema(schema_with = schemas::platform)]
    platform: Platform,
    /// Its FCM registration token.
    #[schema(example = "…aaaa")]
    fcm_token: Option<String>,
    /// Its Expo push token.
    expo_push_token: Option<String>,
}

/// A token that is switched off.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = TokenOff)]
struct Off {
    /// The app's own name for the device.
    device_id: Option<String>,
    /// Whose token it is.
    #[schema(schema_with = schemas::provider)]
    provider: &'static str,
    /// Its tail; `null`: somebody else has it now.
    token: Option<String>,
    /// Why; `null`: it is not known.
    #[schema(schema_with = schemas::why_off_or_null)]
    reason: Option<&'static str>,
    /// Since when.
    #[schema(value_type = chrono::DateTime<chrono::Utc>)]
    since: Time,
}

impl From<Registered> for Device {
    fn from(device: Registered) -> Self {
        let masked = |token: Token| token.masked().as_str().to_owned();
        Self {
            device_id: device.device_id.map(Into::into),
            platform: device.platform,
            fcm_token: device.fcm.map(|token| masked(Token::Fcm(token))),
            expo_push_token: device.expo.map(|token| masked(Token::Expo(token))),
        }
    }
}

impl From<TokenOff> for Off {
    fn from(off: TokenOff) -> Self {
        Self {
            device_id: off.device_id.map(Into::into),
            provider: off.provider.as_str(),
            token: off.token.map(|token| token.as_str().to_owned()),
            reason: off.why.map(WhyOff::as_str),
            since: Time(off.since),
        }
    }
}

/// What is known of a customer: devices, tokens that are off and why, preferences.
///
/// The history is asked for by `GET /api/Push/history?customerId=…`.
#[utoipa::path(
    get,
    path = "/api/Push/admin/customers/{customerId}",
    operation_id = "getCustomer",
    tag = "admin",
    params(("customerId" = i64, Path, description = "The customer", minimum = 1, example = 123)),
    responses(
        (status = 200, description = "The customer", body = Answer,
         example = json!({"success": true, "message": "Customer found", "customerId": 123,
                          "devices": [{"deviceId": "pixel-8", "platform": "android", "fcmToken": "…aaaa", "expoPushToken": null}],
                          "tokensOff": [{"deviceId": "old-phone", "provider": "fcm", "token": "…zzzz", "reason": "reported_dead",
                                         "since": "2030-01-01T00:00:00.000Z"}],
                          "preferences": {"pushEnabled": true, "types": {"offer": false}, "quietHours": null, "locale": "de-AT",
                                          "mandatoryTypes": []}})),
        CallErrors, CustomerErrors,
    )
)]
pub async fn detail(
    _caller: Caller<Admin>,
    State(state): State<AppState>,
    customer: CustomerPath,
) -> Result<Json<Answer>, ApiError> {
    let customer = customer_of(customer)?;
    let found = found(&state, customer).await?;
    Ok(Json(Answer {
        success: true,
        message: "Customer found",
        customer_id: customer.get(),
        devices: found.devices.into_iter().map(Device::from).collect(),
        tokens_off: found.off.into_iter().map(Off::from).collect(),
        preferences: preferences::Wanted::new(found.preferences, &state.mandatory_types),
    }))
}

/// Who is neither in `customers` nor has anything with us is not known.
async fn found(state: &AppState, customer: CustomerId) -> Result<Customer, ApiError> {
    let ask = |store: Store| async move {
        let mut found = store.customers(&[customer]).await?;
        let knows = store.knows(customer).await?;
        Ok(knows.then(|| found.remove(&customer)).flatten())
    };
    state.ask(ask).await?.ok_or(ApiError::UnknownCustomer)
}
