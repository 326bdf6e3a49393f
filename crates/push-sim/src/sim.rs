//! Everything the simulator knows, and what all providers have in common when they answer.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use axum::body::Body;
use http::Response;

use crate::clock::Clock;
use crate::connection::Connections;
use crate::expo::{RequestSizes, Tickets};
use crate::lane::{Lane, Outage, Provider};
use crate::oauth::OAuth;
use crate::phones::Phones;
use crate::record::Recorder;
use crate::reply::{Reply, Transport};
use crate::script::{self, Answer, Kind, Scripts};
use crate::sync::{read, write};
use crate::tokens::TokenCounts;

/// The state behind one simulator; every part guards itself.
#[derive(Debug, Default)]
pub(crate) struct Sim {
    pub(crate) clock: Clock,
    pub(crate) scripts: Scripts,
    pub(crate) oauth: OAuth,
    pub(crate) tickets: Tickets,
    pub(crate) record: Recorder,
    pub(crate) phones: Phones,
    pub(crate) connections: Connections,
    pub(crate) request_sizes: RequestSizes,
    lanes: [Lane; 4],
    /// Sends per token, of FCM and of Expo.
    tokens: [TokenCounts; 2],
    /// Expo token to Expo project.
    projects: RwLock<HashMap<String, String>>,
    expo_access_token: RwLock<Option<Arc<str>>>,
    latency_default: Duration,
}

impl Sim {
    pub(crate) fn new(expo_access_token: Option<String>, latency_default: Duration) -> Sim {
        let sim = Sim {
            expo_access_token: RwLock::new(expo_access_token.map(Into::into)),
            latency_default,
            ..Sim::default()
        };
        for lane in &sim.lanes {
            lane.set_latency(latency_default);
        }
        sim
    }

    pub(crate) fn lane(&self, provider: Provider) -> &Lane {
        &self.lanes[provider.index()]
    }

    /// Send counters of a provider; only FCM and Expo send to tokens.
    pub(crate) fn tokens(&self, provider: Provider) -> Option<&TokenCounts> {
        self.tokens.get(provider.index())
    }

    pub(crate) fn project_of(&self, token: &str) -> Option<String> {
        read(&self.projects).get(token).cloned()
    }

    pub(crate) fn set_project(&self, token: String, project: String) {
        write(&self.projects).insert(token, project);
    }

    pub(crate) fn expo_access_token(&self) -> Option<Arc<str>> {
        read(&self.expo_access_token).clone()
    }

    pub(crate) fn set_expo_access_token(&self, token: Option<String>) {
        *write(&self.expo_access_token) = token.map(Into::into);
    }

    /// Back to how it started. OAuth tokens stay valid, connections stay open, and the Expo access
    /// token stays as it is: a client that outlives the reset keeps working.
    pub(crate) fn reset(&self) {
        for lane in &self.lanes {
            lane.reset(self.latency_default);
        }
        for tokens in &self.tokens {
            tokens.reset();
        }
        write(&self.projects).clear();
        self.clock.reset();
        self.scripts.reset();
        self.oauth.reset();
        self.tickets.reset();
        self.record.reset();
        self.phones.reset();
        self.connections.reset();
        self.request_sizes.reset();
    }

    /// What a provider says while it is out of order.
    pub(crate) fn outage(&self, provider: Provider) -> Option<Verdict> {
        match self.lane(provider).outage() {
            Outage::Ok => None,
            Outage::Down => Some(Verdict::broken(Reply::Reset, "outage")),
            Outage::Hang => Some(Verdict::broken(Reply::Hang, "outage")),
            Outage::Unavailable => {
                let case = match provider {
                    Provider::Fcm => "unavailable",
                    Provider::Oauth => "server_error",
                    Provider::Expo | Provider::Receipts => "unavailable_text",
                };
                Some(Verdict::refused(script::recorded(provider, case), "outage"))
            }
        }
    }
}

/// How a request ends.
#[derive(Debug)]
pub(crate) struct Verdict {
    pub(crate) reply: Reply,
    pub(crate) accepted: bool,
    pub(crate) delay: Duration,
    pub(crate) note: Option<&'static str>,
}

impl Verdict {
    pub(crate) fn accepted(response: Response<Body>) -> Verdict {
        Verdict {
            reply: Reply::Answer(response),
            accepted: true,
            delay: Duration::ZERO,
            note: None,
        }
    }

    pub(crate) fn refused(response: Response<Body>, note: &'static str) -> Verdict {
        Verdict {
            reply: Reply::Answer(response),
            accepted: false,
            delay: Duration::ZERO,
            note: Some(note),
        }
    }

    pub(crate) fn broken(reply: Reply, note: &'static str) -> Verdict {
        Verdict {
            reply,
            accepted: false,
            delay: Duration::ZERO,
            note: Some(note),
        }
    }

    /// What `answer` makes of a request that would have been answered with `ordinary`.
    pub(crate) fn scripted(answer: &Answer, ordinary: impl FnOnce() -> Response<Body>) -> Verdict {
        let (reply, note) = match &answer.kind {
            Kind::Ordinary | Kind::Ticket(_) | Kind::Receipt(_) => {
                (Reply::Answer(ordinary()), "scripted")
            }
            Kind::Http(canned) => (Reply::Answer(canned.response()), "scripted"),
            Kind::Transport(transport) => (
                Reply::broken(*transport, ordinary, answer.drip),
                name(*transport),
            ),
        };
        Verdict {
            reply,
            accepted: answer.accepts(),
            delay: answer.delay,
            note: Some(note),
        }
    }

    /// Status of the answer, 0 where there is none.
    pub(crate) fn status(&self) -> u16 {
        match &self.reply {
            Reply::Answer(response) => response.status().as_u16(),
            Reply::Reset | Reply::Hang | Reply::RefuseStream => 0,
        }
    }
}

fn name(transport: Transport) -> &'static str {
    match transport {
        Transport::ConnectionReset => "connection_reset",
        Transport::NoAnswer => "no_answer",
        Transport::AcceptThenDrop => "accept_then_drop",
        Transport::AcceptThenHang => "accept_then_hang",
        Transport::SlowDrip => "slow_drip",
        Transport::RefusedStream => "refused_stream",
    }
}
