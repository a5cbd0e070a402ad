//! A gateway on a port, against a real log behind its data port and a real registry, each in this process.
//! Every answer is held against the OpenAPI document.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod client;
mod emitting;
mod login;
#[path = "../../../tests/it/support.rs"]
#[allow(dead_code, reason = "the emitter's tests use the rest")]
mod mesh;
mod python;
mod refusing;
mod retrying;
mod started;
mod tls;
