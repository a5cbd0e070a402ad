//! What shapes records between topics.
//!
//! `fused` runs a chain of SQL processors as one step from input bytes to output bytes. Absent here:
//! topics, offsets and the registry, which the runner around it knows.

pub mod fused;
