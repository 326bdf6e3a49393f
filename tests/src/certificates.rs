//! Certificate authorities of a test's own, and what they certify.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::device::unique;

/// A certificate authority, whose own certificate is a file.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    file: PathBuf,
}

/// Whether a certificate may be used now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Age {
    /// Yes.
    Fresh,
    /// No more.
    Expired,
}

/// A server's certificate and its key.
#[derive(Debug)]
pub struct Certificate {
    der: CertificateDer<'static>,
    pem: String,
    key: KeyPair,
}

impl Authority {
    /// A new one, that nobody else has heard of.
    ///
    /// # Panics
    /// When its file cannot be written.
    #[must_use]
    pub fn new() -> Self {
        let name = unique("push-tests-authority");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, &name);
        let key = KeyPair::generate().expect("a key");
        let root = params.self_signed(&key).expect("a root");
        let file = std::env::temp_dir().join(format!("{name}.pem"));
        fs::write(&file, root.pem()).expect("a file for the certificate authority");
        Self {
            issuer: Issuer::new(params, key),
            file,
        }
    }

    /// The file with its certificate, as `SSL_CERT_FILE` and `ssl-ca` want it.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// A certificate for a host.
    ///
    /// # Panics
    /// When there is none for such a name.
    #[must_use]
    pub fn certify(&self, host: &str, age: Age) -> Certificate {
        let mut params = CertificateParams::new([host.to_owned()]).expect("a host's name");
        if age == Age::Expired {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2020, 2, 1);
        }
        let key = KeyPair::generate().expect("a key");
        let signed = params.signed_by(&key, &self.issuer).expect("a certificate");
        Certificate {
            der: signed.der().clone(),
            pem: signed.pem(),
            key,
        }
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.file));
    }
}

impl Certificate {
    /// Writes `cert.pem` and `key.pem`.
    ///
    /// # Panics
    /// When it cannot.
    pub fn write_to(&self, folder: &Path) {
        fs::write(folder.join("cert.pem"), &self.pem).expect("a file");
        fs::write(folder.join("key.pem"), self.key.serialize_pem()).expect("a file");
    }

    /// What a server presents.
    pub(crate) fn chain(&self) -> Vec<CertificateDer<'static>> {
        vec![self.der.clone()]
    }

    pub(crate) fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(self.key.serialize_der().into())
    }
}
