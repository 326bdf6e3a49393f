//! Jobs hold what the customer reads, and the broker keeps them on its disk: with keys they lie there sealed.
//!
//! A sealed job is a JSON object with a version of its own, so that a program that knows of none says so. The job in it
//! names its notification: there is no other place that it could be moved to.

use push_core::job::{Job, NotAJob};
use push_seal::{CannotSeal, Keyring, Place, Unopened, is_sealed};

/// Neither names of keys nor base64 need to be escaped.
const START: &str = r#"{"v":"sealed","sealed":""#;
const END: &str = "\"}";

/// Why a message on a job's queue is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// It is sealed, and does not open.
    #[error(transparent)]
    Sealed(#[from] Unopened),
    /// It holds no job.
    #[error(transparent)]
    NotAJob(#[from] NotAJob),
}

/// The body to publish. What is no text is no job, and is left as it is; so is what is sealed.
pub(crate) fn seal(keys: &Keyring, body: Vec<u8>) -> Result<Vec<u8>, CannotSeal> {
    if keys.sealing().is_none() || inside(&body).is_some() {
        return Ok(body);
    }
    match String::from_utf8(body) {
        Ok(text) => {
            let sealed = keys.seal(&place(), text)?;
            Ok([START, &sealed, END].concat().into_bytes())
        }
        Err(bytes) => Ok(bytes.into_bytes()),
    }
}

/// The body that was delivered, opened if it was sealed.
pub(crate) fn open(keys: &Keyring, body: &[u8]) -> Result<Option<Vec<u8>>, Unopened> {
    match inside(body) {
        Some(sealed) => keys
            .open(&place(), sealed.to_owned())
            .map(|text| Some(text.into_bytes())),
        None => Ok(None),
    }
}

/// The job in an opened body.
pub(crate) fn read(body: &[u8], unopened: Option<Unopened>) -> Result<Job, Unreadable> {
    match unopened {
        Some(why) => Err(why.into()),
        None => Ok(Job::decode(body)?),
    }
}

fn inside(body: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(body).ok()?;
    let sealed = text.trim().strip_prefix(START)?.strip_suffix(END)?;
    is_sealed(sealed).then_some(sealed)
}

fn place() -> Place {
    Place::of("push.job", &[])
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    fn keys(text: &str) -> Keyring {
        Keyring::parse(text).unwrap()
    }

    #[test]
    fn a_body_is_sealed_once_and_opens() {
        let keys = keys(&format!("a:{ONE}"));
        let body = br#"{"v":1,"title":"a secret"}"#.to_vec();
        let sealed = seal(&keys, body.clone()).unwrap();
        assert!(
            !String::from_utf8(sealed.clone())
                .unwrap()
                .contains("secret")
        );
        assert_eq!(seal(&keys, sealed.clone()).unwrap(), sealed);
        assert_eq!(open(&keys, &sealed), Ok(Some(body)));
    }

    #[test]
    fn without_a_key_a_body_stays_as_it_is() {
        let body = br#"{"v":1}"#.to_vec();
        assert_eq!(seal(&Keyring::default(), body.clone()).unwrap(), body);
        assert_eq!(open(&Keyring::default(), &body), Ok(None));
        let garbage = vec![0xff, 0x00];
        let sealing = keys(&format!("a:{ONE}"));
        assert_eq!(seal(&sealing, garbage.clone()).unwrap(), garbage);
        assert_eq!(open(&sealing, &garbage), Ok(None));
    }

    #[test]
    fn what_does_not_open_says_why() {
        let sealed = seal(&keys(&format!("a:{ONE}")), b"{}".to_vec()).unwrap();
        let unopened = open(&keys(&format!("b:{ONE}")), &sealed).unwrap_err();
        let told = read(&sealed, Some(unopened)).unwrap_err().to_string();
        assert!(
            told.contains("encryption key \"a\", which is not configured"),
            "{told}"
        );
        // A program that does not know of sealed jobs.
        let told = Job::decode(&sealed).unwrap_err();
        assert_eq!(told, NotAJob::UnknownVersion("\"sealed\"".to_owned()));
    }
}
