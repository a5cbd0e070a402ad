//! Any two schemas, a line each, are judged in bounded time; messages can be made of the verdict.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidemesh_avro::compat::{CompatibilityLevel, check_level, incompatibilities};
use tidemesh_avro::resolve::Resolver;
use tidemesh_avro::schema::Schema;

fuzz_target!(|input: &str| {
    let Some((new, old)) = input.split_once('\n') else { return };
    let (Ok(new), Ok(old)) = (Schema::parse(new), Schema::parse(old)) else { return };
    let verdict = check_level(CompatibilityLevel::FullTransitive, &new, &[(1, &old), (2, &old)]);
    let _ = verdict.messages();
    if incompatibilities(&new, &old).is_empty() {
        // What is compatible can be resolved, but for limits and for defaults that are none.
        if let Err(error) = Resolver::new(&old, &new) {
            assert_ne!(error.kind().name(), "incompatible", "{error}");
        }
    }
});
