//! `push-sim`: plays Google's token endpoint, FCM and Expo on one port.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use push_sim::{Config, serve};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// How long a health check waits.
const HEALTH_MAX: Duration = Duration::from_secs(2);

/// Plays Google's OAuth token endpoint, FCM HTTP v1 and Expo's push service, for development and tests.
/// Open the address in a browser to see the phones.
#[derive(Parser)]
#[command(version, after_help = CONTROL)]
struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// Where to listen; port 0 picks a free one
    #[arg(
        long,
        global = true,
        env = "PUSH_SIM_ADDR",
        default_value = "127.0.0.1:4000"
    )]
    addr: SocketAddr,
    /// If set, Expo asks for this access token
    #[arg(long, env = "PUSH_SIM_EXPO_ACCESS_TOKEN", hide_env_values = true)]
    expo_access_token: Option<String>,
    /// How long every provider takes to answer, in milliseconds
    #[arg(long, default_value_t = 0)]
    latency_ms: u64,
}

#[derive(Subcommand)]
enum Command {
    /// Ask the one that listens on --addr whether it answers: the health check of a container without a shell
    Health,
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
    match args.command {
        Some(Command::Health) => health(args.addr).await,
        None => run(args).await,
    }
}

async fn run(args: Args) -> anyhow::Result<()> {
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

/// Its page is asked for. An unspecified address (`0.0.0.0`) is asked on loopback.
async fn health(addr: SocketAddr) -> anyhow::Result<()> {
    let host: IpAddr = match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    let asked = async {
        let mut stream = TcpStream::connect((host, addr.port())).await?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await?;
        let mut head = [0_u8; 12];
        stream.read_exact(&mut head).await?;
        anyhow::ensure!(head.ends_with(b" 200"), "answers {}", head.escape_ascii());
        Ok(())
    };
    let answer = tokio::time::timeout(HEALTH_MAX, asked).await;
    answer
        .unwrap_or_else(|_| Err(anyhow::anyhow!("no answer within {HEALTH_MAX:?}")))
        .with_context(|| format!("push-sim on {host}:{}", addr.port()))
}

async fn terminated() -> std::io::Result<()> {
    let kind = tokio::signal::unix::SignalKind::terminate();
    tokio::signal::unix::signal(kind)?.recv().await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn health_is_whether_the_page_answers() {
        let server = serve(Config::default()).await.unwrap();
        let port = server.addr().port();
        health(server.addr()).await.unwrap();
        health((Ipv4Addr::UNSPECIFIED, port).into()).await.unwrap();
        server.stop().await;
        let error = health((Ipv4Addr::UNSPECIFIED, port).into())
            .await
            .unwrap_err();
        assert!(error.to_string().contains("127.0.0.1"), "{error}");
    }
}
