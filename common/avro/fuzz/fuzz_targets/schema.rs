//! Any text is a schema or refused; what is a schema can be printed, and its text is one again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidemesh_avro::schema::Schema;

fuzz_target!(|text: &str| {
    if let Ok(schema) = Schema::parse(text) {
        let again = Schema::parse(&schema.registry_text()).expect("a printed schema is a schema");
        assert_eq!(again.canonical_form(), schema.canonical_form());
    }
});
