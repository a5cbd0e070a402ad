//! What a document says that another one does not: path by path.

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use std::collections::BTreeSet;

/// Something that is another in two documents.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FieldChange {
    /// Where: `spec.processors[clean].sql`. What has a name stands under it.
    pub path: String,
    /// What was there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Json>,
    /// What is there now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Json>,
}

/// What is another in two documents in their canonical form, in the order of the newer one.
#[must_use]
pub fn differences(before: &Json, after: &Json) -> Vec<FieldChange> {
    let mut found = Vec::new();
    walk(String::new(), Some(before), Some(after), &mut found);
    found
}

fn walk(path: String, before: Option<&Json>, after: Option<&Json>, found: &mut Vec<FieldChange>) {
    if before == after {
        return;
    }
    match (before, after) {
        (Some(Json::Object(before)), Some(Json::Object(after))) => {
            let keys = after.keys().chain(before.keys().filter(|key| !after.contains_key(*key)));
            for key in keys {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                walk(path, before.get(key), after.get(key), found);
            }
        }
        (Some(Json::Array(before)), Some(Json::Array(after)))
            if named(before) && named(after) && same_order(before, after) =>
        {
            let gone = before.iter().filter(|item| find(after, name(item)).is_none());
            for item in after.iter().chain(gone) {
                let name = name(item);
                let path = format!("{path}[{}]", name.unwrap_or_default());
                walk(path, find(before, name), find(after, name), found);
            }
        }
        _ => found.push(FieldChange { path, before: before.cloned(), after: after.cloned() }),
    }
}

fn name(item: &Json) -> Option<&str> {
    item.get("name")?.as_str()
}

/// Whether each has a name of its own.
fn named(items: &[Json]) -> bool {
    let names: BTreeSet<_> = items.iter().filter_map(name).collect();
    names.len() == items.len()
}

/// Whether what both have stands in one order: another order is a change of the whole.
fn same_order(before: &[Json], after: &[Json]) -> bool {
    let kept = |of: &[Json], among: &[Json]| -> Vec<String> {
        let names = of.iter().filter_map(name).filter(|name| find(among, Some(name)).is_some());
        names.map(str::to_owned).collect()
    };
    kept(before, after) == kept(after, before)
}

fn find<'j>(items: &'j [Json], wanted: Option<&str>) -> Option<&'j Json> {
    items.iter().find(|item| name(item) == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn paths(before: Json, after: Json) -> Vec<String> {
        differences(&before, &after).into_iter().map(|change| change.path).collect()
    }

    #[test]
    fn what_has_a_name_is_found_by_it() {
        let before = json!({"spec": {"sinks": [{"name": "a", "x": 1}, {"name": "b", "x": 1}]}});
        let after = json!({"spec": {"sinks": [{"name": "b", "x": 2}, {"name": "c", "x": 1}]}});
        assert_eq!(paths(before, after), ["spec.sinks[b].x", "spec.sinks[c]", "spec.sinks[a]"]);
    }

    #[test]
    fn another_order_is_a_change() {
        let (a, b) = (json!({"name": "a"}), json!({"name": "b"}));
        assert_eq!(paths(json!({"l": [a, b]}), json!({"l": [b, a]})), ["l"]);
        assert_eq!(paths(json!({"l": [1, 2]}), json!({"l": [1, 3]})), ["l"]);
    }

    #[test]
    fn what_is_equal_is_not_told() {
        let document = json!({"a": {"b": [1]}});
        assert!(differences(&document, &document).is_empty());
        let found = differences(&json!({"a": 1}), &json!({"b": 1}));
        assert_eq!(found[0].after, Some(json!(1)));
        assert_eq!((&found[1].before, &found[1].after), (&Some(json!(1)), &None));
    }
}
