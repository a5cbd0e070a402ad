//! What is judged of facts; the server itself is asked in `tests/server.rs`.

use super::facts::{Cascade, LogFilter, Version};
use super::*;
use crate::frame::Flavor;
use crate::turn;
use std::collections::BTreeMap;
use tidemesh_model::SourceSettings;

fn config(mysql: serde_json::Value) -> Config {
    let mut json = serde_json::json!({"user": "u", "tables": ["shop.orders"], "server_id": 7});
    json.as_object_mut().unwrap().extend(mysql.as_object().unwrap().clone());
    let settings: SourceSettings =
        serde_json::from_value(serde_json::json!({"name": "s", "mysql": json})).unwrap();
    Config::try_from(&settings).unwrap()
}

fn good(flavor: Flavor) -> ServerFacts {
    let variables = [
        ("server_id", "1"),
        ("log_bin", "ON"),
        ("binlog_format", "ROW"),
        ("binlog_row_image", "FULL"),
        ("binlog_row_metadata", "FULL"),
        ("binlog_checksum", "CRC32"),
        ("binlog_expire_logs_seconds", "2592000"),
    ];
    let mysql = [("gtid_mode", "ON"), ("binlog_order_commits", "ON")];
    let mariadb = [("expire_logs_days", "30.000000"), ("gtid_slave_pos", "")];
    let (own, version) = match flavor {
        Flavor::MySql => (mysql, Version(8, 4)),
        Flavor::MariaDb => (mariadb, Version(10, 11)),
    };
    let all = variables.into_iter().chain(own);
    ServerFacts {
        flavor,
        version,
        variables: all.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        user: "'u'@'%'".to_owned(),
        grants: Some(vec!["GRANT SELECT, REPLICATION SLAVE ON *.* TO `u`@`%`".to_owned()]),
        filter: Some(LogFilter::default()),
        is_replica: None,
        readers: Vec::new(),
    }
}

fn table() -> TableFact {
    TableFact {
        kind: Some("BASE TABLE".to_owned()),
        engine: "InnoDB".to_owned(),
        columns: vec![("id".to_owned(), true), ("note".to_owned(), false)],
        cascades: Vec::new(),
    }
}

/// What is judged: the error's kind and report, and the warnings.
fn judged(facts: &ServerFacts, config: &Config, table: &TableFact) -> (Option<Error>, String) {
    let mut judged = Judged::default();
    server::judge(facts, config, &mut judged);
    tables::judge_marks(facts, config, &mut judged);
    tables::judge(facts, config, &TableName::new("shop", "orders"), table, &mut judged);
    let warnings = judged.warnings.join("\n");
    (judged.findings.told("prepare the MySQL source").err(), warnings)
}

type Differ = fn(&mut ServerFacts, &mut TableFact);

fn set(facts: &mut ServerFacts, name: &str, value: &str) {
    facts.variables.insert(name.to_owned(), value.to_owned());
}

#[test]
fn what_is_right_is_neither_refused_nor_warned_of() {
    for flavor in [Flavor::MySql, Flavor::MariaDb] {
        let (error, warnings) = judged(&good(flavor), &config(serde_json::json!({})), &table());
        assert!(error.is_none() && warnings.is_empty(), "{error:?} {warnings}");
    }
}

#[test]
fn what_is_wrong_is_refused_with_what_mends_it() {
    use Flavor::{MariaDb, MySql};
    let cases: &[(Flavor, Differ, &str, &str)] = &[
        (
            MySql,
            |f, _| f.version = Version(5, 7),
            "MySQL 5.7 is not supported",
            "Use MySQL 8.0 to 9.",
        ),
        (MariaDb, |f, _| f.version = Version(10, 4), "MariaDB 10.4", "Use MariaDB 10.5 to 11."),
        (MySql, |f, _| set(f, "log_bin", "OFF"), "log_bin is OFF", "Set log_bin"),
        (
            MariaDb,
            |f, _| set(f, "binlog_format", "MIXED"),
            "binlog_format is MIXED, not ROW",
            "Run SET GLOBAL binlog_format = ROW; and set binlog_format = ROW in the server's file.",
        ),
        (
            MySql,
            |f, _| set(f, "binlog_row_metadata", "MINIMAL"),
            "binlog_row_metadata is MINIMAL, not FULL",
            "Run SET PERSIST binlog_row_metadata = FULL;",
        ),
        (MySql, |f, _| set(f, "binlog_checksum", "CRC64"), "CRC64", "binlog_checksum = CRC32"),
        (
            MySql,
            |f, _| set(f, "binlog_order_commits", "OFF"),
            "binlog_order_commits is OFF",
            "Run SET PERSIST binlog_order_commits = ON;",
        ),
        (MySql, |f, _| set(f, "server_id", "7"), "the server itself", "Set mysql.server_id"),
        (
            MariaDb,
            |f, _| f.readers = vec![(8, "a".to_owned()), (7, "b".to_owned())],
            "another reader of the log, at \"b\", has the server id 7",
            "Set mysql.server_id",
        ),
        (
            MySql,
            |f, _| f.filter.as_mut().unwrap().without = ["shop".to_owned()].into(),
            "changes of `shop`.`orders` are not in the log (binlog_ignore_db)",
            "Correct binlog_ignore_db",
        ),
        (
            MySql,
            |f, _| f.filter.as_mut().unwrap().only = ["other".to_owned()].into(),
            "(binlog_do_db)",
            "Correct binlog_do_db",
        ),
        (
            MySql,
            |f, _| f.filter.as_mut().unwrap().without = ["tidemesh".to_owned()].into(),
            "marks in `tidemesh`.`watermarks` are not in the log (binlog_ignore_db)",
            "or set mysql.watermark_table to",
        ),
        (
            MariaDb,
            |f, _| f.filter.as_mut().unwrap().only = ["shop".to_owned()].into(),
            "marks in `tidemesh`.`watermarks` are not in the log (binlog_do_db)",
            "or set snapshot.read_only = true.",
        ),
        (
            MySql,
            |f, _| {
                set(f, "log_replica_updates", "OFF");
                f.is_replica = Some(true);
            },
            "log_replica_updates is OFF, and the server is a replica",
            "Set log_replica_updates = ON in the server's file",
        ),
        (
            MariaDb,
            |f, _| {
                set(f, "log_slave_updates", "OFF");
                f.is_replica = Some(true);
            },
            "log_slave_updates is OFF, and the server is a replica",
            "run STOP SLAVE; RESET SLAVE ALL;",
        ),
        (
            MySql,
            |_, t| t.kind = None,
            "the table `shop`.`orders` does not exist",
            "run GRANT SELECT ON `shop`.`orders` TO 'u'@'%';",
        ),
        (MySql, |_, t| t.kind = Some("VIEW".to_owned()), "but a view", "mysql.exclude_tables"),
        (
            MySql,
            |_, t| t.engine = "MEMORY".to_owned(),
            "is of the engine MEMORY",
            "Run ALTER TABLE `shop`.`orders` ENGINE = InnoDB;",
        ),
        (
            MySql,
            |f, t| {
                set(f, "binlog_row_image", "MINIMAL");
                t.columns[0].1 = false;
            },
            "has no primary key, and binlog_row_image is MINIMAL",
            "Add a primary key",
        ),
    ];
    let config = config(serde_json::json!({}));
    for (flavor, differ, wrong, remedy) in cases {
        let (mut facts, mut table) = (good(*flavor), table());
        differ(&mut facts, &mut table);
        let error = judged(&facts, &config, &table).0.expect(wrong);
        let report = error.report();
        assert!(report.contains(wrong) && report.contains(remedy), "{wrong}: {report}");
        let is_id = wrong.contains("server itself") || wrong.contains("another reader");
        let kind = if is_id { ErrorKind::Conflict } else { ErrorKind::Prerequisite };
        assert_eq!(error.kind(), kind, "{report}");
    }
}

#[test]
fn our_own_connection_is_no_other_reader() {
    let config = config(serde_json::json!({}));
    let mut facts = good(Flavor::MySql);
    facts.readers = vec![(7, turn::reader_name(&config.source))];
    assert!(judged(&facts, &config, &table()).0.is_none());
}

#[test]
fn privileges_that_are_missing_are_told_with_the_grants() {
    for (flavor, privilege) in
        [(Flavor::MySql, "REPLICATION CLIENT"), (Flavor::MariaDb, "BINLOG MONITOR")]
    {
        let mut facts = good(flavor);
        facts.grants = Some(vec!["GRANT USAGE ON *.* TO `u`@`%`".to_owned()]);
        facts.filter = None;
        let error = judged(&facts, &config(serde_json::json!({})), &table()).0.unwrap();
        assert_eq!(error.kind(), ErrorKind::Privilege);
        let report = error.report();
        assert!(report.contains("GRANT REPLICATION SLAVE ON *.* TO 'u'@'%';"), "{report}");
        assert!(report.contains(&format!("GRANT {privilege} ON *.* TO 'u'@'%';")), "{report}");
        // What is not known is not complained of.
        facts.grants = None;
        facts.filter = Some(LogFilter::default());
        assert!(judged(&facts, &config(serde_json::json!({})), &table()).0.is_none());
    }
}

#[test]
fn what_works_and_costs_something_is_warned_of() {
    use Flavor::{MariaDb, MySql};
    let cascade = |table: &mut TableFact| {
        table.cascades.push(Cascade {
            constraint: "c_1".to_owned(),
            parent: TableName::new("shop", "users"),
            on_update: "RESTRICT".to_owned(),
            on_delete: "CASCADE".to_owned(),
        });
    };
    let cases: &[(Flavor, Differ, &str)] = &[
        (
            MySql,
            |f, _| set(f, "binlog_row_image", "NOBLOB"),
            "binlog_row_image is NOBLOB, not FULL",
        ),
        (MySql, |f, _| set(f, "gtid_mode", "OFF"), "gtid_mode is OFF, not ON"),
        (MySql, |f, _| set(f, "binlog_expire_logs_seconds", "3600"), "kept for 3600 s"),
        (
            MariaDb,
            |f, _| {
                set(f, "binlog_expire_logs_seconds", "0");
                set(f, "expire_logs_days", "0.500000");
            },
            "kept for 43200 s",
        ),
        (
            MariaDb,
            |f, _| {
                set(f, "gtid_slave_pos", "0-1-5");
                set(f, "log_slave_updates", "OFF");
            },
            "log_slave_updates is OFF",
        ),
        (MySql, |_, t| t.columns[0].1 = false, "`shop`.`orders` has no primary key"),
        (
            MariaDb,
            |f, _| f.is_replica = Some(true),
            "to write nothing set snapshot.read_only = true",
        ),
    ];
    let config = config(serde_json::json!({}));
    for (flavor, differ, warning) in cases {
        let (mut facts, mut table) = (good(*flavor), table());
        differ(&mut facts, &mut table);
        let (error, warnings) = judged(&facts, &config, &table);
        assert!(error.is_none(), "{warning}: {error:?}");
        assert!(warnings.contains(warning), "{warning}: {warnings}");
    }
    for (flavor, version, native, is_warned) in [
        (MariaDb, Version(11, 4), "", true),
        (MySql, Version(8, 4), "", true),
        (MySql, Version(9, 6), "OFF", false),
        (MySql, Version(9, 6), "ON", true),
    ] {
        let (mut facts, mut table) = (good(flavor), table());
        facts.version = version;
        set(&mut facts, "innodb_native_foreign_keys", native);
        cascade(&mut table);
        let warnings = judged(&facts, &config, &table).1;
        assert_eq!(warnings.contains("the foreign key `c_1`"), is_warned, "{warnings}");
    }
}

#[test]
fn a_log_that_is_kept_for_ever_is_kept_long_enough() {
    let config = config(serde_json::json!({}));
    for (seconds, days, purge) in [("0", "0.000000", ""), ("60", "0", "OFF"), ("90000", "", "")] {
        let mut facts = good(Flavor::MySql);
        facts.variables.extend(BTreeMap::from([
            ("binlog_expire_logs_seconds".to_owned(), seconds.to_owned()),
            ("expire_logs_days".to_owned(), days.to_owned()),
            ("binlog_expire_logs_auto_purge".to_owned(), purge.to_owned()),
        ]));
        let (error, warnings) = judged(&facts, &config, &table());
        assert!(error.is_none() && warnings.is_empty(), "{error:?} {warnings}");
    }
}

#[test]
fn a_column_that_cannot_be_left_out_or_masked_is_told() {
    let mask = serde_json::json!([{"columns": ["*.*.note"], "with": "redact"}]);
    let settings = serde_json::json!({"exclude_columns": ["shop.orders.id"], "mask": mask});
    let error = judged(&good(Flavor::MySql), &config(settings.clone()), &table()).0.unwrap();
    let report = error.report();
    assert!(report.contains("has the column `id`, which is of the key"), "{report}");
    assert!(report.contains("For `id`: correct mysql.exclude_columns."), "{report}");
    let mut keyless = table();
    keyless.columns[0].1 = false;
    let report = judged(&good(Flavor::MySql), &config(settings), &keyless).0.unwrap().report();
    assert!(report.contains("of a table without a key"), "{report}");
    assert!(report.contains("correct mysql.mask"), "{report}");
}

#[test]
fn what_hangs_on_nothing_is_not_refused() {
    let mut facts = good(Flavor::MySql);
    set(&mut facts, "log_replica_updates", "OFF");
    facts.is_replica = Some(false);
    facts.filter.as_mut().unwrap().without = ["tidemesh".to_owned()].into();
    let mut read_only = config(serde_json::json!({}));
    read_only.watermarks = None;
    assert!(judged(&facts, &read_only, &table()).0.is_none());
}
