//! How many FCM sends a second the simulator takes, and what one costs it.
//!
//! `cargo run --release -p push-sim --example fcm_load -- --seconds 5`. The simulator runs on threads of its own
//! (`--sim-threads`, 1 by default), the clients on others; what the simulator's threads used is read from `/proc`.
//! Loopback only, and bounded in time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use clap::Parser;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper::http::Request;
use hyper_util::rt::{TokioExecutor, TokioIo};
use push_sim::{Config, Server, serve};
use tokio::runtime::{Builder, Runtime};

/// Requests in flight on one connection: what a client of FCM should keep to.
const STREAMS: usize = 100;
/// Clock ticks a second of `/proc/*/stat` on Linux (`USER_HZ`).
const TICKS: f64 = 100.0;
/// Linux cuts names of threads at 15 bytes.
const SIM_THREAD: &str = "push-sim-load";

#[derive(Parser)]
struct Args {
    /// How long to measure
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// HTTP/2 connections, each with 100 requests in flight
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=64))]
    connections: u64,
    /// Threads of the simulator
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=16))]
    sim_threads: u64,
    /// Different tokens sent to
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    tokens: u64,
    /// Keep bodies and headers of the last requests, as tests do
    #[arg(long)]
    bodies: bool,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let sim_runtime = threads(SIM_THREAD, args.sim_threads)?;
    let server = sim_runtime.block_on(serve(Config::default()))?;
    let clients = threads("clients", 1)?;
    let sent = Arc::new(AtomicU64::new(0));
    let stop = Arc::new(AtomicBool::new(false));
    clients.block_on(start(&args, &server, &sent, &stop))?;

    // The first second warms up and is not counted.
    std::thread::sleep(Duration::from_secs(1));
    let (sent_before, cpu_before, since) = (sent.load(Ordering::Relaxed), cpu()?, Instant::now());
    std::thread::sleep(Duration::from_secs(args.seconds));
    let sends = sent.load(Ordering::Relaxed) - sent_before;
    let (cpu, elapsed) = (cpu()? - cpu_before, since.elapsed().as_secs_f64());
    stop.store(true, Ordering::Relaxed);
    report(sends, cpu, elapsed)
}

fn threads(name: &str, count: u64) -> anyhow::Result<Runtime> {
    Ok(Builder::new_multi_thread()
        .worker_threads(usize::try_from(count)?)
        .thread_name(name)
        .enable_all()
        .build()?)
}

async fn start(
    args: &Args,
    server: &Server,
    sent: &Arc<AtomicU64>,
    stop: &Arc<AtomicBool>,
) -> anyhow::Result<()> {
    if !args.bodies {
        record_no_bodies(server).await?;
    }
    let access_token: Arc<str> = server.issue_token().into();
    for connection in 0..args.connections {
        let sender = connect(server).await?;
        for stream in 0..STREAMS as u64 {
            let load = Load {
                url: format!("{}/v1/projects/bench/messages:send", server.url()),
                access_token: Arc::clone(&access_token),
                first: connection * 7919 + stream * 104_729,
                tokens: args.tokens,
            };
            let (sender, sent, stop) = (sender.clone(), Arc::clone(sent), Arc::clone(stop));
            tokio::spawn(load.run(sender, sent, stop));
        }
    }
    Ok(())
}

async fn connect(server: &Server) -> anyhow::Result<SendRequest<Full<Bytes>>> {
    let stream = tokio::net::TcpStream::connect(server.addr()).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

async fn record_no_bodies(server: &Server) -> anyhow::Result<()> {
    let request = Request::post(format!("{}/sim/record", server.url()))
        .header("content-type", "application/json")
        .body(Full::from(r#"{"bodies":false}"#))?;
    let response = connect(server).await?.send_request(request).await?;
    anyhow::ensure!(response.status() == 200, "{}", response.status());
    Ok(())
}

/// One request after the other.
struct Load {
    url: String,
    access_token: Arc<str>,
    first: u64,
    tokens: u64,
}

impl Load {
    async fn run(
        self,
        mut sender: SendRequest<Full<Bytes>>,
        sent: Arc<AtomicU64>,
        stop: Arc<AtomicBool>,
    ) -> anyhow::Result<()> {
        let mut number = self.first;
        while !stop.load(Ordering::Relaxed) {
            number += 1;
            let request = Request::post(&self.url)
                .header("authorization", format!("Bearer {}", self.access_token))
                .header("content-type", "application/json")
                .body(Full::from(message(number % self.tokens, number)))?;
            let response = sender.send_request(request).await?;
            let status = response.status();
            response.into_body().collect().await?;
            anyhow::ensure!(status == 200, "{status}");
            sent.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// A message as our worker sends it, about 900 bytes.
fn message(token: u64, number: u64) -> String {
    format!(
        r#"{{"message":{{"token":"eXaMpLeFid{token:012}:APA91bEXAMPLE_not_a_real_token_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","notification":{{"title":"Technician Assigned! 🚗","body":"John has been assigned to your booking BID123. They will contact you soon."}},"data":{{"type":"technician_assigned","bookingId":"456","trackId":"BID123","techName":"John","priority":"high","click_action":"FLUTTER_NOTIFICATION_CLICK","notificationId":"019a0000-0000-7000-8000-{number:012x}","tag":"booking-456"}},"android":{{"priority":"HIGH","ttl":"3600s","notification":{{"channel_id":"urgent","sound":"notificationtone","notification_priority":"PRIORITY_HIGH","tag":"booking-456"}}}},"apns":{{"headers":{{"apns-priority":"10","apns-collapse-id":"booking-456"}},"payload":{{"aps":{{"sound":"notificationtone.wav","badge":1}}}}}}}}}}"#
    )
}

/// Seconds that the simulator's threads have used: fields 14 and 15 of `stat` (proc(5)).
fn cpu() -> anyhow::Result<f64> {
    let mut ticks = 0;
    for task in std::fs::read_dir("/proc/self/task")? {
        let stat = std::fs::read_to_string(task?.path().join("stat"))?;
        let (name, rest) = stat.rsplit_once(')').context("unknown shape of stat")?;
        if name.contains(SIM_THREAD) {
            let fields: Vec<_> = rest.split_whitespace().collect();
            ticks += fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
        }
    }
    Ok(ticks as f64 / TICKS)
}

fn resident_mib() -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next());
    Ok(kib.context("no VmRSS")?.parse::<u64>()? / 1024)
}

#[expect(clippy::print_stdout, reason = "the result of the run")]
fn report(sends: u64, cpu: f64, elapsed: f64) -> anyhow::Result<()> {
    let sends = sends as f64;
    anyhow::ensure!(sends > 0.0, "nothing was sent");
    println!(
        "sends per second:                     {:>9.0}",
        sends / elapsed
    );
    println!(
        "simulator CPU seconds per 1,000 sends: {:>8.4}",
        cpu / sends * 1000.0
    );
    println!("sends per second of simulator CPU:    {:>9.0}", sends / cpu);
    println!(
        "resident memory, clients included:    {:>5} MiB",
        resident_mib()?
    );
    Ok(())
}
