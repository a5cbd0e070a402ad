//! What a server adds to a table's description: signs, charsets, names, values, keys (MySQL 9.1,
//! `Table_map_event` in `rows_event.h`, "optional metadata fields").

use super::table_map::{ColumnShape, type_codes as codes};
use crate::bytes::Bytes;
use crate::frame::Flavor;

/// The collation that is bytes, and not text.
pub(crate) const BINARY_COLLATION: u64 = 63;

/// The charsets of the columns that have one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Charsets {
    /// One for all, but for the ones that are named by their place among those columns.
    Default(u64, Vec<(u64, u64)>),
    /// Each has its own.
    Each(Vec<u64>),
}

impl Charsets {
    /// The id of the collation of the column at this place among those that have one.
    pub(crate) fn of(&self, place: usize) -> Option<u64> {
        match self {
            Self::Each(all) => all.get(place).copied(),
            Self::Default(default, others) => {
                let place = u64::try_from(place).ok()?;
                let other = others.iter().find(|(of, _)| *of == place);
                Some(other.map_or(*default, |(_, collation)| *collation))
            }
        }
    }
}

/// A column of the primary key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PrimaryKeyPart {
    pub(crate) column: usize,
    /// Characters of it that are in the key; 0 is all of it.
    pub(crate) prefix: u64,
}

/// All that is told; what the server does not write is empty or none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct OptionalMetadata<'a> {
    /// Of each column; none of one that has no sign, or if it is not told.
    pub(crate) unsigned: Vec<Option<bool>>,
    /// Each column's collation; none of one that has none, or if it is not told.
    pub(crate) collations: Vec<Option<u64>>,
    pub(crate) names: Option<Vec<&'a [u8]>>,
    /// The values of each column that is an enum or a set, in the column's charset.
    pub(crate) values: Vec<Vec<&'a [u8]>>,
    /// Of each column that holds shapes, which kind of shape; of one of vectors, how many numbers they
    /// have.
    pub(crate) details: Vec<Option<u64>>,
    pub(crate) primary_key: Vec<PrimaryKeyPart>,
    /// Of each column, if it is told.
    pub(crate) visible: Vec<bool>,
}

/// What the fields say, before it is known to which columns it belongs.
#[derive(Default)]
struct Fields<'a> {
    signs: Option<&'a [u8]>,
    charsets: Option<Charsets>,
    choice_charsets: Option<Charsets>,
    set_values: Vec<Vec<&'a [u8]>>,
    enum_values: Vec<Vec<&'a [u8]>>,
    visible: Option<&'a [u8]>,
    geometry_types: Vec<u64>,
    dimensions: Vec<u64>,
}

/// Reads all fields; the error is the number of the one that is not of its form.
pub(super) fn optional_metadata<'a>(
    bytes: &'a [u8],
    columns: &[ColumnShape],
    flavor: Flavor,
) -> Result<OptionalMetadata<'a>, u8> {
    let mut metadata = OptionalMetadata::default();
    let mut fields = Fields::default();
    let mut bytes = Bytes(bytes);
    while let Some(field) = bytes.u8() {
        let value = bytes.packed_bytes().ok_or(field)?;
        one(field, Bytes(value), columns.len(), &mut fields, &mut metadata).ok_or(field)?;
    }
    assign(&fields, columns, flavor, &mut metadata);
    Ok(metadata)
}

fn one<'a>(
    field: u8,
    mut bytes: Bytes<'a>,
    columns: usize,
    fields: &mut Fields<'a>,
    metadata: &mut OptionalMetadata<'a>,
) -> Option<()> {
    match field {
        1 => fields.signs = Some(bytes.0),
        2 => fields.charsets = Some(default_charset(bytes)?),
        3 => fields.charsets = Some(Charsets::Each(numbers(bytes)?)),
        4 => {
            let names = list(bytes, Bytes::packed_bytes)?;
            (names.len() == columns).then_some(())?;
            metadata.names = Some(names);
        }
        5 => fields.set_values = list(bytes, values)?,
        6 => fields.enum_values = list(bytes, values)?,
        7 => fields.geometry_types = numbers(bytes)?,
        8 => {
            let key = list(bytes, Bytes::packed_len)?;
            let key = key.into_iter().map(|column| PrimaryKeyPart { column, prefix: 0 });
            metadata.primary_key = key.collect();
        }
        9 => {
            let part = |bytes: &mut Bytes<'a>| {
                Some(PrimaryKeyPart { column: bytes.packed_len()?, prefix: bytes.packed()? })
            };
            metadata.primary_key = list(bytes, part)?;
        }
        10 => fields.choice_charsets = Some(default_charset(bytes)?),
        11 => fields.choice_charsets = Some(Charsets::Each(numbers(bytes)?)),
        12 => fields.visible = Some(bytes.take(columns.div_ceil(8))?),
        13 => fields.dimensions = numbers(bytes)?,
        // What newer servers add is not needed.
        _ => {}
    }
    let is_in_table = |part: &PrimaryKeyPart| part.column < columns;
    metadata.primary_key.iter().all(is_in_table).then_some(())
}

/// Gives each column what the fields say of those of its kind, in their order.
fn assign<'a>(
    fields: &Fields<'a>,
    columns: &[ColumnShape],
    flavor: Flavor,
    metadata: &mut OptionalMetadata<'a>,
) {
    let (mut signs, mut texts, mut choices) = (0, 0, 0);
    let mut sets = fields.set_values.iter();
    let mut enums = fields.enum_values.iter();
    let mut shapes = fields.geometry_types.iter();
    let mut vectors = fields.dimensions.iter();
    for column in columns {
        let unsigned = column.code.has_sign(flavor).then(|| {
            signs += 1;
            fields.signs.map(|bits| high_bit(bits, signs - 1))
        });
        metadata.unsigned.push(unsigned.flatten());
        let is_choice = matches!(column.code, codes::ENUM | codes::SET);
        let collation = if is_choice {
            choices += 1;
            fields.choice_charsets.as_ref().and_then(|all| all.of(choices - 1))
        } else if column.code.has_charset(flavor) {
            texts += 1;
            fields.charsets.as_ref().and_then(|all| all.of(texts - 1))
        } else {
            None
        };
        metadata.collations.push(collation);
        let values = match column.code {
            codes::SET => sets.next(),
            codes::ENUM => enums.next(),
            _ => None,
        };
        metadata.values.push(values.cloned().unwrap_or_default());
        let detail = match column.code {
            codes::GEOMETRY => shapes.next(),
            codes::VECTOR => vectors.next(),
            _ => None,
        };
        metadata.details.push(detail.copied());
    }
    if let Some(bits) = fields.visible {
        metadata.visible = (0..columns.len()).map(|index| high_bit(bits, index)).collect();
    }
}

/// A bit of a list in which the highest of a byte is the first.
fn high_bit(bits: &[u8], index: usize) -> bool {
    bits.get(index / 8).is_some_and(|byte| byte << (index % 8) & 0x80 != 0)
}

fn default_charset(mut bytes: Bytes<'_>) -> Option<Charsets> {
    let default = bytes.packed()?;
    let others = list(bytes, |bytes| Some((bytes.packed()?, bytes.packed()?)))?;
    Some(Charsets::Default(default, others))
}

fn numbers(bytes: Bytes<'_>) -> Option<Vec<u64>> {
    list(bytes, Bytes::packed)
}

/// The values of one column, behind their number.
fn values<'a>(bytes: &mut Bytes<'a>) -> Option<Vec<&'a [u8]>> {
    let count = bytes.packed()?;
    (0..count).map(|_| bytes.packed_bytes()).collect()
}

fn list<'a, T>(mut bytes: Bytes<'a>, next: impl Fn(&mut Bytes<'a>) -> Option<T>) -> Option<Vec<T>> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        all.push(next(&mut bytes)?);
    }
    Some(all)
}
