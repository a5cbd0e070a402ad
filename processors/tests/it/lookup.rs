//! Rows that are looked up in tables kept from topics.

use crate::support::{Batch, Bench, folded};
use serde_json::{Value as Json, json};
use tidemesh_model::EnvelopeForm;

const ORDERS: usize = 0;
const CUSTOMERS: usize = 2;
const CLICKS: usize = 3;

const LEFT: &str = "SELECT o.id, o.status, c.name, c.home, upper(c.name) AS loud, (c.home).city AS city \
                    FROM orders o LEFT JOIN customers c ON c.id = o.customer_id";
const SOME: (&str, &str) = ("some", "SELECT id, customer_id FROM orders WHERE qty > 0");
const INNER: (&str, &str) =
    ("out", "SELECT o.id, c.tier FROM some o JOIN customers c ON c.id = o.customer_id");

fn customers(bench: &Bench, rows: &[Json]) -> Batch {
    let mut batch = Batch::default();
    for row in rows {
        bench.event(&mut batch, CUSTOMERS, "c", Json::Null, row.clone());
    }
    batch
}

fn removed(bench: &Bench, id: u64) -> Batch {
    let mut batch = Batch::default();
    bench.event(&mut batch, CUSTOMERS, "d", json!({"id": id}), Json::Null);
    batch
}

fn order(bench: &mut Bench, op: &str, before: Json, after: Json) -> Vec<Json> {
    let mut batch = Batch::default();
    bench.event(&mut batch, ORDERS, op, before, after);
    let given = bench.run(ORDERS, &batch);
    assert!(given.failures.is_empty(), "{:?}", given.failures);
    bench.shown(&given)
}

#[test]
fn a_row_that_is_not_there_is_null() {
    let mut bench = Bench::sql(LEFT, EnvelopeForm::Debezium);
    let ann = json!({"id": 7, "name": "Ann", "tier": 2, "home": {"city": "Kiel"}});
    let table = customers(&bench, &[ann]);
    assert!(bench.fill(CUSTOMERS, &table).is_empty());
    let found = order(&mut bench, "c", Json::Null, json!({"id": 1, "customer_id": 7}));
    let row = &found[0][1]["after"];
    assert_eq!(row["name"], "Ann");
    assert_eq!((&row["loud"], &row["city"]), (&json!("ANN"), &json!("Kiel")));
    assert_eq!(row["home"], json!({"city": "Kiel"}));
    for customer in [json!(8), Json::Null] {
        let missing = json!({"id": 2, "status": "paid", "customer_id": customer});
        let given = order(&mut bench, "c", Json::Null, missing);
        let expected = json!({"id": 2, "status": "paid", "name": null, "home": null, "loud": null,
                              "city": null});
        assert_eq!(given[0][1]["after"], expected);
    }
}

#[test]
fn without_a_row_a_join_lets_nothing_through() {
    let mut bench = Bench::new(&[SOME, INNER], EnvelopeForm::Debezium);
    let row = |qty: i64| json!({"id": 1, "customer_id": 7, "qty": qty});
    assert!(order(&mut bench, "c", Json::Null, row(1)).is_empty());
    let table = customers(&bench, &[json!({"id": 7, "tier": 2})]);
    bench.fill(CUSTOMERS, &table);
    let given = order(&mut bench, "u", row(1), row(2));
    // It was not written before, which nobody knows any more.
    assert_eq!(given[0][1]["before"], Json::Null);
    assert_eq!(given[0][1]["after"], json!({"id": 1, "tier": 2}));
    let gone = removed(&bench, 7);
    bench.fill(CUSTOMERS, &gone);
    // An update that loses its row is a delete, also where its row before finds nothing now.
    let given = order(&mut bench, "u", row(2), row(3));
    assert_eq!(given[0][1]["op"], "d");
    assert_eq!(given[1], json!([{"id": 1}, null]));
    assert_eq!(bench.lookups.size(), (0, 0));
    // What failed before it came to the lookup was never written.
    assert!(order(&mut bench, "d", row(0), Json::Null).is_empty());
    assert_eq!(order(&mut bench, "d", row(3), Json::Null).len(), 2);
}

#[test]
fn the_newest_row_counts() {
    let mut bench = Bench::sql(LEFT, EnvelopeForm::Flat);
    for name in ["Ann", "Anna"] {
        let table = customers(&bench, &[json!({"id": 7, "name": name, "home": null})]);
        bench.fill(CUSTOMERS, &table);
        let given = order(&mut bench, "r", Json::Null, json!({"id": 1, "customer_id": 7}));
        assert_eq!(given[0][1]["name"], name);
    }
    assert_eq!(bench.lookups.size().0, 1);
}

#[test]
fn many_rows_of_which_some_fail_find_their_own() {
    let sql = "SELECT o.id, c.name, 12 / o.qty AS share FROM orders o JOIN customers c \
               ON c.id = o.customer_id WHERE o.status = 'paid' AND c.tier > 1";
    let mut bench = Bench::sql(sql, EnvelopeForm::Debezium);
    let rows: Vec<Json> =
        (0..50).map(|id| json!({"id": id, "name": format!("n{id}"), "tier": id % 3})).collect();
    let table = customers(&bench, &rows);
    bench.fill(CUSTOMERS, &table);
    let mut batch = Batch::default();
    let row = |id: u64| {
        json!({"id": id, "customer_id": id % 70, "qty": id % 4,
               "status": if id.is_multiple_of(5) { "open" } else { "paid" }})
    };
    for id in 0..3000 {
        bench.event(&mut batch, ORDERS, "c", Json::Null, row(id));
    }
    let given = bench.run(ORDERS, &batch);
    let comes = |id: &u64| !id.is_multiple_of(5) && id % 70 < 50 && id % 70 % 3 == 2;
    let expected: Vec<u64> = (0..3000).filter(comes).filter(|id| !id.is_multiple_of(4)).collect();
    let shown = folded(&bench.shown(&given));
    assert_eq!(shown.len(), expected.len());
    for id in expected {
        let row = &shown[&json!({"id": id}).to_string()];
        assert_eq!(row["name"], format!("n{}", id % 70));
    }
    let failing = (0..3000).filter(comes).filter(|id| id.is_multiple_of(4)).count();
    assert_eq!(given.failures.len(), failing, "{:?}", given.failures.first());
}

#[test]
fn events_are_enriched_too() {
    let sql = "SELECT k.url, c.tier FROM clicks k JOIN customers c ON c.id = k.user";
    let mut bench = Bench::sql(sql, EnvelopeForm::Debezium);
    let table = customers(&bench, &[json!({"id": 7, "tier": 2})]);
    bench.fill(CUSTOMERS, &table);
    let mut batch = Batch::default();
    for user in [json!(7), json!(8), Json::Null] {
        let click = json!({"url": "/", "at": 1, "user": user});
        bench.event(&mut batch, CLICKS, "c", Json::Null, click);
    }
    let given = bench.run(CLICKS, &batch);
    assert_eq!(bench.shown(&given), [json!([null, {"url": "/", "tier": 2}])]);
}

#[test]
fn a_key_is_compared_in_its_own_type() {
    for key in ["o.qty", "o.qty + 0.0", "o.note::bigint"] {
        let sql =
            format!("SELECT o.id, c.tier FROM orders o LEFT JOIN customers c ON c.id = {key}");
        let mut bench = Bench::sql(&sql, EnvelopeForm::Debezium);
        let table = customers(&bench, &[json!({"id": 7, "tier": 2})]);
        bench.fill(CUSTOMERS, &table);
        for (id, tier) in [(7, json!(2)), (8, Json::Null)] {
            let row = json!({"id": 1, "qty": id, "note": id.to_string()});
            let given = order(&mut bench, "c", Json::Null, row);
            assert_eq!(given[0][1]["after"]["tier"], tier, "{key}");
        }
    }
}

#[test]
fn a_record_that_cannot_be_read_changes_nothing() {
    let mut bench = Bench::new(&[SOME, INNER], EnvelopeForm::Debezium);
    let mut table = customers(&bench, &[json!({"id": 7, "tier": 2})]);
    table.push(Some(&[0, 0, 0, 0, 1, 14]), Some(&[0, 0, 0, 0, 2, 9]));
    table.push(Some(&[0, 0, 0, 0, 1]), None);
    table.push(None, None);
    let failures = bench.fill(CUSTOMERS, &table);
    assert_eq!(failures.iter().map(|(offset, _)| *offset).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(bench.lookups.size().0, 1);
}

#[test]
fn a_table_without_room_is_refused() {
    let mut bench = Bench::new(&[SOME, INNER], EnvelopeForm::Debezium);
    bench.lookups = tidemesh_processors::fused::Lookups::new(
        std::iter::once(&bench.query),
        &bench.inputs,
        1000,
    )
    .unwrap();
    bench.lookups.learn(CUSTOMERS, 2, &bench.inputs[CUSTOMERS].relation.value).unwrap();
    let rows: Vec<Json> = (0..100).map(|id| json!({"id": id, "tier": 2})).collect();
    let table = customers(&bench, &rows);
    let lookups = &mut bench.lookups;
    let filled = lookups.take(CUSTOMERS, &table.bytes, table.records(), |_, error| Err(error));
    let text = filled.unwrap_err().report();
    assert!(text.contains("lookup_bytes_max=1000") && text.contains("offset="), "{text}");
    let (rows, bytes) = lookups.size();
    assert!(rows > 0 && bytes <= 1000, "{rows} rows, {bytes} bytes");
}
