//! The history: what support looks at, page by page or as a file.

use std::collections::BTreeSet;

use push_tests::{Device, Key, Provider, Stack, eventually, within};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const HISTORY: &str = "/api/Push/history";

/// Enough for a file that no buffer on the way can hold.
const MANY: u32 = 20_000;

/// That many notifications that were sent, counted as whoever inserts them has to.
async fn many(stack: &Stack) {
    stack.counters_restart();
    let insert = format!(
        "INSERT INTO notification_history (notification_id, customer_id, notification_type, title, body, status, \
             fcm_result, expo_result, created_at, sent_at, completed_at) \
         SELECT UNHEX(LEFT(SHA2(seq, 256), 32)), 7, 'many', CONCAT('=', seq), REPEAT('b', 1000), 'sent', 'success', \
             'not_sent', NOW(3), NOW(3), NOW(3) FROM seq_1_to_{MANY}"
    );
    stack.database.execute(&insert).await;
    let count = format!(
        "INSERT INTO notification_counter_changes (changes) VALUES (CONCAT('[{{\"hour\":', UNIX_TIMESTAMP() DIV 3600, \
         ',\"type\":\"many\",\"counts\":{{\"accepted\":{MANY},\"sent\":{MANY},\"fcm.success\":{MANY},\"took.0\":{MANY}}}}}]'))"
    );
    stack.database.execute(&count).await;
}

/// A file that is being read as slowly as its reader likes.
struct Reader(TcpStream);

impl Reader {
    /// Asks for it, and reads the head of the answer.
    async fn ask(stack: &Stack, query: &str) -> (Self, String) {
        let url = stack.apis[0].url();
        let address = url.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!(
            "GET {HISTORY}?{query} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {}\r\n\r\n",
            Key::Read.secret()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        (Self(stream), String::from_utf8(head).unwrap())
    }

    /// Whether the file comes to its end: that of a chunked body.
    async fn comes_to_its_end(mut self) -> bool {
        let mut rest = Vec::new();
        let read = self.0.read_to_end(&mut rest).await;
        read.is_ok() && rest.ends_with(b"\r\n0\r\n\r\n")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn notifications_are_listed_by_filter_and_page_by_page() {
    let stack = Stack::start().await;
    stack.all_ready().await;
    stack.register(1, Device::android_fcm("good")).await;
    let bad = stack.register(2, Device::android_fcm("bad")).await;
    stack
        .sim
        .always(Provider::Fcm, bad.fcm(), json!({"case": "unregistered"}))
        .await;
    stack.know_customer(3).await;
    let mut ids = Vec::new();
    for (customer, kind) in [(1, "a"), (2, "a"), (3, "b"), (1, "b"), (1, "a")] {
        let sent = stack
            .send(customer)
            .with("type", kind)
            .wait(20)
            .answer()
            .await;
        ids.push(sent.expect(200).id());
    }
    let list = async |query: &str| {
        let answer = stack
            .api()
            .get(&format!("{HISTORY}?{query}"))
            .key(Key::Read)
            .answer()
            .await;
        answer.expect(200).json
    };
    let found = async |query: &str| -> Vec<usize> {
        let items = list(query).await["items"].as_array().unwrap().clone();
        items
            .iter()
            .map(|item| {
                ids.iter()
                    .position(|id| item["notificationId"] == id.as_str())
                    .unwrap()
            })
            .collect()
    };
    assert_eq!(found("").await, [4, 3, 2, 1, 0], "the newest first");
    assert_eq!(found("customerId=1").await, [4, 3, 0]);
    assert_eq!(found("status=sent&type=a").await, [4, 0]);
    assert_eq!(found("status=failed").await, [1]);
    assert_eq!(found("reason=no_active_device").await, [2]);
    assert_eq!(found("type=b").await, [3, 2]);
    assert_eq!(found("type=b&customerId=3&status=suppressed").await, [2]);
    assert_eq!(found("status=pending").await, [0_usize; 0]);
    let item = list("status=failed").await["items"][0].clone();
    let view = stack.notification(&ids[1]).await;
    for field in [
        "customerId",
        "type",
        "title",
        "body",
        "data",
        "status",
        "reason",
        "fcmResult",
        "expoResult",
        "attempts",
        "priority",
        "collapseKey",
        "createdAt",
        "sendAt",
        "expiresAt",
        "completedAt",
        "openedAt",
    ] {
        assert_eq!(item[field], view[field], "{field}");
    }
    assert!(item.get("timeline").is_none() && item.get("deliveries").is_none());
    let times = format!(
        "from={}&to={}",
        stack.notification(&ids[1]).await["createdAt"]
            .as_str()
            .unwrap(),
        stack.notification(&ids[3]).await["createdAt"]
            .as_str()
            .unwrap()
    );
    assert_eq!(found(&times).await, [2, 1], "the end does not count");

    // What comes meanwhile moves no page.
    let first = list("limit=2").await;
    assert_eq!(stack.send(1).wait(20).answer().await.status, 200);
    let cursor = first["nextCursor"].as_str().unwrap().to_owned();
    assert_eq!(found(&format!("limit=2&cursor={cursor}")).await, [2, 1]);
    let second = list(&format!("limit=2&cursor={cursor}")).await;
    let cursor = second["nextCursor"].as_str().unwrap();
    let last = list(&format!("limit=2&cursor={cursor}")).await;
    assert_eq!(
        (last["items"].as_array().unwrap().len(), &last["nextCursor"]),
        (1, &Value::Null)
    );

    let call = |query: &str| stack.api().get(&format!("{HISTORY}?{query}"));
    let wrong = call("limit=201&status=x&cursor=x&customerId=x")
        .answer()
        .await
        .expect(400);
    assert_eq!(
        wrong.wrong_fields(),
        ["cursor", "customerId", "limit", "status"]
    );
    assert_eq!(call("").key(Key::Send).answer().await.status, 403);
    assert_eq!(call("").anonymous().answer().await.status, 401);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_history_as_a_file_holds_all_and_no_formula() {
    let stack = Stack::start().await;
    stack.all_ready().await;
    many(&stack).await;
    let title = "=HYPERLINK(\"http://x\"), \"quoted\"\r\nand a line 🚗";
    stack.know_customer(1).await;
    let id = stack
        .send(1)
        .with("title", title)
        .wait(20)
        .answer()
        .await
        .expect(200)
        .id();
    let answer = stack
        .api()
        .call(Method::GET, "/api/push/history")
        .header("accept", "text/csv")
        .answer()
        .await
        .expect(200);
    assert_eq!(
        answer.header("content-type"),
        "text/csv; charset=utf-8; header=present"
    );
    let name = answer.header("content-disposition");
    assert!(
        name.starts_with("attachment; filename=\"notifications-") && name.ends_with(".csv\""),
        "{name}"
    );
    let (head, rest) = answer.text.split_once("\r\n").unwrap();
    assert!(
        head.starts_with("notificationId,customerId,type,status,reason,"),
        "{head}"
    );
    // The newest one first, quoted as RFC 4180 says, and no formula.
    assert!(rest.starts_with(&id), "{}", &rest[..200]);
    assert!(rest.contains("\"'=HYPERLINK(\"\"http://x\"\"), \"\"quoted\"\"\r\nand a line 🚗\""));
    let titles: BTreeSet<&str> = rest
        .lines()
        .filter_map(|line| line.split(",'=").nth(1)?.split(',').next())
        .collect();
    assert_eq!(titles.len(), MANY as usize, "each of them, once");
    let some = stack
        .api()
        .get(&format!("{HISTORY}?format=csv&limit=700&type=many"))
        .answer()
        .await;
    assert_eq!(some.expect(200).text.lines().count(), 701);
    let none = stack
        .api()
        .get(&format!("{HISTORY}?format=csv&status=failed"))
        .answer()
        .await;
    assert_eq!(none.expect(200).text.lines().count(), 1);
    assert_eq!(
        stack
            .api()
            .get(&format!("{HISTORY}?format=xml"))
            .answer()
            .await
            .wrong_fields(),
        ["format"]
    );
}

/// Readers that stand still keep neither a connection to the database nor the end of the program waiting.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn slow_readers_of_files_are_in_nobodys_way() {
    let mut stack = Stack::with()
        .env_api("DATABASE_CONNECTIONS", "2")
        .start()
        .await;
    stack.all_ready().await;
    many(&stack).await;
    let mut readers = Vec::new();
    for _ in 0..4 {
        let (reader, head) = Reader::ask(&stack, "format=csv").await;
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        readers.push(reader);
    }
    let page = stack
        .api()
        .get(&format!("{HISTORY}?limit=1"))
        .answer()
        .await
        .expect(200);
    assert_eq!(page.json["items"].as_array().unwrap().len(), 1);
    // As many as that at a time; whoever goes away makes room.
    let one_more = async || {
        stack
            .api()
            .get(&format!("{HISTORY}?format=csv&limit=1"))
            .answer()
            .await
    };
    assert_eq!(one_more().await.expect(503).error_code(), "overloaded");
    readers.pop();
    eventually("there is room again", async || {
        (one_more().await.status == 200).then_some(())
    })
    .await;
    let at_once = within(std::time::Duration::from_secs(15), async || {
        Some(stack.terminate_api().await)
    })
    .await;
    assert_eq!(at_once, Some(Some(0)));
    for reader in readers {
        assert!(
            !reader.comes_to_its_end().await,
            "half a file looks like a whole one"
        );
    }
    stack.start_api().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_file_that_breaks_off_does_not_look_complete() {
    let stack = Stack::with().through_links().start().await;
    stack.all_ready().await;
    many(&stack).await;
    let (whole, _) = Reader::ask(&stack, "format=csv&limit=1000").await;
    assert!(whole.comes_to_its_end().await);
    let (half, head) = Reader::ask(&stack, "format=csv").await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    stack.links().api_database.cut();
    assert!(!half.comes_to_its_end().await);
    // One that has not begun is told.
    let told = stack
        .api()
        .get(&format!("{HISTORY}?format=csv"))
        .answer()
        .await;
    assert_eq!(told.expect(503).error_code(), "database_unavailable");
    stack.links().restore();
    stack.all_ready().await;
}
