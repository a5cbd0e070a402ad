//! End to end: real servers, the real binary, the topics' rows compared with the database's.
//!
//! `scripts/test` starts the servers and names them in the environment.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod access;
mod allocations;
mod bad_input;
mod catalog;
mod clients;
mod dead_letters;
mod evolution;
mod faults;
mod flink;
mod formats;
mod history;
mod incompatible;
mod kafka;
mod killed;
mod lost;
mod network;
mod openlineage;
mod operations;
mod oracle;
mod outbox;
mod own_binary;
mod paused;
mod pipelines;
mod planted;
mod processes;
mod readers;
mod registry_apicurio;
mod registry_consumers;
mod registry_copy;
mod registry_nodes;
mod registry_store;
mod remove;
mod render;
mod replaced;
mod rewritten;
mod secured;
mod secured_registry;
mod shaping;
mod sides;
mod snapshot;
mod sources;
mod streaming;
mod support;
mod takeover;
mod timeline;
mod toast;
mod torture;
mod truncate;
mod tutorial;
mod types;
mod values;
mod verify;
mod verify_pipelines;
