//! Settings: `NAME=value` lines, over settings that are right.
#![no_main]

use libfuzzer_sys::fuzz_target;
use push_api::keys::ApiKeys;
use push_api::settings::Settings;
use push_providers::fuzzing;
use push_runtime::env::Env;

const RIGHT: [(&str, &str); 3] = [
    ("DATABASE_URL", "mysql://u:p@h/push"),
    ("AMQP_URL", "amqp://u:p@h/%2f"),
    ("API_KEYS", "a:send:secret"),
];

fuzz_target!(init: push_runtime::install_crypto(), |text: &str| {
    let given = text.lines().filter_map(|line| line.split_once('='));
    // What is in other files is the machine's, not ours to read here.
    let given = given.filter(|(name, _)| !name.ends_with("_FILE") && *name != "TEMPLATES_DIR");
    let pairs = RIGHT.into_iter().chain(given);
    let mut env = Env::from_pairs(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let settings = Settings::read(&mut env);
    if let Ok(settings) = env.finish(|| settings) {
        // Whatever is printed of it.
        let _ = format!("{:?}", settings.api);
    }
    let _ = ApiKeys::parse(text);
    let _ = push_queue::parse_url(text);
    // Reads the roots of trust from the disk each time: only for what could be a key.
    if text.contains("-----BEGIN") {
        fuzzing::service_account(text);
    }
});
