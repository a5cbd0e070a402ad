//! The statements that read tables. Keys are texts (`text.rs`), written here as literals that are
//! compared as their columns are: numbers as numbers, texts in the column's charset and collation, so
//! that its index is used and its order is kept.

mod literal;

use super::rows::AnswerCells;
use super::text::{hex, text};
use crate::catalog::CatalogTable;
use crate::client::Sql;
use crate::config::{quoted, quoted_table};
use crate::relation::Relation;
use crate::types::Reader;
use literal::literal;
use tidemesh_model::{Error, ErrorKind, Result, TableName, Value};
use tidemesh_source::{Key, Part, TextRow};

/// What a reader's session is set to: moments in UTC, cells in their columns' own charsets, dates that
/// are none as they are, each statement's own view of what is committed, and nothing that cuts answers.
pub(super) const SESSION: [&str; 4] = [
    Sql::PLAIN,
    "SET NAMES utf8mb4",
    "SET time_zone = '+00:00', sql_mode = 'ALLOW_INVALID_DATES', character_set_results = NULL",
    "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
];

/// Begins to hold a table as it is: from its first use on, nobody changes its columns.
pub(super) const BEGIN: &str = "START TRANSACTION READ ONLY";

/// Lets it go.
pub(super) const END: &str = "COMMIT";

/// Uses the table, and reads nothing.
pub(super) fn touch_query(table: &TableName) -> String {
    format!("SELECT 1 FROM {} LIMIT 0", quoted_table(table))
}

/// The highest number of an enum or a set whose numbers are listed: a set of eight has so many.
const NUMBERS_LISTED_MAX: u64 = 255;

/// A column by which rows are ordered.
pub(super) struct KeyColumn<'t> {
    /// Its place among the schema's fields.
    pub(super) field: usize,
    name: String,
    reader: &'t Reader,
    charset: Option<&'t str>,
    collation: Option<&'t str>,
}

impl KeyColumn<'_> {
    /// The condition that it is beyond a literal by `>` or `<`, or equal to it if `or` is `=`.
    ///
    /// Servers look one number of an enum or a set up in an index, but use none for a range of them
    /// (`EXPLAIN` of a MariaDB 10.11.19): where they are few, all that are meant are listed.
    fn compared(&self, operator: &str, or: &str, literal: &str) -> String {
        let name = &self.name;
        let plain = || format!("{name} {operator}{or} {literal}");
        let (Some(last), Ok(bound)) = (self.last_number(), literal.parse::<u64>()) else {
            return plain();
        };
        let is_meant = |number: &u64| match operator {
            "<" => *number < bound || (*number == bound && !or.is_empty()),
            _ => *number > bound || (*number == bound && !or.is_empty()),
        };
        let numbers = (0..=last).filter(is_meant).map(|number| number.to_string());
        let numbers = numbers.collect::<Vec<_>>().join(", ");
        if numbers.is_empty() { "FALSE".to_owned() } else { format!("{name} IN ({numbers})") }
    }

    /// The highest number of an enum or a set; none of another type, and where there are too many.
    fn last_number(&self) -> Option<u64> {
        let last = match self.reader {
            Reader::Enum(labels) => u64::try_from(labels.len()).ok()?,
            Reader::Set(labels) => 1_u64.checked_shl(u32::try_from(labels.len()).ok()?)? - 1,
            _ => return None,
        };
        (last <= NUMBERS_LISTED_MAX).then_some(last)
    }

    fn has_two_forms(&self) -> bool {
        matches!(self.reader, Reader::Text(charset) if literal::has_two_forms(charset.name()))
    }
}

/// The text of a key's column for these bytes of it; none where the text of its value tells all of it.
pub(crate) fn raw_text(reader: &Reader, bytes: &[u8]) -> Option<String> {
    let Reader::Text(charset) = reader else { return None };
    literal::has_two_forms(charset.name()).then(|| literal::raw(&hex(bytes)))
}

/// By what a table's chunks are cut.
pub(super) struct KeyColumns<'t> {
    relation: &'t Relation,
    /// The index whose order it is; none where keys are only looked up.
    index: Option<String>,
    columns: Vec<KeyColumn<'t>>,
}

impl<'t> KeyColumns<'t> {
    /// The columns of the order in which the table is read; none if it has none, or one of them is not
    /// captured.
    pub(super) fn of_order(table: &'t CatalogTable, relation: &'t Relation) -> Option<Self> {
        let order = table.order.as_ref()?;
        let columns = order.columns.iter().map(|place| {
            let field = relation.kept().position(|(kept, _)| kept == *place)?;
            column(table, relation, field)
        });
        let columns = columns.collect::<Option<Vec<_>>>()?;
        let orders = columns.iter().all(|column| literal::orders(column.reader));
        orders.then(|| Self { relation, index: Some(order.name.clone()), columns })
    }

    /// The same to look keys up, for which the server chooses its way.
    pub(super) fn without_index(mut self) -> Self {
        self.index = None;
        self
    }

    /// Whether the first column's values are whole numbers.
    pub(super) fn begins_with_a_number(&self) -> bool {
        self.columns.first().is_some_and(|column| column.reader.is_whole_number())
    }

    /// A row's key; `cells` are the row's as the server has sent them.
    pub(super) fn of_row(&self, row: &[Value], cells: AnswerCells<'_>) -> Option<Key> {
        let fields = &self.relation.schema.fields;
        let text_of = |column: &KeyColumn<'_>| {
            let mut cells = cells;
            let bytes = cells.nth(column.field)?.ok()??;
            raw_text(column.reader, bytes)
                .or_else(|| text(&fields[column.field], row.get(column.field)?))
        };
        self.columns.iter().map(text_of).collect()
    }

    /// What a row of texts needs behind its fields for [`KeyColumns::of_texts`].
    pub(super) fn raw_cells(&self) -> impl Iterator<Item = String> {
        let columns = self.columns.iter().filter(|column| column.has_two_forms());
        columns.map(|column| format!("HEX({})", column.name))
    }

    /// The key of a row of texts, one for each field, with those of [`KeyColumns::raw_cells`] behind them.
    pub(super) fn of_texts(&self, row: &TextRow) -> Option<Key> {
        let mut raw = row.get(self.relation.schema.fields.len()..)?.iter();
        let text_of = |column: &KeyColumn<'_>| match column.has_two_forms() {
            true => raw.next()?.as_deref().map(literal::raw),
            false => row.get(column.field)?.clone(),
        };
        self.columns.iter().map(text_of).collect()
    }

    /// Of each column its place in the schema's key, whose columns they are.
    pub(super) fn order_of_schema_key(&self) -> impl Iterator<Item = usize> {
        let key = &self.relation.schema.key.columns;
        let place = |column: &KeyColumn<'_>| key.iter().position(|field| *field == column.field);
        self.columns.iter().map(move |column| place(column).unwrap_or(usize::MAX))
    }

    /// The table in a `FROM`, as `t`, read by the order's index whatever the statistics say.
    fn from(&self) -> String {
        let table = quoted_table(&self.relation.schema.name);
        match &self.index {
            Some(index) => format!("{table} AS t FORCE INDEX ({})", quoted(index)),
            None => format!("{table} AS t"),
        }
    }

    /// The literals of a key, or of a bound that has the first of its columns only.
    fn literals(&self, key: &Key, is_bound: bool) -> Result<Vec<String>> {
        let fits = if is_bound { key.len() <= self.columns.len() } else { self.has_all(key) };
        let literal = |(column, text): (&KeyColumn<'_>, &String)| {
            literal(column.reader, text, column.charset, column.collation)
        };
        let literals: Option<Vec<String>> = self.columns.iter().zip(key).map(literal).collect();
        match literals.filter(|literals| fits && !literals.is_empty()) {
            Some(literals) => Ok(literals),
            None => Err(self.wrong_key(key)),
        }
    }

    fn has_all(&self, key: &Key) -> bool {
        key.len() == self.columns.len()
    }

    #[cold]
    fn wrong_key(&self, key: &Key) -> Error {
        let names: Vec<&str> = self.columns.iter().map(|column| column.name.as_str()).collect();
        Error::new(ErrorKind::Config, "read a table")
            .because("a key is not one that the table can have")
            .with("table", &self.relation.schema.name)
            .with("key", format!("{key:?}"))
            .with("columns", names.join(", "))
    }

    /// The keys beyond a bound by an operator, `>` or `<`, and `or` what for those that are equal to it:
    /// `a >= 1 AND (a > 1 OR (a = 1 AND b > 2))`. Servers use no index for rows in brackets.
    fn beyond(&self, literals: &[String], operator: &str, or: &str) -> String {
        let mut condition = String::new();
        for (place, (column, literal)) in self.columns.iter().zip(literals).enumerate().rev() {
            let name = &column.name;
            condition = if place + 1 == literals.len() {
                column.compared(operator, or, literal)
            } else {
                let beyond = column.compared(operator, "", literal);
                format!("({beyond} OR ({name} = {literal} AND {condition}))")
            };
        }
        if literals.len() > 1 {
            let at_least = self.columns[0].compared(operator, "=", &literals[0]);
            condition = format!("{at_least} AND {condition}");
        }
        condition
    }

    fn is_one_of(&self, keys: &[Key]) -> Result<String> {
        let mut all = Vec::with_capacity(keys.len());
        for key in keys {
            all.push(self.literals(key, false)?);
        }
        if all.is_empty() {
            return Ok("FALSE".to_owned());
        }
        if let [column] = self.columns.as_slice() {
            return Ok(format!("{} IN ({})", column.name, all.concat().join(", ")));
        }
        let one = |literals: &Vec<String>| {
            let columns = self.columns.iter().zip(literals);
            let columns: Vec<String> =
                columns.map(|(column, literal)| format!("{} = {literal}", column.name)).collect();
            format!("({})", columns.join(" AND "))
        };
        Ok(format!("({})", all.iter().map(one).collect::<Vec<_>>().join(" OR ")))
    }

    fn order(&self, direction: &str) -> String {
        let columns: Vec<String> =
            self.columns.iter().map(|column| format!("{}{direction}", column.name)).collect();
        columns.join(", ")
    }
}

fn column<'t>(
    table: &'t CatalogTable,
    relation: &'t Relation,
    field: usize,
) -> Option<KeyColumn<'t>> {
    let (place, reader) = relation.kept().nth(field)?;
    let name = format!("t.{}", quoted(&relation.schema.fields[field].name));
    let (charset, collation) = (table.charset(place), table.collation(place));
    Some(KeyColumn { field, name, reader, charset, collation })
}

/// Which rows of a part are read, behind the key of the last one that was.
///
/// # Errors
///
/// `Config` for keys that the table cannot have.
pub(super) fn condition(keys: &KeyColumns<'_>, part: &Part, after: Option<&Key>) -> Result<String> {
    let mut conditions = Vec::new();
    let after = match part {
        Part::Keys(listed) => {
            conditions.push(keys.is_one_of(listed)?);
            after
        }
        Part::Span { after: begin, upto } => {
            if let Some(upto) = upto {
                conditions.push(keys.beyond(&keys.literals(upto, true)?, "<", "="));
            }
            after.or(begin.as_ref())
        }
    };
    if let Some(after) = after {
        conditions.push(keys.beyond(&keys.literals(after, true)?, ">", ""));
    }
    Ok(match conditions.as_slice() {
        [] => "TRUE".to_owned(),
        _ => conditions.join(" AND "),
    })
}

/// A column as a chunk selects it: as the server has it, but for what its text would lose or not tell.
fn cell(name: &str, reader: &Reader) -> String {
    match reader {
        // A float's own text has six digits; the same number as a double has all.
        Reader::Float => format!("{name} + 0e0"),
        Reader::Enum(_) | Reader::Set(_) => format!("CAST({name} AS UNSIGNED)"),
        _ => name.to_owned(),
    }
}

/// The columns of a chunk, as the log has them.
pub(super) fn cells(relation: &Relation) -> String {
    let columns = relation.schema.fields.iter().zip(relation.kept());
    let cells =
        columns.map(|(field, (_, reader))| cell(&format!("t.{}", quoted(&field.name)), reader));
    cells.collect::<Vec<_>>().join(", ")
}

/// The question for rows in the key's order.
pub(super) fn rows_query(
    keys: &KeyColumns<'_>,
    cells: &str,
    condition: &str,
    rows_max: u32,
) -> String {
    let (from, order) = (keys.from(), keys.order(""));
    format!("SELECT {cells} FROM {from} WHERE {condition} ORDER BY {order} LIMIT {rows_max}")
}

/// The question for all rows, in no order.
pub(super) fn all_rows_query(relation: &Relation, cells: &str) -> String {
    format!("SELECT {cells} FROM {} AS t", quoted_table(&relation.schema.name))
}

/// The row with the largest key: what comes behind it later is in the log.
pub(super) fn largest_query(keys: &KeyColumns<'_>, cells: &str) -> String {
    format!("SELECT {cells} FROM {} ORDER BY {} LIMIT 1", keys.from(), keys.order(" DESC"))
}

/// The smallest and the largest value of the first column.
pub(super) fn range_query(keys: &KeyColumns<'_>) -> Option<String> {
    let name = &keys.columns.first()?.name;
    Some(format!("SELECT MIN({name}), MAX({name}) FROM {}", keys.from()))
}

/// Rows that are whole rows' texts, null included. `cells` are the expressions of the texts.
pub(super) fn whole_rows(cells: &[String], rows: &[TextRow]) -> String {
    let is_row = |row: &TextRow| {
        let same = |(cell, text): (&String, &Option<String>)| match text {
            Some(text) => {
                format!("{cell} <=> _utf8mb4 X'{}' COLLATE utf8mb4_bin", hex(text.as_bytes()))
            }
            None => format!("{cell} IS NULL"),
        };
        format!("({})", cells.iter().zip(row).map(same).collect::<Vec<_>>().join(" AND "))
    };
    let rows: Vec<String> = rows.iter().map(is_row).collect();
    if rows.is_empty() { "FALSE".to_owned() } else { rows.join(" OR ") }
}

/// Writes a mark; its text is a parameter.
pub(super) fn mark_statement(table: &TableName) -> String {
    format!(
        "INSERT INTO {} (id, mark) VALUES (1, ?) ON DUPLICATE KEY UPDATE mark = VALUES(mark)",
        quoted_table(table)
    )
}

/// What makes the table of marks.
pub(crate) fn mark_table_statements(table: &TableName) -> [String; 2] {
    [
        format!("CREATE DATABASE IF NOT EXISTS {}", quoted(&table.schema)),
        format!(
            "CREATE TABLE IF NOT EXISTS {} (id TINYINT PRIMARY KEY, mark VARCHAR(255) NOT NULL) \
             ENGINE = InnoDB",
            quoted_table(table)
        ),
    ]
}

#[cfg(test)]
mod tests;
