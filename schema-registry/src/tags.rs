//! Tags on a schema's types and fields, which stand in its text as `confluent:tags`.
//!
//! A record is meant by its full name, a field by its record's full name, a dot, and its own name
//! (Confluent's `SchemaEntity`, `AvroSchema.modifySchemaTags`).

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::refusal::Refusal;
use crate::text::full_name;

/// The property that tags stand in.
const PROPERTY: &str = "confluent:tags";

/// A type or a field, and tags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaggedEntity {
    /// Its path.
    pub path: String,
    /// Whether a type or a field is meant.
    pub is_record: bool,
    /// The tags.
    pub tags: BTreeSet<String>,
}

/// The text with tags put on and taken off.
///
/// # Errors
///
/// 42201 if there is no such type or field.
pub(crate) fn change(
    text: &str,
    add: &[TaggedEntity],
    remove: &[TaggedEntity],
) -> Result<String, Refusal> {
    changed(text, add, remove, true)
}

/// The text with tags put on those types and fields that it has.
pub(crate) fn inherit(text: &str, tags: &[TaggedEntity]) -> Result<String, Refusal> {
    changed(text, tags, &[], false)
}

fn changed(
    text: &str,
    add: &[TaggedEntity],
    remove: &[TaggedEntity],
    all: bool,
) -> Result<String, Refusal> {
    if add.is_empty() && remove.is_empty() {
        return Ok(text.to_owned());
    }
    let mut schema = json(text)?;
    let mut met = BTreeSet::new();
    visit(&mut schema, None, &mut |path, is_record, object| {
        let meant = |entity: &&TaggedEntity| entity.is_record == is_record && entity.path == path;
        let mut tags = tags_of(object);
        for entity in add.iter().filter(meant) {
            met.insert((entity.is_record, entity.path.clone()));
            tags.extend(entity.tags.iter().cloned());
        }
        for entity in remove.iter().filter(meant) {
            met.insert((entity.is_record, entity.path.clone()));
            tags.retain(|tag| !entity.tags.contains(tag));
        }
        if tags.is_empty() {
            object.shift_remove(PROPERTY);
        } else {
            let tags = tags.into_iter().map(Value::from).collect();
            object.insert(PROPERTY.to_owned(), Value::Array(tags));
        }
    });
    let missing = |entity: &&TaggedEntity| !met.contains(&(entity.is_record, entity.path.clone()));
    match add.iter().chain(remove).find(missing).filter(|_| all) {
        Some(entity) => Err(Refusal::InvalidSchema(format!(
            "No matching path '{}' found in the schema",
            entity.path
        ))),
        None => Ok(schema.to_string()),
    }
}

/// What of a schema has one of these tags; `*` means any.
pub(crate) fn find(text: &str, wanted: &[String]) -> Result<Vec<TaggedEntity>, Refusal> {
    let mut schema = json(text)?;
    let any = wanted.iter().any(|tag| tag == "*");
    let mut found = Vec::new();
    visit(&mut schema, None, &mut |path, is_record, object| {
        let tags = tags_of(object);
        if !tags.is_empty() && (any || tags.iter().any(|tag| wanted.contains(tag))) {
            found.push(TaggedEntity { path: path.to_owned(), is_record, tags });
        }
    });
    Ok(found)
}

fn json(text: &str) -> Result<Value, Refusal> {
    serde_json::from_str(text).map_err(|error| Refusal::InvalidSchema(error.to_string()))
}

fn tags_of(object: &Map<String, Value>) -> BTreeSet<String> {
    let tags = object.get(PROPERTY).and_then(Value::as_array);
    tags.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// What is shown a path, whether a record is there or a field, and what it is written as.
type Show<'a> = dyn FnMut(&str, bool, &mut Map<String, Value>) + 'a;

/// Shows each record and each field, with its path.
fn visit(schema: &mut Value, around: Option<&str>, show: &mut Show<'_>) {
    match schema {
        Value::Array(branches) => {
            branches.iter_mut().for_each(|branch| visit(branch, around, show));
        }
        Value::Object(object) => match object.get("type").and_then(Value::as_str) {
            Some("record" | "error") => visit_record(object, around, show),
            _ => {
                for inner in ["items", "values", "type"] {
                    if let Some(value) = object.get_mut(inner).filter(|value| !value.is_string()) {
                        visit(value, around, show);
                    }
                }
            }
        },
        _ => {}
    }
}

fn visit_record(record: &mut Map<String, Value>, around: Option<&str>, show: &mut Show<'_>) {
    let full = full_name(record, around);
    show(&full, true, record);
    let namespace = full.rsplit_once('.').map(|(namespace, _)| namespace);
    let Some(Value::Array(fields)) = record.get_mut("fields") else { return };
    for field in fields.iter_mut().filter_map(Value::as_object_mut) {
        let name = field.get("name").and_then(Value::as_str).unwrap_or_default();
        let path = format!("{full}.{name}");
        show(&path, false, field);
        if let Some(schema) = field.get_mut("type") {
            visit(schema, namespace, show);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHOP: &str = r#"{"type":"record","name":"Order","namespace":"shop","fields":[
        {"name":"mail","type":"string","confluent:tags":["PII"]},
        {"name":"to","type":["null",{"type":"record","name":"Address","fields":[
            {"name":"zip","type":"string"}]}]}]}"#;

    fn entity(path: &str, is_record: bool, tag: &str) -> TaggedEntity {
        TaggedEntity { path: path.into(), is_record, tags: [tag.to_owned()].into() }
    }

    #[test]
    fn tags_are_put_on_records_and_fields_and_taken_off() {
        let add = [entity("shop.Address.zip", false, "PII"), entity("shop.Order", true, "T")];
        let text = change(SHOP, &add, &[entity("shop.Order.mail", false, "PII")]).unwrap();
        assert_eq!(find(&text, &["*".into()]).unwrap(), [add[1].clone(), add[0].clone()]);
        assert_eq!(find(&text, &["T".into()]).unwrap(), [add[1].clone()]);
        assert_eq!(find(SHOP, &["PII".into()]).unwrap(), [entity("shop.Order.mail", false, "PII")]);
    }

    #[test]
    fn what_is_not_there_cannot_be_tagged_but_need_not_inherit() {
        let nowhere = [entity("shop.Order.x", false, "PII")];
        assert!(change(SHOP, &nowhere, &[]).is_err());
        assert!(inherit(SHOP, &nowhere).is_ok());
    }
}
