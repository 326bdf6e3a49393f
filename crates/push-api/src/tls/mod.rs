//! TLS on `HTTP_ADDR`: who this program says that it is. A certificate that is renewed holds from the next connection on.

pub mod anyone;

use std::fmt;
use std::io;
use std::sync::Arc;

use axum::http::{HeaderMap, HeaderValue, header};
use chrono::{DateTime, SecondsFormat, Utc};
use rustls::crypto::ring;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;

use crate::live::{Live, SettingFile};
use crate::metrics;

/// What callers may speak, what we would rather speak first (RFC 7301).
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Who has been here once is to come over TLS for a year (RFC 6797).
const COME_AGAIN: HeaderValue = HeaderValue::from_static("max-age=31536000");

/// Adds what answers over TLS tell a browser.
pub fn tell_browsers(headers: &mut HeaderMap) {
    headers.insert(header::STRICT_TRANSPORT_SECURITY, COME_AGAIN);
}

/// A certificate, those between it and its authority, and its private key.
#[derive(Clone)]
pub struct Identity {
    certified: Arc<CertifiedKey>,
    /// Until when it may be used.
    expires: DateTime<Utc>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

const OTHER_KEY: rustls::Error = rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch);

impl Identity {
    /// Reads PEM: the certificate first, then those that lead to its authority, and one private key anywhere.
    ///
    /// # Errors
    /// What is wrong, without the key.
    pub fn parse(pem: &str) -> Result<Self, String> {
        let not_pem = |error| format!("is not PEM: {error}");
        let chain = CertificateDer::pem_slice_iter(pem.as_bytes());
        let chain: Vec<_> = chain.collect::<Result<_, _>>().map_err(not_pem)?;
        let Some(own) = chain.first() else {
            return Err("has no certificate: `-----BEGIN CERTIFICATE-----` and so on".to_owned());
        };
        let expires = not_after(own).ok_or("has a certificate that cannot be read")?;
        let mut keys = PrivateKeyDer::pem_slice_iter(pem.as_bytes());
        let (Some(key), None) = (keys.next(), keys.next()) else {
            return Err(
                "comes with no private key, or with several: keep one, `-----BEGIN PRIVATE KEY-----` and so on"
                    .to_owned(),
            );
        };
        let certified =
            CertifiedKey::from_der(chain, key.map_err(not_pem)?, &ring::default_provider());
        let certified = certified.map_err(|error| {
            if error == OTHER_KEY {
                "is not the certificate of this private key".to_owned()
            } else {
                format!("cannot be used: {error}")
            }
        })?;
        Ok(Self {
            certified: Arc::new(certified),
            expires,
        })
    }

    /// The same of what comes while the program runs.
    ///
    /// # Errors
    /// As [`Identity::parse`].
    pub fn renewed(pem: &str) -> Result<Self, String> {
        Self::parse(pem).inspect(|identity| metrics::certificate_expires(identity.expires))
    }
}

/// Until when a certificate may be used.
fn not_after(certificate: &[u8]) -> Option<DateTime<Utc>> {
    let certificate = Certificate::from_der(certificate).ok()?;
    let ends = certificate.tbs_certificate.validity.not_after;
    DateTime::from_timestamp(i64::try_from(ends.to_unix_duration().as_secs()).ok()?, 0)
}

/// What `HTTP_ADDR` speaks.
#[derive(Clone)]
pub struct Tls {
    acceptor: TlsAcceptor,
    identity: Live<Identity>,
    /// Read anew while it runs.
    pub files: Option<SettingFile>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("identity", &self.identity)
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

impl Tls {
    /// With this identity, TLS 1.2 and 1.3.
    ///
    /// # Errors
    /// When the cryptography is not what was built in.
    pub fn new(
        identity: Live<Identity>,
        files: Option<SettingFile>,
    ) -> Result<Self, rustls::Error> {
        let provider = Arc::new(ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Present(identity.clone())));
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).into();
        Ok(Self {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            identity,
            files,
        })
    }

    /// Until when the certificate may be used.
    #[must_use]
    pub fn expires(&self) -> DateTime<Utc> {
        self.identity.get().expires
    }

    /// For people: until when callers believe us.
    ///
    /// # Errors
    /// That they do no more.
    pub fn told(&self, now: DateTime<Utc>) -> Result<String, String> {
        let expires = self.expires();
        let date = expires.to_rfc3339_opts(SecondsFormat::Secs, true);
        if expires < now {
            return Err(format!(
                "the certificate in HTTP_TLS_CERT expired at {date}: callers refuse it; renew it"
            ));
        }
        Ok(format!("TLS, with a certificate until {date}"))
    }

    /// Agrees with a caller on how to speak.
    ///
    /// # Errors
    /// When it cannot be agreed, or takes longer than the stream has patience.
    pub async fn accept<S>(&self, stream: S) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        self.acceptor.accept(stream).await
    }
}

/// One identity, whatever name is asked for.
#[derive(Debug)]
struct Present(Live<Identity>);

impl ResolvesServerCert for Present {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.get().certified))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    /// A certificate and its key.
    pub(crate) fn pem() -> (String, String) {
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.not_after = date_time_ymd(2031, 2, 3);
        let key = KeyPair::generate().unwrap();
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    #[test]
    fn a_certificate_and_its_key_are_read_whichever_is_first() {
        let (certificate, key) = pem();
        for pem in [
            format!("{certificate}\n{key}"),
            format!("{key}{certificate}"),
        ] {
            let identity = Identity::parse(&pem).unwrap();
            let told = Tls::new(Live::new(identity), None).unwrap();
            let until = "TLS, with a certificate until 2031-02-03T00:00:00Z";
            assert_eq!(told.told(DateTime::UNIX_EPOCH).unwrap(), until);
            let later = DateTime::UNIX_EPOCH + chrono::TimeDelta::days(365 * 70);
            assert!(
                told.told(later)
                    .unwrap_err()
                    .contains("expired at 2031-02-03")
            );
        }
    }

    #[test]
    fn what_is_wrong_is_told_without_the_key() {
        let ((certificate, key), (_, other)) = (pem(), pem());
        let torn = certificate.replace("MII", "MIJ");
        for (pem, problem) in [
            (String::new(), "no certificate"),
            (key.clone(), "no certificate"),
            (certificate.clone(), "no private key"),
            (format!("{certificate}{key}{other}"), "several"),
            (
                format!("{certificate}{other}"),
                "is not the certificate of this private key",
            ),
            (format!("{torn}{key}"), "cannot be read"),
            (
                format!("{certificate}-----BEGIN PRIVATE KEY-----\n%\n-----END PRIVATE KEY-----"),
                "not PEM",
            ),
        ] {
            let told = Identity::parse(&pem).unwrap_err();
            assert!(told.contains(problem), "{told:?} is not {problem:?}");
            let secret = key.lines().nth(1).unwrap();
            assert!(!told.contains(secret), "{told}");
        }
    }
}
