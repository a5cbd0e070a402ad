//! What a fused chain costs a record, from input bytes to output bytes, without a topic on either side.
//!
//! `cargo bench -p tidemesh-processors --bench fused`: filter, projection, filter, projection over
//! envelopes of rows of ten columns (about 250 bytes each), single-threaded.
#![allow(clippy::unwrap_used, reason = "a benchmark fails by panicking")]
#![allow(unreachable_pub, reason = "shared with the tests")]

#[path = "../tests/support/mod.rs"]
mod support;

use serde_json::{Value as Json, json};
use std::time::Instant;
use support::{Batch, Bench, Nowhere};
use tidemesh_model::EnvelopeForm;

const RECORDS: i64 = 20_000;
const TURNS: i64 = 50;

fn main() {
    let chain = [
        (
            "paid",
            "SELECT id, total, qty, note, placed_at, shipping FROM orders WHERE status = 'paid'",
        ),
        (
            "out",
            "SELECT id, total * qty AS amount, upper(note) AS note, placed_at, (shipping).city FROM paid WHERE total > 100",
        ),
    ];
    for (name, chain) in [
        ("chain", &chain[..]),
        ("pass", &[("out", "SELECT id, total, qty, note, placed_at, status FROM orders")]),
    ] {
        let mut bench = Bench::new(chain, EnvelopeForm::Debezium);
        let mut batch = Batch::default();
        for id in 0..RECORDS {
            let row = json!({
                "id": id, "customer_id": id % 1000, "status": if id % 5 == 0 { "open" } else { "paid" },
                "total": id * 7 % 100_000 + 9_000, "qty": id % 7 + 1, "placed_at": 1_700_000_000_000_000_i64 + id,
                "due": 20_000, "note": "a note of some length, as people write them", "doc": "{\"a\": 1}",
                "shipping": {"city": "Kiel", "geo": {"lat": 54.3, "lon": 10.1}}, "Mixed_u0020Case": "x",
            });
            bench.event(&mut batch, 0, "c", Json::Null, row);
        }
        let mut out = Nowhere::default();
        bench.chain.process(0, &batch.bytes, batch.records(), &bench.lookups, &mut out).unwrap();
        let mut out = Nowhere::default();
        let start = Instant::now();
        for _ in 0..TURNS {
            bench
                .chain
                .process(0, &batch.bytes, batch.records(), &bench.lookups, &mut out)
                .unwrap();
        }
        let records = RECORDS * TURNS;
        let us = start.elapsed().as_secs_f64() * 1e6 / records as f64;
        println!(
            "{name}: {us:.3} us a record of {} bytes, {:.0} records/s, {} out of {} bytes",
            batch.bytes.len() / usize::try_from(RECORDS).unwrap(),
            1e6 / us,
            out.records / TURNS as u64,
            out.bytes / out.records,
        );
    }
}
