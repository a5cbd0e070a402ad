//! Any bytes are an event of an application or refused, and an event has all the headers that it says.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidemesh_avro::emitted::{Emitted, EmittedHead};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(event) = Emitted::read(bytes) {
        assert_eq!(event.head.headers.iter().count(), event.head.headers.len());
    }
    let _ = EmittedHead::read(bytes);
});
