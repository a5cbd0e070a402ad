//! The socket: TCP or unix, plain or TLS, never blocking by itself; waiting is by `poll`.

use super::server_error::{tls_refused, without_tls};
use super::tls::client_config;
use super::{closed, lost};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustls::pki_types::ServerName;
use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};
use tidemesh_model::{Error, ErrorKind, PostgresSettings, Result, TlsMode};

/// The receive buffer asked for over TCP, so that the server need not wait for us.
const RECEIVE_BUFFER_BYTES: usize = 4 * 1024 * 1024;

/// PostgreSQL's request for TLS: length 8, code 80877103 (chapter 54.7).
const TLS_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

/// A connection's bytes.
pub(crate) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<rustls::StreamOwned<rustls::ClientConnection, TcpStream>>),
}

/// What to wait for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Wait {
    Read,
    Write,
}

impl Socket {
    pub(super) fn connect(settings: &PostgresSettings, deadline: Instant) -> Result<Self> {
        if settings.host.starts_with('/') {
            let path = format!("{}/.s.PGSQL.{}", settings.host, settings.port);
            let stream = UnixStream::connect(&path).map_err(|e| unreachable(settings, e))?;
            stream.set_nonblocking(true).map_err(lost)?;
            return Ok(Self::Unix(stream));
        }
        let stream = connect_tcp(settings, deadline)?;
        stream.set_nodelay(true).map_err(lost)?;
        // More room is a wish: the connection works without.
        let _ = socket2::SockRef::from(&stream).set_recv_buffer_size(RECEIVE_BUFFER_BYTES);
        let stream = if settings.tls == TlsMode::Disable {
            Self::Tcp(stream)
        } else {
            negotiate(settings, stream, deadline)?
        };
        let tcp = match &stream {
            Self::Tcp(tcp) => Some(tcp),
            Self::Tls(tls) => Some(tls.get_ref()),
            Self::Unix(_) => None,
        };
        if let Some(tcp) = tcp {
            tcp.set_read_timeout(None).map_err(lost)?;
            tcp.set_nonblocking(true).map_err(lost)?;
        }
        Ok(stream)
    }

    /// Waits until there is something to read, or room to write; false if the time ran out.
    pub(crate) fn wait(&self, what: Wait, timeout: Duration) -> std::io::Result<bool> {
        let flags = match what {
            Wait::Read => PollFlags::IN,
            Wait::Write => PollFlags::OUT,
        };
        let timeout = Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        };
        let fd = self.fd();
        let mut fds = [PollFd::new(&fd, flags)];
        match poll(&mut fds, Some(&timeout)) {
            Ok(count) => Ok(count > 0),
            Err(rustix::io::Errno::INTR) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether a pause before reading pays: over TCP the server sends in larger pieces if it is
    /// left alone for longer.
    pub(crate) fn burst_pause(&self) -> Duration {
        match self {
            Self::Unix(_) => Duration::from_micros(300),
            Self::Tcp(_) | Self::Tls(_) => Duration::from_micros(1000),
        }
    }

    pub(crate) fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
            Self::Tls(stream) => stream.get_ref().as_fd(),
        }
    }
}

fn unreachable(settings: &PostgresSettings, error: std::io::Error) -> Error {
    Error::new(ErrorKind::Unavailable, "connect to PostgreSQL")
        .because("it cannot be reached")
        .with("host", &settings.host)
        .with("port", settings.port)
        .caused_by(error)
        .help("see that it runs there and that postgres.host and postgres.port are right")
}

fn connect_tcp(settings: &PostgresSettings, deadline: Instant) -> Result<TcpStream> {
    let addresses = (settings.host.as_str(), settings.port)
        .to_socket_addrs()
        .map_err(|error| unreachable(settings, error))?;
    let mut last = std::io::Error::other("the name has no address");
    for address in addresses {
        let left = deadline.saturating_duration_since(Instant::now());
        match TcpStream::connect_timeout(&address, left.max(Duration::from_millis(1))) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(unreachable(settings, last))
}

/// Asks for TLS and takes it up, as the mode says (chapter 54.2.11).
fn negotiate(
    settings: &PostgresSettings,
    mut stream: TcpStream,
    deadline: Instant,
) -> Result<Socket> {
    let left = deadline.saturating_duration_since(Instant::now());
    stream.set_read_timeout(Some(left.max(Duration::from_millis(1)))).map_err(lost)?;
    stream.write_all(&TLS_REQUEST).map_err(lost)?;
    let mut answer = [0];
    stream.read_exact(&mut answer).map_err(lost)?;
    match answer[0] {
        b'S' => {}
        b'N' if settings.tls == TlsMode::Prefer => return Ok(Socket::Tcp(stream)),
        b'N' => return Err(without_tls("connect to PostgreSQL")),
        _ => return Err(closed()),
    }
    let name = ServerName::try_from(settings.host.clone()).map_err(|error| {
        Error::new(ErrorKind::Config, "connect to PostgreSQL")
            .because("postgres.host is no name that a certificate can have")
            .caused_by(error)
    })?;
    let mut connection = rustls::ClientConnection::new(client_config(settings)?, name)
        .map_err(|error| tls_refused("connect to PostgreSQL").caused_by(error))?;
    while connection.is_handshaking() {
        connection.complete_io(&mut stream).map_err(handshake_failed)?;
    }
    Ok(Socket::Tls(Box::new(rustls::StreamOwned::new(connection, stream))))
}

/// A certificate does not become right by waiting; a connection that breaks meanwhile may.
fn handshake_failed(error: std::io::Error) -> Error {
    match error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) {
        true => tls_refused("connect to PostgreSQL").caused_by(error),
        false => lost(error),
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.flush(),
            Self::Unix(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}
