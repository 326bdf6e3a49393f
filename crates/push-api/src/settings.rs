//! The settings of `push-api`: read once, all problems told together.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use push_core::ladder::RetryDelay;
use push_core::preferences::MandatoryTypes;
use push_core::rate::Rate;
use push_queue::{BrokerSettings, Topology};
use push_runtime::env::{Env, Setting, parse};
use push_runtime::telemetry::LogSettings;
use push_seal::Keyring;
use push_store::{StoreSettings, UnknownCustomer};
use push_trace::TraceSettings;

use crate::caller::{Access, Credentials};
use crate::catalogue::Catalogue;
use crate::jwt::{AdminClaim, JwtKeys, Jwts, Wanted};
use crate::keys::ApiKeys;
use crate::limits::address::Proxies;
use crate::limits::gate::RequestRates;
use crate::live::{Live, SettingFile};
use crate::privacy::{self, PrivacyGuard};
use crate::tls::{Identity, Tls};

/// The longest grace; orchestrators kill earlier by default.
const GRACE_SECONDS_MAX: u32 = 600;
/// The most connections of one process; MariaDB's own default is 151 for all.
const CONNECTIONS_MAX: u32 = 1_000;
/// Long enough for the pool to open a new connection, short enough for a caller to wait.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(2);

const DATABASE_URL: Setting = Setting {
    name: "DATABASE_URL",
    default: "",
    meaning: "the database: mysql://user:password@host:port/database",
};
const DATABASE_CONNECTIONS: Setting = Setting {
    name: "DATABASE_CONNECTIONS",
    default: "10",
    meaning: "connections to the database at most",
};
const ENCRYPTION_KEYS: Setting = Setting {
    name: "ENCRYPTION_KEYS",
    default: "",
    meaning: "what tokens and content are sealed with in the database and the queue: name:key of 32 bytes in base64, comma-separated; the first seals, all open; default: they are kept clear",
};
const AMQP_URL: Setting = Setting {
    name: "AMQP_URL",
    default: "",
    meaning: "the broker: amqp://user:password@host:port/%2f, or amqps://",
};
const HTTP_ADDR: Setting = Setting {
    name: "HTTP_ADDR",
    default: "127.0.0.1:8080",
    meaning: "address and port of the API",
};
const HTTP_TLS_CERT: Setting = Setting {
    name: "HTTP_TLS_CERT",
    default: "",
    meaning: "what HTTP_ADDR speaks TLS with: its certificate in PEM, and those between it and its authority; unset: plain \
              HTTP",
};
const HTTP_TLS_KEY: Setting = Setting {
    name: "HTTP_TLS_KEY",
    default: "",
    meaning: "the private key of HTTP_TLS_CERT, in PEM",
};
const METRICS_ADDR: Setting = Setting {
    name: "METRICS_ADDR",
    default: "",
    meaning: "address and port of /metrics and the probes; unset: on HTTP_ADDR",
};
const API_KEYS: Setting = Setting {
    name: "API_KEYS",
    default: "",
    meaning: "who may call: name:scope+scope:secret, separated by commas or lines, # begins a comment line; the secret in \
              clear or as sha256:<hex>; scopes are register, send, read, admin",
};
const CUSTOMER_JWT_SECRET: Setting = Setting {
    name: "CUSTOMER_JWT_SECRET",
    default: "",
    meaning: "what signs customers' tokens with HS256, at least 32 bytes; several, one a line: each holds",
};
const CUSTOMER_JWT_PUBLIC_KEY: Setting = Setting {
    name: "CUSTOMER_JWT_PUBLIC_KEY",
    default: "",
    meaning: "checks customers' tokens: a public key in PEM, RSA (RS256) or ECDSA on P-256 (ES256; \\n for line ends is \
              accepted); several after each other: each holds",
};
const CUSTOMER_JWT_AUDIENCE: Setting = Setting {
    name: "CUSTOMER_JWT_AUDIENCE",
    default: "",
    meaning: "the audience (aud) that tokens must name; unset: they must name none",
};
const CUSTOMER_JWT_ISSUER: Setting = Setting {
    name: "CUSTOMER_JWT_ISSUER",
    default: "",
    meaning: "the issuer (iss) that tokens must name; unset: any",
};
const ADMIN_JWT_CLAIM: Setting = Setting {
    name: "ADMIN_JWT_CLAIM",
    default: "",
    meaning: "what makes a token's bearer an admin (scopes admin and read): name=value, a claim that is that value or a list \
              with it; unset: nothing does",
};
const AUTH_DISABLED: Setting = Setting {
    name: "AUTH_DISABLED",
    default: "false",
    meaning: "true lets everybody do everything, for development; only without API_KEYS",
};
const UNKNOWN_CUSTOMER: Setting = Setting {
    name: "UNKNOWN_CUSTOMER",
    default: "reject",
    meaning: "a customer that the database does not have: reject or create",
};
const RATE_LIMIT_PER_CUSTOMER: Setting = Setting {
    name: "RATE_LIMIT_PER_CUSTOMER",
    default: "off",
    meaning: "notifications for a customer, over all replicas: 30/1m is 30 at once and then one every 2 s; booking events have \
              two such budgets of their own, one of them for the built-in statuses of high priority; the same for all replicas; off: no limit",
};
const RATE_LIMIT_PER_KEY: Setting = Setting {
    name: "RATE_LIMIT_PER_KEY",
    default: "off",
    meaning: "requests with one API key, at one replica, such as 600/1m; off: no limit",
};
const RATE_LIMIT_PER_ADDRESS: Setting = Setting {
    name: "RATE_LIMIT_PER_ADDRESS",
    default: "3000/1m",
    meaning: "requests without a valid API key from one address (of IPv6: from one /56), at one replica; off: no limit",
};
const TRUSTED_PROXIES: Setting = Setting {
    name: "TRUSTED_PROXIES",
    default: "",
    meaning: "addresses and networks of the proxies before this program, comma-separated, such as 10.0.0.0/8: what they say in \
              X-Forwarded-For is believed, nobody else",
};
const MANDATORY_TYPES: Setting = Setting {
    name: "MANDATORY_TYPES",
    default: "",
    meaning: "types that no customer can switch off, comma-separated: told to the apps; the same as the workers'",
};
const TEMPLATES_DIR: Setting = Setting {
    name: "TEMPLATES_DIR",
    default: "",
    meaning: "a directory of files that override, translate and add to the texts of events: en.ftl, de.ftl, de-AT.ftl, …",
};
const PRIVACY_GUARD: Setting = Setting {
    name: "PRIVACY_GUARD",
    default: "reject",
    meaning: "what becomes of payment card numbers, and of data keys such as password, otp, cvv, token, secret: reject or off",
};
const PRIVACY_ALLOW: Setting = Setting {
    name: "PRIVACY_ALLOW",
    default: "",
    meaning: "data keys that an API key may use all the same, whatever they hold: name:dataKey+dataKey, comma-separated",
};
const MIGRATE_ON_START: Setting = Setting {
    name: "MIGRATE_ON_START",
    default: "true",
    meaning: "bring the schema up to date at start; false: wait until `push-api migrate` has",
};
const RECONCILE_AFTER: Setting = Setting {
    name: "RECONCILE_AFTER",
    default: "2m",
    meaning: "how long a notification may be without news before a worker looks for its job; as there",
};
const SHUTDOWN_GRACE: Setting = Setting {
    name: "SHUTDOWN_GRACE",
    default: "25s",
    meaning: "how long a stop may take to finish what is in flight",
};

const SHUTDOWN_DRAIN: Setting = Setting {
    name: "SHUTDOWN_DRAIN",
    default: "5s",
    meaning: "how long of SHUTDOWN_GRACE requests are still served while /readyz says 503 already, for load balancers to turn away; at most half of it, 0s: not at all",
};

/// Everything that an operator can set.
#[derive(Debug)]
pub struct Settings {
    /// What is logged, and how.
    pub log: LogSettings,
    /// Where traces go.
    pub trace: TraceSettings,
    /// What the API does.
    pub api: ApiSettings,
}

/// What the API does, and with what.
#[derive(Clone, Debug)]
pub struct ApiSettings {
    /// The database.
    pub store: StoreSettings,
    /// The broker.
    pub broker: BrokerSettings,
    /// Where the API listens.
    pub http: SocketAddr,
    /// What it speaks there, if not plain HTTP.
    pub tls: Option<Tls>,
    /// Where metrics and probes are served, if not beside the API.
    pub metrics: Option<SocketAddr>,
    /// Who is let in.
    pub access: Access,
    /// What happens to unknown customers.
    pub unknown_customer: UnknownCustomer,
    /// How many requests are let through.
    pub request_rates: RequestRates,
    /// How many notifications a customer may get.
    pub customer_rate: Option<Rate>,
    /// What nobody can switch off.
    pub mandatory_types: MandatoryTypes,
    /// The texts of events.
    pub catalogue: Arc<Catalogue>,
    /// What must not go out in a push.
    pub guard: PrivacyGuard,
    /// Whether to bring the schema up to date at start.
    pub migrate_on_start: bool,
    /// When a worker looks for the job of a notification that had no news.
    pub reconcile_after: Duration,
    /// How long a stop may take.
    pub shutdown_grace: Duration,
    /// How much of that requests are still served.
    pub shutdown_drain: Duration,
}

impl Settings {
    /// Reads all settings; `None` when a problem was noted.
    pub fn read(env: &mut Env) -> Option<Self> {
        let store = store(env);
        let keys = store.as_ref().map(|store| store.keys.clone());
        let broker = env.required(AMQP_URL, push_queue::parse_url);
        let broker = broker.zip(keys).map(|(url, keys)| broker_of(url, keys));
        let http = env.or_default(HTTP_ADDR, parse::address);
        let tls = tls(env);
        let metrics = env.optional(METRICS_ADDR, parse::address);
        let access = access(env);
        let unknown_customer = env.or_default(UNKNOWN_CUSTOMER, |text| match text {
            "reject" => Ok(UnknownCustomer::Reject),
            "create" => Ok(UnknownCustomer::Create),
            _ => Err(format!("is {text:?}; write reject or create")),
        });
        let customer_rate = env.or_default(RATE_LIMIT_PER_CUSTOMER, Rate::parse_or_off);
        let request_rates = request_rates(env);
        let mandatory_types = env.or_default(MANDATORY_TYPES, MandatoryTypes::parse);
        let catalogue = catalogue(env);
        let guard = guard(env);
        let migrate_on_start = env.or_default(MIGRATE_ON_START, parse::switch);
        let reconcile_after = env.or_default(RECONCILE_AFTER, RetryDelay::parse);
        let shutdown_grace = env.or_default(SHUTDOWN_GRACE, parse::seconds(GRACE_SECONDS_MAX));
        let shutdown_drain = shutdown_drain(env, shutdown_grace);
        let always = [push_queue::LOG_DIRECTIVES, push_store::LOG_DIRECTIVES].join(",");
        let log = LogSettings::read(env, &always);
        let trace = TraceSettings::read(env);
        Some(Self {
            log: log?,
            trace: trace?,
            api: ApiSettings {
                store: store?,
                broker: broker?,
                http: http?,
                tls: tls?,
                metrics,
                access: access?,
                unknown_customer: unknown_customer?,
                customer_rate: customer_rate?,
                request_rates: request_rates?,
                mandatory_types: mandatory_types?,
                catalogue: catalogue?,
                guard: guard?,
                migrate_on_start: migrate_on_start?,
                reconcile_after: reconcile_after?.as_duration(),
                shutdown_grace: shutdown_grace?,
                shutdown_drain: shutdown_drain?,
            },
        })
    }
}

fn guard(env: &mut Env) -> Option<PrivacyGuard> {
    let rejects = env.or_default(PRIVACY_GUARD, |text| match text {
        "reject" => Ok(true),
        "off" => Ok(false),
        _ => Err(format!("is {text:?}; write reject or off")),
    });
    let allowed = env.optional(PRIVACY_ALLOW, privacy::parse_allowed);
    Some(if rejects? {
        PrivacyGuard::Reject(Arc::new(allowed.unwrap_or_default()))
    } else {
        PrivacyGuard::Off
    })
}

fn request_rates(env: &mut Env) -> Option<RequestRates> {
    let key = env.or_default(RATE_LIMIT_PER_KEY, Rate::parse_or_off);
    let address = env.or_default(RATE_LIMIT_PER_ADDRESS, Rate::parse_or_off);
    let proxies = env.or_default(TRUSTED_PROXIES, Proxies::parse);
    Some(RequestRates {
        key: key?,
        address: address?,
        proxies: proxies?,
    })
}

fn shutdown_drain(env: &mut Env, grace: Option<Duration>) -> Option<Duration> {
    let drain = env.or_default(SHUTDOWN_DRAIN, |text| {
        if ["0", "0s"].contains(&text) {
            return Ok(Duration::ZERO);
        }
        parse::seconds(GRACE_SECONDS_MAX)(text)
    })?;
    // The rest is for what is in flight then.
    Some(grace.map_or(drain, |grace| drain.min(grace / 2)))
}

/// Every text is looked at: what is wrong with one is found now, and not when it is to be sent.
fn catalogue(env: &mut Env) -> Option<Arc<Catalogue>> {
    let directory = env.optional(TEMPLATES_DIR, parse::text);
    match Catalogue::load(directory.as_deref().map(Path::new)) {
        Ok(catalogue) => Some(Arc::new(catalogue)),
        Err(problems) => {
            for problem in problems {
                env.problem(TEMPLATES_DIR.name, problem);
            }
            None
        }
    }
}

/// Where the API listens, and whether it speaks TLS there, for `push-api health`.
pub fn http_address(env: &mut Env) -> Option<(SocketAddr, bool)> {
    let address = env.or_default(HTTP_ADDR, parse::address)?;
    Some((address, env.is_set(HTTP_TLS_CERT)))
}

/// `Some(None)` is plain HTTP. Both files are one value: a renewal changes them after each other.
fn tls(env: &mut Env) -> Option<Option<Tls>> {
    let certificate = env.or_default(HTTP_TLS_CERT, parse::text)?;
    let key = env.or_default(HTTP_TLS_KEY, parse::text)?;
    match (certificate.is_empty(), key.is_empty()) {
        (true, true) => return Some(None),
        (false, false) => {}
        (no_certificate, _) => {
            let (missing, given) = if no_certificate {
                (HTTP_TLS_CERT, HTTP_TLS_KEY)
            } else {
                (HTTP_TLS_KEY, HTTP_TLS_CERT)
            };
            env.problem(missing.name, format!("is not set, but {} is", given.name));
            return None;
        }
    }
    let files = env.file(HTTP_TLS_CERT).zip(env.file(HTTP_TLS_KEY));
    let made = Identity::parse(&format!("{certificate}\n{key}")).and_then(|identity| {
        let identity = Live::new(identity);
        let files = files.map(|(certificate, key)| {
            identity.files(
                HTTP_TLS_CERT.name,
                vec![certificate, key],
                Identity::renewed,
            )
        });
        Tls::new(identity, files).map_err(|error| format!("cannot be used: {error}"))
    });
    made.map_err(|problem| env.problem(HTTP_TLS_CERT.name, problem))
        .ok()
        .map(Some)
}

/// The database, for `push-api migrate`.
pub fn store(env: &mut Env) -> Option<StoreSettings> {
    let url = env.required(DATABASE_URL, push_store::parse_url);
    let connections = env.or_default(DATABASE_CONNECTIONS, parse::number(CONNECTIONS_MAX));
    let keys = env.or_default(ENCRYPTION_KEYS, Keyring::parse);
    Some(StoreSettings {
        url: url?,
        connections_max: connections?.get(),
        acquire_timeout: ACQUIRE_TIMEOUT,
        keys: keys?,
    })
}

/// The API publishes first jobs only: it declares what those need, and leaves the rungs to the worker,
/// whose settings they are.
fn broker_of(url: String, keys: Keyring) -> BrokerSettings {
    BrokerSettings {
        url,
        topology: Topology {
            retry_delays: Vec::new(),
            receipt_delays: Vec::new(),
        },
        connection_name: "push-api".to_owned(),
        keys,
    }
}

/// Nobody must end up with an open door without having said so.
fn access(env: &mut Env) -> Option<Access> {
    let keys = env.or_default(API_KEYS, ApiKeys::parse);
    let jwts = jwts(env);
    let open = env.or_default(AUTH_DISABLED, parse::switch);
    let keys = keys.map(Live::new);
    let (keys, open) = (keys?, open?);
    let closing = [
        API_KEYS,
        CUSTOMER_JWT_SECRET,
        CUSTOMER_JWT_PUBLIC_KEY,
        ADMIN_JWT_CLAIM,
    ];
    let closing = closing.into_iter().find(|setting| env.is_set(*setting));
    match (open, closing) {
        (true, Some(setting)) => {
            let problem = format!("is true although {} is set; keep one", setting.name);
            env.problem(AUTH_DISABLED.name, problem);
            None
        }
        (true, None) => Some(Access::Open),
        (false, closing) if keys.get().is_empty() => {
            let problem = if closing.is_some() {
                "is not set, so nobody could send; set it"
            } else {
                "is not set, so nobody could call; set it, or AUTH_DISABLED=true for development"
            };
            env.problem(API_KEYS.name, problem);
            None
        }
        (false, _) => {
            let (jwts, mut files) = jwts?;
            let file = env.file(API_KEYS);
            files.extend(file.map(|path| keys.file(API_KEYS.name, path, ApiKeys::parse_some)));
            Some(Access::Known(Credentials { keys, jwts, files }))
        }
    }
}

/// Without a key no token is good.
fn jwts(env: &mut Env) -> Option<(Jwts, Vec<SettingFile>)> {
    let mut files = Vec::new();
    type Parse = fn(&str) -> Result<JwtKeys, String>;
    let mut keys = |setting: Setting, parse: Parse, parse_some: Parse| {
        let keys = Live::new(env.or_default(setting, parse)?);
        let file = env.file(setting);
        files.extend(file.map(|path| keys.file(setting.name, path, parse_some)));
        Some(keys)
    };
    let secrets = keys(CUSTOMER_JWT_SECRET, JwtKeys::secrets, JwtKeys::some_secrets);
    let public = keys(
        CUSTOMER_JWT_PUBLIC_KEY,
        JwtKeys::public,
        JwtKeys::some_public,
    );
    let wanted = Wanted {
        audience: env.optional(CUSTOMER_JWT_AUDIENCE, parse::text),
        issuer: env.optional(CUSTOMER_JWT_ISSUER, parse::text),
        admin: env.optional(ADMIN_JWT_CLAIM, AdminClaim::parse),
    };
    Some((Jwts::new(secrets?, public?, &wanted), files))
}

#[cfg(test)]
mod tests {
    use push_runtime::env::WrongSettings;

    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Settings, WrongSettings> {
        let pairs = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let mut env = Env::from_pairs(pairs);
        let settings = Settings::read(&mut env);
        env.finish(|| settings)
    }

    const URLS: [(&str, &str); 2] = [
        ("DATABASE_URL", "mysql://u:s3cret@h/push"),
        ("AMQP_URL", "amqp://u:s3cret@h/%2f"),
    ];

    #[test]
    fn defaults_are_the_contracts() {
        let settings = read(&[URLS[0], URLS[1], ("API_KEYS", "a:send:s3cret")])
            .unwrap()
            .api;
        assert_eq!(settings.http.to_string(), "127.0.0.1:8080");
        assert_eq!((settings.metrics, settings.migrate_on_start), (None, true));
        assert_eq!(settings.unknown_customer, UnknownCustomer::Reject);
        assert_eq!(settings.customer_rate, None);
        assert_eq!(settings.request_rates.key, None);
        let address = settings.request_rates.address.unwrap();
        assert_eq!(address.to_string(), "3000/1m");
        assert_eq!(settings.shutdown_grace, Duration::from_secs(25));
        assert_eq!(settings.store.connections_max, 10);
        assert!(!format!("{settings:?}").contains("s3cret"));
    }

    #[test]
    fn every_problem_is_told_and_no_secret() {
        let wrong = read(&[
            ("DATABASE_URL", "postgres://u:s3cret@h/push"),
            ("AMQP_URL", "http://u:s3cret@h"),
            ("HTTP_ADDR", "here"),
            ("METRICS_ADDR", "there"),
            ("API_KEYS", "a:fly:s3cret"),
            ("CUSTOMER_JWT_SECRET", "s3cret"),
            ("CUSTOMER_JWT_PUBLIC_KEY", "s3cret"),
            ("ADMIN_JWT_CLAIM", "role"),
            ("AUTH_DISABLED", "yes"),
            ("UNKNOWN_CUSTOMER", "ignore"),
            ("RATE_LIMIT_PER_CUSTOMER", "many"),
            ("RATE_LIMIT_PER_KEY", "0/1m"),
            ("RATE_LIMIT_PER_ADDRESS", "5"),
            ("TRUSTED_PROXIES", "here"),
            ("MANDATORY_TYPES", "No Type"),
            ("MIGRATE_ON_START", "1"),
            ("SHUTDOWN_GRACE", "0"),
            ("DATABASE_CONNECTIONS", "0"),
            ("LOG_FORMAT", "xml"),
        ]);
        let told = wrong.unwrap_err().to_string();
        for name in [
            "DATABASE_URL",
            "AMQP_URL",
            "HTTP_ADDR",
            "METRICS_ADDR",
            "API_KEYS",
            "CUSTOMER_JWT_SECRET",
            "CUSTOMER_JWT_PUBLIC_KEY",
            "ADMIN_JWT_CLAIM",
            "AUTH_DISABLED",
            "UNKNOWN_CUSTOMER",
            "RATE_LIMIT_PER_CUSTOMER",
            "RATE_LIMIT_PER_KEY",
            "RATE_LIMIT_PER_ADDRESS",
            "TRUSTED_PROXIES",
            "MANDATORY_TYPES",
            "MIGRATE_ON_START",
            "SHUTDOWN_GRACE",
            "DATABASE_CONNECTIONS",
            "LOG_FORMAT",
        ] {
            assert!(told.contains(name), "{name}: {told}");
        }
        assert!(!told.contains("s3cret"), "{told}");
    }

    #[test]
    fn an_open_door_has_to_be_asked_for() {
        let told = read(&URLS).unwrap_err().to_string();
        assert!(told.contains("API_KEYS is not set"), "{told}");
        let open = read(&[URLS[0], URLS[1], ("AUTH_DISABLED", "true")]).unwrap();
        assert!(matches!(open.api.access, Access::Open));
        let both = [
            URLS[0],
            URLS[1],
            ("AUTH_DISABLED", "true"),
            ("API_KEYS", "a:send:x"),
        ];
        let told = read(&both).unwrap_err().to_string();
        assert!(told.contains("keep one"), "{told}");
        // Nor is one opened that tokens had the key of.
        let secret = "x".repeat(32);
        let tokens = ("CUSTOMER_JWT_SECRET", secret.as_str());
        let told = read(&[URLS[0], URLS[1], ("AUTH_DISABLED", "true"), tokens]);
        let told = told.unwrap_err().to_string();
        assert!(
            told.contains("CUSTOMER_JWT_SECRET is set; keep one"),
            "{told}"
        );
        let told = read(&[URLS[0], URLS[1], tokens]).unwrap_err().to_string();
        assert!(!told.contains("AUTH_DISABLED"), "{told}");
    }
}
