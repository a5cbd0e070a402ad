//! Any two schemas, a line each, are explained, compared and shown a witness of, which is true; the
//! fields of one that are on the third line can be projected.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidemesh_avro::compat::{Direction, incompatibilities};
use tidemesh_avro::consumption::{Reads, unreadable};
use tidemesh_avro::diff::diff;
use tidemesh_avro::explain::explain;
use tidemesh_avro::project::{FieldPath, project};
use tidemesh_avro::schema::Schema;
use tidemesh_avro::witness::{NoWitness, witness};

fuzz_target!(|input: &str| {
    let mut lines = input.split('\n');
    let mut schema = || lines.next().and_then(|line| Schema::parse(line).ok());
    let (Some(reader), Some(writer)) = (schema(), schema()) else { return };
    let compatible = incompatibilities(&reader, &writer).is_empty();
    assert_eq!(explain(&reader, &writer, Direction::Backward).is_empty(), compatible);
    match witness(&reader, &writer) {
        Ok(witness) => assert!(!compatible, "{witness:?}"),
        Err(NoWitness::Refuted(why)) => panic!("{why}"),
        Err(_) => {}
    }
    let _ = diff(&writer, &reader);
    let paths = lines.next().unwrap_or_default().split(' ');
    let paths: Vec<FieldPath> = paths.filter_map(|path| path.parse().ok()).collect();
    if let Ok(projected) = project(&reader, &paths) {
        let _ = projected.registry_text();
    }
    let _ = unreadable(
        &reader,
        &Reads::Fields(paths.into_iter().collect()),
        &writer,
        Direction::Forward,
    );
});
