//! What both programs measure, under one name each.

use std::time::Duration;

use metrics::{Unit, describe_gauge, describe_histogram, gauge, histogram};

/// How long a part of a notification's way took.
pub(crate) const STAGE_DURATION: &str = "push_stage_duration_seconds";
/// How long a notification was on its way. It is told by the workers, and its buckets are those of the stages.
pub const DELIVERY_DURATION: &str = "push_delivery_duration_seconds";
const READY: &str = "push_ready";
const CONNECTIONS: &str = "push_database_connections";
const CONNECTIONS_MAX: &str = "push_database_connections_max";

/// Says what they mean.
pub fn describe() {
    describe_histogram!(
        STAGE_DURATION,
        Unit::Seconds,
        "How long a stage of a notification's way took"
    );
    describe_gauge!(READY, "1 while what the program needs is there");
    describe_gauge!(CONNECTIONS, "Connections to the database, used or idle");
    describe_gauge!(
        CONNECTIONS_MAX,
        "How many connections to the database there may be (DATABASE_CONNECTIONS)"
    );
}

/// A notification has come through a stage.
pub fn stage(name: &'static str, took: Duration) {
    histogram!(STAGE_DURATION, "stage" => name).record(took);
}

/// Whether something is there that this program needs.
pub fn ready(check: &'static str, is_there: bool) {
    gauge!(READY, "check" => check).set(f64::from(u8::from(is_there)));
}

/// The connections to the database: those in use, those that wait for somebody, and how many there may be.
pub fn connections(used: u32, idle: u32, max: u32) {
    gauge!(CONNECTIONS, "state" => "used").set(f64::from(used));
    gauge!(CONNECTIONS, "state" => "idle").set(f64::from(idle));
    gauge!(CONNECTIONS_MAX).set(f64::from(max));
}
