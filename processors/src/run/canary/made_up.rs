//! Records that are made up: the last real row with each kind of value in each field that is new or changed.

use std::sync::Arc;
use tidemesh_avro::datum::{Datum, encode};
use tidemesh_avro::flat;
use tidemesh_avro::frame;
use tidemesh_avro::schema::{Field, Kind, Logical, NodeId, Schema};
use tidemesh_model::Result;
use tidemesh_plan::relation::{Form, Relation};
use tidemesh_transport::{FetchedBatch, Records};

/// The id under which the values' schema is told: the registry gives none that is so high.
pub(super) const SCHEMA_ID: u32 = u32::MAX;

/// The most records that are made up for one input.
const RECORDS_MAX: usize = 1_000;

/// The deepest nesting of a value that is made up; a list, a map or null ends it.
const DEPTH_MAX: usize = 32;

/// The field of an envelope with the row after the change.
const AFTER: &str = "after";

/// A record that is made up.
pub(super) struct MadeUp {
    /// Which field has what: `colour = null`.
    pub(super) what: String,
    key: Option<Vec<u8>>,
    value: Vec<u8>,
}

impl MadeUp {
    /// It as the only record of a batch, at offset 0.
    ///
    /// # Errors
    ///
    /// As [`Records::push`].
    pub(super) fn batch(&self, topic: &str) -> Result<FetchedBatch> {
        let mut records = Records::default();
        records.push(0, self.key.as_deref(), &[], Some(&self.value))?;
        Ok(FetchedBatch {
            topic: topic.into(),
            partition: 0,
            base_offset: 0,
            from_offset: 0,
            next_offset: 1,
            bytes: records.as_bytes().to_vec().into(),
        })
    }
}

/// Records of `next` for what is not as in `before`, each with the real record `base` around it, if there is
/// one.
pub(super) fn records(
    before: &Relation,
    next: &Relation,
    base: Option<&Datum>,
    key: Option<&[u8]>,
) -> Vec<MadeUp> {
    let mut made = Vec::new();
    let Some(around) = around(next, base) else { return made };
    let key = key.map(<[u8]>::to_vec).or_else(|| plain_key(next));
    for field in next.fields().iter().filter(|field| is_other(before, next, field)) {
        for branch in branches(&next.value, field.node) {
            let Some(value) = plain(&next.value, branch, 0) else { continue };
            let what = format!("{} = {}", field.name, value.type_name());
            let record = with(next, &around, &field.name, value);
            let mut bytes = frame::head(SCHEMA_ID).to_vec();
            // What cannot be written is none that could come.
            if encode(&next.value, &record, &mut bytes).is_ok() && made.len() < RECORDS_MAX {
                made.push(MadeUp { what, key: key.clone(), value: bytes });
            }
        }
    }
    made
}

/// Whether a field is new, or of another type than it was.
fn is_other(before: &Relation, next: &Relation, field: &Field) -> bool {
    let text = |of: &Relation, field: &Field| of.value.at(field.node).registry_text();
    let known = before.fields().iter().find(|known| known.name == field.name);
    known.is_none_or(|known| text(before, known) != text(next, field))
}

/// The types that a field's value may be of.
fn branches(schema: &Schema, id: NodeId) -> Vec<NodeId> {
    match &schema.node(id).kind {
        Kind::Union(branches) => branches.clone(),
        _ => vec![id],
    }
}

/// A record of an insert, with the row of a real one if that has one.
fn around(next: &Relation, base: Option<&Datum>) -> Option<Datum> {
    let made = || plain(&next.value, next.value.root(), 0);
    let mut around = base.cloned().or_else(made)?;
    match next.form {
        Form::Envelope => {
            if around.field(AFTER).is_none_or(|after| *after == Datum::Null) {
                set(&mut around, AFTER, plain(&next.value, next.row, 0)?);
            }
            set(&mut around, "before", Datum::Null);
            set(&mut around, "op", Datum::String("c".into()));
        }
        Form::Flat => {
            set(&mut around, flat::OPERATION, Datum::String("c".into()));
            set(&mut around, flat::DELETED, Datum::String("false".into()));
        }
        Form::State | Form::Event => {}
    }
    Some(around)
}

/// The record with another value in a field of its row.
fn with(next: &Relation, around: &Datum, name: &str, value: Datum) -> Datum {
    let mut record = around.clone();
    if next.form != Form::Envelope {
        set(&mut record, name, value);
    } else if let Some(row) = field_mut(&mut record, AFTER) {
        set(row, name, value);
    }
    record
}

fn set(record: &mut Datum, name: &str, value: Datum) {
    if let Some(field) = field_mut(record, name) {
        *field = value;
    }
}

fn field_mut<'d>(record: &'d mut Datum, name: &str) -> Option<&'d mut Datum> {
    let Datum::Record(fields) = record else { return None };
    fields.iter_mut().find(|(field, _)| **field == *name).map(|(_, value)| value)
}

fn plain_key(next: &Relation) -> Option<Vec<u8>> {
    let key = next.key.as_ref()?;
    let mut bytes = frame::head(0).to_vec();
    encode(key, &plain(key, key.root(), 0)?, &mut bytes).ok()?;
    Some(bytes)
}

/// The plainest value of a type; of a union one that is something. None for a type that ends nowhere.
fn plain(schema: &Schema, id: NodeId, depth: usize) -> Option<Datum> {
    if depth > DEPTH_MAX {
        return None;
    }
    let node = schema.node(id);
    Some(match &node.kind {
        Kind::Null => Datum::Null,
        Kind::Boolean => Datum::Boolean(false),
        Kind::Int => Datum::Int(0),
        Kind::Long => Datum::Long(0),
        Kind::Float => Datum::Float(0.0),
        Kind::Double => Datum::Double(0.0),
        Kind::Bytes => Datum::Bytes(if node.logical.is_some() { vec![0] } else { Vec::new() }),
        Kind::String => Datum::String(match node.logical {
            Some(Logical::Uuid) => "00000000-0000-0000-0000-000000000000".into(),
            _ => String::new(),
        }),
        Kind::Fixed(bytes) => Datum::Fixed(vec![0; *bytes]),
        Kind::Enum { symbols, .. } => Datum::Enum(symbols.first()?.clone()),
        Kind::Array(_) => Datum::Array(Vec::new()),
        Kind::Map(_) => Datum::Map(Vec::new()),
        Kind::Union(branches) => {
            let is_null = |id: &NodeId| matches!(schema.node(*id).kind, Kind::Null);
            let mut some = branches.iter().filter(|id| !is_null(id));
            let found = some.find_map(|id| plain(schema, *id, depth + 1));
            found.or_else(|| branches.iter().any(is_null).then_some(Datum::Null))?
        }
        Kind::Record(fields) => {
            let value = |field: &Field| {
                let name: Arc<str> = field.name.as_str().into();
                Some((name, plain(schema, field.node, depth + 1)?))
            };
            Datum::Record(fields.iter().map(value).collect::<Option<_>>()?)
        }
    })
}
