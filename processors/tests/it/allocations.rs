//! The hot path allocates for a batch, not for a record.

use crate::support::{Batch, Bench, Nowhere};
use allocation_counter::measure;
use serde_json::json;
use tidemesh_model::EnvelopeForm;
use tidemesh_processors::fused::ROWS_MAX;

fn allocations(records: usize) -> u64 {
    let sql = "SELECT id, status, note, total * qty AS amount, (shipping).city, qty + 1 AS more \
               FROM orders WHERE qty > 2";
    let mut bench = Bench::sql(sql, EnvelopeForm::Debezium);
    let mut batch = Batch::default();
    for id in 0..records {
        let row = |qty: usize| {
            json!({"id": id, "status": "paid", "qty": qty, "total": 100, "note": "some text",
                   "shipping": {"city": "Kiel"}})
        };
        bench.event(&mut batch, 0, "u", row(id % 5), row(id % 7));
    }
    let mut out = Nowhere::default();
    // Buffers grow to their size.
    bench.chain.process(0, &batch.bytes, batch.records(), &bench.lookups, &mut out).unwrap();
    let count = measure(|| {
        bench.chain.process(0, &batch.bytes, batch.records(), &bench.lookups, &mut out).unwrap();
    });
    assert!(out.records > 0);
    count.count_total
}

#[test]
fn a_record_costs_no_allocation() {
    let (few, many) = (allocations(ROWS_MAX / 4), allocations(ROWS_MAX / 2));
    // Both are one batch: twice the records may grow columns once or twice more each.
    assert!(many < few + 64, "{few} allocations, then {many}");
    assert!(many < 600, "{many} allocations a batch");
}
