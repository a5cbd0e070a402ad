//! Documents, SQL, plans and changes, as the crate's users call them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod any_text;
mod bad_documents;
mod bad_sql;
mod documented_sql;
mod functions;
mod good_documents;
mod lineage;
mod mesh;
mod output;
#[path = "../support/mod.rs"]
mod support;
mod upgrade;
