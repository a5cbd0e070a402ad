//! Tables as the log describes them, and their rows. Pure.
//!
//! A description with `binlog_row_metadata = FULL` says all of a table but what `TableFacts` adds: so
//! there is no history of schemas to keep, and a row is read by the description that stands before it.

use crate::decode::{Cell, Image, OptionalMetadata, TableMap};
use crate::frame::{Flavor, Header};
use crate::history::History;
use crate::kind::kind_of;
use crate::snapshot;
use crate::types::{ColumnFacts, ColumnTold, Reader, Refused, Resolved, Wire};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use tidemesh_model::{
    CellVisitor, Error, ErrorKind, Field, KeyOrigin, MysqlTypes, Result, RowImage, RowKey,
    TableName, TableSchema, Value, Values,
};
use tidemesh_source::{Choice, Selection, Wrong};

/// What `information_schema` adds to a table, as of today; columns are found by their names.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct TableFacts {
    pub(crate) columns: Vec<ColumnFacts>,
}

impl TableFacts {
    pub(crate) fn of(&self, name: &str) -> Option<&ColumnFacts> {
        self.columns.iter().find(|column| column.name == name)
    }
}

/// A table whose rows can be read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Relation {
    pub(crate) schema: Arc<TableSchema>,
    /// How long cells are, in the log's order.
    pub(crate) wires: Vec<Wire>,
    /// How cells are read, in the log's order.
    pub(crate) readers: Vec<Reader>,
    /// The columns' names, in the log's order.
    columns: Vec<String>,
    /// The place of the column that says until when a row holds, of a table that keeps its history.
    #[serde(default)]
    pub(crate) row_end: Option<usize>,
}

impl Relation {
    /// The table that `map` describes.
    ///
    /// # Errors
    ///
    /// `Prerequisite` if the log does not name its columns; `Unsupported` for a column that is not
    /// carried; `Config` for one of which the settings ask what cannot be; `Malformed` for a
    /// description that contradicts itself.
    pub(crate) fn new(
        map: &TableMap<'_>,
        flavor: Flavor,
        facts: &TableFacts,
        types: &MysqlTypes,
        selection: &Selection,
    ) -> Result<Self> {
        let told = map.optional(flavor)?;
        let names = names(map, &told)?;
        let name = map.table_name()?;
        let mut columns = Vec::with_capacity(names.len());
        for (index, shape) in map.columns().enumerate() {
            let facts = facts.of(&names[index]);
            let (unsigned, collation) = (told.unsigned[index], told.collations[index]);
            let (values, detail) = (told.values[index].as_slice(), told.details[index]);
            let is_hidden = false;
            columns.push(ColumnTold {
                shape,
                unsigned,
                collation,
                values,
                detail,
                facts,
                is_hidden,
            });
        }
        let mut key: Vec<usize> = told.primary_key.iter().map(|part| part.column).collect();
        let history = History::of(&names, &columns, &key, facts);
        let hidden = columns.iter_mut().skip(history.hidden_from.unwrap_or(usize::MAX));
        hidden.for_each(|column| column.is_hidden = true);
        // A table's history has rows of one key, which its end tells apart.
        key.retain(|place| Some(*place) != history.row_end);
        let relation = Self::of_columns(name, names, &columns, key, types, selection)?;
        Ok(Self { row_end: history.row_end, ..relation })
    }

    /// The table that has these columns, whoever told of them. `primary_key` has the places of its
    /// columns, in its order; it is empty where there is none.
    ///
    /// # Errors
    ///
    /// `Unsupported` for a column that is not carried; `Config` for one of which the settings ask what
    /// cannot be; `Malformed` for columns that contradict each other.
    pub(crate) fn of_columns(
        name: TableName,
        columns: Vec<String>,
        told: &[ColumnTold<'_>],
        primary_key: Vec<usize>,
        types: &MysqlTypes,
        selection: &Selection,
    ) -> Result<Self> {
        let mut made = Columns::default();
        for (index, column) in told.iter().enumerate() {
            let name_of = columns[index].as_str();
            let origin = key_origin(&primary_key, index);
            let refused = |refused| refusal(&name, name_of, refused);
            let wrong = |wrong| not_shaped(selection, &name, name_of, wrong);
            let is_of_version =
                column.is_hidden || column.facts.is_some_and(|facts| facts.is_row_end);
            if is_of_version && !column.is_version_moment() {
                return Err(refused(Refused {
                    type_name: format!("type {}", column.shape.code.0),
                    why: "says until when a row holds by another thing than a TIMESTAMP(6)",
                    remedy: "let the columns of the table's versions be TIMESTAMP(6), made with \
                             mysql56_temporal_format = ON, or leave the table out",
                }));
            }
            if column.is_hidden {
                made.skip(column.wire().map_err(refused)?);
                continue;
            }
            let mask = match selection.choose(&name, name_of, origin).map_err(wrong)? {
                Choice::Skip => {
                    made.skip(column.wire().map_err(refused)?);
                    continue;
                }
                Choice::Keep => None,
                Choice::Mask(mask) => Some(mask),
            };
            let mut resolved = column.resolve(types).map_err(refused)?;
            if let Some(mask) = mask {
                resolved.reader = resolved.reader.masked(mask).map_err(wrong)?;
                // Of its own type only that it is a text is true of what is made of it.
                resolved.source_type = "text".to_owned();
            }
            if origin.is_some() {
                resolved.reader.set_in_key();
            }
            made.keep(name_of, column, resolved, origin)?;
        }
        let key = key(primary_key, made.fields.len(), &made.places);
        let Columns { fields, wires, readers, .. } = made;
        let schema = TableSchema::new(name, fields, key)?;
        Ok(Self { schema: Arc::new(schema), wires, readers, columns, row_end: None })
    }

    /// Where in the log's rows the key's columns stand, in the key's order.
    fn key_places(&self) -> impl Iterator<Item = usize> {
        let kept: Vec<usize> = self.kept().map(|(place, _)| place).collect();
        self.schema.key.columns.iter().filter_map(move |column| kept.get(*column).copied())
    }

    /// The columns that are captured, in the schema's order: where each stands in the log's rows, and
    /// how it is read.
    pub(crate) fn kept(&self) -> impl Iterator<Item = (usize, &Reader)> {
        let is_kept = |(_, reader): &(usize, &Reader)| !matches!(reader, Reader::Skipped);
        self.readers.iter().enumerate().filter(is_kept)
    }
}

/// What a relation is made of, column by column.
#[derive(Default)]
struct Columns {
    fields: Vec<Field>,
    /// Where in the log's rows each field stands.
    places: Vec<usize>,
    wires: Vec<Wire>,
    readers: Vec<Reader>,
}

impl Columns {
    fn skip(&mut self, wire: Wire) {
        self.wires.push(wire);
        self.readers.push(Reader::Skipped);
    }

    fn keep(
        &mut self,
        name: &str,
        column: &ColumnTold<'_>,
        resolved: Resolved,
        origin: Option<KeyOrigin>,
    ) -> Result<()> {
        let Resolved { wire, reader, source_type } = resolved;
        let in_key = origin == Some(KeyOrigin::PrimaryKey);
        let facts = column.facts;
        self.fields.push(Field {
            name: name.to_owned(),
            data_type: reader.data_type(),
            source_type,
            nullable: column.shape.nullable,
            default: default(facts.and_then(|facts| facts.default.as_ref()), &reader)?,
            aliases: Vec::new(),
            kind: kind_of(&reader),
            key_default: facts.filter(|_| in_key).and_then(|facts| facts.key_default.clone()),
        });
        self.places.push(self.readers.len());
        self.wires.push(wire);
        self.readers.push(reader);
        Ok(())
    }
}

/// A column's default as its cells are: masked where they are.
fn default(default: Option<&Value>, reader: &Reader) -> Result<Option<Value>> {
    match (default, reader) {
        (Some(Value::Text(text)), Reader::Masked { mask, .. }) => {
            mask.apply(text).map(|masked| Some(Value::Text(masked)))
        }
        (_, Reader::Masked { .. }) => Ok(None),
        (default, _) => Ok(default.cloned()),
    }
}

/// Of which key a column is: where there is no primary one, all are of the whole row's.
fn key_origin(primary_key: &[usize], index: usize) -> Option<KeyOrigin> {
    match primary_key {
        [] => Some(KeyOrigin::WholeRow),
        columns => columns.contains(&index).then_some(KeyOrigin::PrimaryKey),
    }
}

/// The primary key; else the whole row. A key of the beginnings of texts is taken as one of the whole
/// texts, which are as unique. `places` has where each field stands: a key's columns all have one.
fn key(primary_key: Vec<usize>, columns: usize, places: &[usize]) -> RowKey {
    if primary_key.is_empty() {
        return RowKey { origin: KeyOrigin::WholeRow, columns: (0..columns).collect() };
    }
    let field = |place: &usize| places.iter().position(|kept| kept == place);
    let columns = primary_key.iter().filter_map(field).collect();
    RowKey { origin: KeyOrigin::PrimaryKey, columns }
}

impl TableMap<'_> {
    /// The table's name.
    ///
    /// # Errors
    ///
    /// `Malformed` if it is not UTF-8.
    pub(crate) fn table_name(&self) -> Result<TableName> {
        Ok(TableName::new(utf8(self, self.database)?, utf8(self, self.table)?))
    }
}

fn names(map: &TableMap<'_>, told: &OptionalMetadata<'_>) -> Result<Vec<String>> {
    let Some(names) = &told.names else {
        let error = Error::new(ErrorKind::Prerequisite, "read a table's schema")
            .because("the log does not name the table's columns")
            .help(
                "run SET GLOBAL binlog_row_metadata = FULL, and set it in the server's file; what was \
                 logged before that cannot be read, so the tables must be read anew",
            );
        return Err(map.header().locate(map.locate(error)));
    };
    names.iter().map(|name| utf8(map, name)).collect()
}

/// Names are UTF-8 in the log, whatever charset they were written in.
fn utf8(map: &TableMap<'_>, bytes: &[u8]) -> Result<String> {
    let text = std::str::from_utf8(bytes);
    text.map(str::to_owned)
        .map_err(|error| map.locate(map.header().malformed("a name is not UTF-8")).caused_by(error))
}

#[cold]
fn not_shaped(selection: &Selection, table: &TableName, column: &str, wrong: Wrong) -> Error {
    let terms = selection.terms();
    Error::new(ErrorKind::Config, "read a table's schema")
        .because(format!("a column {}", wrong.why(terms)))
        .with("table", table)
        .with("column", column)
        .help(wrong.remedy(terms))
}

#[cold]
fn refusal(table: &TableName, column: &str, refused: Refused) -> Error {
    let Refused { type_name, why, remedy } = refused;
    Error::new(ErrorKind::Unsupported, "read a table's schema")
        .because(format!("a column is not carried: it {why}"))
        .with("table", table)
        .with("column", column)
        .with("type", type_name)
        .help(remedy)
}

/// A row of a relation, borrowing from the log's bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row<'a> {
    pub(crate) relation: &'a Relation,
    pub(crate) image: Image<'a>,
    /// For a new row: the old one, to which what changed in a document belongs.
    pub(crate) before: Option<Image<'a>>,
    /// The event that it stands in.
    pub(crate) header: &'a Header,
}

impl RowImage for Row<'_> {
    #[inline]
    fn visit<V: CellVisitor>(&self, visitor: &mut V) -> Result<()> {
        let mut cells = self.image.cells();
        let columns = self.relation.wires.iter().zip(&self.relation.readers);
        for (index, (wire, reader)) in columns.enumerate() {
            let cell = cells.next(*wire).ok_or_else(|| self.cut(index))?;
            if matches!(reader, Reader::Skipped) {
                continue;
            }
            let read = match cell {
                Cell::Value(bytes) => reader.visit(bytes, visitor),
                Cell::Null => visitor.null(),
                Cell::Absent => self.absent(index, reader, visitor),
                Cell::Diff(diff) => self.diff(index, reader, diff, visitor),
            };
            read.map_err(|error| self.locate(index, error))?;
        }
        Ok(())
    }
}

impl Row<'_> {
    /// A document of which the log holds what changed. Without the old one it is not in the log.
    #[cold]
    fn diff<V: CellVisitor>(
        &self,
        index: usize,
        reader: &Reader,
        diff: &[u8],
        visitor: &mut V,
    ) -> Result<()> {
        let old = self.before.and_then(|before| before.cell(index, &self.relation.wires));
        match old {
            Some(Cell::Value(old)) => reader.visit_diff(old, diff, visitor),
            _ => visitor.absent(),
        }
    }

    /// What an update leaves out it does not change: the old row may have it.
    #[cold]
    fn absent<V: CellVisitor>(&self, index: usize, reader: &Reader, visitor: &mut V) -> Result<()> {
        match self.before.and_then(|before| before.cell(index, &self.relation.wires)) {
            Some(Cell::Value(old)) => reader.visit(old, visitor),
            Some(Cell::Null) => visitor.null(),
            _ => visitor.absent(),
        }
    }

    /// Whether it lacks a captured column, of which the old row does not have the value either.
    pub(crate) fn is_incomplete(&self) -> bool {
        let is_lacking = |(place, _): (usize, &Reader)| {
            !self.image.has(place) && !self.before.is_some_and(|before| before.has(place))
        };
        self.relation.kept().any(is_lacking)
    }

    /// Whether of a captured document it has only what changed, and the old row does not have the
    /// document: one row of an event may be so, and the next one not.
    #[inline]
    pub(crate) fn lacks_document(&self) -> bool {
        self.image.is_partial() && self.has_loose_diff()
    }

    #[cold]
    fn has_loose_diff(&self) -> bool {
        let wires = &self.relation.wires;
        let is_loose = |(place, _): (usize, &Reader)| {
            let is_diff = matches!(self.image.cell(place, wires), Some(Cell::Diff(_)));
            let old = self.before.and_then(|before| before.cell(place, wires));
            is_diff && !matches!(old, Some(Cell::Value(_)))
        };
        self.relation.kept().any(is_loose)
    }

    /// Whether its key is another one than the old row's.
    pub(crate) fn has_other_key(&self) -> bool {
        let Some(before) = self.before else { return false };
        let wires = &self.relation.wires;
        self.relation.key_places().any(|place| {
            self.image.has(place) && self.image.cell(place, wires) != before.cell(place, wires)
        })
    }

    /// The database's own text of each key column, in the key's order.
    ///
    /// # Errors
    ///
    /// `Malformed` if the log does not have one.
    pub(crate) fn key_texts(&self) -> Result<Vec<String>> {
        let schema = &self.relation.schema;
        let places = schema.key.columns.iter().zip(self.relation.key_places());
        let text = |(column, place): (&usize, usize)| {
            let mut values = Values::default();
            let (field, reader) = (&schema.fields[*column], &self.relation.readers[place]);
            let wires = &self.relation.wires;
            let new = self.image.cell(place, wires).filter(|cell| *cell != Cell::Absent);
            match new.or_else(|| self.before.and_then(|before| before.cell(place, wires))) {
                Some(Cell::Value(bytes)) => match snapshot::raw_text(reader, bytes) {
                    Some(text) => return Ok(text),
                    None => reader.visit(bytes, &mut values)?,
                },
                _ => values.null()?,
            }
            let value = values.into_cells().pop();
            value.and_then(|value| snapshot::text(field, &value)).ok_or_else(|| {
                let error = Error::new(ErrorKind::Malformed, "decode the log");
                self.locate(place, error.because("a row lacks a column of its key"))
            })
        };
        places.map(text).collect()
    }

    #[cold]
    fn cut(&self, index: usize) -> Error {
        self.locate(
            index,
            Error::new(ErrorKind::Malformed, "decode the log").because("a row is cut"),
        )
    }

    #[cold]
    fn locate(&self, index: usize, error: Error) -> Error {
        let column = self.relation.columns.get(index).map_or("", String::as_str);
        let error = error.with("table", &self.relation.schema.name).with("column", column);
        self.header.locate(error)
    }
}

#[cfg(test)]
mod tests;
