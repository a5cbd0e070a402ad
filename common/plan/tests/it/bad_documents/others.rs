//! Mistakes in sources, processors and alerts.

use super::Case;

pub(super) const CASES: &[Case] = &[
    Case {
        name: "a source of nothing",
        text: "apiVersion: tidemesh/v1
kind: Source
metadata: {name: s}
spec:
  types: avro
",
        told: &[("5:3", "the source names neither a database nor a pipeline nor a topic", "pipeline for the output of a pipeline, or topic for one that others write")],
    },
    Case {
        name: "a topic of others that Kafka takes none of",
        text: "apiVersion: tidemesh/v1
kind: Source
metadata: {name: s}
spec:
  topic: shop orders
",
        told: &[("5:10", "Kafka takes no topic `shop orders`", "a topic's name is 1 to 249 of a-z A-Z 0-9 . _ -")],
    },
    Case {
        name: "a topic of others that has no name",
        text: "apiVersion: tidemesh/v1
kind: Source
metadata: {name: s}
spec:
  topic:
  catalog: {fields: {a..b: {}}}
",
        told: &[("5:3", "`topic` is missing", "add the key topic"), ("6:22", "this is no field's path", "write a field's name")],
    },
    Case {
        name: "a topic of others with what a database has",
        text: "apiVersion: tidemesh/v1
kind: Source
metadata: {name: s}
spec:
  topic: shop.orders
  postgres: {database: d, user: u, tables: [public.t]}
",
        told: &[("6:3", "there is no such key", "there are `topic`, `catalog`")],
    },
    Case {
        name: "a slip in a source",
        text: "apiVersion: tidemesh/v1
kind: Source
metadata: {name: s}
spec:
  postgres: {database: d, usr: u, tables: [public.t]}
",
        told: &[("5:13", "`user` is missing", "add the key user"), ("5:27", "there is no such key", "did you mean `user`?")],
    },
    Case {
        name: "a port that is a text",
        text: "apiVersion: tidemesh/v1
kind: Source
metadata: {name: s}
spec:
  postgres: {port: high, database: d, user: u, tables: [public.t]}
",
        told: &[("5:20", "this is a text", "a whole number, not below 0 nor too large, is needed here")],
    },
    Case {
        name: "an unknown variant of a setting",
        text: "apiVersion: tidemesh/v1
kind: Source
metadata: {name: s}
spec:
  postgres: {database: d, user: u, tables: [public.t]}
  envelope: flatt
",
        told: &[("6:13", "`flatt` is not known", "write one of debezium, flat")],
    },
    Case {
        name: "several mistakes in settings",
        text: "apiVersion: tidemesh/v1
kind: Source
metadata: {name: s}
spec:
  postgres: {database: 1, tabels: [public.t], tls: maybe}
  snapshot: {paralel: 3}
",
        told: &[("5:13", "`user` is missing", "add the key user"), ("5:13", "`tables` is missing", "add the key tables"), ("5:24", "this is a number", "a string is needed here"), ("5:27", "there is no such key", "did you mean `tables`?"), ("5:52", "`maybe` is not known", "write one of disable, prefer, require, verify-ca, verify-ful"), ("6:14", "there is no such key", "did you mean `parallel`?")],
    },
    Case {
        name: "a setting out of its bounds",
        text: "apiVersion: tidemesh/v1
kind: Source
metadata: {name: s}
spec:
  postgres: {database: d, user: u, tables: [public.t]}
  snapshot:
    parallel: 17
",
        told: &[("7:15", "must be 1 to 16 (value: 17)", "the connector's documentation has the bounds")],
    },
    Case {
        name: "a source of no table",
        text: "apiVersion: tidemesh/v1
kind: Source
metadata: {name: s}
spec:
  postgres: {database: d, user: u, tables: []}
",
        told: &[("5:44", "names no table", "list the tables to capture, as tables: [\"public.orders\"]")],
    },
    Case {
        name: "a source with a name in its spec",
        text: "apiVersion: tidemesh/v1
kind: Source
metadata: {name: s}
spec:
  name: s
  postgres: {database: d, user: u, tables: [public.t]}
",
        told: &[("5:3", "there is no such key", "leave it out: metadata.name is the source's name")],
    },
    Case {
        name: "a secret",
        text: "apiVersion: tidemesh/v1
kind: Source
metadata: {name: s}
spec:
  postgres: {password: hunter2, database: d, user: u, tables: [public.t]}
",
        told: &[("5:14", "`password` is a secret, which must not stand in a document", "write it into a file, and name that as ")],
    },
    Case {
        name: "a secret that looks hidden",
        text: r#"apiVersion: tidemesh/v1
kind: Source
metadata: {name: s}
spec:
  postgres: {password: "***", database: d, user: u, tables: [public.t]}
"#,
        told: &[("5:14", "`password` is a secret, which must not stand in a document", "write it into a file, and name that as ")],
    },
    Case {
        name: "a salt",
        text: "apiVersion: tidemesh/v1
kind: Source
metadata: {name: s}
spec:
  postgres:
    database: d
    user: u
    tables: [public.t]
    mask:
      - {columns: [public.t.c], with: hash, salt: pepper}
",
        told: &[("10:45", "`salt` is a secret, which must not stand in a document", "write it into a file, and name that as ")],
    },
    Case {
        name: "a catalogue of a table that is not captured",
        text: "apiVersion: tidemesh/v1
kind: Source
metadata: {name: s}
spec:
  postgres: {database: d, user: u, tables: [public.t]}
  catalog:
    public.other: {owner: me}
",
        told: &[("7:5", "postgres.tables has no `public.other`", "add it there, or leave it out here")],
    },
    Case {
        name: "a source of two databases",
        text: "apiVersion: tidemesh/v1
kind: Source
metadata: {name: s}
spec:
  postgres: {database: d, user: u, tables: [public.t]}
  mysql: {user: u, tables: [shop.t]}
",
        told: &[("6:10", "postgres is there too; a source has one of them", "the connector's documentation")],
    },
    Case {
        name: "several mistakes in a MySQL source",
        text: "apiVersion: tidemesh/v1
kind: Source
metadata: {name: s}
spec:
  mysql: {usr: u, time: long, tables: [shop.t]}
",
        told: &[("5:10", "`user` is missing", "add the key user"), ("5:11", "there is no such key", "did you mean `user`?"), ("5:25", "`long` is not known", "write one of text, time_of_day")],
    },
    Case {
        name: "a MySQL source's settings out of their bounds",
        text: "apiVersion: tidemesh/v1
kind: Source
metadata: {name: s}
spec:
  mysql: {user: u, tables: [shop.t], server_id: 0}
",
        told: &[("5:49", "must be 1 to 4294967295", "the connector's documentation")],
    },
    Case {
        name: "a secret of a MySQL source",
        text: "apiVersion: tidemesh/v1
kind: Source
metadata: {name: s}
spec:
  mysql: {user: u, password: hunter2, tables: [shop.t]}
",
        told: &[("5:20", "`password` is a secret, which must not stand in a document", "write it into a file, and name that as ")],
    },
    Case {
        name: "a catalogue of a table that is not captured from MySQL",
        text: "apiVersion: tidemesh/v1
kind: Source
metadata: {name: s}
spec:
  mysql: {user: u, tables: [shop.t]}
  catalog:
    shop.other: {owner: me}
",
        told: &[("7:5", "mysql.tables has no `shop.other`", "add it there, or leave it out here")],
    },
    Case {
        name: "read-only snapshots of PostgreSQL",
        text: "apiVersion: tidemesh/v1
kind: Source
metadata: {name: s}
spec:
  postgres: {database: d, user: u, tables: [public.t]}
  snapshot: {read_only: true}
",
        told: &[("6:25", "is for mysql alone", "leave it out")],
    },
    Case {
        name: "a catalogue of what is no table",
        text: "apiVersion: tidemesh/v1
kind: Source
metadata: {name: s}
spec:
  postgres: {database: d, user: u, tables: [public.t]}
  catalog:
    other: {}
",
        told: &[("7:5", "this is no table", "write schema.table, as public.orders")],
    },
    Case {
        name: "a catalogue with a slip",
        text: "apiVersion: tidemesh/v1
kind: Source
metadata: {name: s}
spec:
  postgres: {database: d, user: u, tables: [public.t]}
  catalog:
    public.t:
      fields: {a: {tag: [pii]}}
",
        told: &[("8:20", "there is no such key", "did you mean `tags`?")],
    },
    Case {
        name: "a published source with settings",
        text: "apiVersion: tidemesh/v1
kind: Source
metadata: {name: s}
spec:
  pipeline: {name: p, sink: out}
  topics: {partitions: 3}
",
        told: &[("6:3", "there is no such key", "there are `pipeline`, `catalog`")],
    },
    Case {
        name: "a published source without a sink",
        text: "apiVersion: tidemesh/v1
kind: Source
metadata: {name: s}
spec:
  pipeline: {name: p}
",
        told: &[("5:13", "`sink` is missing", "add the key sink")],
    },
    Case {
        name: "a processor without a version",
        text: "apiVersion: tidemesh/v1
kind: Processor
metadata: {name: r}
spec:
  inputs: [{name: a, schema: {type: record, name: R, fields: [{name: id, type: long}]}}]
  output: {schema: {type: record, name: R, fields: [{name: id, type: long}]}}
",
        told: &[("5:3", "`version` is missing", "add the key version")],
    },
    Case {
        name: "a schema that is none",
        text: "apiVersion: tidemesh/v1
kind: Processor
metadata: {name: r}
spec:
  version: 1
  inputs:
    - name: a
      schema:
        type: record
        name: R
        fields:
          - {name: id, type: lng}
  output: {schema: {type: record, name: R, fields: [{name: id, type: long}]}}
",
        told: &[("12:30", "this is no Avro schema: Undefined name: \"lng\"", "write it as the specification of Avro 1.12 has schemas")],
    },
    Case {
        name: "a schema of no record",
        text: "apiVersion: tidemesh/v1
kind: Processor
metadata: {name: r}
spec:
  version: 1
  inputs: [{name: a, schema: string}]
  output: {schema: {type: record, name: R, fields: [{name: id, type: long}]}}
",
        told: &[("6:30", "the schema is no record's, and a row is one", "write {type: record, name: …, fields: […]}")],
    },
    Case {
        name: "a key that the schema lacks",
        text: "apiVersion: tidemesh/v1
kind: Processor
metadata: {name: r}
spec:
  version: 1
  inputs: [{name: a, schema: {type: record, name: R, fields: [{name: id, type: long}]}}]
  output: {schema: {type: record, name: R, fields: [{name: id, type: long}]}, key: [ids]}
",
        told: &[("7:85", "the schema has no field `ids`", "there is only `id`")],
    },
    Case {
        name: "two inputs of a type with one name",
        text: "apiVersion: tidemesh/v1
kind: Processor
metadata: {name: r}
spec:
  version: 1
  inputs: [{name: a, schema: {type: record, name: R, fields: [{name: id, type: long}]}}, {name: a, schema: {type: record, name: R, fields: [{name: id, type: long}]}}]
  output: {schema: {type: record, name: R, fields: [{name: id, type: long}]}}
",
        told: &[("6:97", "there are two inputs `a`", "give one of them another name")],
    },
    Case {
        name: "an alert for nothing",
        text: "apiVersion: tidemesh/v1
kind: Alert
metadata: {name: a}
spec:
  for: {}
  condition: {metric: errors, above: 1}
",
        told: &[("5:8", "`pipeline` or `source` is missing", "add the key pipeline or source")],
    },
    Case {
        name: "an alert for two things",
        text: "apiVersion: tidemesh/v1
kind: Alert
metadata: {name: a}
spec:
  for: {pipeline: p, source: s}
  condition: {metric: errors, above: 1}
",
        told: &[("5:22", "`pipeline` and `source` are both set", "leave out one of them")],
    },
    Case {
        name: "an alert of an unknown metric",
        text: "apiVersion: tidemesh/v1
kind: Alert
metadata: {name: a}
spec:
  for: {pipeline: p}
  condition: {metric: lag, above: 1}
",
        told: &[("6:23", "`lag` is not known", "write one of lag_records, lag_seconds, errors, held, no_prog")],
    },
    Case {
        name: "an alert without a bound",
        text: "apiVersion: tidemesh/v1
kind: Alert
metadata: {name: a}
spec:
  for: {pipeline: p}
  condition: {metric: lag_seconds}
",
        told: &[("6:14", "`above` is missing, which the metric needs", "add the key above, with the value from which on it is told")],
    },
    Case {
        name: "an alert of a source that is held",
        text: "apiVersion: tidemesh/v1
kind: Alert
metadata: {name: a}
spec:
  for: {source: s}
  condition: {metric: held}
",
        told: &[("6:23", "a source is never held", "watch a pipeline, or no_progress")],
    },
    Case {
        name: "a label that Prometheus refuses",
        text: "apiVersion: tidemesh/v1
kind: Alert
metadata: {name: a}
spec:
  for: {pipeline: p}
  condition: {metric: held}
  labels: {my-team: x}
",
        told: &[("7:12", "Prometheus takes no label `my-team`", "a label is of a-z A-Z 0-9 _, and begins with neither a digit")],
    },
];
