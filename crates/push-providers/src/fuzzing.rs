//! What fuzzing reaches: the decoders of answers and of credentials. Compiled for that only.

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::expo::classify as expo;
use crate::fcm::FcmSettings;
use crate::fcm::classify as fcm;
use crate::fcm::service_account::ServiceAccount;
use crate::http::Answer;
use crate::push::Look;

/// One answer, read as each kind that it could be, to so many messages.
pub fn answered(status: u16, retry_after: Option<String>, body: Vec<u8>, messages: usize) {
    let now = DateTime::<Utc>::UNIX_EPOCH;
    let answer = Answer {
        status,
        retry_after,
        body,
    };
    let _ = fcm::classify(&answer, now);
    if let expo::Verdict::Each(outcomes) = expo::sent(&answer, messages, now) {
        assert_eq!(outcomes.len(), messages, "one outcome a message");
    }
    let _ = expo::receipts(&answer, now);
}

/// A service account whose parts are the lines of a text.
pub fn service_account(text: &str) {
    let mut lines = text.splitn(4, '\n');
    let mut next = || lines.next().unwrap_or_default().to_owned();
    let settings = FcmSettings {
        project_id: next(),
        client_email: next(),
        token_uri: next(),
        private_key: next().into(),
        base_url: FcmSettings::BASE_URL.to_owned(),
        max_in_flight: 1,
        request_timeout: Duration::from_secs(10),
        look: Look::default(),
    };
    if let Err(why) = ServiceAccount::new(&settings) {
        assert!(why.to_string().len() < 200, "an error that repeats the key");
    }
}
