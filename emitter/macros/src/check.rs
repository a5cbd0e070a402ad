//! What a topic's name and a key may be.

use crate::types::not_null;
use syn::{Error, LitStr, Result};
use tidemesh_avro::schema::{Field, Kind, Schema};
use tidemesh_model::{TOPIC_NAME_BYTES_MAX, is_topic_name};

/// Refuses a topic's name that Kafka forbids.
pub(crate) fn topic(topic: &LitStr) -> Result<()> {
    let name = topic.value();
    if is_topic_name(&name) {
        return Ok(());
    }
    Err(Error::new(
        topic.span(),
        format!(
            "{name:?} cannot be a topic's name: Kafka takes 1 to {TOPIC_NAME_BYTES_MAX} of \
             a-z A-Z 0-9 . _ - (and neither `.` nor `..`)"
        ),
    ))
}

/// Refuses a key that names a field twice, or one that is not among `names`.
pub(crate) fn key_names(key: &[LitStr], owner: &str, names: &[String]) -> Result<()> {
    for (index, field) in key.iter().enumerate() {
        let name = field.value();
        if key[..index].iter().any(|other| other.value() == name) {
            return Err(Error::new(field.span(), format!("the key names {name:?} twice")));
        }
        if !names.contains(&name) {
            return Err(Error::new(field.span(), no_field(&name, owner, names)));
        }
    }
    Ok(())
}

fn no_field(name: &str, owner: &str, names: &[String]) -> String {
    let nested = if name.contains('.') {
        ": a key is made of the record's own fields, not of fields within them"
    } else {
        ""
    };
    let fields = match names {
        [] => "it has no fields".to_owned(),
        names => format!("its fields are `{}`", names.join("`, `")),
    };
    format!("{owner} has no field {name:?}{nested}; {fields}")
}

/// Refuses a key that the record's fields cannot be.
pub(crate) fn key(key: &[LitStr], owner: &str, schema: &Schema, fields: &[Field]) -> Result<()> {
    let names: Vec<String> = fields.iter().map(|field| field.name.clone()).collect();
    key_names(key, owner, &names)?;
    for part in key {
        let field = fields.iter().find(|field| field.name == part.value());
        let Some(reason) = field.and_then(|field| no_key(schema, field)) else { continue };
        return Err(Error::new(
            part.span(),
            format!(
                "the field {:?} cannot be part of a key: {reason}. A key's field is a boolean, int, \
                 long, string or bytes, or one of these or null",
                part.value()
            ),
        ));
    }
    Ok(())
}

/// Why a field cannot be part of a key. The emitter asks the same when it connects: records of one key
/// must have the same bytes, in every language that writes them, and the key's schema is one for ever.
fn no_key(schema: &Schema, field: &Field) -> Option<&'static str> {
    match &schema.node(field.node).kind {
        Kind::Null => Some("it is always null"),
        Kind::Union(branches) if branches.len() == 2 => match *not_null(schema, branches) {
            [only] => no_key_type(&schema.node(only).kind),
            _ => Some("it is a union of more than one type and null"),
        },
        Kind::Union(_) => Some("it is a union of more than one type and null"),
        kind => no_key_type(kind),
    }
}

fn no_key_type(kind: &Kind) -> Option<&'static str> {
    match kind {
        Kind::Boolean | Kind::Int | Kind::Long | Kind::Bytes | Kind::String => None,
        Kind::Float | Kind::Double => {
            Some("floating point numbers that are equal can have different bytes (0 and -0, NaN)")
        }
        Kind::Enum { .. } => Some("it is an enum, to which symbols may come; a key's schema stays"),
        Kind::Fixed(_) => Some("it is a fixed, and keys have no named types"),
        Kind::Array(_) => Some("it is an array"),
        Kind::Map(_) => Some("it is a map, whose entries have no order"),
        Kind::Record(_) => Some("it is a record: name a field of the event's own"),
        Kind::Null | Kind::Union(_) => Some("it is a union within a union"),
    }
}
