//! A table as the log has it: its schema and how its cells are read, kept under the position where
//! it was first seen, so that the same log gives the same events again.

use crate::catalog::{Catalog, ColumnFacts, TableFacts};
use crate::decode::{Cell, OldTuple, RelationMessage, Tuple};
use crate::kind::{key_default, kind_of, kind_of_stored};
use crate::snapshot;
use crate::storage::Storage;
use crate::types::{AttributeInfo, Composite, Reader, Refused, Types, altered};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use tidemesh_model::{
    CellVisitor, DataType, Error, ErrorKind, Field, KeyOrigin, NumericSpecial, Result, RowImage,
    RowKey, SourceKind, StateItem, TableName, TableSchema, Value, Values,
};
use tidemesh_source::{Choice, Mask, Selection, Terms, Wrong};

/// Versions of one relation that are kept; the oldest goes first.
pub(crate) const VERSIONS_MAX: usize = 8;

/// The version of the stored form.
const STORED_VERSION: u32 = 3;

/// The version of the form without columns that are skipped or masked, which is written where there
/// are none.
const STORED_VERSION_WHOLE: u32 = 2;

/// A relation message, owned: what tells whether a table has changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RelationShape {
    pub(crate) id: u32,
    pub(crate) name: TableName,
    pub(crate) replica_identity: u8,
    pub(crate) columns: Vec<ColumnShape>,
}

/// One column of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ColumnShape {
    pub(crate) name: String,
    pub(crate) type_oid: u32,
    pub(crate) type_modifier: i32,
    pub(crate) in_identity: bool,
}

/// A table at one position of the log.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Relation {
    /// The commit in which it was first seen so.
    pub(crate) since_lsn: u64,
    pub(crate) shape: RelationShape,
    /// The columns that are captured, in the log's order.
    pub(crate) schema: Arc<TableSchema>,
    /// One for each column of the log. The schema has those alone that are not skipped: see
    /// [`Relation::kept`].
    pub(crate) readers: Vec<Reader>,
    /// The schema's columns' numbers in the catalog (`attnum`), which a rename keeps; none where the
    /// catalog had the column no more.
    #[serde(default)]
    pub(crate) numbers: Vec<Option<i16>>,
    /// It was stored when the settings selected or masked other columns: it tells earlier names, and
    /// reads no rows.
    #[serde(skip)]
    pub(crate) is_stale: bool,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    version: u32,
    relations: Vec<Relation>,
}

impl RelationShape {
    pub(crate) fn of(message: &RelationMessage<'_>) -> Self {
        Self {
            id: message.id,
            name: TableName::new(message.schema, message.table),
            replica_identity: message.replica_identity,
            columns: message
                .columns
                .iter()
                .map(|column| ColumnShape {
                    name: column.name.to_owned(),
                    type_oid: column.type_oid,
                    type_modifier: column.type_modifier,
                    in_identity: column.in_identity,
                })
                .collect(),
        }
    }
}

/// The key under which a relation's versions are stored.
pub(crate) fn state_key(id: u32) -> String {
    format!("relation/{id}")
}

/// The versions as stored.
pub(crate) fn state_item(id: u32, relations: &[Arc<Relation>]) -> Result<StateItem> {
    let relations: Vec<Relation> = relations.iter().map(|r| r.as_ref().clone()).collect();
    let version = if relations.iter().all(Relation::is_whole) {
        STORED_VERSION_WHOLE
    } else {
        STORED_VERSION
    };
    let value = serde_json::to_vec(&Stored { version, relations })
        .map_err(|e| Error::new(ErrorKind::Internal, "store a table's schema").caused_by(e))?;
    Ok(StateItem { key: state_key(id), value: Some(value) })
}

/// Reads stored versions back, with what the settings say today.
pub(crate) fn read_state(
    key: &str,
    value: &[u8],
    special: NumericSpecial,
    selection: &Selection,
) -> Result<Vec<Arc<Relation>>> {
    let wrong = |kind| Error::new(kind, "read a stored schema").with("item", key);
    let stored: Stored =
        serde_json::from_slice(value).map_err(|e| wrong(ErrorKind::Corrupt).caused_by(e))?;
    if stored.version > STORED_VERSION {
        return Err(wrong(ErrorKind::NewerVersion).with("version", stored.version));
    }
    let with_settings = |relation: Relation| {
        let mut relation = relation.with_kinds();
        relation.set_special(special);
        relation.is_stale = !relation.take_up(selection);
        Arc::new(relation)
    };
    Ok(stored.relations.into_iter().map(with_settings).collect())
}

/// Adds a version and forgets the oldest past the limit.
pub(crate) fn remember(versions: &mut Vec<Arc<Relation>>, relation: Arc<Relation>) {
    if versions.len() >= VERSIONS_MAX {
        versions.remove(0);
    }
    versions.push(relation);
}

/// The stored version that the log had at `commit_lsn`, if it has this shape. An earlier one of the
/// same shape does not do: what was renamed and back has a name more.
pub(crate) fn known(
    versions: &[Arc<Relation>],
    shape: &RelationShape,
    commit_lsn: u64,
) -> Option<Arc<Relation>> {
    let latest = versions.iter().rev().find(|relation| relation.since_lsn <= commit_lsn)?;
    // A transaction may change a table more than once.
    let of_its_commit = |relation: &&Arc<Relation>| relation.since_lsn == latest.since_lsn;
    versions.iter().rev().filter(of_its_commit).find(|relation| relation.is_of(shape)).cloned()
}

/// Asks the catalog for what the log does not carry. Where they disagree the log is right. What the
/// table was before, the latest last, tells its columns' earlier names.
pub(crate) async fn resolve(
    catalog: &Catalog,
    shape: &RelationShape,
    since_lsn: u64,
    earlier: &[Arc<Relation>],
) -> Result<Relation> {
    let oids: Vec<u32> = shape.columns.iter().map(|column| column.type_oid).collect();
    let types = catalog.types(&oids).await?;
    let facts = catalog.table(shape.id).await?;
    let key = key(shape, &facts)?;
    let mut columns = Columns::default();
    for (place, column) in shape.columns.iter().enumerate() {
        let today = facts.columns.get(&column.name).filter(|today| {
            today.type_oid == column.type_oid && today.type_modifier == column.type_modifier
        });
        let of_key = key.columns.contains(&place).then_some(key.origin);
        let reader = reader(&catalog.selection, &types, shape, column, today, of_key)?;
        if reader == Reader::Skipped {
            columns.readers.push(reader);
            continue;
        }
        let default = match today {
            Some(today) => catalog.missing(today, &reader).await?,
            None => None,
        };
        let number = today.map(|today| today.number);
        let mut field = field(&types, column, today, &reader, default);
        field.aliases = earlier_names(earlier, shape.id, number, &field.data_type);
        field.aliases.retain(|alias| shape.columns.iter().all(|column| column.name != *alias));
        if of_key.is_some() {
            let facts = facts.columns.get(&field.name);
            let expression = facts.and_then(|facts| facts.default.as_deref());
            field.key_default = expression.and_then(|text| key_default(&field.data_type, text));
        }
        columns.push(place, field, reader, number);
    }
    let key = RowKey { columns: columns.fields_at(&key.columns), ..key };
    let schema = Arc::new(TableSchema::new(shape.name.clone(), columns.fields, key)?);
    let (readers, numbers) = (columns.readers, columns.numbers);
    let shape = shape.clone();
    let mut relation = Relation { since_lsn, shape, schema, readers, numbers, is_stale: false };
    relation.set_special(types.special);
    Ok(relation)
}

/// What a relation is made of, column by column.
#[derive(Default)]
struct Columns {
    /// Where in the log's rows each field stands.
    places: Vec<usize>,
    fields: Vec<Field>,
    readers: Vec<Reader>,
    numbers: Vec<Option<i16>>,
}

impl Columns {
    fn push(&mut self, place: usize, field: Field, reader: Reader, number: Option<i16>) {
        self.places.push(place);
        self.fields.push(field);
        self.readers.push(reader);
        self.numbers.push(number);
    }

    /// The fields that stand at these places of the log's rows.
    fn fields_at(&self, places: &[usize]) -> Vec<usize> {
        let field = |place: &usize| self.places.iter().position(|kept| kept == place);
        places.iter().filter_map(field).collect()
    }
}

/// How a column is read, which may be of a key of this origin.
fn reader(
    selection: &Selection,
    types: &Types,
    shape: &RelationShape,
    column: &ColumnShape,
    today: Option<&ColumnFacts>,
    of_key: Option<KeyOrigin>,
) -> Result<Reader> {
    let refused = |wrong| not_shaped(selection.terms(), shape, column, wrong);
    let choice = selection.choose(&shape.name, &column.name, of_key).map_err(refused)?;
    if choice == Choice::Skip {
        return Ok(Reader::Skipped);
    }
    let dimensions = today.map_or(0, |today| today.dimensions);
    let reader = types
        .reader(column.type_oid, column.type_modifier, dimensions)
        .map_err(|refused| not_carried(shape, column, refused))?;
    match choice {
        Choice::Mask(mask) => masked(&reader, mask).map_err(refused),
        Choice::Keep | Choice::Skip => Ok(reader),
    }
}

/// The reader of a column that is masked.
pub(crate) fn masked(reader: &Reader, mask: Mask) -> Result<Reader, Wrong> {
    match reader {
        Reader::Text => Ok(Reader::Masked(mask)),
        _ => Err(Wrong::MaskOfNoText),
    }
}

/// A column of the schema. What is masked is a text of no length, whatever the column is declared as.
fn field(
    types: &Types,
    column: &ColumnShape,
    today: Option<&ColumnFacts>,
    reader: &Reader,
    default: Option<Value>,
) -> Field {
    let data_type = reader.data_type();
    let (source_type, kind) = match (reader, today) {
        (Reader::Masked(_), _) => ("text".to_owned(), SourceKind::Plain),
        (_, today) => {
            let declared = || types.name(column.type_oid).to_owned();
            let (oid, modifier) = (column.type_oid, column.type_modifier);
            let kind = kind_of(&data_type, oid, modifier, &|oid| types.info(oid));
            (today.map_or_else(declared, |today| today.type_text.clone()), kind)
        }
    };
    Field {
        name: column.name.clone(),
        data_type,
        source_type,
        nullable: today.is_none_or(|today| !today.not_null),
        default,
        aliases: Vec::new(),
        kind,
        key_default: None,
    }
}

#[cold]
fn not_shaped(terms: &Terms, shape: &RelationShape, column: &ColumnShape, wrong: Wrong) -> Error {
    Error::new(ErrorKind::Config, "read a table's schema")
        .because(format!("a column {}", wrong.why(terms)))
        .with("table", &shape.name)
        .with("column", &column.name)
        .help(wrong.remedy(terms))
}

#[cold]
fn not_carried(shape: &RelationShape, column: &ColumnShape, refused: Refused) -> Error {
    let Refused { type_name, why, remedy } = refused;
    let or = remedy.map(|remedy| format!("{remedy}, or ")).unwrap_or_default();
    Error::new(ErrorKind::Unsupported, "read a table's schema")
        .because(format!("a column has a type that is not carried: it {why}"))
        .with("table", &shape.name)
        .with("column", &column.name)
        .with("type", type_name)
        .help(format!(
            "{or}change the column's type, or leave the column out by postgres.exclude_columns or the \
             table by postgres.exclude_tables"
        ))
}

/// Compares the relation's composite types with what they are today.
///
/// # Errors
///
/// `Unsupported` if one was altered otherwise than by a rename: see `types::composite`.
pub(crate) async fn check_composites(catalog: &Catalog, relation: &Relation) -> Result<()> {
    let mut composites = Vec::new();
    relation.readers.iter().for_each(|reader| reader.composites(&mut composites));
    if composites.is_empty() {
        return Ok(());
    }
    let oids: Vec<u32> = composites.iter().map(|composite| composite.oid).collect();
    let today = catalog.attributes(&oids).await?;
    let is_same = |composite: &&Composite| {
        let known = composite.attributes.iter().map(|a| (a.number, a.type_oid));
        let found = today.get(&composite.oid).map_or(&[][..], Vec::as_slice);
        known.eq(found.iter().map(|a: &AttributeInfo| (a.number, a.type_oid)))
    };
    match composites.into_iter().find(|composite| !is_same(composite)) {
        None => Ok(()),
        Some(found) => Err(altered(&found.schema, &found.name).with("table", &relation.shape.name)),
    }
}

/// The names that the column of this number had, as long as it had this type.
fn earlier_names(
    earlier: &[Arc<Relation>],
    table: u32,
    number: Option<i16>,
    data_type: &DataType,
) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for relation in earlier.iter().rev().filter(|relation| relation.shape.id == table) {
        let place = relation.numbers.iter().position(|known| number.is_some() && *known == number);
        let Some(field) = place.and_then(|place| relation.schema.fields.get(place)) else {
            continue;
        };
        if field.data_type != *data_type {
            break;
        }
        for name in std::iter::once(&field.name).chain(&field.aliases) {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
    }
    names
}

/// What identifies a row, by the columns' places in the log: the primary key; else the replica
/// identity's index; else the whole row.
pub(crate) fn key(shape: &RelationShape, facts: &TableFacts) -> Result<RowKey> {
    let place = |name: &String| shape.columns.iter().position(|column| column.name == *name);
    let primary: Option<Vec<usize>> = facts.primary_key.iter().map(place).collect();
    let primary = primary.filter(|columns| !columns.is_empty());
    let flagged: Vec<usize> =
        (0..shape.columns.len()).filter(|index| shape.columns[*index].in_identity).collect();
    let same_set = |columns: &[usize]| {
        columns.len() == flagged.len() && flagged.iter().all(|column| columns.contains(column))
    };
    match (shape.replica_identity, primary) {
        (b'f', Some(columns)) => Ok(RowKey { origin: KeyOrigin::PrimaryKey, columns }),
        (b'f', None) => {
            let columns = (0..shape.columns.len()).collect();
            Ok(RowKey { origin: KeyOrigin::WholeRow, columns })
        }
        (_, Some(columns)) if same_set(&columns) => {
            Ok(RowKey { origin: KeyOrigin::PrimaryKey, columns })
        }
        (b'd', _) if !flagged.is_empty() => {
            Ok(RowKey { origin: KeyOrigin::PrimaryKey, columns: flagged })
        }
        (b'i', _) if !flagged.is_empty() => {
            Ok(RowKey { origin: KeyOrigin::UniqueIndex, columns: flagged })
        }
        _ => Err(Error::new(ErrorKind::Prerequisite, "read a table's schema")
            .because("nothing in the log identifies its rows")
            .with("table", &shape.name)
            .help(format!(
                "add a primary key, or run ALTER TABLE {} REPLICA IDENTITY FULL",
                crate::config::quoted_table(&shape.name)
            ))),
    }
}

impl Relation {
    /// The columns that are captured, in the schema's order: where each stands in the log's rows, and
    /// how it is read.
    pub(crate) fn kept(&self) -> impl Iterator<Item = (usize, &Reader)> {
        let is_kept = |(_, reader): &(usize, &Reader)| !matches!(reader, Reader::Skipped);
        self.readers.iter().enumerate().filter(is_kept)
    }

    /// Whether every column is captured, and as it is.
    fn is_whole(&self) -> bool {
        !self.readers.iter().any(|r| matches!(r, Reader::Skipped | Reader::Masked(_)))
    }

    /// Whether it reads rows of this shape.
    pub(crate) fn is_of(&self, shape: &RelationShape) -> bool {
        !self.is_stale && self.shape == *shape
    }

    /// Whether its columns are those that the table has today, as far as it has any of their names: others
    /// may have had them.
    pub(crate) fn has_numbers_of(&self, today: &Storage) -> bool {
        let mut fields = self.schema.fields.iter().zip(&self.numbers);
        fields.all(|(field, number)| {
            let today = today.columns.get(&field.name);
            number.zip(today).is_none_or(|(number, today)| number == today.number)
        })
    }

    /// With its columns' kinds, which older versions did not store.
    fn with_kinds(mut self) -> Self {
        let schema = Arc::make_mut(&mut self.schema);
        let kept = self.readers.iter().zip(&self.shape.columns);
        let kept = kept.filter(|(reader, _)| !matches!(reader, Reader::Skipped));
        for (field, (reader, shape)) in schema.fields.iter_mut().zip(kept) {
            if field.kind.plain() {
                field.kind = kind_of_stored(reader, shape.type_modifier);
            }
        }
        self
    }

    /// Takes over what the settings say of NaN and infinities. In a key they always stop the source:
    /// as null, rows would be taken for each other.
    pub(crate) fn set_special(&mut self, wanted: NumericSpecial) {
        let kept = self.readers.iter_mut().filter(|reader| !matches!(reader, Reader::Skipped));
        for (field, reader) in kept.enumerate() {
            let in_key = self.schema.in_key(field);
            reader.set_special(if in_key { NumericSpecial::Stop } else { wanted });
        }
    }

    /// Takes over what the settings say of columns; false if they are others than when it was stored,
    /// or masked in another way.
    fn take_up(&mut self, selection: &Selection) -> bool {
        let mut fields = self.schema.fields.iter().enumerate();
        let columns = self.shape.columns.iter().zip(&mut self.readers);
        for (column, reader) in columns {
            let field = match reader {
                Reader::Skipped => None,
                _ => fields.next(),
            };
            let in_key = field.is_some_and(|(index, _)| self.schema.in_key(index));
            let of_key = in_key.then_some(self.schema.key.origin);
            let is_same = match (selection.choose(&self.shape.name, &column.name, of_key), &reader)
            {
                (Ok(Choice::Skip), Reader::Skipped) => true,
                (Ok(Choice::Keep), read) => !matches!(read, Reader::Skipped | Reader::Masked(_)),
                // A default was masked with the salt of then.
                (Ok(Choice::Mask(mask)), Reader::Masked(stored)) => {
                    let has_default = field.is_some_and(|(_, field)| field.default.is_some());
                    let is_same = mask.is_like(stored);
                    let is_salted = matches!(mask, Mask::Hash { .. });
                    *reader = Reader::Masked(mask);
                    is_same && !(is_salted && has_default)
                }
                _ => false,
            };
            if !is_same {
                return false;
            }
        }
        true
    }

    /// Whether a value that is captured is not in the log because it did not change.
    #[cold]
    pub(crate) fn lacks(&self, tuple: Tuple<'_>) -> Result<bool> {
        let mut cells = tuple.cells();
        for reader in self.readers.iter().take(tuple.columns().into()) {
            if cells.next()? == Cell::Unchanged && !matches!(reader, Reader::Skipped) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether rows are keyed by these columns.
    pub(crate) fn has_key(&self, key: &[String]) -> bool {
        let RowKey { origin, columns } = &self.schema.key;
        let names = columns.iter().map(|column| &self.schema.fields[*column].name);
        *origin == KeyOrigin::PrimaryKey && columns.len() == key.len() && names.eq(key)
    }

    /// The database's own text of each key column of a row, in the key's order.
    pub(crate) fn key_texts(&self, tuple: Tuple<'_>) -> Result<Vec<String>> {
        let kept: Vec<(usize, &Reader)> = self.kept().collect();
        let text = |column: &usize| {
            let mut values = Values::default();
            let (place, reader) = kept[*column];
            match tuple.cell(place)? {
                Cell::Binary(bytes) => reader.visit(bytes, &mut values)?,
                Cell::Text(bytes) => reader.visit_text(bytes, &mut values)?,
                Cell::Null | Cell::Unchanged => {}
            }
            let field = &self.schema.fields[*column];
            let value = values.into_cells().pop();
            value.and_then(|value| snapshot::text(field, &value)).ok_or_else(|| {
                Error::new(ErrorKind::Malformed, "decode the log")
                    .because("an update lacks a column of its key")
                    .with("table", &self.shape.name)
                    .with("column", &field.name)
            })
        };
        self.schema.key.columns.iter().map(text).collect()
    }
}

/// What Debezium writes where it does not know a value (`unavailable.value.placeholder`).
const PLACEHOLDER: &str = "__debezium_unavailable_value";

/// Whether a placeholder can stand for a value of this type.
fn takes_placeholder(reader: &Reader) -> bool {
    matches!(
        reader,
        Reader::Text
            | Reader::Masked(_)
            | Reader::Json
            | Reader::Jsonb
            | Reader::NumericText
            | Reader::Bytea
    )
}

fn visit_placeholder<V: CellVisitor>(reader: &Reader, visitor: &mut V) -> Result<()> {
    match reader {
        Reader::Bytea => visitor.bytes(PLACEHOLDER.as_bytes()),
        _ => visitor.text(PLACEHOLDER),
    }
}

/// A row of a relation, borrowing from the log's bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row<'a> {
    pub(crate) relation: &'a Relation,
    pub(crate) tuple: Tuple<'a>,
    /// For an old row: whether it has all columns, not the key's only.
    pub(crate) old: Option<bool>,
    /// For a new row: the whole old one, from which an unchanged large value is taken.
    pub(crate) before: Option<Tuple<'a>>,
}

impl RowImage for Row<'_> {
    #[inline]
    fn visit<V: CellVisitor>(&self, visitor: &mut V) -> Result<()> {
        let columns = &self.relation.readers;
        if usize::from(self.tuple.columns()) != columns.len() {
            return Err(Error::new(ErrorKind::Malformed, "decode the log")
                .because("a row has another number of cells than its table")
                .with("table", &self.relation.shape.name)
                .with("cells", self.tuple.columns())
                .with("columns", columns.len()));
        }
        let mut cells = self.tuple.cells();
        for (index, reader) in columns.iter().enumerate() {
            let read = match cells.next()? {
                Cell::Binary(bytes) => reader.visit(bytes, visitor),
                Cell::Text(bytes) => reader.visit_text(bytes, visitor),
                Cell::Null => self.null(index, reader, visitor),
                Cell::Unchanged => self.unchanged(index, reader, visitor),
            };
            match read {
                Err(error) if self.is_left_out(reader, &error) => visitor.absent()?,
                read => read.map_err(|error| self.locate(index, error))?,
            }
        }
        cells.end()
    }
}

impl<'a> Row<'a> {
    /// An old row.
    pub(crate) fn old(relation: &'a Relation, old: OldTuple<'a>) -> Self {
        Self { relation, tuple: old.tuple, old: Some(old.full), before: None }
    }

    #[inline]
    fn null<V: CellVisitor>(&self, index: usize, reader: &Reader, visitor: &mut V) -> Result<()> {
        match reader {
            Reader::Skipped => Ok(()),
            _ if self.old == Some(false) && self.outside_key(index) => visitor.absent(),
            _ => visitor.null(),
        }
    }

    /// Whether a value that goes to the dead letters in a new row is left out of an old one: so what
    /// becomes of the row afterwards is told.
    #[cold]
    fn is_left_out(&self, reader: &Reader, error: &Error) -> bool {
        let is_letter = matches!(reader, Reader::Numeric { special, .. } if *special == NumericSpecial::DeadLetter);
        self.old.is_some() && is_letter && error.kind() == ErrorKind::Unsupported
    }

    /// Whether a column is not in a key-only row: its null says nothing. A partition may have the key
    /// alone in its log where its root, of which the log tells, has REPLICA IDENTITY FULL.
    fn outside_key(&self, index: usize) -> bool {
        let shape = &self.relation.shape;
        let in_key = || {
            let field = self.relation.kept().position(|(place, _)| place == index);
            field.is_some_and(|field| self.relation.schema.in_key(field))
        };
        !shape.columns[index].in_identity || (shape.replica_identity == b'f' && !in_key())
    }

    #[cold]
    fn unchanged<V: CellVisitor>(
        &self,
        index: usize,
        reader: &Reader,
        visitor: &mut V,
    ) -> Result<()> {
        if matches!(reader, Reader::Skipped) {
            return Ok(());
        }
        match self.before.map(|before| before.cell(index)).transpose()? {
            Some(Cell::Binary(bytes)) => reader.visit(bytes, visitor),
            Some(Cell::Text(bytes)) => reader.visit_text(bytes, visitor),
            Some(Cell::Null) => visitor.null(),
            Some(Cell::Unchanged) | None if self.old.is_some() => visitor.absent(),
            Some(Cell::Unchanged) | None if takes_placeholder(reader) => {
                visit_placeholder(reader, visitor)
            }
            Some(Cell::Unchanged) | None => {
                Err(Error::new(ErrorKind::Unsupported, "decode the log")
                    .because("an update left a large value unchanged, so the log does not hold it")
                    .help(format!(
                        "a placeholder stands for texts and bytes only: set postgres.toast to \
                         reread, or run ALTER TABLE {} REPLICA IDENTITY FULL",
                        crate::config::quoted_table(&self.relation.shape.name)
                    )))
            }
        }
    }

    #[cold]
    fn locate(&self, index: usize, error: Error) -> Error {
        error
            .with("table", &self.relation.shape.name)
            .with("column", &self.relation.shape.columns[index].name)
    }
}

#[cfg(test)]
mod tests;
