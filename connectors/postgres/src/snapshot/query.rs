//! A query over captured tables, for the verification of pipelines: each table as its topic has it.

use super::sql::{self, Form, KeyColumns};
use super::{PostgresReader, reading};
use crate::config::quoted;
use crate::relation::Relation;
use crate::types::Reader;
use futures_util::TryStreamExt;
use std::fmt::Write as _;
use std::sync::Arc;
use tidemesh_model::{DataType, Error, ErrorKind, Field, Result, TableName};
use tidemesh_source::{ColumnForm, QueryPart, QueryRequest, TextRow};
use tokio_postgres::types::ToSql;

impl PostgresReader {
    pub(super) async fn run_query(
        &mut self,
        request: &QueryRequest,
        take: &mut (dyn FnMut(TextRow) -> Result<()> + Send),
    ) -> Result<()> {
        self.catalog.client.batch_execute(&sql::begin_unlocked("")).await.map_err(reading)?;
        let done = self.rows_of(request, take).await;
        let end = if done.is_ok() { "COMMIT" } else { "ROLLBACK" };
        let ended = self.catalog.client.batch_execute(end).await.map_err(reading);
        done.and(ended)
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
                QueryPart::Table(table) => text.push_str(&self.table_query(table).await?),
            }
        }
        text.push_str(") AS output");
        Ok(text)
    }

    async fn table_query(&self, table: &TableName) -> Result<String> {
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
        Ok(select(&relation, row.get("is_partitioned")))
    }
}

fn select(relation: &Arc<Relation>, is_partitioned: bool) -> String {
    let keys = KeyColumns::of(relation, is_partitioned);
    let columns = relation.schema.fields.iter().zip(relation.kept());
    // What the topic has masked, the database cannot tell.
    let told = columns.filter(|(_, (_, reader))| !matches!(reader, Reader::Masked(_)));
    let mut text = "SELECT ".to_owned();
    for (place, (field, (_, reader))) in told.enumerate() {
        let comma = if place == 0 { "" } else { ", " };
        // Writing to a text never fails.
        let _ = write!(text, "{comma}{} AS {}", typed(field, reader), quoted(&field.name));
    }
    text + " FROM " + keys.from()
}

/// A column as SQL over its topic has it.
fn typed(field: &Field, reader: &Reader) -> String {
    let name = format!("t.{}", quoted(&field.name));
    let is_text = |of: &DataType| {
        matches!(of, DataType::Text | DataType::Json | DataType::Enum { .. } | DataType::Uuid)
    };
    match &field.data_type {
        // The cast would take the padding away, which the log has.
        DataType::Text if field.source_type.starts_with("character(") => {
            format!("CASE WHEN {name} IS NOT NULL THEN format('%s', {name}) END")
        }
        of if is_text(of) => Form::Text.cell(field, reader),
        DataType::Array(element) if is_text(element) => format!("{name}::text[]"),
        DataType::Decimal { .. } => format!("{name}::numeric"),
        DataType::Int64 if field.source_type.starts_with("reg") => format!("{name}::oid::bigint"),
        _ => name,
    }
}

fn cell(name: &str, form: ColumnForm) -> String {
    match form {
        ColumnForm::Boolean => format!("{name}::boolean::text"),
        ColumnForm::Exact => format!("{name}::numeric::text"),
        ColumnForm::Float32 => format!("{name}::float4::text"),
        ColumnForm::Float64 => format!("{name}::float8::text"),
        ColumnForm::Days => format!("({name}::date - DATE '1970-01-01')::text"),
        ColumnForm::Micros => {
            format!("round((extract(epoch FROM {name}) * 1000000)::numeric)::text")
        }
        ColumnForm::Bytes => format!("encode({name}, 'hex')"),
        ColumnForm::Text => format!("{name}::text"),
        ColumnForm::Json => format!("to_json({name})::text"),
    }
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
