//! A real browser, which does what people do with the console.

use std::panic::AssertUnwindSafe;
use std::process::Stdio;

use futures::FutureExt as _;
use serde_json::{Value, json};
use thirtyfour::error::{WebDriverError, WebDriverResult};
use thirtyfour::{By, Capabilities, WebDriver};
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
    driver: WebDriver,
}

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
        let driver = eventually("the browser is there", async || {
            connect(port, look).await.ok()
        })
        .await;
        let browser = Self { driver };
        let done = AssertUnwindSafe(what(&browser)).catch_unwind().await;
        let closed = browser.driver.clone().quit().await;
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
        self.driver.goto(address).await.expect("an address");
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
            for element in self.driver.find_all(By::Css(css)).await.ok()? {
                let says = element.text().await.ok()?;
                if says.contains(text) && element.is_enabled().await.ok()? {
                    return element.click().await.ok();
                }
            }
            None
        })
        .await;
    }

    /// Writes into a field, in the place of what stands there.
    pub async fn fill(&self, css: &str, text: &str) {
        eventually(&format!("{css} can be filled"), async || {
            let field = self.driver.find(By::Css(css)).await.ok()?;
            field.clear().await.ok()?;
            field.send_keys(text).await.ok()
        })
        .await;
    }

    /// Presses keys, wherever the focus is.
    pub async fn press(&self, keys: &str) {
        let focused = self.driver.active_element().await;
        let focused = focused.expect("something has the focus");
        focused.send_keys(keys).await.expect("it takes keys");
    }

    /// What a script returns.
    pub async fn run(&self, script: &str, arguments: Vec<Value>) -> Value {
        let answer = self.driver.execute(script, arguments).await;
        let answer = answer.map(|answer| answer.json().clone());
        answer.unwrap_or_else(|error: WebDriverError| panic!("{script}: {error}"))
    }

    /// The same of one that takes its time, and hands its answer to its last argument.
    pub async fn run_async(&self, script: &str) -> Value {
        let answer = self.driver.execute_async(script, Vec::new()).await;
        let answer = answer.map(|answer| answer.json().clone());
        answer.unwrap_or_else(|error: WebDriverError| panic!("{error}"))
    }
}

async fn connect(port: u16, look: Look) -> WebDriverResult<WebDriver> {
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
    let mut capabilities = Capabilities::new();
    capabilities.set("browserName", json!("chrome"))?;
    capabilities.set("goog:chromeOptions", options)?;
    WebDriver::new(format!("http://127.0.0.1:{port}"), capabilities).await
}

/// One that nobody uses at the moment.
async fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    listener.local_addr().expect("its address").port()
}
