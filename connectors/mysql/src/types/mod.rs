//! MySQL's and MariaDB's types as ours, and how their cells are read.
//!
//! `resolve` chooses a `Reader` by what the log says of a column; the reader hands each cell to the
//! visitor. Pure: no I/O, and any bytes are read or refused.

mod wire;

pub(crate) use wire::Wire;
