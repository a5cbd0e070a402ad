//! Any bytes of a log are read or refused: events, what they say, tables, rows, cells.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    tidemesh_mysql::fuzz::log(bytes);
    tidemesh_mysql::fuzz::event(bytes);
    tidemesh_mysql::fuzz::cell(bytes);
});
