//! Each kind of outcome, in a table: documents, a change, and the verdicts with a part of why.

use super::Mesh;

struct Case {
    name: &'static str,
    mesh: &'static str,
    topic: &'static str,
    change: &'static str,
    /// Pipeline, verdict, and what its reasons have.
    expected: &'static [(&'static str, &'static str, &'static str)],
}

const PAID: &str =
    "@Pipeline p\nfrom shop.orders: SELECT id, status, qty FROM r WHERE status = 'paid'";
const STAR: &str = "@Pipeline p\nfrom shop.orders: SELECT * FROM r";
const CHAIN: &str = "@Pipeline a\nfrom shop.orders: SELECT * FROM r
@Pipeline b\nfrom mesh.a: SELECT * FROM r WHERE qty > 0
@Pipeline c\nfrom mesh.b: SELECT * FROM r
@Pipeline d\nfrom mesh.c: SELECT id, note, upper(status) AS status FROM r
@Pipeline e\nfrom mesh.d: SELECT * FROM r";
const UNION: &str = "@Pipeline p
inputs: {o: shop.orders, r: shop.refunds}
  processors: [{name: u, sql: \"SELECT 'o' AS origin, id, note AS text FROM o UNION ALL SELECT 'r', id, reason FROM r\"}]
  sinks: [{name: out, from: u, kafka: {topic: mesh.p}}]";
const LOOKUP: &str = "@Pipeline p
inputs: {o: shop.orders, c: {topic: shop.customers, lookup: true}}
  processors: [{name: j, sql: \"SELECT o.id, o.qty, c.name FROM o LEFT JOIN c ON c.id = o.customer_id\"}]
  sinks: [{name: out, from: j, kafka: {topic: mesh.p}}]";
const REGISTERED: &str = "@Processor score
version: 1
  inputs: [{name: rows, schema: {type: record, name: Row, fields: [{name: id, type: long}, {name: note, type: ['null', string]}]}}]
  output: {schema: {type: record, name: Scored, fields: [{name: id, type: long}, {name: score, type: double}]}, key: [id]}
@Pipeline p
inputs: {o: shop.orders}
  processors: [{name: kept, sql: \"SELECT * FROM o\"}, {name: scored, processor: score@1, inputs: [kept]}]
  sinks: [{name: out, from: scored, kafka: {topic: mesh.p}}]";
const TAP: &str = "@Pipeline p
inputs: {o: shop.orders}
  processors: [{name: kept, sql: \"SELECT id, note FROM o\"}, {name: all, sql: \"SELECT * FROM o\", tap: tap.all}]
  sinks: [{name: out, from: kept, kafka: {topic: mesh.p}}]";
const PUBLISHED: &str = "@Pipeline p\nfrom shop.orders: SELECT * FROM r
@Source good
pipeline: {name: p, sink: out}
@Pipeline q
inputs: {g: {source: good}}
  processors: [{name: made, sql: \"SELECT id, note FROM g\"}]
  sinks: [{name: out, from: made, kafka: {topic: mesh.q}}]";

const OF_OTHERS: &str = "@Source placed
topic: shop.orders
@Pipeline p
inputs: {g: {source: placed}}
  processors: [{name: made, sql: \"SELECT id, note FROM g\"}]
  sinks: [{name: out, from: made, kafka: {topic: mesh.p}}]";

const CASES: &[Case] = &[
    Case {
        name: "a column is added that SQL does not name",
        mesh: PAID,
        topic: "shop.orders",
        change: "add extra text",
        expected: &[("p", "unaffected", "")],
    },
    Case {
        name: "a star takes it",
        mesh: STAR,
        topic: "shop.orders",
        change: "add extra text",
        expected: &[("p", "upgraded", "")],
    },
    Case {
        name: "with a default",
        mesh: STAR,
        topic: "shop.orders",
        change: "add extra int = 5",
        expected: &[("p", "upgraded", "")],
    },
    Case {
        name: "a column is dropped that nothing reads",
        mesh: PAID,
        topic: "shop.orders",
        change: "drop note",
        expected: &[("p", "unaffected", "")],
    },
    Case {
        name: "one that SQL names",
        mesh: PAID,
        topic: "shop.orders",
        change: "drop qty",
        expected: &[("p", "held", "select something else than qty")],
    },
    Case {
        name: "one that only a filter reads",
        mesh: "@Pipeline p\nfrom shop.orders: SELECT id FROM r WHERE status = 'x'",
        topic: "shop.orders",
        change: "drop status",
        expected: &[("p", "held", "r.status, read by made: status is gone")],
    },
    Case {
        name: "one that a star took",
        mesh: STAR,
        topic: "shop.orders",
        change: "drop note",
        expected: &[("p", "upgraded", "")],
    },
    Case {
        name: "a column that SQL names is renamed",
        mesh: PAID,
        topic: "shop.orders",
        change: "rename qty amount",
        expected: &[("p", "held", "select amount instead, as amount AS qty")],
    },
    Case {
        name: "one that a star takes is renamed",
        mesh: STAR,
        topic: "shop.orders",
        change: "rename qty amount",
        expected: &[("p", "upgraded", "")],
    },
    Case {
        name: "one that nothing reads is renamed",
        mesh: PAID,
        topic: "shop.orders",
        change: "rename note memo",
        expected: &[("p", "unaffected", "")],
    },
    Case {
        name: "a type that nothing reads is widened: the table goes on in another topic",
        mesh: "@Pipeline p\nfrom shop.orders: SELECT id, note FROM r",
        topic: "shop.orders",
        change: "type qty bigint",
        expected: &[("p", "moved", "")],
    },
    Case {
        name: "a type that is passed on is widened",
        mesh: PAID,
        topic: "shop.orders",
        change: "type qty bigint",
        expected: &[("p", "held", "refuses the new schema by FULL_TRANSITIVE")],
    },
    Case {
        name: "a type that is cast to what it was",
        mesh: "@Pipeline p\nfrom shop.orders: SELECT id, qty::text AS qty FROM r",
        topic: "shop.orders",
        change: "type qty bigint",
        expected: &[("p", "moved", "")],
    },
    Case {
        name: "a type that only a filter reads",
        mesh: "@Pipeline p\nfrom shop.orders: SELECT id, note FROM r WHERE qty > 3",
        topic: "shop.orders",
        change: "type qty bigint",
        expected: &[("p", "moved", "")],
    },
    Case {
        name: "a type that does not fit the SQL",
        mesh: "@Pipeline p\nfrom shop.orders: SELECT id, upper(status) AS s FROM r",
        topic: "shop.orders",
        change: "type status int",
        expected: &[("p", "held", "status was")],
    },
    Case {
        name: "the key gets a column",
        mesh: "@Pipeline p\nfrom shop.orders: SELECT id, customer_id, note FROM r",
        topic: "shop.orders",
        change: "key id,customer_id",
        expected: &[("p", "held", "the key of mesh.p would be another")],
    },
    Case {
        name: "the key's type changes",
        mesh: PAID,
        topic: "shop.orders",
        change: "type id text",
        expected: &[("p", "held", "the key of mesh.p would be another")],
    },
    Case {
        name: "the key's column gets another name",
        mesh: STAR,
        topic: "shop.orders",
        change: "rename id order_id",
        expected: &[("p", "held", "the key of mesh.p would be another")],
    },
    Case {
        name: "five pipelines deep a column flows on where stars take it",
        mesh: CHAIN,
        topic: "shop.orders",
        change: "add extra text",
        expected: &[
            ("a", "upgraded", ""),
            ("b", "upgraded", ""),
            ("c", "upgraded", ""),
            ("d", "unaffected", ""),
            ("e", "unaffected", ""),
        ],
    },
    Case {
        name: "five pipelines deep a dropped column holds who names it, and only that",
        mesh: CHAIN,
        topic: "shop.orders",
        change: "drop note",
        expected: &[
            ("a", "upgraded", ""),
            ("b", "upgraded", ""),
            ("c", "upgraded", ""),
            ("d", "held", "r.note, read by made: note is gone"),
            ("e", "unaffected", ""),
        ],
    },
    Case {
        name: "five pipelines deep a type is widened",
        mesh: CHAIN,
        topic: "shop.orders",
        change: "type qty bigint",
        expected: &[
            ("a", "held", "mesh.a-value refuses"),
            ("b", "unaffected", ""),
            ("c", "unaffected", ""),
            ("d", "unaffected", ""),
            ("e", "unaffected", ""),
        ],
    },
    Case {
        name: "a part of a union loses a column",
        mesh: UNION,
        topic: "shop.refunds",
        change: "drop reason",
        expected: &[("p", "held", "r.reason, read by u")],
    },
    Case {
        name: "a part of a union gets one",
        mesh: UNION,
        topic: "shop.refunds",
        change: "add extra text",
        expected: &[("p", "unaffected", "")],
    },
    Case {
        name: "a part of a union goes over to another topic",
        mesh: UNION,
        topic: "shop.refunds",
        change: "type order_id text",
        expected: &[("p", "moved", "")],
    },
    Case {
        name: "a CASE reads a column that is dropped",
        mesh: "@Pipeline p\nfrom shop.orders: SELECT id, CASE WHEN qty > 2 THEN 'many' ELSE status END AS s FROM r",
        topic: "shop.orders",
        change: "drop qty",
        expected: &[("p", "held", "qty is gone")],
    },
    Case {
        name: "a looked-up column is dropped",
        mesh: LOOKUP,
        topic: "shop.customers",
        change: "drop name",
        expected: &[("p", "held", "c.name, read by j")],
    },
    Case {
        name: "a column beside it is",
        mesh: LOOKUP,
        topic: "shop.customers",
        change: "drop tier",
        expected: &[("p", "unaffected", "")],
    },
    Case {
        name: "a looked-up table goes over to another topic",
        mesh: LOOKUP,
        topic: "shop.customers",
        change: "type tier text",
        expected: &[("p", "moved", "")],
    },
    Case {
        name: "a looked-up table's key is another",
        mesh: LOOKUP,
        topic: "shop.customers",
        change: "key id,tier",
        expected: &[("p", "held", "")],
    },
    Case {
        name: "a registered processor declares what is dropped",
        mesh: REGISTERED,
        topic: "shop.orders",
        change: "drop note",
        expected: &[("p", "held", "note is gone")],
    },
    Case {
        name: "a registered processor does not declare what is added",
        mesh: REGISTERED,
        topic: "shop.orders",
        change: "add extra text",
        expected: &[("p", "unaffected", "")],
    },
    Case {
        name: "a registered processor cannot take the type",
        mesh: REGISTERED,
        topic: "shop.orders",
        change: "type note int",
        expected: &[("p", "held", "do not fit the processor's input")],
    },
    Case {
        name: "a tap shows what is added",
        mesh: TAP,
        topic: "shop.orders",
        change: "add extra text",
        expected: &[("p", "upgraded", "")],
    },
    Case {
        name: "a tap's subject refuses",
        mesh: TAP,
        topic: "shop.orders",
        change: "type qty bigint",
        expected: &[("p", "held", "tap.all-value refuses")],
    },
    Case {
        name: "a published source that is read by its name",
        mesh: PUBLISHED,
        topic: "shop.orders",
        change: "add extra text",
        expected: &[("p", "upgraded", ""), ("q", "unaffected", "")],
    },
    Case {
        name: "a published source loses what is read",
        mesh: PUBLISHED,
        topic: "shop.orders",
        change: "drop note",
        expected: &[("p", "upgraded", ""), ("q", "held", "g.note, read by made")],
    },
    Case {
        name: "a topic of others that is read by its source's name gets a field",
        mesh: OF_OTHERS,
        topic: "shop.orders",
        change: "add extra text",
        expected: &[("p", "unaffected", "")],
    },
    Case {
        name: "a topic of others loses what is read",
        mesh: OF_OTHERS,
        topic: "shop.orders",
        change: "drop note",
        expected: &[("p", "held", "g.note, read by made")],
    },
    Case {
        name: "a field that a rule keeps out",
        mesh: "@Pipeline p\nfrom shop.orders: SELECT * FROM r\nfields: [{input: r, field: note, flow: never}]",
        topic: "shop.orders",
        change: "type note int",
        expected: &[("p", "moved", "")],
    },
    Case {
        name: "a field of a rule is gone",
        mesh: "@Pipeline p\nfrom shop.orders: SELECT id, qty FROM r\nfields: [{input: r, field: note, flow: never}]",
        topic: "shop.orders",
        change: "drop note",
        expected: &[("p", "stays", "has no field `note`")],
    },
    Case {
        name: "new fields are ignored",
        mesh: "@Pipeline p\nfrom shop.orders: SELECT * FROM r\nnew_fields: ignore",
        topic: "shop.orders",
        change: "add extra text",
        expected: &[("p", "unaffected", "")],
    },
    Case {
        name: "new fields are ignored, and one that was there is renamed",
        mesh: "@Pipeline p\nfrom shop.orders: SELECT * FROM r\nnew_fields: ignore",
        topic: "shop.orders",
        change: "rename note memo; add extra text",
        expected: &[("p", "upgraded", "")],
    },
    Case {
        name: "pinned goes on",
        mesh: "@Pipeline p\nfrom shop.orders: SELECT * FROM r\nevolution: pinned",
        topic: "shop.orders",
        change: "add extra text",
        expected: &[("p", "unaffected", "")],
    },
    Case {
        name: "pinned is held by what it lacks",
        mesh: "@Pipeline p\nfrom shop.orders: SELECT * FROM r\nevolution: pinned",
        topic: "shop.orders",
        change: "drop note",
        expected: &[("p", "held", "evolution: pinned")],
    },
    Case {
        name: "pinned goes over to the same work",
        mesh: "@Pipeline p\nfrom shop.orders: SELECT id, note FROM r\nevolution: pinned",
        topic: "shop.orders",
        change: "type qty text; add extra text",
        expected: &[("p", "moved", "")],
    },
    Case {
        name: "pinned does not go over to other work",
        mesh: "@Pipeline p\nfrom shop.orders: SELECT id, qty::text AS q FROM r\nevolution: pinned",
        topic: "shop.orders",
        change: "type qty bigint",
        expected: &[("p", "held", "evolution: pinned")],
    },
    Case {
        name: "manual waits for somebody",
        mesh: "@Pipeline p\nfrom shop.orders: SELECT * FROM r\nevolution: manual",
        topic: "shop.orders",
        change: "add extra text",
        expected: &[("p", "stays", "evolution: manual")],
    },
    Case {
        name: "manual is held by what it lacks",
        mesh: "@Pipeline p\nfrom shop.orders: SELECT * FROM r\nevolution: manual",
        topic: "shop.orders",
        change: "drop note",
        expected: &[("p", "held", "evolution: manual")],
    },
    Case {
        name: "manual goes over with the fields that it had",
        mesh: "@Pipeline p\nfrom shop.orders: SELECT * FROM r\nevolution: manual\n  fields: [{input: r, field: qty, flow: never}]",
        topic: "shop.orders",
        change: "type qty bigint; add extra text",
        expected: &[("p", "moved", "")],
    },
    Case {
        name: "two columns would have one name",
        mesh: "@Pipeline p\nfrom shop.orders: SELECT *, upper(status) AS extra FROM r",
        topic: "shop.orders",
        change: "add extra text",
        expected: &[("p", "stays", "extra")],
    },
    Case {
        name: "two columns would have one name in the next topic: it goes there with what it had",
        mesh: "@Pipeline p\nfrom shop.orders: SELECT *, upper(status) AS extra FROM r\nfields: [{input: r, field: qty, flow: never}]",
        topic: "shop.orders",
        change: "add extra text; type qty bigint",
        expected: &[("p", "moved", "extra")],
    },
    Case {
        name: "what is above a held pipeline and what is beside it go on",
        mesh: "@Pipeline a\nfrom shop.orders: SELECT id, qty FROM r\n@Pipeline b\nfrom mesh.a: SELECT id FROM r\n@Pipeline c\nfrom shop.orders: SELECT id, note FROM r",
        topic: "shop.orders",
        change: "drop qty",
        expected: &[("a", "held", ""), ("b", "unaffected", ""), ("c", "unaffected", "")],
    },
    Case {
        name: "a precision grows",
        mesh: "@Pipeline p\nfrom shop.orders: SELECT id, total FROM r",
        topic: "shop.orders",
        change: "type total numeric(20,2)",
        expected: &[("p", "upgraded", "")],
    },
    Case {
        name: "a precision grows under a pinned one",
        mesh: "@Pipeline p\nfrom shop.orders: SELECT id, total FROM r\nevolution: pinned",
        topic: "shop.orders",
        change: "type total numeric(20,2)",
        expected: &[("p", "stays", "evolution: pinned")],
    },
    Case {
        name: "a unit changes that Avro does not see",
        mesh: "@Pipeline p\nfrom shop.orders: SELECT id, placed_at FROM r\nevolution: pinned",
        topic: "shop.orders",
        change: "type placed_at timestamp",
        expected: &[("p", "held", "placed_at was")],
    },
];

#[test]
fn every_case_has_its_outcome() {
    let mut wrong = Vec::new();
    for case in CASES {
        let mut mesh = Mesh::new(case.mesh);
        mesh.change(case.topic, case.change);
        let judged = mesh.judge();
        for (pipeline, verdict, why) in case.expected {
            let judgement = judged.pipeline(pipeline).unwrap();
            let told = judgement.reasons.iter().any(|reason| reason.to_string().contains(why));
            if judgement.verdict.name() != *verdict || !(why.is_empty() || told) {
                let reasons = &judgement.reasons;
                wrong.push(format!(
                    "{}: {pipeline} is {}: {reasons:#?}",
                    case.name, judgement.verdict
                ));
            }
        }
        let pipelines = judged.pipelines.len();
        assert_eq!(pipelines, case.expected.len(), "{}", case.name);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
