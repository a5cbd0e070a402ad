//! The server's errors as ours, by SQLSTATE (documentation 18, appendix A).

use tidemesh_model::{Error, ErrorKind};
use tidemesh_source::{tls_refused, without_tls};

/// How TLS is switched on.
pub(super) const TLS_AT_SERVER: &str = "ssl = on";

/// The error that an `ErrorResponse` body tells (chapter 54.8).
pub(crate) fn server_error(body: &[u8], doing: &'static str) -> Error {
    let field = |letter: u8| {
        body.split(|byte| *byte == 0)
            .find(|field| field.first() == Some(&letter))
            .map(|field| String::from_utf8_lossy(&field[1..]).into_owned())
    };
    let code = field(b'C').unwrap_or_default();
    let message = field(b'M').unwrap_or_default();
    described(kind(&code, &message), doing, &code, message, field(b'H'))
}

/// The error that `tokio-postgres` reports, in the same way.
pub(crate) fn database_error(error: tokio_postgres::Error, doing: &'static str) -> Error {
    let Some(told) = error.as_db_error() else { return not_told(error, doing) };
    let code = told.code().code().to_owned();
    let (message, hint) = (told.message().to_owned(), told.hint().map(str::to_owned));
    described(kind(&code, &message), doing, &code, message, hint)
}

/// An error that is not the server's: of the connection, or of what was asked of it.
fn not_told(error: tokio_postgres::Error, doing: &'static str) -> Error {
    let source = std::error::Error::source(&error);
    let by_io = source.is_some_and(|source| source.is::<std::io::Error>());
    if source.is_some_and(is_tls) {
        return tls_refused(doing, "postgres").caused_by(error);
    }
    // The texts are the crate's, which hands out no kinds; `tests/e2e/access.rs` holds them.
    match source.map(ToString::to_string).as_deref() {
        Some("server does not support TLS") => {
            return without_tls(doing, "postgres", TLS_AT_SERVER);
        }
        Some("password missing") => return password_missing(doing),
        _ => {}
    }
    let kind = match error.is_closed() || by_io {
        true => ErrorKind::Unavailable,
        false => ErrorKind::Malformed,
    };
    Error::new(kind, doing).caused_by(error)
}

/// Whether an error of a connection is TLS's own, and not of the bytes below it.
fn is_tls(error: &(dyn std::error::Error + 'static)) -> bool {
    let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    inner.is_some_and(|inner| inner.is::<rustls::Error>())
}

/// The server asks for a password that the configuration does not have.
pub(super) fn password_missing(doing: &'static str) -> Error {
    Error::new(ErrorKind::Authentication, doing)
        .because("the server asks for a password and none is set")
        .help("set postgres.password_file")
}

fn described(
    kind: ErrorKind,
    doing: &'static str,
    code: &str,
    message: String,
    hint: Option<String>,
) -> Error {
    let error = Error::new(kind, doing).because(message).with("sqlstate", code);
    match hint {
        Some(hint) => error.help(hint),
        None => error,
    }
}

fn kind(code: &str, message: &str) -> ErrorKind {
    match code {
        "28P01" | "28000" => ErrorKind::Authentication,
        "42501" => ErrorKind::Privilege,
        // The slot is in use: by an instance that still runs, or whose end the server has not seen.
        "55006" | "55P03" => ErrorKind::Unavailable,
        "3D000" | "42704" | "42P01" => ErrorKind::NotFound,
        // A slot that was invalidated: "can no longer access replication slot" (PostgreSQL 18,
        // `ReplicationSlotAcquire`), "cannot read from logical replication slot" (14 to 17,
        // `CreateDecodingContext`), "can no longer get changes from replication slot" (14).
        "55000" if message.contains("can no longer") || message.contains("cannot read from") => {
            ErrorKind::PositionLost
        }
        "58P01" if message.contains("has already been removed") => ErrorKind::PositionLost,
        _ => match code.get(..2) {
            // 40: deadlocks and the like.
            Some("08" | "40" | "53" | "57") => ErrorKind::Unavailable,
            _ => ErrorKind::Prerequisite,
        },
    }
}
