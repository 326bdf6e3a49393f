//! The worker's settings.

use std::fmt::Display;
use std::net::SocketAddr;
use std::time::Duration;

use chrono::TimeDelta;
use push_core::ladder::{Ladder, RetryDelay};
use push_core::preferences::MandatoryTypes;
use push_core::provider::{DeliveryPolicy, Provider};
use push_core::receipt::Rhythm;
use push_providers::{ExpoSettings, FcmSettings, Look};
use push_queue::{BrokerSettings, Topology};
use push_runtime::env::{Env, Setting, parse};
use push_runtime::telemetry::LogSettings;
use push_seal::Keyring;
use push_store::StoreSettings;
use push_trace::TraceSettings;
use secrecy::SecretString;
use serde::Deserialize;

macro_rules! settings {
    ($($name:ident = $default:literal, $meaning:literal;)+) => {
        $(pub const $name: Setting = Setting { name: stringify!($name), default: $default, meaning: $meaning };)+
    };
}

settings! {
    DATABASE_URL = "", "the database, mysql://user:password@host:3306/name";
    DATABASE_CONNECTIONS = "8", "database connections at most, 1 to 1000";
    ENCRYPTION_KEYS = "", "what tokens and content are sealed with in the database and the queue: name:key of 32 bytes in base64, comma-separated; the first seals, all open; default: they are kept clear; the same as the APIs'";
    AMQP_URL = "", "RabbitMQ, amqp://user:password@host:5672/%2f or amqps://";
    METRICS_ADDR = "127.0.0.1:9091", "where /healthz, /readyz and /metrics listen";
    PROVIDERS = "", "fcm, expo or both, separated by a comma; default: those that are configured";
    FIREBASE_PROJECT_ID = "", "the Firebase project";
    FIREBASE_CLIENT_EMAIL = "", "the service account's e-mail address";
    FIREBASE_PRIVATE_KEY = "", "the service account's private key (PEM; \\n for line ends is accepted)";
    GOOGLE_APPLICATION_CREDENTIALS = "", "the service account's JSON file, instead of the three FIREBASE_ settings";
    FIREBASE_TOKEN_URI = "https://oauth2.googleapis.com/token", "where access tokens are obtained";
    FCM_BASE_URL = "https://fcm.googleapis.com", "where FCM is; a simulator or gateway may be http:// (HTTP/1.1, a connection for each request under way) or h2c:// (HTTP/2 without TLS)";
    FCM_MAX_IN_FLIGHT = "1000", "requests to FCM at one time at most, 1 to 10000 (100 a connection)";
    EXPO_BASE_URL = "https://exp.host", "where Expo is; set it (or EXPO_ACCESS_TOKEN) to use Expo";
    EXPO_ACCESS_TOKEN = "", "Expo's access token, if the project asks for one";
    EXPO_RATE = "600", "notifications a second to Expo at most, of this worker, 1 to 600; Expo's limit is 600 a project: divide it by the number of workers";
    PROVIDER_TIMEOUT = "15s", "how long a provider may take to answer, 10s to 60s";
    DELIVERY_POLICY = "failover", "failover: one provider a device, FCM first; both: every provider it has a token for";
    MANDATORY_TYPES = "", "types that no customer can switch off, comma-separated; the same as the APIs'";
    RETRY_DELAYS = "10s,30s,2m,5m,15m", "the rungs of the retry ladder, 1 to 10, from shortest to longest";
    RECEIPT_DELAY = "15m", "how long after an Expo ticket its receipt is asked for, 5h at most; while it is missing again every four times that, for 23 hours";
    RECONCILE_AFTER = "2m", "how long a pending notification may be without news before it is looked for";
    GIVE_BACK_AFTER = "60s", "how long jobs wait in the worker for a database that is away before they go back to the queue, 1s to 600s; less than RabbitMQ's consumer_timeout (30 minutes)";
    PREFETCH = "2000", "jobs in the worker at one time, 1 to 10000: at least three times as many as notifications a second to one provider, and twice FCM_MAX_IN_FLIGHT";
    RETENTION_DAYS = "90", "how many days the content of notifications and dead letters is kept, 1 to 36500; then it is emptied, and what became of them stays";
    PUSH_SOUND = "notificationtone.wav", "the sound's file name in the app";
    PUSH_CHANNEL_ID = "urgent", "Android's notification channel";
    PUSH_BADGE = "1", "the number on the app's icon (iOS), 0 to 9999";
    PUSH_CLICK_ACTION = "FLUTTER_NOTIFICATION_CLICK", "data.click_action of an FCM message";
    SHUTDOWN_GRACE = "25s", "how long work in flight may take to finish after SIGTERM, 1s to 600s";
}

/// Long enough for the pool to open a new connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(2);

/// All that the worker needs to know.
#[derive(Debug)]
pub struct Settings {
    pub log: LogSettings,
    pub trace: TraceSettings,
    pub store: StoreSettings,
    pub broker: BrokerSettings,
    pub probes: SocketAddr,
    pub fcm: Option<FcmSettings>,
    pub expo: Option<ExpoSettings>,
    pub policy: DeliveryPolicy,
    /// What nobody can switch off.
    pub mandatory_types: MandatoryTypes,
    pub ladder: Ladder,
    /// How long a provider may take to answer.
    pub provider_timeout: Duration,
    pub reconcile_after: Duration,
    /// How long jobs wait for the database before they go back to the queue.
    pub give_back_after: Duration,
    pub receipts: Rhythm,
    pub prefetch: u16,
    /// How long content is kept.
    pub retention: TimeDelta,
    pub shutdown_grace: Duration,
}

impl Settings {
    /// Reads all settings; `None` when a problem was noted.
    pub fn read(env: &mut Env) -> Option<Self> {
        let always = [
            push_queue::LOG_DIRECTIVES,
            push_providers::LOG_DIRECTIVES,
            push_store::LOG_DIRECTIVES,
        ]
        .join(",");
        let log = LogSettings::read(env, &always);
        let trace = TraceSettings::read(env);
        let database_url = env.required(DATABASE_URL, push_store::parse_url);
        let database_connections = env.or_default(DATABASE_CONNECTIONS, parse::number(1_000));
        let keys = env.or_default(ENCRYPTION_KEYS, Keyring::parse);
        let amqp_url = env.required(AMQP_URL, push_queue::parse_url);
        let probes = read_probes(env);
        let provider_timeout = env.or_default(PROVIDER_TIMEOUT, parse_provider_timeout);
        let providers = read_providers(env, provider_timeout);
        let policy = env.or_default(DELIVERY_POLICY, |text| {
            DeliveryPolicy::from_spelling(text)
                .ok_or_else(|| format!("is {text:?}; write failover or both"))
        });
        let mandatory_types = env.or_default(MANDATORY_TYPES, MandatoryTypes::parse);
        let ladder = env.optional(RETRY_DELAYS, parse_ladder);
        let receipts = env.or_default(RECEIPT_DELAY, parse_rhythm);
        let reconcile_after = env
            .or_default(RECONCILE_AFTER, RetryDelay::parse)
            .map(RetryDelay::as_duration);
        let give_back_after = env.or_default(GIVE_BACK_AFTER, parse::seconds(600));
        let prefetch = env.or_default(PREFETCH, parse::number(10_000));
        let retention = env.or_default(RETENTION_DAYS, parse::number(36_500));
        let shutdown_grace = env.or_default(SHUTDOWN_GRACE, parse::seconds(600));
        let (fcm, expo) = providers?;
        let ladder = ladder.unwrap_or_default();
        let receipts = receipts?;
        Some(Self {
            log: log?,
            trace: trace?,
            store: StoreSettings {
                url: database_url?,
                connections_max: database_connections?.get(),
                acquire_timeout: ACQUIRE_TIMEOUT,
                keys: keys.clone()?,
            },
            broker: BrokerSettings {
                url: amqp_url?,
                topology: Topology {
                    retry_delays: ladder.rungs().to_vec(),
                    receipt_delays: receipts.delays(),
                },
                connection_name: "push-worker".to_owned(),
                keys: keys?,
            },
            probes: probes?,
            fcm,
            expo,
            policy: policy?,
            mandatory_types: mandatory_types?,
            ladder,
            provider_timeout: provider_timeout?,
            reconcile_after: reconcile_after?,
            give_back_after: give_back_after?,
            receipts,
            retention: TimeDelta::days(retention?.get().into()),
            prefetch: u16::try_from(prefetch?.get()).unwrap_or(u16::MAX),
            shutdown_grace: shutdown_grace?,
        })
    }
}

/// Where the worker on this machine can be asked how it is: all that its health check needs.
pub fn read_probes(env: &mut Env) -> Option<SocketAddr> {
    env.or_default(METRICS_ADDR, parse::address)
}

/// Google asks for at least 10 seconds ("best practices when sending FCM messages at scale").
fn parse_provider_timeout(text: &str) -> Result<Duration, String> {
    let timeout = parse::seconds(60)(text)?;
    if timeout < Duration::from_secs(10) {
        Err("must be at least 10s".to_owned())
    } else {
        Ok(timeout)
    }
}

/// HTTP/2 without TLS has to be said: it is not negotiated.
fn parse_fcm_base_url(text: &str) -> Result<String, String> {
    let Some(rest) = text.strip_prefix("h2c://") else {
        return parse::base_url(text);
    };
    let address = parse::base_url(&format!("http://{rest}"))?;
    Ok(address.replacen("http://", "h2c://", 1))
}

fn parse_rhythm(text: &str) -> Result<Rhythm, String> {
    let first = RetryDelay::parse(text).map_err(|error| error.to_string())?;
    Rhythm::starting_with(first).map_err(|error| error.to_string())
}

fn parse_ladder(text: &str) -> Result<Ladder, String> {
    let rungs: Result<Vec<_>, _> = text
        .split(',')
        .map(|rung| RetryDelay::parse(rung.trim()))
        .collect();
    let rungs = rungs.map_err(|error| error.to_string())?;
    if !rungs.is_sorted() {
        return Err("must go from the shortest delay to the longest".to_owned());
    }
    Ladder::configured(rungs).map_err(|error| error.to_string())
}

/// The service account, however it was given.
#[derive(Deserialize)]
struct ServiceAccount {
    project_id: String,
    client_email: String,
    private_key: SecretString,
    token_uri: Option<String>,
}

type ProviderSettings = (Option<FcmSettings>, Option<ExpoSettings>);

fn read_providers(env: &mut Env, timeout: Option<Duration>) -> Option<ProviderSettings> {
    let look = read_look(env);
    let account = read_service_account(env);
    let token_uri = env.optional(FIREBASE_TOKEN_URI, parse::base_url);
    let fcm_base_url = env.or_default(FCM_BASE_URL, parse_fcm_base_url);
    let max_in_flight = env.or_default(FCM_MAX_IN_FLIGHT, parse::number(10_000));
    let expo_given = env.optional(EXPO_BASE_URL, parse::base_url);
    let access_token = env
        .optional(EXPO_ACCESS_TOKEN, parse::text)
        .map(SecretString::from);
    let rate = env.or_default(EXPO_RATE, parse::number(600));
    let wanted = env.optional(PROVIDERS, parse_providers);

    let uses = |provider, configured| {
        wanted
            .as_ref()
            .map_or(configured, |wanted| wanted.contains(&provider))
    };
    let uses_fcm = uses(Provider::Fcm, account.is_some());
    let uses_expo = uses(
        Provider::Expo,
        expo_given.is_some() || access_token.is_some(),
    );
    if uses_fcm && account.is_none() {
        env.problem("PROVIDERS", "names fcm, which is not configured: set FIREBASE_PROJECT_ID, FIREBASE_CLIENT_EMAIL and FIREBASE_PRIVATE_KEY, or GOOGLE_APPLICATION_CREDENTIALS");
    }
    if !uses_fcm && !uses_expo {
        env.problem("PROVIDERS", "leaves no provider: configure FIREBASE_PROJECT_ID, FIREBASE_CLIENT_EMAIL and FIREBASE_PRIVATE_KEY for FCM, or set EXPO_ACCESS_TOKEN or PROVIDERS=expo for Expo");
    }
    let (look, timeout) = (look?, timeout?);
    let expo = ExpoSettings {
        base_url: expo_given.unwrap_or_else(|| EXPO_BASE_URL.default.to_owned()),
        access_token,
        rate: rate?,
        request_timeout: timeout,
        look: look.clone(),
    };
    let (fcm_base_url, max_in_flight) = (fcm_base_url?, max_in_flight?);
    let fcm = account.filter(|_| uses_fcm).map(|account| FcmSettings {
        project_id: account.project_id,
        client_email: account.client_email,
        private_key: account.private_key,
        token_uri: token_uri
            .or(account.token_uri)
            .unwrap_or_else(|| FIREBASE_TOKEN_URI.default.to_owned()),
        base_url: fcm_base_url,
        max_in_flight: max_in_flight.get() as usize,
        request_timeout: timeout,
        look,
    });
    Some((fcm, uses_expo.then_some(expo)))
}

fn read_look(env: &mut Env) -> Option<Look> {
    let sound = env.or_default(PUSH_SOUND, parse::text);
    let channel = env.or_default(PUSH_CHANNEL_ID, parse::text);
    let badge = env.or_default(PUSH_BADGE, |text| {
        let badge = text.parse::<u32>().ok().filter(|badge| *badge <= 9_999);
        badge.ok_or_else(|| format!("is {text:?}; write a whole number from 0 to 9999"))
    });
    let click_action = env.or_default(PUSH_CLICK_ACTION, parse::text);
    Some(Look {
        sound: sound?,
        channel: channel?,
        badge: badge?,
        click_action: click_action?,
    })
}

/// The three FIREBASE_ settings or the file. `None` when there is neither; a half of it is a problem.
fn read_service_account(env: &mut Env) -> Option<ServiceAccount> {
    let project_id = env.optional(FIREBASE_PROJECT_ID, parse::text);
    let client_email = env.optional(FIREBASE_CLIENT_EMAIL, parse::text);
    let private_key = env
        .optional(FIREBASE_PRIVATE_KEY, parse::text)
        .map(SecretString::from);
    let file = env.optional(GOOGLE_APPLICATION_CREDENTIALS, read_account_file);
    let given = [
        project_id.is_some(),
        client_email.is_some(),
        private_key.is_some(),
    ];
    match (project_id, client_email, private_key, file) {
        (Some(project_id), Some(client_email), Some(private_key), _) => Some(ServiceAccount {
            project_id,
            client_email,
            private_key,
            token_uri: None,
        }),
        // A project id beside the file is common, and says the same.
        (_, _, _, Some(file)) => Some(file),
        (None, None, None, None) => None,
        _ => {
            let missing = [
                FIREBASE_PROJECT_ID,
                FIREBASE_CLIENT_EMAIL,
                FIREBASE_PRIVATE_KEY,
            ]
            .into_iter()
            .zip(given);
            for (setting, _) in missing.filter(|(_, given)| !given) {
                env.problem(
                    setting.name,
                    "is not set, and FCM needs all three FIREBASE_ settings",
                );
            }
            None
        }
    }
}

fn read_account_file(path: &str) -> Result<ServiceAccount, String> {
    let json = std::fs::read_to_string(path)
        .map_err(|error| format!("names {path:?}, which cannot be read: {error}"))?;
    // Serde's message could repeat the key.
    serde_json::from_str(&json)
        .map_err(|_| format!("names {path:?}, which is no service account's JSON file"))
}

fn parse_providers(text: &str) -> Result<Vec<Provider>, impl Display + use<>> {
    let parse = |name: &str| {
        Provider::from_spelling(name.trim())
            .ok_or_else(|| format!("has {:?}; write fcm, expo or fcm,expo", name.trim()))
    };
    text.split(',')
        .map(parse)
        .collect::<Result<Vec<_>, String>>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fcm_may_be_spoken_to_in_http_2_without_tls() {
        let read = |text| parse_fcm_base_url(text).ok();
        assert_eq!(
            read("h2c://gateway:80/"),
            Some("h2c://gateway:80".to_owned())
        );
        assert_eq!(read("http://gateway"), Some("http://gateway".to_owned()));
        for wrong in ["h2c://", "h2c://gateway?a", "h2://gateway"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
