//! The socket: TCP or unix, plain or TLS, never blocking by itself; waiting is by `poll`.

use super::Endpoint;
use super::tls::client_config;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustls::pki_types::ServerName;
use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};
use tidemesh_model::{Error, ErrorKind, Result};

/// The receive buffer asked for over TCP, so that the server need not wait for us.
const RECEIVE_BUFFER_BYTES: usize = 4 * 1024 * 1024;

/// A connection's bytes.
pub enum Socket {
    /// Over TCP.
    Tcp(TcpStream),
    /// Within the machine.
    Unix(UnixStream),
    /// Over TCP, with TLS.
    Tls(Box<rustls::StreamOwned<rustls::ClientConnection, TcpStream>>),
}

/// What to wait for.
#[derive(Debug, Clone, Copy)]
pub enum Wait {
    /// For something to read.
    Read,
    /// For room to write.
    Write,
}

/// Why no more was read or written.
#[derive(Debug)]
pub enum Broken {
    /// The server closed the connection.
    Closed,
    /// The time ran out.
    Late,
    /// The connection broke.
    Lost(std::io::Error),
}

impl Socket {
    /// Connects to a unix socket.
    ///
    /// # Errors
    ///
    /// `Unavailable`.
    pub fn unix(endpoint: &Endpoint<'_>, path: &Path) -> Result<Self> {
        let stream = UnixStream::connect(path).map_err(|error| endpoint.unreachable(error))?;
        stream.set_nonblocking(true).map_err(|error| endpoint.lost(error))?;
        Ok(Self::Unix(stream))
    }

    /// Connects over TCP, for now blocking up to the deadline: before [`Socket::tcp`] or
    /// [`Socket::tls`] take it.
    ///
    /// # Errors
    ///
    /// `Unavailable`.
    pub fn connect(endpoint: &Endpoint<'_>, deadline: Instant) -> Result<TcpStream> {
        let stream = connect_tcp(endpoint, deadline)?;
        let lost = |error| endpoint.lost(error);
        stream.set_nodelay(true).map_err(lost)?;
        // More room is a wish: the connection works without.
        let _ = socket2::SockRef::from(&stream).set_recv_buffer_size(RECEIVE_BUFFER_BYTES);
        let left = deadline.saturating_duration_since(Instant::now());
        stream.set_read_timeout(Some(left.max(Duration::from_millis(1)))).map_err(lost)?;
        Ok(stream)
    }

    /// The connection without TLS.
    ///
    /// # Errors
    ///
    /// `Unavailable`.
    pub fn tcp(endpoint: &Endpoint<'_>, stream: TcpStream) -> Result<Self> {
        unblock(endpoint, &stream)?;
        Ok(Self::Tcp(stream))
    }

    /// Takes up TLS, where both sides have said that they will.
    ///
    /// # Errors
    ///
    /// `Authentication` if it is not agreed on; `Config`; `Unavailable`.
    pub fn tls(endpoint: &Endpoint<'_>, mut stream: TcpStream) -> Result<Self> {
        let name = ServerName::try_from(endpoint.host.to_owned()).map_err(|error| {
            Error::new(ErrorKind::Config, endpoint.doing[0])
                .because(format!("{}.host is no name that a certificate can have", endpoint.table))
                .caused_by(error)
        })?;
        let mut connection = rustls::ClientConnection::new(client_config(endpoint)?, name)
            .map_err(|error| endpoint.tls_refused().caused_by(error))?;
        while connection.is_handshaking() {
            connection.complete_io(&mut stream).map_err(|e| handshake_failed(endpoint, e))?;
        }
        unblock(endpoint, &stream)?;
        Ok(Self::Tls(Box::new(rustls::StreamOwned::new(connection, stream))))
    }

    /// Waits until there is something to read, or room to write; false if the time ran out.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub fn wait(&self, what: Wait, timeout: Duration) -> std::io::Result<bool> {
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

    /// Fills `buffer`, and waits for that up to the deadline.
    ///
    /// # Errors
    ///
    /// Why there are fewer bytes.
    pub fn read_exact_by(&mut self, buffer: &mut [u8], deadline: Instant) -> Result<(), Broken> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.read(&mut buffer[filled..]) {
                Ok(0) => return Err(Broken::Closed),
                Ok(count) => filled += count,
                Err(error) if would_block(&error) => self.wait_by(Wait::Read, deadline)?,
                Err(error) => return Err(Broken::Lost(error)),
            }
        }
        Ok(())
    }

    /// Writes all of `bytes`, and waits for that up to the deadline.
    ///
    /// # Errors
    ///
    /// Why not all could be written.
    pub fn write_all_by(&mut self, mut bytes: &[u8], deadline: Instant) -> Result<(), Broken> {
        while !bytes.is_empty() {
            match self.write(bytes) {
                Ok(0) => return Err(Broken::Closed),
                Ok(count) => bytes = &bytes[count..],
                Err(error) if would_block(&error) => self.wait_by(Wait::Write, deadline)?,
                Err(error) => return Err(Broken::Lost(error)),
            }
        }
        match self.flush() {
            Err(error) if !would_block(&error) => Err(Broken::Lost(error)),
            _ => Ok(()),
        }
    }

    /// Waits up to the deadline.
    ///
    /// # Errors
    ///
    /// `Late`; `Lost`.
    pub fn wait_by(&self, what: Wait, deadline: Instant) -> Result<(), Broken> {
        let left = deadline.saturating_duration_since(Instant::now());
        match self.wait(what, left) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Broken::Late),
            Err(error) => Err(Broken::Lost(error)),
        }
    }

    /// How long a pause before reading pays: over TCP the server sends in larger pieces if it is
    /// left alone for longer.
    #[must_use]
    pub fn burst_pause(&self) -> Duration {
        match self {
            Self::Unix(_) => Duration::from_micros(300),
            Self::Tcp(_) | Self::Tls(_) => Duration::from_micros(1000),
        }
    }

    /// Whether it has TLS.
    #[must_use]
    pub fn is_tls(&self) -> bool {
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

fn unblock(endpoint: &Endpoint<'_>, stream: &TcpStream) -> Result<()> {
    stream.set_read_timeout(None).map_err(|error| endpoint.lost(error))?;
    stream.set_nonblocking(true).map_err(|error| endpoint.lost(error))
}

fn connect_tcp(endpoint: &Endpoint<'_>, deadline: Instant) -> Result<TcpStream> {
    let addresses = (endpoint.host, endpoint.port)
        .to_socket_addrs()
        .map_err(|error| endpoint.unreachable(error))?;
    let mut last = std::io::Error::other("the name has no address");
    for address in addresses {
        let left = deadline.saturating_duration_since(Instant::now());
        match TcpStream::connect_timeout(&address, left.max(Duration::from_millis(1))) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(endpoint.unreachable(last))
}

/// A certificate does not become right by waiting; a connection that breaks meanwhile may.
fn handshake_failed(endpoint: &Endpoint<'_>, error: std::io::Error) -> Error {
    match error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) {
        true => endpoint.tls_refused().caused_by(error),
        false => endpoint.lost(error),
    }
}

/// Whether nothing was read or written because it would have been waited for.
#[must_use]
pub fn would_block(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::Interrupted)
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
