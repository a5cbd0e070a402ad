//! The way to the server (chapters 54.2.11 and 54.7).

use super::server_error::TLS_AT_SERVER;
use super::{closed, lost};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Instant;
use tidemesh_model::{PostgresSettings, Result, TlsMode};
use tidemesh_source::{Endpoint, Socket};

/// PostgreSQL's request for TLS: length 8, code 80877103 (chapter 54.7).
const TLS_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

/// Where these settings' server is.
pub(crate) fn endpoint(settings: &PostgresSettings) -> Endpoint<'_> {
    Endpoint {
        doing: ["connect to PostgreSQL", "talk to PostgreSQL"],
        table: "postgres",
        host: &settings.host,
        port: settings.port,
        tls: settings.tls,
        tls_ca_file: settings.tls_ca_file.as_deref(),
        tls_at_server: TLS_AT_SERVER,
    }
}

pub(super) fn connect(settings: &PostgresSettings, deadline: Instant) -> Result<Socket> {
    let endpoint = endpoint(settings);
    if settings.host.starts_with('/') {
        let path = format!("{}/.s.PGSQL.{}", settings.host, settings.port);
        return Socket::unix(&endpoint, Path::new(&path));
    }
    let stream = Socket::connect(&endpoint, deadline)?;
    match settings.tls {
        TlsMode::Disable => Socket::tcp(&endpoint, stream),
        _ => negotiate(&endpoint, stream),
    }
}

/// Asks for TLS and takes it up, as the mode says (chapter 54.2.11).
fn negotiate(endpoint: &Endpoint<'_>, mut stream: TcpStream) -> Result<Socket> {
    stream.write_all(&TLS_REQUEST).map_err(lost)?;
    let mut answer = [0];
    stream.read_exact(&mut answer).map_err(lost)?;
    match answer[0] {
        b'S' => Socket::tls(endpoint, stream),
        b'N' if endpoint.tls == TlsMode::Prefer => Socket::tcp(endpoint, stream),
        b'N' => Err(endpoint.without_tls()),
        _ => Err(closed()),
    }
}
