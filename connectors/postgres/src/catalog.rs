//! What the database's catalog says of today: types, keys, nullability, constant defaults. Over
//! `tokio-postgres`, beside the replication connection.

use crate::client::{database_error, tls};
use crate::types::{Reader, TypeInfo};
use std::collections::HashMap;
use std::time::Duration;
use tidemesh_model::{
    CellVisitor, Error, ErrorKind, PostgresSettings, Result, RowImage, TlsMode, Value, Values,
};
use tokio_postgres::types::{FromSql, Type};

/// A connection for SQL. Its task ends when this is dropped.
pub(crate) struct Catalog {
    pub(crate) client: tokio_postgres::Client,
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
    pub(crate) not_null: bool,
    /// Whether old rows have a constant that was not written into them.
    pub(crate) has_missing: bool,
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
            tls::client_config(settings)?,
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
        Ok(Self { client, task })
    }

    /// The types of these ids and all that they are made of.
    pub(crate) async fn types(&self, oids: &[u32]) -> Result<HashMap<u32, TypeInfo>> {
        let mut found: HashMap<u32, TypeInfo> = HashMap::new();
        let mut wanted = oids.to_vec();
        while !wanted.is_empty() {
            let rows = self.client.query(TYPES, &[&wanted]).await.map_err(asking)?;
            wanted.clear();
            for row in rows {
                let kind: i8 = row.get("typtype");
                let (base, element): (u32, u32) = (row.get("typbasetype"), row.get("element"));
                let info = TypeInfo {
                    oid: row.get("oid"),
                    name: row.get("typname"),
                    kind: char::from(kind.cast_unsigned()),
                    base: (base != 0).then(|| (base, row.get("typtypmod"))),
                    element: (element != 0).then_some(element),
                    labels: row.get("labels"),
                };
                wanted.extend([base, element].into_iter().filter(|oid| *oid != 0));
                found.insert(info.oid, info);
            }
            wanted.retain(|oid| !found.contains_key(oid));
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
                not_null: row.get("attnotnull"),
                has_missing: row.get("atthasmissing"),
                type_text: row.get("type_text"),
                default: row.get("default"),
            };
            facts.columns.insert(row.get("attname"), column);
        }
        let key = self.client.query(PRIMARY_KEY, &[&oid]).await.map_err(asking)?;
        facts.primary_key = key.iter().map(|row| row.get("attname")).collect();
        Ok(facts)
    }

    /// The constant that old rows have in a column that was added to them.
    pub(crate) async fn missing(
        &self,
        table: u32,
        column: &ColumnFacts,
        reader: &Reader,
    ) -> Result<Option<Value>> {
        if !column.has_missing {
            return Ok(None);
        }
        // The column's type comes from `format_type`, which quotes what needs it.
        let query = format!(
            "SELECT (attmissingval::text::{}[])[1] FROM pg_attribute WHERE attrelid = $1 AND attnum = $2",
            column.type_text
        );
        let row = self.client.query_one(&query, &[&table, &column.number]).await.map_err(asking)?;
        let raw: Option<Raw> = row.get(0);
        match raw {
            None => Ok(None),
            Some(Raw(bytes)) => Ok(Values::of(&Cell(reader, &bytes))?.pop()),
        }
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

const TYPES: &str = "
SELECT t.oid, t.typname::text, t.typtype, t.typbasetype, t.typtypmod,
       CASE WHEN t.typcategory = 'A' AND t.typlen = -1 THEN t.typelem ELSE 0::oid END AS element,
       ARRAY(SELECT e.enumlabel::text FROM pg_enum e WHERE e.enumtypid = t.oid
             ORDER BY e.enumsortorder) AS labels
FROM pg_type t WHERE t.oid = ANY($1)";

const COLUMNS: &str = "
SELECT attname::text, attnum, atttypid, atttypmod, attnotnull, atthasmissing,
       format_type(atttypid, atttypmod) AS type_text, pg_get_expr(adbin, adrelid) AS default
FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped";

const PRIMARY_KEY: &str = "
SELECT a.attname::text
FROM pg_index i
CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, place)
JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
WHERE i.indrelid = $1 AND i.indisprimary AND k.place <= i.indnkeyatts
ORDER BY k.place";
