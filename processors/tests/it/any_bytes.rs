//! Bytes that are no records: told, and never a panic.

use crate::support::{Batch, Bench, framed};
use proptest::prelude::*;
use serde_json::{Value as Json, json};
use tidemesh_model::EnvelopeForm;

const SQL: &str = "SELECT id, status, upper(note) AS note, total * qty AS amount, tags[1] AS tag, tags, \
                   attrs['a'] AS a, shipping, (shipping).geo.lat + 1 AS lat, doc ->> 'x' AS x, either \
                   FROM orders WHERE qty > 0 OR status IS NULL";

fn bench() -> Bench {
    Bench::sql(SQL, EnvelopeForm::Debezium)
}

/// A good record's value.
fn good(bench: &Bench) -> Vec<u8> {
    let row = json!({
        "id": 1, "status": "paid", "qty": 3, "total": 1234, "note": "n", "tags": ["a", null],
        "attrs": {"a": "b"}, "shipping": {"city": "x", "geo": {"lat": 1.5, "lon": 2.5}},
        "doc": "{\"x\": 1}", "either": "text",
    });
    let value = json!({"before": row, "after": row, "op": "u"});
    framed(2, &bench.inputs[0].relation.value, &value)
}

#[test]
fn a_good_record_between_bad_ones_comes_through() {
    let mut bench = bench();
    let good = good(&bench);
    let key = [0, 0, 0, 0, 1, 2];
    let mut batch = Batch::default();
    for cut in 0..good.len() {
        batch.push(Some(&key), Some(&good[..cut]));
        batch.push(Some(&key), Some(&good));
    }
    let given = bench.run(0, &batch);
    assert_eq!(given.records.len(), good.len());
    assert_eq!(given.failures.len(), good.len());
    assert!(given.records.iter().all(|record| *record == given.records[0]));
}

/// A bench whose query looks rows up, by a column of text.
fn looking() -> Bench {
    let sql = "SELECT o.id, c.name, c.home, upper((c.home).city) AS city FROM orders o \
               JOIN customers c ON c.id = o.customer_id";
    Bench::sql(sql, EnvelopeForm::Debezium)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_values_and_keys_are_read_or_told(
        records in proptest::collection::vec(
            (
                proptest::option::of(proptest::collection::vec(any::<u8>(), 0..20)),
                proptest::option::of(proptest::collection::vec(any::<u8>(), 0..120)),
                any::<bool>(),
            ),
            0..30,
        ),
    ) {
        let mut bench = bench();
        let mut batch = Batch::default();
        for (key, value, has_head) in &records {
            let head: &[u8] = if *has_head { &[0, 0, 0, 0, 2] } else { &[7] };
            let value = value.as_ref().map(|value| [head, value].concat());
            batch.push(key.as_deref(), value.as_deref());
        }
        bench.run(0, &batch);
    }

    #[test]
    fn a_good_record_that_was_changed_is_read_or_told(
        changes in proptest::collection::vec((0usize..400, any::<u8>()), 1..6),
        cut in 0usize..400,
    ) {
        let mut bench = bench();
        let mut value = good(&bench);
        let length = value.len();
        for (place, byte) in changes {
            // The id has to be one that was told.
            value[5 + place % (length - 5)] = byte;
        }
        let mut batch = Batch::default();
        batch.push(Some(&[0, 0, 0, 0, 1, 2]), Some(&value[..5 + cut % (length - 5)]));
        batch.push(Some(&[0, 0, 0, 0, 1, 2]), Some(&value));
        bench.run(0, &batch);
    }

    #[test]
    fn any_records_of_a_lookup_are_read_or_told(
        records in proptest::collection::vec(
            (
                proptest::option::of(proptest::collection::vec(any::<u8>(), 0..20)),
                proptest::option::of(proptest::collection::vec(any::<u8>(), 0..120)),
                any::<bool>(),
            ),
            0..30,
        ),
    ) {
        let mut bench = looking();
        let mut batch = Batch::default();
        for (key, value, has_head) in &records {
            let head: &[u8] = if *has_head { &[0, 0, 0, 0, 2] } else { &[7] };
            let value = value.as_ref().map(|value| [head, value].concat());
            let key = key.as_ref().map(|key| [&[0, 0, 0, 0, 1], key.as_slice()].concat());
            batch.push(key.as_deref(), value.as_deref());
        }
        let told = bench.fill(2, &batch).len();
        prop_assert!(told <= records.len());
        // What the table has taken can be looked up.
        let mut orders = Batch::default();
        for customer in -70..70 {
            let row = json!({"id": 1, "customer_id": customer});
            bench.event(&mut orders, 0, "c", Json::Null, row);
        }
        prop_assert!(bench.run(0, &orders).failures.is_empty());
    }

    #[test]
    fn a_lookups_good_record_that_was_changed_is_read_or_told(
        changes in proptest::collection::vec((0usize..400, any::<u8>()), 1..4),
    ) {
        let mut bench = looking();
        let row = json!({"id": 7, "name": "n", "home": {"city": "Kiel"}});
        let value = json!({"before": null, "after": row, "op": "c"});
        let mut value = framed(2, &bench.inputs[2].relation.value, &value);
        let length = value.len();
        for (place, byte) in changes {
            value[5 + place % (length - 5)] = byte;
        }
        let mut batch = Batch::default();
        batch.push(Some(&[0, 0, 0, 0, 1, 14]), Some(&value));
        bench.fill(2, &batch);
        let mut orders = Batch::default();
        bench.event(&mut orders, 0, "c", Json::Null, json!({"id": 1, "customer_id": 7}));
        prop_assert!(bench.run(0, &orders).failures.is_empty());
    }
}
