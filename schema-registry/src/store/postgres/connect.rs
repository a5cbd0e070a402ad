//! Connections to the database: by libpq's URL, over TLS where it says `sslmode=require`, against the
//! system's certificates.

use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use tidemesh_model::{Error, ErrorKind, Result};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_postgres::config::SslMode;
use tokio_postgres::{AsyncMessage, Client, Config, Connection, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::STATEMENT_MS_MAX;

/// The longest that connecting may take.
pub(super) const CONNECT_MS_MAX: u64 = 3_000;

/// How the database is reached.
#[derive(Clone)]
pub(super) struct Address {
    config: Config,
    tls: Option<MakeRustlsConnect>,
}

impl Address {
    /// Reads a URL.
    ///
    /// # Errors
    ///
    /// `Config`, without what the parser says, which may repeat the password.
    pub(super) fn of(url: &str) -> Result<Self> {
        let mut config: Config = url.parse().map_err(|_| {
            Error::new(ErrorKind::Config, "read the registry's store setting")
                .because("it is no URL of a PostgreSQL database")
                .help("write it as postgresql://USER:PASSWORD@HOST:5432/DATABASE?sslmode=require")
        })?;
        config.connect_timeout(Duration::from_millis(CONNECT_MS_MAX));
        config.application_name("tidemesh registry");
        config.options(format!(
            "-c statement_timeout={STATEMENT_MS_MAX} -c lock_timeout={STATEMENT_MS_MAX} \
             -c idle_in_transaction_session_timeout={STATEMENT_MS_MAX} -c synchronous_commit=on"
        ));
        config.keepalives_idle(Duration::from_secs(10));
        config.tcp_user_timeout(Duration::from_millis(STATEMENT_MS_MAX));
        let tls = match config.get_ssl_mode() {
            SslMode::Require => Some(tls()?),
            _ => None,
        };
        Ok(Self { config, tls })
    }

    /// Connects; `told` is called at each notification.
    ///
    /// # Errors
    ///
    /// The database's own, or `Timeout`: a server that takes the connection may never answer.
    pub(super) async fn connect(
        &self,
        told: impl FnMut() + Send + 'static,
    ) -> Result<Client, std::result::Result<Error, tokio_postgres::Error>> {
        let limit = Duration::from_millis(CONNECT_MS_MAX);
        match tokio::time::timeout(limit, self.connect_unbounded(told)).await {
            Ok(connected) => connected.map_err(Err),
            Err(_) => Err(Ok(Error::new(ErrorKind::Timeout, "connect to the registry's store")
                .because("the database does not answer"))),
        }
    }

    async fn connect_unbounded(
        &self,
        told: impl FnMut() + Send + 'static,
    ) -> Result<Client, tokio_postgres::Error> {
        match &self.tls {
            Some(tls) => {
                let (client, connection) = self.config.connect(tls.clone()).await?;
                tokio::spawn(drive(connection, told));
                Ok(client)
            }
            None => {
                let (client, connection) = self.config.connect(NoTls).await?;
                tokio::spawn(drive(connection, told));
                Ok(client)
            }
        }
    }
}

async fn drive<S, T>(mut connection: Connection<S, T>, mut told: impl FnMut())
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        match std::future::poll_fn(|context| connection.poll_message(context)).await {
            Some(Ok(AsyncMessage::Notification(_))) => told(),
            Some(Ok(_)) => {}
            Some(Err(error)) => {
                tracing::debug!(%error, "the connection to the registry's store ended");
                return;
            }
            None => return,
        }
    }
}

fn tls() -> Result<MakeRustlsConnect> {
    let mut roots = RootCertStore::empty();
    for certificate in rustls_native_certs::load_native_certs().certs {
        // One that rustls does not take is of no use for checking either.
        let _ = roots.add(certificate);
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::new(ErrorKind::Config, "prepare TLS").caused_by(error))?;
    Ok(MakeRustlsConnect::new(builder.with_root_certificates(roots).with_no_client_auth()))
}
