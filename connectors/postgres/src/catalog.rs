//! What the database's catalog says of today: types, keys, nullability, constant defaults. Over
//! `tokio-postgres`, beside the replication connection.

use crate::batch::MARK_PREFIX;
use crate::client::{database_error, endpoint};
use crate::config::{parse_lsn, selection};
use crate::relation::{ColumnShape, RelationShape};
use crate::snapshot::{VIEW, View};
use crate::storage::{Column, Storage};
use crate::types::{AttributeInfo, Reader, TypeInfo, Types};
use std::collections::HashMap;
use std::time::Duration;
use tidemesh_model::{
    CellVisitor, Error, ErrorKind, NumericSpecial, PostgresSettings, Result, RowImage, TableName,
    TlsMode, Value, Values,
};
use tidemesh_source::{Selection, client_config};
use tokio_postgres::types::{FromSql, ToSql, Type};

/// How long the server may take for a question that waits for no lock: a connection that is half-open
/// would never answer.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// How long a connection may be idle until it is probed, and how long what is sent over it may stay
/// unacknowledged: a host that vanished says nothing.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(15);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(5);
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(30);

/// A connection for SQL. Its task ends when this is dropped.
pub(crate) struct Catalog {
    pub(crate) client: tokio_postgres::Client,
    /// What the settings say of types.
    special: NumericSpecial,
    text_types: Vec<String>,
    /// What they say of columns.
    pub(crate) selection: Selection,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Catalog {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A table as the catalog has it today.
#[derive(Debug, Default)]
pub(crate) struct TableFacts {
    /// By name.
    pub(crate) columns: HashMap<String, ColumnFacts>,
    /// The primary key's columns, in its order.
    pub(crate) primary_key: Vec<String>,
}

/// A column as the catalog has it today.
#[derive(Debug)]
pub(crate) struct ColumnFacts {
    pub(crate) number: i16,
    pub(crate) type_oid: u32,
    pub(crate) type_modifier: i32,
    /// How many dimensions an array was declared with, which binds nothing.
    pub(crate) dimensions: i32,
    pub(crate) not_null: bool,
    /// Whether it is computed from others: then the log may not have it.
    pub(crate) is_generated: bool,
    /// Where old rows have a constant that was not written into them: the table, or one of its
    /// partitions, and the column's number there.
    pub(crate) missing: Option<(u32, i16)>,
    /// `format_type`: the type's name with its modifiers.
    pub(crate) type_text: String,
    /// The expression of its default.
    pub(crate) default: Option<String>,
}

impl Catalog {
    pub(crate) async fn connect(settings: &PostgresSettings) -> Result<Self> {
        let mut config = tokio_postgres::Config::new();
        config
            .host(&settings.host)
            .port(settings.port)
            .user(&settings.user)
            .dbname(&settings.database)
            .application_name("tidemesh")
            .keepalives_idle(KEEPALIVE_AFTER)
            .keepalives_interval(KEEPALIVE_EVERY)
            .tcp_user_timeout(UNACKNOWLEDGED_MAX)
            .connect_timeout(Duration::from_millis(settings.connect_timeout_ms));
        if let Some(password) = &settings.password {
            config.password(password.expose());
        }
        let mode = match settings.tls {
            TlsMode::Disable => tokio_postgres::config::SslMode::Disable,
            _ if settings.host.starts_with('/') => tokio_postgres::config::SslMode::Disable,
            TlsMode::Prefer => tokio_postgres::config::SslMode::Prefer,
            _ => tokio_postgres::config::SslMode::Require,
        };
        config.ssl_mode(mode);
        let tls = tokio_postgres_rustls::MakeRustlsConnect::new(std::sync::Arc::unwrap_or_clone(
            client_config(&endpoint(settings))?,
        ));
        let limit = Duration::from_millis(settings.connect_timeout_ms);
        let connected = tokio::time::timeout(limit, config.connect(tls)).await.map_err(|_| {
            Error::new(ErrorKind::Timeout, "connect to PostgreSQL").with("host", &settings.host)
        })?;
        let (client, connection) = connected.map_err(|error| {
            database_error(error, "connect to PostgreSQL")
                .with("host", &settings.host)
                .with("port", settings.port)
                .with("user", &settings.user)
                .with("database", &settings.database)
        })?;
        let task = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "the catalog's connection ended");
            }
        });
        let (special, text_types) = (settings.numeric_special, settings.text_types.clone());
        let selection = selection(settings)?;
        Ok(Self { client, special, text_types, selection, task })
    }

    /// The types of these ids and all that they are made of.
    pub(crate) async fn types(&self, oids: &[u32]) -> Result<Types> {
        let mut infos: HashMap<u32, TypeInfo> = HashMap::new();
        let mut wanted = oids.to_vec();
        while !wanted.is_empty() {
            let rows = self.client.query(TYPES, &[&wanted]).await.map_err(asking)?;
            let mut attributes = self.attributes(&wanted).await?;
            wanted.clear();
            for row in rows {
                let mut info = type_info(&row);
                info.attributes = attributes.remove(&info.oid).unwrap_or_default();
                wanted.extend(info.parts());
                infos.insert(info.oid, info);
            }
            wanted.retain(|oid| !infos.contains_key(oid));
        }
        Ok(Types { infos, special: self.special, text_types: self.text_types.clone() })
    }

    /// The attributes that these types have today, those that are composite types.
    pub(crate) async fn attributes(
        &self,
        oids: &[u32],
    ) -> Result<HashMap<u32, Vec<AttributeInfo>>> {
        let mut found: HashMap<u32, Vec<AttributeInfo>> = HashMap::new();
        for row in self.client.query(ATTRIBUTES, &[&oids]).await.map_err(asking)? {
            let attribute = AttributeInfo {
                number: row.get("attnum"),
                name: row.get("attname"),
                type_oid: row.get("atttypid"),
                modifier: row.get("atttypmod"),
                dimensions: row.get("attndims"),
                type_text: row.get("type_text"),
            };
            found.entry(row.get("oid")).or_default().push(attribute);
        }
        Ok(found)
    }

    /// The table with this id; empty if there is none today.
    pub(crate) async fn table(&self, oid: u32) -> Result<TableFacts> {
        let mut facts = TableFacts::default();
        for row in self.client.query(COLUMNS, &[&oid]).await.map_err(asking)? {
            let column = ColumnFacts {
                number: row.get("attnum"),
                type_oid: row.get("atttypid"),
                type_modifier: row.get("atttypmod"),
                dimensions: row.get("attndims"),
                not_null: row.get("attnotnull"),
                is_generated: row.get("is_generated"),
                missing: row.get::<_, Option<u32>>("missing_table").zip(row.get("missing_number")),
                type_text: row.get("type_text"),
                default: row.get("default"),
            };
            facts.columns.insert(row.get("attname"), column);
        }
        facts.primary_key = self.primary_key(oid).await?;
        Ok(facts)
    }

    /// The columns of the primary key that the table with this id has today, in its order.
    pub(crate) async fn primary_key(&self, oid: u32) -> Result<Vec<String>> {
        let key = self.client.query(PRIMARY_KEY, &[&oid]).await.map_err(asking)?;
        Ok(key.iter().map(|row| row.get("attname")).collect())
    }

    /// The table with this id as its relation message in the log describes it.
    pub(crate) async fn shape(
        &self,
        id: u32,
        name: &TableName,
        replica_identity: u8,
    ) -> Result<RelationShape> {
        let rows = self.client.query(LOGGED, &[&id]).await.map_err(asking)?;
        let column = |row: &tokio_postgres::Row| ColumnShape {
            name: row.get("attname"),
            type_oid: row.get("atttypid"),
            type_modifier: row.get("atttypmod"),
            in_identity: row.get("in_identity"),
        };
        let columns = rows.iter().map(column).collect();
        Ok(RelationShape { id, name: name.clone(), replica_identity, columns })
    }

    /// How tables are stored, by their ids. A partitioned table has no file of its own: that of its oldest
    /// partition tells. File and columns come of one view: DDL changes both, or neither.
    pub(crate) async fn storages(&self, oids: &[u32]) -> Result<HashMap<u32, Storage>> {
        let mut found: HashMap<u32, Storage> = HashMap::new();
        for row in self.client.query(STORAGES, &[&oids]).await.map_err(asking)? {
            let storage = found.entry(row.get("oid")).or_default();
            storage.file = row.get("file");
            let column = Column {
                number: row.get("attnum"),
                written_by: row.get("written_by"),
                default: row.get("default"),
                has_missing: row.get("atthasmissing"),
                is_generated: row.get("is_generated"),
            };
            storage.columns.insert(row.get("attname"), column);
        }
        Ok(found)
    }

    /// Whether somebody holds a table as a transaction does that alters its columns, until that is visible.
    pub(crate) async fn is_held(&self, oid: u32) -> Result<bool> {
        Ok(self.client.query_one(HELD, &[&oid]).await.map_err(asking)?.get(0))
    }

    /// The table with this name today: its id and its replica identity.
    pub(crate) async fn find(&self, name: &TableName) -> Result<Option<(u32, u8)>> {
        let names: &[&(dyn ToSql + Sync)] = &[&name.schema, &name.table];
        let row = self.client.query_opt(FIND, names).await.map_err(asking)?;
        Ok(row.map(|row| (row.get("oid"), row.get::<_, i8>("relreplident").cast_unsigned())))
    }

    /// Writes into the log; answers a place of it behind all that is visible now.
    pub(crate) async fn place(&self) -> Result<u64> {
        let row = self.client.query_one(PLACE, &[&MARK_PREFIX]).await.map_err(asking)?;
        parse_lsn(row.get(0)).ok_or_else(|| {
            Error::new(ErrorKind::Malformed, "ask PostgreSQL's catalog")
                .because("a place of the log is not understood")
        })
    }

    /// Whether a transaction of the log, which has committed, is visible.
    pub(crate) async fn sees(&self, transaction: u32) -> Result<bool> {
        let row = self.client.query_one(VIEW, &[]).await.map_err(asking)?;
        let view = View::read(row.get(0)).ok_or_else(|| {
            Error::new(ErrorKind::Malformed, "ask the catalog")
                .because("the server's snapshot is not understood")
        })?;
        Ok(view.sees(transaction.into()))
    }

    /// The constant that old rows have in a column that was added to them.
    pub(crate) async fn missing(
        &self,
        column: &ColumnFacts,
        reader: &Reader,
    ) -> Result<Option<Value>> {
        let Some((table, number)) = column.missing else { return Ok(None) };
        // The column's type comes from `format_type`, which quotes what needs it.
        let cast = if *reader == Reader::Declared { "::text" } else { "" };
        let query = format!(
            "SELECT (attmissingval::text::{}[])[1]{cast} FROM pg_attribute \
             WHERE attrelid = $1 AND attnum = $2",
            column.type_text
        );
        let row = self.client.query_one(&query, &[&table, &number]).await.map_err(asking)?;
        if *reader == Reader::Declared {
            return Ok(row.get::<_, Option<String>>(0).map(Value::Text));
        }
        let raw: Option<Raw> = row.get(0);
        match raw {
            None => Ok(None),
            Some(Raw(bytes)) => Ok(Values::of(&Cell(reader, &bytes))?.pop()),
        }
    }
}

/// The answer to a question that waits for no lock.
///
/// # Errors
///
/// `Timeout` if it does not come; else what the server says.
pub(crate) async fn answered<T>(
    question: impl Future<Output = std::result::Result<T, tokio_postgres::Error>>,
) -> Result<T> {
    match tokio::time::timeout(ANSWER_MAX, question).await {
        Ok(answer) => answer.map_err(asking),
        Err(_) => Err(Error::new(ErrorKind::Timeout, "ask PostgreSQL's catalog")
            .because("the server does not answer")),
    }
}

fn type_info(row: &tokio_postgres::Row) -> TypeInfo {
    let letter = |name: &str| char::from(row.get::<_, i8>(name).cast_unsigned());
    let part = |name: &str| Some(row.get::<_, u32>(name)).filter(|oid| *oid != 0);
    let base = part("typbasetype").map(|oid| (oid, row.get("typtypmod"), row.get("typndims")));
    TypeInfo {
        oid: row.get("oid"),
        schema: row.get("nspname"),
        name: row.get("typname"),
        kind: letter("typtype"),
        base,
        element: part("element"),
        delimiter: letter("typdelim"),
        labels: row.get("labels"),
        range_of: part("range_of"),
        send: row.get("send"),
        attributes: Vec::new(),
    }
}

/// One cell as a row of its own.
struct Cell<'a>(&'a Reader, &'a [u8]);

impl RowImage for Cell<'_> {
    fn visit<V: CellVisitor>(&self, visitor: &mut V) -> Result<()> {
        self.0.visit(self.1, visitor)
    }
}

/// A value's binary form, whatever its type.
struct Raw(Vec<u8>);

impl<'a> FromSql<'a> for Raw {
    fn from_sql(
        _: &Type,
        raw: &'a [u8],
    ) -> std::result::Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(raw.to_vec()))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

pub(crate) fn asking(error: tokio_postgres::Error) -> Error {
    database_error(error, "ask PostgreSQL's catalog")
}

/// An array is the type that another one names as its array: others have elements, too
/// (`oidvector`).
const TYPES: &str = "
SELECT t.oid, n.nspname::text, t.typname::text, t.typtype, t.typbasetype, t.typtypmod, t.typndims,
       t.typdelim,
       CASE WHEN EXISTS (SELECT FROM pg_type e WHERE e.oid = t.typelem AND e.typarray = t.oid)
            THEN t.typelem ELSE 0::oid END AS element,
       ARRAY(SELECT e.enumlabel::text FROM pg_enum e WHERE e.enumtypid = t.oid
             ORDER BY e.enumsortorder) AS labels,
       COALESCE((SELECT r.rngsubtype FROM pg_range r WHERE r.rngtypid = t.oid),
                (SELECT r.rngtypid FROM pg_range r WHERE r.rngmultitypid = t.oid), 0::oid)
         AS range_of,
       (SELECT p.proname::text FROM pg_proc p WHERE p.oid = t.typsend) AS send
FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace WHERE t.oid = ANY($1)";

const ATTRIBUTES: &str = "
SELECT t.oid, a.attnum, a.attname::text, a.atttypid, a.atttypmod, a.attndims::int,
       format_type(a.atttypid, a.atttypmod) AS type_text
FROM pg_type t JOIN pg_attribute a ON a.attrelid = t.typrelid
WHERE t.oid = ANY($1) AND t.typtype = 'c' AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY t.oid, a.attnum";

/// Begins a statement with `tree`: the tables that `$roots` asks for, each with its partitions at every level
/// (`root`, `id`). As `pg_partition_tree` tells them, but that locks each, and waits behind whoever rewrites one.
macro_rules! with_partitions {
    ($roots:literal) => {
        concat!(
            "\nWITH RECURSIVE tree AS (
    SELECT roots.oid AS root, roots.oid AS id FROM (",
            $roots,
            ") AS roots(oid)
    UNION ALL
    SELECT t.root, i.inhrelid FROM tree t
    JOIN pg_inherits i ON i.inhparent = t.id AND NOT i.inhdetachpending
    JOIN pg_class part ON part.oid = i.inhrelid AND part.relispartition)"
        )
    };
}
pub(crate) use with_partitions;

/// A partitioned table has no rows: what its partitions' old rows lack is told by one of them.
const COLUMNS: &str = concat!(
    with_partitions!("SELECT $1::oid"),
    ",
m AS MATERIALIZED (
    SELECT DISTINCT ON (l.attname, l.atttypid) l.attname, l.atttypid, l.attrelid, l.attnum
    FROM pg_attribute l WHERE l.attrelid = ANY (ARRAY(SELECT t.id FROM tree t)) AND l.atthasmissing
    ORDER BY l.attname, l.atttypid, l.attrelid)
SELECT a.attname::text, a.attnum, a.atttypid, a.atttypmod, a.attndims::int, a.attnotnull,
       a.attgenerated <> '' AS is_generated, m.attrelid AS missing_table, m.attnum AS missing_number,
       format_type(a.atttypid, a.atttypmod) AS type_text, pg_get_expr(d.adbin, d.adrelid) AS default
FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
LEFT JOIN m ON m.attname = a.attname AND m.atttypid = a.atttypid
WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped"
);

/// The columns that the log carries, as its relation messages describe them.
const LOGGED: &str = "
SELECT a.attname::text, a.atttypid, a.atttypmod,
       COALESCE(c.relreplident = 'f' OR a.attnum = ANY (
           SELECT unnest((i.indkey::int2[])[0:i.indnkeyatts - 1]) FROM pg_index i
           WHERE i.indrelid = c.oid
             AND CASE c.relreplident WHEN 'd' THEN i.indisprimary ELSE i.indisreplident END
       ), false) AS in_identity
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
ORDER BY a.attnum";

/// A partitioned table has no file of its own.
const STORAGES: &str = concat!(
    with_partitions!("SELECT unnest($1::oid[])"),
    ",
files AS MATERIALIZED (
    SELECT DISTINCT ON (t.root) t.root, l.relfilenode AS file
    FROM tree t JOIN pg_class l ON l.oid = t.id WHERE l.relfilenode <> 0 ORDER BY t.root, l.oid)
SELECT a.attrelid AS oid, f.file, a.attname::text, a.attnum, a.xmin::text::bigint::oid AS written_by,
       a.atthasmissing, a.attgenerated <> '' AS is_generated, COALESCE(d.oid, 0::oid) AS default
FROM pg_attribute a LEFT JOIN files f ON f.root = a.attrelid
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attrelid = ANY ($1) AND a.attnum > 0 AND NOT a.attisdropped"
);

/// Locks go once what their transaction did is visible.
const HELD: &str = "
SELECT EXISTS (SELECT FROM pg_locks l JOIN pg_database d ON d.oid = l.database
               WHERE l.locktype = 'relation' AND d.datname = current_database()
                 AND l.relation = $1 AND l.mode = 'AccessExclusiveLock' AND l.granted)";

const FIND: &str = "
SELECT c.oid, c.relreplident FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p')";

/// A mark that nobody waits for, as no standby is waited for.
const PLACE: &str = "
SELECT pg_logical_emit_message(true, $1, 'sync nobody')::text
FROM set_config('synchronous_commit', 'local', true)";

const PRIMARY_KEY: &str = "
SELECT a.attname::text
FROM pg_index i
CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, place)
JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
WHERE i.indrelid = $1 AND i.indisprimary AND k.place <= i.indnkeyatts
ORDER BY k.place";
