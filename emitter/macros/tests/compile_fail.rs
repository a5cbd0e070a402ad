//! What the macros refuse, and where they say so. `TRYBUILD=overwrite` writes the expected texts anew.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

#[test]
fn wrong_uses_are_refused_at_their_place() {
    copy_schemas();
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}

/// trybuild compiles the cases as a package of its own, in whose folder `avro_event!` looks for files.
fn copy_schemas() {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let folder = target.join("tests/trybuild").join(env!("CARGO_PKG_NAME")).join("schemas");
    std::fs::create_dir_all(&folder).unwrap();
    let schemas = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/schemas");
    for entry in std::fs::read_dir(schemas).unwrap().map(Result::unwrap) {
        std::fs::copy(entry.path(), folder.join(entry.file_name())).unwrap();
    }
}
