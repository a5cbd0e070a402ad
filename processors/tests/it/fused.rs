//! What chains make of records.

use crate::support;
use crate::support::{Batch, Bench};
use serde_json::{Value as Json, json};
use tidemesh_avro::schema::Schema;
use tidemesh_model::EnvelopeForm::{Debezium, Flat};

const NULL: Json = Json::Null;

fn order(id: i64, status: &str, qty: i64) -> Json {
    json!({"id": id, "status": status, "qty": qty, "total": id * 100,
           "shipping": {"city": "Kiel", "geo": {"lat": 54.3, "lon": 10.1}}})
}

/// The output of `sql` over events of `orders`: `(op, before, after)`.
fn given(sql: &str, events: &[(&str, Json, Json)]) -> Vec<Json> {
    let mut bench = Bench::sql(sql, Debezium);
    let mut batch = Batch::default();
    for (op, before, after) in events {
        bench.event(&mut batch, 0, op, before.clone(), after.clone());
    }
    let given = bench.run(0, &batch);
    assert!(given.failures.is_empty(), "{:?}", given.failures);
    bench.shown(&given)
}

fn key(id: i64) -> Json {
    json!({"id": id})
}

#[test]
fn columns_are_passed_on_and_computed() {
    let sql = "SELECT id, status AS s, (shipping).city, (shipping).geo.lat AS lat, qty * 2 AS twice, \
               total / 2 AS half, upper(status) AS up, tags, doc ->> 'a' AS a, qty > 3 AS many FROM orders";
    let mut row = order(7, "paid", 4);
    row["tags"] = json!(["x", null]);
    row["doc"] = json!(r#"{"a": 1.50}"#);
    let records = given(sql, &[("c", NULL, row)]);
    assert_eq!(records.len(), 1);
    assert_eq!(records[0][0], key(7));
    assert_eq!(records[0][1]["op"], "c");
    let after = &records[0][1]["after"];
    assert_eq!(after["s"], "paid");
    assert_eq!(after["city"], "Kiel");
    assert_eq!(after["lat"], 54.3);
    assert_eq!(after["twice"], 8);
    assert_eq!(after["half"], 3_500_000);
    assert_eq!(after["up"], "PAID");
    assert_eq!(after["tags"], json!(["x", null]));
    assert_eq!(after["a"], "1.50");
    assert_eq!(after["many"], true);
}

#[test]
fn nulls_stay_nulls() {
    let sql = "SELECT id, status AS s, (shipping).city, qty + 1 AS q, upper(status) AS up, tags FROM orders";
    let records = given(sql, &[("c", NULL, json!({"id": 1}))]);
    assert_eq!(
        records[0][1]["after"],
        json!({"id": 1, "s": null, "city": null, "q": null, "up": null, "tags": null})
    );
}

#[test]
fn the_first_that_is_not_null_is_taken() {
    let sql = "SELECT id, coalesce(qty, 7) AS q, coalesce(doc, status, 'none') AS s, \
               nullif(status, 'open') AS n, upper(coalesce(status, 'x')) AS up FROM orders";
    let given = given(sql, &[("c", NULL, json!({"id": 1})), ("c", NULL, order(2, "open", 3))]);
    assert_eq!(given[0][1]["after"], json!({"id": 1, "q": 7, "s": "none", "n": null, "up": "X"}));
    assert_eq!(
        given[1][1]["after"],
        json!({"id": 2, "q": 3, "s": "open", "n": null, "up": "OPEN"})
    );
}

#[test]
fn a_filter_makes_deletes_and_inserts_of_updates() {
    let sql = "SELECT id, qty FROM orders WHERE status = 'paid'";
    let (open, paid) = (order(1, "open", 1), order(1, "paid", 2));
    let records = given(
        sql,
        &[
            ("c", NULL, open.clone()),
            ("u", open.clone(), paid.clone()),
            ("u", paid.clone(), order(1, "paid", 3)),
            ("u", paid.clone(), open.clone()),
            ("u", open.clone(), open.clone()),
            ("d", open.clone(), NULL),
            ("d", paid.clone(), NULL),
        ],
    );
    let ops: Vec<Json> = records.iter().map(|record| record[1]["op"].clone()).collect();
    assert_eq!(ops, [json!("c"), json!("u"), json!("d"), NULL, json!("d"), NULL]);
    assert_eq!(records[1][1]["before"], json!({"id": 1, "qty": 2}));
    assert_eq!(records[1][1]["after"], json!({"id": 1, "qty": 3}));
    assert_eq!(records[2][1]["before"], json!({"id": 1, "qty": 2}));
    assert_eq!(records[3], json!([{"id": 1}, null]));
}

#[test]
fn where_the_row_before_is_not_known_a_key_is_deleted() {
    let sql = "SELECT id, qty FROM orders WHERE status = 'paid'";
    let only_key = json!({"id": 1, "qty": null});
    let records = given(
        sql,
        &[
            ("r", NULL, order(1, "open", 1)),
            ("u", NULL, order(2, "open", 1)),
            ("u", NULL, order(3, "paid", 1)),
            ("d", only_key, NULL),
        ],
    );
    let shown: Vec<(Json, Json)> =
        records.iter().map(|record| (record[0]["id"].clone(), record[1]["op"].clone())).collect();
    assert_eq!(
        shown,
        [
            (json!(1), json!("d")),
            (json!(1), NULL),
            (json!(2), json!("d")),
            (json!(2), NULL),
            (json!(3), json!("u")),
            (json!(1), json!("d")),
            (json!(1), NULL),
        ]
    );
    assert_eq!(records[0][1]["before"], NULL);
}

#[test]
fn flat_output_is_rows_and_tombstones() {
    let mut bench = Bench::sql("SELECT id, qty FROM orders WHERE qty > 1", Flat);
    let mut batch = Batch::default();
    bench.event(&mut batch, 0, "c", NULL, order(1, "a", 2));
    bench.event(&mut batch, 0, "u", order(1, "a", 2), order(1, "a", 1));
    let given = bench.run(0, &batch);
    assert_eq!(
        bench.shown(&given),
        [
            json!([{"id": 1}, {"id": 1, "qty": 2, "__deleted": "false", "__op": "c",
                               "__source_ts_us": 1_000_000, "__position": null}]),
            json!([{"id": 1}, null]),
        ]
    );
}

#[test]
fn events_pass_or_do_not() {
    let mut bench =
        Bench::sql("SELECT url, length(url) AS n FROM clicks WHERE \"user\" IS NOT NULL", Debezium);
    let mut batch = Batch::default();
    bench.event(&mut batch, 3, "c", NULL, json!({"url": "/a", "at": 1, "user": 5}));
    bench.event(&mut batch, 3, "c", NULL, json!({"url": "/b", "at": 2}));
    let given = bench.run(3, &batch);
    assert_eq!(bench.shown(&given), [json!([null, {"url": "/a", "n": 2}])]);
}

#[test]
fn the_parts_of_a_union_have_keys_of_their_own() {
    let sql = "SELECT 'o' AS origin, id::text AS id, qty AS n FROM orders UNION ALL \
               SELECT 'r', id::text, NULL FROM refunds WHERE reason = 'x'";
    let mut bench = Bench::sql(sql, Debezium);
    let mut orders = Batch::default();
    bench.event(&mut orders, 0, "c", NULL, order(12, "a", 2));
    let mut refunds = Batch::default();
    bench.event(&mut refunds, 1, "c", NULL, json!({"id": -3, "reason": "x"}));
    bench.event(&mut refunds, 1, "c", NULL, json!({"id": 4, "reason": "y"}));
    let (one, other) = (bench.run(0, &orders), bench.run(1, &refunds));
    assert_eq!(bench.shown(&one)[0][0], json!({"origin": "o", "id": "12"}));
    assert_eq!(bench.shown(&one)[0][1]["after"], json!({"origin": "o", "id": "12", "n": 2}));
    let other = bench.shown(&other);
    assert_eq!(other.len(), 1);
    assert_eq!(other[0][0], json!({"origin": "r", "id": "-3"}));
    assert_eq!(other[0][1]["after"], json!({"origin": "r", "id": "-3", "n": null}));
}

#[test]
fn a_chain_is_one_step() {
    let chain = [
        ("a", "SELECT id, total, qty FROM orders WHERE status = 'paid'"),
        ("b", "SELECT id, total * qty AS amount FROM a WHERE qty > 0"),
        ("out", "SELECT id, amount FROM b WHERE 100 / (amount - 200) > 0"),
    ];
    let mut bench = Bench::new(&chain, Debezium);
    let mut batch = Batch::default();
    // What the first filters drop must not reach the division.
    for (id, status, qty) in
        [(1, "open", 1), (2, "paid", 2), (3, "paid", 0), (200, "paid", 1), (4, "paid", 100)]
    {
        bench.event(&mut batch, 0, "c", NULL, order(id, status, qty));
    }
    let given = bench.run(0, &batch);
    let ids: Vec<Json> = bench.shown(&given).iter().map(|record| record[0]["id"].clone()).collect();
    assert_eq!(ids, [json!(4)]);
    assert_eq!(given.failures.len(), 1);
    assert_eq!(given.failures[0].0, 3);
    assert!(given.failures[0].1.contains("divided by zero"), "{:?}", given.failures);
}

#[test]
fn what_fails_is_told_by_its_offset_and_the_others_go_on() {
    let mut bench =
        Bench::sql("SELECT id, qty * 1000000000 AS big, note::int AS n FROM orders", Debezium);
    let mut batch = Batch::default();
    let with_note = |id: i64, qty: i64, note: &str| json!({"id": id, "qty": qty, "note": note});
    bench.event(&mut batch, 0, "c", NULL, with_note(1, 1, "5"));
    bench.event(&mut batch, 0, "c", NULL, with_note(2, 9, "5"));
    bench.event(&mut batch, 0, "c", NULL, with_note(3, 1, "five"));
    bench.event(&mut batch, 0, "c", NULL, with_note(4, 2, "6"));
    let good = bench.inputs[0].relation.value.clone();
    let bytes = support::framed(2, &good, &json!({"after": {"id": 5}, "op": "c"}));
    batch.push(Some(&[0, 0, 0, 0, 1, 10]), Some(&bytes[..bytes.len() - 3]));
    bench.event(&mut batch, 0, "c", NULL, with_note(6, 2, "7"));
    let given = bench.run(0, &batch);
    let ids: Vec<Json> = bench.shown(&given).iter().map(|record| record[0]["id"].clone()).collect();
    assert_eq!(ids, [json!(1), json!(4), json!(6)]);
    let failed: Vec<u64> = given.failures.iter().map(|failure| failure.0).collect();
    assert_eq!(failed, [1, 2, 4]);
}

#[test]
fn records_of_another_schema_are_read_as_the_plans() {
    // The column that is read was an int, one that is passed on was not there, another is gone.
    let older = r#"{"type":"record","name":"Envelope","fields":[
        {"name":"before","type":["null",{"type":"record","name":"Value","fields":[
            {"name":"gone","type":["null","string"]},
            {"name":"id","type":"long"},
            {"name":"total","type":["null",{"type":"bytes","logicalType":"decimal","precision":10,"scale":2}]}]}]},
        {"name":"after","type":["null","Value"]},{"name":"op","type":"string"}]}"#;
    let older = Schema::parse(older).unwrap();
    let mut bench = Bench::sql("SELECT id, qty, total * 2 AS t, note FROM orders", Debezium);
    bench.chain.learn(0, 7, &older).unwrap();
    let mut batch = Batch::default();
    let key = [0, 0, 0, 0, 1, 2];
    let value = json!({"after": {"gone": "x", "id": 1, "total": 250}, "op": "c"});
    batch.push(Some(&key), Some(&support::framed(7, &older, &value)));
    bench.event(&mut batch, 0, "c", NULL, order(2, "a", 3));
    let given = bench.run(0, &batch);
    let shown = bench.shown(&given);
    // `qty` has the default 1.
    assert_eq!(shown[0][1]["after"], json!({"id": 1, "qty": 1, "t": 500, "note": null}));
    assert_eq!(shown[1][1]["after"]["qty"], 3);
    // Another type of a column: resolved, row by row.
    let promoted = older
        .registry_text()
        .replace(r#"{"name":"id","type":"long"}"#, r#"{"name":"id","type":"int"}"#);
    let promoted = Schema::parse(&promoted).unwrap();
    bench.chain.learn(0, 8, &promoted).unwrap();
    let mut batch = Batch::default();
    batch.push(Some(&key), Some(&support::framed(8, &promoted, &value)));
    let given = bench.run(0, &batch);
    assert_eq!(bench.shown(&given)[0][1]["after"]["t"], 500);
}

#[test]
fn a_tombstone_whose_delete_was_compacted_away_still_deletes() {
    let mut bench = Bench::sql("SELECT id, qty FROM orders WHERE qty > 1", Debezium);
    let mut batch = Batch::default();
    batch.push(Some(&[0, 0, 0, 0, 1, 6]), None);
    let given = bench.run(0, &batch);
    let shown = bench.shown(&given);
    assert_eq!(shown[0][1]["op"], "d");
    assert_eq!(shown[1], json!([{"id": 3}, null]));
}

#[test]
fn large_batches_are_cut_and_keep_their_order() {
    let mut bench = Bench::sql("SELECT id, qty + 1 AS q FROM orders WHERE qty <> 3", Debezium);
    let mut batch = Batch::default();
    for id in 0..5000 {
        bench.event(&mut batch, 0, "c", NULL, order(id, "a", id % 5));
    }
    let given = bench.run(0, &batch);
    let shown = bench.shown(&given);
    let expected: Vec<i64> = (0..5000).filter(|id| id % 5 != 3).collect();
    let ids: Vec<i64> = shown.iter().map(|record| record[0]["id"].as_i64().unwrap()).collect();
    assert_eq!(ids, expected);
    assert!(shown.iter().all(|record| {
        record[1]["after"]["q"] == json!(record[0]["id"].as_i64().unwrap() % 5 + 1)
    }));
}

#[test]
fn casts_to_whole_numbers_round() {
    let sql = "SELECT id, total::bigint AS t, (shipping).geo.lat::int AS lat, (qty + 0.5)::int AS q, \
               2.5::int AS c FROM orders";
    let mut row = order(1, "a", 2);
    row["total"] = json!(250);
    row["shipping"]["geo"]["lat"] = json!(-54.7);
    let records = given(sql, &[("c", NULL, row)]);
    assert_eq!(records[0][1]["after"], json!({"id": 1, "t": 3, "lat": -55, "q": 3, "c": 3}));
}

#[test]
fn an_exact_number_that_meets_an_inexact_one_is_inexact() {
    let sql = "SELECT id, (shipping).geo.lat * 1.5 AS lat, (shipping).geo.lat > total AS north, \
               (shipping).geo.lat BETWEEN 1.5 AND 1e30 AS between FROM orders";
    let mut row = order(1, "a", 2);
    row["shipping"]["geo"]["lat"] = json!(1e25);
    let records = given(sql, &[("c", NULL, row)]);
    let after = &records[0][1]["after"];
    assert_eq!(after["lat"], 1e25 * 1.5);
    assert_eq!((&after["north"], &after["between"]), (&json!(true), &json!(true)));
}

#[test]
fn times_reach_further_than_nanoseconds_do() {
    // 32 503 680 000 s: the year 3000, and a moment in 4000.
    let sql = "SELECT id, placed_at > '3000-01-01' AS late, placed_at AT TIME ZONE 'UTC' AS utc, \
               CAST('3000-01-01' AS timestamp) AS fixed FROM orders";
    let mut row = order(1, "a", 2);
    row["placed_at"] = json!(64_060_588_800_000_000_i64);
    let records = given(sql, &[("c", NULL, row)]);
    let after = &records[0][1]["after"];
    assert_eq!(after["late"], true);
    assert_eq!(after["utc"], 64_060_588_800_000_000_i64);
    assert_eq!(after["fixed"], 32_503_680_000_000_000_i64);
}

#[test]
fn a_part_of_a_record_that_is_null_is_null_wherever_its_union_has_that() {
    let mut inputs = support::plan::inputs();
    let value = inputs[0].relation.value.registry_text();
    let value = value.replace(
        r#"{"name":"city","type":["null","string"]}"#,
        r#"{"name":"city","type":["string","null"]}"#,
    );
    let value = Schema::parse(&value).unwrap();
    let key = inputs[0].relation.key.clone();
    inputs[0] = support::plan::input("orders", key, value);
    let mut bench =
        Bench::over(inputs, &[("out", "SELECT id, (shipping).city, qty FROM orders")], Debezium);
    let mut batch = Batch::default();
    bench.event(&mut batch, 0, "c", NULL, json!({"id": 1, "qty": 2, "shipping": null}));
    bench.event(&mut batch, 0, "c", NULL, order(2, "a", 3));
    let given = bench.run(0, &batch);
    let shown = bench.shown(&given);
    assert_eq!(shown[0][1]["after"], json!({"id": 1, "city": null, "qty": 2}));
    assert_eq!(shown[1][1]["after"], json!({"id": 2, "city": "Kiel", "qty": 3}));
}
