//! Any text is a schema or refused; what is a schema can be printed, and the print be read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidemesh_avro::schema::Schema;

fuzz_target!(|text: &str| {
    if let Ok(schema) = Schema::parse(text) {
        let _ = schema.canonical_form();
        let _ = Schema::parse(&schema.registry_text());
    }
});
