use super::*;
use crate::compat::incompatibilities;

fn schema(text: &str) -> Schema {
    Schema::parse(text).unwrap()
}

fn record(fields: &str) -> Schema {
    schema(&format!(r#"{{"type":"record","name":"n.R","fields":[{fields}]}}"#))
}

/// The one finding, whose pointers resolve.
fn only(reader: &Schema, writer: &Schema, direction: Direction) -> Finding {
    let mut findings = explain(reader, writer, direction);
    assert_eq!(findings.len(), 1, "{findings:#?}");
    findings.remove(0)
}

fn both(new: &Schema, old: &Schema) -> (Vec<Finding>, Vec<Finding>) {
    (explain(new, old, Direction::Backward), explain(old, new, Direction::Forward))
}

#[test]
fn a_compatible_pair_has_no_findings() {
    let one = record(r#"{"name":"a","type":"int"}"#);
    assert_eq!(both(&one, &one), (Vec::new(), Vec::new()));
}

#[test]
fn a_field_without_default_is_told_by_name() {
    let old = record("");
    let new = record(r#"{"name":"x","type":"int"}"#);
    let finding = only(&new, &old, Direction::Backward);
    assert_eq!(finding.suggestion, "give field `x` a default");
    assert_eq!(finding.reader_path, "/fields/0");
    assert_eq!(finding.field.as_deref(), Some("x"));
    let finding = only(&new, &old, Direction::Forward);
    assert!(finding.suggestion.starts_with("keep field `x`"), "{}", finding.suggestion);
}

#[test]
fn a_renamed_field_is_guessed() {
    let old = record(r#"{"name":"old","type":"int"},{"name":"other","type":"string"}"#);
    let new = record(r#"{"name":"new","type":"int"},{"name":"other","type":"string"}"#);
    let finding = only(&new, &old, Direction::Backward);
    assert_eq!(
        finding.suggestion,
        "give field `new` a default, or the alias `old` if it is that field renamed"
    );
}

#[test]
fn a_union_that_lacks_a_branch_in_part_is_looked_into() {
    let customer = |zip: &str| {
        record(&format!(
            r#"{{"name":"customer","type":["null",{{"type":"record","name":"Customer","fields":[
                {{"name":"address","type":{{"type":"array","items":{{"type":"record","name":"A","fields":[
                    {{"name":"zip","type":"{zip}"}}]}}}}}}]}}]}}"#
        ))
    };
    let finding = only(&customer("int"), &customer("string"), Direction::Backward);
    assert_eq!(finding.rule, IncompatibilityKind::MissingUnionBranch);
    assert!(finding.suggestion.contains("mend what is wrong"), "{}", finding.suggestion);
    let roots = finding.roots();
    assert_eq!(roots.len(), 1);
    assert_eq!(roots[0].field.as_deref(), Some("customer.address.zip"));
    assert_eq!(roots[0].reader_path, "/fields/0/type/1/fields/0/type/items/fields/0/type");
    assert_eq!((roots[0].reader.as_str(), roots[0].writer.as_str()), ("int", "string"));
}

#[test]
fn a_type_that_is_named_again_is_pointed_at_where_it_is_defined() {
    let of = |kind: &str| {
        record(&format!(
            r#"{{"name":"a","type":["null",{{"type":"record","name":"T","fields":[{{"name":"v","type":"{kind}"}}]}}]}},
               {{"name":"b","type":{{"type":"map","values":"T"}}}}"#
        ))
    };
    let findings = explain(&of("int"), &of("long"), Direction::Backward);
    let b = findings.iter().flat_map(Finding::roots).last().unwrap();
    assert_eq!(b.reader_path, "/fields/0/type/1/fields/0/type");
}

#[test]
fn each_rule_has_a_sentence_for_each_direction() {
    let fixed = |name: &str, size: usize| {
        schema(&format!(r#"{{"type":"fixed","name":"{name}","size":{size}}}"#))
    };
    let symbols =
        |symbols: &str| schema(&format!(r#"{{"type":"enum","name":"E","symbols":[{symbols}]}}"#));
    let cases = [
        (fixed("F", 8), fixed("F", 16), "keep the size 16", "keep the size 16"),
        (fixed("G", 8), fixed("F", 8), "the alias `F`", "keep the name `F`"),
        (symbols(r#""A""#), symbols(r#""A","B""#), "add the missing symbol `B`", ""),
        (symbols(r#""A","B""#), symbols(r#""A""#), "", "leave the new symbol `B` out"),
        (schema("\"int\""), schema("\"long\""), "reads it (`float` and `double`)", ""),
        (schema("\"long\""), schema("\"int\""), "", "keep the type `int`"),
        (schema(r#"["null"]"#), schema(r#"["null","int"]"#), "add the branch `int`", ""),
        (schema(r#"["null","int"]"#), schema(r#"["null"]"#), "", "leave the branch `int` out"),
        (schema("\"int\""), schema(r#"["null","int"]"#), "branch `null`", ""),
        (schema(r#"["null","int"]"#), schema("\"int\""), "", "leave `null` out"),
    ];
    for (new, old, backward, forward) in cases {
        let (found_backward, found_forward) = both(&new, &old);
        for (found, expected) in [(found_backward, backward), (found_forward, forward)] {
            assert_eq!(found.is_empty(), expected.is_empty(), "{expected} {found:?}");
            if let Some(finding) = found.first() {
                assert!(
                    finding.suggestion.contains(expected),
                    "{expected}: {}",
                    finding.suggestion
                );
            }
        }
    }
}

#[test]
fn an_alias_that_fits_several_is_told() {
    let reader = record(r#"{"name":"a","type":"int","aliases":["b"]}"#);
    let writer = record(r#"{"name":"a","type":"int"},{"name":"b","type":"int"}"#);
    let finding = only(&reader, &writer, Direction::Backward);
    assert!(finding.suggestion.contains("one of `a` and `b` only"), "{}", finding.suggestion);
}

#[test]
fn a_level_names_the_version_that_breaks() {
    let (one, two, three) = (
        record(r#"{"name":"a","type":"int"}"#),
        record(r#"{"name":"a","type":"long"}"#),
        record(r#"{"name":"a","type":"long"},{"name":"b","type":"int","default":0}"#),
    );
    let new = record(r#"{"name":"a","type":"int"},{"name":"b","type":"int"}"#);
    let level = CompatibilityLevel::FullTransitive;
    let explained = explain_level(level, &new, &[(1, &one), (2, &two), (7, &three)]);
    let summary: Vec<_> =
        explained.iter().map(|e| (e.version, e.direction, e.findings.len())).collect();
    let backward = Direction::Backward;
    assert_eq!(summary, [(7, backward, 1), (2, backward, 2), (1, backward, 1)]);
}

#[test]
fn a_line_names_version_rule_place_types_and_remedy() {
    let (new, old) =
        (record(r#"{"name":"a","type":"int"}"#), record(r#"{"name":"a","type":"string"}"#));
    let finding = only(&new, &old, Direction::Backward);
    let lines = finding.lines(3, Direction::Backward);
    assert_eq!(lines.len(), 1);
    let expected = "{rule: 'TYPE_MISMATCH', path: '/fields/0/type', field: 'a', \
                    readerType: 'int', writerType: 'string', direction: 'BACKWARD', \
                    oldSchemaVersion: 3, suggestion: '";
    assert!(lines[0].starts_with(expected), "{}", lines[0]);
}

#[test]
fn every_vector_is_explained_by_the_checkers_own_reasons() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/registry/compat-vectors.json");
    let vectors: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    for pair in vectors["pairs"].as_array().unwrap() {
        let part = |name: &str| schema(pair[name].as_str().unwrap());
        let (reader, writer) = (part("reader"), part("writer"));
        let reasons: Vec<_> = incompatibilities(&reader, &writer)
            .into_iter()
            .map(|reason| (reason.kind, reason.path, reason.message))
            .collect();
        let explained: Vec<_> = explain(&reader, &writer, Direction::Backward)
            .into_iter()
            .map(|finding| (finding.rule, finding.location, finding.message))
            .collect();
        assert_eq!(explained, reasons, "{}", pair["id"]);
    }
}
