//! A table as the log has it: its schema and how its cells are read, kept under the position where
//! it was first seen, so that the same log gives the same events again.

use crate::catalog::{Catalog, TableFacts};
use crate::decode::{Cell, OldTuple, RelationMessage, Tuple};
use crate::kind::{key_default, kind_of, kind_of_stored};
use crate::snapshot;
use crate::types::{AttributeInfo, Composite, Reader, Refused, altered};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use tidemesh_model::{
    CellVisitor, DataType, Error, ErrorKind, Field, KeyOrigin, NumericSpecial, Result, RowImage,
    RowKey, StateItem, TableName, TableSchema, Values,
};

/// Versions of one relation that are kept; the oldest goes first.
pub(crate) const VERSIONS_MAX: usize = 8;

/// The version of the stored form.
const STORED_VERSION: u32 = 2;

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
    pub(crate) schema: Arc<TableSchema>,
    pub(crate) readers: Vec<Reader>,
    /// The columns' numbers in the catalog (`attnum`), which a rename keeps; none where the catalog
    /// had the column no more.
    #[serde(default)]
    pub(crate) numbers: Vec<Option<i16>>,
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
    let relations = relations.iter().map(|relation| relation.as_ref().clone()).collect();
    let value = serde_json::to_vec(&Stored { version: STORED_VERSION, relations })
        .map_err(|e| Error::new(ErrorKind::Internal, "store a table's schema").caused_by(e))?;
    Ok(StateItem { key: state_key(id), value: Some(value) })
}

/// Reads stored versions back.
pub(crate) fn read_state(
    key: &str,
    value: &[u8],
    special: NumericSpecial,
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
    versions.iter().rev().filter(of_its_commit).find(|relation| relation.shape == *shape).cloned()
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
    let (mut fields, mut readers, mut numbers) = (Vec::new(), Vec::new(), Vec::new());
    for column in &shape.columns {
        let today = facts.columns.get(&column.name).filter(|today| {
            today.type_oid == column.type_oid && today.type_modifier == column.type_modifier
        });
        let dimensions = today.map_or(0, |today| today.dimensions);
        let reader = types
            .reader(column.type_oid, column.type_modifier, dimensions)
            .map_err(|refused| not_carried(shape, column, refused))?;
        let default = match today {
            Some(today) => catalog.missing(shape.id, today, &reader).await?,
            None => None,
        };
        let data_type = reader.data_type();
        let number = today.map(|today| today.number);
        let mut aliases = earlier_names(earlier, shape.id, number, &data_type);
        aliases.retain(|alias| shape.columns.iter().all(|column| column.name != *alias));
        numbers.push(number);
        fields.push(Field {
            name: column.name.clone(),
            data_type,
            source_type: today.map_or_else(
                || types.name(column.type_oid).to_owned(),
                |today| today.type_text.clone(),
            ),
            nullable: today.is_none_or(|today| !today.not_null),
            default,
            aliases,
            kind: kind_of(column.type_oid, column.type_modifier, &|oid| types.info(oid)),
            key_default: None,
        });
        readers.push(reader);
    }
    let key = key(shape, &facts)?;
    for (index, field) in fields.iter_mut().enumerate() {
        if !key.columns.contains(&index) {
            continue;
        }
        let facts = facts.columns.get(&field.name);
        let expression = facts.and_then(|facts| facts.default.as_deref());
        field.key_default = expression.and_then(|text| key_default(&field.data_type, text));
    }
    let schema = Arc::new(TableSchema::new(shape.name.clone(), fields, key)?);
    let mut relation = Relation { since_lsn, shape: shape.clone(), schema, readers, numbers };
    relation.set_special(types.special);
    Ok(relation)
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
        .help(format!("{or}change the column's type, or leave the table out of postgres.tables"))
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

/// What identifies a row: the primary key; else the replica identity's index; else the whole row.
fn key(shape: &RelationShape, facts: &TableFacts) -> Result<RowKey> {
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
    /// With its columns' kinds, which older versions did not store.
    fn with_kinds(mut self) -> Self {
        let schema = Arc::make_mut(&mut self.schema);
        let columns = schema.fields.iter_mut().zip(&self.readers).zip(&self.shape.columns);
        for ((field, reader), shape) in columns {
            if field.kind.plain() {
                field.kind = kind_of_stored(reader, shape.type_modifier);
            }
        }
        self
    }

    /// Takes over what the settings say of NaN and infinities. In a key they always stop the source:
    /// as null, rows would be taken for each other.
    pub(crate) fn set_special(&mut self, wanted: NumericSpecial) {
        for (index, reader) in self.readers.iter_mut().enumerate() {
            let in_key = self.schema.in_key(index);
            reader.set_special(if in_key { NumericSpecial::Stop } else { wanted });
        }
    }

    /// Whether rows are keyed by these columns.
    pub(crate) fn has_key(&self, key: &[String]) -> bool {
        let RowKey { origin, columns } = &self.schema.key;
        let names = columns.iter().map(|column| &self.schema.fields[*column].name);
        *origin == KeyOrigin::PrimaryKey && columns.len() == key.len() && names.eq(key)
    }

    /// The database's own text of each key column of a row, in the key's order.
    pub(crate) fn key_texts(&self, tuple: Tuple<'_>) -> Result<Vec<String>> {
        let text = |column: &usize| {
            let mut values = Values::default();
            let reader = &self.readers[*column];
            match tuple.cell(*column)? {
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
        Reader::Text | Reader::Json | Reader::Jsonb | Reader::NumericText | Reader::Bytea
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
                Cell::Null if self.outside_key(index) => visitor.absent(),
                Cell::Null => visitor.null(),
                Cell::Unchanged => self.unchanged(index, reader, visitor),
            };
            read.map_err(|error| self.locate(index, error))?;
        }
        cells.end()
    }
}

impl<'a> Row<'a> {
    /// An old row.
    pub(crate) fn old(relation: &'a Relation, old: OldTuple<'a>) -> Self {
        Self { relation, tuple: old.tuple, old: Some(old.full), before: None }
    }

    /// Whether a column is not in a key-only row: its null says nothing.
    #[inline]
    fn outside_key(&self, index: usize) -> bool {
        self.old == Some(false) && !self.relation.shape.columns[index].in_identity
    }

    #[cold]
    fn unchanged<V: CellVisitor>(
        &self,
        index: usize,
        reader: &Reader,
        visitor: &mut V,
    ) -> Result<()> {
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
mod tests {
    use super::*;
    use tidemesh_model::SourceKind;

    // As versions before 0.2 stored it.
    const WITHOUT_KINDS: &str = r#"{"version": 1, "relations": [{
        "since_lsn": 7,
        "shape": {"id": 1, "name": {"schema": "public", "table": "t"}, "replica_identity": 100,
            "columns": [
                {"name": "id", "type_oid": 21, "type_modifier": -1, "in_identity": true},
                {"name": "at", "type_oid": 1114, "type_modifier": 3, "in_identity": false},
                {"name": "note", "type_oid": 25, "type_modifier": -1, "in_identity": false}]},
        "schema": {"name": {"schema": "public", "table": "t"}, "fields": [
            {"name": "id", "data_type": "int32", "source_type": "smallint", "nullable": false, "default": null},
            {"name": "at", "data_type": "timestamp", "source_type": "timestamp(3) without time zone", "nullable": true, "default": null},
            {"name": "note", "data_type": "text", "source_type": "text", "nullable": true, "default": null}],
            "key": {"origin": "primary_key", "columns": [0]}},
        "readers": ["int2", "timestamp", "text"]}]}"#;

    #[test]
    fn a_stored_schema_without_kinds_is_read_with_them() {
        let versions =
            read_state("relation/1", WITHOUT_KINDS.as_bytes(), NumericSpecial::Stop).unwrap();
        let kinds: Vec<SourceKind> =
            versions[0].schema.fields.iter().map(|field| field.kind).collect();
        let timestamp = SourceKind::Timestamp { digits: 3 };
        assert_eq!(kinds, [SourceKind::Int16, timestamp, SourceKind::Plain]);
        let item = state_item(1, &versions).unwrap();
        let again = read_state("relation/1", &item.value.unwrap(), NumericSpecial::Stop).unwrap();
        assert_eq!(again[0].schema, versions[0].schema);
    }
}
