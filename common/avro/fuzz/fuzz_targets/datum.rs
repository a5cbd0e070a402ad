//! Any bytes are data of a schema or refused: decoded, and resolved to another schema.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidemesh_avro::datum::{decode, encode};
use tidemesh_avro::resolve::Resolver;
use tidemesh_avro::schema::Schema;

fuzz_target!(|input: (&str, &str, &[u8])| {
    let (writer, reader, bytes) = input;
    let Ok(writer) = Schema::parse(writer) else { return };
    if let Ok(datum) = decode(&writer, bytes) {
        let _ = encode(&writer, &datum, &mut Vec::new());
    }
    if let Ok(reader) = Schema::parse(reader)
        && let Ok(resolver) = Resolver::new(&writer, &reader)
    {
        let _ = resolver.read(bytes);
    }
});
