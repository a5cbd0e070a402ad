//! The packets of a log-in and of the commands for replication. Pure.
//!
//! Source: MySQL 9.1 source documentation, "Client/Server Protocol" (`page_protocol_connection_phase`,
//! `page_protocol_replication`); MariaDB, "Clients & Utilities: Connection Phase".

use crate::bytes::Bytes;

/// Bytes of a packet's header: a length of three bytes, and a number.
pub(super) const PACKET_HEADER_BYTES: usize = 4;

/// The longest payload of a packet; one that is as long goes on in the next.
pub(super) const PAYLOAD_BYTES_MAX: usize = 0x00ff_ffff;

/// What the client can do (`CLIENT_…` in `include/mysql_com.h`): long passwords, long flags, the protocol
/// of 4.1, transactions, log-in by plugins, with answers of any length.
const CAPABILITIES: u32 =
    0x1 | 0x4 | 0x200 | 0x2000 | CLIENT_SECURE_CONNECTION | CLIENT_PLUGIN_AUTH | 0x0020_0000;
pub(super) const CLIENT_SSL: u32 = 0x800;
const CLIENT_SECURE_CONNECTION: u32 = 0x8000;
const CLIENT_PLUGIN_AUTH: u32 = 0x0008_0000;

/// The collation utf8mb4_general_ci, which all servers of interest have.
const COLLATION: u8 = 45;

/// The most bytes that the server may send in one answer, as the log-in says; the stream has its own limit.
const ANSWER_BYTES_MAX: u32 = 1 << 30;

const COM_QUERY: u8 = 0x03;
const COM_BINLOG_DUMP: u8 = 0x12;
const COM_REGISTER_REPLICA: u8 = 0x15;
const COM_BINLOG_DUMP_GTID: u8 = 0x1e;

/// The server chooses the place by the transactions that the client has.
const DUMP_BY_GTID: u16 = 0x04;

/// The most bytes of the name under which a replica is registered (`HOSTNAME_LENGTH`, 60 in MariaDB).
const NAME_BYTES_MAX: usize = 60;

/// What the server says first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Greeting {
    pub(super) capabilities: u32,
    /// The connection's number.
    pub(super) thread: u32,
    /// What the answer is computed with.
    pub(super) nonce: Vec<u8>,
    /// How to log in, by default.
    pub(super) plugin: String,
}

/// What the server says to what was sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer<'a> {
    Ok,
    Failed(Failure<'a>),
    /// The end of a list; at a log-in: another way to log in is wanted.
    End(&'a [u8]),
    /// The log-in goes on with this.
    More(&'a [u8]),
    /// A row, or how many columns rows have.
    Other,
}

/// An error of the server.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failure<'a> {
    pub(super) code: u16,
    pub(super) state: &'a [u8],
    pub(super) message: &'a [u8],
}

/// The server's first packet; none if it is none of version 10.
pub(super) fn greeting(payload: &[u8]) -> Option<Greeting> {
    const VERSION: u8 = 10;
    /// Bytes of the nonce's second part at least, the zero at its end included.
    const SECOND_MIN: usize = 13;
    let mut bytes = Bytes(payload);
    (bytes.u8()? == VERSION).then_some(())?;
    bytes.until_zero()?;
    let thread = bytes.u32()?;
    let mut nonce = bytes.take(8)?.to_vec();
    bytes.u8()?;
    let low = bytes.u16()?;
    let _collation_and_status = bytes.take(3)?;
    let capabilities = u32::from(low) | u32::from(bytes.u16()?) << 16;
    let nonce_bytes = usize::from(bytes.u8()?);
    let _reserved = bytes.take(10)?;
    if capabilities & CLIENT_SECURE_CONNECTION != 0 {
        let second = bytes.take(nonce_bytes.saturating_sub(8).max(SECOND_MIN))?;
        nonce.extend_from_slice(second.strip_suffix(&[0]).unwrap_or(second));
    }
    let plugin = match capabilities & CLIENT_PLUGIN_AUTH {
        0 => String::new(),
        _ => plugin_name(bytes.0),
    };
    Some(Greeting { capabilities, thread, nonce, plugin })
}

fn plugin_name(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// Another way to log in: the plugin's name, and what its answer is computed with.
pub(super) fn switch(payload: &[u8]) -> Option<(String, Vec<u8>)> {
    let mut bytes = Bytes(payload);
    let name = String::from_utf8_lossy(bytes.until_zero()?).into_owned();
    Some((name, bytes.0.strip_suffix(&[0]).unwrap_or(bytes.0).to_vec()))
}

/// What a packet's payload is.
pub(super) fn answer(payload: &[u8]) -> Answer<'_> {
    match payload {
        [0x00, ..] => Answer::Ok,
        [0xff, rest @ ..] => Answer::Failed(failure(rest)),
        [0xfe, rest @ ..] => Answer::End(rest),
        [0x01, rest @ ..] => Answer::More(rest),
        _ => Answer::Other,
    }
}

/// An error's number, state and text, behind its first byte.
pub(super) fn failure(payload: &[u8]) -> Failure<'_> {
    let mut bytes = Bytes(payload);
    let code = bytes.u16().unwrap_or_default();
    match bytes.0 {
        [b'#', rest @ ..] if rest.len() >= 5 => {
            Failure { code, state: &rest[..5], message: &rest[5..] }
        }
        message => Failure { code, state: b"", message },
    }
}

/// The request for TLS, which the log-in follows encrypted.
pub(super) fn tls_request() -> Vec<u8> {
    let mut out = (CAPABILITIES | CLIENT_SSL).to_le_bytes().to_vec();
    out.extend_from_slice(&ANSWER_BYTES_MAX.to_le_bytes());
    out.push(COLLATION);
    out.extend_from_slice(&[0; 23]);
    out
}

/// The log-in.
pub(super) fn login(user: &str, plugin: &str, proof: &[u8], is_tls: bool) -> Vec<u8> {
    let mut out = tls_request();
    if !is_tls {
        out[..4].copy_from_slice(&CAPABILITIES.to_le_bytes());
    }
    out.extend_from_slice(user.as_bytes());
    out.push(0);
    // No proof is longer than 250 bytes, where a length has more than one byte.
    out.push(u8::try_from(proof.len()).unwrap_or(0));
    out.extend_from_slice(proof);
    out.extend_from_slice(plugin.as_bytes());
    out.push(0);
    out
}

pub(super) fn query(statement: &str) -> Vec<u8> {
    let mut out = vec![COM_QUERY];
    out.extend_from_slice(statement.as_bytes());
    out
}

/// Who reads, so that the server lists it among its replicas.
pub(super) fn register(server_id: u32, name: &str) -> Vec<u8> {
    let mut end = name.len().min(NAME_BYTES_MAX);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    let mut out = vec![COM_REGISTER_REPLICA];
    out.extend_from_slice(&server_id.to_le_bytes());
    out.push(u8::try_from(end).unwrap_or(0));
    out.extend_from_slice(&name.as_bytes()[..end]);
    // No user and no password are shown; port, rank and the primary's id are not used.
    out.extend_from_slice(&[0; 2 + 2 + 4 + 4]);
    out
}

/// Asks for the log from a place of a file; of no file, from where variables of the session say.
pub(super) fn dump(server_id: u32, file: &str, position: u32) -> Vec<u8> {
    let mut out = vec![COM_BINLOG_DUMP];
    out.extend_from_slice(&position.to_le_bytes());
    out.extend_from_slice(&0_u16.to_le_bytes());
    out.extend_from_slice(&server_id.to_le_bytes());
    out.extend_from_slice(file.as_bytes());
    out
}

/// Asks for all transactions but these, a set in the form of a log's own.
pub(super) fn dump_gtids(server_id: u32, gtids: &[u8]) -> Vec<u8> {
    const FIRST: u64 = 4;
    let mut out = vec![COM_BINLOG_DUMP_GTID];
    out.extend_from_slice(&DUMP_BY_GTID.to_le_bytes());
    out.extend_from_slice(&server_id.to_le_bytes());
    out.extend_from_slice(&0_u32.to_le_bytes());
    out.extend_from_slice(&FIRST.to_le_bytes());
    out.extend_from_slice(&u32::try_from(gtids.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(gtids);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As a MariaDB 10.11.19 greets.
    fn greets() -> Vec<u8> {
        let mut bytes = b"\x0a5.5.5-10.11.19-MariaDB-log\0".to_vec();
        bytes.extend_from_slice(&[7, 0, 0, 0]);
        bytes.extend_from_slice(b"abcdefgh\0");
        bytes.extend_from_slice(&[0xfe, 0xf7, 45, 2, 0, 0xff, 0x81, 21]);
        bytes.extend_from_slice(&[0; 10]);
        bytes.extend_from_slice(b"ijklmnopqrst\0mysql_native_password\0");
        bytes
    }

    #[test]
    fn a_greeting_is_read() {
        let greeting = greeting(&greets()).unwrap();
        assert_eq!(greeting.nonce, b"abcdefghijklmnopqrst");
        assert_eq!((greeting.thread, greeting.plugin.as_str()), (7, "mysql_native_password"));
        assert!(greeting.capabilities & CLIENT_SSL == 0);
    }

    #[test]
    fn an_error_has_its_state_or_none() {
        let failure = |bytes| answer(bytes);
        let told = Failure { code: 1045, state: b"28000", message: b"no" };
        assert_eq!(failure(b"\xff\x15\x04#28000no"), Answer::Failed(told));
        let told = Failure { code: 1040, state: b"", message: b"Too many connections" };
        assert_eq!(failure(b"\xff\x10\x04Too many connections"), Answer::Failed(told));
    }

    #[test]
    fn a_long_name_is_cut_between_characters() {
        let packet = register(1, &"ü".repeat(40));
        assert_eq!(packet[5], 60);
        let packet = register(1, &format!("x{}", "ü".repeat(40)));
        assert_eq!(packet[5], 59);
        assert_eq!(packet.len(), 1 + 4 + 1 + 59 + 12);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            let _ = greeting(&bytes);
            let _ = switch(&bytes);
            let _ = answer(&bytes);
            let mut cut = greets();
            cut.truncate(bytes.len());
            let _ = greeting(&cut);
        }
    }
}
