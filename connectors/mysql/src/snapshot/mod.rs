//! Reading tables beside the log: one chunk by one `SELECT`, which sees what is committed when it
//! begins. Absent here: which chunk is read when, and what becomes of it (`tidemesh_source`).

mod chunk;
mod committing;
mod read_only;
mod rows;
mod sql;
mod text;
mod texts;

pub use chunk::MysqlChunk;
pub(crate) use sql::{mark_table_statements, raw_text};
pub(crate) use text::text;

use crate::catalog::{self, CatalogTable, Estimate};
use crate::client::{Client, RowLimits, Sql};
use crate::config::Config;
use crate::frame::Flavor;
use crate::known::KnownSchemas;
use crate::marks::PlacedMarks;
use crate::relation::Relation;
use crate::server;
use chunk::AnswerRow;
use mysql_async::Row;
use rows::{AnswerRows, malformed};
use sql::KeyColumns;
use std::sync::Arc;
use std::time::Duration;
use tidemesh_model::{Error, ErrorKind, MysqlSettings, MysqlTypes, Result, TableName, Values};
use tidemesh_source::{ChunkRequest, Key, Part, RowBytes, Selection, TablePlan, TableReader};

/// Tables of fewer rows are read in one part.
const PART_ROWS_MIN: u64 = 100_000;

/// What `information_schema` calls tables; of one that keeps its history a `SELECT` has the rows that hold.
const TABLES: [&str; 2] = ["BASE TABLE", "SYSTEM VERSIONED"];

/// How long a table's rows may be waited for: a server that has to sort them first takes long.
const SILENCE_MAX: Duration = Duration::from_secs(600);

/// How long it is waited until a table can be held: a statement that changes it may be under way.
const HOLD_MAX: Duration = Duration::from_secs(60);

/// Reads tables: rows over a connection of its own, what is asked about tables and the marks over
/// another.
pub struct MysqlReader {
    sql: Sql,
    /// None when the last one was left with rows on their way.
    client: Option<Client>,
    settings: MysqlSettings,
    flavor: Flavor,
    types: MysqlTypes,
    selection: Arc<Selection>,
    /// Where marks are written; none if nothing may be written.
    watermarks: Option<TableName>,
    known: Arc<KnownSchemas>,
    /// Where marks are placed that are not written.
    marks: Arc<PlacedMarks>,
    row_bytes: RowBytes,
}

/// A table that is held as it is.
struct Opened {
    table: CatalogTable,
    relation: Arc<Relation>,
}

impl Opened {
    fn order(&self) -> Option<KeyColumns<'_>> {
        KeyColumns::of_order(&self.table, &self.relation)
    }
}

/// Rows that were read.
struct Read {
    rows: AnswerRows,
    /// No row is left of those that were asked for.
    is_whole: bool,
}

impl MysqlReader {
    pub(crate) async fn connect(
        config: &Config,
        (known, marks): (Arc<KnownSchemas>, Arc<PlacedMarks>),
    ) -> Result<Self> {
        let mut sql = Sql::connect(&config.settings).await?;
        let flavor = server::flavor(&mut sql).await?;
        let row_bytes = RowBytes::default();
        let (settings, watermarks) = (config.settings.clone(), config.watermarks.clone());
        let (types, selection) = (settings.types(), Arc::clone(&config.selection));
        Ok(Self {
            sql,
            client: None,
            settings,
            flavor,
            types,
            selection,
            watermarks,
            known,
            marks,
            row_bytes,
        })
    }

    /// Does what blocks with the connection for rows, on a thread that may wait. It is kept unless the
    /// work fails or leaves rows behind.
    async fn blocking<T: Send + 'static>(
        &mut self,
        silence_max: Duration,
        work: impl FnOnce(&mut Client, RowLimits) -> Result<(T, bool)> + Send + 'static,
    ) -> Result<T> {
        let (client, settings) = (self.client.take(), self.settings.clone());
        let limits = RowLimits { row_bytes_max: settings.message_bytes_max, silence_max };
        let done = tokio::task::spawn_blocking(move || {
            let mut client = match client {
                Some(client) => client,
                None => session(&settings, limits)?,
            };
            let (told, is_kept) = work(&mut client, limits)?;
            Ok((told, is_kept.then_some(client)))
        });
        let done = done
            .await
            .map_err(|error| Error::new(ErrorKind::Internal, "read a table").caused_by(error))?;
        let (told, client) = done?;
        self.client = client;
        Ok(told)
    }

    /// Begins to hold a table, so that its columns stay as they are until [`MysqlReader::end`].
    async fn open(&mut self, name: &TableName) -> Result<Opened> {
        let touch = sql::touch_query(name);
        let held = self.blocking(HOLD_MAX, move |client, limits| {
            client.rows(sql::BEGIN, limits, |_| Ok(true))?;
            client.rows(&touch, limits, |_| Ok(true))?;
            Ok(((), true))
        });
        held.await.map_err(|error| error.with("table", name))?;
        let table = catalog::table(&mut self.sql, self.flavor, name, &self.types).await?;
        let table = table.ok_or_else(|| {
            Error::new(ErrorKind::NotFound, "read a table")
                .because("it is not there")
                .with("table", name)
        })?;
        let mut relation = table.relation(&self.types, &self.selection)?;
        relation.schema = self.known.share(relation.schema);
        Ok(Opened { table, relation: Arc::new(relation) })
    }

    /// Writes a mark into the table of marks, which is made if it is missing.
    async fn write_mark(&mut self, table: &TableName, text: &str) -> Result<()> {
        let statement = sql::mark_statement(table);
        match self.sql.rows::<Row>(&statement, (text,)).await {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.make_mark_table(table).await?;
                self.sql.rows::<Row>(&statement, (text,)).await?;
            }
            Err(error) if error.kind() == ErrorKind::Privilege => {
                return Err(error.help(format!(
                    "run GRANT SELECT, INSERT, UPDATE ON {table} for the user {}, once the table is \
                     there; or set snapshot.read_only",
                    self.settings.user
                )));
            }
            written => drop(written?),
        }
        Ok(())
    }

    async fn end(&mut self) -> Result<()> {
        self.blocking(HOLD_MAX, |client, limits| {
            client.rows(sql::END, limits, |_| Ok(true))?;
            Ok(((), true))
        })
        .await
    }

    /// Reads rows until there are no more or the next one does not fit, and lets the table go.
    async fn read(&mut self, query: String, bytes_max: usize) -> Result<Read> {
        self.blocking(SILENCE_MAX, move |client, limits| {
            let mut rows = AnswerRows::default();
            let is_whole =
                client.rows(&query, limits, |row| Ok(rows.push_within(row, bytes_max)))?;
            // What is left on its way would take longer than another connection.
            if is_whole {
                client.rows(sql::END, limits, |_| Ok(true))?;
            }
            Ok((Read { rows, is_whole }, is_whole))
        })
        .await
    }

    /// The rows of a short answer, while the table is held on.
    async fn ask(&mut self, query: String) -> Result<AnswerRows> {
        self.blocking(SILENCE_MAX, move |client, limits| {
            let mut rows = AnswerRows::default();
            client.rows(&query, limits, |row| {
                rows.push(row);
                Ok(true)
            })?;
            Ok((rows, true))
        })
        .await
    }

    fn learn(&mut self, table: &TableName, rows: &AnswerRows) {
        self.row_bytes.learn(table, rows.len_bytes(), rows.count());
    }

    /// A table without an order has one chunk, of all its rows, if they are not too many.
    async fn all(&mut self, opened: &Opened, request: &ChunkRequest) -> Result<MysqlChunk> {
        if matches!(request.part, Part::Keys(_)) {
            return Err(without_order(&request.table).because("its rows have no key to be read by"));
        }
        let query = sql::all_rows_query(&opened.relation, &sql::cells(&opened.relation));
        let Read { rows, is_whole } = self.read(query, request.bytes_max).await?;
        if !is_whole {
            return Err(without_order(&request.table)
                .because(
                    "it has no key by which it could be read in chunks, and is too large for one",
                )
                .with("chunk_bytes_max", request.bytes_max));
        }
        let relation = Arc::clone(&opened.relation);
        Ok(MysqlChunk { relation, rows, last_key: None, is_last: true })
    }

    /// Bounds that cut a range of numbers into parts of the same width.
    async fn bounds(&mut self, keys: &KeyColumns<'_>, parts: u32) -> Result<Vec<Key>> {
        let query = sql::range_query(keys).filter(|_| parts > 1 && keys.begins_with_a_number());
        let Some(query) = query else { return Ok(Vec::new()) };
        let rows = self.ask(query).await?;
        let mut ends = rows.last().into_iter().flatten().map(|cell| cell.ok().flatten());
        let mut number = || std::str::from_utf8(ends.next()??).ok()?.parse::<i128>().ok();
        let range = number().zip(number());
        Ok(range.map_or_else(Vec::new, |(low, high)| cuts(low, high, parts)))
    }

    /// The table's largest key: what comes behind it later is in the log.
    async fn largest(&mut self, opened: &Opened, keys: &KeyColumns<'_>) -> Result<Option<Key>> {
        let query = sql::largest_query(keys, &sql::cells(&opened.relation));
        let rows = self.ask(query).await?;
        last_key(&opened.relation, keys, &rows)
    }

    /// Makes the table of marks.
    async fn make_mark_table(&mut self, table: &TableName) -> Result<()> {
        for statement in sql::mark_table_statements(table) {
            self.sql.run(&statement).await.map_err(|error| match error.kind() {
                ErrorKind::Privilege => error.help(format!(
                    "run {statement}; and GRANT SELECT, INSERT, UPDATE ON {table} for the user {}; or \
                     set snapshot.read_only",
                    self.settings.user
                )),
                _ => error,
            })?;
        }
        Ok(())
    }
}

fn session(settings: &MysqlSettings, limits: RowLimits) -> Result<Client> {
    let mut client = Client::connect(settings)?;
    for statement in sql::SESSION {
        client.rows(statement, limits, |_| Ok(true))?;
    }
    Ok(client)
}

fn without_order(table: &TableName) -> Error {
    Error::new(ErrorKind::Prerequisite, "read a table").with("table", table).help(
        "add a primary key, or a unique index of columns that are not null; or raise \
         snapshot.chunk_bytes_max; or leave it out of snapshots",
    )
}

/// Where a range of numbers is cut into parts of the same width.
fn cuts(low: i128, high: i128, parts: u32) -> Vec<Key> {
    let mut bounds: Vec<Key> = Vec::new();
    for part in 1..i128::from(parts) {
        let bound = vec![(low + (high - low) * part / i128::from(parts)).to_string()];
        if bounds.last() != Some(&bound) {
            bounds.push(bound);
        }
    }
    bounds
}

fn last_key(relation: &Relation, keys: &KeyColumns<'_>, rows: &AnswerRows) -> Result<Option<Key>> {
    let Some(cells) = rows.last() else { return Ok(None) };
    let row = Values::of(&AnswerRow { relation, cells })?;
    keys.of_row(&row, cells).map(Some).ok_or_else(malformed)
}

impl TableReader for MysqlReader {
    type Chunk = MysqlChunk;

    /// A commit is in the log and visible at once to whoever comes behind it there.
    async fn settle(&mut self) -> Result<()> {
        Ok(())
    }

    async fn plan(&mut self, table: &TableName, parts_max: u32) -> Result<TablePlan> {
        let opened = self.open(table).await?;
        let Estimate { kind, rows, row_bytes } = catalog::estimate(&mut self.sql, table).await?;
        if !TABLES.contains(&kind.as_str()) {
            return Err(Error::new(ErrorKind::Unsupported, "read a table")
                .because("it is not of a kind that snapshots read")
                .with("table", table)
                .with("kind", kind)
                .help("leave it out of snapshots"));
        }
        self.row_bytes.expect(table, usize::try_from(row_bytes).unwrap_or(usize::MAX));
        let parts = match opened.order() {
            None => vec![Part::Span { after: None, upto: None }],
            Some(keys) => {
                let parts = if rows < PART_ROWS_MIN { 1 } else { parts_max };
                let bounds = self.bounds(&keys, parts).await?;
                Part::spans(bounds, self.largest(&opened, &keys).await?)
            }
        };
        self.end().await?;
        Ok(TablePlan { parts, rows_estimate: rows, generation: None })
    }

    async fn mark(&mut self, text: &str) -> Result<()> {
        match self.watermarks.clone() {
            Some(table) => self.write_mark(&table, text).await?,
            None => read_only::place(&mut self.sql, self.flavor, &self.marks, text).await?,
        }
        if self.flavor == Flavor::MariaDb && text.starts_with(read_only::LOW) {
            committing::await_committed(&mut self.sql, &self.marks).await?;
        }
        Ok(())
    }

    async fn sees(&mut self, _: &[u64]) -> Result<bool> {
        Ok(true)
    }

    async fn chunk(&mut self, request: &ChunkRequest) -> Result<MysqlChunk> {
        let opened = self.open(&request.table).await?;
        let order = match request.part {
            Part::Span { .. } => opened.order(),
            Part::Keys(_) => opened.order().map(KeyColumns::without_index),
        };
        let Some(keys) = order else { return self.all(&opened, request).await };
        let rows_max = self.row_bytes.rows_max(&request.table, request.rows_max, request.bytes_max);
        let condition = sql::condition(&keys, &request.part, request.after.as_ref())?;
        let cells = sql::cells(&opened.relation);
        let query = sql::rows_query(&keys, &cells, &condition, rows_max);
        let read = self.read(query, request.bytes_max).await;
        let Read { rows, is_whole } = read.map_err(|error| error.with("table", &request.table))?;
        self.learn(&request.table, &rows);
        Ok(MysqlChunk {
            is_last: is_whole && rows.count() < rows_max as usize,
            last_key: last_key(&opened.relation, &keys, &rows)?,
            relation: Arc::clone(&opened.relation),
            rows,
        })
    }
}

#[cfg(test)]
mod tests;
