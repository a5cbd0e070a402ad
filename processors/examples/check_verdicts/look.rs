//! What is the same, and what is not.

use serde_json::Value as Json;
use std::collections::BTreeMap;

/// An output record as JSON: key and value.
pub(crate) type Shown = (Json, Json);

/// Whether two values are the same, numbers by what they are worth.
pub(crate) fn same(one: &Json, other: &Json) -> bool {
    match (one, other) {
        (Json::Number(one), Json::Number(other)) => one.as_f64() == other.as_f64(),
        (Json::Array(one), Json::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Json::Object(one), Json::Object(other)) => {
            one.len() == other.len()
                && one
                    .iter()
                    .all(|(name, one)| other.get(name).is_some_and(|other| same(one, other)))
        }
        (one, other) => one == other,
    }
}

/// Whether two outputs are the same.
///
/// # Errors
///
/// The first difference.
pub(crate) fn equal(old: &[Shown], new: &[Shown]) -> Result<(), String> {
    if old.len() != new.len() {
        return Err(format!("{} records instead of {}", new.len(), old.len()));
    }
    for (one, other) in old.iter().zip(new) {
        if !same(&one.0, &other.0) || !same(&one.1, &other.1) {
            return Err(format!("{} {} instead of {} {}", other.0, other.1, one.0, one.1));
        }
    }
    Ok(())
}

/// The rows of a record's value by their names: before and after, or the row itself.
pub(crate) fn rows(value: &Json) -> Vec<(&'static str, &Json)> {
    match (value.get("before"), value.get("after"), value.get("op")) {
        (Some(before), Some(after), Some(_)) => vec![("before", before), ("after", after)],
        _ => vec![("row", value)],
    }
}

/// A field of the new output, by the name that it had in the old one; none if it is new.
pub(crate) type Former = BTreeMap<String, Option<String>>;

/// Whether the fields that both outputs have are the same in both, record by record.
///
/// # Errors
///
/// The first difference.
pub(crate) fn carried(old: &[Shown], new: &[Shown], former: &Former) -> Result<(), String> {
    if old.len() != new.len() {
        return Err(format!("{} records instead of {}", new.len(), old.len()));
    }
    for (one, other) in old.iter().zip(new) {
        let op = |value: &Json| value.get("op").or_else(|| value.get("__op")).cloned();
        if !same(&one.0, &other.0) || op(&one.1) != op(&other.1) {
            return Err(format!("{} {} instead of {} {}", other.0, other.1, one.0, one.1));
        }
        for ((_, one), (image, other)) in rows(&one.1).into_iter().zip(rows(&other.1)) {
            carried_row(one, other, former).map_err(|why| format!("{image}: {why}"))?;
        }
    }
    Ok(())
}

fn carried_row(old: &Json, new: &Json, former: &Former) -> Result<(), String> {
    if old.is_null() || new.is_null() {
        return if old.is_null() == new.is_null() {
            Ok(())
        } else {
            Err(format!("{new} instead of {old}"))
        };
    }
    for (name, was) in former {
        let Some(was) = was else { continue };
        if !within(&old[was], &new[name]) {
            return Err(format!("{name} is {} instead of {}", new[name], old[was]));
        }
    }
    Ok(())
}

/// Whether all that the old value has is in the new one.
fn within(old: &Json, new: &Json) -> bool {
    match (old, new) {
        (Json::Object(old), Json::Object(new)) => {
            old.iter().all(|(name, old)| new.get(name).is_some_and(|new| within(old, new)))
        }
        (old, new) => same(old, new),
    }
}

/// Whether the output's new fields have what the input's have of their names.
///
/// # Errors
///
/// The first difference.
pub(crate) fn new_fields(
    out: &[(usize, Shown)],
    input: &[Shown],
    former: &Former,
) -> Result<(), String> {
    for (at, (_, value)) in out {
        let (given, made) = (rows(&input[*at].1), rows(value));
        let (Some((_, given)), Some((_, made))) = (given.last(), made.last()) else { continue };
        if made.is_null() || given.is_null() {
            continue;
        }
        for name in former.iter().filter(|(_, was)| was.is_none()).map(|(name, _)| name) {
            let Some(given) = given.get(name) else { continue };
            if !same(given, &made[name]) {
                return Err(format!("the new field {name} is {} instead of {given}", made[name]));
            }
        }
    }
    Ok(())
}

/// The rows that are live at the end, by their keys.
pub(crate) fn folded(records: &[Shown]) -> BTreeMap<String, Json> {
    let mut state = BTreeMap::new();
    for (key, value) in records {
        let row = rows(value).pop().map_or(Json::Null, |(_, row)| row.clone());
        if value.is_null() || row.is_null() {
            state.remove(&key.to_string());
        } else {
            state.insert(key.to_string(), plain(row));
        }
    }
    state
}

/// A row without what a flat record adds.
fn plain(mut row: Json) -> Json {
    if let Some(row) = row.as_object_mut() {
        row.retain(|name, _| !name.starts_with("__"));
    }
    row
}
