//! The log-in as the server asks for it. What would show a password goes over TLS or a unix socket alone.

use super::protocol::{self, Answer, CLIENT_SSL, Greeting, login, tls_request};
use super::{Client, failed, malformed};
use mysql_common::scramble::{create_response_for_ed25519, scramble_native, scramble_sha256};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Instant;
use tidemesh_model::{Error, ErrorKind, MysqlSettings, Result, TlsMode};
use tidemesh_source::{Endpoint, Socket};

/// How MySQL 8 and later log in by default: by a hash that the server has kept since the password was
/// shown to it once.
const CACHING_SHA2: &str = "caching_sha2_password";
const SHA256: &str = "sha256_password";
const NATIVE: &str = "mysql_native_password";
/// MariaDB's.
const ED25519: &str = "client_ed25519";
const CLEAR: &str = "mysql_clear_password";

/// The server knows the hash.
const KNOWN: &[u8] = &[3];
/// The server wants the password itself.
const WANTS_PASSWORD: &[u8] = &[4];

/// Bytes of the greeting at most.
const GREETING_BYTES_MAX: usize = 4096;

/// What comes of connecting: bytes and the number of the next packet.
pub(super) struct Greeted {
    pub(super) socket: Socket,
    pub(super) greeting: Greeting,
    /// The last packet's number.
    pub(super) sequence: u8,
}

pub(super) fn connect(
    settings: &MysqlSettings,
    endpoint: &Endpoint<'_>,
    deadline: Instant,
) -> Result<Greeted> {
    if settings.host.starts_with('/') {
        let mut client = Client::over(Socket::unix(endpoint, Path::new(&settings.host))?, deadline);
        let payload = client.receive()?;
        let greeting = greeting(&payload)?;
        return Ok(Greeted { greeting, sequence: client.sequence, socket: client.socket });
    }
    let mut stream = Socket::connect(endpoint, deadline)?;
    let (sequence, payload) = first_packet(endpoint, &mut stream)?;
    let greeting = greeting(&payload)?;
    let is_offered = greeting.capabilities & CLIENT_SSL != 0;
    let (socket, sequence) = match settings.tls {
        TlsMode::Disable => (Socket::tcp(endpoint, stream)?, sequence),
        TlsMode::Prefer if !is_offered => (Socket::tcp(endpoint, stream)?, sequence),
        _ if !is_offered => return Err(endpoint.without_tls()),
        _ => {
            let sequence = sequence.wrapping_add(1);
            let request = tls_request();
            let mut packet = u32::try_from(request.len()).unwrap_or(0).to_le_bytes();
            packet[3] = sequence;
            stream
                .write_all(&[&packet[..], &request].concat())
                .map_err(|error| endpoint.lost(error))?;
            (Socket::tls(endpoint, stream)?, sequence)
        }
    };
    Ok(Greeted { socket, greeting, sequence })
}

/// The first packet, before it is known whether TLS follows: not a byte more may be read.
fn first_packet(endpoint: &Endpoint<'_>, stream: &mut TcpStream) -> Result<(u8, Vec<u8>)> {
    let mut head = [0; 4];
    stream.read_exact(&mut head).map_err(|error| endpoint.lost(error))?;
    let [low, middle, high, sequence] = head;
    let length = u32::from_le_bytes([low, middle, high, 0]) as usize;
    if length > GREETING_BYTES_MAX {
        return Err(malformed().with("bytes", length));
    }
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload).map_err(|error| endpoint.lost(error))?;
    Ok((sequence, payload))
}

fn greeting(payload: &[u8]) -> Result<Greeting> {
    if let Answer::Failed(failure) = protocol::answer(payload) {
        return Err(failed(&failure, "connect to MySQL"));
    }
    protocol::greeting(payload).ok_or_else(|| {
        malformed()
            .help("see that mysql.host and mysql.port are those of a MySQL or MariaDB server")
    })
}

impl Client {
    pub(super) fn log_in(&mut self, settings: &MysqlSettings, greeting: &Greeting) -> Result<()> {
        let password = settings.password.as_ref().map_or("", |password| password.expose());
        let (mut plugin, mut nonce) = (greeting.plugin.clone(), greeting.nonce.clone());
        // What the server proposes may be nothing that this user has: it says so then.
        let first = proof(&plugin, password, &nonce).unwrap_or_default();
        let hidden = if is_shown(&plugin) { Vec::new() } else { first };
        self.send(&login(&settings.user, &plugin, &hidden, self.socket.is_tls()))?;
        loop {
            let payload = self.receive()?;
            match protocol::answer(&payload) {
                Answer::Ok => return Ok(()),
                Answer::Failed(failure) => {
                    let error = failed(&failure, "log in to MySQL").with("user", &settings.user);
                    return Err(match settings.password {
                        Some(_) => error,
                        None => error.help("set mysql.password_file"),
                    });
                }
                Answer::End(rest) => {
                    (plugin, nonce) = protocol::switch(rest).ok_or_else(malformed)?;
                    let proof = proof(&plugin, password, &nonce).ok_or_else(|| unknown(&plugin))?;
                    if is_shown(&plugin) && !password.is_empty() {
                        self.may_show(&plugin)?;
                    }
                    self.send(&proof)?;
                }
                Answer::More(KNOWN) => {}
                Answer::More(WANTS_PASSWORD) if plugin == CACHING_SHA2 => {
                    self.may_show(&plugin)?;
                    self.send(&shown(password))?;
                }
                Answer::More(_) | Answer::Other => return Err(unknown(&plugin)),
            }
        }
    }

    /// A password goes in clear only where nobody else can read it.
    fn may_show(&self, plugin: &str) -> Result<()> {
        if self.socket.is_tls() || matches!(self.socket, Socket::Unix(_)) {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Authentication, "log in to MySQL")
            .because("the server wants the password itself, which is shown over TLS alone")
            .with("plugin", plugin)
            .help("set mysql.tls = \"require\" or above, or \"prefer\" with a server that has TLS"))
    }
}

/// Whether the proof is the password itself.
fn is_shown(plugin: &str) -> bool {
    matches!(plugin, SHA256 | CLEAR)
}

fn shown(password: &str) -> Vec<u8> {
    let mut bytes = password.as_bytes().to_vec();
    bytes.push(0);
    bytes
}

/// The proof that the password is known; none for a plugin that is not known here.
fn proof(plugin: &str, password: &str, nonce: &[u8]) -> Option<Vec<u8>> {
    let bytes = password.as_bytes();
    match plugin {
        NATIVE | CACHING_SHA2 if password.is_empty() => Some(Vec::new()),
        NATIVE => scramble_native(nonce, bytes).map(|proof| proof.to_vec()),
        CACHING_SHA2 => scramble_sha256(nonce, bytes).map(|proof| proof.to_vec()),
        ED25519 => Some(create_response_for_ed25519(bytes, nonce).to_vec()),
        SHA256 | CLEAR => Some(shown(password)),
        _ => None,
    }
}

fn unknown(plugin: &str) -> Error {
    Error::new(ErrorKind::Unsupported, "log in to MySQL")
        .because("the server asks for a kind of log-in that is not known here")
        .with("plugin", plugin)
        .help(
            "use a user with caching_sha2_password, mysql_native_password or, at MariaDB, ed25519",
        )
}
