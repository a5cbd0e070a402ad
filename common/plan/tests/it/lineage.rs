//! Where columns come from, over many shapes of queries.
//!
//! A line gives the query, then for each output column its fields: bare if they come through as they
//! are, else with how (`cast`, `expression`, `condition`); behind `|` the fields that decide which rows
//! there are (`filter`, `lookup_key`).

use crate::support::{input, inputs, resolve, resolve_chain};
use std::collections::BTreeSet;
use tidemesh_avro::schema::Schema;
use tidemesh_plan::lineage::{InputField, Via, lineage, reads};
use tidemesh_plan::query::{Input, Query};

fn written(fields: &BTreeSet<(InputField, Via)>, inputs: &[Input]) -> String {
    let field = |(field, via): &(InputField, Via)| {
        let name = format!("{}.{}", inputs[field.input].name, field.path.join("."));
        if *via == Via::Identity { name } else { format!("{via} {name}") }
    };
    let mut fields: Vec<String> = fields.iter().map(field).collect();
    fields.sort();
    fields.join(", ")
}

fn shown(query: &Query, inputs: &[Input]) -> String {
    let lineage = lineage(query, inputs);
    let columns = query.columns.iter().zip(&lineage.columns);
    let columns: Vec<String> =
        columns.map(|(column, of)| format!("{} = {}", column.name, written(of, inputs))).collect();
    let rows = written(&lineage.rows, inputs);
    let rows = if rows.is_empty() { rows } else { format!(" | {rows}") };
    format!("{}{rows}", columns.join("; "))
}

const CASES: &[(&str, &str)] = &[
    // Columns, names, stars.
    ("SELECT id FROM orders", "id = orders.id"),
    ("SELECT id AS order_id, status s FROM orders", "order_id = orders.id; s = orders.status"),
    ("SELECT o.id, o.status FROM orders o", "id = orders.id; status = orders.status"),
    ("SELECT * FROM clicks", "url = clicks.url; at = clicks.at; user = clicks.user"),
    ("SELECT c.* FROM clicks c", "url = clicks.url; at = clicks.at; user = clicks.user"),
    (
        "SELECT *, upper(url) AS up FROM clicks",
        "url = clicks.url; at = clicks.at; user = clicks.user; up = expression clicks.url",
    ),
    ("SELECT \"Mixed Case\" FROM orders", "Mixed Case = orders.Mixed_u0020Case"),
    ("SELECT \"Mixed Case\" AS plain FROM orders", "plain = orders.Mixed_u0020Case"),
    ("SELECT id, id AS again FROM orders", "id = orders.id; again = orders.id"),
    ("SELECT 1 AS one, 'x' AS x, id FROM orders", "one = ; x = ; id = orders.id"),
    ("SELECT NULL AS nothing, id FROM orders", "nothing = ; id = orders.id"),
    // Casts and computations.
    ("SELECT qty::text FROM orders", "qty = cast orders.qty"),
    ("SELECT CAST(id AS text) AS t FROM orders", "t = cast orders.id"),
    ("SELECT CAST(CAST(qty AS bigint) AS text) AS t FROM orders", "t = cast orders.qty"),
    ("SELECT CAST(qty + 1 AS text) AS t FROM orders", "t = expression orders.qty"),
    (
        "SELECT total * qty AS amount FROM orders",
        "amount = expression orders.qty, expression orders.total",
    ),
    ("SELECT -qty AS minus FROM orders", "minus = expression orders.qty"),
    ("SELECT upper(note) FROM orders", "upper = expression orders.note"),
    (
        "SELECT concat(note, '-', status) AS c FROM orders",
        "c = expression orders.note, expression orders.status",
    ),
    (
        "SELECT note || status AS c FROM orders",
        "c = expression orders.note, expression orders.status",
    ),
    (
        "SELECT coalesce(note, status, 'none') AS c FROM orders",
        "c = expression orders.note, expression orders.status",
    ),
    ("SELECT nullif(qty, 0) AS n FROM orders", "n = expression orders.qty"),
    ("SELECT extract(year FROM placed_at) AS y FROM orders", "y = expression orders.placed_at"),
    ("SELECT date_trunc('day', placed_at) AS d FROM orders", "d = expression orders.placed_at"),
    (
        "SELECT placed_at + INTERVAL '1 day' AS next FROM orders",
        "next = expression orders.placed_at",
    ),
    (
        "SELECT placed_at AT TIME ZONE 'Europe/Berlin' AS local FROM orders",
        "local = expression orders.placed_at",
    ),
    (
        "SELECT substring(note FROM 2 FOR 3) AS s, trim(status) AS t FROM orders",
        "s = expression orders.note; t = expression orders.status",
    ),
    ("SELECT qty BETWEEN 1 AND 3 AS few FROM orders", "few = expression orders.qty"),
    ("SELECT status IN ('a', 'b') AS ab FROM orders", "ab = expression orders.status"),
    ("SELECT note IS NULL AS silent FROM orders", "silent = expression orders.note"),
    ("SELECT md5(note) AS hash FROM orders", "hash = expression orders.note"),
    // CASE: what only decides.
    (
        "SELECT CASE WHEN qty > 1 THEN note ELSE status END AS c FROM orders",
        "c = condition orders.qty, expression orders.note, expression orders.status",
    ),
    (
        "SELECT CASE status WHEN 'a' THEN 1 ELSE 2 END AS c FROM orders",
        "c = condition orders.status",
    ),
    (
        "SELECT CASE WHEN qty > 1 THEN qty END AS c FROM orders",
        "c = condition orders.qty, expression orders.qty",
    ),
    (
        "SELECT upper(CASE WHEN qty > 1 THEN note END) AS c FROM orders",
        "c = condition orders.qty, expression orders.note",
    ),
    // Nested fields.
    ("SELECT shipping FROM orders", "shipping = orders.shipping"),
    ("SELECT orders.shipping.city FROM orders", "city = orders.shipping.city"),
    ("SELECT (shipping).city FROM orders", "city = orders.shipping.city"),
    ("SELECT (shipping).geo.lat AS lat FROM orders", "lat = orders.shipping.geo.lat"),
    ("SELECT (o.shipping).geo FROM orders o", "geo = orders.shipping.geo"),
    ("SELECT upper((shipping).city) AS c FROM orders", "c = expression orders.shipping.city"),
    ("SELECT (shipping).geo.lat::text AS c FROM orders", "c = cast orders.shipping.geo.lat"),
    (
        "WITH s AS (SELECT id, shipping AS a FROM orders) SELECT id, (a).geo.lon FROM s",
        "id = orders.id; lon = orders.shipping.geo.lon",
    ),
    ("SELECT tags[1] AS first FROM orders", "first = expression orders.tags"),
    ("SELECT attrs['x'] AS x FROM orders", "x = expression orders.attrs"),
    (
        "SELECT doc ->> 'a' AS a, doc #>> '{b,0}' AS b FROM orders",
        "a = expression orders.doc; b = expression orders.doc",
    ),
    // Filters.
    ("SELECT id FROM orders WHERE status = 'paid'", "id = orders.id | filter orders.status"),
    (
        "SELECT id FROM orders WHERE qty > 1 AND upper(note) = 'X'",
        "id = orders.id | filter orders.note, filter orders.qty",
    ),
    (
        "SELECT id FROM orders WHERE (shipping).city LIKE 'B%'",
        "id = orders.id | filter orders.shipping.city",
    ),
    (
        "SELECT status FROM orders WHERE status = 'paid'",
        "status = orders.status | filter orders.status",
    ),
    // WITH, subqueries in FROM, shadowing.
    (
        "WITH a AS (SELECT id, qty + 1 AS q FROM orders) SELECT id, q * 2 AS twice FROM a",
        "id = orders.id; twice = expression orders.qty",
    ),
    (
        "WITH a AS (SELECT id, qty AS q FROM orders WHERE status = 'x'), b AS (SELECT id, q FROM a WHERE q > 1) SELECT * FROM b",
        "id = orders.id; q = orders.qty | filter orders.qty, filter orders.status",
    ),
    (
        "WITH a (x, y) AS (SELECT id, note FROM orders) SELECT y, x FROM a",
        "y = orders.note; x = orders.id",
    ),
    (
        "WITH orders AS (SELECT id, at AS note FROM refunds) SELECT note, id FROM orders",
        "note = refunds.at; id = refunds.id",
    ),
    (
        "SELECT t.q FROM (SELECT qty AS q, note FROM orders) AS t WHERE t.note <> ''",
        "q = orders.qty | filter orders.note",
    ),
    ("SELECT x FROM (SELECT y AS x FROM (SELECT qty AS y FROM orders) a) b", "x = orders.qty"),
    (
        "WITH a AS (SELECT id, upper(note) AS n, status FROM orders) SELECT id, status FROM a",
        "id = orders.id; status = orders.status",
    ),
    (
        "WITH a AS (SELECT id, qty FROM orders) SELECT a.*, a.qty::text AS t FROM a",
        "id = orders.id; qty = orders.qty; t = cast orders.qty",
    ),
    // UNION ALL.
    ("SELECT id FROM orders UNION ALL SELECT id FROM refunds", "id = orders.id, refunds.id"),
    (
        "SELECT id, qty AS n FROM orders UNION ALL SELECT id, order_id FROM refunds",
        "id = orders.id, refunds.id; n = cast orders.qty, refunds.order_id",
    ),
    (
        "SELECT 'o' AS kind, id FROM orders WHERE qty > 0 UNION ALL SELECT 'r', id FROM refunds WHERE reason = 'x'",
        "kind = ; id = orders.id, refunds.id | filter orders.qty, filter refunds.reason",
    ),
    (
        "WITH u AS (SELECT id, total AS amount FROM orders UNION ALL SELECT id, amount FROM refunds) SELECT id, amount * 2 AS twice FROM u WHERE amount > 0",
        "id = orders.id, refunds.id; twice = expression orders.total, expression refunds.amount | filter orders.total, filter refunds.amount",
    ),
    (
        "(SELECT id FROM orders UNION ALL SELECT id FROM refunds) UNION ALL SELECT order_id FROM refunds",
        "id = orders.id, refunds.id, refunds.order_id",
    ),
    // Lookups.
    (
        "SELECT o.id, c.name FROM orders o LEFT JOIN customers c ON c.id = o.customer_id",
        "id = orders.id; name = customers.name | lookup_key orders.customer_id",
    ),
    (
        "SELECT o.id, c.name AS who FROM orders o JOIN customers c ON o.customer_id = c.id AND c.tier > 1",
        "id = orders.id; who = customers.name | filter customers.tier, lookup_key orders.customer_id",
    ),
    (
        "SELECT o.id, (c.home).city FROM orders o LEFT JOIN customers c ON c.id = o.qty",
        "id = orders.id; city = customers.home.city | lookup_key orders.qty",
    ),
    (
        "SELECT o.id, c.email || o.note AS x FROM orders o LEFT JOIN customers c ON c.id = o.customer_id WHERE c.tier IS NOT NULL",
        "id = orders.id; x = expression customers.email, expression orders.note | filter customers.tier, lookup_key orders.customer_id",
    ),
];

#[test]
fn every_column_comes_from_where_it_should() {
    let inputs = inputs();
    assert!(CASES.len() >= 60, "{}", CASES.len());
    let mut wrong = String::new();
    for (sql, expected) in CASES {
        let found = match resolve(&inputs, sql) {
            Ok(query) => shown(&query, &inputs),
            Err(problems) => problems.to_string(),
        };
        if found != *expected {
            wrong += &format!("{sql}\n  expected {expected}\n  found    {found}\n");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn a_chain_of_processors_is_followed_to_its_inputs() {
    let inputs = inputs();
    let chain = [
        ("paid", "SELECT id, total, shipping AS address FROM orders WHERE status = 'paid'"),
        ("large", "SELECT id, total * 2 AS twice, (address).city FROM paid WHERE total > 100"),
        ("out", "SELECT *, twice::text AS shown FROM large"),
    ];
    assert_eq!(
        shown(&resolve_chain(&inputs, &chain).unwrap(), &inputs),
        "id = orders.id; twice = expression orders.total; city = orders.shipping.city; \
         shown = expression orders.total | filter orders.status, filter orders.total"
    );
}

fn read(sql: &str) -> Vec<String> {
    let inputs = inputs();
    let query = resolve(&inputs, sql).unwrap();
    let of = |(input, paths): (usize, BTreeSet<Vec<String>>)| {
        let name = inputs[input].name.clone();
        paths.into_iter().map(move |path| format!("{name}.{}", path.join("."))).collect::<Vec<_>>()
    };
    reads(&query, &inputs).into_iter().flat_map(of).collect()
}

#[test]
fn a_field_is_found_however_deep_it_is() {
    let mut kind = r#""string""#.to_owned();
    for name in ["h", "g", "f", "e", "d", "c", "B"] {
        kind = format!(
            r#"{{"type":"record","name":"R{name}","fields":[{{"name":"{name}","type":{kind}}}]}}"#
        );
    }
    let value =
        format!(r#"{{"type":"record","name":"V","fields":[{{"name":"a","type":{kind}}}]}}"#);
    let inputs = vec![input("deep", None, Schema::parse(&value).unwrap())];
    for sql in [
        r#"SELECT deep.a."B".c.d.e.f.g.h FROM deep"#,
        r#"SELECT (a)."B".c.d.e.f.g.h FROM deep"#,
        r#"SELECT t.a."B".C.d.e.f.g.h FROM deep t WHERE (t.a)."B".c.d.e.f.g.h = 'x'"#,
    ] {
        let query = resolve(&inputs, sql).unwrap();
        assert_eq!(query.columns[0].name, "h", "{sql}");
        let read: Vec<_> = reads(&query, &inputs).into_values().flatten().collect();
        assert_eq!(read, [["a", "B", "c", "d", "e", "f", "g", "h"]], "{sql}");
    }
}

#[test]
fn what_is_read_is_what_decides_or_gives_a_value_and_the_key() {
    assert_eq!(read("SELECT note FROM orders"), ["orders.id", "orders.note"]);
    assert_eq!(read("SELECT id FROM orders WHERE qty > 1"), ["orders.id", "orders.qty"]);
    // What is computed and not taken is not read.
    assert_eq!(
        read("WITH a AS (SELECT id, upper(note) AS n FROM orders) SELECT id FROM a"),
        ["orders.id"]
    );
    // A field within one that is read whole is not told apart.
    assert_eq!(
        read("SELECT id, shipping, (shipping).city FROM orders"),
        ["orders.id", "orders.shipping"]
    );
    assert_eq!(
        read("SELECT id, (shipping).city FROM orders"),
        ["orders.id", "orders.shipping.city"]
    );
    assert_eq!(
        read("SELECT o.id, c.name FROM orders o LEFT JOIN customers c ON c.id = o.customer_id"),
        ["orders.customer_id", "orders.id", "customers.id", "customers.name"]
    );
    assert_eq!(read("SELECT url FROM clicks"), ["clicks.url"]);
}
