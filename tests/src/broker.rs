//! The broker as a stranger with an AMQP client sees it.

use lapin::options::{
    BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions,
    ExchangeDeleteOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Connection, ConnectionProperties, ExchangeKind};
use reqwest::Method;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::servers::Server;

/// A virtual host of this test's own, or the default one of a broker of its own.
#[derive(Clone, Debug)]
pub struct Broker {
    server: Server,
    management: Option<Server>,
    vhost: String,
    /// Whom the programs log in as.
    programs: Server,
    http: reqwest::Client,
}

/// What a user needs: the three kinds of permission.
const EVERYTHING: &str = ".*";

impl Broker {
    /// The name of the work queue in the contract.
    pub const JOBS: &str = "push.jobs";
    /// The name of the queue of dead letters in the contract.
    pub const DEAD: &str = "push.dead";
    /// The name of the queue of receipts to fetch in the contract.
    pub const RECEIPTS: &str = "push.receipts";
    /// What the programs log in with.
    pub const PASSWORD: &str = "secret-of-a-test";

    /// The virtual host; the programs' user has the same name.
    #[must_use]
    pub fn vhost(&self) -> &str {
        &self.vhost
    }

    /// Creates a virtual host, if the broker can be managed.
    pub(crate) async fn create(
        server: Server,
        management: Option<Server>,
        name: &str,
        http: reqwest::Client,
    ) -> Self {
        let vhost = if management.is_some() { name } else { "%2f" };
        let programs = match &management {
            Some(_) => Server {
                prefix: format!("amqp://{name}:{}@", Self::PASSWORD),
                ..server.clone()
            },
            None => server.clone(),
        };
        let broker = Self {
            server,
            management,
            vhost: vhost.to_owned(),
            programs,
            http,
        };
        if broker.management.is_some() {
            broker.create_vhost().await;
            broker.set_password(Self::PASSWORD).await;
            broker.permit().await;
        }
        broker
    }

    async fn manage(&self, method: reqwest::Method, path: &str, body: Value) {
        let management = self.management.as_ref().expect("a managed broker");
        let request = self.http.request(method, management.url(path)).json(&body);
        let answer = request
            .send()
            .await
            .expect("RabbitMQ's management API answers");
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
    }

    /// Creates the virtual host; the programs may not use it yet.
    ///
    /// # Panics
    /// When the broker refuses.
    pub async fn create_vhost(&self) {
        let vhost = &self.vhost;
        self.manage(Method::PUT, &format!("api/vhosts/{vhost}"), json!({}))
            .await;
        self.permit_user("guest", EVERYTHING).await;
    }

    /// Deletes the virtual host, with all that is in it.
    ///
    /// # Panics
    /// When the broker refuses.
    pub async fn delete_vhost(&self) {
        let path = format!("api/vhosts/{}", self.vhost);
        self.manage(Method::DELETE, &path, json!({})).await;
    }

    /// The programs' password from now on.
    ///
    /// # Panics
    /// When the broker refuses.
    pub async fn set_password(&self, password: &str) {
        let user = json!({"password": password, "tags": ""});
        self.manage(Method::PUT, &format!("api/users/{}", self.vhost), user)
            .await;
    }

    /// The programs may do everything.
    ///
    /// # Panics
    /// When the broker refuses.
    pub async fn permit(&self) {
        self.permit_user(&self.vhost, EVERYTHING).await;
    }

    /// The programs may log in, and do nothing.
    ///
    /// # Panics
    /// When the broker refuses.
    pub async fn permit_nothing(&self) {
        self.permit_user(&self.vhost, "^$").await;
    }

    /// The programs may not even use the virtual host.
    ///
    /// # Panics
    /// When the broker refuses.
    pub async fn forbid(&self) {
        let path = format!("api/permissions/{0}/{0}", self.vhost);
        self.manage(Method::DELETE, &path, json!({})).await;
    }

    async fn permit_user(&self, user: &str, names: &str) {
        let path = format!("api/permissions/{}/{user}", self.vhost);
        let names = json!({"configure": names, "write": names, "read": names});
        self.manage(Method::PUT, &path, names).await;
    }

    /// Removes the virtual host and its user. Best effort: the servers of a test run end with it.
    pub(crate) async fn remove(&self) {
        let Some(management) = &self.management else {
            return;
        };
        for what in ["vhosts", "users"] {
            let url = management.url(&format!("api/{what}/{}", self.vhost));
            drop(self.http.delete(url).send().await);
        }
    }

    pub(crate) fn address(&self) -> &str {
        &self.server.address
    }

    /// The URL for a program that reaches the broker through `address`.
    #[must_use]
    pub fn url_through(&self, address: Option<&str>) -> String {
        match address {
            Some(address) => self.programs.through(address).url(&self.vhost),
            None => self.programs.url(&self.vhost),
        }
    }

    /// A connection of its own, and a channel.
    pub(crate) async fn open(&self) -> lapin::Result<(Connection, lapin::Channel)> {
        let url = self.server.url(&self.vhost);
        let connection = Connection::connect(&url, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        Ok((connection, channel))
    }

    async fn with_channel<T>(
        &self,
        work: impl AsyncFnOnce(&lapin::Channel) -> lapin::Result<T>,
    ) -> lapin::Result<T> {
        let (connection, channel) = self.open().await?;
        let result = work(&channel).await;
        // The connection is thrown away either way.
        drop(connection.close(200, "done".into()).await);
        result
    }

    /// Messages that are ready, and consumers; `None` when there is no such queue.
    pub async fn queue(&self, name: &str) -> Option<(u32, u32)> {
        let passive = QueueDeclareOptions {
            passive: true,
            ..QueueDeclareOptions::default()
        };
        let declared = self
            .with_channel(async |channel| {
                channel
                    .queue_declare(name.into(), passive, FieldTable::default())
                    .await
            })
            .await;
        declared
            .ok()
            .map(|queue| (queue.message_count(), queue.consumer_count()))
    }

    /// Messages that are ready in a queue.
    pub async fn depth(&self, name: &str) -> u32 {
        self.queue(name).await.map_or(0, |(messages, _)| messages)
    }

    /// Messages that wait to be worked on, now or later.
    ///
    /// # Panics
    /// When the management API does not answer.
    pub async fn jobs(&self) -> u32 {
        let mut jobs = 0;
        for queue in self.listed("queues").await {
            let name = queue["name"].as_str().unwrap_or_default();
            if name == Self::JOBS || name.starts_with("push.retry.") {
                jobs += self.depth(name).await;
            }
        }
        jobs
    }

    /// Puts bytes on a queue, as anybody could.
    ///
    /// # Panics
    /// When the broker does not confirm.
    pub async fn publish(&self, queue: &str, body: &[u8], properties: BasicProperties) {
        let published = self.with_channel(async |channel| {
            channel
                .confirm_select(ConfirmSelectOptions::default())
                .await?;
            let options = BasicPublishOptions {
                mandatory: true,
                ..BasicPublishOptions::default()
            };
            let confirm = channel
                .basic_publish("".into(), queue.into(), options, body, properties)
                .await?;
            confirm.await
        });
        let confirmation = published.await.expect("the broker takes it");
        assert!(confirmation.is_ack(), "{confirmation:?}");
    }

    /// Takes one message off a queue: body and properties.
    ///
    /// # Panics
    /// When it cannot.
    pub async fn take(&self, queue: &str) -> Option<(Vec<u8>, BasicProperties)> {
        let taken = self.with_channel(async |channel| {
            channel
                .basic_get(queue.into(), BasicGetOptions { no_ack: true })
                .await
        });
        let message = taken.await.expect("the queue can be read")?;
        Some((message.delivery.data, message.delivery.properties))
    }

    /// Takes all messages off all queues but those that are one program's own: what they hold, a message a line.
    ///
    /// # Panics
    /// When it cannot.
    pub async fn take_all(&self) -> String {
        let mut all = String::new();
        let shared = |queue: &Value| queue["exclusive"] != true;
        for queue in self.listed("queues").await.into_iter().filter(shared) {
            let name = queue["name"].as_str().unwrap_or_default();
            while let Some((body, _)) = self.take(name).await {
                all += &format!("{name}: {}\n", String::from_utf8_lossy(&body));
            }
        }
        all
    }

    /// Takes one message off a queue and loses the connection with it in hand, as a program that crashes; false when
    /// the queue is empty.
    ///
    /// # Panics
    /// When the queue cannot be read.
    pub async fn crash_with_one(&self, queue: &str) -> bool {
        let taken = self.with_channel(async |channel| {
            channel
                .basic_get(queue.into(), BasicGetOptions { no_ack: false })
                .await
        });
        taken.await.expect("the queue can be read").is_some()
    }

    /// What the management API lists: `queues`, `exchanges` or `bindings` of the virtual host.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn listed(&self, what: &str) -> Vec<Value> {
        let management = self.management.as_ref().expect("a managed broker");
        let request = self
            .http
            .get(management.url(&format!("api/{what}/{}", self.vhost)));
        let answer = Answer::read(request.send().await.expect("the management API answers")).await;
        let listed = answer.expect("the management API answers").json;
        listed.as_array().cloned().unwrap_or_default()
    }

    /// Puts so many more copies of each message on the queue it lies on.
    ///
    /// # Panics
    /// When it cannot.
    pub async fn multiply(&self, queue: &str, copies: usize) {
        let multiplied = self.with_channel(async |channel| {
            let mut found = Vec::new();
            while let Some(message) = channel
                .basic_get(queue.into(), BasicGetOptions { no_ack: true })
                .await?
            {
                found.push(message.delivery);
            }
            channel
                .confirm_select(ConfirmSelectOptions::default())
                .await?;
            for message in found {
                for _ in 0..=copies {
                    let options = BasicPublishOptions::default();
                    let (body, properties) = (&message.data, message.properties.clone());
                    channel
                        .basic_publish("".into(), queue.into(), options, body, properties)
                        .await?
                        .await?;
                }
            }
            Ok(())
        });
        multiplied.await.expect("messages can be copied");
    }

    /// Whoever listens to a fanout exchange is cut off from it, and does not notice.
    ///
    /// # Panics
    /// When it cannot.
    pub async fn deafen(&self, exchange: &str) {
        let replaced = self.with_channel(async |channel| {
            let bindings_go_with_it = ExchangeDeleteOptions::default();
            channel
                .exchange_delete(exchange.into(), bindings_go_with_it)
                .await?;
            let durable = ExchangeDeclareOptions {
                durable: true,
                ..ExchangeDeclareOptions::default()
            };
            channel
                .exchange_declare(
                    exchange.into(),
                    ExchangeKind::Fanout,
                    durable,
                    FieldTable::default(),
                )
                .await
        });
        replaced.await.expect("the exchange is replaced");
    }

    /// Deletes a queue with all that is in it.
    ///
    /// # Panics
    /// When it cannot.
    pub async fn delete_queue(&self, name: &str) {
        let deleted = self.with_channel(async |channel| {
            channel
                .queue_delete(name.into(), QueueDeleteOptions::default())
                .await
        });
        deleted.await.expect("the queue is deleted");
    }
}
