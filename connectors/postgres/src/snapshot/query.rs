//! A query over captured tables, for the verification of pipelines: each table as its topic has it.

use super::sql::{self, KeyColumns, without_special, written};
use super::{PostgresReader, reading};
use crate::config::quoted;
use crate::relation::Relation;
use crate::types::{Printer, Reader};
use futures_util::TryStreamExt;
use std::sync::Arc;
use tidemesh_model::{Error, ErrorKind, Field, NumericSpecial, Result, TableName};
use tidemesh_source::{ColumnForm, QueryPart, QueryRequest, TextRow};
use tokio_postgres::types::ToSql;

impl PostgresReader {
    pub(super) async fn run_query(
        &mut self,
        request: &QueryRequest,
        take: &mut (dyn FnMut(TextRow) -> Result<()> + Send),
    ) -> Result<()> {
        self.leave().await?;
        self.catalog.client.batch_execute(&sql::begin_unlocked("")).await.map_err(reading)?;
        self.rows_of(request, take).await?;
        self.end().await
    }

    async fn rows_of(
        &mut self,
        request: &QueryRequest,
        take: &mut (dyn FnMut(TextRow) -> Result<()> + Send),
    ) -> Result<()> {
        let query = self.text_of(request).await?;
        let nothing: [&(dyn ToSql + Sync); 0] = [];
        let rows = self.catalog.client.query_raw(&query, nothing).await.map_err(refused)?;
        let mut rows = std::pin::pin!(rows);
        while let Some(row) = rows.try_next().await.map_err(refused)? {
            let cells = (0..row.len()).map(|index| row.try_get(index).map_err(reading));
            take(cells.collect::<Result<TextRow>>()?)?;
        }
        Ok(())
    }

    async fn text_of(&self, request: &QueryRequest) -> Result<String> {
        let columns = request.columns.iter().map(|column| cell(&quoted(&column.name), column.form));
        let columns: Vec<String> = columns.collect();
        let mut text = format!("SELECT {} FROM (", columns.join(", "));
        for part in &request.parts {
            match part {
                QueryPart::Text(part) => text.push_str(part),
                QueryPart::Table(table) => text.push_str(&self.table_query(table, request).await?),
            }
        }
        text.push_str(") AS output");
        Ok(text)
    }

    async fn table_query(&self, table: &TableName, request: &QueryRequest) -> Result<String> {
        let names: [&(dyn ToSql + Sync); 2] = [&table.schema, &table.table];
        let row = self.catalog.client.query_opt(sql::TABLE, &names).await.map_err(reading)?;
        let row = row.ok_or_else(|| {
            Error::new(ErrorKind::NotFound, "read a table")
                .because("it is not there")
                .with("table", table)
        })?;
        let identity: i8 = row.get("relreplident");
        let shape = self.catalog.shape(row.get("oid"), table, identity.cast_unsigned()).await?;
        let relation = self.relation(shape).await?;
        select(&relation, row.get("is_partitioned"), request)
    }
}

fn select(
    relation: &Arc<Relation>,
    is_partitioned: bool,
    request: &QueryRequest,
) -> Result<String> {
    let keys = KeyColumns::of(relation, is_partitioned);
    let mut columns = Vec::new();
    for (field, (_, reader)) in relation.schema.fields.iter().zip(relation.kept()) {
        // What the topic has in another way, the database cannot tell.
        if request.tells(field)? && tells(reader) {
            columns.push(format!("{} AS {}", typed(field, reader), quoted(&field.name)));
        }
    }
    Ok(format!("SELECT {} FROM {}", columns.join(", "), keys.from()))
}

/// Whether SQL can give a column as its topic has it.
fn tells(reader: &Reader) -> bool {
    match reader {
        Reader::Masked(_) | Reader::Skipped => false,
        Reader::Array(element) => !matches!(**element, Reader::Array(_)) && tells(element),
        Reader::Composite(composite) => composite.attributes.iter().all(|attribute| {
            is_same_within(&attribute.reader, &attribute.type_text) && tells(&attribute.reader)
        }),
        _ => true,
    }
}

/// Whether a part of a composite type is in JSON what it is in the topic. No expression can change one
/// part of such a value and leave it one of its type.
fn is_same_within(reader: &Reader, of: &str) -> bool {
    match reader {
        Reader::Oid => of.trim_end_matches("[]") == "oid",
        Reader::Array(element) => is_same_within(element, of),
        Reader::TimeTz | Reader::Money | Reader::Json | Reader::Jsonb | Reader::Hstore => false,
        Reader::Numeric { special, .. } => *special != NumericSpecial::Null,
        _ => true,
    }
}

/// A column as SQL over its topic has it.
fn typed(field: &Field, reader: &Reader) -> String {
    let name = format!("t.{}", quoted(&field.name));
    let value = without_special(&name, reader, 0).unwrap_or(name);
    match reader {
        Reader::Array(element) => elements(&value, element),
        Reader::Numeric { .. } | Reader::Money => format!("{value}::numeric"),
        Reader::Int2 => format!("{value}::int4"),
        Reader::Oid => format!("{value}::oid::bigint"),
        Reader::TimeTz => {
            format!("regexp_replace({value}::text, '([+-][0-9]{{2}})$', '\\1:00')")
        }
        Reader::Text | Reader::Enum(_) | Reader::Printed(_) => written(&value),
        Reader::Json | Reader::Jsonb | Reader::Hstore => format!("{value}::json::text"),
        Reader::Uuid | Reader::NumericText | Reader::Interval | Reader::Declared => {
            format!("{value}::text")
        }
        Reader::Bool
        | Reader::Int4
        | Reader::Int8
        | Reader::Float4
        | Reader::Float8
        | Reader::Bytea
        | Reader::Date
        | Reader::Time
        | Reader::Timestamp
        | Reader::TimestampTz
        | Reader::Composite(_)
        | Reader::Masked(_)
        | Reader::Skipped => value,
    }
}

/// An array of such elements. One of texts is read from the whole's text, in which each element is as
/// its output function writes it.
fn elements(value: &str, element: &Reader) -> String {
    match element {
        Reader::Numeric { .. } | Reader::Money => format!("{value}::numeric[]"),
        Reader::Int2 => format!("{value}::int4[]"),
        Reader::Oid => format!("{value}::oid[]::bigint[]"),
        Reader::TimeTz => {
            let zones = "'([+-][0-9]{2})(?=[,}])', '\\1:00', 'g'";
            format!("regexp_replace({value}::text, {zones})::text[]")
        }
        // Its elements are parted by semicolons, and have commas.
        Reader::Printed(Printer::Rectangle) => format!("{value}::text[]"),
        Reader::Text
        | Reader::Enum(_)
        | Reader::Printed(_)
        | Reader::Uuid
        | Reader::NumericText
        | Reader::Interval => format!("{value}::text::text[]"),
        Reader::Json | Reader::Jsonb | Reader::Hstore => format!("{value}::json[]::text[]"),
        Reader::Bool
        | Reader::Int4
        | Reader::Int8
        | Reader::Float4
        | Reader::Float8
        | Reader::Bytea
        | Reader::Date
        | Reader::Time
        | Reader::Timestamp
        | Reader::TimestampTz
        | Reader::Array(_)
        | Reader::Composite(_)
        | Reader::Declared
        | Reader::Masked(_)
        | Reader::Skipped => value.to_owned(),
    }
}

fn cell(name: &str, form: ColumnForm) -> String {
    match form {
        ColumnForm::Boolean => format!("{name}::boolean::text"),
        ColumnForm::Exact => format!("{name}::numeric::text"),
        ColumnForm::Float32 => format!("{name}::float4::text"),
        ColumnForm::Float64 => format!("{name}::float8::text"),
        ColumnForm::Days => format!(
            "CASE WHEN isfinite({name}::date) THEN ({name}::date - DATE '1970-01-01')::text \
             ELSE {name}::date::text END"
        ),
        ColumnForm::TimeOfDay => micros(name),
        ColumnForm::Micros => {
            format!("CASE WHEN isfinite({name}) THEN {} ELSE {name}::text END", micros(name))
        }
        ColumnForm::Bytes => format!("encode({name}, 'hex')"),
        ColumnForm::Text => format!("{name}::text"),
        ColumnForm::Json => format!("to_json({name})::text"),
    }
}

fn micros(name: &str) -> String {
    format!("round((extract(epoch FROM {name}) * 1000000)::numeric)::text")
}

/// What the server says of a query is about the pipeline's SQL.
fn refused(error: tokio_postgres::Error) -> Error {
    let Some(said) = error.as_db_error() else { return reading(error) };
    let (code, message) = (said.code().code().to_owned(), said.message().to_owned());
    Error::new(ErrorKind::Unsupported, "run a pipeline's SQL in the source's database")
        .because(message)
        .with("sqlstate", code)
        .caused_by(error)
        .help(
            "what only Tidemesh has, or the topic has otherwise (masked columns, functions of its \
             own), no database can confirm",
        )
}
