//! A real browser, which does what people do with the console: by the WebDriver protocol (W3C), of which a dozen commands are
//! needed. The clients that there are change how JSON is kept in the whole workspace, or bring other licences.

use std::panic::AssertUnwindSafe;
use std::process::Stdio;

use futures::FutureExt as _;
use reqwest::{Client, Method};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::process::Command;

use crate::python::root;
use crate::wait::eventually;

/// How a page is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// The room for it in CSS pixels, width and height.
    pub size: (u32, u32),
    /// Whether the reader likes it dark.
    pub dark: bool,
}

impl Look {
    /// At a desk.
    pub const DESK: Self = Self {
        size: (1280, 900),
        dark: false,
    };
    /// At a desk, at night.
    pub const NIGHT: Self = Self {
        dark: true,
        ..Self::DESK
    };
    /// On a phone.
    pub const PHONE: Self = Self {
        size: (390, 844),
        dark: false,
    };
}

/// A page in a browser.
#[derive(Clone, Debug)]
pub struct Browser {
    http: Client,
    /// Of the session, at the driver.
    address: String,
}

/// By what name an element is handed over (WebDriver, section 12).
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

impl Browser {
    /// Opens a browser, does `what` with it, and closes it, however that ends.
    pub async fn with<T>(look: Look, what: impl AsyncFnOnce(&Self) -> T) -> T {
        let port = free_port().await;
        // Both leave files where they may.
        let folder = root().join(format!("target/browser/{port}"));
        std::fs::create_dir_all(&folder).expect("a folder for the browser");
        let mut process = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            .env("TMPDIR", &folder)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("chromedriver (Debian: chromium-driver) starts");
        let browser = eventually("the browser is there", async || {
            connect(port, look).await.ok()
        })
        .await;
        let done = AssertUnwindSafe(what(&browser)).catch_unwind().await;
        let closed = browser.command(Method::DELETE, "", json!({})).await;
        closed.expect("the browser can be closed");
        process.kill().await.expect("chromedriver ends");
        // Parts of the browser write until they are gone.
        eventually("the browser's files are gone", async || {
            std::fs::remove_dir_all(&folder).ok()
        })
        .await;
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Opens an address.
    pub async fn open(&self, address: &str) {
        let opened = self.command(Method::POST, "/url", json!({"url": address}));
        opened.await.expect("an address");
    }

    /// Waits for an element whose text has this in it.
    pub async fn sees(&self, css: &str, text: &str) {
        eventually(&format!("{css} says {text:?}"), async || {
            let script = "return [...document.querySelectorAll(arguments[0])].some(e => e.textContent.includes(arguments[1]))";
            let found = self.run(script, vec![json!(css), json!(text)]).await;
            (found == json!(true)).then_some(())
        })
        .await;
    }

    /// Waits until there is no such element.
    pub async fn misses(&self, css: &str) {
        eventually(&format!("{css} is not there"), async || {
            let script = "return document.querySelector(arguments[0]) === null";
            (self.run(script, vec![json!(css)]).await == json!(true)).then_some(())
        })
        .await;
    }

    /// Waits until such an element has the focus.
    pub async fn focuses(&self, css: &str) {
        eventually(&format!("{css} has the focus"), async || {
            let script = "return document.activeElement?.matches(arguments[0]) ?? false";
            (self.run(script, vec![json!(css)]).await == json!(true)).then_some(())
        })
        .await;
    }

    /// Waits until an element says nothing any more.
    pub async fn hears_nothing_of(&self, css: &str) {
        eventually(&format!("{css} is silent"), async || {
            let script = "return [...document.querySelectorAll(arguments[0])].every(e => e.textContent === '')";
            (self.run(script, vec![json!(css)]).await == json!(true)).then_some(())
        })
        .await;
    }

    /// Clicks the first element of these whose text has this in it, once it is there and can be clicked.
    pub async fn click(&self, css: &str, text: &str) {
        eventually(&format!("{css} {text:?} can be clicked"), async || {
            for element in self.elements(css).await? {
                let says = self.ask(&element, "text").await?;
                let says = says.as_str().unwrap_or_default().contains(text);
                if says && self.ask(&element, "enabled").await? == true {
                    return self.act(&element, "click", json!({})).await;
                }
            }
            None
        })
        .await;
    }

    /// Writes into a field, in the place of what stands there.
    pub async fn fill(&self, css: &str, text: &str) {
        eventually(&format!("{css} can be filled"), async || {
            let field = self.elements(css).await?.into_iter().next()?;
            self.act(&field, "clear", json!({})).await?;
            self.act(&field, "value", json!({"text": text})).await
        })
        .await;
    }

    /// Presses keys, wherever the focus is.
    pub async fn press(&self, keys: &str) {
        let focused = self
            .command(Method::GET, "/element/active", json!({}))
            .await;
        let focused = path(&focused.expect("something has the focus"));
        let pressed = self.act(&focused, "value", json!({"text": keys})).await;
        pressed.expect("it takes keys");
    }

    /// The cookies that go with the page that is open.
    pub async fn cookies(&self) -> Value {
        let told = self.command(Method::GET, "/cookie", json!({})).await;
        told.unwrap_or_else(|error| panic!("{error}"))
    }

    /// What a script returns.
    pub async fn run(&self, script: &str, arguments: Vec<Value>) -> Value {
        let script = json!({"script": script, "args": arguments});
        let answer = self.command(Method::POST, "/execute/sync", script).await;
        answer.unwrap_or_else(|error| panic!("{error}"))
    }

    /// The same of one that takes its time, and hands its answer to its last argument.
    pub async fn run_async(&self, script: &str) -> Value {
        let script = json!({"script": script, "args": []});
        let answer = self.command(Method::POST, "/execute/async", script).await;
        answer.unwrap_or_else(|error| panic!("{error}"))
    }

    /// The paths of all such elements.
    async fn elements(&self, css: &str) -> Option<Vec<String>> {
        let wanted = json!({"using": "css selector", "value": css});
        let found = self.command(Method::POST, "/elements", wanted).await.ok()?;
        Some(found.as_array()?.iter().map(path).collect())
    }

    async fn ask(&self, element: &str, what: &str) -> Option<Value> {
        let path = format!("{element}/{what}");
        self.command(Method::GET, &path, json!({})).await.ok()
    }

    async fn act(&self, element: &str, what: &str, how: Value) -> Option<()> {
        let path = format!("{element}/{what}");
        self.command(Method::POST, &path, how).await.ok().map(drop)
    }

    /// What the driver answers to a command, or why it did not do it.
    async fn command(&self, method: Method, path: &str, body: Value) -> Result<Value, String> {
        command(&self.http, method, &format!("{}{path}", self.address), body).await
    }
}

/// The path of an element that was handed over.
fn path(element: &Value) -> String {
    let id = element[ELEMENT].as_str().unwrap_or_default();
    format!("/element/{id}")
}

async fn command(
    http: &Client,
    method: Method,
    address: &str,
    body: Value,
) -> Result<Value, String> {
    let asked = http.request(method.clone(), address);
    let asked = if method == Method::POST {
        asked.json(&body)
    } else {
        asked
    };
    let answer = asked.send().await.map_err(|error| error.to_string())?;
    let well = answer.status().is_success();
    let mut answer: Value = answer.json().await.map_err(|error| error.to_string())?;
    let value = answer["value"].take();
    if well {
        Ok(value)
    } else {
        Err(value.to_string())
    }
}

async fn connect(port: u16, look: Look) -> Result<Browser, String> {
    let (width, height) = look.size;
    let scheme = u8::from(!look.dark);
    let arguments = json!([
        "--headless=new",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--hide-scrollbars",
        format!("--window-size={width},{height}"),
        format!("--blink-settings=preferredColorScheme={scheme}"),
    ]);
    let options = json!({
        "args": arguments,
        // A window cannot be as small as a phone.
        "mobileEmulation": {"deviceMetrics": {"width": width, "height": height, "pixelRatio": 1.0, "touch": false, "mobile": false}},
    });
    let wanted = json!({"capabilities": {"alwaysMatch": {"browserName": "chrome", "acceptInsecureCerts": true, "goog:chromeOptions": options}}});
    let (http, driver) = (Client::new(), format!("http://127.0.0.1:{port}/session"));
    let session = command(&http, Method::POST, &driver, wanted).await?;
    let id = session["sessionId"].as_str().unwrap_or_default();
    Ok(Browser {
        address: format!("{driver}/{id}"),
        http,
    })
}

/// One that nobody uses at the moment.
async fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    listener.local_addr().expect("its address").port()
}
