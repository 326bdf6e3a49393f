//! A stand-in for Google's OAuth token endpoint, FCM HTTP v1 and Expo's push service, for
//! development and tests.
//!
//! It shares no code with the clients it judges: what both would misread alike, no test could find.
//!
//! One port speaks HTTP/1.1 and HTTP/2 with prior knowledge (h2c). Point `FIREBASE_TOKEN_URI` at
//! `http://127.0.0.1:4000/token`, `FCM_BASE_URL` and `EXPO_BASE_URL` at `http://127.0.0.1:4000`. Where a
//! broken connection to one provider must not touch the other, give one of them `http://localhost:4000`:
//! HTTP clients keep a connection pool per host name.
//!
//! # Endpoints played
//!
//! | endpoint | plays |
//! |---|---|
//! | `POST /token` | Google's token endpoint: JWT bearer grant, RS256 |
//! | `POST /v1/projects/{project}/messages:send` | FCM, strict |
//! | `POST /--/api/v2/push/send` | Expo, plain or gzip |
//! | `POST /--/api/v2/push/getReceipts` | Expo's receipts |
//!
//! # Control API
//!
//! JSON in camelCase; a wrong request is answered with 4xx and the reason. `provider` is one of `fcm`, `expo`,
//! `oauth`, `receipts`.
//!
//! | call | body or query |
//! |---|---|
//! | `POST /sim/script` | `{provider, token?, answers: [Answer…], then?: "ok" \| "repeat_last"}`: what to answer a token (absent: every token without a script of its own), in order. Replaces the earlier script; no answers removes it. For `oauth`, `token` is the issuer |
//! | `POST /sim/latency` | `{provider, ms}` |
//! | `POST /sim/outage` | `{provider, mode: "down" \| "hang" \| "503" \| "ok"}` |
//! | `POST /sim/projects` | `{token, project}`: the Expo project of a token (default `@sim/app`) |
//! | `POST /sim/receipts` | `{delayMs}`: how long after its ticket a receipt appears (default 0) |
//! | `POST /sim/expo/access-token` | `{token}`: what Expo asks for; `null` asks for nothing |
//! | `POST /sim/oauth/key` | a PEM block: only assertions signed by a registered key get a token. Of a private key the public half is kept |
//! | `POST /sim/oauth/expire` | `{token?}`: one access token, or all |
//! | `POST /sim/oauth/lifetime` | `{seconds}` of tokens handed out from now on (default 3599) |
//! | `POST /sim/oauth/token` | an access token without the exchange, for curl and benches |
//! | `POST /sim/clock` | `{advanceMs}`: moves the simulator's clock forward: receipts and access tokens age |
//! | `POST /sim/record` | `{bodies: false}`: no bodies and headers in the record, for benches |
//! | `POST /sim/phones` | `{name, tokens: […], platform?: "android" \| "ios"}`: these tokens are one phone |
//! | `POST /sim/reset` | forgets everything but valid access tokens and open connections |
//! | `GET /sim/requests` | `?provider=&token=&after=&limit=`: `{items: [{seq, request, atMs, provider, token, http, status, accepted, note, headers, body}], next}`, oldest first; `status` 0 is no answer. The last 100,000, the last 10,000 (64 MiB at most) with body and headers |
//! | `GET /sim/counts` | `?token=`: per provider `requests, accepted, inFlight, maxConcurrent`, for FCM and Expo `tokens: {token: {sends, accepted}}`, `expo.requestSizes`, `oauth.tokensIssued`, `connections`, `displays` |
//! | `GET /sim/phones` | `?name=&token=&limit=&history=`: `{total, seq, phones: [{name, bound, platform, tokens, arrivals, shown, displays: {notificationId: rings}, history}]}`, latest first; arrivals up to `seq` are in there, also those that were forgotten |
//! | `GET /sim/events` | server-sent events: `push` for each arrival |
//! | `GET /` | the phones, live, in a browser |
//!
//! `Answer` is one of
//!
//! - `{case}`: a recorded answer by its id in `tests/fixtures/providers/{fcm,expo}/errors.json`;
//! - `{status, headers?, body?}`: any HTTP answer, the body as JSON or as a string;
//! - `{ticket}` (`expo`), `{receipt}` (`receipts`): that of one message;
//! - `{transport}`: `connection_reset`, `no_answer`, `accept_then_drop`, `accept_then_hang`, `slow_drip`
//!   (a byte every `everyMs`, default 1000) or `refused_stream`;
//! - `{}`: the ordinary answer,
//!
//! each with `delayMs?`, and `accepted?` to say whether the message reaches the phone regardless of the answer
//! (a 504 that was delivered all the same). A recorded Expo ticket replaces the ticket of its message; any other
//! Expo answer is that of the whole request. Only a valid request reaches a script: no script hides a faulty payload.
//! What is accepted shows on the phone at once; latency and delays only hold back the answer.

mod cases;
mod clock;
mod connection;
mod control;
mod expo;
mod fcm;
mod json;
mod lane;
mod oauth;
mod phones;
mod record;
mod reply;
mod script;
mod server;
mod sim;
mod sync;
mod tokens;

pub use server::{Config, Server, serve};
