//! Expo's two calls over HTTP.

use std::io::Write;
use std::num::NonZeroU32;
use std::sync::Arc;

use bytes::Bytes;
use chrono::Utc;
use flate2::Compression;
use flate2::write::GzEncoder;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use push_core::outcome::{Outcome, ProviderMessageId, Retry, Sent};
use push_core::receipt::Receipt;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue};
use reqwest::{Client, RequestBuilder, Url};
use secrecy::ExposeSecret;
use serde::Serialize;
use serde_json::json;
use tokio::sync::Semaphore;

use crate::error::SetupError;
use crate::expo::ExpoSettings;
use crate::expo::classify::{self, Verdict};
use crate::expo::message::message;
use crate::http::Answer;
use crate::push::{Look, Push};
use crate::transport::Failure;
use crate::{at_once, http};

/// "At most 100 notifications a request" (Expo docs).
pub(crate) const BATCH_MAX: u32 = 100;
/// As many as the official SDK has under way (expo-server-sdk, `ExpoClientValues.ts`).
const REQUESTS_MAX: usize = 6;
/// From here on the official SDK compresses. It counts characters, we count bytes.
const PLAIN_BYTES_MAX: usize = 1_024;
/// A thousand receipts with their texts have some 300 KiB.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

#[derive(Debug)]
pub(crate) struct ExpoApi {
    client: Client,
    send_url: Url,
    receipts_url: Url,
    authorization: Option<HeaderValue>,
    pub(crate) look: Look,
    /// Shared by all that is asked of Expo.
    pub(crate) requests: Arc<Semaphore>,
    rate: DefaultDirectRateLimiter,
    /// As many as may go at once, see [`pace`].
    pub(crate) batch_max: NonZeroU32,
}

impl ExpoApi {
    pub(crate) fn new(settings: ExpoSettings) -> Result<Self, SetupError> {
        let base = http::address(&settings.base_url, "base_url")?;
        let base = base.as_str().trim_end_matches('/');
        let url = |call: &str| http::address(&format!("{base}/--/api/v2/push/{call}"), "base_url");
        let (quota, batch_max) = pace(settings.rate);
        Ok(Self {
            client: http::client(settings.request_timeout)?,
            send_url: url("send")?,
            receipts_url: url("getReceipts")?,
            authorization: settings
                .access_token
                .as_ref()
                .map(|token| bearer(token.expose_secret()))
                .transpose()?,
            look: settings.look,
            requests: Arc::new(Semaphore::new(REQUESTS_MAX)),
            rate: RateLimiter::direct(quota),
            batch_max,
        })
    }

    /// Waits until the rate allows so many messages, at most [`Self::batch_max`].
    pub(crate) async fn turn_of(&self, messages: usize) {
        let count = u32::try_from(messages).unwrap_or(BATCH_MAX);
        if let Some(count) = NonZeroU32::new(count.min(self.batch_max.get())) {
            // Fails only for more than the burst, which `min` has excluded.
            self.rate.until_n_ready(count).await.ok();
        }
    }

    /// Sends a batch whose turn it is, once.
    ///
    /// # Errors
    /// How the request failed.
    pub(crate) async fn send(&self, pushes: &[&Push]) -> Result<Verdict, Failure> {
        let now = Utc::now();
        let messages: Vec<_> = pushes
            .iter()
            .map(|push| message(push, &self.look, now))
            .collect();
        let request = self.request(&self.send_url, &messages)?;
        let answer = http::exchange(request.build(), ANSWER_BYTES_MAX).await?;
        Ok(classify::sent(&answer, pushes.len(), Utc::now()))
    }

    /// Asks for the receipts of at most a thousand tickets.
    pub(crate) async fn receipts(
        &self,
        tickets: &[ProviderMessageId],
    ) -> Result<Vec<(ProviderMessageId, Receipt)>, Outcome> {
        let _permit = self.requests.acquire().await;
        let ids: Vec<&str> = tickets.iter().map(ProviderMessageId::as_str).collect();
        let answer = self
            .ask(&self.receipts_url, &json!({ "ids": ids }))
            .await
            // A question sends nothing to anyone.
            .map_err(|failure| {
                Outcome::Retry(Retry {
                    sent: Sent::SurelyNot,
                    ..failure.into_retry()
                })
            })?;
        let mut receipts = classify::receipts(&answer, Utc::now())?;
        let asked = tickets.iter();
        Ok(asked
            .filter_map(|ticket| Some((ticket.clone(), receipts.remove(ticket.as_str())?)))
            .collect())
    }

    /// Tries again at once only what was not processed.
    async fn ask(
        &self,
        url: &Url,
        body: &(impl Serialize + ?Sized + Sync),
    ) -> Result<Answer, Failure> {
        let request = self.request(url, body)?;
        let mut pauses = at_once::pauses();
        loop {
            match http::exchange(request.build(), ANSWER_BYTES_MAX).await {
                Err(failure) if failure.at_once => match pauses.next() {
                    Some(pause) => tokio::time::sleep(pause).await,
                    None => return Err(failure),
                },
                answer => return answer,
            }
        }
    }

    fn request<'a>(
        &'a self,
        url: &'a Url,
        body: &(impl Serialize + ?Sized),
    ) -> Result<Request<'a>, Failure> {
        let unwritable = |_| {
            Failure::not_sent(
                "not_serialisable",
                "The message could not be written as JSON.",
            )
        };
        let json = serde_json::to_vec(body).map_err(unwritable)?;
        let (body, gzipped) = packed(json);
        Ok(Request {
            api: self,
            url,
            body,
            gzipped,
        })
    }
}

/// What is sent to Expo, as often as it has to be.
struct Request<'a> {
    api: &'a ExpoApi,
    url: &'a Url,
    body: Bytes,
    gzipped: bool,
}

impl Request<'_> {
    fn build(&self) -> RequestBuilder {
        let mut request = self
            .api
            .client
            .post(self.url.clone())
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/json")
            .body(self.body.clone());
        if self.gzipped {
            request = request.header(CONTENT_ENCODING, "gzip");
        }
        if let Some(authorization) = &self.api.authorization {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        request
    }
}

/// How a rate is kept in any second, however it is cut: a batch may go after a quiet time, and the
/// even flow that follows gives way to it by as much. A batch is a sixth of the rate: of Expo's 600,
/// the hundred of a full request.
fn pace(rate: NonZeroU32) -> (Quota, NonZeroU32) {
    let one = NonZeroU32::MIN;
    let batch_max = NonZeroU32::new(BATCH_MAX.min(rate.get() / 6)).unwrap_or(one);
    let flow = NonZeroU32::new(rate.get() - batch_max.get()).unwrap_or(one);
    (Quota::per_second(flow).allow_burst(batch_max), batch_max)
}

fn bearer(token: &str) -> Result<HeaderValue, SetupError> {
    let mut value =
        HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| SetupError::AccessToken)?;
    value.set_sensitive(true);
    Ok(value)
}

/// The body, and whether it is compressed.
pub(crate) fn packed(json: Vec<u8>) -> (Bytes, bool) {
    if json.len() <= PLAIN_BYTES_MAX {
        return (json.into(), false);
    }
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    match encoder.write_all(&json).and_then(|()| encoder.finish()) {
        Ok(gzipped) => (gzipped.into(), true),
        // Writing to memory does not fail; if it did, the plain body would do as well.
        Err(_) => (json.into(), false),
    }
}

#[cfg(test)]
impl ExpoApi {
    /// The same with another client, for a server that speaks HTTP/2 without TLS.
    pub(crate) fn with_client(settings: ExpoSettings, client: Client) -> Self {
        Self {
            client,
            ..Self::new(settings).unwrap()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::time::Duration;

    use governor::clock::FakeRelativeClock;

    use super::*;

    /// Takes as much as it can get, and looks at the second behind it each time.
    #[test]
    fn no_second_has_more_than_the_rate() {
        const STEP: Duration = Duration::from_millis(1);
        const SECOND: usize = 1_000;
        for rate in [1, 2, 3, 5, 6, 7, 20, 99, 100, 101, 300, 599, 600] {
            let (quota, batch_max) = pace(NonZeroU32::new(rate).unwrap());
            for batch in [1, batch_max.get()] {
                let batch = NonZeroU32::new(batch).unwrap();
                let clock = FakeRelativeClock::default();
                let limiter = RateLimiter::direct_with_clock(quota, clock.clone());
                let mut second = VecDeque::from(vec![0; SECOND]);
                let mut sent = 0;
                for _ in 0..5 * SECOND {
                    let mut now = 0;
                    while matches!(limiter.check_n(batch), Ok(Ok(()))) {
                        now += batch.get();
                    }
                    sent += now;
                    second.pop_front();
                    second.push_back(now);
                    assert!(
                        second.iter().sum::<u32>() <= rate,
                        "{rate}, {batch} at a time"
                    );
                    clock.advance(STEP);
                }
                assert!(sent >= 5 * rate / 2, "{rate}, {batch} at a time: {sent}");
            }
        }
    }

    #[test]
    fn expos_rate_has_full_batches() {
        let (_, batch_max) = pace(NonZeroU32::new(crate::ExpoSettings::RATE).unwrap());
        assert_eq!(batch_max.get(), BATCH_MAX);
    }
}
