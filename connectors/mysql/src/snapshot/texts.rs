//! Tables as the server's own text, for verification: each cell printed by the server, by expressions
//! that have nothing of those that chunks are read by.

use super::rows::malformed;
use super::sql::{self, KeyColumns, whole_rows};
use super::{MysqlReader, Read, text, without_order};
use crate::config::quoted;
use crate::relation::Relation;
use crate::types::Reader;
use std::sync::Arc;
use tidemesh_model::{Error, ErrorKind, Field, Result, UnsignedBigint, Value, ZeroDates};
use tidemesh_source::{
    Key, Part, QueryRequest, TableTexts, TextPart, TextRequest, TextRow, TextRows, mask_rows,
    text_row,
};

impl TableTexts for MysqlReader {
    async fn texts(&mut self, request: &TextRequest) -> Result<TextRows> {
        let opened = self.open(&request.table).await?;
        let keys = opened.order();
        let raw = keys.iter().flat_map(KeyColumns::raw_cells);
        let cells: Vec<String> = texts_of(&opened.relation).into_iter().chain(raw).collect();
        let cells = cells.join(", ");
        let rows_max = self.row_bytes.rows_max(&request.table, request.rows_max, request.bytes_max);
        let query = match (&keys, &request.part) {
            (Some(keys), TextPart::After(after)) => {
                let part = Part::Span { after: None, upto: None };
                let condition = sql::condition(keys, &part, after.as_ref())?;
                sql::rows_query(keys, &cells, &condition, rows_max)
            }
            (Some(keys), TextPart::Keys(rows)) => {
                let condition = sql::condition(keys, &listed(keys, rows), None)?;
                sql::rows_query(keys, &cells, &condition, rows_max)
            }
            (None, TextPart::After(_)) => sql::all_rows_query(&opened.relation, &cells),
            (None, TextPart::Keys(rows)) => {
                let query = sql::all_rows_query(&opened.relation, &cells);
                format!("{query} WHERE {}", whole_rows(&texts_of(&opened.relation), rows))
            }
        };
        let Read { rows, is_whole } = self.read(query, request.bytes_max).await?;
        let mut texts =
            rows.rows().map(|cells| text_row(cells, malformed)).collect::<Result<Vec<_>>>()?;
        let last = match &keys {
            None if !is_whole => {
                return Err(without_order(&request.table)
                    .because("it has no key by which it could be read in chunks"));
            }
            Some(keys) if !is_whole || texts.len() >= rows_max as usize => {
                texts.last().map(|row| keys.of_texts(row).ok_or_else(malformed)).transpose()?
            }
            _ => None,
        };
        let fields = opened.relation.schema.fields.len();
        texts.iter_mut().for_each(|row| row.truncate(fields));
        mask(&opened.relation, &mut texts)?;
        self.learn(&request.table, &rows);
        let schema = Arc::clone(&opened.relation.schema);
        Ok(TextRows { schema, rows: texts, last })
    }

    fn text(field: &Field, value: &Value) -> Option<String> {
        text::text(field, value)
    }

    /// The text of a value is the server's own, for each type: `text.rs` prints as it does.
    async fn canonical(&mut self, cells: &[(Field, String)]) -> Result<Vec<Option<String>>> {
        Ok(cells.iter().map(|(_, text)| Some(text.clone())).collect())
    }

    async fn query(
        &mut self,
        _: &QueryRequest,
        _: &mut (dyn FnMut(TextRow) -> Result<()> + Send),
    ) -> Result<()> {
        Err(Error::new(ErrorKind::Unsupported, "run a pipeline's SQL in the source's database")
            .because(
                "pipelines are written in PostgreSQL's SQL, which MySQL and MariaDB do not read",
            )
            .help("compare the pipeline's tables with their topics; its output is not confirmed"))
    }
}

/// The rows of these keys. A key's column is never null.
fn listed(keys: &KeyColumns<'_>, rows: &[TextRow]) -> Part {
    let key = |row: &TextRow| -> Key {
        let texts = keys.order_of_schema_key().map(|place| row.get(place).cloned().flatten());
        texts.map(Option::unwrap_or_default).collect()
    };
    Part::Keys(rows.iter().map(key).collect())
}

/// Masks what the server has as what the log has is masked.
fn mask(relation: &Relation, rows: &mut [TextRow]) -> Result<()> {
    let masks = relation.kept().map(|(_, reader)| match reader {
        Reader::Masked { mask, .. } => Some(mask),
        _ => None,
    });
    mask_rows(masks, rows)
}

/// The expressions of the columns' texts.
fn texts_of(relation: &Relation) -> Vec<String> {
    let columns = relation.schema.fields.iter().zip(relation.kept());
    columns
        .map(|(field, (_, reader))| cell(&format!("t.{}", quoted(&field.name)), reader))
        .collect()
}

/// A column's text, as `text.rs` has that of its value in the topic.
fn cell(name: &str, reader: &Reader) -> String {
    let printed = |value: &str| format!("CONVERT(CAST({value} AS CHAR) USING utf8mb4)");
    match reader {
        // What is filled with zeros is so by its column, and not by its number.
        Reader::Int8
        | Reader::Int16
        | Reader::Int24
        | Reader::Int32
        | Reader::Int64
        | Reader::Uint8
        | Reader::Uint16
        | Reader::Uint24
        | Reader::Uint32
        | Reader::Uint64(UnsignedBigint::Decimal | UnsignedBigint::Long)
        | Reader::Decimal { .. } => printed(&format!("{name} + 0")),
        Reader::Float | Reader::Double => printed(&format!("{name} + 0e0")),
        Reader::Bits(count) => format!("CONVERT(LPAD(BIN({name}), {count}, '0') USING utf8mb4)"),
        Reader::Date(ZeroDates::Null)
        | Reader::Datetime(_, ZeroDates::Null)
        | Reader::Timestamp(_, ZeroDates::Null) => {
            format!("IF({}, {}, NULL)", is_date(name), printed(name))
        }
        Reader::Year
        | Reader::Date(_)
        | Reader::Datetime(..)
        | Reader::Timestamp(..)
        | Reader::Time(..)
        | Reader::Json
        | Reader::Uuid
        | Reader::Inet4
        | Reader::Inet6 => printed(name),
        // Masked here, as what the log has.
        Reader::Masked { .. }
        | Reader::Text(_)
        | Reader::CompressedText(_)
        | Reader::JsonText
        | Reader::Enum(_)
        | Reader::Set(_) => format!("CONVERT({name} USING utf8mb4)"),
        Reader::Bytes
        | Reader::CompressedBytes
        | Reader::Binary(_)
        | Reader::Geometry
        | Reader::Vector => format!("HEX({name})"),
        // Nobody asks: the schema has no such field.
        Reader::Skipped => "NULL".to_owned(),
    }
}

/// Whether a calendar has the date. Functions of the server take some that none has.
fn is_date(name: &str) -> String {
    format!(
        "DAYOFMONTH({name}) > 0 AND MONTH({name}) > 0 AND DAYOFMONTH({name}) <= \
         CASE WHEN MONTH({name}) IN (4, 6, 9, 11) THEN 30 WHEN MONTH({name}) <> 2 THEN 31 \
         WHEN YEAR({name}) % 400 = 0 OR (YEAR({name}) % 4 = 0 AND YEAR({name}) % 100 <> 0) THEN 29 \
         ELSE 28 END"
    )
}
