//! The registry's vectors: verdicts, places, canonical forms and fingerprints of Avro Java 1.12.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use serde_json::Value as Json;
use tidemesh_avro::compat::{CompatibilityLevel, check_level, incompatibilities};
use tidemesh_avro::schema::Schema;

fn vectors(name: &str) -> Json {
    let file = format!("{}/testdata/registry/{name}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
}

fn text(json: &Json) -> &str {
    json.as_str().unwrap()
}

#[test]
fn every_pair_has_javas_verdict_reasons_and_places() {
    let vectors = vectors("compat-vectors.json");
    let pairs = vectors["pairs"].as_array().unwrap();
    assert_eq!(pairs.len(), 645);
    let mut wrong = Vec::new();
    for pair in pairs {
        let id = &pair["id"];
        let (reader, writer) =
            (Schema::parse(text(&pair["reader"])), Schema::parse(text(&pair["writer"])));
        let (reader, writer) = match (reader, writer) {
            (Ok(reader), Ok(writer)) => (reader, writer),
            (reader, writer) => {
                wrong.push(format!("{id}: {reader:?} {writer:?}"));
                continue;
            }
        };
        let found = incompatibilities(&reader, &writer);
        if found.is_empty() != pair["expected_compatible"].as_bool().unwrap() {
            wrong.push(format!("{id}: verdict, {found:?}"));
            continue;
        }
        for (attribute, got) in [
            ("incompatibility_type", found.first().map(|i| i.kind.name().to_owned())),
            ("location", found.first().map(|i| i.path.clone())),
        ] {
            if let (Some(expected), Some(got)) = (pair.get(attribute).and_then(Json::as_str), got)
                && expected != got
            {
                wrong.push(format!("{id}: {attribute} {expected} but {got}"));
            }
        }
        if let Some(expected) = pair.get("incompatibilities").and_then(Json::as_array) {
            let expected: Vec<_> = expected
                .iter()
                .map(|i| (text(&i["type"]).to_owned(), text(&i["location"]).to_owned()))
                .collect();
            let got: Vec<_> =
                found.iter().map(|i| (i.kind.name().to_owned(), i.path.clone())).collect();
            if expected != got {
                wrong.push(format!("{id}: {expected:?} but {got:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} rows:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_invalid_schema_is_refused() {
    let vectors = vectors("compat-vectors.json");
    let rows = vectors["invalid_schema_rows"].as_array().unwrap();
    assert_eq!(rows.len(), 6);
    for row in rows {
        let parsed = [Schema::parse(text(&row["reader"])), Schema::parse(text(&row["writer"]))];
        assert!(parsed.iter().any(Result::is_err), "{row}");
    }
}

#[test]
fn every_level_judges_as_confluents_registry() {
    let vectors = vectors("compat-vectors.json");
    let cases = vectors["registry_level"].as_array().unwrap();
    assert_eq!(cases.len(), 32);
    for case in cases {
        let level: CompatibilityLevel = text(&case["level"]).parse().unwrap();
        let new = Schema::parse(text(&case["new"])).unwrap();
        let history: Vec<Schema> = case["history"]
            .as_array()
            .unwrap()
            .iter()
            .map(|s| Schema::parse(text(s)).unwrap())
            .collect();
        let numbered: Vec<(u32, &Schema)> = (1..).zip(&history).collect();
        let verdict = check_level(level, &new, &numbered);
        assert_eq!(verdict.compatible(), case["compatible"].as_bool().unwrap(), "{case}");
        assert_eq!(verdict.compatible(), verdict.messages().is_empty(), "{case}");
    }
}

#[test]
fn every_canonical_form_and_fingerprint_is_javas() {
    let vectors = vectors("canonical-vectors.json");
    let rows = vectors["vectors"].as_array().unwrap();
    assert_eq!(rows.len(), 195);
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    for row in rows {
        let schema = Schema::parse(text(&row["input"])).unwrap();
        assert_eq!(schema.canonical_form(), text(&row["canonical"]), "{row}");
        assert_eq!(format!("{:016x}", schema.crc64()), text(&row["crc64_avro_hex"]), "{row}");
        assert_eq!(hex(&schema.md5()), text(&row["md5"]), "{row}");
        assert_eq!(hex(&schema.sha256()), text(&row["sha256"]), "{row}");
        let again = Schema::parse(&schema.registry_text()).unwrap();
        assert_eq!(again.canonical_form(), schema.canonical_form(), "{row}");
    }
}
