//! `pushctl send`

use chrono::Utc;
use serde_json::{Map, Value, json};

use crate::commands::Context;
use crate::commands::sending::{Sending, pair};
use crate::failure::Failure;
use crate::when::{When, seconds};

/// What to send, and to whom.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The customer
    #[arg(value_parser = clap::value_parser!(i64).range(1..))]
    customer: i64,
    /// The headline
    #[arg(long)]
    title: String,
    /// The text
    #[arg(long)]
    body: String,
    /// A pair for the app; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    data: Vec<(String, String)>,
    /// What kind of news it is [default: data.type, else service_update]
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// How urgently the device is woken [default: high]
    #[arg(long, value_parser = ["high", "normal"])]
    priority: Option<String>,
    /// For how long it is worth sending: 3600, 90s, 2h, 1d
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    ttl: Option<i64>,
    /// When to send it: RFC 3339, or how long from now (2h)
    #[arg(long, value_name = "TIME", value_parser = When::parse)]
    at: Option<When>,
    /// A newer notification with the same key takes its place
    #[arg(long, value_name = "KEY")]
    collapse_key: Option<String>,
    /// A picture shown with it (https)
    #[arg(long, value_name = "URL")]
    image: Option<String>,
    #[command(flatten)]
    sending: Sending,
}

impl Args {
    /// Sends it.
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let body = self.body();
        self.sending.post(context, "sendToCustomer", &body, 0).await
    }

    fn body(&self) -> Value {
        let mut body = json!({"id": self.customer, "title": self.title, "body": self.body});
        if !self.data.is_empty() {
            let data = self.data.iter().cloned();
            body["data"] = Map::from_iter(data.map(|(key, value)| (key, value.into()))).into();
        }
        let optional = [
            ("type", self.kind.clone().map(Value::from)),
            ("priority", self.priority.clone().map(Value::from)),
            ("ttlSeconds", self.ttl.map(Value::from)),
            ("sendAt", self.at.map(|at| at.after(Utc::now()).into())),
            ("collapseKey", self.collapse_key.clone().map(Value::from)),
            ("imageUrl", self.image.clone().map(Value::from)),
        ];
        set(&mut body, optional);
        body
    }
}

/// Sets the fields that are given.
pub fn set<const N: usize>(body: &mut Value, fields: [(&str, Option<Value>); N]) {
    for (name, value) in fields {
        if let Some(value) = value {
            body[name] = value;
        }
    }
}
