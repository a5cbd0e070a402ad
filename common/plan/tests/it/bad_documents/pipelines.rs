//! Mistakes in pipelines.

use super::Case;

pub(super) const CASES: &[Case] = &[
    Case {
        name: "a key with a slip",
        text: "apiVersion: tidemesh/v1
kind: Pipeline
metadata: {name: p}
spec:
  inputs: {orders: a.orders}
  sink: [{name: out, from: orders, kafka: {topic: b.out}}]
",
        told: &[
            ("5:3", "`sinks` is missing", "add the key sinks"),
            ("6:3", "there is no such key", "did you mean `sinks`?"),
        ],
    },
    Case {
        name: "an unknown evolution",
        text: "apiVersion: tidemesh/v1
kind: Pipeline
metadata: {name: p}
spec:
  evolution: always
  inputs: {orders: a.orders}
  sinks: [{name: out, from: orders, kafka: {topic: b.out}}]
",
        told: &[("5:14", "`always` is not known", "write one of auto, pinned, manual")],
    },
    Case {
        name: "yes is a text",
        text: "apiVersion: tidemesh/v1
kind: Pipeline
metadata: {name: p}
spec:
  inputs: {orders: {topic: t, lookup: yes}}
  sinks: [{name: out, from: orders, kafka: {topic: b.out}}]
",
        told: &[("5:39", "this is a text", "true or false is needed here")],
    },
    Case {
        name: "inputs as a list",
        text: "apiVersion: tidemesh/v1
kind: Pipeline
metadata: {name: p}
spec:
  inputs: [orders]
  sinks: [{name: out, from: orders, kafka: {topic: b.out}}]
",
        told: &[
            ("5:11", "this is a list", "a table of keys is needed here"),
            ("6:29", "`orders` names no processor and no input", "there is none"),
        ],
    },
    Case {
        name: "no inputs",
        text: "apiVersion: tidemesh/v1
kind: Pipeline
metadata: {name: p}
spec:
  inputs: {}
  sinks: [{name: out, from: x, kafka: {topic: t}}]
",
        told: &[
            ("5:11", "the pipeline reads nothing", "write at least one input, as orders: a.topic"),
            ("6:29", "`x` names no processor and no input", "there is none"),
        ],
    },
    Case {
        name: "no sinks",
        text: "apiVersion: tidemesh/v1
kind: Pipeline
metadata: {name: p}
spec:
  inputs: {orders: a.orders}
  sinks: []
",
        told: &[(
            "6:10",
            "the pipeline writes nothing",
            "write at least one {name: …, from: …, kafka: {topic: …}}",
        )],
    },
    Case {
        name: "an input of neither kind",
        text: "apiVersion: tidemesh/v1
kind: Pipeline
metadata: {name: p}
spec:
  inputs: {orders: {lookup: true}}
  sinks: [{name: out, from: orders, kafka: {topic: b.out}}]
",
        told: &[("5:20", "`topic` or `source` is missing", "add the key topic or source")],
    },
    Case {
        name: "an input of both kinds",
        text: "apiVersion: tidemesh/v1
kind: Pipeline
metadata: {name: p}
spec:
  inputs: {orders: {topic: t, source: s}}
  sinks: [{name: out, from: orders, kafka: {topic: b.out}}]
",
        told: &[("5:31", "`topic` and `source` are both set", "leave out one of them")],
    },
    Case {
        name: "a lookup with a start",
        text: "apiVersion: tidemesh/v1
kind: Pipeline
metadata: {name: p}
spec:
  inputs: {orders: {topic: t, lookup: true, start: latest}}
  sinks: [{name: out, from: orders, kafka: {topic: b.out}}]
",
        told: &[(
            "5:45",
            "a lookup has no start",
            "leave it out: the table is read from the topic's first recor",
        )],
    },
    Case {
        name: "a topic that Kafka refuses",
        text: "apiVersion: tidemesh/v1
kind: Pipeline
metadata: {name: p}
spec:
  inputs: {orders: a/b}
  sinks: [{name: out, from: orders, kafka: {topic: b.out}}]
",
        told: &[(
            "5:20",
            "Kafka takes no topic `a/b`",
            "a topic's name is 1 to 249 of a-z A-Z 0-9 . _ -, and not . o",
        )],
    },
    Case {
        name: "an input whose name is none",
        text: "apiVersion: tidemesh/v1
kind: Pipeline
metadata: {name: p}
spec:
  inputs: {orders: t, my orders: u}
  sinks: [{name: out, from: orders, kafka: {topic: b.out}}]
",
        told: &[("5:23", "`my orders` cannot be a name", "a name is 1 to 64 of a-z A-Z 0-9 _ -")],
    },
    Case {
        name: "a processor with SQL and a type",
        text: "apiVersion: tidemesh/v1
kind: Pipeline
metadata: {name: p}
spec:
  inputs: {orders: a.orders}
  processors:
    - {name: x, sql: SELECT 1, processor: y@1, inputs: [orders]}
  sinks: [{name: out, from: orders, kafka: {topic: b.out}}]
",
        told: &[("7:32", "`sql` and `processor` are both set", "leave out one of them")],
    },
    Case {
        name: "a processor with neither",
        text: "apiVersion: tidemesh/v1
kind: Pipeline
metadata: {name: p}
spec:
  inputs: {orders: a.orders}
  processors:
    - {name: x}
  sinks: [{name: out, from: orders, kafka: {topic: b.out}}]
",
        told: &[("7:7", "`sql` or `processor` is missing", "add the key sql or processor")],
    },
    Case {
        name: "SQL with inputs",
        text: "apiVersion: tidemesh/v1
kind: Pipeline
metadata: {name: p}
spec:
  inputs: {orders: a.orders}
  processors:
    - {name: x, sql: SELECT 1, inputs: [orders], config: {}}
  sinks: [{name: out, from: orders, kafka: {topic: b.out}}]
",
        told: &[
            (
                "7:32",
                "a processor of SQL has no inputs",
                "leave it out: the SQL names its tables after FROM",
            ),
            (
                "7:50",
                "a processor of SQL has no configuration",
                "leave it out, or write what it says into the SQL",
            ),
        ],
    },
    Case {
        name: "empty SQL",
        text: r#"apiVersion: tidemesh/v1
kind: Pipeline
metadata: {name: p}
spec:
  inputs: {orders: a.orders}
  processors:
    - name: x
      sql: ""
  sinks: [{name: out, from: orders, kafka: {topic: b.out}}]
"#,
        told: &[("8:12", "the text is empty", "write something, or leave out the key")],
    },
    Case {
        name: "a type without version",
        text: "apiVersion: tidemesh/v1
kind: Pipeline
metadata: {name: p}
spec:
  inputs: {orders: a.orders}
  processors:
    - {name: x, processor: fraud, inputs: [orders]}
  sinks: [{name: out, from: orders, kafka: {topic: b.out}}]
",
        told: &[(
            "7:28",
            "`fraud` is no version of a processor",
            "write name@version, as fraud-score@2",
        )],
    },
    Case {
        name: "version nought",
        text: "apiVersion: tidemesh/v1
kind: Pipeline
metadata: {name: p}
spec:
  inputs: {orders: a.orders}
  processors:
    - {name: x, processor: fraud@0, inputs: [orders]}
  sinks: [{name: out, from: orders, kafka: {topic: b.out}}]
",
        told: &[(
            "7:28",
            "`fraud@0` is no version of a processor",
            "write name@version, as fraud-score@2",
        )],
    },
    Case {
        name: "a registered processor without inputs",
        text: "apiVersion: tidemesh/v1
kind: Pipeline
metadata: {name: p}
spec:
  inputs: {orders: a.orders}
  processors:
    - {name: x, processor: fraud@1}
  sinks: [{name: out, from: orders, kafka: {topic: b.out}}]
",
        told: &[("7:7", "`inputs` is missing", "add the key inputs")],
    },
    Case {
        name: "a processor that reads one after it",
        text: "apiVersion: tidemesh/v1
kind: Pipeline
metadata: {name: p}
spec:
  inputs: {orders: a.orders}
  processors:
    - {name: x, processor: f@1, inputs: [y]}
    - {name: y, processor: f@1, inputs: [x]}
  sinks: [{name: out, from: orders, kafka: {topic: b.out}}]
",
        told: &[(
            "7:42",
            "`y` does not stand before this processor",
            "a processor takes inputs and processors before it: change th",
        )],
    },
    Case {
        name: "a processor that reads itself",
        text: "apiVersion: tidemesh/v1
kind: Pipeline
metadata: {name: p}
spec:
  inputs: {orders: a.orders}
  processors:
    - {name: x, processor: f@1, inputs: [x]}
  sinks: [{name: out, from: orders, kafka: {topic: b.out}}]
",
        told: &[(
            "7:42",
            "`x` does not stand before this processor",
            "a processor takes inputs and processors before it: change th",
        )],
    },
    Case {
        name: "a processor that reads nothing known",
        text: "apiVersion: tidemesh/v1
kind: Pipeline
metadata: {name: p}
spec:
  inputs: {orders: a.orders}
  processors:
    - {name: x, processor: f@1, inputs: [order]}
  sinks: [{name: out, from: orders, kafka: {topic: b.out}}]
",
        told: &[(
            "7:42",
            "`order` names no input and no processor before this one",
            "did you mean `orders`?",
        )],
    },
    Case {
        name: "an input and a processor of one name",
        text: "apiVersion: tidemesh/v1
kind: Pipeline
metadata: {name: p}
spec:
  inputs: {orders: a.orders}
  processors:
    - {name: orders, sql: SELECT 1}
  sinks: [{name: out, from: orders, kafka: {topic: b.out}}]
",
        told: &[("7:14", "an input has the name `orders` too", "give one of them another name")],
    },
];
