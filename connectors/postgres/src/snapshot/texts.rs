//! Tables as PostgreSQL's own text, for verification: by `COPY` as chunks are, each cell cast.

use super::copy::{CopyCells, CopyRows, malformed};
use super::sql::{self, Form, KeyColumns};
use super::{Opened, PostgresReader, reading, text};
use crate::relation::Relation;
use crate::types::Reader;
use tidemesh_model::{Error, ErrorKind, Field, Result, Value};
use tidemesh_source::{
    ChunkRequest, Key, Part, QueryRequest, TableTexts, TextPart, TextRequest, TextRow, TextRows,
    mask_rows, text_row,
};

impl TableTexts for PostgresReader {
    async fn texts(&mut self, request: &TextRequest) -> Result<TextRows> {
        let settings = match request.part {
            TextPart::After(_) => sql::IN_KEY_ORDER,
            TextPart::Keys(_) => "",
        };
        let opened = self.open(&request.table, settings).await?;
        let keys = opened.keys();
        let condition = condition(&opened, &keys, request)?;
        let rows_max = self.row_bytes.rows_max(&request.table, request.rows_max, request.bytes_max);
        let query = sql::chunk_query(&opened.relation, &keys, Form::Text, &condition, rows_max);
        let rows = self.copy(&query, request.bytes_max, usize::MAX).await?;
        self.end().await?;
        let is_last = rows.is_whole() && rows.count() < u64::from(rows_max);
        let leading = usize::from(keys.columns().is_none());
        let (mut texts, last) = texts(&rows, leading)?;
        mask(&opened.relation, &mut texts)?;
        let last = match (is_last, last) {
            (true, _) | (_, None) => None,
            (false, Some(row)) => Some(place(&keys, &row, leading)?),
        };
        let schema = opened.relation.schema.clone();
        Ok(TextRows { schema, rows: texts, last })
    }

    fn text(field: &Field, value: &Value) -> Option<String> {
        text::text(field, value)
    }

    async fn canonical(&mut self, cells: &[(Field, String)]) -> Result<Vec<Option<String>>> {
        if cells.is_empty() {
            return Ok(Vec::new());
        }
        let query = sql::canonical_query(cells);
        let row = self.catalog.client.query_one(&query, &[]).await.map_err(|error| {
            Error::new(ErrorKind::Malformed, "compare a row")
                .because("the server does not read a value of the topic as its column's type")
                .caused_by(error)
        })?;
        (0..cells.len()).map(|index| row.try_get(index).map_err(reading)).collect()
    }

    async fn query(
        &mut self,
        request: &QueryRequest,
        take: &mut (dyn FnMut(TextRow) -> Result<()> + Send),
    ) -> Result<()> {
        self.run_query(request, take).await
    }
}

fn condition(opened: &Opened, keys: &KeyColumns<'_>, request: &TextRequest) -> Result<String> {
    let (part, after) = match &request.part {
        TextPart::After(after) => (Part::Span { after: None, upto: None }, after.clone()),
        TextPart::Keys(rows) if keys.columns().is_none() => {
            return Ok(sql::whole_rows(&opened.relation, rows));
        }
        TextPart::Keys(rows) => {
            // A key's column is never null.
            let key =
                |row: &TextRow| row.iter().map(|cell| cell.clone().unwrap_or_default()).collect();
            (Part::Keys(rows.iter().map(key).collect()), None)
        }
    };
    let (rows_max, bytes_max) = (request.rows_max, request.bytes_max);
    let table = request.table.clone();
    sql::condition(keys, &ChunkRequest { table, part, after, rows_max, bytes_max })
}

/// The rows, and the last of them with its leading cells.
fn texts(rows: &CopyRows, leading: usize) -> Result<(Vec<TextRow>, Option<TextRow>)> {
    let mut texts = Vec::with_capacity(usize::try_from(rows.count()).unwrap_or(0));
    for cells in rows.rows() {
        let mut row = owned(cells?)?;
        row.drain(..leading.min(row.len()));
        texts.push(row);
    }
    Ok((texts, rows.last_row().map(owned).transpose()?))
}

fn owned(cells: CopyCells<'_>) -> Result<TextRow> {
    text_row(cells, malformed)
}

/// Masks what the database has as what the log has is masked.
fn mask(relation: &Relation, rows: &mut [TextRow]) -> Result<()> {
    let masks = relation.kept().map(|(_, reader)| match reader {
        Reader::Masked(mask) => Some(mask),
        _ => None,
    });
    mask_rows(masks, rows)
}

/// Where the chunk behind this row begins.
fn place(keys: &KeyColumns<'_>, row: &TextRow, leading: usize) -> Result<Key> {
    let cell = |index: usize| row.get(index).cloned().flatten().ok_or_else(malformed);
    match keys.columns() {
        None => Ok(vec![cell(0)?]),
        Some(columns) => columns.iter().map(|(index, _)| cell(index + leading)).collect(),
    }
}
