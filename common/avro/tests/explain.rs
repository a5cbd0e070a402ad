//! What explanations, witnesses, projections and diffs promise, over random pairs of schemas: names
//! that clash, aliases, recursion, changes of every kind.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod pairs;

use pairs::{Tape, pair};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::Value as Json;
use std::collections::BTreeSet;
use tidemesh_avro::compat::{CompatibilityLevel, Direction, incompatibilities};
use tidemesh_avro::consumption::{Consumer, Effect, Proposal, Reads, judge, unreadable};
use tidemesh_avro::datum::{decode, to_avro_json};
use tidemesh_avro::diff::diff;
use tidemesh_avro::explain::{Finding, explain, explain_level};
use tidemesh_avro::project::{FieldPath, find, project};
use tidemesh_avro::resolve::Resolver;
use tidemesh_avro::schema::{Kind, NodeId, Schema};
use tidemesh_avro::witness::{NoWitness, witness};
use tidemesh_model::ErrorKind;

/// The reader's schema and the writer's; none if what was drawn is no schema.
fn drawn(tape: &[u8]) -> Option<(Schema, Schema)> {
    let (reader, writer) = pair(&mut Tape(tape));
    let parse = |json: &Json| Schema::parse(&json.to_string()).ok();
    Some((parse(&reader)?, parse(&writer)?))
}

fn tapes() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..500)
}

fn texts(reader: &Schema, writer: &Schema) -> String {
    format!("reader {} writer {}", reader.registry_text(), writer.registry_text())
}

/// Whether each pointer resolves in the schema's text, and each sentence says something.
fn check_places(finding: &Finding, reader: &Json, writer: &Json) {
    assert!(reader.pointer(&finding.reader_path).is_some(), "{finding:?}");
    assert!(writer.pointer(&finding.writer_path).is_some(), "{finding:?}");
    assert!(!finding.suggestion.is_empty() && !finding.suggestion.contains("``"), "{finding:?}");
    finding.causes.iter().for_each(|cause| check_places(cause, reader, writer));
}

/// The paths of all fields, down to a few levels.
fn paths(schema: &Schema, id: NodeId, around: &str, depth: usize, found: &mut Vec<FieldPath>) {
    match &schema.node(id).kind {
        Kind::Array(inner) | Kind::Map(inner) => paths(schema, *inner, around, depth, found),
        Kind::Union(branches) => {
            branches.iter().for_each(|branch| paths(schema, *branch, around, depth, found));
        }
        Kind::Record(fields) if depth < 4 => {
            for field in fields {
                let path = if around.is_empty() {
                    field.name.clone()
                } else {
                    format!("{around}.{}", field.name)
                };
                found.push(path.parse().unwrap());
                paths(schema, field.node, &path, depth + 1, found);
            }
        }
        _ => {}
    }
}

fn some_paths(schema: &Schema, mask: u64) -> BTreeSet<FieldPath> {
    let mut all = Vec::new();
    paths(schema, schema.root(), "", 0, &mut all);
    all.into_iter()
        .enumerate()
        .filter(|(place, _)| mask >> (place % 64) & 1 == 1)
        .map(|(_, path)| path)
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn explanations_are_the_checkers_reasons_and_their_places_resolve(tape in tapes()) {
        let Some((reader, writer)) = drawn(&tape) else { return Ok(()) };
        let reasons: Vec<_> = incompatibilities(&reader, &writer)
            .into_iter()
            .map(|reason| (reason.kind, reason.path, reason.message))
            .collect();
        let json = |schema: &Schema| serde_json::from_str(&schema.registry_text()).unwrap();
        let (reader_json, writer_json): (Json, Json) = (json(&reader), json(&writer));
        for direction in [Direction::Backward, Direction::Forward] {
            let findings = explain(&reader, &writer, direction);
            findings.iter().for_each(|finding| check_places(finding, &reader_json, &writer_json));
            let explained: Vec<_> = findings
                .into_iter()
                .map(|finding| (finding.rule, finding.location, finding.message))
                .collect();
            prop_assert_eq!(&explained, &reasons, "{}", texts(&reader, &writer));
        }
        let _ = explain_level(CompatibilityLevel::FullTransitive, &reader, &[(1, &writer)]);
    }

    #[test]
    fn a_witness_breaks_and_what_is_compatible_has_none(tape in tapes()) {
        let Some((reader, writer)) = drawn(&tape) else { return Ok(()) };
        let compatible = incompatibilities(&reader, &writer).is_empty();
        let context = || texts(&reader, &writer);
        match witness(&reader, &writer) {
            Ok(witness) => {
                prop_assert!(!compatible, "{}", context());
                prop_assert_eq!(&decode(&writer, &witness.bytes).unwrap(), &witness.datum);
                let json = to_avro_json(&writer, &witness.bytes).unwrap().to_string();
                prop_assert_eq!(json, witness.json);
                let lenient = Resolver::lenient(&writer, &reader).unwrap();
                let error = lenient.read(&witness.bytes).unwrap_err();
                prop_assert_eq!(error.kind(), ErrorKind::Incompatible);
                // The strict resolver refuses the pair, or the data.
                let strict = Resolver::new(&writer, &reader).and_then(|r| r.read(&witness.bytes));
                prop_assert_eq!(strict.unwrap_err().kind(), ErrorKind::Incompatible);
            }
            Err(NoWitness::Readable) => prop_assert!(compatible, "{}", context()),
            Err(why @ (NoWitness::Endless | NoWitness::TooLarge)) => {
                prop_assert!(!compatible, "{why} {}", context());
            }
            Err(why) => prop_assert!(false, "{why} {}", context()),
        }
    }

    #[test]
    fn a_projection_reads_what_the_whole_reads(tape in tapes(), mask: u64) {
        let Some((reader, writer)) = drawn(&tape) else { return Ok(()) };
        let paths = some_paths(&reader, mask);
        let projected = project(&reader, &paths).unwrap();
        for path in &paths {
            prop_assert!(find(&projected, path).is_ok());
        }
        // It is a schema that others can read, too.
        let again = Schema::parse(&projected.registry_text()).unwrap();
        prop_assert_eq!(again.canonical_form(), projected.canonical_form());
        prop_assert!(!diff(&projected, &again).concerns_data());
        // What the whole can read its part can; and a part with shared types, which is the larger one,
        // cannot read what the exact one cannot.
        let whole = unreadable(&reader, &Reads::All, &writer, Direction::Backward).unwrap();
        let part = unreadable(&reader, &Reads::Fields(paths), &writer, Direction::Backward).unwrap();
        if whole.is_empty() {
            prop_assert!(part.is_empty(), "{part:?} {}", texts(&reader, &writer));
        }
        if incompatibilities(&projected, &writer).is_empty() {
            prop_assert!(part.is_empty(), "{part:?} {}", texts(&reader, &writer));
        }
        let json: Json = serde_json::from_str(&reader.registry_text()).unwrap();
        let writer: Json = serde_json::from_str(&writer.registry_text()).unwrap();
        part.iter().for_each(|finding| check_places(finding, &json, &writer));
    }

    #[test]
    fn who_reads_everything_is_judged_as_the_checker_judges(tape in tapes()) {
        let Some((candidate, latest)) = drawn(&tape) else { return Ok(()) };
        let consumer = Consumer { name: "c", reads: &Reads::All, reader: None, pending: &[] };
        let proposal = Proposal { candidate: &candidate, latest: Some(&latest), pending: true };
        let verdict = judge(&proposal, &[consumer]).unwrap().remove(0);
        let readable = incompatibilities(&latest, &candidate).is_empty();
        prop_assert_eq!(verdict.effect != Effect::Hurt, readable);
        prop_assert_eq!(verdict.harms.is_empty(), readable);
    }

    #[test]
    fn diffs_end_resolve_and_are_nothing_for_the_same(tape in tapes()) {
        let Some((new, old)) = drawn(&tape) else { return Ok(()) };
        prop_assert!(diff(&new, &new).differences.is_empty());
        let found = diff(&old, &new);
        let json = |schema: &Schema| serde_json::from_str(&schema.registry_text()).unwrap();
        let (old_json, new_json): (Json, Json) = (json(&old), json(&new));
        for each in &found.differences {
            prop_assert!(old_json.pointer(&each.old_path).is_some(), "{each:?} {}", texts(&new, &old));
            prop_assert!(new_json.pointer(&each.new_path).is_some(), "{each:?} {}", texts(&new, &old));
        }
        // Names out of the way, what differs in nothing is compatible both ways.
        if !found.concerns_data() && incompatibilities(&old, &old).is_empty() {
            prop_assert!(found.compatible(CompatibilityLevel::Full), "{}", texts(&new, &old));
        }
    }
}
