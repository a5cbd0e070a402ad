//! MySQL's and MariaDB's types as ours, and how their cells are read.
//!
//! `resolve` chooses a `Reader` by what the log says of a column, and `wire` how long its cells are;
//! the reader hands each cell to the visitor. Pure: no I/O, and any bytes are read or refused.

mod answer;
mod charset;
mod json;
mod network;
mod reader;
mod resolve;
mod text;
mod time;
mod wire;

pub(crate) use charset::{Charset, collation_of};
pub(crate) use json::double;
pub(crate) use reader::Reader;
pub(crate) use resolve::{ColumnFacts, ColumnTold, NativeType, Refused, Resolved};
pub(crate) use wire::Wire;
