//! The contract of [`Connector`](crate::Connector), [`Source`](crate::Source), [`TableReader`](crate::TableReader),
//! [`Chunk`](crate::Chunk) and [`TableTexts`](crate::TableTexts) as tests: every connector is held to each claim,
//! with a real server behind it.
//!
//! `conformance_tests!(make)` makes one test a claim; `make` is an async function that gives a fresh
//! [`Bench`]: a database of the test's own, whose tables the claims make, write and alter by SQL that all
//! databases have. A claim fails by panicking. Absent here: types, settings and faults that only one
//! database has.

#![allow(clippy::unwrap_used, reason = "these are tests, also where another crate compiles them")]

mod bench;
mod chunks;
mod lost;
mod readers;
mod reading;
mod reopening;
mod schemas;
mod sessions;
mod streaming;
mod texts;

pub use bench::{Bench, Login, POLL_INTERVAL, Session, eventually};
pub use chunks::*;
pub use lost::*;
pub use readers::*;
pub use reopening::*;
pub use schemas::*;
pub use sessions::*;
pub use streaming::*;
pub use texts::*;

/// One test a claim, over the benches that `$make` gives.
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_tests {
    ($make:path: $($claim:ident)*) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $claim() {
            let bench = $make().await;
            $crate::conformance::$claim(&bench).await;
            $crate::conformance::Bench::end(bench).await;
        }
    )*};
    ($make:path) => {
        $crate::conformance::conformance_tests!($make:
            a_start_states_its_place_first what_is_written_comes_in_commit_order
            a_transactions_end_is_told_behind_its_events an_idle_log_gives_empty_batches
            a_batch_keeps_to_its_bytes a_dropped_call_loses_nothing any_end_may_be_confirmed
            what_is_behind_falls_to_nothing a_cut_connection_is_told_and_loses_nothing
            every_end_is_a_place_to_go_on_from
            a_truncate_comes_alone a_schema_is_one_until_it_changes
            a_table_made_anew_replaces_the_old_one
            tables_are_found_by_patterns tables_that_are_not_there_are_told_all_at_once
            a_login_that_is_refused_is_told a_server_that_is_away_is_told
            a_turn_is_waited_for what_a_start_made_can_be_removed the_database_can_be_looked_at
            a_place_before_the_log_is_lost
            chunks_lead_through_a_table a_chunk_keeps_to_its_bytes chunks_lead_through_any_key
            parts_make_up_a_table a_table_without_rows_has_one_empty_chunk
            a_table_without_a_key_is_read
            listed_keys_alone_are_read a_key_that_the_table_cannot_have_is_refused
            marks_stand_in_the_log_where_they_were_written a_settled_reader_has_what_the_log_told
            log_and_readers_share_a_schema a_reader_tells_what_it_cannot_read
            texts_are_what_was_written texts_lead_through_a_table
            a_value_has_the_text_of_the_database a_query_that_is_none_is_unsupported
        );
    };
}
pub use crate::__conformance_tests as conformance_tests;
