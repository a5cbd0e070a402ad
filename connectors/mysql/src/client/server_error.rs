//! The server's errors as ours, by their numbers (MySQL 8.4 reference, "Server Error Message Reference";
//! MariaDB, "MariaDB Error Code Reference").

use mysql_async::DriverError;
use tidemesh_model::{Error, ErrorKind};
use tidemesh_source::{tls_refused, without_tls};

/// How TLS is switched on.
pub(super) const TLS_AT_SERVER: &str = "ssl_cert and ssl_key";

/// What the log's reader is told of a place that is gone or was never there, in small letters: the name
/// of a file; a position; transactions that were purged, that are missing, or that the server never had
/// (MySQL 9.1, `Binlog_sender::check_start_file`; MariaDB 10.11, `sql/sql_repl.cc`).
const LOST: [&str; 11] = [
    "could not find first log file name",
    "impossible position",
    "to start replication from position",
    "requested incorrect position",
    "purged",
    "no longer available",
    "missing the gtid",
    "more gtids than",
    "could not find gtid state requested",
    "gtid state not found in binlog",
    "which is not in the master's binlog",
];

/// A write in a transaction that only reads (ER_CANT_EXECUTE_IN_READ_ONLY_TRANSACTION).
const READ_ONLY_TRANSACTION: u16 = 1792;

/// The error that the server told by number, SQL state and text.
pub(crate) fn server_error(code: u16, state: &str, message: &str, doing: &'static str) -> Error {
    let error = Error::new(kind(code, state, message), doing)
        .because(message.to_owned())
        .with("code", code)
        .with("sqlstate", state);
    match code {
        // Marks are all that is ever written.
        _ if is_read_only(code, message) => error.help(
            "wait for the failover to end, or set mysql.host to the primary, which takes writes; or \
             set snapshot.read_only = true, by which snapshots write nothing",
        ),
        READ_ONLY_TRANSACTION => error.help(
            "see that nothing between makes the user's transactions read-only \
             (transaction_read_only; at MariaDB before 11.1 tx_read_only); or set \
             snapshot.read_only = true, by which snapshots write nothing",
        ),
        _ => error,
    }
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
        // Another instance has come, and this one goes on as its standby; a reader that is none is told by
        // the checks before the next start, where the server lists it.
        1236 | 4052 if is_other_reader(message) => ErrorKind::Fenced,
        // The log's reader is told why it gets nothing (ER_MASTER_FATAL_ERROR_READING_BINLOG), be it a
        // disk that failed or memory that ran out: reading every table anew is for what is lost alone.
        1236 if is_lost(message) => ErrorKind::PositionLost,
        1236 => ErrorKind::Unavailable,
        1789 | 1790 | 1955 | 1945 => ErrorKind::PositionLost,
        // A failover makes a server read-only, takes it offline, and ends its sessions, also those that
        // were idle; a statement was to be prepared again and again.
        _ if is_read_only(code, message) => ErrorKind::Unavailable,
        3032 | 3169 | 4031 | 1615 => ErrorKind::Unavailable,
        // Too many connections, shutting down, killed, lock waits, deadlocks, disk full.
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

/// Whether the server takes no writes. By the number 1290 it names other options too, such as
/// `--secure-file-priv`, which do not pass.
fn is_read_only(code: u16, message: &str) -> bool {
    match code {
        1290 => message.contains("read-only") || message.contains("read_only"),
        1836 => true,
        _ => false,
    }
}

/// Whether the place in the log from which a reader asked is gone.
fn is_lost(message: &str) -> bool {
    let message = message.to_lowercase();
    LOST.iter().any(|part| message.contains(part))
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
            (1836, "HY000", "Running in read-only mode", ErrorKind::Unavailable),
            (3032, "HY000", "The server is currently in offline mode", ErrorKind::Unavailable),
            (3169, "HY000", "Session was killed", ErrorKind::Unavailable),
            (1615, "HY000", "Prepared statement needs to be re-prepared", ErrorKind::Unavailable),
            (4031, "HY000", "The client was disconnected by the server", ErrorKind::Unavailable),
            (1205, "HY000", "Lock wait timeout exceeded", ErrorKind::Unavailable),
            (1064, "42000", "You have an error in your SQL syntax", ErrorKind::Prerequisite),
        ] {
            assert_eq!(server_error(code, state, message, "ask").kind(), wanted, "{message}");
        }
    }

    #[test]
    fn a_place_is_lost_only_where_the_server_says_so() {
        for message in [
            "Could not find first log file name in binary log index file",
            "Client requested master to start replication from impossible position; the first event",
            "Client requested source to start replication from position > file size",
            "Slave requested incorrect position in master binlog. Requested position 7 in file 'b.1'",
            "Cannot replicate because the source purged required binary logs. Replicate the missing",
            "The slave is connecting using CHANGE MASTER TO MASTER_AUTO_POSITION = 1, but the master has \
             purged binary logs containing GTIDs that the slave requires.",
            "Slave has more GTIDs than the master has, using the master's SERVER_UUID.",
            "Replica has more GTIDs than the source has, using the source's SERVER_UUID.",
            "The required binary log is no longer available",
            "Could not find GTID state requested by slave in any binlog files. Probably the slave state",
            "Requested slave GTID state not found in binlog",
            "Error: connecting slave requested to start from GTID 0-1-3, which is not in the master's \
             binlog. Since the master's binlog contains GTIDs with higher sequence numbers",
            "The binlog on the master is missing the GTID 0-1-3 requested by the slave (even though",
        ] {
            let error = server_error(1236, "HY000", message, "read the log");
            assert_eq!(error.kind(), ErrorKind::PositionLost, "{message}");
        }
        for message in [
            "could not find next log; the first event 'b.1' at 4, the last event read from 'b.2' at 9",
            "binlog truncated in the middle of event; consider out of disk space on source",
            "bogus data in log event",
            "log event entry exceeded max_allowed_packet; Increase max_allowed_packet on source",
            "event read from binlog did not pass crc check",
            "memory allocation failed reading log event",
            "Binary log is not open",
            "Could not open log file",
        ] {
            let error = server_error(1236, "HY000", message, "read the log");
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{message}");
        }
    }

    #[test]
    fn a_server_that_takes_no_writes_is_waited_for_and_told_of() {
        for option in ["--read-only", "--super-read-only"] {
            let message = format!("The server is running with the {option} option so it cannot");
            let error = server_error(1290, "HY000", &message, "ask MySQL");
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{message}");
            assert!(error.report().contains("snapshot.read_only"), "{}", error.report());
        }
        let message = "Cannot execute statement in a READ ONLY transaction";
        let error = server_error(1792, "25006", message, "ask MySQL");
        assert_eq!(error.kind(), ErrorKind::Prerequisite);
        assert!(error.report().contains("transaction_read_only"), "{}", error.report());
        let message = "The server is running with the --secure-file-priv option so it cannot";
        let error = server_error(1290, "HY000", message, "ask MySQL");
        assert_eq!(error.kind(), ErrorKind::Prerequisite);
    }
}
