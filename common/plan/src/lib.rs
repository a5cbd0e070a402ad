//! What a pipeline means: documents and SQL, resolved to a plan with its schemas, what it consumes,
//! and where each field comes from. Pure: the controller, the registry's judges and the command line
//! ask the same functions, and none of them reads a file or a socket.

pub mod document;
mod key;
pub mod lineage;
pub mod mesh;
pub mod oracle;
pub mod output;
mod problem;
pub mod query;
pub mod relation;
pub mod sql;
pub mod upgrade;

pub use key::key_columns;
pub use problem::{Place, Problem, Problems};
