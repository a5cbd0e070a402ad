//! Reading tables beside the log: one chunk by `COPY … (FORMAT binary)` in one consistent view,
//! which is told together with the transactions it has. Absent here: which chunk is read when, and
//! what becomes of it (`tidemesh_source`).

mod chunk;
mod copy;
mod query;
mod sql;
mod text;
mod texts;
mod view;

pub use chunk::PostgresChunk;
pub(crate) use sql::VIEW;
pub(crate) use view::View;

#[cfg(feature = "fuzz")]
pub(crate) use copy::fuzz_rows;

use crate::catalog::Catalog;
use crate::client::database_error;
use crate::config::Config;
use crate::known::KnownTables;
use crate::relation::{self, Relation, RelationShape};
use copy::CopyRows;
use futures_util::TryStreamExt;
use sql::{Form, KeyColumns, chunk_query, key_text_query};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};
pub(crate) use text::text;
use tidemesh_model::{Error, ErrorKind, KeyOrigin, Result, TableName};
use tidemesh_source::{ChunkRequest, Key, Part, RowBytes, TablePlan, TableReader};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

/// Tables of fewer rows are read in one part.
const PART_ROWS_MIN: u64 = 100_000;

/// About how many rows a sample for parts has.
const SAMPLE_ROWS: u64 = 2000;

/// What the server says of a text that is none of a type.
const NO_VALUES: [SqlState; 4] = [
    SqlState::INVALID_TEXT_REPRESENTATION,
    SqlState::NUMERIC_VALUE_OUT_OF_RANGE,
    SqlState::INVALID_DATETIME_FORMAT,
    SqlState::DATETIME_FIELD_OVERFLOW,
];

/// How often it is looked whether older transactions have ended.
const SETTLE_PAUSE_MAX: Duration = Duration::from_millis(500);

/// How long it is waited for them before the log says so, and again after as long.
const SETTLE_WARNING: Duration = Duration::from_secs(10);

/// Reads tables over a connection of its own.
pub struct PostgresReader {
    catalog: Catalog,
    known: Arc<KnownTables>,
    /// The most bytes of one row.
    row_bytes_max: usize,
    row_bytes: RowBytes,
    /// Tables that the role may not lock: it may read some of their columns only.
    unlockable: HashSet<TableName>,
    /// Whether a view was begun and not ended: an error came, or whoever waited has gone.
    has_begun: bool,
}

/// A table within a consistent view.
struct Opened {
    relation: Arc<Relation>,
    view: View,
    /// Which file holds the rows; of a partitioned table which files.
    storage: String,
    is_partitioned: bool,
    pages: u64,
    rows_estimate: u64,
}

impl Opened {
    fn keys(&self) -> KeyColumns<'_> {
        KeyColumns::of(&self.relation, self.is_partitioned)
    }
}

impl PostgresReader {
    pub(crate) async fn connect(config: &Config, known: Arc<KnownTables>) -> Result<Self> {
        let catalog = Catalog::connect(&config.settings).await?;
        catalog.client.batch_execute(sql::SESSION).await.map_err(reading)?;
        if let Err(error) = catalog.client.batch_execute(sql::ENDS_WITH_CLIENT).await {
            tracing::debug!(%error, "a query that nobody waits for any more runs to its end here");
        }
        let row_bytes_max = config.settings.message_bytes_max;
        let (row_bytes, unlockable) = (RowBytes::default(), HashSet::new());
        Ok(Self { catalog, known, row_bytes_max, row_bytes, unlockable, has_begun: false })
    }

    /// Begins a view of a table. The lock comes before the view, so that no statement that rewrites
    /// the table can come between them.
    async fn open(&mut self, table: &TableName, settings: &str) -> Result<Opened> {
        let is_locked = self.lock(table, settings).await?;
        let client = &self.catalog.client;
        let row =
            client.query_one(sql::TABLE, &[&table.schema, &table.table]).await.map_err(reading)?;
        let snapshot: String = row.get("snapshot");
        let view = View::read(&snapshot).ok_or_else(|| {
            Error::new(ErrorKind::Malformed, "read a table")
                .because("the server's snapshot is not understood")
                .with("snapshot", &snapshot)
        })?;
        let identity: i8 = row.get("relreplident");
        let shape = self.catalog.shape(row.get("oid"), table, identity.cast_unsigned()).await?;
        let count = |name| u64::try_from(row.get::<_, i64>(name)).unwrap_or(0);
        let opened = Opened {
            relation: self.relation(shape).await?,
            view,
            storage: row.get::<_, Option<String>>("storage").unwrap_or_default(),
            is_partitioned: row.get("is_partitioned"),
            pages: count("pages"),
            rows_estimate: count("rows_estimate"),
        };
        if opened.is_partitioned && opened.relation.schema.key.origin == KeyOrigin::WholeRow {
            return Err(Error::new(ErrorKind::Prerequisite, "read a table")
                .because("a partitioned table has no primary key")
                .with("table", table)
                .help("add a primary key to it, or set postgres.partitions = \"leaf\""));
        }
        if !is_locked {
            self.lock_by_reading(table, &opened).await?;
        }
        Ok(opened)
    }

    /// Begins a transaction with the table locked; false if the role may not lock it, because it may
    /// read some of its columns only.
    async fn lock(&mut self, table: &TableName, settings: &str) -> Result<bool> {
        self.leave().await?;
        let client = &self.catalog.client;
        if !self.unlockable.contains(table) {
            match client.batch_execute(&sql::begin(table, settings)).await.map_err(reading) {
                Err(error) if error.kind() == ErrorKind::Privilege => {
                    client.batch_execute("ROLLBACK").await.map_err(reading)?;
                    self.unlockable.insert(table.clone());
                }
                locked => return locked.map(|()| true),
            }
        }
        client.batch_execute(&sql::begin_unlocked(settings)).await.map_err(reading)?;
        Ok(false)
    }

    /// Locks a table as reading it does, behind the view, and makes sure that it was not rewritten in
    /// between.
    async fn lock_by_reading(&self, table: &TableName, opened: &Opened) -> Result<()> {
        let client = &self.catalog.client;
        let touch = opened.keys().touch_query();
        client.batch_execute(&touch).await.map_err(reading)?;
        let row =
            client.query_one(sql::TABLE, &[&table.schema, &table.table]).await.map_err(reading)?;
        if row.get::<_, Option<String>>("storage").unwrap_or_default() == opened.storage {
            return Ok(());
        }
        client.batch_execute("ROLLBACK").await.map_err(reading)?;
        Err(Error::new(ErrorKind::Unavailable, "read a table")
            .because("it was rewritten while its reading began")
            .with("table", table))
    }

    /// The relation of this shape; the same one as long as the shape does not change.
    async fn relation(&self, shape: RelationShape) -> Result<Arc<Relation>> {
        if let Some(known) = self.known.find(&shape) {
            relation::check_composites(&self.catalog, &known).await?;
            return Ok(known);
        }
        let earlier = self.known.earlier(&shape.name);
        let resolved = relation::resolve(&self.catalog, &shape, 0, &earlier).await?;
        // Another reader may have been faster: all take the first one.
        Ok(self.known.add(Arc::new(resolved)))
    }

    /// Ends the view that was left open, if one was, before another one begins.
    async fn leave(&mut self) -> Result<()> {
        if std::mem::replace(&mut self.has_begun, true) {
            self.catalog.client.batch_execute("ROLLBACK").await.map_err(reading)?;
        }
        Ok(())
    }

    async fn end(&mut self) -> Result<()> {
        self.catalog.client.batch_execute("COMMIT").await.map_err(reading)?;
        self.has_begun = false;
        Ok(())
    }

    /// Reads rows until there are no more or enough bytes.
    async fn copy(&self, query: &str, bytes_max: usize, row_bytes_max: usize) -> Result<CopyRows> {
        let stream = self.catalog.client.copy_out(query).await.map_err(asked)?;
        let mut stream = std::pin::pin!(stream);
        let mut rows = CopyRows::new(bytes_max, row_bytes_max);
        while let Some(piece) = stream.try_next().await.map_err(reading)? {
            if !rows.push(&piece)? {
                break;
            }
        }
        Ok(rows)
    }

    /// The text of the last row's key.
    async fn last_key(&self, keys: &KeyColumns<'_>, rows: &CopyRows) -> Result<Option<Key>> {
        let Some(cells) = rows.last_row() else { return Ok(None) };
        let cells = cells.collect::<Result<Vec<_>>>()?;
        let Some(columns) = keys.columns() else {
            let place = cells.first().copied().flatten().and_then(sql::ctid_text);
            return place.map(|place| Some(vec![place])).ok_or_else(copy::malformed);
        };
        let binary: Vec<Binary<'_>> =
            columns.iter().map(|(index, _)| Binary(cells.get(*index).copied().flatten())).collect();
        let parameters: Vec<&(dyn ToSql + Sync)> =
            binary.iter().map(|cell| cell as &(dyn ToSql + Sync)).collect();
        let query = key_text_query(keys);
        let row = self.catalog.client.query_one(&query, &parameters).await.map_err(reading)?;
        (0..columns.len())
            .map(|index| row.try_get::<_, String>(index).map_err(reading))
            .collect::<Result<Key>>()
            .map(Some)
    }

    /// Bounds that cut the key space into parts of about the same size.
    async fn bounds(&self, keys: &KeyColumns<'_>, opened: &Opened, parts: u32) -> Result<Vec<Key>> {
        let query = sql::sample_query(keys, opened.rows_estimate, SAMPLE_ROWS);
        let rows = self.catalog.client.query(&query, &[]).await.map_err(reading)?;
        let key = |index: usize| -> Result<Key> {
            let row = &rows[index];
            (0..row.len()).map(|cell| row.try_get(cell).map_err(reading)).collect()
        };
        let mut bounds: Vec<Key> = Vec::new();
        for part in 1..parts as usize {
            let bound = match rows.len() * part / parts as usize {
                0 => continue,
                index => key(index)?,
            };
            if bounds.last() != Some(&bound) {
                bounds.push(bound);
            }
        }
        Ok(bounds)
    }

    /// The table's largest key: what comes behind it later is in the log.
    async fn largest(&self, keys: &KeyColumns<'_>) -> Result<Option<Key>> {
        let query = sql::largest_query(keys);
        let row = self.catalog.client.query_opt(&query, &[]).await.map_err(reading)?;
        row.map(|row| (0..row.len()).map(|cell| row.try_get(cell).map_err(reading)).collect())
            .transpose()
    }

    async fn parts(&self, opened: &Opened, parts_max: u32) -> Result<Vec<Part>> {
        let keys = opened.keys();
        let parts = if opened.rows_estimate < PART_ROWS_MIN { 1 } else { parts_max };
        let (bounds, last) = if keys.columns().is_some() {
            (self.bounds(&keys, opened, parts).await?, self.largest(&keys).await?)
        } else {
            let page = |part: u64| vec![format!("({},0)", opened.pages * part / u64::from(parts))];
            let bounds = (1..u64::from(parts)).map(page).collect();
            (bounds, Some(page(parts.into())))
        };
        Ok(Part::spans(bounds, last))
    }
}

impl TableReader for PostgresReader {
    type Chunk = PostgresChunk;

    async fn settle(&mut self) -> Result<()> {
        let client = &self.catalog.client;
        let row = client.query_one(sql::NEW_TRANSACTION, &[]).await.map_err(reading)?;
        let newest: String = row.get(0);
        let mut warned = Instant::now();
        let mut pause = Duration::from_millis(5);
        loop {
            let row = client.query_one(sql::SETTLED, &[&newest]).await.map_err(reading)?;
            if row.get(0) {
                return Ok(());
            }
            if warned.elapsed() >= SETTLE_WARNING {
                warned = Instant::now();
                let row = client.query_one(sql::OLDER, &[]).await.map_err(reading)?;
                let pids: Option<String> = row.get(0);
                let message = "a snapshot waits for older transactions to end";
                tracing::warn!(pids = pids.as_deref().unwrap_or("unknown"), "{message}");
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(SETTLE_PAUSE_MAX);
        }
    }

    async fn plan(&mut self, table: &TableName, parts_max: u32) -> Result<TablePlan> {
        let opened = self.open(table, "").await?;
        let parts = self.parts(&opened, parts_max).await?;
        self.end().await?;
        let keyed = opened.keys().columns().is_some();
        Ok(TablePlan {
            parts,
            rows_estimate: opened.rows_estimate,
            generation: (!keyed).then_some(opened.storage),
        })
    }

    async fn mark(&mut self, text: &str) -> Result<()> {
        let parameters: &[&(dyn ToSql + Sync)] = &[&crate::batch::MARK_PREFIX, &text];
        self.catalog.client.query_one(sql::MARK, parameters).await.map_err(reading)?;
        Ok(())
    }

    async fn sees(&mut self, transactions: &[u64]) -> Result<bool> {
        let row = self.catalog.client.query_one(sql::VIEW, &[]).await.map_err(reading)?;
        let view = View::read(row.get(0)).ok_or_else(copy::malformed)?;
        Ok(transactions.iter().all(|transaction| view.sees(*transaction)))
    }

    async fn chunk(&mut self, request: &ChunkRequest) -> Result<PostgresChunk> {
        let settings = match request.part {
            Part::Span { .. } => sql::IN_KEY_ORDER,
            Part::Keys(_) => "",
        };
        let opened = self.open(&request.table, settings).await?;
        let keys = opened.keys();
        let rows_max = self.row_bytes.rows_max(&request.table, request.rows_max, request.bytes_max);
        let condition = sql::condition(&keys, request)?;
        let query = chunk_query(&opened.relation, &keys, Form::Binary, &condition, rows_max);
        let rows = self
            .copy(&query, request.bytes_max, self.row_bytes_max)
            .await
            .map_err(|error| error.with("table", &request.table))?;
        let last_key = self.last_key(&keys, &rows).await?;
        self.end().await?;
        let count = usize::try_from(rows.count()).unwrap_or(usize::MAX);
        self.row_bytes.learn(&request.table, rows.len_bytes(), count);
        let keyed = keys.columns().is_some();
        Ok(PostgresChunk {
            is_last: rows.is_whole() && rows.count() < u64::from(rows_max),
            generation: (!keyed).then_some(opened.storage),
            leading: usize::from(!keyed),
            relation: opened.relation,
            view: opened.view,
            rows,
            last_key,
        })
    }
}

/// A cell's binary form as a parameter of whatever type.
#[derive(Debug)]
struct Binary<'a>(Option<&'a [u8]>);

impl ToSql for Binary<'_> {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut bytes::BytesMut,
    ) -> std::result::Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match self.0 {
            None => Ok(IsNull::Yes),
            Some(bytes) => {
                out.extend_from_slice(bytes);
                Ok(IsNull::No)
            }
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// The error of what was asked for: the texts in it are those of keys.
fn asked(error: tokio_postgres::Error) -> Error {
    if !error.code().is_some_and(|code| NO_VALUES.contains(code)) {
        return reading(error);
    }
    Error::new(ErrorKind::Config, "read a table")
        .because("a key has a text that is none of its column's type")
        .caused_by(error)
}

fn reading(error: tokio_postgres::Error) -> Error {
    database_error(error, "read a table")
}
