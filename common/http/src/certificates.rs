//! The listener's certificate: read from PEM files, and again when they change.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ServerConfig, WebPkiClientVerifier};
use tidemesh_model::{Error, ErrorKind, Result};

use crate::watched::{FILE_BYTES_MAX, Watched, read_file};

/// The files of a listener that speaks TLS. All are PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsConfig {
    /// The certificate, with those of the authorities between it and the root behind it.
    pub certificate_file: PathBuf,
    /// Its private key: PKCS #8, PKCS #1 or SEC 1, not encrypted.
    pub key_file: PathBuf,
    /// If set, only clients with a certificate of these authorities are served.
    pub client_ca_file: Option<PathBuf>,
}

/// What handshakes are made by; it may be another one for each.
pub type Certificates = Watched<ServerConfig>;

/// Reads the files that the settings `OWNER.tls` name. [`Watched::follow`] keeps them read.
///
/// # Errors
///
/// `Config`, naming the key and the file.
pub fn certificates(owner: &'static str, config: &TlsConfig) -> Result<Arc<Certificates>> {
    let mut files = vec![config.certificate_file.clone(), config.key_file.clone()];
    files.extend(config.client_ca_file.clone());
    let (table, config) = (Table { owner }, config.clone());
    Watched::open(format!("the {owner}'s certificate"), files, move || table.read(&config))
}

/// The settings `OWNER.tls`, as errors name them.
struct Table {
    owner: &'static str,
}

impl Table {
    fn read(&self, config: &TlsConfig) -> Result<ServerConfig> {
        let chain = self.chain("certificate_file", &config.certificate_file)?;
        let key = self.private_key(&config.key_file)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let versions = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| self.wrong("", "no version of TLS can be offered").caused_by(error))?;
        let clients = match &config.client_ca_file {
            None => versions.with_no_client_auth(),
            Some(file) => versions.with_client_cert_verifier(self.client_verifier(file, provider)?),
        };
        let mut made = clients.with_single_cert(chain, key).map_err(|error| {
            self.wrong("", "certificate_file and key_file do not go together").caused_by(error)
        })?;
        made.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(made)
    }

    fn client_verifier(
        &self,
        file: &Path,
        provider: Arc<CryptoProvider>,
    ) -> Result<Arc<dyn ClientCertVerifier>> {
        const KEY: &str = "client_ca_file";
        let mut roots = RootCertStore::empty();
        for certificate in self.chain(KEY, file)? {
            roots.add(certificate).map_err(|error| {
                self.wrong(KEY, "a certificate in it cannot be used")
                    .with("file", file.display())
                    .caused_by(error)
            })?;
        }
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|error| self.wrong(KEY, "clients cannot be checked by it").caused_by(error))
    }

    fn chain(&self, key: &str, file: &Path) -> Result<Vec<CertificateDer<'static>>> {
        let bytes = read_file(file, &self.key(key), FILE_BYTES_MAX)?;
        let found: std::result::Result<Vec<_>, _> =
            CertificateDer::pem_slice_iter(&bytes).collect();
        let unusable = |text: &str| self.wrong(key, text).with("file", file.display());
        let found =
            found.map_err(|error| unusable("it is no PEM of certificates").caused_by(error))?;
        if found.is_empty() {
            return Err(unusable("there is no certificate in it"));
        }
        Ok(found)
    }

    fn private_key(&self, file: &Path) -> Result<PrivateKeyDer<'static>> {
        const KEY: &str = "key_file";
        let bytes = read_file(file, &self.key(KEY), FILE_BYTES_MAX)?;
        // The cause is left out: it might repeat what the file holds.
        PrivateKeyDer::from_pem_slice(&bytes).map_err(|_| {
            self.wrong(KEY, "there is no private key in it that can be read")
                .with("file", file.display())
                .help("give it as PEM, not encrypted")
        })
    }

    /// A key's whole name; the table's, if it is empty.
    fn key(&self, key: &str) -> String {
        let owner = self.owner;
        if key.is_empty() { format!("{owner}.tls") } else { format!("{owner}.tls.{key}") }
    }

    fn wrong(&self, key: &str, problem: &str) -> Error {
        Error::new(ErrorKind::Config, "use the configuration")
            .because(format!("{}: {problem}", self.key(key)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(folder: &Path) -> TlsConfig {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let config = TlsConfig {
            certificate_file: folder.join("certificate.pem"),
            key_file: folder.join("key.pem"),
            client_ca_file: None,
        };
        std::fs::write(&config.certificate_file, certificate.pem()).unwrap();
        std::fs::write(&config.key_file, key.serialize_pem()).unwrap();
        config
    }

    #[test]
    fn a_pair_of_files_is_read_and_what_is_wrong_with_one_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let config = files(folder.path());
        certificates("registry", &config).unwrap();
        let told = |config: &TlsConfig| certificates("registry", config).unwrap_err().report();
        let with_clients =
            TlsConfig { client_ca_file: Some(config.key_file.clone()), ..config.clone() };
        assert!(told(&with_clients).contains("registry.tls.client_ca_file"));
        let swapped = TlsConfig { key_file: config.certificate_file.clone(), ..config.clone() };
        assert!(told(&swapped).contains("registry.tls.key_file"), "{}", told(&swapped));
        let other = tempfile::tempdir().unwrap();
        let mixed = TlsConfig { key_file: files(other.path()).key_file, ..config.clone() };
        assert!(told(&mixed).contains("do not go together"), "{}", told(&mixed));
        let absent = TlsConfig { key_file: folder.path().join("none"), ..config };
        assert!(told(&absent).contains("registry.tls.key_file"));
        let others = certificates("gateway", &absent).unwrap_err().report();
        assert!(others.contains("gateway.tls.key_file"), "{others}");
    }

    #[test]
    fn a_new_certificate_that_does_not_go_with_its_key_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let config = files(folder.path());
        let read = certificates("registry", &config).unwrap();
        let first = read.get();
        let other = tempfile::tempdir().unwrap();
        let next = files(other.path());
        std::fs::copy(&next.certificate_file, &config.certificate_file).unwrap();
        read.check();
        assert!(Arc::ptr_eq(&first, &read.get()), "half of a change is none");
        std::fs::copy(&next.key_file, &config.key_file).unwrap();
        read.check();
        assert!(!Arc::ptr_eq(&first, &read.get()));
    }
}
