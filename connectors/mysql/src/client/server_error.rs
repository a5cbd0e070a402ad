//! The server's errors as ours, by their numbers (MySQL 8.4 reference, "Server Error Message Reference";
//! MariaDB, "MariaDB Error Code Reference").

use mysql_async::DriverError;
use tidemesh_model::{Error, ErrorKind};
use tidemesh_source::{tls_refused, without_tls};

/// How TLS is switched on.
pub(super) const TLS_AT_SERVER: &str = "ssl_cert and ssl_key";

/// The error that the server told by number, SQL state and text.
pub(crate) fn server_error(code: u16, state: &str, message: &str, doing: &'static str) -> Error {
    Error::new(kind(code, state, message), doing)
        .because(message.to_owned())
        .with("code", code)
        .with("sqlstate", state)
}

/// The error that `mysql_async` reports, in the same way.
pub(crate) fn database_error(error: mysql_async::Error, doing: &'static str) -> Error {
    match error {
        mysql_async::Error::Server(told) => {
            server_error(told.code, &told.state, &told.message, doing)
        }
        mysql_async::Error::Driver(DriverError::NoClientSslFlagFromServer) => {
            without_tls(doing, "mysql", TLS_AT_SERVER)
        }
        mysql_async::Error::Io(mysql_async::IoError::Tls(error)) => {
            tls_refused(doing, "mysql").caused_by(error)
        }
        mysql_async::Error::Io(_) | mysql_async::Error::Driver(DriverError::ConnectionClosed) => {
            Error::new(ErrorKind::Unavailable, doing)
                .because("the connection was lost")
                .caused_by(error)
        }
        other => Error::new(ErrorKind::Malformed, doing).caused_by(other),
    }
}

fn kind(code: u16, state: &str, message: &str) -> ErrorKind {
    match code {
        // Access denied to user, by a blocked account, by an expired password; no such log-in method.
        1045 | 1698 | 1862 | 3118 | 1820 | 1251 | 4151 => ErrorKind::Authentication,
        // Access denied to database, table, column, or for want of a privilege.
        1044 | 1142 | 1143 | 1227 | 1370 | 3619 => ErrorKind::Privilege,
        // No such database, table.
        1049 | 1146 => ErrorKind::NotFound,
        // The log's reader is told why it gets nothing (ER_MASTER_FATAL_ERROR_READING_BINLOG): files that
        // are gone, a place that is none, a GTID that is not there or was purged.
        // Another instance has come, and this one goes on as its standby; a reader that is none is told by
        // the checks before the next start, where the server lists it.
        1236 | 4052 if is_other_reader(message) => ErrorKind::Fenced,
        1236 | 1789 | 1790 | 1955 | 1945 => ErrorKind::PositionLost,
        // Too many connections, shutting down, killed, lock waits, deadlocks, disk full, read-only while
        // a failover is under way.
        1040
        | 1053
        | 1077
        | 1079
        | 1080
        | 1152
        | 1153
        | 1158..=1161
        | 1203
        | 1205
        | 1213
        | 1226
        | 1317
        | 1927
        | 3024
        | 1021
        | 1969 => ErrorKind::Unavailable,
        _ => match state.get(..2) {
            Some("08" | "40") => ErrorKind::Unavailable,
            _ => ErrorKind::Prerequisite,
        },
    }
}

/// Whether the server ended the stream because another client came with the same server id (MySQL 9.1,
/// `Binlog_sender::run`; MariaDB 10.11, `kill_zombie_dump_threads`).
fn is_other_reader(message: &str) -> bool {
    message.contains("same server_uuid/server_id") || message.contains("same server_id")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_their_kinds() {
        for (code, state, message, wanted) in [
            (1045, "28000", "Access denied for user", ErrorKind::Authentication),
            (1142, "42000", "SELECT command denied", ErrorKind::Privilege),
            (1236, "HY000", "Could not find first log file name", ErrorKind::PositionLost),
            (
                1236,
                "HY000",
                "A slave with the same server_uuid/server_id as this slave has connected to the master",
                ErrorKind::Fenced,
            ),
            // As MariaDB 10.11.19 says it.
            (
                4052,
                "HY000",
                "A slave with the same server_uuid/server_id is already connected; the first event",
                ErrorKind::Fenced,
            ),
            (1205, "HY000", "Lock wait timeout exceeded", ErrorKind::Unavailable),
            (1064, "42000", "You have an error in your SQL syntax", ErrorKind::Prerequisite),
        ] {
            assert_eq!(server_error(code, state, message, "ask").kind(), wanted, "{message}");
        }
    }
}
