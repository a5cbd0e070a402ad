//! How values are written: Avro, Confluent's frame, compatibility. No I/O.

pub mod alike;
mod canonical;
pub mod compat;
pub mod compose;
pub mod consumption;
pub mod datum;
pub mod diff;
pub mod emitted;
pub mod envelope;
pub mod event;
pub mod explain;
pub mod flat;
pub mod frame;
pub mod json;
pub mod name;
pub mod project;
pub mod resolve;
pub mod row;
pub mod schema;
pub mod serial;
pub mod side;
pub mod table;
pub mod types;
mod varint;
pub mod witness;

pub use varint::{read_long, write_long};
