//! The source: cuts the stream into batches, unpacks compressed transactions piece by piece, holds those that
//! are prepared until they are committed, and asks `information_schema` where a table is new or changed.

use crate::batch::{BLOCK_FIELDS, MysqlBatch};
use crate::catalog::{self, CatalogTable};
use crate::client::Sql;
use crate::config::{Config, TERMS};
use crate::cursor::{Cursor, next_in};
use crate::ddl::{Dropped, Suspects};
use crate::decode::{TableMap, described, numbered};
use crate::follow::Follower;
use crate::frame::Flavor;
use crate::held::Held;
use crate::known::KnownSchemas;
use crate::marks::PlacedMarks;
use crate::relation::{Relation, TableFacts};
use crate::scan::{Bounds, Place, Scan, Stop, scan};
use crate::stored::place_item;
use crate::tables::{Captured, Described, Purpose, Tables, name_bytes};
use crate::takeup::LogPlace;
use crate::unpacking::{Origin, Unpacking};
use crate::versions::{Columns, Versions, is_rewritten};
use crate::xa::XaId;
use std::sync::Arc;
use std::time::Duration;
use tidemesh_model::{
    Error, ErrorKind, Position, Result, SourceBlock, StateItem, TableName, TableSchema,
};
use tidemesh_source::{BatchLimit, LogStream, Pending, Pieces, Selection, Source};
use tokio::time::Instant;

/// Transactions that may be unpacked at a time: one that was committed at once may come in a compressed one.
const UNPACKING_MAX: usize = 2;

/// How often the log's place is stored while it holds no events for us.
const PLACE_INTERVAL: Duration = Duration::from_secs(1);

/// A MySQL log that is being read.
pub struct MysqlSource {
    pub(crate) config: Arc<Config>,
    pub(crate) sql: Sql,
    /// Whether a question to `sql` was begun, and not answered.
    pub(crate) asking: bool,
    pub(crate) stream: LogStream,
    pub(crate) epoch: u32,
    /// Events at or before this position are in the topics already.
    pub(crate) resume_after: Position,
    /// A batch that is to come before anything is read: what the start has to store.
    pub(crate) first: Option<MysqlBatch>,
    pub(crate) captured: Captured,
    pub(crate) tables: Arc<Tables>,
    /// Shared with those who read tables.
    pub(crate) known: Arc<KnownSchemas>,
    /// Shared with them, too: marks that are in no log.
    pub(crate) marks: Arc<PlacedMarks>,
    /// What tables were at earlier places.
    pub(crate) versions: Versions,
    /// Captured tables that were dropped: one that comes under such a name is another one.
    pub(crate) dropped: Dropped,
    /// Tables that DDL may have altered in what the log does not tell.
    pub(crate) suspects: Suspects,
    pub(crate) pending: Pending,
    /// The transactions that are being unpacked, the innermost last.
    pub(crate) unpacking: Vec<Unpacking>,
    pub(crate) held: Held,
    /// An error that came behind buffers which were not yet given out.
    pub(crate) failed: Option<Error>,
    pub(crate) place: Place,
    /// Where the log would be taken up.
    pub(crate) log: LogPlace,
    /// Whether that is another place than the one that was stored last.
    pub(crate) has_moved: bool,
    /// When that was stored last.
    pub(crate) log_stored_at: Instant,
    pub(crate) watch: crate::watch::Watch,
}

impl MysqlSource {
    async fn batch(&mut self, limit: BatchLimit) -> Result<MysqlBatch> {
        let deadline = Instant::now() + limit.wait_max;
        loop {
            // What a table's description has to store comes before the rows that follow it.
            if let Some(first) = self.first.take() {
                return Ok(first);
            }
            self.fill(limit.bytes_max)?;
            if self.waiting().bytes() > 0 {
                let scan = self.look_ahead(limit.bytes_max)?;
                if let Some(batch) = self.take(scan).await? {
                    return Ok(batch);
                }
                continue;
            }
            if let Some(unpacking) = self.unpacking.pop_if(|unpacking| unpacking.is_done()) {
                self.place.cursor = unpacking.behind(&self.place.cursor);
                continue;
            }
            if let Some(error) = self.failed.take().or_else(|| self.watch.found()) {
                return Err(error);
            }
            tokio::select! {
                read = tokio::time::timeout_at(deadline, self.stream.next()) => match read {
                    Ok(buffer) => self.pending.push(buffer?),
                    Err(_) => return self.heartbeat(),
                },
                () = self.marks.placed() => {
                    let marks = self.reached()?;
                    if !marks.is_empty() {
                        return Ok(MysqlBatch { marks, ..self.empty() });
                    }
                }
            }
        }
    }

    /// Takes what is there already: of the stream, or of the transaction that is being unpacked.
    fn fill(&mut self, bytes_max: usize) -> Result<()> {
        if let Some(unpacking) = self.unpacking.last_mut() {
            return unpacking.fill(bytes_max);
        }
        while self.pending.bytes() < bytes_max && self.failed.is_none() {
            match self.stream.try_next() {
                Some(Ok(buffer)) => self.pending.push(buffer),
                Some(Err(error)) => self.failed = Some(error),
                None => break,
            }
        }
        Ok(())
    }

    /// What comes next.
    fn waiting(&self) -> &Pending {
        self.unpacking.last().map_or(&self.pending, |unpacking| &unpacking.pending)
    }

    fn waiting_mut(&mut self) -> &mut Pending {
        self.unpacking.last_mut().map_or(&mut self.pending, |unpacking| &mut unpacking.pending)
    }

    /// Scans up to the next mark that stands in no log; none is placed before what was scanned.
    fn look_ahead(&self, bytes_max: usize) -> Result<Scan> {
        let mut marks = self.marks.hold();
        let scan = self.scan(bytes_max, marks.next())?;
        let cursor = &scan.place.cursor;
        match cursor.transaction {
            // Between its begin and its end no mark can stand.
            Some(transaction) => marks.give(transaction.commit + 1),
            None if cursor.file.is_some() => marks.give(cursor.commit()?),
            None => {}
        }
        Ok(scan)
    }

    fn scan(&self, bytes_max: usize, stop_at: Option<u64>) -> Result<Scan> {
        let bounds = Bounds {
            tables: &self.tables,
            captured: &self.captured,
            held: &self.held,
            epoch: self.epoch,
            bytes_max,
            event_bytes_max: self.config.settings.message_bytes_max,
            resume_after: self.resume_after,
            stop_at,
        };
        scan(self.waiting().pieces(), &self.place, &bounds)
    }

    /// Makes a batch of what a scan found, or does first what it is stopped by.
    async fn take(&mut self, mut scan: Scan) -> Result<Option<MysqlBatch>> {
        match scan.stop {
            Some(Stop::Changed(definition)) if scan.bytes == 0 => {
                self.learn(&definition).await?;
                Ok(None)
            }
            Some(Stop::Unknown(table)) if scan.bytes == 0 => {
                self.find(&table).await?;
                Ok(None)
            }
            Some(Stop::Payload(events)) => {
                let inner = scan.place.cursor.nested();
                self.unpack(scan.bytes, scan.place.cursor, inner, Origin::Payload(events))?;
                Ok(None)
            }
            Some(Stop::Committed(ref id, transaction)) => {
                let Some((events, framer)) = self.held.committed(id) else { return Ok(None) };
                self.marks.committed.add(id.clone());
                let inner = scan.place.cursor.telling(framer, transaction);
                let origin = Origin::Held(events, Some(id.clone()));
                self.unpack(scan.bytes, scan.place.cursor, inner, origin)?;
                Ok(None)
            }
            Some(Stop::CommittedAtOnce(transaction)) => {
                self.held.collect(std::mem::take(&mut scan.collected));
                let inner = scan.place.cursor.telling(scan.place.cursor.framer(), transaction);
                let origin = Origin::Held(self.held.take_collected(), None);
                self.unpack(scan.bytes, scan.place.cursor, inner, origin)?;
                Ok(None)
            }
            Some(Stop::RolledBack(ref id)) => {
                self.held.release(id);
                self.cut(scan).map(Some)
            }
            Some(Stop::Dropped(ref tables)) => {
                let tables = tables.clone();
                let mut batch = self.cut(scan)?;
                batch.state.extend(self.drop_tables(tables)?);
                Ok(Some(batch))
            }
            Some(Stop::Replaced(ref tables)) => {
                let tables = tables.clone();
                let mut batch = self.cut(scan)?;
                self.replace_tables(&mut batch, &tables)?;
                Ok(Some(batch))
            }
            Some(Stop::Renamed(ref renames)) => {
                let renames = renames.clone();
                let mut batch = self.cut(scan)?;
                self.rename_tables(&mut batch, &renames)?;
                Ok(Some(batch))
            }
            Some(Stop::Altered(ref altered)) => {
                let altered = altered.clone();
                let mut batch = self.cut(scan)?;
                batch.state.extend(self.suspect([altered])?);
                Ok(Some(batch))
            }
            _ => self.cut(scan).map(Some),
        }
    }

    /// Goes on with events that come from elsewhere, at `inner`, behind the one of so many bytes at whose end
    /// `outer` is.
    fn unpack(&mut self, bytes: usize, outer: Cursor, inner: Cursor, origin: Origin) -> Result<()> {
        if self.unpacking.len() >= UNPACKING_MAX {
            return Err(Error::new(ErrorKind::Malformed, "read the log")
                .because("transactions stand within each other that cannot")
                .with("unpacking_max", UNPACKING_MAX));
        }
        self.waiting_mut().take(bytes);
        self.place.cursor = inner;
        self.place.open_held.clear();
        self.place.has_rows = false;
        self.unpacking.push(Unpacking::new(origin, outer));
        Ok(())
    }

    fn cut(&mut self, mut scan: Scan) -> Result<MysqlBatch> {
        let (cursor, open) = (self.place.cursor.clone(), self.place.open.clone());
        let (was_told, file) =
            (self.place.has_rows, cursor.file.as_ref().map(|file| file.name.clone()));
        self.follow(&mut scan)?;
        self.place = scan.place;
        let pieces = self.waiting_mut().take(scan.bytes);
        self.resume_after = scan.resume_after;
        // Rows that are in the topics already are not encoded again, and their schema may be of a topic
        // that their table has left.
        let is_passed_over = self.place.end <= self.resume_after;
        let mut batch = self.empty();
        // A transaction whose rows are told must be among those that are stored once it has ended.
        let has_ended = was_told && !self.place.has_rows;
        let is_other_file = file.is_some_and(|file| *file != *self.log.file);
        let is_due = self.log_stored_at.elapsed() >= PLACE_INTERVAL;
        if !scan.schemas.is_empty() || has_ended || is_other_file || is_due {
            batch.state.extend(self.place_item()?);
        }
        batch.schemas = if is_passed_over { Vec::new() } else { scan.schemas };
        (batch.cursor, batch.open) = (cursor, open);
        batch.pieces = pieces.returned_to(self.stream.spare());
        if !scan.is_alone {
            batch.marks = self.reached()?;
        }
        Ok(batch)
    }

    /// The log's place, if it is another than the one that was stored last.
    fn place_item(&mut self) -> Result<Option<StateItem>> {
        if !std::mem::take(&mut self.has_moved) {
            return Ok(None);
        }
        self.log_stored_at = Instant::now();
        self.warn_of_held();
        place_item(&self.log, &self.held).map(Some)
    }

    /// Nothing comes: what was not worth an append is stored with the next heartbeat.
    fn heartbeat(&mut self) -> Result<MysqlBatch> {
        let item = self.place_item()?;
        let mut batch = self.empty();
        batch.state.extend(item);
        Ok(batch)
    }

    /// Follows to a scan's end, to where the log would be taken up behind it.
    fn follow(&mut self, scan: &mut Scan) -> Result<()> {
        if let Some(prepared) = &scan.prepared {
            self.marks.committed.remove(&prepared.id);
        }
        scan.strangers.iter().for_each(|id| self.marks.committed.remove(id));
        let telling = self.unpacking.last().and_then(|unpacking| unpacking.held());
        let mut follower = Follower { log: &mut self.log, held: &mut self.held, telling };
        follower.follow(scan)?.iter().for_each(warn_of_unknown);
        self.has_moved |= scan.place.cursor.file.is_some();
        Ok(())
    }

    /// Tells of a transaction that has been held for long: the server's log is needed from there on.
    fn warn_of_held(&mut self) {
        let Some(long) = self.held.long() else { return };
        tracing::warn!(
            xid = %long.id,
            tables = long.tables,
            held_for_s = long.held_for.as_secs(),
            file = &*long.file,
            position = long.offset,
            log_bytes_behind = self.watch.behind(&long.file, long.offset),
            "a prepared (XA) transaction has not ended for long: the server's log is needed from there on, \
             and its rows are told only once it is committed; see XA RECOVER, and run XA COMMIT or XA \
             ROLLBACK with its xid"
        );
    }

    /// The marks at whose places the source is now, or behind.
    fn reached(&self) -> Result<Vec<String>> {
        let cursor = &self.place.cursor;
        if cursor.transaction.is_some() || cursor.file.is_none() {
            return Ok(Vec::new());
        }
        Ok(self.marks.hold().reached(cursor.commit()?, self.log.gtids.as_ref()))
    }

    pub(crate) fn empty(&self) -> MysqlBatch {
        MysqlBatch {
            pieces: Pieces::default(),
            cursor: self.place.cursor.clone(),
            open: self.place.open.clone(),
            tables: Arc::clone(&self.tables),
            epoch: self.epoch,
            resume_after: self.resume_after,
            schemas: Vec::new(),
            replaced: Vec::new(),
            rewritten: Vec::new(),
            state: Vec::new(),
            marks: Vec::new(),
            end: self.place.end.max(self.resume_after),
            end_at_us: i64::from(self.place.cursor.at_s) * 1_000_000,
        }
    }

    /// Takes in a table that is new or changed; what was asked beside the log is stored with the next
    /// batch.
    async fn learn(&mut self, definition: &[u8]) -> Result<()> {
        let bytes = numbered(definition);
        let map = described(&bytes)?;
        let (name, flavor) = (map.name_bytes(), self.place.cursor.flavor());
        let at = self.here()?;
        if self.captured.purpose(name) == Some(Purpose::Marks) {
            let types = self.config.settings.types();
            let (facts, whole) = (TableFacts::default(), Selection::all(&TERMS));
            let relation = Relation::new(&map, flavor, &facts, &types, &whole)?;
            self.describe(name.into(), definition, relation, Purpose::Marks);
            return Ok(());
        }
        let table = map.table_name()?;
        let is_told = at > self.resume_after;
        let gone = self.suspects.gone(&table).filter(|_| is_told).map(<[String]>::to_vec);
        let facts = match self.versions.facts_at(&table, definition, at) {
            Some(facts) if gone.is_none() => facts.clone(),
            _ => {
                let today = self.today(&table).await?;
                today.map_or_else(TableFacts::default, |today| today.facts().clone())
            }
        };
        let relation = self.relation(&map, flavor, &facts)?;
        // Nothing is waited for behind this: a call that is dropped before has learnt nothing.
        let gone = gone.unwrap_or_default();
        let cleared = if is_told { self.suspects.remove(&table)? } else { None };
        self.captured.remember(&table);
        let before = self.schema_before(&table);
        let schema = Arc::clone(&relation.schema);
        let is_rewritten = before.as_deref().is_some_and(|before| {
            let had = |name: &str| self.versions.had(&table, name);
            is_rewritten(before, &schema, &Columns { facts: &facts, gone: &gone, had: &had })
        });
        tracing::info!(%table, columns = schema.fields.len(), "schema");
        let item = self.versions.add(&table, (definition, flavor), &facts, at)?;
        self.describe(name.into(), definition, relation, Purpose::Events);
        let mut first = self.empty();
        first.state.extend(item);
        first.state.extend(cleared);
        if is_told {
            self.tell_change(&mut first, &table, is_rewritten, &schema)?;
        }
        self.first = Some(first);
        Ok(())
    }

    /// What it means to a topic that its table is described otherwise than before.
    fn tell_change(
        &mut self,
        first: &mut MysqlBatch,
        table: &TableName,
        is_rewritten: bool,
        schema: &Arc<TableSchema>,
    ) -> Result<()> {
        if let Some(item) = self.dropped.remove(table)? {
            tracing::warn!(%table, "is another table than before: it is read anew");
            first.state.push(item);
            first.schemas = vec![Arc::clone(schema)];
            first.replaced = vec![Arc::clone(schema)];
        } else if is_rewritten {
            tracing::info!(%table, "DDL may have changed its rows: it is read anew");
            first.rewritten = vec![table.clone()];
        }
        Ok(())
    }

    /// The place of the next event's rows, before the first of them.
    pub(crate) fn here(&self) -> Result<Position> {
        let mut cursor = self.place.cursor.clone();
        let next = self.waiting().pieces().find_map(|mut piece| next_in(&mut piece).transpose());
        if let Some((_, _, number)) = next.transpose()? {
            cursor.turn_to(number);
        }
        Ok(match cursor.transaction {
            Some(transaction) => crate::place::row_position(
                self.epoch,
                transaction.commit,
                transaction.events + 1,
                0,
            ),
            None => Position::before(self.epoch, cursor.commit()?),
        })
    }

    /// The schema that the table had in the log so far.
    pub(crate) fn schema_before(&self, table: &TableName) -> Option<Arc<TableSchema>> {
        let described = name_bytes(table).and_then(|name| self.tables.get(&name));
        if let Some(described) = described {
            return Some(Arc::clone(&described.relation.schema));
        }
        self.stored(table).map(|(_, relation)| Arc::clone(&relation.schema))
    }

    /// The table as the log described it last, before this start.
    pub(crate) fn stored(&self, table: &TableName) -> Option<(Vec<u8>, Relation)> {
        let (definition, flavor, facts) = self.versions.last(table)?;
        let bytes = numbered(&definition);
        let relation = self.relation(&described(&bytes).ok()?, flavor, facts).ok()?;
        Some((definition, relation))
    }

    /// The table as the server has it today.
    ///
    /// A question that is dropped leaves half of its answer on the connection, so that the next one needs
    /// another.
    pub(crate) async fn today(&mut self, table: &TableName) -> Result<Option<CatalogTable>> {
        if self.asking {
            self.sql = Sql::connect(&self.config.settings).await?;
        }
        self.asking = true;
        let (flavor, types) = (self.place.cursor.flavor(), self.config.settings.types());
        let table = catalog::table(&mut self.sql, flavor, table, &types).await;
        self.asking = false;
        table
    }

    fn relation(&self, map: &TableMap<'_>, flavor: Flavor, facts: &TableFacts) -> Result<Relation> {
        let (types, selection) = (self.config.settings.types(), &self.config.selection);
        Ok(self.shared(Relation::new(map, flavor, facts, &types, selection)?))
    }

    pub(crate) fn shared(&self, mut relation: Relation) -> Relation {
        relation.schema = self.known.share(relation.schema);
        relation
    }

    pub(crate) fn describe(
        &mut self,
        name: Box<[u8]>,
        definition: &[u8],
        relation: Relation,
        purpose: Purpose,
    ) {
        let described =
            Described { definition: definition.into(), relation: Arc::new(relation), purpose };
        Arc::make_mut(&mut self.tables).insert(name, Arc::new(described));
    }
}

impl Source for MysqlSource {
    type Batch = MysqlBatch;

    async fn next_batch(&mut self, limit: BatchLimit) -> Result<MysqlBatch> {
        self.batch(limit).await
    }

    /// The server keeps its log for a time, and is told nothing.
    async fn confirm(&mut self, _: Position) -> Result<()> {
        Ok(())
    }

    fn lag_bytes(&self) -> u64 {
        self.watch.behind(&self.log.file, self.place.cursor.offset)
    }

    async fn close(self) -> Result<()> {
        let stream = self.stream;
        tokio::task::spawn_blocking(move || stream.close())
            .await
            .map_err(|error| Error::new(ErrorKind::Internal, "close the stream").caused_by(error))
    }
}

/// What it changed is in no part of the log that was read.
#[cold]
fn warn_of_unknown(id: &XaId) {
    tracing::warn!(
        xid = %id,
        "an XA transaction is committed that was prepared before the place from which the log was read: if \
         it changed captured tables, what it changed is told only where they are read behind this; \
         `tidemesh verify` finds it, `tidemesh snapshot start` brings it"
    );
}

/// The block that describes a source.
pub(crate) fn block(config: &Config) -> SourceBlock {
    SourceBlock {
        connector: "mysql",
        name: config.source.clone(),
        // A table's schema is its database.
        database: String::new(),
        fields: BLOCK_FIELDS,
    }
}
