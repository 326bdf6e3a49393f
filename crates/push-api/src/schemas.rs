//! What the OpenAPI document says of types that are not ours to annotate.

use push_core::booking::Ignored;
use push_core::job::GiveUpReason;
use push_core::lane::LaneState;
use push_core::left_out::WhyOff;
use push_core::notification::Priority;
use push_core::provider::{Platform, Provider};
use push_core::replay::LetterState;
use push_core::settle::DeliveryOutcome;
use push_core::status::{ProviderResult, Reason, Status};
use push_core::timeline::Step;
use push_store::OperationState;
use utoipa::openapi::schema::{Object, ObjectBuilder, SchemaType, Type};

/// Declares a schema for each enum, from the spellings that the enum itself lists.
macro_rules! enums {
    ($($(#[$doc:meta])* $function:ident: $name:ident;)+) => {$(
        $(#[$doc])*
        #[must_use]
        pub fn $function() -> Object {
            one_of($name::ALL.iter().map(|value| value.as_str()), false)
        }
    )+};
}

enums! {
    /// Where a notification stands.
    status: Status;
    /// What became of it at one provider.
    provider_result: ProviderResult;
    /// What a device runs.
    platform: Platform;
    /// Who carries a push.
    provider: Provider;
    /// How urgently a device is woken.
    priority: Priority;
    /// Why an event is ignored.
    ignored: Ignored;
    /// What came of a delivery.
    delivery_outcome: DeliveryOutcome;
    /// A kind of decision.
    step: Step;
    /// Why something was given up.
    give_up_reason: GiveUpReason;
    /// What was done with a dead letter.
    letter_state: LetterState;
    /// How an operation stands.
    operation_state: OperationState;
    /// How a provider's lane stands.
    lane_state: LaneState;
}

/// Why a notification failed or was suppressed, or `null`.
#[must_use]
pub fn reason() -> Object {
    one_of(Reason::ALL.iter().map(|value| value.as_str()), true)
}

/// How urgently a device is woken, or `null`.
#[must_use]
pub fn priority_or_null() -> Object {
    one_of(Priority::ALL.iter().map(|value| value.as_str()), true)
}

/// How a provider's lane stands, or `null`.
#[must_use]
pub fn lane_state_or_null() -> Object {
    one_of(LaneState::ALL.iter().map(|value| value.as_str()), true)
}

/// Who carries a push, or `null`.
#[must_use]
pub fn provider_or_null() -> Object {
    one_of(Provider::ALL.iter().map(|value| value.as_str()), true)
}

/// Why a token is off, or `null`.
#[must_use]
pub fn why_off_or_null() -> Object {
    one_of(WhyOff::ALL.iter().map(|value| value.as_str()), true)
}

/// Why something was given up, or `null`.
#[must_use]
pub fn give_up_reason_or_null() -> Object {
    one_of(GiveUpReason::ALL.iter().map(|value| value.as_str()), true)
}

/// What a device runs, or `null`.
#[must_use]
pub fn platform_or_null() -> Object {
    one_of(Platform::ALL.iter().map(|value| value.as_str()), true)
}

fn one_of(spellings: impl Iterator<Item = &'static str>, or_null: bool) -> Object {
    let values: Vec<Option<&'static str>> =
        spellings.map(Some).chain(or_null.then_some(None)).collect();
    let schema_type = if or_null {
        SchemaType::from_iter([Type::String, Type::Null])
    } else {
        SchemaType::new(Type::String)
    };
    ObjectBuilder::new()
        .schema_type(schema_type)
        .enum_values(Some(values))
        .build()
}
