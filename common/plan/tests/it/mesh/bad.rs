//! Sets with mistakes: each is told where it stands, with what would work, and nothing else is told.
//!
//! `@Pipeline p` stands for a document's begin. `«` marks where a mistake is told, in the order of the
//! documents; what it is about, a part of what is wrong and a part of what would work stand beside it.

use super::{documents, topics};
use tidemesh_plan::mesh::{Accepted, plan};

struct Case {
    name: &'static str,
    text: &'static str,
    told: &'static [(&'static str, &'static str, &'static str)],
}

const CASES: &[Case] = &[
    Case {
        name: "a topic that nobody knows, with a near one",
        text: "@Pipeline p
  inputs: {orders: «shop.order}
  sinks: [{name: out, from: orders, kafka: {topic: a}}]",
        told: &[(
            "Pipeline p: spec.inputs.orders",
            "nobody knows a topic `shop.order`",
            "did you mean `shop.orders`?",
        )],
    },
    Case {
        name: "a topic that nobody knows, with none near",
        text: "@Pipeline p
  inputs: {x: «{topic: warehouse.stock.levels}}
  sinks: [{name: out, from: x, kafka: {topic: a}}]",
        told: &[(
            "Pipeline p: spec.inputs.x",
            "nobody knows a topic",
            "there are `app.clicks`, `numbers`, `shop.customers`, `shop.orders`, `shop.refunds`",
        )],
    },
    Case {
        name: "a source that nobody publishes",
        text: "@Pipeline p
  inputs: {x: {source: «paid}}
  sinks: [{name: out, from: x, kafka: {topic: a}}]",
        told: &[("Pipeline p: spec.inputs.x.source", "no source that leads to one topic is called `paid`", "there is none")],
    },
    Case {
        name: "a source that nobody publishes, with a near one",
        text: "@Pipeline p
  inputs: {x: {source: «payed-orders}}
  sinks: [{name: out, from: x, kafka: {topic: a}}]
@Pipeline q
  inputs: {orders: shop.orders}
  sinks: [{name: out, from: orders, kafka: {topic: b}}]
@Source paid-orders
  pipeline: {name: q, sink: out}",
        told: &[("spec.inputs.x.source", "leads to one topic is called `payed-orders`", "did you mean `paid-orders`?")],
    },
    Case {
        name: "a published source of a pipeline that is missing",
        text: "@Source paid
  pipeline: {name: «paid-order, sink: out}
@Pipeline paid-orders
  inputs: {orders: shop.orders}
  sinks: [{name: out, from: orders, kafka: {topic: a}}]",
        told: &[("Source paid: spec.pipeline.name", "there is no pipeline `paid-order`", "did you mean `paid-orders`?")],
    },
    Case {
        name: "a topic of Tidemesh's own that is said to be of others",
        text: "@Source s
  topic: «_tidemesh.catalog",
        told: &[("Source s: spec.topic", "is kept by Tidemesh or Kafka", "begins with neither")],
    },
    Case {
        name: "a topic of others that nobody has written to",
        text: "@Source s
  topic: app.orders
@Pipeline p
  inputs: {x: «{source: s}}
  sinks: [{name: out, from: x, kafka: {topic: a}}]",
        told: &[("Pipeline p: spec.inputs.x", "nobody knows a topic `app.orders`", "shop.orders")],
    },
    Case {
        name: "what reads a published source of a missing pipeline is not told of",
        text: "@Source paid
  pipeline: {name: «nope, sink: out}
@Pipeline p
  inputs: {x: {source: paid}}
  sinks: [{name: out, from: x, kafka: {topic: a}}]",
        told: &[("spec.pipeline.name", "there is no pipeline `nope`", "there is only `p`")],
    },
    Case {
        name: "an alert for a pipeline that is missing",
        text: "@Alert a
  for: {pipeline: «money}
  condition: {metric: held}",
        told: &[("Alert a: spec.for.pipeline", "there is no pipeline `money`", "there is none")],
    },
    Case {
        name: "an alert for a source that is missing",
        text: "@Alert a
  for: {source: «ships}
  condition: {metric: no_progress}
@Source shop
  postgres: {database: d, user: u, tables: [public.orders]}",
        told: &[("Alert a: spec.for.source", "there is no source `ships`", "there is only `shop`")],
    },
    Case {
        name: "an alert for a topic of others",
        text: "@Alert a
  for: {source: «placed}
  condition: {metric: no_progress}
@Source placed
  topic: app.clicks",
        told: &[("Alert a: spec.for.source", "a topic that others write, without figures", "watch a pipeline")],
    },
    Case {
        name: "a rule for a field that is not there",
        text: "@Pipeline p
  inputs: {orders: shop.orders}
  fields: [{input: orders, field: «statuss, flow: never}]
  sinks: [{name: out, from: orders, kafka: {topic: a}}]",
        told: &[("spec.fields[0].field", "`orders` has no field `statuss`", "did you mean `status`?")],
    },
    Case {
        name: "a rule for a field of which none is near",
        text: "@Pipeline p
  inputs: {r: shop.refunds}
  fields: [{input: r, field: «colour, flow: always}]
  sinks: [{name: out, from: r, kafka: {topic: a}}]",
        told: &[("spec.fields[0].field", "no field `colour`", "there are `id`, `order_id`, `amount`")],
    },
    Case {
        name: "a rule that takes the key",
        text: "@Pipeline p
  inputs: {r: shop.refunds}
  fields: [{input: r, field: id, flow: never}]
  sinks: [{name: out, from: «r, kafka: {topic: a}}]",
        told: &[("spec.sinks[0].from", "`id`, which is in the key of `r`", "let id flow: leave out its rule")],
    },
    Case {
        name: "a column that is not there, in a block",
        text: "@Pipeline p
  inputs: {orders: shop.orders}
  processors:
    - name: x
      sql: |
        SELECT id,
          «statuss
        FROM orders
  sinks: [{name: out, from: x, kafka: {topic: a}}]",
        told: &[("Pipeline p: spec.processors[0].sql", "statuss", "status")],
    },
    Case {
        name: "a column that is not there, on one line",
        text: "@Pipeline p
  inputs: {orders: shop.orders}
  processors: [{name: x, sql: 'SELECT id, «nope FROM orders'}]
  sinks: [{name: out, from: x, kafka: {topic: a}}]",
        told: &[("spec.processors[0].sql", "nope", "")],
    },
    Case {
        name: "a table that is not there",
        text: "@Pipeline p
  inputs: {orders: shop.orders}
  processors: [{name: x, sql: SELECT id FROM «order_s}]
  sinks: [{name: out, from: x, kafka: {topic: a}}]",
        told: &[("spec.processors[0].sql", "order_s", "orders")],
    },
    Case {
        name: "a processor that comes later is no table",
        text: "@Pipeline p
  inputs: {orders: shop.orders}
  processors:
    - {name: x, sql: SELECT id FROM «later}
    - {name: later, sql: SELECT id FROM orders}
  sinks: [{name: out, from: later, kafka: {topic: a}}]",
        told: &[("spec.processors[0].sql", "later", "orders")],
    },
    Case {
        name: "a join that is no lookup",
        text: "@Pipeline p
  inputs: {orders: shop.orders, refunds: shop.refunds}
  processors: [{name: x, sql: SELECT o.id FROM orders o JOIN «refunds r ON r.id = o.id}]
  sinks: [{name: out, from: x, kafka: {topic: a}}]",
        told: &[("spec.processors[0].sql", "this JOIN is not supported", "declare the other input with `lookup: true`")],
    },
    Case {
        name: "two mistakes in one text are both told",
        text: "@Pipeline p
  inputs: {orders: shop.orders}
  processors:
    - {name: x, sql: SELECT «nope FROM orders}
    - {name: y, sql: SELECT id FROM orders «GROUP BY id}
  sinks: [{name: out, from: x, kafka: {topic: a}}, {name: more, from: y, kafka: {topic: b}}]",
        told: &[
            ("spec.processors[0].sql", "nope", ""),
            ("spec.processors[1].sql", "GROUP BY", ""),
        ],
    },
    Case {
        name: "a wrong processor hides no mistake of one that does not name it",
        text: "@Pipeline p
  inputs: {orders: shop.orders}
  processors:
    - {name: a, sql: SELECT «nope FROM orders}
    - {name: b, sql: 'SELECT id, «status_s FROM orders'}
  sinks: [{name: out, from: b, kafka: {topic: t}}]",
        told: &[
            ("spec.processors[0].sql", "nope", ""),
            ("spec.processors[1].sql", "status_s", ""),
        ],
    },
    Case {
        name: "what reads a wrong processor is not told of",
        text: "@Pipeline p
  inputs: {orders: shop.orders}
  processors:
    - {name: first, sql: SELECT «nope FROM orders}
    - {name: second, sql: SELECT nope FROM first}
  sinks: [{name: out, from: second, kafka: {topic: a}}]
@Pipeline q
  inputs: {in: a}
  processors: [{name: x, sql: SELECT also_nope FROM in}]
  sinks: [{name: out, from: x, kafka: {topic: b}}]",
        told: &[("spec.processors[0].sql", "nope", "")],
    },
    Case {
        name: "a processor's type that nobody declares",
        text: "@Pipeline p
  inputs: {orders: shop.orders}
  processors: [{name: x, processor: «score@1, inputs: [orders]}]
  sinks: [{name: out, from: x, kafka: {topic: a}}]",
        told: &[("spec.processors[0].processor", "no Processor document declares `score@1`", "there is none")],
    },
    Case {
        name: "another version of a processor's type",
        text: "@Pipeline p
  inputs: {r: shop.refunds}
  processors: [{name: x, processor: «score@1, inputs: [r]}]
  sinks: [{name: out, from: x, kafka: {topic: a}}]
@Processor score
  version: 2
  inputs: [{name: in, schema: {type: record, name: R, fields: [{name: id, type: long}]}}]
  output: {schema: {type: record, name: S, fields: [{name: id, type: long}]}, key: [id]}",
        told: &[("spec.processors[0].processor", "declares `score@1`", "did you mean `score@2`?")],
    },
    Case {
        name: "a field that a processor needs and is not handed",
        text: "@Pipeline p
  inputs: {r: shop.refunds}
  processors: [{name: x, processor: score@2, inputs: [«r]}]
  sinks: [{name: out, from: x, kafka: {topic: a}}]
@Processor score
  version: 2
  inputs: [{name: in, schema: {type: record, name: R, fields: [{name: id, type: long}, {name: colour, type: string}]}}]
  output: {schema: {type: record, name: S, fields: [{name: id, type: long}]}, key: [id]}",
        told: &[(
            "spec.processors[0].inputs[0]",
            "`r` do not fit the processor's input `in`: READER_FIELD_MISSING_DEFAULT_VALUE at colour (/fields/1)",
            "default",
        )],
    },
    Case {
        name: "a type that a processor cannot take",
        text: "@Pipeline p
  inputs: {r: shop.refunds}
  processors:
    - {name: cut, sql: 'SELECT id, reason AS code FROM r'}
    - {name: x, processor: score@2, inputs: [«cut]}
  sinks: [{name: out, from: x, kafka: {topic: a}}]
@Processor score
  version: 2
  inputs: [{name: in, schema: {type: record, name: R, fields: [{name: id, type: long}, {name: code, type: ['null', long]}]}}]
  output: {schema: {type: record, name: S, fields: [{name: id, type: long}]}, key: [id]}",
        told: &[("spec.processors[1].inputs[0]", "`cut` do not fit the processor's input `in`", "select what fits")],
    },
    Case {
        name: "a value that may be null for a processor that takes no null",
        text: "@Pipeline p
  inputs: {r: shop.refunds}
  processors: [{name: x, processor: score@2, inputs: [«r]}]
  sinks: [{name: out, from: x, kafka: {topic: a}}]
@Processor score
  version: 2
  inputs: [{name: in, schema: {type: record, name: R, fields: [{name: reason, type: string}]}}]
  output: {schema: {type: record, name: S, fields: [{name: id, type: long}]}, key: [id]}",
        told: &[("spec.processors[0].inputs[0]", "declared is string, and it is given", "select what fits")],
    },
    Case {
        name: "a looked-up value that may be missing for a processor that takes no null",
        text: "@Pipeline p
  inputs: {clicks: app.clicks, c: {topic: shop.customers, lookup: true}}
  processors:
    - {name: one, sql: 'SELECT k.url, c.id FROM clicks k LEFT JOIN c ON c.id = k.user'}
    - {name: x, processor: score@2, inputs: [«one]}
  sinks: [{name: out, from: x, kafka: {topic: a}}]
@Processor score
  version: 2
  inputs: [{name: in, schema: {type: record, name: R, fields: [{name: url, type: string}, {name: id, type: long}]}}]
  output: {schema: {type: record, name: S, fields: [{name: id, type: long}]}}",
        told: &[("spec.processors[1].inputs[0]", "at id (/fields/1/type): declared is long", "select what fits")],
    },
    Case {
        name: "a processor that is not handed the key",
        text: "@Pipeline p
  inputs: {r: shop.refunds}
  processors:
    - {name: cut, sql: SELECT reason FROM r}
    - {name: x, processor: score@2, inputs: [«cut]}
  sinks: [{name: out, from: x, kafka: {topic: a}}]
@Processor score
  version: 2
  inputs: [{name: in, schema: {type: record, name: R, fields: [{name: reason, type: ['null', string]}]}}]
  output: {schema: {type: record, name: S, fields: [{name: id, type: long}]}, key: [id]}",
        told: &[("spec.processors[1].inputs[0]", "`id`, which is in the key of `r`", "select id")],
    },
    Case {
        name: "too few inputs of a processor",
        text: "@Pipeline p
  inputs: {r: shop.refunds}
  processors: [{name: x, processor: score@2, inputs: «[r]}]
  sinks: [{name: out, from: x, kafka: {topic: a}}]
@Processor score
  version: 2
  inputs:
    - {name: one, schema: {type: record, name: R, fields: [{name: id, type: long}]}}
    - {name: two, schema: {type: record, name: R, fields: [{name: id, type: long}]}}
  output: {schema: {type: record, name: S, fields: [{name: id, type: long}]}, key: [id]}",
        told: &[("spec.processors[0].inputs", "takes 2 inputs, and 1 are named", "name one for each of one, two")],
    },
    Case {
        name: "a processor that reads a lookup",
        text: "@Pipeline p
  inputs: {r: {topic: shop.refunds, lookup: true}}
  processors: [{name: x, processor: score@2, inputs: [«r]}]
  sinks: [{name: out, from: x, kafka: {topic: a}}]
@Processor score
  version: 2
  inputs: [{name: in, schema: {type: record, name: R, fields: [{name: id, type: long}]}}]
  output: {schema: {type: record, name: S, fields: [{name: id, type: long}]}, key: [id]}",
        told: &[("spec.processors[0].inputs[0]", "`r` is a lookup", "as another input, without `lookup: true`")],
    },
    Case {
        name: "a configuration of a processor that takes none",
        text: "@Pipeline p
  inputs: {r: shop.refunds}
  processors: [{name: x, processor: score@2, inputs: [r], config: «{a: 1}}]
  sinks: [{name: out, from: x, kafka: {topic: a}}]
@Processor score
  version: 2
  inputs: [{name: in, schema: {type: record, name: R, fields: [{name: id, type: long}]}}]
  output: {schema: {type: record, name: S, fields: [{name: id, type: long}]}, key: [id]}",
        told: &[("spec.processors[0].config", "`score@2` takes no configuration", "leave it out")],
    },
    Case {
        name: "a configuration that does not fit, at several places",
        text: "@Pipeline p
  inputs: {r: shop.refunds}
  processors:
    - {name: x, processor: score@2, inputs: [r], config: «{rate: «-1, mode: «slow, deep: {sizes: [1, «b]}}}
  sinks: [{name: out, from: x, kafka: {topic: a}}]
@Processor score
  version: 2
  inputs: [{name: in, schema: {type: record, name: R, fields: [{name: id, type: long}]}}]
  output: {schema: {type: record, name: S, fields: [{name: id, type: long}]}, key: [id]}
  config_schema:
    required: [model]
    properties:
      rate: {type: number, minimum: 0}
      mode: {enum: [fast, exact]}
      deep: {properties: {sizes: {items: {type: integer}}}}",
        told: &[
            ("spec.processors[0].config", "`model` is missing", "add the key model"),
            ("spec.processors[0].config.rate", "-1 is too small", "write 0 or more"),
            ("spec.processors[0].config.mode", "is not known", "write one of \"fast\", \"exact\""),
            ("spec.processors[0].config.deep.sizes[1]", "this is a string", "integer is needed"),
        ],
    },
    Case {
        name: "a configuration that is missing",
        text: "@Pipeline p
  inputs: {r: shop.refunds}
  processors: [«{name: x, processor: score@2, inputs: [r]}]
  sinks: [{name: out, from: x, kafka: {topic: a}}]
@Processor score
  version: 2
  inputs: [{name: in, schema: {type: record, name: R, fields: [{name: id, type: long}]}}]
  output: {schema: {type: record, name: S, fields: [{name: id, type: long}]}, key: [id]}
  config_schema: {type: object, required: [model]}",
        told: &[("spec.processors[0].config", "`model` is missing", "add the key model")],
    },
    Case {
        name: "a column of what a processor makes that is not there",
        text: "@Pipeline p
  inputs: {r: shop.refunds}
  processors:
    - {name: x, processor: score@2, inputs: [r]}
    - {name: y, sql: 'SELECT id, «reason FROM x'}
  sinks: [{name: out, from: y, kafka: {topic: a}}]
@Processor score
  version: 2
  inputs: [{name: in, schema: {type: record, name: R, fields: [{name: id, type: long}]}}]
  output: {schema: {type: record, name: S, fields: [{name: id, type: long}]}, key: [id]}",
        told: &[("spec.processors[1].sql", "reason", "id")],
    },
    Case {
        name: "a sink that writes a source's topic",
        text: "@Pipeline p
  inputs: {orders: shop.orders}
  sinks: [{name: out, from: orders, kafka: {topic: «shop.refunds}}]",
        told: &[("spec.sinks[0].kafka.topic", "`shop.refunds` is a topic of the source `shop`", "write to another topic")],
    },
    Case {
        name: "a tap and dead letters on a source's topics",
        text: "@Pipeline p
  inputs: {orders: shop.orders}
  processors: [{name: x, sql: SELECT * FROM orders, tap: «shop.refunds}]
  sinks: [{name: out, from: x, kafka: {topic: a}}]
  on_error: dead_letter
  dead_letter_topic: «shop.customers",
        told: &[
            ("spec.processors[0].tap", "a topic of the source `shop`", "another topic"),
            ("spec.dead_letter_topic", "a topic of the source `shop`", "another topic"),
        ],
    },
    Case {
        name: "a topic of Tidemesh's own",
        text: "@Pipeline p
  inputs: {orders: shop.orders}
  sinks: [{name: out, from: orders, kafka: {topic: «_tidemesh.checkpoints}}]",
        told: &[("spec.sinks[0].kafka.topic", "is kept by Tidemesh or Kafka", "begins with neither")],
    },
    Case {
        name: "two pipelines that write one topic",
        text: "@Pipeline p
  inputs: {orders: shop.orders}
  sinks: [{name: out, from: orders, kafka: {topic: a}}]
@Pipeline q
  inputs: {orders: shop.orders}
  processors: [{name: x, sql: SELECT * FROM orders, tap: «a}]
  sinks: [{name: out, from: x, kafka: {topic: b}}]",
        told: &[("Pipeline q: spec.processors[0].tap", "is written by spec.sinks[0].kafka.topic of the pipeline p too", "another topic")],
    },
    Case {
        name: "dead letters on another pipeline's topic",
        text: "@Pipeline p
  inputs: {orders: shop.orders}
  sinks: [{name: out, from: orders, kafka: {topic: a}}]
@Pipeline q
  inputs: {orders: shop.orders}
  sinks: [{name: out, from: orders, kafka: {topic: b}}]
  on_error: dead_letter
  dead_letter_topic: «a",
        told: &[("spec.dead_letter_topic", "is written by", "another topic")],
    },
    Case {
        name: "a pipeline that reads its own output",
        text: "@Pipeline p
  inputs: {orders: a}
  sinks: [{name: out, from: orders, kafka: {topic: «a}}]",
        told: &[("spec.sinks[0].kafka.topic", "the pipeline reads this topic, as its input `orders`", "another topic")],
    },
    Case {
        name: "two pipelines that read each other",
        text: "@Pipeline p
  inputs: {x: «b}
  sinks: [{name: out, from: x, kafka: {topic: a}}]
@Pipeline q
  inputs: {x: a}
  sinks: [{name: out, from: x, kafka: {topic: b}}]",
        told: &[("Pipeline p: spec.inputs.x", "reads what becomes of its own output: p → a → q → b → p", "read another topic")],
    },
    Case {
        name: "a cycle over a tap, a source and a third pipeline, and one that is behind it",
        text: "@Pipeline behind
  inputs: {x: c}
  sinks: [{name: out, from: x, kafka: {topic: z}}]
@Pipeline p
  inputs: {x: «{source: end}, orders: shop.orders}
  processors: [{name: t, sql: SELECT * FROM x, tap: a}]
  sinks: [{name: out, from: t, kafka: {topic: a2}}]
@Pipeline q
  inputs: {x: a}
  sinks: [{name: out, from: x, kafka: {topic: b}}]
@Pipeline r
  inputs: {x: b}
  sinks: [{name: last, from: x, kafka: {topic: c}}]
@Source end
  pipeline: {name: r, sink: last}",
        told: &[("Pipeline p: spec.inputs.x", "p → a → q → b → r → c → p", "read another topic")],
    },
    Case {
        name: "two cycles are both told",
        text: "@Pipeline p
  inputs: {x: «b}
  sinks: [{name: out, from: x, kafka: {topic: a}}]
@Pipeline q
  inputs: {x: a}
  sinks: [{name: out, from: x, kafka: {topic: b}}]
@Pipeline r
  inputs: {x: «d}
  sinks: [{name: out, from: x, kafka: {topic: c}}]
@Pipeline s
  inputs: {x: c}
  sinks: [{name: out, from: x, kafka: {topic: d}}]",
        told: &[
            ("Pipeline p: spec.inputs.x", "p → a → q → b → p", ""),
            ("Pipeline r: spec.inputs.x", "r → c → s → d → r", ""),
        ],
    },
    Case {
        name: "a compacted topic of events",
        text: "@Pipeline p
  inputs: {clicks: app.clicks}
  sinks: [{name: out, from: clicks, kafka: {topic: a, cleanup_policy: «compact}}]",
        told: &[("spec.sinks[0].kafka.cleanup_policy", "`a` holds events, which have no key to compact by", "cleanup_policy: delete")],
    },
    Case {
        name: "retention of a topic that is compacted since it has a key",
        text: "@Pipeline p
  inputs: {orders: shop.orders}
  sinks: [{name: out, from: orders, kafka: {topic: a, retention_ms: «1000}}]",
        told: &[("spec.sinks[0].kafka.retention_ms", "`a` has a key and is compacted", "cleanup_policy: delete")],
    },
    Case {
        name: "a key that is not carried through",
        text: "@Pipeline p
  inputs: {orders: shop.orders}
  processors: [{name: x, sql: SELECT status FROM orders}]
  sinks: [{name: out, from: «x, kafka: {topic: a}}]",
        told: &[("spec.sinks[0].from", "`id`, which is in the key of `orders`", "select id")],
    },
    Case {
        name: "a key that is not carried through to a tap",
        text: "@Pipeline p
  inputs: {orders: shop.orders}
  processors:
    - {name: x, sql: SELECT id FROM orders}
    - {name: y, sql: SELECT status FROM orders, tap: «b}
  sinks: [{name: out, from: x, kafka: {topic: a}}]",
        told: &[("spec.processors[1].tap", "`id`, which is in the key of `orders`", "select id")],
    },
    Case {
        name: "a union whose keys collide",
        text: "@Pipeline p
  inputs: {orders: shop.orders, refunds: shop.refunds}
  processors: [{name: x, sql: SELECT id FROM orders UNION ALL SELECT id FROM refunds}]
  sinks: [{name: out, from: «x, kafka: {topic: a}}]",
        told: &[("spec.sinks[0].from", "would overwrite each other", "select a constant that differs")],
    },
    Case {
        name: "a declared key of other columns",
        text: "@Pipeline p
  inputs: {orders: shop.orders}
  sinks: [{name: out, from: orders, kafka: {topic: a, key: «[status]}}]",
        told: &[("spec.sinks[0].kafka.key", "do not identify a row", "declare id")],
    },
    Case {
        name: "a declared key of events",
        text: "@Pipeline p
  inputs: {clicks: app.clicks}
  sinks: [{name: out, from: clicks, kafka: {topic: a, key: «[url]}}]",
        told: &[("spec.sinks[0].kafka.key", "events, which have no key", "leave `key` out")],
    },
    Case {
        name: "a name that flat records need",
        text: "@Pipeline p
  inputs: {orders: shop.orders}
  processors: [{name: x, sql: 'SELECT id, status AS __op FROM orders'}]
  sinks: [{name: out, from: «x, kafka: {topic: a, envelope: flat}}]",
        told: &[("spec.sinks[0].from", "`__op` is a name that flat records need", "envelope: debezium")],
    },
    Case {
        name: "a sink that takes a lookup",
        text: "@Pipeline p
  inputs: {customers: {topic: shop.customers, lookup: true}}
  sinks: [{name: out, from: «customers, kafka: {topic: a}}]",
        told: &[("spec.sinks[0].from", "`customers` is a lookup: its rows are only looked up", "as another input")],
    },
    Case {
        name: "a topic whose values are no records",
        text: "@Pipeline p
  inputs: {n: «numbers}
  sinks: [{name: out, from: n, kafka: {topic: a}}]",
        told: &[("spec.inputs.n", "`numbers` cannot be read: its values are no records", "Avro records")],
    },
    Case {
        name: "mistakes of several documents stand in their order",
        text: "@Alert z
  for: {pipeline: «nope}
  condition: {metric: held}
@Pipeline p
  inputs: {orders: «shop.nope, refunds: shop.refunds}
  sinks: [{name: out, from: refunds, kafka: {topic: «shop.orders}}]
@Pipeline q
  inputs: {refunds: shop.refunds}
  processors: [{name: x, sql: SELECT «nope FROM refunds}]
  sinks: [{name: out, from: x, kafka: {topic: b}}]",
        told: &[
            ("Alert z: spec.for.pipeline", "no pipeline `nope`", "there are `p`, `q`"),
            ("Pipeline p: spec.inputs.orders", "nobody knows", ""),
            ("Pipeline p: spec.sinks[0].kafka.topic", "of the source `shop`", ""),
            ("Pipeline q: spec.processors[0].sql", "nope", ""),
        ],
    },
];

/// The text without its marks, and where they stood.
fn written(text: &str) -> (String, Vec<String>) {
    let begin = |line: &str| match line.strip_prefix('@').and_then(|rest| rest.split_once(' ')) {
        Some((kind, name)) => format!(
            "---\napiVersion: tidemesh/v1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec:\n"
        ),
        None => format!("{line}\n"),
    };
    let text: String = text.lines().map(begin).collect();
    let mut places = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let columns = line.chars().enumerate().filter(|(_, character)| *character == '«');
        let columns = columns.enumerate().map(|(marks, (column, _))| column - marks + 1);
        places.extend(columns.map(|column| format!("{}:{column}", number + 1)));
    }
    (text.replace('«', ""), places)
}

#[test]
fn every_mistake_is_told_where_it_stands() {
    assert!(CASES.len() >= 35, "{}", CASES.len());
    let mut topics = topics();
    let numbers = tidemesh_avro::schema::Schema::parse(r#""long""#).unwrap();
    topics.insert(
        "numbers".into(),
        tidemesh_plan::mesh::Topic { key: None, value: numbers, source: None },
    );
    let mut wrong = String::new();
    for Case { name, text, told } in CASES {
        let (text, places) = written(text);
        let problems = match tidemesh_plan::document::parse(&text) {
            Ok(documents) => plan(&documents, &topics, &Accepted::new()).err(),
            Err(problems) => Some(problems),
        };
        let problems = problems.map(|problems| problems.0).unwrap_or_default();
        let fits = problems.len() == told.len()
            && places.len() == told.len()
            && problems.iter().zip(*told).zip(&places).all(
                |((problem, (about, message, help)), place)| {
                    problem.place.is_some_and(|found| found.to_string() == *place)
                        && problem.about.contains(about)
                        && problem.message.contains(message)
                        && problem.help.as_ref().is_some_and(|found| found.contains(help))
                },
            );
        if !fits {
            let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
            wrong += &format!("{name}: at {places:?}\n  {}\n", problems.join("\n  "));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn a_problem_in_sql_has_its_place_in_the_document_and_in_the_sql() {
    let case = CASES.iter().find(|case| case.name.ends_with("in a block")).unwrap();
    let (text, _) = written(case.text);
    let problems = plan(&documents(&text), &topics(), &Accepted::new()).unwrap_err();
    let problem = &problems.0[0];
    assert_eq!(problem.place.unwrap().to_string(), "11:11");
    assert_eq!(problem.sql_place.unwrap().to_string(), "2:3");
}

#[test]
fn what_is_told_has_a_bound() {
    let many: String = (0..300)
        .map(|number| {
            format!("@Alert a{number}\n  for: {{pipeline: x}}\n  condition: {{metric: held}}\n")
        })
        .collect();
    let (text, _) = written(&many);
    let problems = plan(&documents(&text), &topics(), &Accepted::new()).unwrap_err();
    assert_eq!(problems.0.len(), tidemesh_plan::document::PROBLEMS_MAX + 1);
    assert!(problems.0.last().unwrap().message.contains("200 more"));
}
