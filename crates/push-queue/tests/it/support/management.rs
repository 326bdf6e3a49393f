//! The management API, as far as needed. Blocking: a call takes some ten milliseconds.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

pub struct Management {
    host_and_port: String,
    credentials: String,
}

impl Management {
    pub fn from_env() -> Self {
        let url = super::env("PUSH_TEST_RABBIT_MANAGEMENT_URL");
        let rest = url
            .strip_prefix("http://")
            .expect("PUSH_TEST_RABBIT_MANAGEMENT_URL is http://…");
        let (credentials, host_and_port) = rest
            .trim_end_matches('/')
            .split_once('@')
            .expect("it has user:password@");
        Self {
            host_and_port: host_and_port.to_owned(),
            credentials: credentials.to_owned(),
        }
    }

    pub fn create_vhost(&self, vhost: &str) {
        self.expect("PUT", &format!("vhosts/{}", encode(vhost)), &json!({}));
        self.permit(vhost, ".*");
    }

    /// Blunt on purpose: it also runs while a test fails.
    pub fn delete_vhost(&self, vhost: &str) {
        let _ = self.call("DELETE", &format!("vhosts/{}", encode(vhost)), &Value::Null);
    }

    /// What our user may do there, by a pattern of names.
    pub fn permit(&self, vhost: &str, names: &str) {
        let user = self.credentials.split(':').next().unwrap();
        let path = format!("permissions/{}/{user}", encode(vhost));
        self.expect(
            "PUT",
            &path,
            &json!({"configure": names, "write": names, "read": names}),
        );
    }

    pub fn create_queue(&self, vhost: &str, queue: &str, arguments: &Value) {
        let definition = json!({"durable": true, "arguments": arguments});
        self.expect(
            "PUT",
            &format!("queues/{}/{queue}", encode(vhost)),
            &definition,
        );
    }

    pub fn delete_queue(&self, vhost: &str, queue: &str) {
        self.expect(
            "DELETE",
            &format!("queues/{}/{queue}", encode(vhost)),
            &Value::Null,
        );
    }

    pub fn delete_exchange(&self, vhost: &str, exchange: &str) {
        self.expect(
            "DELETE",
            &format!("exchanges/{}/{exchange}", encode(vhost)),
            &Value::Null,
        );
    }

    /// By a policy.
    pub fn limit_queue(&self, vhost: &str, queue: &str, messages: u32) {
        let definition = json!({
            "pattern": format!("^{queue}$"), "apply-to": "queues", "definition": {"max-length": messages},
        });
        self.expect(
            "PUT",
            &format!("policies/{}/limit", encode(vhost)),
            &definition,
        );
    }

    /// Takes a message off a queue, with all of its envelope.
    pub fn get_message(&self, vhost: &str, queue: &str) -> Value {
        let how = json!({"count": 1, "ackmode": "ack_requeue_false", "encoding": "auto"});
        self.expect(
            "POST",
            &format!("queues/{}/{queue}/get", encode(vhost)),
            &how,
        )[0]
        .take()
    }

    /// Puts any bytes into a queue, with any properties.
    pub fn put_message(&self, vhost: &str, queue: &str, properties: &Value, payload: &[u8]) {
        let message = json!({
            "properties": properties,
            "routing_key": queue,
            "payload": BASE64_STANDARD.encode(payload),
            "payload_encoding": "base64",
        });
        let path = format!("exchanges/{}/amq.default/publish", encode(vhost));
        let answer = self.expect("POST", &path, &message);
        assert_eq!(answer["routed"], true);
    }

    pub fn list(&self, what: &str, vhost: &str) -> Vec<Value> {
        let items = self.expect("GET", &format!("{what}/{}", encode(vhost)), &Value::Null);
        items.as_array().unwrap().clone()
    }

    fn expect(&self, method: &str, path: &str, body: &Value) -> Value {
        let (status, answer) = self.call(method, path, body).unwrap();
        assert!(
            (200..300).contains(&status),
            "{method} {path}: {status} {answer}"
        );
        serde_json::from_str(&answer).unwrap_or(Value::Null)
    }

    /// HTTP/1.0, so that the answer is neither chunked nor kept open.
    fn call(&self, method: &str, path: &str, body: &Value) -> std::io::Result<(u16, String)> {
        let mut socket = TcpStream::connect(&self.host_and_port)?;
        socket.set_read_timeout(Some(Duration::from_secs(30)))?;
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let authorization = BASE64_STANDARD.encode(&self.credentials);
        write!(
            socket,
            "{method} /api/{path} HTTP/1.0\r\nAuthorization: Basic {authorization}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|code| code.parse().ok())
            .unwrap_or(0);
        Ok((status, body.to_owned()))
    }
}

/// Percent-encoding of a URL's path segment.
pub fn encode(segment: &str) -> String {
    segment.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-._".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
        encoded
    })
}
