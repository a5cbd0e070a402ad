use super::*;

fn record(fields: &str) -> String {
    format!(r#"{{"type":"record","name":"n.R","fields":[{fields}]}}"#)
}

/// The differences as text.
fn told(old: &str, new: &str) -> Vec<String> {
    let (old, new) = (Schema::parse(old).unwrap(), Schema::parse(new).unwrap());
    diff(&old, &new).differences.iter().map(ToString::to_string).collect()
}

#[test]
fn the_same_schema_differs_in_nothing() {
    let text = record(r#"{"name":"a","type":["null","n.R"],"default":null}"#);
    assert!(told(&text, &text).is_empty());
}

#[test]
fn fields_come_go_and_are_renamed() {
    let old = record(
        r#"{"name":"gone","type":"int"},{"name":"old","type":"int"},{"name":"same","type":"int"}"#,
    );
    let new = record(
        r#"{"name":"same","type":"long","default":1,"doc":"d"},{"name":"new","type":"int","aliases":["old"]},
           {"name":"more","type":["null","string"],"default":null},{"name":"bare","type":"int"}"#,
    );
    assert_eq!(
        told(&old, &new),
        [
            "(root): fields reordered",
            "same: default changed: none to 1",
            "same: documentation changed",
            "same: type promoted: int to long",
            "new: field renamed: old to new, by alias",
            "new: aliases changed: [] to [old]",
            r#"more: field added: ["null","string"], default null"#,
            "bare: field added: int, without default",
            "gone: field removed: int, without default",
        ]
    );
}

#[test]
fn unions_symbols_sizes_and_names() {
    let old = record(
        r#"{"name":"u","type":"int"},{"name":"v","type":["null","int","string"]},
           {"name":"e","type":{"type":"enum","name":"E","symbols":["A","B"]}},
           {"name":"f","type":{"type":"fixed","name":"F","size":2}}"#,
    );
    let new = record(
        r#"{"name":"u","type":["null","int"]},{"name":"v","type":["long","null","bytes",{"type":"array","items":"int"}]},
           {"name":"e","type":{"type":"enum","name":"E2","symbols":["C","B"],"default":"B","aliases":["E"]}},
           {"name":"f","type":{"type":"fixed","name":"F","size":3}}"#,
    );
    assert_eq!(
        told(&old, &new),
        [
            "u: union's branch added: null",
            "v: union's branches reordered",
            "v: type promoted: int to long",
            "v: type promoted: string to bytes",
            r#"v: union's branch added: {"type":"array","items":"int"}"#,
            "e: type renamed: n.E to n.E2, by alias",
            "e: aliases changed: [] to [n.E]",
            "e: symbols added: C",
            "e: symbols removed: A",
            "e: enum's default changed: none to B",
            "f: size changed: 2 to 3",
        ]
    );
}

#[test]
fn a_union_of_very_many_branches_is_compared_in_bounded_time() {
    let many = |namespace: &str| {
        let branches: Vec<String> = (0..20_000)
            .map(|index| {
                format!(
                    r#"{{"type":"fixed","name":"F{index}","namespace":"{namespace}","size":1}}"#
                )
            })
            .collect();
        Schema::parse(&format!("[{}]", branches.join(","))).unwrap()
    };
    let (found, truncated) = walk::walk(&many("a"), &many("b"));
    assert!(truncated && found[0].change.name() == "renamed", "{:?}", found[0]);
}

#[test]
fn logical_types_and_attributes() {
    let decimal = |precision: usize, more: &str| {
        record(&format!(
            r#"{{"name":"d","type":{{"type":"bytes","logicalType":"decimal","precision":{precision},"scale":2}}{more}}}"#
        ))
    };
    assert_eq!(
        told(&decimal(4, ""), &decimal(6, r#","x":1,"order":"descending""#)),
        [
            r#"d: attribute order changed: none to "descending""#,
            "d: attribute x changed: none to 1",
            r#"d: logical type changed: {"type":"bytes","logicalType":"decimal","precision":4,"scale":2} to {"type":"bytes","logicalType":"decimal","precision":6,"scale":2}"#,
        ]
    );
}

#[test]
fn places_resolve_in_both_texts() {
    let old = Schema::parse(&record(
        r#"{"name":"a","type":["null",{"type":"record","name":"T","fields":[{"name":"x","type":"int"}]}]}"#,
    ))
    .unwrap();
    let new = Schema::parse(&record(
        r#"{"name":"z","type":"int"},{"name":"a","type":{"type":"record","name":"T","fields":[{"name":"x","type":"string"}]}}"#,
    ))
    .unwrap();
    let found = diff(&old, &new).differences;
    let changed = found.iter().find(|each| each.change.name() == "type_changed").unwrap();
    assert_eq!(changed.field.as_deref(), Some("a.x"));
    assert_eq!(changed.old_path, "/fields/0/type/1/fields/0/type");
    assert_eq!(changed.new_path, "/fields/1/type/fields/0/type");
    for each in &found {
        for (schema, path) in [(&old, &each.old_path), (&new, &each.new_path)] {
            let json: serde_json::Value = serde_json::from_str(&schema.registry_text()).unwrap();
            assert!(json.pointer(path).is_some(), "{each:?}");
        }
    }
}

#[test]
fn verdicts_are_the_checkers() {
    let (old, new) = (
        Schema::parse(&record(r#"{"name":"a","type":"int"}"#)).unwrap(),
        Schema::parse(&record(r#"{"name":"a","type":"long"}"#)).unwrap(),
    );
    let verdicts = diff(&old, &new).verdicts();
    assert_eq!(verdicts.map(|(_, compatible)| compatible), [true, false, false]);
    assert!(diff(&old, &new).compatible(CompatibilityLevel::None));
}

#[test]
fn recursive_types_of_different_lengths_end() {
    let ring = |count: usize| {
        let mut text = "\"R0\"".to_owned();
        for index in (0..count).rev() {
            text = format!(
                r#"{{"type":"record","name":"R{index}","fields":[{{"name":"x","type":["null",{text}]}}]}}"#
            );
        }
        text
    };
    assert!(!told(&ring(5), &ring(7)).is_empty());
}

#[test]
fn more_than_is_told_is_said() {
    let many = |kind: &str| {
        let fields: Vec<String> = (0..DIFFERENCES_MAX + 5)
            .map(|index| format!(r#"{{"name":"f{index}","type":"{kind}"}}"#))
            .collect();
        Schema::parse(&record(&fields.join(","))).unwrap()
    };
    let found = diff(&many("int"), &many("long"));
    assert!(found.truncated && found.differences.len() == DIFFERENCES_MAX);
}
