//! The statements that read tables. Keys are texts of the database's own, quoted here and cast to
//! their columns' types by the server.

mod cell;

pub(super) use cell::{Form, without_special, written};

use crate::config::{quoted, quoted_table};
use crate::relation::Relation;
use crate::types::Reader;
use cell::{canonical, read_as};
use tidemesh_model::{Error, ErrorKind, Field, KeyOrigin, Result, TableName};
use tidemesh_source::{ChunkRequest, Key, Part, TextRow};

/// What a reader's session is set to: texts of one form whatever the server's defaults, no limit of
/// time of somebody else's, marks that do not wait for a standby, and tables read from their start.
pub(super) const SESSION: &str = "
SET synchronous_commit = local; SET standard_conforming_strings = on;
SET DateStyle = 'ISO'; SET TimeZone = 'UTC'; SET IntervalStyle = 'iso_8601';
SET extra_float_digits = 1; SET bytea_output = 'hex';
SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0; SET row_security = off;
SET synchronize_seqscans = off; SET max_parallel_workers_per_gather = 0; SET jit = off";

/// Has a long query end soon after whoever asked for it has gone. Not every platform can see that.
pub(super) const ENDS_WITH_CLIENT: &str = "SET client_connection_check_interval = '2s'";

/// A span of keys is read by the key's index, whatever the planner believes: on a table that was not
/// analysed since it was filled it would sort all that is left of the span, for each chunk.
pub(super) const IN_KEY_ORDER: &str =
    "; SET LOCAL enable_sort = off; SET LOCAL enable_bitmapscan = off";

pub(super) const MARK: &str = "SELECT pg_logical_emit_message(true, $1, $2)::text";

pub(crate) const VIEW: &str = "SELECT pg_current_snapshot()::text";

/// Takes an id: every transaction that was in progress has a lower one.
pub(super) const NEW_TRANSACTION: &str = "SELECT pg_current_xact_id()::text";

pub(super) const SETTLED: &str = "SELECT pg_snapshot_xmin(pg_current_snapshot()) > $1::text::xid8";

pub(super) const OLDER: &str = "
SELECT string_agg(pid::text, ', ') FROM pg_stat_activity
WHERE backend_xid IS NOT NULL AND pid <> pg_backend_pid()";

/// What is known of a table. A partitioned table's rows are its partitions'. The storage is today's,
/// whatever the transaction sees; one that was never analysed has about as many rows as its pages hold.
pub(super) const TABLE: &str = "
WITH named AS (
    SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = $1 AND c.relname = $2),
stored AS (
    SELECT l.oid, l.reltuples,
           COALESCE(pg_relation_size(l.oid), 0) / current_setting('block_size')::bigint AS pages
    FROM pg_class l
    WHERE l.relkind = 'r' AND (l.oid IN (SELECT oid FROM named) OR l.oid IN (
        SELECT t.relid FROM named CROSS JOIN LATERAL pg_partition_tree(named.oid) t)))
SELECT pg_current_snapshot()::text AS snapshot, c.oid, c.relreplident,
       c.relkind = 'p' AS is_partitioned,
       (SELECT string_agg(pg_relation_filenode(s.oid)::text, ',' ORDER BY s.oid) FROM stored s)
         AS storage,
       COALESCE((SELECT sum(s.pages) FROM stored s), 0)::bigint AS pages,
       COALESCE((SELECT sum(CASE WHEN s.reltuples < 0 THEN s.pages * 50 ELSE s.reltuples END)
                 FROM stored s), 0)::bigint AS rows_estimate
FROM named JOIN pg_class c ON c.oid = named.oid";

/// Begins a view of a table, locked against statements that rewrite it, with these settings.
pub(super) fn begin(table: &TableName, settings: &str) -> String {
    format!("{BEGIN}; LOCK TABLE {} IN ACCESS SHARE MODE{settings}", quoted_table(table))
}

/// Begins a view without a lock.
pub(super) fn begin_unlocked(settings: &str) -> String {
    format!("{BEGIN}{settings}")
}

const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// By what a table's chunks are cut.
pub(super) struct KeyColumns<'r> {
    relation: &'r Relation,
    /// Index and quoted name; none for a table without a key, which is cut by places in its storage.
    columns: Option<Vec<(usize, String)>>,
    /// The table in a `FROM`, as `t`. A partitioned table's rows are its partitions'; those that
    /// inherit from an ordinary table are not its own.
    from: String,
}

impl<'r> KeyColumns<'r> {
    pub(super) fn of(relation: &'r Relation, is_partitioned: bool) -> Self {
        let key = &relation.schema.key;
        let named = |index: &usize| (*index, quoted(&relation.schema.fields[*index].name));
        let columns =
            (key.origin != KeyOrigin::WholeRow).then(|| key.columns.iter().map(named).collect());
        let only = if is_partitioned { "" } else { "ONLY " };
        let from = format!("{only}{} t", quoted_table(&relation.schema.name));
        Self { relation, columns, from }
    }

    /// The table in a `FROM`, as `t`.
    pub(super) fn from(&self) -> &str {
        &self.from
    }

    pub(super) fn columns(&self) -> Option<&[(usize, String)]> {
        self.columns.as_deref()
    }

    /// `("a", "b")`.
    fn tuple(&self) -> String {
        match &self.columns {
            None => "(ctid)".to_owned(),
            Some(columns) => format!("({})", self.list(columns)),
        }
    }

    fn list(&self, columns: &[(usize, String)]) -> String {
        columns.iter().map(|(_, name)| name.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// `('1'::bigint, 'x'::text)`.
    fn literal(&self, key: &Key) -> Result<String> {
        let types: Vec<&str> = match &self.columns {
            None => vec!["tid"],
            Some(columns) => columns
                .iter()
                .map(|(index, _)| self.relation.schema.fields[*index].source_type.as_str())
                .collect(),
        };
        if types.len() != key.len() || key.iter().any(|text| text.contains('\0')) {
            return Err(Error::new(ErrorKind::Config, "read a table")
                .because("a key has other columns than the table's")
                .with("table", &self.relation.schema.name)
                .with("key", format!("{key:?}"))
                .with("columns", self.tuple()));
        }
        let cell = |(text, of): (&String, &&str)| format!("'{}'::{of}", text.replace('\'', "''"));
        Ok(format!("({})", key.iter().zip(&types).map(cell).collect::<Vec<_>>().join(", ")))
    }

    fn texts(&self) -> String {
        let columns = self.columns.as_deref().unwrap_or_default();
        columns.iter().map(|(_, name)| format!("{name}::text")).collect::<Vec<_>>().join(", ")
    }
}

fn cells(relation: &Relation, form: Form) -> Vec<String> {
    let columns = relation.schema.fields.iter().zip(relation.kept());
    columns.map(|(field, (_, reader))| form.cell(field, reader)).collect()
}

/// The `COPY` of one chunk.
pub(super) fn chunk_query(
    relation: &Relation,
    keys: &KeyColumns<'_>,
    form: Form,
    condition: &str,
    rows_max: u32,
) -> String {
    let mut columns = cells(relation, form);
    // A place in the storage comes first, because no column of the table holds it.
    let order = match &keys.columns {
        None => {
            columns.insert(0, form.place().to_owned());
            String::new()
        }
        Some(names) => {
            // By the table's columns: a bare name would mean the texts that are selected.
            let names: Vec<String> = names.iter().map(|(_, name)| format!("t.{name}")).collect();
            format!("ORDER BY {} ", names.join(", "))
        }
    };
    format!(
        "COPY (SELECT {} FROM {} WHERE {condition} {order}LIMIT {rows_max}) \
         TO STDOUT (FORMAT binary)",
        columns.join(", "),
        keys.from,
    )
}

/// Rows that are whole rows' texts, null included.
pub(super) fn whole_rows(relation: &Relation, rows: &[TextRow]) -> String {
    let cells = cells(relation, Form::Text).join(", ");
    let text = |cell: &Option<String>| match cell {
        Some(text) => format!("'{}'::text", text.replace('\'', "''")),
        None => "NULL::text".to_owned(),
    };
    let row = |row: &TextRow| {
        let texts: Vec<String> = row.iter().map(text).collect();
        format!("ROW({cells}) IS NOT DISTINCT FROM ROW({})", texts.join(", "))
    };
    rows.iter().map(row).collect::<Vec<_>>().join(" OR ")
}

/// Texts as the server writes them once it has read them as these fields' types.
pub(super) fn canonical_query(cells: &[(Field, String)]) -> String {
    let cell = |(field, text): &(Field, String)| {
        let value = format!("'{}'::{}", text.replace('\'', "''"), read_as(field));
        canonical(&value, field)
    };
    format!("SELECT {}", cells.iter().map(cell).collect::<Vec<_>>().join(", "))
}

/// Which rows a chunk has.
pub(super) fn condition(keys: &KeyColumns<'_>, request: &ChunkRequest) -> Result<String> {
    let mut conditions = Vec::new();
    let after = match &request.part {
        Part::Keys(listed) => {
            let listed = listed.iter().map(|key| keys.literal(key)).collect::<Result<Vec<_>>>()?;
            let listed = if listed.is_empty() { "(NULL)".to_owned() } else { listed.join(", ") };
            conditions.push(format!("{} IN ({listed})", keys.tuple()));
            request.after.as_ref()
        }
        Part::Span { after, upto } => {
            if let Some(upto) = upto {
                conditions.push(format!("{} <= {}", keys.tuple(), keys.literal(upto)?));
            }
            request.after.as_ref().or(after.as_ref())
        }
    };
    if let Some(after) = after {
        conditions.push(format!("{} > {}", keys.tuple(), keys.literal(after)?));
    } else if keys.columns.is_none() {
        // So that the server goes by places from the first page on.
        conditions.push("ctid > '(0,0)'::tid".to_owned());
    }
    Ok(if conditions.is_empty() { "true".to_owned() } else { conditions.join(" AND ") })
}

/// The key's text, from its columns' binary forms.
pub(super) fn key_text_query(keys: &KeyColumns<'_>) -> String {
    let columns = keys.columns.as_deref().unwrap_or_default();
    let cell = |(place, (index, _)): (usize, &(usize, String))| {
        let of = match keys.relation.kept().nth(*index) {
            Some((_, Reader::Declared)) => "text",
            _ => keys.relation.schema.fields[*index].source_type.as_str(),
        };
        format!("(${}::{of})::text", place + 1)
    };
    let cells: Vec<String> = columns.iter().enumerate().map(cell).collect();
    format!("SELECT {}", cells.join(", "))
}

impl KeyColumns<'_> {
    /// Locks the table as every reading does, and reads nothing.
    pub(super) fn touch_query(&self) -> String {
        format!("SELECT FROM {} LIMIT 0", self.from)
    }
}

/// Keys of about `wanted` rows from all over the table, in order.
pub(super) fn sample_query(keys: &KeyColumns<'_>, rows: u64, wanted: u64) -> String {
    let columns = keys.columns.as_deref().unwrap_or_default();
    // By the table's columns: a bare name would mean the texts that are selected.
    let order: Vec<String> = columns.iter().map(|(_, name)| format!("t.{name}")).collect();
    // In hundredths of a percent, at least one.
    let share = (wanted.saturating_mul(10_000) / rows.max(1)).clamp(1, 10_000);
    format!(
        "SELECT {} FROM {} TABLESAMPLE SYSTEM ({}.{:02}) ORDER BY {} LIMIT {}",
        keys.texts(),
        keys.from,
        share / 100,
        share % 100,
        order.join(", "),
        wanted * 10
    )
}

/// The largest key, by the table's columns: a bare name would mean the texts that are selected.
pub(super) fn largest_query(keys: &KeyColumns<'_>) -> String {
    let columns = keys.columns.as_deref().unwrap_or_default();
    let order: Vec<String> = columns.iter().map(|(_, name)| format!("t.{name} DESC")).collect();
    format!("SELECT {} FROM {} ORDER BY {} LIMIT 1", keys.texts(), keys.from, order.join(", "))
}

/// The text of a place in the storage (`tidsend`): its page and its row there.
pub(super) fn ctid_text(bytes: &[u8]) -> Option<String> {
    let (page, row) = bytes.split_first_chunk::<4>()?;
    let row = u16::from_be_bytes(row.try_into().ok()?);
    Some(format!("({},{row})", u32::from_be_bytes(*page)))
}

#[cfg(test)]
mod tests;
