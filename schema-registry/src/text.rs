//! The text of a schema as JSON, walked by Avro's rules of names and namespaces.
//!
//! `tidemesh-avro` prints a schema whole, types from references included; the registry keeps those
//! as names only, and has Confluent's normal form besides. Pure; takes what that crate has printed.

use std::collections::HashSet;

use serde_json::{Map, Value};

/// Adds the full names of all types that a schema defines.
pub(crate) fn defined_names(schema: &Value, names: &mut HashSet<String>) {
    walk(schema, None, &mut |definition, around| {
        names.insert(full_name(definition, around));
        None
    });
}

/// The schema with each definition of one of `names` replaced by its name.
pub(crate) fn without(schema: &Value, names: &HashSet<String>) -> Value {
    walk(schema, None, &mut |definition, around| {
        let full = full_name(definition, around);
        names.contains(&full).then(|| {
            let short = match full.rsplit_once('.') {
                Some((namespace, name)) if Some(namespace) == around => name,
                _ => &full,
            };
            Value::from(short)
        })
    })
}

/// What stands in the place of a definition, if something else does; the namespace is the one
/// around it.
type Replace<'a> = dyn FnMut(&Map<String, Value>, Option<&str>) -> Option<Value> + 'a;

/// Goes through a schema and asks `replace`, for each definition of a named type and the namespace
/// around it, what stands there instead; `None` leaves it and goes on within it.
fn walk(schema: &Value, around: Option<&str>, replace: &mut Replace<'_>) -> Value {
    match schema {
        Value::Array(branches) => {
            branches.iter().map(|branch| walk(branch, around, replace)).collect()
        }
        Value::Object(object) => {
            let mut object = object.clone();
            if !named(&object) {
                for inner in ["items", "values"] {
                    if let Some(value) = object.get_mut(inner) {
                        *value = walk(value, around, replace);
                    }
                }
                return Value::Object(object);
            }
            if let Some(other) = replace(&object, around) {
                return other;
            }
            let full = full_name(&object, around);
            let namespace = full.rsplit_once('.').map(|(namespace, _)| namespace);
            if let Some(Value::Array(fields)) = object.get_mut("fields") {
                for field in fields {
                    if let Some(value) = field.get_mut("type") {
                        *value = walk(value, namespace, replace);
                    }
                }
            }
            Value::Object(object)
        }
        name => name.clone(),
    }
}

fn named(object: &Map<String, Value>) -> bool {
    let name = object.get("type").and_then(Value::as_str);
    matches!(name, Some("record" | "error" | "enum" | "fixed"))
}

/// The full name of a definition; an empty namespace is none.
pub(crate) fn full_name(definition: &Map<String, Value>, around: Option<&str>) -> String {
    let text = |name: &str| definition.get(name).and_then(Value::as_str);
    let name = text("name").unwrap_or_default();
    match text("namespace").or(around) {
        _ if name.contains('.') => name.to_owned(),
        Some(namespace) if !namespace.is_empty() => format!("{namespace}.{name}"),
        _ => name.to_owned(),
    }
}

/// Logical types of Avro Java 1.12 on primitive types: their own properties stand first.
const LOGICAL_TYPES: [&str; 11] = [
    "decimal",
    "uuid",
    "date",
    "time-millis",
    "time-micros",
    "timestamp-millis",
    "timestamp-micros",
    "timestamp-nanos",
    "local-timestamp-millis",
    "local-timestamp-micros",
    "local-timestamp-nanos",
];

/// Brings a schema, as Avro Java prints it, into the normal form of `normalize=true`: properties
/// and aliases in the order of their names, no empty documentation of types. So schemas that
/// differ in these alone become the same (Confluent's `AvroSchemaUtils.toNormalizedString`).
pub(crate) fn normalize(schema: &mut Value) {
    match schema {
        Value::Array(branches) => branches.iter_mut().for_each(normalize),
        Value::Object(object) => {
            for inner in ["items", "values"] {
                if let Some(value) = object.get_mut(inner) {
                    normalize(value);
                }
            }
            if let Some(Value::Array(fields)) = object.get_mut("fields") {
                fields.iter_mut().filter_map(Value::as_object_mut).for_each(normalize_field);
            }
            normalize_type(object);
        }
        _ => {}
    }
}

fn normalize_field(field: &mut Map<String, Value>) {
    if let Some(schema) = field.get_mut("type") {
        normalize(schema);
    }
    sort_aliases(field);
    sort_others(field, &["name", "type", "doc", "default", "order", "aliases"]);
}

fn normalize_type(object: &mut Map<String, Value>) {
    if named(object) {
        if object.get("doc").is_some_and(|doc| doc == "") {
            object.shift_remove("doc");
        }
        sort_aliases(object);
        let known = ["type", "name", "namespace", "doc", "aliases"];
        let own: &[&str] = match object.get("type").and_then(Value::as_str) {
            Some("enum") => &["symbols", "default"],
            Some("fixed") => &["size"],
            _ => &["fields"],
        };
        return sort_others(object, &[&known, own].concat());
    }
    sort_others(object, &["type", "items", "values"]);
    let logical = object.get("logicalType").and_then(Value::as_str);
    if logical.is_some_and(|name| LOGICAL_TYPES.contains(&name)) && !object.contains_key("items") {
        for name in ["scale", "precision", "logicalType"] {
            if let Some(value) = object.shift_remove(name) {
                object.shift_insert(1, name.to_owned(), value);
            }
        }
    }
}

fn sort_aliases(object: &mut Map<String, Value>) {
    if let Some(Value::Array(aliases)) = object.get_mut("aliases") {
        aliases.sort_by(|one, other| one.as_str().cmp(&other.as_str()));
        aliases.dedup();
    }
}

/// Sorts what is not among `known`, which keeps its places.
fn sort_others(object: &mut Map<String, Value>, known: &[&str]) {
    let is_known = |name: &String| known.contains(&name.as_str());
    let mut others: Vec<(String, Value)> = object
        .iter()
        .filter(|(name, _)| !is_known(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    others.sort_by(|(one, _), (other, _)| one.cmp(other));
    let mut others = others.into_iter();
    *object = std::mem::take(object)
        .into_iter()
        .filter_map(|entry| if is_known(&entry.0) { Some(entry) } else { others.next() })
        .collect();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    fn names(names: &[&str]) -> HashSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    const SHOP: &str = r#"{"type":"record","name":"Order","namespace":"shop","fields":[
        {"name":"to","type":["null",{"type":"record","name":"Address","fields":[
            {"name":"zip","type":{"type":"fixed","name":"Zip","namespace":"post","size":5}}]}]},
        {"name":"tags","type":{"type":"array","items":{"type":"enum","name":"Tag","symbols":["A"]}}},
        {"name":"more","type":{"type":"map","values":{"type":"record","name":"Bare","namespace":"","fields":[]}}}
    ]}"#;

    #[test]
    fn definitions_are_found_under_their_full_names() {
        let mut found = HashSet::new();
        defined_names(&json(SHOP), &mut found);
        assert_eq!(found, names(&["shop.Order", "shop.Address", "post.Zip", "shop.Tag", "Bare"]));
    }

    #[test]
    fn definitions_from_references_become_names_relative_to_their_namespace() {
        let text = without(&json(SHOP), &names(&["post.Zip", "shop.Tag", "Bare"])).to_string();
        for part in [r#""type":"post.Zip""#, r#""items":"Tag""#, r#""values":"Bare""#] {
            assert!(text.contains(part), "{part} in {text}");
        }
        let text = without(&json(SHOP), &names(&["shop.Address"])).to_string();
        assert!(text.contains(r#"["null","Address"]"#), "{text}");
        assert_eq!(without(&json(SHOP), &names(&["shop.Order"])), json("\"shop.Order\""));
    }

    #[test]
    fn the_normal_form_sorts_properties_and_aliases_and_nothing_else() {
        let mut schema = json(
            r#"{"type":"record","name":"R","doc":"","fields":[
                {"name":"b","type":{"type":"bytes","a":1,"scale":2,"logicalType":"decimal","precision":9},
                 "default":"","aliases":["y","x"],"q":1,"p":{"z":1,"a":2}},
                {"name":"a","type":{"type":"int","z":1,"logicalType":"mine","a":2}}],
                "y":1,"x":2,"aliases":["N","M"]}"#,
        );
        normalize(&mut schema);
        let wanted = concat!(
            r#"{"type":"record","name":"R","fields":[{"name":"b","type":{"type":"bytes","#,
            r#""logicalType":"decimal","precision":9,"scale":2,"a":1},"default":"","#,
            r#""aliases":["x","y"],"p":{"z":1,"a":2},"q":1},{"name":"a","type":{"type":"int","#,
            r#""a":2,"logicalType":"mine","z":1}}],"x":2,"y":1,"aliases":["M","N"]}"#
        );
        assert_eq!(schema.to_string(), wanted);
        normalize(&mut schema);
        assert_eq!(schema.to_string(), wanted);
    }
}
