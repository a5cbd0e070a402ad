//! Where a server's log is taken up behind a checkpoint, or why it cannot be. Pure.
//!
//! By file and position where the log is the one that was read: positions then go on rising. By the
//! transactions' ids where it is another one that has all of them: another primary, or a log that was
//! begun anew; positions are another log's then, so the epoch rises.
//!
//! Not recognised without GTIDs at a MySQL server: a log that was reset and has grown past the
//! checkpoint's position in a file of the same name.

use crate::frame::Flavor;
use crate::gtid::GtidSet;
use serde::{Deserialize, Serialize};
use std::fmt;
use tidemesh_model::{Error, Result};
use tidemesh_source::position_lost;

/// Characters of a set that an error shows: it may be of any length.
const SHOWN_CHARACTERS: usize = 400;

/// A place in a server's log, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LogPlace {
    pub(crate) flavor: Flavor,
    /// `server_uuid`; MariaDB: `server_id`, which servers may share.
    pub(crate) server: String,
    /// The file's name, as the server has it.
    pub(crate) file: String,
    /// Where in the file the transaction begins that is under way, or what is behind the last one.
    pub(crate) position: u64,
    /// All transactions before this place; none if there was one without an id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) gtids: Option<GtidSet>,
    /// All transactions that were read, where the place is before some of them: one that is prepared and not
    /// yet ended is read again, and those behind it are not told again. None if the place says it all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ahead: Option<GtidSet>,
}

/// Whether a MySQL server's transactions have ids (`gtid_mode`). A MariaDB's always have: `On`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GtidMode {
    Off,
    /// New ones have none; replicated ones may have.
    OffPermissive,
    /// New ones have; replicated ones may have none.
    OnPermissive,
    On,
}

/// A file of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogFile {
    pub(crate) name: String,
    pub(crate) size_bytes: u64,
}

/// What a server says of its log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServerLog {
    pub(crate) flavor: Flavor,
    /// As [`LogPlace::server`].
    pub(crate) server: String,
    pub(crate) gtid_mode: GtidMode,
    /// `gtid_executed`; MariaDB: `gtid_binlog_state`, which has what is in its log and was.
    pub(crate) executed: GtidSet,
    /// What its log has no more: `gtid_purged`; MariaDB: `BINLOG_GTID_POS` of its oldest file at 4.
    pub(crate) purged: GtidSet,
    /// Its files, the oldest first.
    pub(crate) files: Vec<LogFile>,
    /// MariaDB: `BINLOG_GTID_POS` of the checkpoint's place; none if no transaction begins or ends
    /// there, or the file is gone.
    pub(crate) at_place: Option<GtidSet>,
}

/// How the log is taken up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TakeUp {
    /// It is the log that was read.
    Same { file: String, position: u64 },
    /// It is another one that has all of these: what follows on them. The epoch rises.
    ///
    /// Of those the ones that are `ahead` were told.
    Other { gtids: GtidSet, ahead: Option<GtidSet> },
}

impl GtidMode {
    /// As the server says it; none for what no server says.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text.to_ascii_uppercase().as_str() {
            "OFF" => Some(Self::Off),
            "OFF_PERMISSIVE" => Some(Self::OffPermissive),
            "ON_PERMISSIVE" => Some(Self::OnPermissive),
            "ON" => Some(Self::On),
            _ => None,
        }
    }

    /// Whether the server sends its log by ids: without any it refuses, and a new transaction without
    /// one ends the stream (MySQL 9.1, `Binlog_sender::check_start_file` and `check_event_type`).
    pub(crate) fn has_ids(self) -> bool {
        matches!(self, Self::OnPermissive | Self::On)
    }
}

impl fmt::Display for LogPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.position)
    }
}

/// Where `server`'s log is taken up behind `place`.
///
/// # Errors
///
/// `PositionLost` if it no longer has what follows, or is one of which that is not known.
pub(crate) fn take_up(place: &LogPlace, server: &ServerLog) -> Result<TakeUp> {
    if place.flavor != server.flavor {
        let reason = format!(
            "the checkpoint is of a server of {} and this is one of {}",
            place.flavor.name(),
            server.flavor.name()
        );
        return Err(lost(place, server, reason));
    }
    let unlike = match unlike(place, server) {
        None => {
            let (file, position) = (place.file.clone(), place.position);
            return Ok(TakeUp::Same { file, position });
        }
        Some(unlike) => unlike,
    };
    by_ids(place, server, &unlike)
}

/// Why the log is not the one that was read; none if it is.
fn unlike(place: &LogPlace, server: &ServerLog) -> Option<String> {
    if place.server != server.server {
        let (before, now) = (&place.server, &server.server);
        return Some(format!("the checkpoint is of the server {before} and this is {now}"));
    }
    let file = server.files.iter().find(|file| file.name == place.file);
    let Some(file) = file else {
        let oldest = server.files.first().map_or("none", |file| file.name.as_str());
        return Some(format!(
            "the server has the file {} no more: its oldest is {oldest}",
            place.file
        ));
    };
    if place.position > file.size_bytes {
        return Some(format!(
            "the server's file {} ends at {}, before the checkpoint: the log was reset, or a crash has \
             cost its end",
            file.name, file.size_bytes
        ));
    }
    match (server.flavor, &place.gtids) {
        (Flavor::MySql, Some(gtids)) if !gtids.is_subset(&server.executed) => {
            Some("the server's log was reset".to_owned())
        }
        (Flavor::MariaDb, Some(gtids)) if !is_at_place(gtids, server) => {
            let there = server.at_place.as_ref().map_or_else(|| "none".to_owned(), shown);
            Some(format!("at the checkpoint's place the server's log has the position {there}"))
        }
        _ => None,
    }
}

/// Whether a MariaDB's log has at the checkpoint's place what was read up to there. A domain of which
/// the server knows nothing any more was deleted from its log's state.
fn is_at_place(gtids: &GtidSet, server: &ServerLog) -> bool {
    let (GtidSet::MariaDb(ours), Some(GtidSet::MariaDb(theirs))) = (gtids, &server.at_place) else {
        return false;
    };
    let is_known = |domain| match &server.executed {
        GtidSet::MariaDb(state) => state.has_domain(domain),
        GtidSet::MySql(_) => false,
    };
    let all_but_deleted = ours
        .positions()
        .filter(|id| theirs.has_domain(id.domain) || is_known(id.domain) || theirs.is_empty());
    all_but_deleted.eq(theirs.positions())
}

/// Takes up a log that is not the one that was read, if it has all that was read.
fn by_ids(place: &LogPlace, server: &ServerLog, unlike: &str) -> Result<TakeUp> {
    let gtids = match &place.gtids {
        Some(gtids) if server.gtid_mode.has_ids() => gtids,
        _ => {
            let reason = format!(
                "{unlike}; its log cannot be taken up by GTIDs either, since transactions have none"
            );
            return Err(lost(place, server, reason));
        }
    };
    let missing = place.ahead.as_ref().unwrap_or(gtids).difference(&server.executed);
    if !missing.is_empty() {
        let reason = format!(
            "{unlike}; the topics are ahead of it: transactions were read that it does not have, as it \
             had not got them when it took over, or has lost them"
        );
        return Err(lost(place, server, reason)
            .with("missing_at_server", shown(&missing))
            .with("server_has", shown(&server.executed)));
    }
    let purged = gtids.lacks_of(&server.purged);
    if !purged.is_empty() {
        let reason = format!("{unlike}; of what was not read yet its log has a part no more");
        return Err(lost(place, server, reason)
            .with("purged", shown(&purged))
            .with("read", shown(gtids)));
    }
    Ok(TakeUp::Other { gtids: gtids.clone(), ahead: place.ahead.clone() })
}

#[cold]
fn lost(place: &LogPlace, server: &ServerLog, reason: String) -> Error {
    position_lost(reason)
        .with("checkpoint_at", place)
        .with("checkpoint_of", &place.server)
        .with("server", &server.server)
}

/// The beginning of a set.
fn shown(set: &GtidSet) -> String {
    let text = set.to_string();
    match text.char_indices().nth(SHOWN_CHARACTERS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidemesh_model::ErrorKind;

    const ONE: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
    const TWO: &str = "4350f323-7565-4e59-8763-4b1b83a0ce0e";

    fn set(flavor: Flavor, text: &str) -> GtidSet {
        let text = text.replace("one", ONE).replace("two", TWO);
        GtidSet::parse(flavor, &text).unwrap()
    }

    fn place(flavor: Flavor, gtids: Option<&str>) -> LogPlace {
        LogPlace {
            flavor,
            server: "a".to_owned(),
            file: "log.000002".to_owned(),
            position: 500,
            gtids: gtids.map(|text| set(flavor, text)),
            ahead: None,
        }
    }

    /// A server with two files, of which the last one has 900 bytes.
    fn server(flavor: Flavor, executed: &str) -> ServerLog {
        let file = |name: &str, size_bytes| LogFile { name: name.to_owned(), size_bytes };
        ServerLog {
            flavor,
            server: "a".to_owned(),
            gtid_mode: GtidMode::On,
            executed: set(flavor, executed),
            purged: GtidSet::empty(flavor),
            files: vec![file("log.000001", 4_000), file("log.000002", 900)],
            at_place: None,
        }
    }

    /// One case: what differs from the same server with all that was read, and what comes of it: `same`,
    /// `other`, or words of the error.
    type Case = (&'static str, fn(&mut LogPlace, &mut ServerLog), &'static str);

    fn judge(place: &LogPlace, server: &ServerLog, cases: &[Case]) {
        for (name, differ, expected) in cases {
            let (mut place, mut server) = (place.clone(), server.clone());
            differ(&mut place, &mut server);
            match (take_up(&place, &server), *expected) {
                (Ok(taken), "same") => {
                    let (file, position) = (place.file, place.position);
                    assert_eq!(taken, TakeUp::Same { file, position }, "{name}");
                }
                (Ok(taken), "other") => {
                    let (gtids, ahead) = (place.gtids.unwrap(), place.ahead);
                    assert_eq!(taken, TakeUp::Other { gtids, ahead }, "{name}");
                }
                (Ok(taken), expected) => panic!("{name}: {taken:?} and not {expected}"),
                (Err(error), expected) => {
                    assert_eq!(error.kind(), ErrorKind::PositionLost, "{name}");
                    let text = error.report();
                    assert!(text.contains(expected), "{name}: {text}");
                    assert!(text.contains("on_position_lost"), "{name}: {text}");
                    assert!(text.contains("log.000002:500"), "{name}: {text}");
                }
            }
        }
    }

    #[test]
    fn a_mysql_log_is_taken_up_or_lost() {
        judge(
            &place(Flavor::MySql, Some("one:1-5")),
            &server(Flavor::MySql, "one:1-9"),
            &[
                ("nothing", |_, _| {}, "same"),
                ("at the log's end", |place, _| place.position = 900, "same"),
                (
                    "no ids at both",
                    |place, server| {
                        (place.gtids, server.gtid_mode) = (None, GtidMode::Off);
                    },
                    "same",
                ),
                ("ids since then", |place, _| place.gtids = None, "same"),
                (
                    "purged file",
                    |_, server| {
                        server.files.remove(1);
                        server.purged = set(Flavor::MySql, "one:1-7");
                    },
                    "purged=3e11fa47-71ca-11e1-9e33-c80aa9429562:6-7",
                ),
                (
                    "purged file without ids",
                    |place, server| {
                        place.gtids = None;
                        server.files.remove(1);
                    },
                    "has the file log.000002 no more: its oldest is log.000001",
                ),
                (
                    "no file at all",
                    |place, server| {
                        place.gtids = None;
                        server.files.clear();
                    },
                    "its oldest is none",
                ),
                (
                    "renamed files",
                    |_, server| {
                        server.files.remove(1);
                    },
                    "other",
                ),
                (
                    "a shorter file without ids",
                    |place, server| {
                        (place.gtids, server.files[1].size_bytes) = (None, 400);
                    },
                    "ends at 400, before the checkpoint",
                ),
                (
                    "a crash has cost its end",
                    |_, server| {
                        server.files[1].size_bytes = 400;
                        server.executed = set(Flavor::MySql, "one:1-4");
                    },
                    "missing_at_server",
                ),
                (
                    "a log begun anew that has all",
                    |_, server| {
                        server.files[1].size_bytes = 400;
                    },
                    "other",
                ),
                (
                    "a reset log",
                    |_, server| {
                        server.executed = set(Flavor::MySql, "one:1-2");
                    },
                    "missing_at_server",
                ),
                (
                    "another primary",
                    |_, server| {
                        server.server = "b".to_owned();
                        server.executed = set(Flavor::MySql, "one:1-5,two:1-3");
                    },
                    "other",
                ),
                (
                    "another primary, permissive",
                    |_, server| {
                        (server.server, server.gtid_mode) =
                            ("b".to_owned(), GtidMode::OnPermissive);
                    },
                    "other",
                ),
                (
                    "another primary without ids",
                    |_, server| {
                        (server.server, server.gtid_mode) =
                            ("b".to_owned(), GtidMode::OffPermissive);
                    },
                    "since transactions have none",
                ),
                (
                    "another primary, nothing known",
                    |place, server| {
                        (place.gtids, server.server) = (None, "b".to_owned());
                    },
                    "the checkpoint is of the server a and this is b",
                ),
                (
                    "another primary that lacks some",
                    |_, server| {
                        server.server = "b".to_owned();
                        server.executed = set(Flavor::MySql, "one:1-3,two:1-9");
                    },
                    "missing_at_server=3e11fa47-71ca-11e1-9e33-c80aa9429562:4-5",
                ),
                (
                    "another primary that has purged",
                    |_, server| {
                        server.server = "b".to_owned();
                        server.executed = set(Flavor::MySql, "one:1-9,two:1");
                        server.purged = set(Flavor::MySql, "one:1-6,two:1");
                    },
                    "purged",
                ),
                (
                    "another primary that purged what was read",
                    |_, server| {
                        server.server = "b".to_owned();
                        server.purged = set(Flavor::MySql, "one:1-5");
                    },
                    "other",
                ),
                (
                    "another flavour",
                    |_, server| {
                        server.flavor = Flavor::MariaDb;
                    },
                    "the checkpoint is of a server of MySQL and this is one of MariaDB",
                ),
            ],
        );
    }

    #[test]
    fn a_mariadb_log_is_taken_up_or_lost() {
        let mut now = server(Flavor::MariaDb, "0-1-9,5-1-2");
        now.at_place = Some(set(Flavor::MariaDb, "0-1-5,5-1-2"));
        judge(
            &place(Flavor::MariaDb, Some("0-2-1,0-1-5,5-1-2")),
            &now,
            &[
                ("nothing", |_, _| {}, "same"),
                (
                    "another log of the same server id",
                    |_, server| {
                        server.at_place = Some(set(Flavor::MariaDb, "0-1-6,5-1-2"));
                    },
                    "other",
                ),
                ("no transaction begins there", |_, server| server.at_place = None, "other"),
                (
                    "a domain that was deleted",
                    |_, server| {
                        server.at_place = Some(set(Flavor::MariaDb, "0-1-5"));
                        server.executed = set(Flavor::MariaDb, "0-1-9");
                    },
                    "same",
                ),
                (
                    "a reset log",
                    |_, server| {
                        server.at_place = Some(GtidSet::empty(Flavor::MariaDb));
                        server.executed = GtidSet::empty(Flavor::MariaDb);
                    },
                    "missing_at_server=0-1-5,5-1-2",
                ),
                (
                    "ahead of the server, which says nothing",
                    |_, server| {
                        server.at_place = None;
                        server.executed = set(Flavor::MariaDb, "0-1-4,5-1-2");
                    },
                    "missing_at_server=0-1-5",
                ),
                (
                    "a purged file",
                    |_, server| {
                        server.files.remove(1);
                        server.at_place = None;
                        server.purged = set(Flavor::MariaDb, "0-1-7");
                    },
                    "purged=0-1-7",
                ),
                (
                    "a server that took over",
                    |_, server| {
                        server.server = "b".to_owned();
                        server.at_place = None;
                        server.executed = set(Flavor::MariaDb, "0-1-5,0-2-8,5-1-2");
                    },
                    "other",
                ),
                (
                    "a server that took over too early",
                    |_, server| {
                        server.server = "b".to_owned();
                        server.executed = set(Flavor::MariaDb, "0-1-4,0-2-8,5-1-2");
                    },
                    "missing_at_server=0-1-5",
                ),
                (
                    "a server that has what was told behind what is held",
                    |place, server| {
                        place.ahead = Some(set(Flavor::MariaDb, "0-1-7,5-1-2"));
                        server.server = "b".to_owned();
                        server.executed = set(Flavor::MariaDb, "0-1-7,0-2-8,5-1-2");
                    },
                    "other",
                ),
                (
                    "a server that lacks what was told behind what is held",
                    |place, server| {
                        place.ahead = Some(set(Flavor::MariaDb, "0-1-7,5-1-2"));
                        server.server = "b".to_owned();
                        server.executed = set(Flavor::MariaDb, "0-1-6,0-2-8,5-1-2");
                    },
                    "missing_at_server=0-1-7",
                ),
                (
                    "a server with a log that begins behind",
                    |_, server| {
                        server.server = "b".to_owned();
                        server.executed = set(Flavor::MariaDb, "0-1-5,0-2-8,5-1-2");
                        server.purged = set(Flavor::MariaDb, "0-2-6,5-1-2");
                    },
                    "purged=0-2-6",
                ),
                (
                    "a server without the domain",
                    |_, server| {
                        server.server = "b".to_owned();
                        server.executed = set(Flavor::MariaDb, "0-1-9");
                    },
                    "missing_at_server=5-1-2",
                ),
            ],
        );
    }

    #[test]
    fn a_place_is_stored() {
        let place = place(Flavor::MariaDb, Some("0-2-1,0-1-5"));
        let stored = serde_json::to_string(&place).unwrap();
        assert!(stored.contains(r#""gtids":{"mariadb":"0-2-1,0-1-5"}"#), "{stored}");
        assert_eq!(serde_json::from_str::<LogPlace>(&stored).unwrap(), place);
        let without = LogPlace { gtids: None, ..place };
        let stored = serde_json::to_string(&without).unwrap();
        assert_eq!(serde_json::from_str::<LogPlace>(&stored).unwrap(), without);
    }

    #[test]
    fn modes_are_those_that_servers_say() {
        assert_eq!(GtidMode::parse("on_permissive"), Some(GtidMode::OnPermissive));
        assert_eq!(GtidMode::parse("OFF"), Some(GtidMode::Off));
        assert_eq!(GtidMode::parse("maybe"), None);
    }
}
