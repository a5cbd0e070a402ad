//! Connections to the database by libpq's URL, over TLS where it says so.

use std::time::Duration;

use tidemesh_model::{Error, ErrorKind, Result};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::{AsyncMessage, Client, Config, Connection, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::Owner;
use crate::tls::{self, Asked};

/// The longest that connecting may take, in milliseconds.
pub const CONNECT_MS_MAX: u64 = 3_000;

/// The longest that a statement may take, its wait for locks included, in milliseconds.
pub const STATEMENT_MS_MAX: u64 = 8_000;

/// The port of a server that the URL names without one.
const PORT_DEFAULT: u16 = 5432;

/// How the database is reached.
#[derive(Clone)]
pub struct Address {
    config: Config,
    tls: Option<MakeRustlsConnect>,
    owner: &'static Owner,
}

impl std::fmt::Debug for Address {
    /// Without what the URL says of the user.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Address").field(&self.servers()).finish()
    }
}

impl Address {
    /// Reads a URL, whose password and name nothing repeats.
    ///
    /// # Errors
    ///
    /// `Config`, without what the parser says, which may repeat the password; or if the certificates
    /// that it names cannot be used.
    pub fn of(url: &str, owner: &'static Owner) -> Result<Self> {
        let (url, asked) = Asked::of(url, owner)?;
        let mut config: Config = url.parse().map_err(|_| {
            tls::wrong(owner, "it is no URL of a PostgreSQL database").help(
                "write it as postgresql://USER:PASSWORD@HOST:5432/DATABASE?sslmode=verify-full",
            )
        })?;
        config.connect_timeout(Duration::from_millis(CONNECT_MS_MAX));
        config.application_name(owner.application);
        config.options(format!(
            "-c statement_timeout={STATEMENT_MS_MAX} -c lock_timeout={STATEMENT_MS_MAX} \
             -c idle_in_transaction_session_timeout={STATEMENT_MS_MAX} -c synchronous_commit=on"
        ));
        config.keepalives_idle(Duration::from_secs(10));
        config.tcp_user_timeout(Duration::from_millis(STATEMENT_MS_MAX));
        config.ssl_mode(if asked.tls { SslMode::Require } else { SslMode::Disable });
        Ok(Self { config, tls: asked.connector(owner)?, owner })
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

    /// Connects, on the runtime that this is called on; `told` is called at each notification.
    ///
    /// # Errors
    ///
    /// The database's own; `Timeout`, for a server that takes the connection may never answer; and
    /// `Prerequisite` or `Authentication` if there is no TLS with it.
    pub async fn connect(
        &self,
        told: impl FnMut() + Send + 'static,
    ) -> Result<Client, std::result::Result<Error, tokio_postgres::Error>> {
        let limit = Duration::from_millis(CONNECT_MS_MAX);
        match tokio::time::timeout(limit, self.connect_unbounded(told)).await {
            Ok(connected) => connected.map_err(|error| {
                let told = tls::told(error, self.owner);
                told.map(|error| error.with("server", self.servers()))
            }),
            Err(_) => Err(Ok(Error::new(ErrorKind::Timeout, self.owner.connecting)
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
                tracing::debug!(%error, "the connection to a store ended");
                return;
            }
            None => return,
        }
    }
}
