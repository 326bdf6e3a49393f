//! Whether the API can do its work, and what is missing.

use push_queue::{Broker, BrokerState};
use push_runtime::probes::{Check, Readiness};
use push_store::Store;

use crate::schema::Schema;

/// What readiness looks at.
#[derive(Clone)]
pub struct Health {
    pub(crate) schema: Schema,
    pub(crate) database: Store,
    pub(crate) broker: Broker,
}

impl Health {
    /// Whether we can do our work: the database decides; a broker that is away only delays.
    pub async fn readiness(&self) -> Readiness {
        let database = match self.schema.missing() {
            Some(why) => Check::Down(why),
            None => match self.database.ping().await {
                Ok(()) => Check::Ok,
                Err(error) => Check::Down(error.to_string()),
            },
        };
        let broker = match self.broker.state() {
            BrokerState::Connected => Check::Ok,
            BrokerState::Blocked { reason } => {
                Check::Degraded(format!("takes no messages: {reason}"))
            }
            BrokerState::Disconnected { reason } => Check::Degraded(reason),
        };
        Readiness {
            checks: vec![("database", database), ("broker", broker)],
        }
    }
}
