//! Certificates that a test makes for itself.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
};
use std::path::Path;

/// Signs servers' certificates.
pub(crate) struct Authority {
    name: &'static str,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A server's certificate and its key, as PEM.
pub(crate) struct Identity {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new(name: &'static str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Python from 3.13 on wants what RFC 5280 does.
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.distinguished_name.push(DnType::CommonName, name);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Self { name, issuer }
    }

    /// Its own certificate, in a file of this folder.
    pub(crate) fn file(&self, folder: &Path) -> String {
        let file = folder.join(format!("{}.pem", self.name));
        std::fs::write(&file, self.issuer.pem()).unwrap();
        file.display().to_string()
    }

    /// One for a host of this name.
    pub(crate) fn certificate(&self, host: &str) -> Identity {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Identity { certificate: certificate.pem(), key: key.serialize_pem() }
    }
}
