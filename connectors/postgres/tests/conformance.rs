//! The contract of connectors over a real PostgreSQL. `scripts/test` starts the server and names it in the
//! environment.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bench;

use bench::make;
use tidemesh_source::conformance::conformance_tests;

conformance_tests!(make);
conformance_tests!(make: a_discarded_log_is_lost);
