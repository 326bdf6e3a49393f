//! `push-sim`: plays Google's token endpoint, FCM and Expo on one port.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use push_sim::{Config, serve};

/// Plays Google's OAuth token endpoint, FCM HTTP v1 and Expo's push service, for development and tests.
/// Open the address in a browser to see the phones.
#[derive(Parser)]
#[command(version, after_help = CONTROL)]
struct Args {
    /// Where to listen; port 0 picks a free one
    #[arg(long, env = "PUSH_SIM_ADDR", default_value = "127.0.0.1:4000")]
    addr: SocketAddr,
    /// If set, Expo asks for this access token
    #[arg(long, env = "PUSH_SIM_EXPO_ACCESS_TOKEN", hide_env_values = true)]
    expo_access_token: Option<String>,
    /// How long every provider takes to answer, in milliseconds
    #[arg(long, default_value_t = 0)]
    latency_ms: u64,
}

const CONTROL: &str = "\
Providers:
  POST /token                                  Google's token endpoint
  POST /v1/projects/{project}/messages:send    FCM
  POST /--/api/v2/push/send, getReceipts       Expo
Control (JSON):
  POST /sim/script   {provider, token?, answers: [{case} | {status, headers, body} | {transport}], then?}
  POST /sim/outage   {provider, mode: down|hang|503|ok}     POST /sim/latency  {provider, ms}
  POST /sim/phones   {name, tokens, platform?}              POST /sim/projects {token, project}
  POST /sim/receipts {delayMs}   POST /sim/clock {advanceMs}   POST /sim/record {bodies}   POST /sim/reset
  POST /sim/oauth/key (PEM)   /sim/oauth/expire   /sim/oauth/lifetime {seconds}   /sim/oauth/token
  GET  /sim/requests  /sim/counts  /sim/phones  /sim/events (server-sent events)
The documentation of the crate has every field.";

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    tracing_subscriber::fmt().json().init();
    let config = Config {
        addr: args.addr,
        expo_access_token: args.expo_access_token,
        latency: Duration::from_millis(args.latency_ms),
    };
    let mut server = serve(config)
        .await
        .with_context(|| format!("cannot listen on {}; choose another --addr", args.addr))?;
    tracing::info!(address = %server.addr(), "listening");
    tokio::select! {
        stopped = tokio::signal::ctrl_c() => stopped.context("cannot wait for Ctrl-C")?,
        stopped = terminated() => stopped.context("cannot wait for SIGTERM")?,
        () = server.wait() => {}
    }
    server.stop().await;
    Ok(())
}

async fn terminated() -> std::io::Result<()> {
    let kind = tokio::signal::unix::SignalKind::terminate();
    tokio::signal::unix::signal(kind)?.recv().await;
    Ok(())
}
