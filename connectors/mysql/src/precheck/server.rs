//! What a server must be like. Pure.

use super::Judged;
use super::facts::{ServerFacts, Version};
use crate::config::Config;
use crate::frame::Flavor;
use crate::turn::prefix;
use tidemesh_model::ErrorKind;

/// The oldest servers that are supported.
const MYSQL_MIN: Version = Version(8, 0);
const MARIADB_MIN: Version = Version(10, 5);

/// From here on MySQL logs what foreign keys change (release notes of 9.6: the SQL layer does it).
const CASCADES_LOGGED: Version = Version(9, 6);

/// A log that is kept for less is lost when a source is down over a day.
const RETENTION_S_MIN: u64 = 24 * 60 * 60;

/// Judges the server's settings and what the user may do.
pub(super) fn judge(facts: &ServerFacts, config: &Config, judged: &mut Judged) {
    version(facts, judged);
    log(facts, judged);
    checksum(facts, judged);
    order(facts, judged);
    ids(facts, judged);
    replicated(facts, judged);
    retention(facts, judged);
    privileges(facts, judged);
    readers(facts, config, judged);
}

fn version(facts: &ServerFacts, judged: &mut Judged) {
    let (least, most) = match facts.flavor {
        Flavor::MySql => (MYSQL_MIN, "9"),
        Flavor::MariaDb => (MARIADB_MIN, "11"),
    };
    if facts.version < least {
        let name = facts.flavor.name();
        judged.findings.refuse(
            format!("the server's version {name} {} is not supported", facts.version),
            format!("Use {name} {least} to {most}."),
        );
    }
}

/// The statement that sets a variable for now and for ever: MySQL keeps it itself.
fn set(facts: &ServerFacts, name: &str, value: &str) -> String {
    match facts.flavor {
        Flavor::MySql => format!("Run SET PERSIST {name} = {value};"),
        Flavor::MariaDb => {
            format!(
                "Run SET GLOBAL {name} = {value}; and set {name} = {value} in the server's file."
            )
        }
    }
}

fn log(facts: &ServerFacts, judged: &mut Judged) {
    if facts.variable("log_bin") != "ON" {
        judged.findings.refuse(
            "log_bin is OFF: the server writes no log",
            "Set log_bin, and a server_id, in the server's file and restart it (on RDS: turn on \
             automated backups).",
        );
    }
    let format = facts.variable("binlog_format");
    // A server that has no such variable any more logs rows alone.
    if !matches!(format.as_str(), "ROW" | "") {
        judged.findings.refuse(
            format!("binlog_format is {format}, not ROW"),
            format!(
                "{} Sessions that are open keep the old one: let them end.",
                set(facts, "binlog_format", "ROW")
            ),
        );
    }
    let metadata = facts.variable("binlog_row_metadata");
    if metadata != "FULL" {
        judged.findings.refuse(
            format!("binlog_row_metadata is {metadata}, not FULL: the log does not name columns"),
            set(facts, "binlog_row_metadata", "FULL"),
        );
    }
    let image = facts.variable("binlog_row_image");
    if image != "FULL" {
        judged.warn(format!(
            "binlog_row_image is {image}, not FULL: a row whose columns are not all in the log is read \
             again from its table, which costs a query, and what a deleted or changed row was before \
             is not carried; to have it: {}",
            set(facts, "binlog_row_image", "FULL")
        ));
    }
}

/// Whether rows of which a part is not in the log are known by their keys alone.
pub(super) fn has_partial_rows(facts: &ServerFacts) -> bool {
    facts.variable("binlog_row_image") != "FULL"
}

/// Whether changes that foreign keys make are in the log.
pub(super) fn logs_cascades(facts: &ServerFacts) -> bool {
    facts.flavor == Flavor::MySql
        && facts.version >= CASCADES_LOGGED
        && facts.variable("innodb_native_foreign_keys") != "ON"
}

fn checksum(facts: &ServerFacts, judged: &mut Judged) {
    let checksum = facts.variable("binlog_checksum");
    if !matches!(checksum.as_str(), "CRC32" | "NONE") {
        judged.findings.refuse(
            format!("binlog_checksum is {checksum}, which is not known here"),
            set(facts, "binlog_checksum", "CRC32"),
        );
    }
}

/// A snapshot's chunk must see all that stands before its low mark in the log. MariaDB commits in the
/// log's order always.
fn order(facts: &ServerFacts, judged: &mut Judged) {
    if facts.flavor == Flavor::MySql && facts.variable("binlog_order_commits") == "OFF" {
        judged.findings.refuse(
            "binlog_order_commits is OFF: snapshots could not tell what stands before them",
            set(facts, "binlog_order_commits", "ON"),
        );
    }
}

fn ids(facts: &ServerFacts, judged: &mut Judged) {
    match facts.flavor {
        Flavor::MySql if facts.variable("gtid_mode") != "ON" => {
            let mode = facts.variable("gtid_mode");
            judged.warn(format!(
                "gtid_mode is {mode}, not ON: after a failover the log of the new primary cannot be \
                 taken up, and a log that was reset may not be recognised; see MySQL's manual, \
                 \"Enabling GTID Transactions Online\""
            ));
        }
        // It was a replica, or is one and may not be asked.
        Flavor::MariaDb
            if !facts.variable("gtid_slave_pos").is_empty()
                && facts.log_updates_off().is_some()
                && facts.is_replica != Some(true) =>
        {
            judged.warn(
                "log_slave_updates is OFF: what this server gets from another one is not in its log, \
                 and after a failover to it its log cannot be taken up; set log_slave_updates in the \
                 server's file and restart it"
                    .to_owned(),
            );
        }
        Flavor::MySql | Flavor::MariaDb => {}
    }
}

/// What a replica gets from its primary is in its own log only if it is told to write it there: else the
/// source would run, and stream nothing of it.
fn replicated(facts: &ServerFacts, judged: &mut Judged) {
    let Some(name) = facts.log_updates_off().filter(|_| facts.is_replica == Some(true)) else {
        return;
    };
    // A server has the statements' new names since before it has the variable's.
    let replica = if name == "log_replica_updates" { "REPLICA" } else { "SLAVE" };
    judged.findings.refuse(
        format!("{name} is OFF, and the server is a replica: what it replicates is not in its log"),
        format!(
            "Set {name} = ON in the server's file and restart it, or set mysql.host to the server that \
             it replicates; if it is no replica any more, run STOP {replica}; RESET {replica} ALL;"
        ),
    );
}

/// How long the log is kept, in seconds; none if the server throws nothing away by itself.
fn retention_s(facts: &ServerFacts) -> Option<u64> {
    let seconds: u64 = facts.variable("binlog_expire_logs_seconds").parse().unwrap_or(0);
    let days: f64 = facts.variable("expire_logs_days").parse().unwrap_or(0.0);
    if facts.variable("binlog_expire_logs_auto_purge") == "OFF" {
        return None;
    }
    match seconds {
        0 => std::time::Duration::try_from_secs_f64(days * 86_400.0).ok().map(|d| d.as_secs()),
        seconds => Some(seconds),
    }
    .filter(|seconds| *seconds > 0)
}

fn retention(facts: &ServerFacts, judged: &mut Judged) {
    let Some(kept) = retention_s(facts).filter(|kept| *kept < RETENTION_S_MIN) else { return };
    judged.warn(format!(
        "the log is kept for {kept} s: a source that is down for longer has to read its tables anew; \
         {}",
        set(facts, "binlog_expire_logs_seconds", "604800")
    ));
}

fn privileges(facts: &ServerFacts, judged: &mut Judged) {
    let user = &facts.user;
    if let Some(grants) = &facts.grants
        && !grants.iter().any(|grant| may_replicate(grant))
    {
        judged.findings.lacks(
            format!("the user {user} may not read the log (REPLICATION SLAVE)"),
            format!("Run GRANT REPLICATION SLAVE ON *.* TO {user};"),
        );
    }
    if facts.filter.is_none() {
        let privilege = match facts.flavor {
            Flavor::MySql => "REPLICATION CLIENT",
            Flavor::MariaDb => "BINLOG MONITOR",
        };
        judged.findings.lacks(
            format!("the user {user} may not ask where the log is ({privilege})"),
            format!("Run GRANT {privilege} ON *.* TO {user};"),
        );
    }
}

/// Whether a line of `SHOW GRANTS` lets its user read the log.
fn may_replicate(grant: &str) -> bool {
    let Some((privileges, _)) = grant.split_once(" ON *.* TO ") else { return false };
    let privileges = privileges.trim_start_matches("GRANT ").split(',').map(str::trim);
    let mut privileges = privileges.map(str::to_ascii_uppercase);
    privileges.any(|one| {
        matches!(one.as_str(), "ALL PRIVILEGES" | "REPLICATION SLAVE" | "REPLICATION REPLICA")
    })
}

fn readers(facts: &ServerFacts, config: &Config, judged: &mut Judged) {
    let ours = config.server_id;
    let remedy = "Set mysql.server_id to an id that no server and no other source has.";
    if facts.variable("server_id") == ours.to_string() {
        judged.findings.refuse_as(
            ErrorKind::Conflict,
            format!("the server itself has the server id {ours}, which this source has"),
            remedy,
        );
    }
    // Another instance of the source is waited for, not refused.
    let own = prefix(&config.source);
    let is_other = |(id, host): &&(u32, String)| *id == ours && !host.starts_with(&own);
    if let Some((_, host)) = facts.readers.iter().find(is_other) {
        judged.findings.refuse_as(
            ErrorKind::Conflict,
            format!("another reader of the log, at {host:?}, has the server id {ours}, too"),
            remedy,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_read_the_log_is_told_by_the_grants_on_everything() {
        for (grant, may) in [
            ("GRANT ALL PRIVILEGES ON *.* TO `root`@`localhost` WITH GRANT OPTION", true),
            ("GRANT SELECT, REPLICATION SLAVE, BINLOG MONITOR ON *.* TO `r`@`%`", true),
            ("GRANT ALL PRIVILEGES ON `d`.* TO `r`@`%`", false),
            ("GRANT REPLICATION SLAVE ADMIN ON *.* TO `r`@`%`", false),
            ("GRANT `ro` TO `s`@`%`", false),
            ("GRANT USAGE ON *.* TO `s`@`%`", false),
        ] {
            assert_eq!(may_replicate(grant), may, "{grant}");
        }
    }
}
