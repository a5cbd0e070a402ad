//! Mistakes in what refers to something else, in a pipeline and between documents.

use super::Case;

pub(super) const CASES: &[Case] = &[
    Case {
        name: "two processors of one name",
        text: "apiVersion: tidemesh/v1
kind: Pipeline
metadata: {name: p}
spec:
  inputs: {orders: a.orders}
  processors:
    - {name: x, sql: SELECT 1}
    - {name: x, sql: SELECT 2}
  sinks: [{name: out, from: orders, kafka: {topic: b.out}}]
",
        told: &[("8:14", "a processor has the name `x` too", "give one of them another name")],
    },
    Case {
        name: "two sinks of one name",
        text: "apiVersion: tidemesh/v1
kind: Pipeline
metadata: {name: p}
spec:
  inputs: {orders: a.orders}
  sinks:
    - {name: out, from: orders, kafka: {topic: t}}
    - {name: out, from: orders, kafka: {topic: u}}
",
        told: &[("8:14", "a sink has the name `out` too", "give one of them another name")],
    },
    Case {
        name: "a sink from nowhere",
        text: "apiVersion: tidemesh/v1
kind: Pipeline
metadata: {name: p}
spec:
  inputs: {orders: a.orders}
  sinks: [{name: out, from: paid, kafka: {topic: b.out}}]
",
        told: &[("6:29", "`paid` names no processor and no input", "there is only `orders`")],
    },
    Case {
        name: "a sink without target",
        text: "apiVersion: tidemesh/v1
kind: Pipeline
metadata: {name: p}
spec:
  inputs: {orders: a.orders}
  sinks: [{name: out, from: orders}]
",
        told: &[("6:11", "`kafka` is missing", "add the key kafka")],
    },
    Case {
        name: "a sink with an unknown target",
        text: "apiVersion: tidemesh/v1
kind: Pipeline
metadata: {name: p}
spec:
  inputs: {orders: a.orders}
  sinks: [{name: out, from: orders, kafak: {topic: t}}]
",
        told: &[
            ("6:11", "`kafka` is missing", "add the key kafka"),
            ("6:37", "there is no such key", "did you mean `kafka`?"),
        ],
    },
    Case {
        name: "too many partitions",
        text: "apiVersion: tidemesh/v1
kind: Pipeline
metadata: {name: p}
spec:
  inputs: {orders: a.orders}
  sinks: [{name: out, from: orders, kafka: {topic: b.out, partitions: 1001}}]
",
        told: &[("6:71", "1001 is out of bounds", "a whole number of 1 to 1000 is needed")],
    },
    Case {
        name: "partitions as a text",
        text: r#"apiVersion: tidemesh/v1
kind: Pipeline
metadata: {name: p}
spec:
  inputs: {orders: a.orders}
  sinks: [{name: out, from: orders, kafka: {topic: b.out, partitions: "3"}}]
"#,
        told: &[("6:71", "this is a text", "a whole number of 1 to 1000 is needed here")],
    },
    Case {
        name: "partitions with a fraction",
        text: "apiVersion: tidemesh/v1
kind: Pipeline
metadata: {name: p}
spec:
  inputs: {orders: a.orders}
  sinks: [{name: out, from: orders, kafka: {topic: b.out, partitions: 1e3}}]
",
        told: &[("6:71", "1000.0 is out of bounds", "a whole number of 1 to 1000 is needed")],
    },
    Case {
        name: "retention of a compacted topic",
        text: "apiVersion: tidemesh/v1
kind: Pipeline
metadata: {name: p}
spec:
  inputs: {orders: a.orders}
  sinks: [{name: out, from: orders, kafka: {topic: b.out, cleanup_policy: compact, retention_ms: 1}}]
",
        told: &[(
            "6:84",
            "a compacted topic keeps the last record of each key",
            "leave it out, or write cleanup_policy: delete",
        )],
    },
    Case {
        name: "a key without fields",
        text: "apiVersion: tidemesh/v1
kind: Pipeline
metadata: {name: p}
spec:
  inputs: {orders: a.orders}
  sinks: [{name: out, from: orders, kafka: {topic: b.out, key: []}}]
",
        told: &[(
            "6:64",
            "the key has no field",
            "name its fields, or leave it out for the key of what is writ",
        )],
    },
    Case {
        name: "an unknown envelope",
        text: "apiVersion: tidemesh/v1
kind: Pipeline
metadata: {name: p}
spec:
  inputs: {orders: a.orders}
  sinks: [{name: out, from: orders, kafka: {topic: b.out, envelope: Flat}}]
",
        told: &[("6:69", "`Flat` is not known", "write one of debezium, flat")],
    },
    Case {
        name: "a sink that writes an input",
        text: "apiVersion: tidemesh/v1
kind: Pipeline
metadata: {name: p}
spec:
  inputs: {orders: a.orders}
  sinks: [{name: out, from: orders, kafka: {topic: a.orders}}]
",
        told: &[(
            "6:52",
            "the pipeline reads this topic, as its input `orders`",
            "write to another topic",
        )],
    },
    Case {
        name: "a tap that writes an input",
        text: "apiVersion: tidemesh/v1
kind: Pipeline
metadata: {name: p}
spec:
  inputs: {orders: a.orders}
  processors:
    - {name: x, sql: SELECT 1, tap: a.orders}
  sinks: [{name: out, from: orders, kafka: {topic: b.out}}]
",
        told: &[(
            "7:37",
            "the pipeline reads this topic, as its input `orders`",
            "write to another topic",
        )],
    },
    Case {
        name: "a tap and a sink with one topic",
        text: "apiVersion: tidemesh/v1
kind: Pipeline
metadata: {name: p}
spec:
  inputs: {orders: a.orders}
  processors:
    - {name: x, sql: SELECT 1, tap: b.out}
  sinks: [{name: out, from: orders, kafka: {topic: b.out}}]
",
        told: &[(
            "8:52",
            "` is written by spec.processors[0].tap of the pipeline p too",
            "give one of them another topic",
        )],
    },
    Case {
        name: "dead letters without topic",
        text: "apiVersion: tidemesh/v1
kind: Pipeline
metadata: {name: p}
spec:
  inputs: {orders: a.orders}
  sinks: [{name: out, from: orders, kafka: {topic: b.out}}]
  on_error: dead_letter
",
        told: &[(
            "7:13",
            "`dead_letter_topic` is missing",
            "add dead_letter_topic, the topic to which such records go",
        )],
    },
    Case {
        name: "a topic for dead letters that are not kept",
        text: "apiVersion: tidemesh/v1
kind: Pipeline
metadata: {name: p}
spec:
  inputs: {orders: a.orders}
  sinks: [{name: out, from: orders, kafka: {topic: b.out}}]
  dead_letter_topic: t
",
        told: &[(
            "7:3",
            "no record is written to it",
            "write on_error: dead_letter, or leave it out",
        )],
    },
    Case {
        name: "a field rule of an unknown input",
        text: "apiVersion: tidemesh/v1
kind: Pipeline
metadata: {name: p}
spec:
  inputs: {orders: a.orders}
  fields:
    - {input: ordres, field: x, flow: never}
  sinks: [{name: out, from: orders, kafka: {topic: b.out}}]
",
        told: &[("7:15", "`ordres` names no input", "did you mean `orders`?")],
    },
    Case {
        name: "a field rule with an unknown flow",
        text: "apiVersion: tidemesh/v1
kind: Pipeline
metadata: {name: p}
spec:
  inputs: {orders: a.orders}
  fields:
    - {input: orders, field: x, flow: no}
  sinks: [{name: out, from: orders, kafka: {topic: b.out}}]
",
        told: &[("7:39", "`no` is not known", "write one of always, never")],
    },
    Case {
        name: "two rules for a field",
        text: "apiVersion: tidemesh/v1
kind: Pipeline
metadata: {name: p}
spec:
  inputs: {orders: a.orders}
  fields:
    - {input: orders, field: x, flow: never}
    - {input: orders, field: x, flow: always}
  sinks: [{name: out, from: orders, kafka: {topic: b.out}}]
",
        told: &[("8:30", "there are two rules for `x`", "leave out one of them")],
    },
    Case {
        name: "two pipelines that write one topic",
        text: "apiVersion: tidemesh/v1
kind: Pipeline
metadata: {name: p}
spec:
  inputs: {orders: a.orders}
  sinks: [{name: out, from: orders, kafka: {topic: b.out}}]
---
apiVersion: tidemesh/v1
kind: Pipeline
metadata: {name: q}
spec:
  inputs: {orders: a.orders}
  sinks: [{name: out, from: orders, kafka: {topic: b.out}}]
",
        told: &[(
            "13:52",
            "s written by spec.sinks[0].kafka.topic of the pipeline p too",
            "give one of them another topic",
        )],
    },
    Case {
        name: "an input that is a database",
        text: "apiVersion: tidemesh/v1
kind: Source
metadata: {name: s}
spec:
  postgres: {database: d, user: u, tables: [public.t]}
---
apiVersion: tidemesh/v1
kind: Pipeline
metadata: {name: p}
spec:
  inputs: {orders: {source: s}}
  sinks: [{name: out, from: orders, kafka: {topic: b.out}}]
",
        told: &[(
            "11:29",
            "the source `s` is a database, with a topic for each table",
            "name one of its topics: topic: source.schema.table",
        )],
    },
    Case {
        name: "an input that is its own output",
        text: "apiVersion: tidemesh/v1
kind: Source
metadata: {name: s}
spec:
  pipeline: {name: p, sink: out}
---
apiVersion: tidemesh/v1
kind: Pipeline
metadata: {name: p}
spec:
  inputs: {orders: {source: s}}
  sinks: [{name: out, from: orders, kafka: {topic: b.out}}]
",
        told: &[(
            "11:29",
            "the source `s` is this pipeline's own output",
            "read another source, or the processor itself",
        )],
    },
    Case {
        name: "a published sink that the pipeline has not",
        text: "apiVersion: tidemesh/v1
kind: Source
metadata: {name: s}
spec:
  pipeline: {name: p, sink: outs}
---
apiVersion: tidemesh/v1
kind: Pipeline
metadata: {name: p}
spec:
  inputs: {orders: a.orders}
  sinks: [{name: out, from: orders, kafka: {topic: b.out}}]
",
        told: &[("5:29", "the pipeline `p` has no sink `outs`", "did you mean")],
    },
    Case {
        name: "two sources of one topic",
        text: "apiVersion: tidemesh/v1
kind: Source
metadata: {name: s}
spec: {topic: shop.orders}
---
apiVersion: tidemesh/v1
kind: Source
metadata: {name: t}
spec: {topic: shop.orders}
",
        told: &[("9:15", "the source `s` speaks of `shop.orders` too", "say all of it in one of them")],
    },
    Case {
        name: "a topic of others that a pipeline writes",
        text: "apiVersion: tidemesh/v1
kind: Source
metadata: {name: s}
spec: {topic: b.out}
---
apiVersion: tidemesh/v1
kind: Pipeline
metadata: {name: p}
spec:
  inputs: {orders: a.orders}
  sinks: [{name: out, from: orders, kafka: {topic: b.out}}]
",
        told: &[
            (
                "4:15",
                "`b.out` is written by spec.sinks[0].kafka.topic of the pipeline p",
                "publish a sink by pipeline: {name: …, sink: …}",
            ),
            (
                "11:52",
                "`b.out` is a topic that others write, as the source `s` says",
                "write to another topic, or delete the source s",
            ),
        ],
    },
];
