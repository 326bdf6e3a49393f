//! The phones: whose they are, with which tokens, and since when. All that their owners did to them is remembered,
//! because it decides who may be shown what.

use std::collections::HashMap;
use std::sync::Mutex;

use serde_json::{Value, json};

use super::dice::Dice;
use super::journal::now_ms;

/// In every title, text, data value and token: what a log must never contain.
pub(crate) const MARK: &str = "Zq7chaosZq7";

/// A customer's phone is registered, moved to another customer (somebody else signs in), or unregistered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    /// Whose it is from then on.
    pub(crate) to: Option<i64>,
    /// When the first request was sent.
    pub(crate) started_ms: u64,
    /// When the answer was there; `None`: it never was.
    pub(crate) acked_ms: Option<u64>,
}

/// Which provider a phone's app uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    AndroidFcm,
    IosExpo,
    AndroidBoth,
}

/// All that is known of a phone.
#[derive(Clone, Debug)]
pub(crate) struct Life {
    pub(crate) changes: Vec<Change>,
    /// When which of its tokens died.
    pub(crate) deaths: Vec<(u64, String)>,
}

#[derive(Debug)]
struct Phone {
    kind: Kind,
    owner: i64,
    fcm: Option<String>,
    expo: Option<String>,
    /// How often it got new tokens.
    generation: u64,
    life: Life,
}

/// All phones.
#[derive(Debug)]
pub(crate) struct Phones {
    seed: u64,
    book: Mutex<Book>,
    /// Held while something happens to a phone.
    pub(crate) busy: Vec<tokio::sync::Mutex<()>>,
}

#[derive(Debug, Default)]
struct Book {
    phones: Vec<Phone>,
    by_token: HashMap<String, usize>,
}

impl Phones {
    /// One to three for each customer from 1 on.
    pub(crate) fn of_customers(seed: u64, customers: i64) -> Self {
        let mut dice = Dice::new(seed, "phones", 0);
        let mut book = Book::default();
        for owner in 1..=customers {
            for _ in 0..=dice.weigh(&[(0, 45), (1, 35), (2, 20)]) {
                let kind = dice.weigh(&[
                    (Kind::AndroidFcm, 50),
                    (Kind::IosExpo, 30),
                    (Kind::AndroidBoth, 20),
                ]);
                book.add(seed, kind, owner);
            }
        }
        let busy = book.phones.iter().map(|_| tokio::sync::Mutex::default());
        Self {
            seed,
            busy: busy.collect(),
            book: Mutex::new(book),
        }
    }

    fn book(&self) -> std::sync::MutexGuard<'_, Book> {
        self.book.lock().expect("nobody panics with the book")
    }

    pub(crate) fn count(&self) -> usize {
        self.busy.len()
    }

    pub(crate) fn owner(&self, phone: usize) -> i64 {
        self.book().phones[phone].owner
    }

    /// The body of its registration for a customer.
    pub(crate) fn registration(&self, phone: usize, customer: i64) -> Value {
        let book = self.book();
        let state = &book.phones[phone];
        let platform = match state.kind {
            Kind::AndroidFcm | Kind::AndroidBoth => "android",
            Kind::IosExpo => "ios",
        };
        let mut body = json!({"userType": "customer", "id": customer, "platform": platform, "deviceId": format!("phone-{phone}")});
        if let Some(token) = &state.fcm {
            body["fcmToken"] = token.as_str().into();
        }
        if let Some(token) = &state.expo {
            body["expoPushToken"] = token.as_str().into();
        }
        body
    }

    /// Something is about to change.
    pub(crate) fn begin(&self, phone: usize, to: Option<i64>) {
        let change = Change {
            to,
            started_ms: now_ms(),
            acked_ms: None,
        };
        self.book().phones[phone].life.changes.push(change);
    }

    /// It was answered.
    pub(crate) fn acked(&self, phone: usize) {
        let state = &mut self.book().phones[phone];
        if let Some(change) = state.life.changes.last_mut() {
            change.acked_ms = Some(now_ms());
            state.owner = change.to.unwrap_or(state.owner);
        }
    }

    /// Its tokens are worth nothing from now on: which they are, FCM's first.
    pub(crate) fn die(&self, phone: usize) -> (Option<String>, Option<String>) {
        let state = &mut self.book().phones[phone];
        let tokens = (state.fcm.clone(), state.expo.clone());
        let dead = [&tokens.0, &tokens.1].into_iter().flatten();
        let dead: Vec<_> = dead.map(|token| (now_ms(), token.clone())).collect();
        state.life.deaths.extend(dead);
        tokens
    }

    /// The app gets new tokens from the providers.
    pub(crate) fn renew_tokens(&self, phone: usize) {
        let mut book = self.book();
        book.phones[phone].generation += 1;
        book.give_tokens(self.seed, phone);
    }

    /// Which phone has, or had, which token.
    pub(crate) fn tokens(&self) -> HashMap<String, usize> {
        self.book().by_token.clone()
    }

    /// What happened to all of them.
    pub(crate) fn lives(&self) -> Vec<Life> {
        let book = self.book();
        book.phones.iter().map(|phone| phone.life.clone()).collect()
    }
}

impl Book {
    fn add(&mut self, seed: u64, kind: Kind, owner: i64) {
        self.phones.push(Phone {
            kind,
            owner,
            fcm: None,
            expo: None,
            generation: 0,
            life: Life {
                changes: Vec::new(),
                deaths: Vec::new(),
            },
        });
        self.give_tokens(seed, self.phones.len() - 1);
    }

    fn give_tokens(&mut self, seed: u64, phone: usize) {
        let state = &mut self.phones[phone];
        let number = state.generation << 32 | phone as u64;
        let mut dice = Dice::new(seed, "tokens", number);
        let fcm = format!("c{}:APA91b{MARK}{}", dice.letters(21), dice.letters(90));
        let expo = format!("ExponentPushToken[{MARK}{}]", dice.letters(11));
        let (has_fcm, has_expo) = match state.kind {
            Kind::AndroidFcm => (true, false),
            Kind::IosExpo => (false, true),
            Kind::AndroidBoth => (true, true),
        };
        state.fcm = has_fcm.then_some(fcm);
        state.expo = has_expo.then_some(expo);
        for token in [&state.fcm, &state.expo].into_iter().flatten() {
            self.by_token.insert(token.clone(), phone);
        }
    }
}
