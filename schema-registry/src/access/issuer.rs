//! Where an issuer's keys are: a file, or an address that is asked from time to time, and when a token
//! names a key that is not there yet.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tidemesh_http::{FILE_BYTES_MAX, Watched, read_file};
use tidemesh_model::{Error, ErrorKind, Result};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::keys::KeySet;

/// The longest that the address may take.
const FETCH_MAX: Duration = Duration::from_secs(10);

/// The largest answer that is taken.
const FETCH_BYTES_MAX: usize = 1024 * 1024;

/// How long the address is left alone, whatever keys tokens name.
const FETCH_PAUSE: Duration = Duration::from_secs(10);

/// Where the keys are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// A file, which is read again when it changes.
    File(PathBuf),
    /// An address.
    Url {
        /// `https://…`, or `http://…` where the way there is safe by other means.
        url: String,
        /// Certificates that the address's is checked against; none: the system's.
        ca_file: Option<PathBuf>,
        /// How often it is asked.
        refresh: Duration,
    },
}

/// The keys that hold now.
#[derive(Debug)]
pub(crate) enum Issuer {
    File(Arc<Watched<KeySet>>),
    Url(Arc<Remote>),
}

/// An address, and the keys that it gave last.
#[derive(Debug)]
pub(crate) struct Remote {
    http: reqwest::Client,
    url: String,
    keys: RwLock<Arc<KeySet>>,
    /// When it was asked last; held while it is.
    asked: Arc<Mutex<Option<Instant>>>,
}

impl Issuer {
    /// Finds the keys, and keeps them. An address that does not answer yet is asked again: until then
    /// no token is known. To be called within a runtime.
    ///
    /// # Errors
    ///
    /// `Config`, `Malformed` if a file cannot be used.
    pub(crate) fn open(source: &KeySource) -> Result<Self> {
        match source {
            KeySource::File(file) => {
                let path = file.clone();
                let key = "registry.tokens.jwks_file";
                let load = move || KeySet::read(&read_file(&path, key, FILE_BYTES_MAX)?);
                let keys = Watched::open("the keys of tokens", vec![file.clone()], load)?;
                keys.follow();
                Ok(Self::File(keys))
            }
            KeySource::Url { url, ca_file, refresh } => {
                let http = client(ca_file.as_ref())?;
                let remote = Remote::new(http, url);
                remote.follow(*refresh);
                Ok(Self::Url(remote))
            }
        }
    }

    pub(crate) fn keys(&self) -> Arc<KeySet> {
        match self {
            Self::File(keys) => keys.get(),
            Self::Url(remote) => remote.keys(),
        }
    }

    /// Looks for keys that are not there yet; does nothing if that was done a moment ago.
    pub(crate) async fn refresh(&self) {
        match self {
            Self::File(keys) => {
                let keys = Arc::clone(keys);
                // What cannot be run is as if nothing had changed.
                let _ = tokio::task::spawn_blocking(move || keys.check()).await;
            }
            Self::Url(remote) => remote.refresh(FETCH_PAUSE).await,
        }
    }
}

impl Remote {
    fn new(http: reqwest::Client, url: &str) -> Arc<Self> {
        let (keys, asked) = (RwLock::default(), Arc::default());
        Arc::new(Self { http, url: url.to_owned(), keys, asked })
    }

    fn keys(&self) -> Arc<KeySet> {
        Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn follow(self: &Arc<Self>, every: Duration) {
        let remote = Arc::downgrade(self);
        tokio::spawn(async move {
            loop {
                let Some(alive) = remote.upgrade() else { return };
                alive.refresh(every.min(FETCH_PAUSE)).await;
                drop(alive);
                tokio::time::sleep(every).await;
            }
        });
    }

    /// Asks, unless that was done within this time. Who comes meanwhile waits for the answer.
    async fn refresh(self: &Arc<Self>, pause: Duration) {
        let mut asked = Arc::clone(&self.asked).lock_owned().await;
        if asked.is_some_and(|asked| asked.elapsed() < pause) {
            return;
        }
        let remote = Arc::clone(self);
        // On a task of its own: else a client that goes away would leave no trace that the address
        // was asked, and the next one would ask again.
        let fetched = tokio::spawn(async move {
            remote.take_over().await;
            *asked = Some(Instant::now());
        });
        if let Err(error) = fetched.await {
            tracing::error!(%error, "the keys of tokens cannot be had; those before hold");
        }
    }

    async fn take_over(&self) {
        match self.fetch().await {
            Ok(keys) => *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys),
            Err(error) => {
                let error = error.report();
                tracing::error!(error, "the keys of tokens cannot be had; those before hold");
            }
        }
    }

    async fn fetch(&self) -> Result<KeySet> {
        let away = |error: reqwest::Error| {
            Error::new(ErrorKind::Unavailable, "fetch a key set").caused_by(error.without_url())
        };
        let sent = self.http.get(&self.url).send().await.map_err(away)?;
        let mut response = sent.error_for_status().map_err(away)?;
        let mut bytes = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(away)? {
            bytes.extend_from_slice(&piece);
            if bytes.len() > FETCH_BYTES_MAX {
                return Err(Error::new(ErrorKind::TooLarge, "fetch a key set")
                    .with("bytes_max", FETCH_BYTES_MAX));
            }
        }
        KeySet::read(&bytes)
    }
}

fn client(ca_file: Option<&PathBuf>) -> Result<reqwest::Client> {
    // The HTTP client has none of its own; one that the program has chosen before stays.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let wrong = |error| {
        Error::new(ErrorKind::Config, "use the configuration")
            .because("registry.tokens.ca_file: it cannot be used")
            .caused_by(error)
    };
    let mut builder = reqwest::Client::builder()
        .timeout(FETCH_MAX)
        // Elsewhere is not what was configured.
        .redirect(reqwest::redirect::Policy::none());
    if let Some(file) = ca_file {
        let bytes = read_file(file, "registry.tokens.ca_file", FILE_BYTES_MAX)?;
        builder =
            builder.tls_certs_only(reqwest::Certificate::from_pem_bundle(&bytes).map_err(wrong)?);
    }
    builder.build().map_err(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    const KEYS: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"ed",
        "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

    #[tokio::test]
    async fn who_goes_away_while_the_address_is_asked_does_not_have_it_asked_again() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/keys", listener.local_addr().unwrap());
        let remote = Remote::new(client(None).unwrap(), &url);
        let ask = || {
            let remote = Arc::clone(&remote);
            tokio::spawn(async move { remote.refresh(FETCH_PAUSE).await })
        };
        let first = ask();
        let (mut connection, _) = listener.accept().await.unwrap();
        connection.read_u8().await.unwrap();
        first.abort();
        assert!(first.await.unwrap_err().is_cancelled());
        let second = ask();
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{KEYS}", KEYS.len());
        connection.write_all(answer.as_bytes()).await.unwrap();
        second.await.unwrap();
        assert_ne!(format!("{:?}", remote.keys()), format!("{:?}", KeySet::default()));
        let again = tokio::time::timeout(Duration::ZERO, listener.accept()).await;
        assert!(again.is_err(), "it was asked twice");
    }
}
