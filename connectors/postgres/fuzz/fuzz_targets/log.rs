//! Any bytes of a log are read or refused: frames, messages, cells.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    tidemesh_postgres::fuzz::log(bytes);
    tidemesh_postgres::fuzz::message(bytes);
    tidemesh_postgres::fuzz::cell(bytes);
});
