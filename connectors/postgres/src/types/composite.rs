//! Composite types (`record_send`): how many attributes, then each one's type and value.
//!
//! `ALTER TYPE` changes a composite type without a word in the log: neither are tables that use it
//! rewritten, nor is their relation message sent again. The server sends rows as the type was when
//! they were logged, with each attribute's type, so both are checked for each value: another number
//! of attributes or another type stops the source before anything is told wrongly. What a value does
//! not show, an attribute that was dropped and another of the same type that was added, is seen by
//! the attributes' numbers, which are compared with the catalog when the log is taken up and again
//! and again while it is read (`watch.rs`). A renamed attribute keeps its values, and its old name
//! until the table itself changes.

use super::bytes::{Bytes, malformed};
use super::reader::Reader;
use serde::{Deserialize, Serialize};
use tidemesh_model::{CellVisitor, DataType, Error, ErrorKind, RecordField, RecordType, Result};

/// How a composite type's values are read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Composite {
    /// `pg_type.oid`.
    pub(crate) oid: u32,
    pub(crate) schema: String,
    pub(crate) name: String,
    pub(crate) attributes: Vec<Attribute>,
}

/// One attribute of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Attribute {
    /// `pg_attribute.attnum`, which is never given to another one.
    pub(crate) number: i16,
    pub(crate) name: String,
    pub(crate) type_oid: u32,
    /// `format_type`: the type's name with its modifiers.
    pub(crate) type_text: String,
    pub(crate) reader: Reader,
}

impl Composite {
    pub(super) fn data_type(&self) -> DataType {
        let field = |attribute: &Attribute| RecordField {
            name: attribute.name.clone(),
            data_type: attribute.reader.data_type(),
            source_type: attribute.type_text.clone(),
        };
        DataType::Record(RecordType {
            schema: self.schema.clone(),
            name: self.name.clone(),
            fields: self.attributes.iter().map(field).collect(),
        })
    }

    /// Hands a value to the visitor.
    pub(super) fn visit<V: CellVisitor>(&self, bytes: &[u8], visitor: &mut V) -> Result<()> {
        visitor.record_start()?;
        self.each(bytes, |attribute, value| match value {
            None => visitor.null(),
            Some(bytes) => attribute.reader.visit(bytes, visitor),
        })?;
        visitor.record_end()
    }

    fn each(
        &self,
        bytes: &[u8],
        take: impl FnMut(&Attribute, Option<&[u8]>) -> Result<()>,
    ) -> Result<()> {
        let types = self.attributes.iter().map(|attribute| (attribute.type_oid, attribute));
        match each(bytes, types, take)? {
            Told::AsKnown => Ok(()),
            Told::Otherwise => Err(self.altered()),
        }
    }

    #[cold]
    fn altered(&self) -> Error {
        altered(&self.schema, &self.name)
    }
}

/// Whether a value has the attributes that are known.
pub(super) enum Told {
    AsKnown,
    Otherwise,
}

/// Hands each attribute's value to `take`, beside what is known of it.
pub(super) fn each<A>(
    bytes: &[u8],
    known: impl ExactSizeIterator<Item = (u32, A)>,
    mut take: impl FnMut(A, Option<&[u8]>) -> Result<()>,
) -> Result<Told> {
    let mut bytes = Bytes(bytes);
    let count = bytes.u32().ok_or_else(malformed)?;
    if count as usize != known.len() {
        return Ok(Told::Otherwise);
    }
    for (type_oid, attribute) in known {
        if bytes.u32().ok_or_else(malformed)? != type_oid {
            return Ok(Told::Otherwise);
        }
        take(attribute, bytes.value().ok_or_else(malformed)?)?;
    }
    bytes.end().ok_or_else(malformed)?;
    Ok(Told::AsKnown)
}

/// A composite type that is not what it was.
pub(crate) fn altered(schema: &str, name: &str) -> Error {
    Error::new(ErrorKind::Unsupported, "read a composite value")
        .because("the composite type was altered after this source had read what it consists of")
        .with("type", format!("{schema}.{name}"))
        .help(
            "the log does not tell from where on: run `tidemesh source remove … --delete-topics` \
             and start the source anew, which reads the tables with the type as it is now",
        )
}
