//! Tables as `information_schema` has them today: what the log does not tell of them (`TableFacts`), and
//! all of a table for those who read it beside the log.
//!
//! A column is described as the log describes it (`ColumnTold`), so that everything behind that is
//! shared: the schemas of both are equal. Sources: MySQL 8.4 reference, "INFORMATION_SCHEMA Tables";
//! MariaDB, "Information Schema Tables"; what MariaDB 10.11.19 answers.

mod column;
mod default;

use crate::client::Sql;
use crate::config::quoted_table;
use crate::frame::Flavor;
use crate::relation::{Relation, TableFacts};
use column::{Answer, Column};
use mysql_async::Row;
use tidemesh_model::{Error, ErrorKind, MysqlTypes, Result, TableName};
use tidemesh_source::Selection;

/// A table as the catalog has it today.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CatalogTable {
    name: TableName,
    columns: Vec<Column>,
    facts: TableFacts,
    /// The index that is the primary key, for the log too; none if there is none.
    pub(crate) order: Option<OrderIndex>,
}

/// An index in which no two rows stand at the same place: the primary key, or else the first unique one
/// whose columns are never null, which servers take for one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OrderIndex {
    pub(crate) name: String,
    /// The places of its columns in the table, in the index's order.
    pub(crate) columns: Vec<usize>,
}

/// About how large a table is, and of which kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Estimate {
    /// `BASE TABLE`, `VIEW`, and in MariaDB `SYSTEM VERSIONED` and `SEQUENCE`.
    pub(crate) kind: String,
    pub(crate) rows: u64,
    pub(crate) row_bytes: u64,
}

/// A part of a unique index.
struct IndexPart {
    index: String,
    /// None for an expression.
    column: Option<String>,
    nullable: bool,
    /// Whether only the beginning of the column is in the index.
    is_prefix: bool,
}

impl IndexPart {
    /// A row of `SHOW INDEX`; none of an index that is not unique.
    fn of(row: &Row) -> Option<Self> {
        let is_unique = row.get_opt::<u64, _>("Non_unique")?.ok()? == 0;
        is_unique.then_some(())?;
        let text = |name: &str| row.get_opt::<Option<String>, _>(name)?.ok()?;
        let prefix = row.get_opt::<Option<u64>, _>("Sub_part")?.ok()?;
        Some(Self {
            index: text("Key_name")?,
            column: text("Column_name"),
            nullable: text("Null").as_deref() == Some("YES"),
            is_prefix: prefix.is_some(),
        })
    }
}

/// The table of this name; none if there is none, or none that the user may see.
///
/// # Errors
///
/// What the server says; `Timeout` if it does not answer.
pub(crate) async fn table(
    sql: &mut Sql,
    flavor: Flavor,
    name: &TableName,
    types: &MysqlTypes,
) -> Result<Option<CatalogTable>> {
    let named = (name.schema.as_str(), name.table.as_str());
    let answers: Vec<Answer> = sql.rows(COLUMNS, named).await?;
    if answers.is_empty() {
        return Ok(None);
    }
    let mut columns: Vec<Column> =
        answers.into_iter().map(|answer| Column::of(answer, flavor)).collect();
    if flavor == Flavor::MariaDb && columns.iter().any(Column::may_be_json) {
        let checks: Vec<(String, String)> = sql.rows(CHECKS, named).await?;
        columns.iter_mut().for_each(|column| column.set_json(&checks));
    }
    let rows: Vec<Row> = sql.rows(&format!("SHOW INDEX FROM {}", quoted_table(name)), ()).await?;
    let parts: Vec<IndexPart> = rows.iter().filter_map(IndexPart::of).collect();
    let parts = without_ends(parts, &columns);
    let order = order_index(&parts, &columns);
    let key = order.as_ref().map_or(&[][..], |order| &order.columns);
    let facts = columns.iter().enumerate();
    let facts = facts.map(|(at, column)| column.facts(types, key.contains(&at)));
    let facts = TableFacts { columns: facts.collect() };
    Ok(Some(CatalogTable { name: name.clone(), columns, facts, order }))
}

/// About how many rows a table has, and how large they are, as the engine's statistics have it.
///
/// # Errors
///
/// As [`table`].
pub(crate) async fn estimate(sql: &mut Sql, name: &TableName) -> Result<Estimate> {
    let named = (name.schema.as_str(), name.table.as_str());
    let answer: Option<(String, Option<u64>, Option<u64>)> = sql.row(ESTIMATE, named).await?;
    let (kind, rows, row_bytes) = answer.unwrap_or_default();
    Ok(Estimate { kind, rows: rows.unwrap_or(0), row_bytes: row_bytes.unwrap_or(0) })
}

impl CatalogTable {
    /// What the log does not tell of the table.
    pub(crate) fn facts(&self) -> &TableFacts {
        &self.facts
    }

    /// The table as the log would describe it.
    ///
    /// # Errors
    ///
    /// `Unsupported` for a column that is not carried.
    pub(crate) fn relation(&self, types: &MysqlTypes, selection: &Selection) -> Result<Relation> {
        let labels: Vec<Vec<&[u8]>> = self.columns.iter().map(Column::labels).collect();
        let mut told = Vec::with_capacity(self.columns.len());
        for (column, labels) in self.columns.iter().zip(&labels) {
            told.push(column.told(labels, self.facts.of(&column.name)).ok_or_else(|| {
                Error::new(ErrorKind::Unsupported, "read a table's schema")
                    .because("a column is of a type that is not known here")
                    .with("table", &self.name)
                    .with("column", &column.name)
                    .with("type", &column.type_text)
                    .help("leave the column or the table out")
            })?);
        }
        let names = self.columns.iter().map(|column| column.name.clone()).collect();
        let key = self.order.as_ref().map(|order| order.columns.clone()).unwrap_or_default();
        Relation::of_columns(self.name.clone(), names, &told, key, types, selection)
    }

    /// The collation of the text column at this place in the table.
    pub(crate) fn collation(&self, place: usize) -> Option<&str> {
        self.columns.get(place)?.collation.as_deref()
    }

    /// The charset of the text column at this place in the table.
    pub(crate) fn charset(&self, place: usize) -> Option<&str> {
        self.columns.get(place)?.charset.as_deref()
    }
}

/// Unique indexes of a table that keeps its history without the row's end, which is a part of each: of
/// the rows that hold, the others are as unique.
fn without_ends(mut parts: Vec<IndexPart>, columns: &[Column]) -> Vec<IndexPart> {
    parts.retain(|part| {
        let name = part.column.as_deref();
        match columns.iter().find(|column| Some(column.name.as_str()) == name) {
            Some(column) => !column.is_row_end(),
            // A column that only the log has.
            None => name != Some(HIDDEN_END),
        }
    });
    parts
}

/// The index that servers take for the primary key (MySQL 9.1, `prepare_share` in `dd_table_share.cc`;
/// MariaDB 10.11, `TABLE_SHARE::init_from_binary_frm_image`). The parts are in the order in which the
/// server has them.
fn order_index(parts: &[IndexPart], columns: &[Column]) -> Option<OrderIndex> {
    let place = |part: &IndexPart| {
        let wanted = part.column.as_ref()?;
        columns.iter().position(|column| column.name == *wanted)
    };
    parts.chunk_by(|one, next| one.index == next.index).find_map(|index| {
        let name = &index.first()?.index;
        let orders = index.iter().all(|part| !part.nullable && !part.is_prefix);
        // Of the primary key, the beginnings of texts are as unique as the whole texts.
        (name == PRIMARY || orders).then_some(())?;
        let columns = index.iter().map(place).collect::<Option<Vec<_>>>()?;
        Some(OrderIndex { name: name.clone(), columns })
    })
}

const PRIMARY: &str = "PRIMARY";

/// The column that says until when a row holds, where the table names none for it.
const HIDDEN_END: &str = "row_end";

const COLUMNS: &str = "
SELECT COLUMN_NAME, COLUMN_TYPE, DATA_TYPE, IS_NULLABLE, CHARACTER_SET_NAME, COLLATION_NAME,
       CHARACTER_OCTET_LENGTH, NUMERIC_PRECISION, NUMERIC_SCALE, DATETIME_PRECISION,
       IF(GENERATION_EXPRESSION = 'ROW END', 'ROW END', EXTRA), COLUMN_DEFAULT
FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ? ORDER BY ORDINAL_POSITION";

/// MariaDB's JSON is a text with a check of its column.
const CHECKS: &str = "
SELECT CONSTRAINT_NAME, CHECK_CLAUSE FROM information_schema.CHECK_CONSTRAINTS
WHERE CONSTRAINT_SCHEMA = ? AND TABLE_NAME = ? AND CHECK_CLAUSE LIKE 'json_valid(%'";

const ESTIMATE: &str = "
SELECT TABLE_TYPE, TABLE_ROWS, AVG_ROW_LENGTH FROM information_schema.TABLES
WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ?";

#[cfg(test)]
mod tests;
