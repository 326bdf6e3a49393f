//! The guide's example, through the real API, queue and worker: customer 123 with an Android phone and an iPhone gets
//! "Technician Assigned".

use crate::http::{Answer, Client};
use crate::say::say;
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The customer of the guide's examples.
const CUSTOMER: u64 = 123;

/// The guide's "Technician Assigned", word for word.
pub const EXAMPLE: &str = r#"{"id":123,"title":"Technician Assigned! 🚗","body":"John has been assigned to your booking BID123. They will contact you soon.","data":{"type":"technician_assigned","bookingId":"456","trackId":"BID123","techName":"John","priority":"high"}}"#;

/// Tokens in the providers' shapes that only the simulator knows.
const FCM_TOKEN: &str = "eDemoAndroidPhone00001:APA91bDEMO_not_a_real_token_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const EXPO_TOKEN: &str = "ExponentPushToken[DemoIPhone000000000001]";

/// Arguments of `cargo xtask demo`.
#[derive(clap::Args)]
pub struct Args {
    /// Where push-api listens
    #[arg(long, env = "PUSH_URL", default_value = "http://127.0.0.1:8080")]
    url: String,
    /// An API key with the scopes register, send and read
    #[arg(long, env = "PUSH_API_KEY", hide_env_values = true)]
    key: String,
    /// Where push-sim listens, if it plays the providers: its phones get names
    #[arg(long, env = "PUSH_SIM_URL")]
    sim: Option<String>,
    #[command(flatten)]
    tokens: Tokens,
}

/// Tokens of your own, for real phones.
#[derive(clap::Args, Clone, Default)]
pub struct Tokens {
    /// Send the example to this FCM token instead of a simulated phone's
    #[arg(long)]
    fcm_token: Option<String>,
    /// Send the example to this Expo token instead of a simulated phone's
    #[arg(long)]
    expo_token: Option<String>,
}

impl Tokens {
    /// Made-up tokens are used only where the simulator plays both: the database keeps them, and a real provider must
    /// not see them later either.
    pub fn phones(&self, all_simulated: bool) -> Phones {
        let or_demo = |own: &Option<String>, demo: &str| {
            let demo = all_simulated.then(|| demo.to_owned());
            own.clone().or(demo)
        };
        Phones {
            fcm: or_demo(&self.fcm_token, FCM_TOKEN),
            expo: or_demo(&self.expo_token, EXPO_TOKEN),
        }
    }
}

/// The phones of the customer.
pub struct Phones {
    /// The Android phone's token
    pub fcm: Option<String>,
    /// The iPhone's token
    pub expo: Option<String>,
}

/// What came of it.
pub struct Outcome {
    answer: Answer,
    /// As the API tells it afterwards
    notification: Answer,
}

/// Runs the command: against programs that run already, in containers for example.
pub fn run(args: &Args) -> Result<ExitCode> {
    let client = Client::new(&args.url, &args.key);
    let deadline = Instant::now() + Duration::from_secs(60);
    while let Err(cause) = client.ready() {
        crate::interrupt::check()?;
        if Instant::now() > deadline {
            return Err(cause.context("push-api is not ready within 60 s"));
        }
        sleep(Duration::from_millis(500));
    }
    let phones = args.tokens.phones(true);
    if let Some(sim) = &args.sim {
        name_phones(&Client::new(sim, ""), &phones)?;
    }
    let outcome = send(&client, &phones)?;
    say!("{}", outcome.describe());
    outcome.check(true)?;
    Ok(ExitCode::SUCCESS)
}

/// Tells the simulator whose phones these are, so that its page shows names instead of tokens.
pub fn name_phones(sim: &Client, phones: &Phones) -> Result<()> {
    let named = [
        ("Android of customer 123", "android", &phones.fcm),
        ("iPhone of customer 123", "ios", &phones.expo),
    ];
    for (name, platform, token) in named {
        if let Some(token) = token {
            let body = json!({"name": name, "platform": platform, "tokens": [token]});
            sim.post("/sim/phones", &[], &body.to_string())?;
        }
    }
    Ok(())
}

/// Registers the phones and sends the example.
pub fn send(client: &Client, phones: &Phones) -> Result<Outcome> {
    if let Some(token) = &phones.fcm {
        register(client, "android", "demo-android", "fcmToken", token)?;
    }
    if let Some(token) = &phones.expo {
        register(client, "ios", "demo-iphone", "expoPushToken", token)?;
    }
    let path = "/api/Push/sendToCustomer";
    let answer = client.post(path, &[("Prefer", "wait=10")], EXAMPLE)?;
    let id = answer.json["notificationId"]
        .as_str()
        .with_context(|| format!("the answer has no notificationId: {}", answer.text))?;
    let notification = client.get(&format!("/api/Push/notifications/{id}"))?;
    Ok(Outcome {
        answer,
        notification,
    })
}

fn register(client: &Client, platform: &str, device: &str, field: &str, token: &str) -> Result<()> {
    let mut body = json!({
        "userType": "customer",
        "id": CUSTOMER,
        "platform": platform,
        "deviceId": device,
    });
    body[field] = json!(token);
    client.post("/api/Push/register", &[], &body.to_string())?;
    Ok(())
}

impl Outcome {
    /// The id that the API gave it.
    pub fn id(&self) -> &str {
        self.answer.json["notificationId"]
            .as_str()
            .unwrap_or_default()
    }

    /// What it has become.
    pub fn status(&self) -> &str {
        self.answer.json["status"].as_str().unwrap_or("answered")
    }

    /// An error unless each simulated provider took it.
    pub fn check(&self, all_simulated: bool) -> Result<()> {
        let succeeded = |field: &str| self.answer.json[field] == "success";
        if all_simulated && !(succeeded("fcmResult") && succeeded("expoResult")) {
            bail!(
                "the example did not arrive on both phones. What the API tells:\n{:#}",
                self.notification.json
            );
        }
        Ok(())
    }

    /// What `notification_history` holds of it, as the API reads it.
    pub fn row(&self) -> Value {
        let mut row = self.notification.json.clone();
        if let Some(fields) = row.as_object_mut() {
            let others = ["success", "message", "deliveries", "timeline"];
            fields.retain(|name, _| !others.contains(&name.as_str()));
        }
        row
    }

    /// The answer, and the way of the notification in the API's words.
    pub fn describe(&self) -> String {
        let mut text = format!(
            "POST /api/Push/sendToCustomer (Prefer: wait=10) answered:\n\n    {}\n\nIts way, from GET /api/Push/notifications/{}:\n",
            self.answer.text,
            self.id()
        );
        let empty = Vec::new();
        for entry in self.notification.json["timeline"]
            .as_array()
            .unwrap_or(&empty)
        {
            let part = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
            text += &format!("    {}  {}\n", part("at"), part("text"));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_is_for_the_customer_of_the_phones() {
        let example: Value = serde_json::from_str(EXAMPLE).unwrap();
        assert_eq!(example["id"], CUSTOMER);
        assert_eq!(example["title"], "Technician Assigned! 🚗");
    }

    #[test]
    fn made_up_tokens_never_go_to_a_real_provider() {
        let phones = Tokens::default().phones(false);
        assert_eq!((phones.fcm, phones.expo), (None, None));
        let phones = Tokens::default().phones(true);
        assert_eq!(phones.expo.as_deref(), Some(EXPO_TOKEN));

        let own = Tokens {
            fcm_token: Some("mine".into()),
            expo_token: None,
        };
        let phones = own.phones(false);
        assert_eq!(phones.fcm.as_deref(), Some("mine"));
        assert_eq!(phones.expo, None);
    }

    #[test]
    fn an_example_that_did_not_arrive_is_an_error_with_the_reason() {
        let answer = |json: Value| Answer {
            text: json.to_string(),
            json,
        };
        let outcome = |expo: &str| Outcome {
            answer: answer(
                json!({"notificationId": "n", "fcmResult": "success", "expoResult": expo}),
            ),
            notification: answer(json!({"timeline": [{"at": "t", "text": "Expo refused it"}]})),
        };
        assert!(outcome("success").check(true).is_ok());
        assert!(outcome("failed").check(false).is_ok());
        let error = outcome("failed").check(true).unwrap_err().to_string();
        assert!(error.contains("Expo refused it"), "{error}");
        assert!(outcome("failed").describe().contains("t  Expo refused it"));
    }
}
