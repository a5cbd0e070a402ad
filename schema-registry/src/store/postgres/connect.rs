//! Connections to the database by libpq's URL, over TLS where it says so.

use std::time::Duration;

use tidemesh_model::{Error, ErrorKind, Result};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::{AsyncMessage, Client, Config, Connection, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::STATEMENT_MS_MAX;
use super::tls::{self, Asked};

/// The longest that connecting may take.
pub(super) const CONNECT_MS_MAX: u64 = 3_000;

/// The port of a server that the URL names without one.
const PORT_DEFAULT: u16 = 5432;

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
    /// `Config`, without what the parser says, which may repeat the password; or if the certificates
    /// that it names cannot be used.
    pub(super) fn of(url: &str) -> Result<Self> {
        let (url, asked) = Asked::of(url)?;
        let mut config: Config = url.parse().map_err(|_| {
            Error::new(ErrorKind::Config, "read the registry's store setting")
                .because("it is no URL of a PostgreSQL database")
                .help(
                    "write it as postgresql://USER:PASSWORD@HOST:5432/DATABASE?sslmode=verify-full",
                )
        })?;
        config.connect_timeout(Duration::from_millis(CONNECT_MS_MAX));
        config.application_name("tidemesh registry");
        config.options(format!(
            "-c statement_timeout={STATEMENT_MS_MAX} -c lock_timeout={STATEMENT_MS_MAX} \
             -c idle_in_transaction_session_timeout={STATEMENT_MS_MAX} -c synchronous_commit=on"
        ));
        config.keepalives_idle(Duration::from_secs(10));
        config.tcp_user_timeout(Duration::from_millis(STATEMENT_MS_MAX));
        config.ssl_mode(if asked.tls { SslMode::Require } else { SslMode::Disable });
        Ok(Self { config, tls: asked.connector()? })
    }

    /// Hosts and ports, as they may be shown.
    fn servers(&self) -> String {
        let ports = self.config.get_ports();
        let server = |(place, host): (usize, &Host)| {
            let port = ports.get(place).or(ports.first()).unwrap_or(&PORT_DEFAULT);
            match host {
                Host::Tcp(name) => format!("{name}:{port}"),
                Host::Unix(folder) => format!("{}:{port}", folder.display()),
            }
        };
        let servers: Vec<String> = self.config.get_hosts().iter().enumerate().map(server).collect();
        servers.join(",")
    }

    /// Connects; `told` is called at each notification.
    ///
    /// # Errors
    ///
    /// The database's own; `Timeout`, for a server that takes the connection may never answer; and
    /// `Prerequisite` or `Authentication` if there is no TLS with it.
    pub(super) async fn connect(
        &self,
        told: impl FnMut() + Send + 'static,
    ) -> Result<Client, std::result::Result<Error, tokio_postgres::Error>> {
        let limit = Duration::from_millis(CONNECT_MS_MAX);
        match tokio::time::timeout(limit, self.connect_unbounded(told)).await {
            Ok(connected) => connected.map_err(|error| {
                let told = tls::told(error);
                told.map(|error| error.with("server", self.servers()))
            }),
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
