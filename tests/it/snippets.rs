//! The snippets for callers, each run by its own language against the real API, through a door that turns away, loses
//! answers and breaks off: the customer is told once.

use std::collections::VecDeque;
use std::process::{Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use push_tests::{Device, Key, Phone, Stack};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;

/// Where the snippets are.
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/snippets");

/// What a snippet is written in.
#[derive(Clone, Copy, Debug)]
enum Language {
    Node,
    Php,
    Python,
    Bash,
}

const LANGUAGES: [Language; 4] = [
    Language::Node,
    Language::Php,
    Language::Python,
    Language::Bash,
];

/// The functions that every snippet has.
#[derive(Clone, Copy)]
enum Function {
    AssignTechnician,
    UpdateBookingStatus,
}

impl Language {
    /// A program that calls a function of the snippet with these arguments, and prints the answer as JSON.
    fn command(self, function: Function, arguments: &[Value]) -> Command {
        let (program, call) = match self {
            Self::Node => (
                "node",
                "const push = require(process.argv[1] + '/push.js'); const [name, args] = JSON.parse(process.argv[2]); \
                 push[name](...args).then((answer) => console.log(JSON.stringify(answer)));",
            ),
            Self::Php => (
                "php",
                "require $argv[1] . '/push.php'; [$name, $args] = json_decode($argv[2], true); \
                 echo json_encode($name(...$args));",
            ),
            Self::Python => (
                "python3",
                "import json, sys; sys.dont_write_bytecode = True; sys.path.insert(0, sys.argv[1]); import push; \
                 name, args = json.loads(sys.argv[2]); print(json.dumps(getattr(push, name)(*args)))",
            ),
            Self::Bash => ("bash", ""),
        };
        let mut command = Command::new(program);
        let whole = json!([self.name(function), arguments]).to_string();
        match self {
            Self::Node => command.args(["-e", call, FOLDER, &whole]),
            Self::Php => command.args(["-r", call, "--", FOLDER, &whole]),
            Self::Python => command.args(["-c", call, FOLDER, &whole]),
            Self::Bash => command
                .arg(format!("{FOLDER}/push.sh"))
                .arg(self.name(function))
                .args(words(function, arguments)),
        };
        command
    }

    const fn name(self, function: Function) -> &'static str {
        match (self, function) {
            (Self::Python, Function::AssignTechnician) => "assign_technician",
            (Self::Python, Function::UpdateBookingStatus) => "update_booking_status",
            (_, Function::AssignTechnician) => "assignTechnician",
            (_, Function::UpdateBookingStatus) => "updateBookingStatus",
        }
    }
}

/// The arguments as the shell's snippet takes them: first the booking's three ids.
fn words(function: Function, arguments: &[Value]) -> Vec<String> {
    let booking = &arguments[0];
    let ids = ["customerId", "bookingId", "trackId"].map(|id| booking[id].clone());
    let (technician, statuses) = match function {
        Function::AssignTechnician => (arguments.get(1), &[][..]),
        Function::UpdateBookingStatus => (arguments.get(3), &arguments[1..3]),
    };
    let name = technician.map(|technician| technician["name"].clone());
    let words = ids.iter().chain(statuses).chain(&name);
    let text = |word: &Value| {
        word.as_str()
            .map_or_else(|| word.to_string(), str::to_owned)
    };
    words.map(text).collect()
}

/// What the door does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Does {
    /// Lets it through.
    Pass,
    /// Lets it through, and loses the answer.
    LoseAnswer,
    /// Breaks off, and nothing comes through.
    BreakOff,
    /// Answers with this status, and a second to stay away.
    TurnAway(u16),
    /// Answers that it is busy, and with this `Retry-After`.
    Busy(&'static str),
}

/// A request that came to the door.
#[derive(Clone, Debug)]
struct Knock {
    at: Instant,
    did: Does,
    key: String,
    body: String,
}

/// Stands between a snippet and the API.
#[derive(Clone)]
struct Door {
    address: String,
    next: Arc<Mutex<VecDeque<Does>>>,
    knocks: Arc<Mutex<Vec<Knock>>>,
}

impl Door {
    async fn to(api: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let door = Self {
            address: listener.local_addr().unwrap().to_string(),
            next: Arc::default(),
            knocks: Arc::default(),
        };
        let open = door.clone();
        tokio::spawn(async move {
            let http = reqwest::Client::new();
            while let Ok((stream, _)) = listener.accept().await {
                open.answer(stream, &http, &api).await;
            }
        });
        door
    }

    async fn answer(&self, mut stream: TcpStream, http: &reqwest::Client, api: &str) {
        let does = self.next.lock().unwrap().pop_front().unwrap_or(Does::Pass);
        let at = Instant::now();
        let (head, body) = read_request(&mut stream).await;
        let header = |wanted: &str| {
            let mut lines = head.lines().filter_map(|line| line.split_once(": "));
            let found = lines.find(|(name, _)| name.eq_ignore_ascii_case(wanted));
            found.map(|(_, value)| value.to_owned()).unwrap_or_default()
        };
        self.knocks.lock().unwrap().push(Knock {
            at,
            did: does,
            key: header("idempotency-key"),
            body: body.clone(),
        });
        let pass = async || {
            let mut request = http.post(format!("{api}/api/Push/events")).body(body);
            for name in ["authorization", "content-type", "idempotency-key"] {
                request = request.header(name, header(name));
            }
            let answer = request.send().await.unwrap();
            (answer.status().as_u16(), answer.text().await.unwrap())
        };
        let turned_away = json!({"success": false, "message": "not now"}).to_string();
        let (status, more, text) = match does {
            Does::BreakOff => return,
            Does::Pass => {
                let (status, text) = pass().await;
                (status, String::new(), text)
            }
            Does::LoseAnswer => {
                pass().await;
                return;
            }
            Does::TurnAway(status) => (status, "Retry-After: 1\r\n".to_owned(), turned_away),
            Does::Busy(until) => (503, format!("Retry-After: {until}\r\n"), turned_away),
        };
        let length = text.len();
        let answer = format!(
            "HTTP/1.1 {status} Told\r\nContent-Type: application/json\r\n{more}Content-Length: {length}\r\n\
             Connection: close\r\n\r\n{text}"
        );
        // Whoever asked may be gone.
        drop(stream.write_all(answer.as_bytes()).await);
        drop(stream.shutdown().await);
    }

    fn does_next(&self, next: &[Does]) {
        *self.next.lock().unwrap() = next.iter().copied().collect();
        self.knocks.lock().unwrap().clear();
    }

    fn knocks(&self) -> Vec<Knock> {
        self.knocks.lock().unwrap().clone()
    }
}

/// The head and the body of a request that tells its length.
async fn read_request(stream: &mut TcpStream) -> (String, String) {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4_096];
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, _)) = text.split_once("\r\n\r\n") {
            let lower = head.to_ascii_lowercase();
            let length = lower.split("content-length: ").nth(1);
            let length = length.and_then(|rest| rest.lines().next()).unwrap_or("0");
            let body = &bytes[head.len() + 4..];
            if body.len() >= length.trim().parse().unwrap() {
                return (head.to_owned(), String::from_utf8(body.to_vec()).unwrap());
            }
        }
        let read = stream.read(&mut chunk).await.unwrap();
        assert!(read > 0, "the request broke off: {text}");
        bytes.extend_from_slice(&chunk[..read]);
    }
}

/// A caller in some language, and whom it tells.
struct Caller<'a> {
    stack: &'a Stack,
    language: Language,
    booking: Value,
    phone: Phone,
    door: Door,
}

impl<'a> Caller<'a> {
    async fn new(stack: &'a Stack, language: Language, customer: i64) -> Self {
        let phone = Device::android_fcm(&format!("{language:?}"));
        Self {
            stack,
            language,
            // Ids as a program has them: counted here, written there.
            booking: json!({"customerId": customer, "bookingId": 450 + customer, "trackId": format!("BID{customer}")}),
            phone: stack.register(customer, phone).await,
            door: Door::to(stack.apis[0].url()).await,
        }
    }

    async fn run(&self, function: Function, more: &[Value], door: &[Does]) -> Output {
        let arguments = [std::slice::from_ref(&self.booking), more].concat();
        let command = self.language.command(function, &arguments);
        self.ended(command, door).await
    }

    async fn ended(&self, mut command: Command, door: &[Does]) -> Output {
        self.door.does_next(door);
        command
            .env("PUSH_URL", format!("http://{}", self.door.address))
            .env("PUSH_API_KEY", Key::Send.secret())
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command.output().await.unwrap_or_else(|error| {
            panic!(
                "{command:?} cannot be run: {error}; `cargo xtask test` installs what is missing"
            )
        })
    }

    /// The answer that the function gives.
    async fn calls(&self, function: Function, more: &[Value], door: &[Does]) -> Value {
        let ended = self.run(function, more, door).await;
        let (out, err) = (text(&ended.stdout), text(&ended.stderr));
        assert!(ended.status.success(), "{:?}: {out}{err}", self.language);
        serde_json::from_str(&out).unwrap_or_else(|_| panic!("{:?}: {out}{err}", self.language))
    }

    /// It came as often as the door let it, each time as the same request, and stayed away as long as it was asked to.
    fn has_repeated_itself(&self, door: &[Does]) {
        let knocks = self.door.knocks();
        assert_eq!(knocks.len(), door.len(), "{:?}: {knocks:?}", self.language);
        for (before, after) in knocks.iter().zip(&knocks[1..]) {
            assert_eq!((&before.key, &before.body), (&after.key, &after.body));
            if matches!(before.did, Does::TurnAway(_)) {
                assert!(after.at - before.at >= Duration::from_secs(1), "{knocks:?}");
            }
        }
        assert!(!knocks[0].key.is_empty());
    }

    async fn story(&self) {
        let technician = json!({"name": "Zoë \"Z\" O'Neil\\ 🚗"});
        let door = [Does::TurnAway(503), Does::LoseAnswer, Does::Pass];
        let assigned = self.calls(
            Function::AssignTechnician,
            std::slice::from_ref(&technician),
            &door,
        );
        let assigned = assigned.await;
        self.has_repeated_itself(&door);
        self.was_told(&assigned, "Technician Assigned! 🚗").await;

        let change = [json!("Assigned"), json!("StartJourney"), technician];
        let door = [Does::BreakOff, Does::TurnAway(429), Does::Pass];
        let told = self.calls(Function::UpdateBookingStatus, &change, &door);
        let told = told.await;
        self.has_repeated_itself(&door);
        self.was_told(&told, "Technician is on the way! 🚗").await;

        let again = self
            .calls(Function::UpdateBookingStatus, &change, &[])
            .await;
        assert_eq!(
            (&again["status"], &again["reason"]),
            (&json!("ignored"), &json!("unchanged"))
        );

        // Without a technician, where the text names one: no other try would help.
        let nameless = [json!("StartJourney"), json!("Reached")];
        let refused = self
            .run(Function::UpdateBookingStatus, &nameless, &[])
            .await;
        let told = text(&refused.stderr) + &text(&refused.stdout);
        assert!(!refused.status.success(), "{:?}", self.language);
        assert!(told.contains("technician.name"), "{told}");
        assert_eq!(self.door.knocks().len(), 1, "{:?}", self.language);
        let done = [json!("Reached"), json!("Completed")];
        let told = self.calls(Function::UpdateBookingStatus, &done, &[]).await;
        self.was_told(&told, "Service Completed! 🎉").await;
    }

    async fn was_told(&self, answer: &Value, title: &str) {
        let id = answer["notificationId"].as_str();
        let id = id.unwrap_or_else(|| panic!("{:?}: {answer}", self.language));
        assert_eq!(self.stack.settled(id).await.status, "sent");
        let view = self.stack.notification(id).await;
        assert_eq!(view["title"], title);
        let name = view["data"]["techName"].as_str();
        assert!(
            name.is_none_or(|name| name == "Zoë \"Z\" O'Neil\\ 🚗"),
            "{name:?}"
        );
        assert_eq!(self.stack.sim.rings(&self.phone, id).await, 1);
        let shown = self.stack.sim.shown(&self.phone).await;
        assert_eq!((shown.len(), &shown[0]["title"]), (1, &json!(title)));
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn each_snippet_tells_once_whatever_the_way_does_to_it() {
    let stack = Stack::start().await;
    stack.all_ready().await;
    let stories = (1..).zip(LANGUAGES).map(async |(customer, language)| {
        let caller = Caller::new(&stack, language, customer).await;
        caller.story().await;
    });
    futures::future::join_all(stories).await;
    let told = stack.database.count("notification_history").await;
    assert_eq!(told, 3 * 4);
}

/// Calls the shell's snippet, writes down how long it would wait, and what a list of processes would show of its curl.
const WATCHED: &str = "\
    set -eu; . \"$0\"; \
    sleep() { echo \"sleep $1\" >&2; }; \
    curl() { echo \"curl $*\" >&2; command curl \"$@\"; }; \
    assignTechnician 1 451 BID1 Zoe";

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_shell_stays_away_for_half_a_minute_at_most_and_shows_no_names() {
    let stack = Stack::start().await;
    stack.all_ready().await;
    let caller = Caller::new(&stack, Language::Bash, 1).await;
    let mut command = Command::new("bash");
    command.args(["-c", WATCHED, &format!("{FOLDER}/push.sh")]);
    let door = [
        Does::Busy("3600"),
        Does::Busy("Wed, 21 Oct 2099 07:28:00 GMT"),
        Does::Busy("99999999999999999999"),
        Does::Busy("08"),
        Does::Pass,
    ];
    let ended = caller.ended(command, &door).await;
    let (out, err) = (text(&ended.stdout), text(&ended.stderr));
    assert!(ended.status.success(), "{out}{err}");
    let waits: Vec<_> = err
        .lines()
        .filter_map(|line| line.strip_prefix("sleep "))
        .collect();
    assert_eq!(waits, ["30", "2", "30", "08"]);
    let shown: Vec<_> = err
        .lines()
        .filter(|line| line.starts_with("curl "))
        .collect();
    assert_eq!(shown.len(), door.len(), "{err}");
    for secret in ["Zoe", "BID1", Key::Send.secret()] {
        assert!(!err.contains(secret), "{err}");
    }
    caller.has_repeated_itself(&door);
    let answer: Value = serde_json::from_str(&out).unwrap();
    let id = answer["notificationId"].as_str().unwrap();
    assert_eq!(stack.settled(id).await.status, "sent");
    assert_eq!(stack.sim.rings(&caller.phone, id).await, 1);
}
