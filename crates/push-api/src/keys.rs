//! API keys: who may call, and what. Kept as SHA-256 hashes, so that a memory dump or a debug line
//! holds no secret.
//!
//! A plain hash is enough for keys that are made by machine; it would not be for passwords.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use ring::rand::{SecureRandom as _, SystemRandom};
use sha2::{Digest, Sha256};
use subtle::{ConditionallySelectable, ConstantTimeEq};

/// What a key may be allowed to do. None implies another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Registering devices.
    Register,
    /// Sending notifications.
    Send,
    /// Reading what became of notifications.
    Read,
    /// What operators do.
    Admin,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 4] = [Self::Register, Self::Send, Self::Read, Self::Admin];

    /// Its spelling in `API_KEYS`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Register => "register",
            Self::Send => "send",
            Self::Read => "read",
            Self::Admin => "admin",
        }
    }

    const fn bit(self) -> u8 {
        match self {
            Self::Register => 1,
            Self::Send => 2,
            Self::Read => 4,
            Self::Admin => 8,
        }
    }

    fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == text)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Some of the scopes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scopes(u8);

impl Scopes {
    /// These.
    #[must_use]
    pub const fn of(scopes: &[Scope]) -> Self {
        let (mut bits, mut rest) = (0, scopes);
        while let [scope, others @ ..] = rest {
            bits |= scope.bit();
            rest = others;
        }
        Self(bits)
    }

    /// Whether this one is among them.
    #[must_use]
    pub const fn contains(self, scope: Scope) -> bool {
        self.0 & scope.bit() != 0
    }
}

/// A shorter secret can be found by trying, by whoever gets hold of its hash.
const SECRET_BYTES_WANTED: usize = 16;

/// The width of the columns that say who did something.
const NAME_BYTES_MAX: usize = 64;

/// One key.
#[derive(Clone, Debug)]
pub struct ApiKey {
    name: Arc<str>,
    scopes: Scopes,
    hash: [u8; 32],
    /// Its secret is known to be short.
    weak: bool,
}

impl ApiKey {
    /// What logs call it.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// What it may do.
    #[must_use]
    pub fn scopes(&self) -> Scopes {
        self.scopes
    }

    /// Tells this secret from the name's others, and opens nothing: SHA-256 of its hash.
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 32] {
        Sha256::digest(self.hash).into()
    }
}

/// All keys.
#[derive(Clone, Debug)]
pub struct ApiKeys(Vec<ApiKey>);

impl ApiKeys {
    /// Reads `name:scope+scope:secret`, separated by commas or lines; a secret in clear, or as `sha256:<hex>`. A name may
    /// have several secrets, for as long as one takes another's place. A line that begins with `#` is a comment.
    ///
    /// # Errors
    /// Every problem, none with a secret in it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (mut keys, mut problems) = (Vec::new(), Vec::new());
        let (mut names, mut hashes) = (HashMap::new(), HashSet::new());
        let lines = text.lines().map(str::trim);
        let lines = lines.filter(|line| !line.starts_with('#'));
        let entries = lines.flat_map(|line| line.split(',')).map(str::trim);
        for (number, entry) in entries.filter(|entry| !entry.is_empty()).enumerate() {
            match parse_key(entry) {
                Err(problem) => problems.push(format!("entry {} {problem}", number + 1)),
                Ok(key) if *names.entry(key.name.clone()).or_insert(key.scopes) != key.scopes => {
                    problems.push(format!("gives {:?} twice, with other scopes", key.name));
                }
                Ok(key) if !hashes.insert(key.hash) => {
                    problems.push(format!("gives {:?} the secret of another key", key.name));
                }
                Ok(key) => keys.push(key),
            }
        }
        if problems.is_empty() {
            Ok(Self(keys))
        } else {
            Err(problems.join("; "))
        }
    }

    /// Reads keys as [`parse`](Self::parse) does, and at least one: a file that is emptied by mistake locks nobody out.
    ///
    /// # Errors
    /// Every problem, none with a secret in it.
    pub fn parse_some(text: &str) -> Result<Self, String> {
        let keys = Self::parse(text)?;
        if keys.is_empty() {
            Err("has no key".to_owned())
        } else {
            Ok(keys)
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The names of those whose secrets are short.
    pub fn weak(&self) -> impl Iterator<Item = &Arc<str>> {
        self.0.iter().filter(|key| key.weak).map(ApiKey::name)
    }

    /// The key of this name whose secret is still that of the fingerprint.
    #[must_use]
    pub fn with_fingerprint(&self, name: &str, fingerprint: &[u8]) -> Option<&ApiKey> {
        let mut named = self.0.iter().filter(|key| &*key.name == name);
        named.find(|key| key.fingerprint() == fingerprint)
    }

    /// The key with this secret. Looks at all keys, and at all of each hash, whatever it finds: the
    /// time it takes tells nothing.
    #[must_use]
    pub fn find(&self, secret: &str) -> Option<&ApiKey> {
        let presented = hash(secret);
        let nobody = u64::MAX;
        let found = (0_u64..).zip(&self.0).fold(nobody, |found, (index, key)| {
            u64::conditional_select(&found, &index, key.hash.ct_eq(&presented))
        });
        usize::try_from(found)
            .ok()
            .and_then(|index| self.0.get(index))
    }
}

/// A key that was just made.
#[derive(Debug, PartialEq, Eq)]
pub struct NewKey {
    /// What its caller sends. It is kept nowhere.
    pub secret: String,
    /// What `API_KEYS` has of it.
    pub entry: String,
}

impl NewKey {
    /// Makes a key for this name and these scopes (`scope+scope`).
    ///
    /// # Errors
    /// A name or scope that cannot be, or no randomness.
    pub fn make(name: &str, scopes: &str) -> Result<Self, String> {
        let mut random = [0; 32];
        let filled = SystemRandom::new().fill(&mut random);
        filled.map_err(|_| "the machine has no randomness".to_owned())?;
        let secret = hex(&random);
        let entry = format!("{name}:{scopes}:sha256:{}", hex(&hash(&secret)));
        parse_key(&entry).map_err(|problem| format!("the key {problem}"))?;
        Ok(Self { secret, entry })
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn hash(secret: &str) -> [u8; 32] {
    Sha256::digest(secret).into()
}

fn parse_key(entry: &str) -> Result<ApiKey, String> {
    let form = "is not of the form name:scope+scope:secret";
    let mut parts = entry.splitn(3, ':');
    let (Some(name), Some(scopes), Some(secret)) = (parts.next(), parts.next(), parts.next())
    else {
        return Err(form.to_owned());
    };
    let nameable = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(nameable) {
        return Err(format!(
            "{form}: the name is 1 to {NAME_BYTES_MAX} of the characters A-Z, a-z, 0-9, `_`, `.` and `-`"
        ));
    }
    let scopes: Option<Vec<Scope>> = scopes.split('+').map(Scope::parse).collect();
    let scopes = scopes.ok_or_else(|| {
        format!("({name}) has an unknown scope; there are register, send, read and admin")
    })?;
    let (hash, weak) = match secret.strip_prefix("sha256:") {
        Some(hex) => {
            let hash = from_hex(hex);
            let wrong = || format!("({name}) has a sha256: that is not 64 hexadecimal digits");
            (hash.ok_or_else(wrong)?, false)
        }
        None if secret.is_empty() => return Err(format!("({name}) has no secret")),
        // Such a secret could not be sent in a header.
        None if !secret.bytes().all(|byte| byte.is_ascii_graphic()) => {
            return Err(format!(
                "({name}) has a secret with characters other than visible ASCII"
            ));
        }
        None => (hash(secret), secret.len() < SECRET_BYTES_WANTED),
    };
    Ok(ApiKey {
        name: name.into(),
        scopes: Scopes::of(&scopes),
        hash,
        weak,
    })
}

fn from_hex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_by_their_secret_in_clear_or_hashed() {
        // printf s3cret | sha256sum
        let hashed = "1ec1c26b50d5d3c58d9583181af8076655fe00756bf7285940ba3670f99fcba0";
        let text = format!("app:register:a:b, backend:send+read:sha256:{hashed},");
        let keys = ApiKeys::parse(&text).unwrap();
        let app = keys.find("a:b").unwrap();
        assert_eq!(&**app.name(), "app");
        assert!(app.scopes().contains(Scope::Register) && !app.scopes().contains(Scope::Send));
        let backend = keys.find("s3cret").unwrap();
        assert_eq!(&**backend.name(), "backend");
        assert!(backend.scopes().contains(Scope::Send) && backend.scopes().contains(Scope::Read));
        assert!(
            !backend.scopes().contains(Scope::Admin) && !backend.scopes().contains(Scope::Register)
        );
        assert_eq!(keys.weak().map(AsRef::as_ref).collect::<Vec<_>>(), ["app"]);
        let long = ApiKeys::parse("app:register:0123456789abcdef").unwrap();
        assert_eq!(long.weak().count(), 0);
        for unknown in ["", "a", "a:b ", hashed, "sha256:1"] {
            assert!(keys.find(unknown).is_none(), "{unknown:?}");
        }
    }

    #[test]
    fn a_name_has_two_secrets_while_one_takes_the_others_place() {
        let text = "# the shop, from May on\nshop:send+read:new\r\n\n  shop:read+send:old , desk:read:x\n#desk:read:y\n";
        let keys = ApiKeys::parse_some(text).unwrap();
        for secret in ["new", "old"] {
            assert_eq!(&**keys.find(secret).unwrap().name(), "shop");
        }
        assert!(keys.find("x").is_some() && keys.find("y").is_none());
        assert!(ApiKeys::parse_some("# nothing\n , ").is_err());
        assert!(ApiKeys::parse("shop:send:same,shop:send:same").is_err());
    }

    #[test]
    fn a_key_that_is_made_opens_what_it_is_for() {
        let key = NewKey::make("shop", "send+read").unwrap();
        let other = NewKey::make("shop", "send+read").unwrap();
        assert!(key.secret.len() == 64 && key.secret != other.secret);
        assert!(!key.entry.contains(&key.secret));
        let keys = ApiKeys::parse(&format!("{}\n{}", key.entry, other.entry)).unwrap();
        let scopes = keys.find(&key.secret).unwrap().scopes();
        assert_eq!(scopes, Scopes::of(&[Scope::Send, Scope::Read]));
        for (name, scopes) in [
            ("a:b", "send"),
            ("a", "fly"),
            ("", "send"),
            ("a,b", "send"),
            ("a", ""),
        ] {
            assert!(NewKey::make(name, scopes).is_err(), "{name:?} {scopes:?}");
        }
    }

    #[test]
    fn a_fingerprint_is_of_one_secret_and_opens_nothing() {
        let keys = ApiKeys::parse("ops:admin:old,ops:admin:new,desk:admin:x").unwrap();
        let print = keys.find("old").unwrap().fingerprint();
        let found = keys.with_fingerprint("ops", &print).unwrap();
        assert_eq!(found.hash, hash("old"));
        assert!(keys.with_fingerprint("desk", &print).is_none());
        let later = ApiKeys::parse("ops:admin:new").unwrap();
        assert!(later.with_fingerprint("ops", &print).is_none());
        let entry = format!("ops:admin:sha256:{}", hex(&print));
        assert!(ApiKeys::parse(&entry).unwrap().find("old").is_none());
    }

    #[test]
    fn admin_implies_nothing() {
        let keys = ApiKeys::parse("ops:admin:x").unwrap();
        let ops = keys.find("x").unwrap();
        assert!(
            ops.scopes().contains(Scope::Admin)
                && !ops.scopes().contains(Scope::Read)
                && !ops.scopes().contains(Scope::Send)
        );
    }

    #[test]
    fn every_problem_is_told_and_no_secret() {
        let wrong = ApiKeys::parse(
            "nothing,a:send+fly:s3cret,b:send:,c:send:sha256:s3cret,d e:send:s3cret,\
             e:read:s3cr\u{e9}t,h:read:sha256:+f+f+f+f+f+f+f+f+f+f+f+f+f+f+f+f+f+f+f+f+f+f+f+f+f+f+f+f+f+f+f+f,f:read:same-s3cret,g:read:same-s3cret,f:read+send:other-s3cret",
        )
        .unwrap_err();
        assert_eq!(wrong.matches("entry ").count(), 7, "{wrong}");
        assert!(
            wrong.contains("gives \"g\" the secret of another key"),
            "{wrong}"
        );
        assert!(
            wrong.contains("gives \"f\" twice, with other scopes"),
            "{wrong}"
        );
        assert!(!wrong.contains("s3cret"), "{wrong}");
    }

    #[test]
    fn nothing_printed_holds_a_secret() {
        let keys = ApiKeys::parse("app:register:s3cret").unwrap();
        assert!(!format!("{keys:?}").contains("s3cret"));
        assert!(ApiKeys::parse("").unwrap().is_empty());
    }
}
