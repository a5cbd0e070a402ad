//! Any bytes of `COPY … BINARY` are rows or refused, however the stream is cut.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&[u8], u8, u16)| {
    let (bytes, piece, bytes_max) = input;
    tidemesh_postgres::fuzz::copy(bytes, piece, bytes_max);
});
