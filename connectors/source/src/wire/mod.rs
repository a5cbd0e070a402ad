//! The way to a database's server for connections of our own: sockets that never block by themselves,
//! plain or with TLS. Absent here: any database's protocol.

mod pending;
mod socket;
mod stream;
mod tls;

pub use pending::{Pending, Pieces};
pub use socket::{Broken, Socket, Wait, would_block};
pub use stream::{LogConnection, LogStream};
pub use tls::client_config;

use std::path::Path;
use tidemesh_model::{Error, ErrorKind, TlsMode};

/// Where a server is, how it is reached, and how errors call it.
#[derive(Debug, Clone, Copy)]
pub struct Endpoint<'a> {
    /// What is done with it, as errors say: `connect to PostgreSQL`, `talk to PostgreSQL`.
    pub doing: [&'static str; 2],
    /// The settings' table that describes it: `postgres`.
    pub table: &'static str,
    /// A host name or address.
    pub host: &'a str,
    /// Its port.
    pub port: u16,
    /// How TLS is used.
    pub tls: TlsMode,
    /// What the server's certificate is checked against; none takes the system's.
    pub tls_ca_file: Option<&'a Path>,
    /// How TLS is switched on at the server.
    pub tls_at_server: &'static str,
}

impl Endpoint<'_> {
    /// Nobody answers there.
    pub(crate) fn unreachable(&self, error: std::io::Error) -> Error {
        let table = self.table;
        Error::new(ErrorKind::Unavailable, self.doing[0])
            .because("it cannot be reached")
            .with("host", self.host)
            .with("port", self.port)
            .caused_by(error)
            .help(format!(
                "see that it runs there and that {table}.host and {table}.port are right"
            ))
    }

    /// The connection broke.
    #[must_use]
    pub fn lost(&self, error: std::io::Error) -> Error {
        Error::new(ErrorKind::Unavailable, self.doing[1])
            .because("the connection was lost")
            .caused_by(error)
    }

    /// See [`without_tls`].
    #[must_use]
    pub fn without_tls(&self) -> Error {
        without_tls(self.doing[0], self.table, self.tls_at_server)
    }

    pub(crate) fn tls_refused(&self) -> Error {
        tls_refused(self.doing[0], self.table)
    }
}

/// TLS is asked for and the server has none; `at_server` is how it is switched on there.
#[must_use]
pub fn without_tls(doing: &'static str, table: &str, at_server: &str) -> Error {
    Error::new(ErrorKind::Prerequisite, doing)
        .because(format!("the server has no TLS, and {table}.tls asks for it"))
        .help(format!("set {at_server} at the server, or {table}.tls = \"prefer\""))
}

/// The two sides could not agree, or the certificate is not one that is trusted.
#[must_use]
pub fn tls_refused(doing: &'static str, table: &str) -> Error {
    Error::new(ErrorKind::Authentication, doing).because("TLS was not agreed on").help(format!(
        "see {table}.tls, {table}.tls_ca_file, {table}.host and the server's certificate"
    ))
}
