//! The server's errors as ours, by SQLSTATE (documentation 18, appendix A).

use tidemesh_model::{Error, ErrorKind};

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
    let Some(told) = error.as_db_error() else {
        let by_io = std::error::Error::source(&error).is_some_and(|s| s.is::<std::io::Error>());
        let kind =
            if error.is_closed() || by_io { ErrorKind::Unavailable } else { ErrorKind::Malformed };
        return Error::new(kind, doing).caused_by(error);
    };
    let code = told.code().code().to_owned();
    let (message, hint) = (told.message().to_owned(), told.hint().map(str::to_owned));
    described(kind(&code, &message), doing, &code, message, hint)
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
        // A slot that was invalidated (PostgreSQL 18, `ReplicationSlotAcquire`).
        "55000" if message.contains("slot") => ErrorKind::PositionLost,
        "58P01" if message.contains("has already been removed") => ErrorKind::PositionLost,
        _ => match code.get(..2) {
            // 40: deadlocks and the like.
            Some("08" | "40" | "53" | "57") => ErrorKind::Unavailable,
            _ => ErrorKind::Prerequisite,
        },
    }
}
