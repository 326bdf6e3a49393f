//! Expo's push service: `POST /--/api/v2/push/send` and `/--/api/v2/push/getReceipts`.

mod message;
mod problem;
mod receipts;
mod send;
mod sizes;
mod tickets;

use std::borrow::Cow;
use std::io::Read as _;

use http::header;
use http::request::Parts;
use serde_json::json;

pub(crate) use self::receipts::get_receipts;
pub(crate) use self::send::send;
pub(crate) use self::sizes::RequestSizes;
pub(crate) use self::tickets::Tickets;

use self::problem::Problem;
use crate::sim::Sim;

pub(crate) const SEND: &str = "/--/api/v2/push/send";
pub(crate) const GET_RECEIPTS: &str = "/--/api/v2/push/getReceipts";

/// Unpacked size at which a request is refused: 100 messages of 4 KiB with room to spare.
const UNPACKED_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// An access token is asked for only where one is configured ("enhanced security", Expo docs).
fn authorise(sim: &Sim, head: &Parts) -> Result<(), Problem> {
    let Some(wanted) = sim.expo_access_token() else {
        return Ok(());
    };
    let Some(given) = head.headers.get(header::AUTHORIZATION) else {
        return Err(Problem::unauthorized());
    };
    let bearer = given
        .to_str()
        .ok()
        .and_then(|text| text.strip_prefix("Bearer "));
    if bearer == Some(wanted.as_ref()) {
        Ok(())
    } else {
        Err(Problem::invalid_bearer())
    }
}

/// The body as it was before compression. Expo takes gzip (expo-server-sdk sends it above 1 KiB).
fn unpacked<'b>(head: &Parts, body: &'b [u8]) -> Result<Cow<'b, [u8]>, Problem> {
    let encoding = head.headers.get(header::CONTENT_ENCODING);
    match encoding.map(|value| value.to_str().unwrap_or("?")) {
        None | Some("identity") => Ok(Cow::Borrowed(body)),
        Some("gzip") => {
            let mut plain = Vec::with_capacity(body.len() * 4);
            let mut decoder = flate2::read::GzDecoder::new(body).take(UNPACKED_BYTES_MAX + 1);
            match decoder.read_to_end(&mut plain) {
                Ok(bytes) if bytes as u64 > UNPACKED_BYTES_MAX => {
                    Err(Problem::validation("request entity too large"))
                }
                Ok(_) => Ok(Cow::Owned(plain)),
                Err(_) => Err(Problem::validation("the body is not gzip")),
            }
        }
        Some(other) => Err(Problem::validation(format!(
            "unsupported content encoding {}",
            json!(other)
        ))),
    }
}
