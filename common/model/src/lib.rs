//! What moves through Tidemesh.

mod error;

pub use error::{Error, ErrorKind, Remedy, Result};
