//! TLS as libpq's `sslmode` means it (documentation 18, 32.19), by `rustls`.

use super::Endpoint;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};
use std::sync::Arc;
use tidemesh_model::{Error, ErrorKind, Result, TlsMode};

/// The client's side of TLS for this server.
///
/// # Errors
///
/// `Config` for a file of certificates that cannot be used.
pub fn client_config(endpoint: &Endpoint<'_>) -> Result<Arc<ClientConfig>> {
    let provider = Arc::new(ring::default_provider());
    let wrong = |error: Box<dyn std::error::Error + Send + Sync>| {
        Error::new(ErrorKind::Config, "prepare TLS").caused_by(error)
    };
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(error.into()))?;
    let config = match endpoint.tls {
        TlsMode::Disable | TlsMode::Prefer | TlsMode::Require => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Unchecked(provider)))
            .with_no_client_auth(),
        TlsMode::VerifyFull => {
            builder.with_root_certificates(roots(endpoint)?).with_no_client_auth()
        }
        TlsMode::VerifyCa => {
            let inner =
                WebPkiServerVerifier::builder_with_provider(Arc::new(roots(endpoint)?), provider)
                    .build()
                    .map_err(|error| wrong(error.into()))?;
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(ChainOnly(inner)))
                .with_no_client_auth()
        }
    };
    Ok(Arc::new(config))
}

/// The certificates that a server's is checked against: the file's, else the system's.
fn roots(endpoint: &Endpoint<'_>) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let Some(file) = endpoint.tls_ca_file else {
        for certificate in rustls_native_certs::load_native_certs().certs {
            // One that rustls does not take is of no use for checking either.
            let _ = roots.add(certificate);
        }
        return Ok(roots);
    };
    let wrong = || {
        Error::new(ErrorKind::Config, "prepare TLS")
            .because(format!("{}.tls_ca_file cannot be used", endpoint.table))
            .with("file", file.display())
    };
    let certificates = CertificateDer::pem_file_iter(file).map_err(|e| wrong().caused_by(e))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|e| wrong().caused_by(e))?;
        roots.add(certificate).map_err(|e| wrong().caused_by(e))?;
    }
    if roots.is_empty() {
        return Err(wrong().help("it must hold PEM certificates"));
    }
    Ok(roots)
}

/// `prefer` and `require`: encrypted, the certificate not checked.
#[derive(Debug)]
struct Unchecked(Arc<CryptoProvider>);

/// `verify-ca`: the chain is checked, the host name is not.
#[derive(Debug)]
struct ChainOnly(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for Unchecked {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

impl ServerCertVerifier for ChainOnly {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match self.0.verify_server_cert(certificate, chain, name, ocsp, now) {
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
