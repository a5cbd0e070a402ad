//! SQL that is refused: where, why, and what would work.

use crate::support::{inputs, resolve};
use proptest::prelude::*;

/// SQL, the place of the first problem, and what its text has.
const CASES: &[(&str, &str, &str)] = &[
    // No SQL, or not one query.
    ("", "", "there is no SQL"),
    ("   -- nothing\n", "", "there is no SQL"),
    ("SELECT", "1:7", "Expected"),
    ("SELEC id FROM orders", "1:1", "Expected"),
    ("SELECT id FROM orders WHERE", "1:28", "Expected"),
    ("SELECT id\nFROM orders\nWHERE status = 'paid", "3:16", "Unterminated"),
    ("SELECT id FROM orders; SELECT id FROM refunds", "1:24", "one SELECT"),
    ("INSERT INTO orders VALUES (1)", "1:", "no SELECT"),
    ("DROP TABLE orders", "1:", "no SELECT"),
    ("UPDATE orders SET qty = 1", "1:", "no SELECT"),
    ("CREATE VIEW v AS SELECT 1", "1:", "no SELECT"),
    // What needs state.
    ("SELECT status, count(*) AS n FROM orders GROUP BY status", "1:16", "GROUP BY"),
    ("SELECT sum(total) AS s FROM orders", "1:8", "over many rows"),
    ("SELECT DISTINCT status FROM orders", "1:8", "DISTINCT"),
    ("SELECT id FROM orders HAVING qty > 1", "1:23", "HAVING"),
    ("SELECT id, row_number() OVER (ORDER BY id) AS r FROM orders", "1:12", "window"),
    ("SELECT id, lag(qty) OVER w AS r FROM orders WINDOW w AS (ORDER BY id)", "1:12", "window"),
    ("SELECT o.id FROM orders o JOIN refunds r ON r.order_id = o.id", "1:32", "lookup"),
    ("SELECT o.id FROM orders o, refunds r", "1:28", "join"),
    ("SELECT o.id FROM orders o CROSS JOIN customers c", "1:38", "JOIN and LEFT JOIN"),
    (
        "SELECT o.id FROM orders o FULL JOIN customers c ON c.id = o.id",
        "1:37",
        "JOIN and LEFT JOIN",
    ),
    (
        "SELECT o.id FROM orders o RIGHT JOIN customers c ON c.id = o.id",
        "1:38",
        "JOIN and LEFT JOIN",
    ),
    ("SELECT o.id FROM orders o JOIN customers c USING (id)", "1:32", "needs ON"),
    ("SELECT o.id FROM orders o JOIN customers c ON c.name = o.note", "1:32", "customers.id = …"),
    (
        "SELECT o.id FROM orders o LEFT JOIN customers c ON c.id = o.id AND c.tier > 1",
        "1:37",
        "CASE",
    ),
    ("SELECT name FROM customers", "1:18", "is a lookup"),
    ("SELECT id FROM orders UNION SELECT id FROM refunds", "1:29", "UNION ALL"),
    ("SELECT id FROM orders EXCEPT SELECT id FROM refunds", "1:30", "EXCEPT"),
    ("SELECT id FROM orders INTERSECT SELECT id FROM refunds", "1:33", "INTERSECT"),
    ("SELECT id FROM orders ORDER BY id", "1:23", "ORDER BY"),
    ("SELECT id FROM orders LIMIT 5", "1:23", "LIMIT"),
    ("SELECT id FROM orders OFFSET 5", "1:23", "OFFSET"),
    ("WITH RECURSIVE a AS (SELECT id FROM orders) SELECT id FROM a", "1:6", "RECURSIVE"),
    ("SELECT id FROM orders WHERE id IN (SELECT order_id FROM refunds)", "1:29", "subquery"),
    ("SELECT id FROM orders WHERE EXISTS (SELECT 1 FROM refunds)", "1:", "subquery"),
    ("SELECT id, (SELECT 1) AS x FROM orders", "1:", "subquery"),
    ("SELECT unnest(tags) AS t FROM orders", "1:8", "UNNEST"),
    ("SELECT id FROM orders FOR UPDATE", "1:23", "lock"),
    // What has no meaning here.
    ("SELECT 1 AS one", "1:1", "reads nothing"),
    ("VALUES (1, 2)", "1:9", "VALUES"),
    ("SELECT id FROM shop.orders", "1:16", "several parts"),
    ("SELECT id FROM generate_series(1, 3) AS id", "1:16", "no table"),
    ("SELECT id FROM orders WHERE id = $1", "1:34", "parameters"),
    ("SELECT now() AS t FROM orders", "1:8", "another answer"),
    ("SELECT CURRENT_DATE AS t FROM orders", "1:8", "another answer"),
    ("SELECT random() AS t FROM orders", "1:8", "another answer"),
    ("SELECT qty + 1 FROM orders", "1:8", "no name"),
    // What DataFusion plans and cannot run, or only for some values.
    (
        "SELECT 'o' AS o, id, placed_at AS v FROM orders UNION ALL SELECT 'r', id, reason FROM refunds",
        "1:",
        "text stands where timestamptz is needed",
    ),
    (
        "SELECT id, coalesce(placed_at, note) AS x FROM orders",
        "1:",
        "coalesce does not take these types",
    ),
    ("SELECT id, date_trunc('day', note) AS x FROM orders", "1:", "text stands where"),
    ("SELECT id, shipping::text AS s FROM orders", "1:12", "a record cannot be cast to text"),
    ("SELECT id, try_cast(shipping AS int) AS s FROM orders", "1:", "select its fields"),
    ("SELECT id, true::date AS s FROM orders", "1:12", "cannot be cast"),
    ("SELECT id, (qty > 1)::date AS s FROM orders", "1:", "boolean cannot be cast to date"),
    ("SELECT id, qty::timestamp AS s FROM orders", "1:12", "to_timestamp_seconds"),
    ("SELECT id, placed_at::bigint AS s FROM orders", "1:12", "EXTRACT(EPOCH"),
    ("SELECT id, to_char(due, 'YYYY-MM-DD') AS s FROM orders", "1:12", "strftime"),
    ("SELECT id FROM orders WHERE note SIMILAR TO 'a%'", "1:29", "write LIKE"),
    ("SELECT id, note ~ '(' AS s FROM orders", "1:12", "cannot be computed"),
    ("SELECT id, coalesce() AS s FROM orders", "1:12", "coalesce"),
    // Names.
    ("SELECT nope FROM orders", "1:8", "there are: id, customer_id"),
    ("SELECT id,\n       o.stauts\nFROM orders o", "2:8", "no column `o.stauts`"),
    ("SELECT \"Status\" FROM orders", "1:8", "write \"status\""),
    ("SELECT Mixed FROM orders", "1:8", "no column `mixed`"),
    ("SELECT id FROM nowhere", "1:16", "there are: clicks, customers, orders, refunds"),
    ("SELECT x.id FROM orders o", "1:8", "no column `x.id`"),
    // Of long names the planner has no words, or panics.
    ("SELECT a.b.c.d.e FROM orders", "1:8", "no column `a.b.c.d.e`"),
    ("SELECT id FROM orders WHERE a.b.c.d.e.f = 1", "1:29", "no column `a.b.c.d.e`"),
    ("SELECT (a.b.c).d.e.f.g AS x FROM orders", "1:9", "no column `a.b.c.d.e`"),
    ("SELECT uper(note) AS n FROM orders", "1:8", "did you mean `upper`"),
    ("SELECT (shipping).town FROM orders", "1:9", "town"),
    (
        "SELECT o.id, id AS x FROM orders o LEFT JOIN customers c ON c.id = o.id",
        "1:14",
        "several tables",
    ),
    ("SELECT id AS a, qty AS a FROM orders", "1:17", "two columns are called `a`"),
    // Types.
    ("SELECT id, total + note AS x FROM orders", "1:12", "cast one"),
    ("SELECT id FROM orders WHERE placed_at < 5", "1:29", "timestamptz < integer"),
    ("SELECT id FROM orders WHERE note > 5", "1:29", "text is compared with"),
    ("SELECT id FROM orders WHERE qty = 'many'", "1:29", "'many' is no"),
    ("SELECT id FROM orders WHERE due > '2020-13-01'", "1:29", "'2020-13-01' is no date"),
    ("SELECT id, DATE 'tomorrow' AS d FROM orders", "1:17", "cannot be cast"),
    ("SELECT upper(note, 2) AS n FROM orders", "1:8", "upper"),
    ("SELECT id, note::varchar(3) AS n FROM orders", "1:12", "left("),
    ("SELECT id FROM orders WHERE note", "1:", "boolean"),
    ("SELECT id, either + 1 AS e FROM orders", "1:12", "union of several types"),
    ("SELECT id, upper(either) AS e FROM orders", "1:18", "a union of several types"),
    (
        "SELECT id, CASE WHEN either IS NULL THEN 1 END AS c FROM orders WHERE either = 1",
        "1:",
        "union of several types",
    ),
    ("SELECT id, placed_at AT TIME ZONE 5 AS l FROM orders", "1:", "AT TIME ZONE"),
    ("SELECT id, doc #> note AS l FROM orders", "1:", "written out"),
    ("SELECT id FROM orders UNION ALL SELECT id, amount FROM refunds", "1:", "column"),
];

#[test]
fn each_mistake_has_its_place_and_its_remedy() {
    let inputs = inputs();
    assert!(CASES.len() >= 50, "{}", CASES.len());
    let mut wrong = String::new();
    for (sql, place, text) in CASES {
        let found = match resolve(&inputs, sql) {
            Ok(_) => "nothing".to_owned(),
            Err(problems) => {
                let first = &problems.0[0];
                let at = first.sql_place.map(|place| place.to_string()).unwrap_or_default();
                let fits = if place.ends_with(':') { at.starts_with(place) } else { at == *place };
                if fits && problems.to_string().contains(text) {
                    continue;
                }
                problems.to_string()
            }
        };
        wrong += &format!("{sql}\n  expected {place} {text}\n  found    {found}\n");
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn long_chains_and_deep_nests_are_refused_and_do_not_overflow() {
    let inputs = inputs();
    let long = format!("SELECT id, {} AS s FROM orders", vec!["qty"; 2000].join(" + "));
    let deep = format!("SELECT id, {}qty{} AS s FROM orders", "(".repeat(2000), ")".repeat(2000));
    let nested =
        format!("SELECT id, {}note{} AS s FROM orders", "upper(".repeat(60), ")".repeat(60));
    let huge = format!("SELECT id, {} AS s FROM orders", vec!["qty"; 200_000].join(" + "));
    for sql in [long, deep, nested, huge] {
        if let Err(problems) = resolve(&inputs, &sql) {
            let text = problems.to_string();
            assert!(text.contains("deep") || text.contains("tokens"), "{text}");
        }
    }
    let ors = vec!["qty = 1"; 400].join(" OR ");
    assert!(resolve(&inputs, &format!("SELECT id FROM orders WHERE {ors}")).is_err());
}

proptest! {
    #[test]
    fn any_text_is_resolved_or_refused(text in ".{0,80}") {
        let _ = resolve(&inputs(), &text);
    }

    #[test]
    fn any_change_of_a_query_is_resolved_or_refused(
        case in 0..CASES.len(), cut in 0usize..60, with in "[ a-z0-9'(),.*=:+|>-]{0,6}",
    ) {
        let sql = CASES[case].0;
        let cut = sql.char_indices().map(|(at, _)| at).nth(cut).unwrap_or(sql.len());
        let _ = resolve(&inputs(), &format!("{}{with}{}", &sql[..cut], &sql[cut..]));
    }
}
