//! A server on a real socket that answers as the test says, also in ways that no server should.

use std::collections::BTreeMap;
use std::io::Read;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use flate2::read::GzDecoder;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};

/// A request as it came; the body is unpacked.
#[derive(Clone, Debug)]
pub struct Request {
    pub path: String,
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Request {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The `to` of each message of a batch.
    pub fn recipients(&self) -> Vec<String> {
        self.json()
            .as_array()
            .unwrap()
            .iter()
            .map(|message| message["to"].as_str().unwrap().to_owned())
            .collect()
    }
}

/// What the server does once it has the whole request.
#[derive(Clone, Debug)]
pub enum Reply {
    Http {
        status: u16,
        headers: Vec<(String, String)>,
        body: Vec<u8>,
    },
    /// The same, once the test allows one more.
    When(Arc<Semaphore>, Box<Reply>),
    /// These bytes, then the end of the connection.
    Bytes(Vec<u8>),
    /// RST instead of an answer.
    Reset,
    /// FIN instead of an answer.
    Close,
    /// Nothing, for as long as the client stays.
    Silence,
    /// A beginning, and then the same again and again, until the client has enough.
    Forever {
        start: Vec<u8>,
        again: Vec<u8>,
        every: Duration,
    },
}

impl Reply {
    pub fn json(status: u16, body: &Value) -> Self {
        Self::http(status, &[], body.to_string().as_bytes())
    }

    pub fn http(status: u16, headers: &[(&str, &str)], body: &[u8]) -> Self {
        let headers = headers.iter();
        Self::Http {
            status,
            headers: headers
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            body: body.to_vec(),
        }
    }

    /// A status and a body without an end.
    pub fn endless(status: u16, header: &str) -> Self {
        let head = format!("HTTP/1.1 {status} Something\r\n{header}\r\n\r\n");
        Self::forever(head.as_bytes(), &[b'x'; 16 * 1024])
    }

    /// As fast as the client takes it.
    pub fn forever(start: &[u8], again: &[u8]) -> Self {
        Self::Forever {
            start: start.to_vec(),
            again: again.to_vec(),
            every: Duration::ZERO,
        }
    }

    /// A status, and then a byte now and then.
    pub fn drip(status: u16) -> Self {
        let head = format!("HTTP/1.1 {status} Something\r\ncontent-length: 1000000\r\n\r\n");
        Self::drip_after(head.as_bytes())
    }

    /// A byte now and then.
    pub fn drip_after(start: &[u8]) -> Self {
        Self::Forever {
            start: start.to_vec(),
            again: b" ".to_vec(),
            every: Duration::from_millis(20),
        }
    }

    /// Whether it comes to an end only when the client loses its patience.
    pub fn is_slow(&self) -> bool {
        match self {
            Self::Silence => true,
            Self::Forever { every, .. } => !every.is_zero(),
            Self::When(_, then) => then.is_slow(),
            Self::Http { .. } | Self::Bytes(_) | Self::Reset | Self::Close => false,
        }
    }

    /// The beginning of an answer with this status.
    pub fn cut_short(status: u16) -> Self {
        let head = format!("HTTP/1.1 {status} Something\r\ncontent-length: 1000\r\n\r\n");
        Self::Bytes([head.as_bytes(), b"{\"name\": \"proj"].concat())
    }
}

type Answer = Arc<dyn Fn(&Request) -> Reply + Send + Sync>;

/// Serves until the test ends.
pub struct Server {
    pub url: String,
    seen: Arc<Mutex<Vec<Request>>>,
    taken: Arc<AtomicUsize>,
    arrivals: tokio::sync::Mutex<mpsc::UnboundedReceiver<()>>,
}

impl Server {
    pub async fn start(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let taken = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&taken);
        let (arrived, arrivals) = mpsc::unbounded_channel();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (answer, all): (Answer, _) = (Arc::new(answer), Arc::clone(&seen));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (answer, seen, arrived) =
                    (Arc::clone(&answer), Arc::clone(&all), arrived.clone());
                let taken = Arc::clone(&counter);
                tokio::spawn(async move {
                    let note = move |request: &Request| {
                        seen.lock().unwrap().push(request.clone());
                        let _ = arrived.send(());
                    };
                    serve(stream, &answer, &note, &taken).await;
                });
            }
        });
        Self {
            url,
            seen,
            taken,
            arrivals: tokio::sync::Mutex::new(arrivals),
        }
    }

    /// The requests so far.
    pub fn seen(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }

    /// How many bytes of answers without an end were taken, by a client or on the way to it.
    pub fn taken(&self) -> usize {
        self.taken.load(SeqCst)
    }

    /// Waits until one more request has arrived.
    pub async fn arrival(&self) {
        self.arrivals.lock().await.recv().await.unwrap();
    }
}

/// An address where nobody listens.
pub async fn refusing() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap()
}

/// Does something to every connection right after it was accepted.
pub async fn on_accept<F: Future<Output = ()> + Send>(
    act: impl Fn(TcpStream) -> F + Send + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            act(stream).await;
        }
    });
    address
}

async fn serve(
    mut stream: TcpStream,
    answer: &Answer,
    note: &(dyn Fn(&Request) + Send + Sync),
    taken: &AtomicUsize,
) {
    let mut buffer = Vec::new();
    while let Some(request) = read(&mut stream, &mut buffer).await {
        note(&request);
        let mut reply = answer(&request);
        while let Reply::When(gate, then) = reply {
            gate.acquire().await.unwrap().forget();
            reply = *then;
        }
        if !write(&mut stream, reply, taken).await {
            return;
        }
    }
}

async fn read(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Request> {
    let head_end = loop {
        if let Some(end) = buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(buffer[..head_end].to_vec()).ok()?;
    let mut lines = head.lines();
    let path = lines.next()?.split(' ').nth(1)?.to_owned();
    let headers: BTreeMap<_, _> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let length: usize = headers
        .get("content-length")
        .map_or(0, |length| length.parse().unwrap());
    while buffer.len() < head_end + length {
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
    let mut body = buffer[head_end..head_end + length].to_vec();
    buffer.drain(..head_end + length);
    if headers
        .get("content-encoding")
        .is_some_and(|encoding| encoding == "gzip")
    {
        let packed = std::mem::take(&mut body);
        GzDecoder::new(packed.as_slice())
            .read_to_end(&mut body)
            .unwrap();
    }
    Some(Request {
        path,
        headers,
        body,
    })
}

/// Whether the connection can take another request.
async fn write(stream: &mut TcpStream, reply: Reply, taken: &AtomicUsize) -> bool {
    match reply {
        Reply::Http {
            status,
            headers,
            body,
        } => {
            let mut head = format!(
                "HTTP/1.1 {status} Something\r\ncontent-length: {}\r\n",
                body.len()
            );
            headers
                .iter()
                .for_each(|(name, value)| head += &format!("{name}: {value}\r\n"));
            let answer = [head.as_bytes(), b"\r\n", &body].concat();
            stream.write_all(&answer).await.is_ok()
        }
        Reply::When(..) => unreachable!("opened by the caller"),
        Reply::Bytes(bytes) => stream.write_all(&bytes).await.is_err(),
        Reply::Reset => {
            stream.set_zero_linger().unwrap();
            false
        }
        Reply::Close => false,
        Reply::Silence => {
            let _ = stream.read_u8().await;
            false
        }
        Reply::Forever {
            start,
            again,
            every,
        } => {
            let mut next = stream.write_all(&start).await;
            while next.is_ok() {
                if !every.is_zero() {
                    tokio::time::sleep(every).await;
                }
                next = stream.write_all(&again).await;
                taken.fetch_add(again.len(), SeqCst);
            }
            false
        }
    }
}
