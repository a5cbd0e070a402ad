//! Opening a source: every prerequisite is checked, and the log is taken up behind the checkpoint, or told
//! to be lost.

use crate::client::stream::{self, From};
use crate::client::{Client, Sql};
use crate::config::Config;
use crate::cursor::Cursor;
use crate::ddl::{Dropped, Suspects};
use crate::frame::Flavor;
use crate::gtid::GtidSet;
use crate::held::Held;
use crate::known::KnownSchemas;
use crate::marks::PlacedMarks;
use crate::place::{LogFile, offset_of};
use crate::scan::Place;
use crate::snapshot::MysqlReader;
use crate::source::{MysqlSource, block};
use crate::stored::{place_item, read_place};
use crate::tables::{Captured, OpenTables};
use crate::takeup::{LogFile as TakeUpFile, LogPlace, ServerLog, TakeUp, take_up};
use crate::versions::Versions;
use crate::watch::{Watch, look};
use crate::{discover, precheck, prepared, server, turn};
use std::collections::BTreeMap;
use std::sync::Arc;
use tidemesh_model::{Error, ErrorKind, Position, Result, SourceBlock, SourceSettings, TableName};
use tidemesh_source::{
    Checkpoint, Connector, FoundTables, LogStream, Pending, Vitals, position_lost,
};
use tokio::time::Instant;

/// Opens MySQL and MariaDB sources.
pub struct MysqlConnector {
    config: Config,
    tables: FoundTables,
    known: Arc<KnownSchemas>,
    marks: Arc<PlacedMarks>,
    vitals: Arc<Vitals>,
    /// This process's name in the server's list of readers.
    reader_name: String,
}

/// Where the log is taken up, and under which epoch.
struct Start {
    log: LogPlace,
    epoch: u32,
    resume_after: Position,
    /// It is read from the end of these transactions on, and not from a place of a file.
    by_gtids: bool,
    /// Whether the place is another than the one that is stored.
    is_new: bool,
}

impl MysqlConnector {
    /// The connector for these settings.
    ///
    /// # Errors
    ///
    /// `Config`, naming the key, the problem and the bound.
    pub fn new(settings: &SourceSettings) -> Result<Self> {
        let config = Config::try_from(settings)?;
        Ok(Self {
            tables: FoundTables::new(config.tables.clone()),
            reader_name: turn::reader_name(&config.source),
            config,
            known: Arc::default(),
            marks: Arc::default(),
            vitals: Arc::default(),
        })
    }
}

impl Connector for MysqlConnector {
    type Source = MysqlSource;
    type Reader = MysqlReader;

    fn block(&self) -> SourceBlock {
        block(&self.config)
    }

    async fn discover(&self) -> Result<()> {
        let mut sql = Sql::connect(&self.config.settings).await?;
        let tables = discover::tables(&mut sql, &self.config).await?;
        self.tables.set(tables);
        Ok(())
    }

    fn tables(&self) -> Vec<TableName> {
        self.tables.get()
    }

    fn vitals(&self) -> Arc<Vitals> {
        Arc::clone(&self.vitals)
    }

    async fn look(&self) -> Result<()> {
        let mut sql = Sql::connect(&self.config.settings).await?;
        look(&mut sql, &self.vitals).await
    }

    async fn reader(&self) -> Result<MysqlReader> {
        let shared = (Arc::clone(&self.known), Arc::clone(&self.marks));
        MysqlReader::connect(&self.config, shared).await
    }

    /// The server keeps its log for a time whoever reads it: nothing was made for that.
    async fn drop_log(&self) -> Result<Option<String>> {
        Ok(None)
    }

    async fn await_turn(&self, held: impl FnMut(String) + Send) -> Result<()> {
        turn::await_turn(&self.config, &self.reader_name, held).await
    }

    async fn open(&self, checkpoint: Option<Checkpoint>, first_epoch: u32) -> Result<MysqlSource> {
        let config = Config { tables: self.tables(), ..self.config.clone() };
        let mut sql = Sql::connect(&config.settings).await?;
        precheck::run(&mut sql, &config).await?;
        let no_items = BTreeMap::new();
        let items = checkpoint.as_ref().map_or(&no_items, |checkpoint| &checkpoint.items);
        let stored = read_place(items)?;
        let flavor = server::flavor(&mut sql).await?;
        let log = server::log(&mut sql, flavor, stored.as_ref()).await?;
        let start = start(&mut sql, checkpoint.as_ref(), stored, &log, first_epoch).await?;
        let versions = Versions::read(items)?;
        let (mut dropped, suspects) = (Dropped::read(items)?, Suspects::read(items)?);
        let unseen = dropped.add(unseen(&config, &versions))?;
        let stream = stream_from(&config, &start, &self.reader_name, self.vitals()).await?;
        tracing::info!(
            file = start.log.file,
            position = start.log.position,
            by_gtids = start.by_gtids,
            "reads the log"
        );
        let captured = Captured::new(&config.tables, config.watermarks.as_ref());
        let folds_names = server::folds_names(&mut sql).await?;
        let mut cursor = Cursor::new(Some(flavor), folds_names);
        if !start.by_gtids {
            cursor.file = Some(LogFile::of(start.log.file.as_bytes())?);
            cursor.offset = start.log.position;
        }
        cursor.told = start.log.ahead.clone().map(Arc::new);
        let held = Held::new(config.settings.xa_held_bytes_max);
        let mut source = MysqlSource {
            watch: Watch::start(&config, self.vitals()),
            config: Arc::new(config),
            sql,
            asking: false,
            stream,
            epoch: start.epoch,
            resume_after: start.resume_after,
            first: None,
            captured,
            tables: Arc::default(),
            known: Arc::clone(&self.known),
            marks: Arc::clone(&self.marks),
            versions,
            dropped,
            suspects,
            pending: Pending::default(),
            unpacking: Vec::new(),
            held,
            failed: None,
            place: Place {
                cursor,
                open: OpenTables::default(),
                open_held: Vec::new(),
                end: start.resume_after,
                has_rows: false,
            },
            log: start.log,
            has_moved: false,
            log_stored_at: Instant::now(),
        };
        self.marks.forget();
        if start.is_new || unseen.is_some() {
            let mut first = source.empty();
            first.state.extend(unseen);
            if start.is_new {
                first.state.push(place_item(&source.log, &source.held)?);
            }
            source.first = Some(first);
        }
        Ok(source)
    }
}

/// Tables that were captured and are not there, though the settings mean them: that they are dropped is not
/// told of by the log where they are not captured any more.
fn unseen(config: &Config, versions: &Versions) -> Vec<TableName> {
    let known = versions.tables().filter(|table| config.wanted.means(table));
    known.filter(|table| !config.tables.contains(table)).cloned().collect()
}

async fn start(
    sql: &mut Sql,
    checkpoint: Option<&Checkpoint>,
    stored: Option<LogPlace>,
    log: &ServerLog,
    first_epoch: u32,
) -> Result<Start> {
    let Some(checkpoint) = checkpoint else {
        let flavor = log.flavor;
        let log = server::end(sql, log).await?;
        prepared::await_ended(sql, flavor).await?;
        let commit = LogFile::of(log.file.as_bytes())?.commit(log.position)?;
        let resume_after = Position::before(first_epoch, commit);
        return Ok(Start { log, epoch: first_epoch, resume_after, by_gtids: false, is_new: true });
    };
    let position = checkpoint.position;
    let (stored, is_new) = match stored {
        Some(stored) => (stored, false),
        None => (place_of(sql, position, log).await?, true),
    };
    Ok(match take_up(&stored, log)? {
        TakeUp::Same { file, position: offset } => {
            // A MySQL's log that was taken up by ids once may have what was read behind its place, too.
            let has_ids = stored.gtids.is_some() && log.gtid_mode.has_ids();
            Start {
                by_gtids: log.flavor == Flavor::MySql && has_ids,
                log: LogPlace { file, position: offset, ..stored },
                epoch: position.epoch,
                resume_after: position,
                is_new,
            }
        }
        // A transaction that was under way comes again as a whole: where its rows stand in another
        // server's log, nobody can tell.
        TakeUp::Other { gtids, ahead } => {
            let epoch = position.epoch + 1;
            let (server, flavor) = (log.server.clone(), log.flavor);
            tracing::warn!(
                server,
                epoch,
                "another log is taken up by the transactions that were read"
            );
            Start {
                log: LogPlace {
                    flavor,
                    server,
                    file: String::new(),
                    position: 0,
                    gtids: Some(gtids),
                    ahead,
                },
                epoch,
                resume_after: Position::before(epoch, 0),
                by_gtids: true,
                is_new: true,
            }
        }
    })
}

/// The place of a position that was set by hand: `tidemesh checkpoint set`.
async fn place_of(sql: &mut Sql, position: Position, log: &ServerLog) -> Result<LogPlace> {
    let offset = offset_of(position.commit);
    let is_its = |file: &&TakeUpFile| {
        let commit = LogFile::of(file.name.as_bytes()).and_then(|file| file.commit(offset));
        commit.is_ok_and(|commit| commit == position.commit)
    };
    let Some(file) = log.files.iter().find(is_its) else {
        return Err(position_lost(
            "the server does not have the file of the checkpoint's position",
        )
        .with("position", position));
    };
    let gtids = server::gtids_at(sql, log.flavor, &file.name, offset).await?;
    let (flavor, server, file) = (log.flavor, log.server.clone(), file.name.clone());
    Ok(LogPlace { flavor, server, file, position: offset, gtids, ahead: None })
}

async fn stream_from(
    config: &Config,
    start: &Start,
    name: &str,
    vitals: Arc<Vitals>,
) -> Result<LogStream> {
    let (config, from, name) = (config.clone(), from(start)?, name.to_owned());
    tokio::task::spawn_blocking(move || {
        let client = Client::connect(&config.settings)?;
        let bytes_max = config.settings.message_bytes_max;
        stream::start(client, config.server_id, &name, &from, bytes_max, vitals)
    })
    .await
    .map_err(|error| Error::new(ErrorKind::Internal, "talk to MySQL").caused_by(error))?
}

fn from(start: &Start) -> Result<From> {
    let log = &start.log;
    match &log.gtids {
        Some(GtidSet::MySql(gtids)) if start.by_gtids => Ok(From::Gtids(gtids.encode())),
        Some(GtidSet::MariaDb(gtids)) if start.by_gtids => {
            Ok(From::MariadbGtids(gtids.connect_state()))
        }
        _ => {
            let position = u32::try_from(log.position).map_err(|_| too_far(log))?;
            Ok(From::Place { file: log.file.clone(), position })
        }
    }
}

/// A transaction cannot begin there: a file ends before 4 GiB but for the one that is under way.
fn too_far(log: &LogPlace) -> Error {
    Error::new(ErrorKind::Unsupported, "take up the log")
        .because("the place is beyond 4 GiB of a file, where a server cannot be asked to begin")
        .with("place", log)
}
