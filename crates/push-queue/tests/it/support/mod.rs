//! What the tests stand on.

pub mod log;
pub mod management;
pub mod proxy;

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use push_core::ladder::RetryDelay;
use push_queue::{Broker, BrokerSettings, BrokerState, Deliveries, Delivery, Message, Topology};
use tokio_util::sync::CancellationToken;

use management::Management;

/// Far more than anything takes on a busy machine. No test waits for it to pass.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// A virtual host of its own, deleted at the end.
pub struct Stand {
    pub management: Management,
    pub vhost: String,
    address: Address,
}

struct Address {
    credentials: String,
    host_and_port: String,
}

impl Stand {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        // With a slash and a space: both must survive the URL.
        let vhost = format!("push/queue {}-{count}", std::process::id());
        let management = Management::from_env();
        management.create_vhost(&vhost);
        Self {
            management,
            vhost,
            address: Address::from_env(),
        }
    }

    pub fn host_and_port(&self) -> &str {
        &self.address.host_and_port
    }

    pub fn url(&self) -> String {
        self.url_at(&self.address.host_and_port)
    }

    /// The same broker behind another address.
    pub fn url_at(&self, host_and_port: &str) -> String {
        let vhost = management::encode(&self.vhost);
        format!(
            "amqp://{}@{host_and_port}/{vhost}",
            self.address.credentials
        )
    }

    pub fn settings(&self) -> BrokerSettings {
        settings(self.url())
    }

    /// A broker that is connected.
    pub async fn broker(&self) -> Broker {
        connected(self.settings()).await
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        self.management.delete_vhost(&self.vhost);
    }
}

impl Address {
    fn from_env() -> Self {
        let url = env("PUSH_TEST_AMQP_URL");
        let (_, rest) = url
            .split_once("://")
            .expect("PUSH_TEST_AMQP_URL is amqp://…");
        let authority = rest.split(['/', '?']).next().unwrap();
        let (credentials, host_and_port) = authority
            .rsplit_once('@')
            .expect("PUSH_TEST_AMQP_URL has user:password@");
        Self {
            credentials: credentials.to_owned(),
            host_and_port: host_and_port.to_owned(),
        }
    }
}

pub fn env(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!("{name} is not set: run `cargo xtask test`, or `eval \"$(cargo xtask services env)\"` first")
    })
}

pub fn delay(text: &str) -> RetryDelay {
    RetryDelay::parse(text).unwrap()
}

pub fn settings(url: String) -> BrokerSettings {
    BrokerSettings {
        url,
        topology: Topology {
            retry_delays: vec![delay("200ms"), delay("1h")],
            receipt_delays: vec![delay("15m")],
        },
        connection_name: "push-queue tests".to_owned(),
        keys: push_seal::Keyring::default(),
    }
}

pub fn start(settings: BrokerSettings) -> Broker {
    Broker::start(settings, CancellationToken::new()).unwrap()
}

pub async fn connected(settings: BrokerSettings) -> Broker {
    let broker = start(settings);
    within("a connection", broker.connected()).await;
    broker
}

pub fn message(id: &str) -> Message {
    Message {
        body: format!("{{\"id\":\"{id}\"}}").into_bytes(),
        message_id: id.to_owned(),
        kind: "test".to_owned(),
        timestamp: 1_764_000_000,
        trace_parent: None,
        given_up: None,
    }
}

pub async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, work).await {
        Ok(value) => value,
        Err(_) => panic!("{what} did not come in {DEADLINE:?}"),
    }
}

/// Asks again and again until the answer is yes.
pub async fn until<F: Future<Output = bool>>(what: &str, mut is_so: impl FnMut() -> F) {
    within(what, async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

pub async fn until_state(broker: &Broker, what: &str, is_so: impl FnMut(&BrokerState) -> bool) {
    let mut states = broker.watch_state();
    within(what, states.wait_for(is_so)).await.unwrap();
}

pub async fn next(deliveries: &mut Deliveries) -> Delivery {
    within("a delivery", deliveries.recv())
        .await
        .expect("the deliveries ended")
}

pub fn id(delivery: &Delivery) -> &str {
    delivery.message_id.as_deref().unwrap_or_default()
}

pub async fn take(deliveries: &mut Deliveries, count: usize) -> Vec<Delivery> {
    let mut taken = Vec::new();
    while taken.len() < count {
        taken.push(next(deliveries).await);
    }
    taken
}
