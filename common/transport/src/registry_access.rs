//! How a registry is reached that asks who comes: certificates, a password, a token.

use std::path::{Path, PathBuf};
use std::time::Duration;
use tidemesh_model::{Error, ErrorKind, Result, Secret};

/// The largest file of a certificate that is read.
#[cfg(feature = "tls")]
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// What a client of a registry has; by default nothing.
#[derive(Debug, Clone, Default)]
pub struct RegistryAccess {
    /// Certificates, as PEM, that the registry's is checked against; none: the system's.
    pub ca_file: Option<PathBuf>,
    /// The client's own certificate with its key, each as PEM, where the registry asks for one.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// As whom it comes.
    pub login: Option<RegistryLogin>,
}

/// As whom a client of a registry comes.
#[derive(Debug, Clone)]
pub enum RegistryLogin {
    /// A user with a password.
    Password(String, Secret),
    /// A bearer token.
    Token(Secret),
    /// A file whose first line is a bearer token. It is read for each request: tokens are short-lived,
    /// and whoever renews one writes it there.
    TokenFile(PathBuf),
}

impl RegistryAccess {
    /// An HTTP client that trusts and shows what this says.
    ///
    /// # Errors
    ///
    /// `Config`, naming the file, or for certificates where this was built without TLS.
    pub fn client(&self, timeout: Duration) -> Result<reqwest::Client> {
        let builder = self.secure(reqwest::Client::builder().timeout(timeout))?;
        builder.build().map_err(wrong)
    }

    #[cfg(feature = "tls")]
    fn secure(&self, mut builder: reqwest::ClientBuilder) -> Result<reqwest::ClientBuilder> {
        // The HTTP client has none of its own; one that the program has chosen before stays.
        let _ = rustls::crypto::ring::default_provider().install_default();
        if let Some(file) = &self.ca_file {
            let certificates = reqwest::Certificate::from_pem_bundle(&read(file)?);
            builder = builder.tls_certs_only(certificates.map_err(wrong)?);
        }
        if let Some((certificate, key)) = &self.identity {
            let pem = [read(certificate)?, read(key)?].join(&b'\n');
            builder = builder.identity(reqwest::Identity::from_pem(&pem).map_err(wrong)?);
        }
        Ok(builder)
    }

    #[cfg(not(feature = "tls"))]
    fn secure(&self, builder: reqwest::ClientBuilder) -> Result<reqwest::ClientBuilder> {
        if self.ca_file.is_none() && self.identity.is_none() {
            return Ok(builder);
        }
        Err(Error::new(ErrorKind::Config, "make a registry client")
            .because("it has certificates, and was built without TLS")
            .help("build with the feature `tls`"))
    }

    /// The request with who sends it.
    ///
    /// # Errors
    ///
    /// `Config` if the token's file cannot be read.
    pub async fn authorized(
        &self,
        request: reqwest::RequestBuilder,
    ) -> Result<reqwest::RequestBuilder> {
        Ok(match &self.login {
            None => request,
            Some(RegistryLogin::Password(name, password)) => {
                request.basic_auth(name, Some(password.expose()))
            }
            Some(RegistryLogin::Token(token)) => request.bearer_auth(token.expose()),
            Some(RegistryLogin::TokenFile(file)) => {
                let text = tokio::fs::read_to_string(file).await.map_err(|e| unread(file, e))?;
                request.bearer_auth(text.lines().next().unwrap_or_default().trim())
            }
        })
    }
}

fn wrong(error: reqwest::Error) -> Error {
    Error::new(ErrorKind::Config, "make a registry client")
        .because("its certificates cannot be used")
        .caused_by(error)
}

#[cfg(feature = "tls")]
fn read(file: &Path) -> Result<Vec<u8>> {
    if std::fs::metadata(file).map_err(|e| unread(file, e))?.len() > FILE_BYTES_MAX {
        return Err(Error::new(ErrorKind::Config, "make a registry client")
            .because("a file of certificates is too large")
            .with("file", file.display())
            .with("bytes_max", FILE_BYTES_MAX));
    }
    std::fs::read(file).map_err(|e| unread(file, e))
}

fn unread(file: &Path, error: std::io::Error) -> Error {
    Error::new(ErrorKind::Config, "make a registry client")
        .because("a file cannot be read")
        .with("file", file.display())
        .caused_by(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(access: &RegistryAccess) -> String {
        let client = access.client(Duration::from_secs(1)).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let request = runtime.block_on(access.authorized(client.get("http://127.0.0.1:1/")));
        let request = request.unwrap().build().unwrap();
        let header = request.headers().get("authorization");
        header.map_or_else(String::new, |value| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn a_request_says_who_sends_it_and_debug_does_not() {
        assert_eq!(header(&RegistryAccess::default()), "");
        let with = |login| RegistryAccess { login: Some(login), ..RegistryAccess::default() };
        let password = with(RegistryLogin::Password("ann".into(), Secret::new("hush")));
        assert_eq!(header(&password), "Basic YW5uOmh1c2g=");
        assert!(!format!("{password:?}").contains("hush"));
        assert_eq!(header(&with(RegistryLogin::Token(Secret::new("t")))), "Bearer t");
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        let token = with(RegistryLogin::TokenFile(file.clone()));
        for text in ["first\n", "second\nmore\n"] {
            std::fs::write(&file, text).unwrap();
            assert_eq!(header(&token), format!("Bearer {}", text.lines().next().unwrap()));
        }
    }

    #[cfg(feature = "tls")]
    #[test]
    fn a_file_that_cannot_be_used_is_named() {
        let ca_file = Some(PathBuf::from("/nowhere/ca.pem"));
        let access = RegistryAccess { ca_file, ..RegistryAccess::default() };
        let error = access.client(Duration::from_secs(1)).unwrap_err();
        assert!(error.to_string().contains("/nowhere/ca.pem"), "{error}");
    }
}
