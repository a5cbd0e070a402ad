//! Mistakes in the form of a text, and in what every document has.

use super::Case;

pub(super) const CASES: &[Case] = &[
    Case {
        name: "an empty text",
        text: "",
        told: &[(
            "",
            "there is no document in it",
            "begin one with apiVersion: tidemesh/v1 and its kind",
        )],
    },
    Case {
        name: "only a comment",
        text: "# nothing
---
",
        told: &[(
            "",
            "there is no document in it",
            "begin one with apiVersion: tidemesh/v1 and its kind",
        )],
    },
    Case {
        name: "a list",
        text: "- a
- b
",
        told: &[(
            "1:1",
            "this is a list",
            "a table with the keys apiVersion, kind, metadata, spec is ne",
        )],
    },
    Case {
        name: "a bare text",
        text: "hello
",
        told: &[(
            "1:1",
            "this is a text",
            "a table with the keys apiVersion, kind, metadata, spec is ne",
        )],
    },
    Case {
        name: "no version and no spec",
        text: "kind: Alert
metadata: {name: a}
",
        told: &[
            ("1:1", "`apiVersion` is missing", "add the key apiVersion"),
            ("1:1", "`spec` is missing", "add the key spec"),
        ],
    },
    Case {
        name: "another version",
        text: "apiVersion: tidemesh/v2
kind: Pipeline
metadata: {name: p}
spec:
  inputs: {orders: a.orders}
  sinks: [{name: out, from: orders, kafka: {topic: b.out}}]
",
        told: &[("1:13", "there is no such version", "write tidemesh/v1")],
    },
    Case {
        name: "an unknown kind",
        text: "apiVersion: tidemesh/v1
kind: Pipelin
metadata: {name: p}
spec:
  inputs: {orders: a.orders}
  sinks: [{name: out, from: orders, kafka: {topic: b.out}}]
",
        told: &[(
            "2:7",
            "`Pipelin` is not known",
            "write one of Source, Pipeline, Processor, Alert",
        )],
    },
    Case {
        name: "a kind that is no text",
        text: "apiVersion: tidemesh/v1
kind: 7
metadata: {name: a}
spec: {}
",
        told: &[(
            "2:7",
            "this is a number",
            "one of Source, Pipeline, Processor, Alert is needed here",
        )],
    },
    Case {
        name: "an unknown key of the document",
        text: "apiVersion: tidemesh/v1
kind: Pipeline
metadata: {name: p}
spec:
  inputs: {orders: a.orders}
  sinks: [{name: out, from: orders, kafka: {topic: b.out}}]
specs: {}
",
        told: &[("7:1", "there is no such key", "did you mean `spec`?")],
    },
    Case {
        name: "a name with a space",
        text: "apiVersion: tidemesh/v1
kind: Pipeline
metadata: {name: a b}
spec:
  inputs: {orders: a.orders}
  sinks: [{name: out, from: orders, kafka: {topic: b.out}}]
",
        told: &[("3:18", "`a b` cannot be a name", "a name is 1 to 64 of a-z A-Z 0-9 _ -")],
    },
    Case {
        name: "a name that is too long",
        text: "apiVersion: tidemesh/v1
kind: Pipeline
metadata: {name: nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn}
spec:
  inputs: {orders: a.orders}
  sinks: [{name: out, from: orders, kafka: {topic: b.out}}]
",
        told: &[(
            "3:18",
            "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn…` cannot be a name",
            "a name is 1 to 64 of a-z A-Z 0-9 _ -",
        )],
    },
    Case {
        name: "a name that is a number",
        text: "apiVersion: tidemesh/v1
kind: Pipeline
metadata: {name: 12}
spec:
  inputs: {orders: a.orders}
  sinks: [{name: out, from: orders, kafka: {topic: b.out}}]
",
        told: &[("3:18", "this is a number", "a text, in quotes, is needed here")],
    },
    Case {
        name: "no name",
        text: "apiVersion: tidemesh/v1
kind: Pipeline
metadata: {owner: me}
spec:
  inputs: {orders: a.orders}
  sinks: [{name: out, from: orders, kafka: {topic: b.out}}]
",
        told: &[("3:11", "`name` is missing", "add the key name")],
    },
    Case {
        name: "a tag that is none",
        text: r#"apiVersion: tidemesh/v1
kind: Pipeline
metadata: {name: p, tags: [pii, "a b"]}
spec:
  inputs: {orders: a.orders}
  sinks: [{name: out, from: orders, kafka: {topic: b.out}}]
"#,
        told: &[(
            "3:33",
            "`a b` cannot be a tag",
            "a tag is of a-z A-Z 0-9 _ -, with : . / between its parts",
        )],
    },
    Case {
        name: "a tag twice",
        text: "apiVersion: tidemesh/v1
kind: Pipeline
metadata: {name: p, tags: [pii, pii]}
spec:
  inputs: {orders: a.orders}
  sinks: [{name: out, from: orders, kafka: {topic: b.out}}]
",
        told: &[("3:33", "`pii` is there twice", "leave out one of them")],
    },
    Case {
        name: "an empty owner",
        text: r#"apiVersion: tidemesh/v1
kind: Pipeline
metadata: {name: p, owner: ""}
spec:
  inputs: {orders: a.orders}
  sinks: [{name: out, from: orders, kafka: {topic: b.out}}]
"#,
        told: &[("3:28", "the text is empty", "write something, or leave out the key")],
    },
    Case {
        name: "two documents of one name",
        text: "apiVersion: tidemesh/v1
kind: Pipeline
metadata: {name: p}
spec:
  inputs: {orders: a.orders}
  sinks: [{name: out, from: orders, kafka: {topic: b.out}}]
---
apiVersion: tidemesh/v1
kind: Pipeline
metadata: {name: p}
spec:
  inputs: {orders: a.orders}
  sinks: [{name: out, from: orders, kafka: {topic: b.other}}]
",
        told: &[(
            "10:18",
            "there is a Pipeline of this name too, in line 3",
            "give one of them another name",
        )],
    },
    Case {
        name: "an anchor",
        text: "apiVersion: tidemesh/v1
kind: Pipeline
metadata: {name: p}
spec:
  inputs: {orders: &t a.orders}
  sinks: [{name: out, from: orders, kafka: {topic: b.out}}]
",
        told: &[("5:20", "an anchor (`&name`) is not taken", "leave it out")],
    },
    Case {
        name: "an alias",
        text: "apiVersion: tidemesh/v1
kind: Pipeline
metadata: {name: p}
spec:
  inputs: {orders: *t}
  sinks: [{name: out, from: orders, kafka: {topic: b.out}}]
",
        told: &[("5:20", "an alias (`*name`) is not taken", "write out what it stands for")],
    },
    Case {
        name: "a merge",
        text: "apiVersion: tidemesh/v1
kind: Pipeline
metadata: {name: p}
spec:
  inputs: {orders: a.orders}
  sinks: [{name: out, from: orders, kafka: {topic: b.out}}]
  <<: {evolution: auto}
",
        told: &[("7:3", "a merge (`<<`) is not taken", "write out the keys that it stands for")],
    },
    Case {
        name: "a tag of YAML",
        text: "apiVersion: tidemesh/v1
kind: Pipeline
metadata: {name: p}
spec:
  inputs: {orders: !!str a.orders}
  sinks: [{name: out, from: orders, kafka: {topic: b.out}}]
",
        told: &[("5:20", "a tag (`!name`) is not taken", "leave it out; put a text into quotes")],
    },
    Case {
        name: "a key twice",
        text: "apiVersion: tidemesh/v1
kind: Pipeline
metadata: {name: p}
spec:
  inputs: {orders: a.orders}
  sinks: [{name: out, from: orders, kafka: {topic: b.out}}]
  evolution: auto
  evolution: pinned
",
        told: &[("8:3", "the key is there twice", "leave out one of them")],
    },
    Case {
        name: "a directive",
        text: "%YAML 1.2
---
apiVersion: tidemesh/v1
kind: Pipeline
metadata: {name: p}
spec:
  inputs: {orders: a.orders}
  sinks: [{name: out, from: orders, kafka: {topic: b.out}}]
",
        told: &[(
            "1:1",
            "this is no YAML: YAML directives are disallowed",
            "leave out lines that begin with %",
        )],
    },
    Case {
        name: "a tab",
        text: "apiVersion: tidemesh/v1
kind: Pipeline
metadata: {name: p}
spec:
\tinputs: {}
",
        told: &[(
            "5:2",
            "AML: tabs disallowed within this context (block indentation)",
            "indent with spaces, not tabs",
        )],
    },
    Case {
        name: "a colon in a text",
        text: "apiVersion: tidemesh/v1
kind: Pipeline
metadata: {name: p}
spec:
  inputs: {orders: a.orders}
  on_error: stop: now
  sinks: [{name: out, from: orders, kafka: {topic: b.out}}]
",
        told: &[(
            "6:17",
            "s is no YAML: mapping values are not allowed in this context",
            "put a text that holds `: ` into quotes, and let the keys of",
        )],
    },
    Case {
        name: "a quote that is not closed",
        text: r#"apiVersion: tidemesh/v1
kind: Pipeline
metadata: {name: p}
spec:
  inputs: {orders: a.orders}
  sinks: [{name: out, from: orders, kafka: {topic: b.out}}]
  evolution: "auto
"#,
        told: &[(
            "7:14",
            "this is no YAML: unclosed quote",
            "end the text with the quote that it begins with",
        )],
    },
    Case {
        name: "a number beyond 64 bits",
        text: "apiVersion: tidemesh/v1
kind: Pipeline
metadata: {name: p}
spec:
  inputs: {orders: a.orders}
  sinks: [{name: out, from: orders, kafka: {topic: b.out, partitions: 18446744073709551616}}]
",
        told: &[("6:71", "the number needs more than 64 bits", "write it in quotes, as a text")],
    },
    Case {
        name: "not a number",
        text: "apiVersion: tidemesh/v1
kind: Alert
metadata: {name: a}
spec:
  for: {pipeline: p}
  condition: {metric: errors, above: .nan}
",
        told: &[(
            "6:38",
            "JSON has no such number",
            "leave it out, or write it in quotes, as a text",
        )],
    },
    Case {
        name: "a key that is a list",
        text: "apiVersion: tidemesh/v1
kind: Pipeline
metadata: {name: p}
spec:
  inputs: {orders: a.orders}
  sinks: [{name: out, from: orders, kafka: {topic: b.out}}]
  ? [a]
  : b
",
        told: &[("7:5", "a key must be a text", "write `key: value`")],
    },
    Case {
        name: "a character that cannot be printed",
        text: r#"apiVersion: tidemesh/v1
kind: Pipeline
metadata: {name: p, description: "a\x07b"}
spec:
  inputs: {orders: a.orders}
  sinks: [{name: out, from: orders, kafka: {topic: b.out}}]
"#,
        told: &[("3:34", "the text holds U+0007, which cannot be printed", "leave it out")],
    },
    Case {
        name: "a mistake in each of two documents",
        text: "apiVersion: tidemesh/v1
kind: Pipeline
metadata: {name: p}
spec:
  evolution: never
  inputs: {orders: a.orders}
  sinks: [{name: out, from: orders, kafka: {topic: b.out}}]
---
a: b: c
---
apiVersion: tidemesh/v1
kind: Alert
metadata: {name: a}
spec:
  for: {pipeline: p}
  condition: {metric: nothing}
",
        told: &[
            ("5:14", "`never` is not known", "write one of auto, pinned, manual"),
            (
                "9:5",
                "s is no YAML: mapping values are not allowed in this context",
                "put a text that holds `: ` into quotes, and let the keys of",
            ),
            (
                "16:23",
                "`nothing` is not known",
                "write one of lag_records, lag_seconds, errors, held, no_prog",
            ),
        ],
    },
];
