//! TLS to the database, as its URL says by libpq's `sslmode` and `sslrootcert` (documentation 18, 32.1.2).
//!
//! Unlike libpq's, `require` checks the certificate as `verify-full` does, its name included: there is
//! no way that is encrypted to whoever answers.

use std::borrow::Cow;
use std::error::Error as _;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::Owner;
use percent_encoding::percent_decode_str;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tidemesh_model::{Error, ErrorKind, Result};
use tokio_postgres_rustls::MakeRustlsConnect;

/// What `sslrootcert` says for the system's certificates.
const SYSTEM: &str = "system";

/// What a URL says of TLS.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    /// Whether it is spoken at all.
    pub(crate) tls: bool,
    /// The certificates that the server's is checked against; none: the system's.
    roots: Option<PathBuf>,
}

impl Asked {
    /// Takes out of a URL what it says of TLS, of which the driver knows a part only.
    ///
    /// # Errors
    ///
    /// `Config` for a mode that there is not, or certificates that nothing is checked against.
    pub(crate) fn of(url: &str, owner: &Owner) -> Result<(String, Self)> {
        let mut asked = Self::default();
        // A password may have a question mark; nothing before the host has one that counts.
        let host = url.find('@').unwrap_or(0);
        let Some(place) = url[host..].find('?') else { return Ok((url.to_owned(), asked)) };
        let (front, query) = url.split_at(host + place);
        let mut others = Vec::new();
        for parameter in query.trim_start_matches('?').split('&') {
            match parameter.split_once('=') {
                Some(("sslmode", mode)) => asked.tls = speaks(mode, owner)?,
                Some(("sslrootcert", SYSTEM)) => asked.roots = None,
                Some(("sslrootcert", file)) => asked.roots = Some(PathBuf::from(&*decoded(file))),
                _ => others.push(parameter),
            }
        }
        if asked.roots.is_some() && !asked.tls {
            return Err(wrong(owner, "its sslrootcert has no use without TLS")
                .help("add sslmode=verify-full, or take sslrootcert away"));
        }
        let others = others.join("&");
        let url = if others.is_empty() { front.to_owned() } else { format!("{front}?{others}") };
        Ok((url, asked))
    }

    /// The client's side of TLS; none if it is not asked for.
    ///
    /// # Errors
    ///
    /// `Config`, with the file, if the certificates cannot be used.
    pub(crate) fn connector(&self, owner: &Owner) -> Result<Option<MakeRustlsConnect>> {
        if !self.tls {
            return Ok(None);
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::new(ErrorKind::Config, "prepare TLS").caused_by(error))?;
        let roots = match &self.roots {
            Some(file) => roots_of(file, owner)?,
            None => system_roots(),
        };
        let config = builder.with_root_certificates(roots).with_no_client_auth();
        Ok(Some(MakeRustlsConnect::new(config)))
    }
}

/// What a URL says that cannot be.
pub(crate) fn wrong(owner: &Owner, why: &str) -> Error {
    Error::new(ErrorKind::Config, "read a store's setting").because(why).with("key", owner.setting)
}

fn decoded(text: &str) -> Cow<'_, str> {
    percent_decode_str(text).decode_utf8_lossy()
}

/// Whether a mode speaks TLS.
fn speaks(mode: &str, owner: &Owner) -> Result<bool> {
    match mode {
        "disable" | "prefer" => Ok(false),
        "require" | "verify-full" => Ok(true),
        _ => Err(wrong(owner, "its sslmode is none of disable, prefer, require and verify-full")
            .help("sslmode=verify-full checks the server's certificate and its name")),
    }
}

fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    for certificate in rustls_native_certs::load_native_certs().certs {
        // One that rustls does not take is of no use for checking either.
        let _ = roots.add(certificate);
    }
    roots
}

fn roots_of(file: &Path, owner: &Owner) -> Result<RootCertStore> {
    let wrong = || wrong(owner, "its sslrootcert cannot be used").with("file", file.display());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(|e| wrong().caused_by(e))? {
        let certificate = certificate.map_err(|e| wrong().caused_by(e))?;
        roots.add(certificate).map_err(|e| wrong().caused_by(e))?;
    }
    if roots.is_empty() {
        return Err(wrong().help("it must hold PEM certificates"));
    }
    Ok(roots)
}

/// An error of TLS in our words; any other as it is.
pub(crate) fn told(
    error: tokio_postgres::Error,
    owner: &Owner,
) -> Result<Error, tokio_postgres::Error> {
    let (doing, setting) = (owner.connecting, owner.setting);
    let Some(source) = error.source() else { return Err(error) };
    let inner = source.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    if inner.is_some_and(|inner| inner.is::<rustls::Error>()) {
        return Ok(Error::new(ErrorKind::Authentication, doing)
            .because("TLS was not agreed on")
            .help(format!(
                "see the host and sslrootcert of {setting}, and the server's certificate"
            ))
            .caused_by(error));
    }
    // The text is the driver's, which hands out no kinds; `tests/e2e/registry_store.rs` holds it.
    if source.to_string() == "server does not support TLS" {
        return Ok(Error::new(ErrorKind::Prerequisite, doing)
            .because(format!("the server has no TLS, and the sslmode of {setting} asks for it"))
            .help(
                "set ssl = on at the server; or sslmode=disable, if nobody can listen on the way",
            ));
    }
    Err(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: Owner =
        Owner { application: "test", setting: "test.store", connecting: "connect to a store" };

    #[test]
    fn what_a_url_says_of_tls_is_taken_out_of_it() {
        let of = |url: &str| Asked::of(url, &OWNER).unwrap();
        for url in ["postgresql://u:a?b@h/d", "postgresql://h/d"] {
            assert_eq!(of(url), (url.to_owned(), Asked::default()));
        }
        let (url, asked) = of("postgresql://u:a?b@h/d?sslmode=require&target_session_attrs=any");
        assert_eq!(url, "postgresql://u:a?b@h/d?target_session_attrs=any");
        assert_eq!(asked, Asked { tls: true, roots: None });
        let (url, asked) = of("postgresql://h/d?sslrootcert=/a%20b.pem&sslmode=verify-full");
        assert_eq!(url, "postgresql://h/d");
        assert_eq!(asked, Asked { tls: true, roots: Some("/a b.pem".into()) });
        let asked = of("postgresql://h/d?sslmode=verify-full&sslrootcert=system").1;
        assert_eq!(asked, Asked { tls: true, roots: None });
        for mode in ["disable", "prefer"] {
            assert!(!of(&format!("postgresql://h/d?sslmode={mode}")).1.tls);
        }
    }

    #[test]
    fn a_mode_that_there_is_not_and_certificates_without_tls_are_refused() {
        for (query, word) in [("sslmode=verify-ca", "verify-full"), ("sslrootcert=a", "sslmode")] {
            let error = Asked::of(&format!("postgresql://u:hush@h/d?{query}"), &OWNER).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.report().contains(word) && !error.report().contains("hush"));
        }
    }
}
