//! The registry over real HTTP: a listener on 127.0.0.1, its store in a temporary folder.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod access;
mod audit;
mod compatibility;
mod concurrency;
mod consumers;
mod contexts;
mod deletion;
mod explain;
mod limits;
mod metadata;
mod modes;
mod reading;
mod references;
mod registration;
mod restart;
mod server;
mod settings;
mod tags;
mod tls;
mod tokens;
mod transport;
