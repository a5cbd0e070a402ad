"""What `scripts/debezium-diff` compares with: topics of Debezium (`peer.…`) and ours, as Avro.

    wait OP ID SERVERS REGISTRY PEER_REGISTRY   until both have told of this row, in each topic
    print SERVERS REGISTRY PEER_REGISTRY        every difference of schemas, keys and events

Values are compared as Avro's own types: numbers, strings and bytes, as they lie in the record.
"""

import io
import json
import sys
import time

import fastavro
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition
from confluent_kafka.schema_registry import SchemaRegistryClient

TABLES = ["public.whole", "public.keyed"]
WAIT_S = 120

# What tidemesh says of a column besides, in properties that readers pass over.
PROPERTIES = {"source.type", "source.not_null", "source.name", "enum"}

# What says how a value looks, not how it lies in the record.
LOOKS = {"logicalType", "default"}

# The connector's own clock: differs between any two runs.
CLOCK = {"ts_ms", "ts_us", "ts_ns"}


class Topic:
    """A topic's records with their schemas: a list of (key, key schema, value, value schema)."""

    def __init__(self, servers, registry, name):
        self.client = SchemaRegistryClient({"url": registry})
        self.schemas = {}
        consumer = Consumer(
            {
                "bootstrap.servers": servers,
                "group.id": "not-used",
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
            }
        )
        self.records = []
        metadata = consumer.list_topics(name, 30).topics[name]
        if metadata.error is None:
            consumer.assign([TopicPartition(name, 0, OFFSET_BEGINNING)])
            while (message := consumer.poll(30)) is not None:
                if message.error() is None:
                    self.records.append((*self.read(message.key()), *self.read(message.value())))
                elif message.error().code() == KafkaError._PARTITION_EOF:
                    break
                else:
                    sys.exit(str(message.error()))
        consumer.close()

    def read(self, frame):
        if frame is None:
            return None, None
        if frame[0] != 0:
            sys.exit(f"no frame: {frame[:5].hex()}")
        number = int.from_bytes(frame[1:5], "big")
        if number not in self.schemas:
            text = self.client.get_schema(number).schema_str
            self.schemas[number] = (json.loads(text), fastavro.parse_schema(bare(json.loads(text))))
        schema, parsed = self.schemas[number]
        rest = io.BytesIO(frame[5:])
        value = fastavro.schemaless_reader(rest, parsed)
        if rest.read():
            sys.exit(f"bytes are left of a record of schema {number}")
        return value, schema


def bare(schema):
    """Without logical types, so that values stay as they lie in the record; without defaults."""
    if isinstance(schema, list):
        return [bare(each) for each in schema]
    if isinstance(schema, dict):
        kept = {name: said for name, said in schema.items() if name not in LOOKS}
        for name in ("type", "items", "values"):
            if name in kept:
                kept[name] = bare(kept[name])
        if "fields" in kept:
            kept["fields"] = [bare(field) for field in kept["fields"]]
        return kept
    return schema


def topics(servers, registry, peer_registry, table):
    return (
        Topic(servers, peer_registry, f"peer.shop.{table}"),
        Topic(servers, registry, f"shop.{table}"),
    )


def wait(operation, number, *where):
    deadline = time.monotonic() + WAIT_S

    def told(topic):
        events = (value for _, _, value, _ in topic.records if value)
        return any(
            event.get("op") == operation and (event.get("after") or {}).get("id") == number
            for event in events
        )

    while not all(told(topic) for table in TABLES for topic in topics(*where, table)):
        if time.monotonic() > deadline:
            sys.exit(f"no {operation} of {number} within {WAIT_S} s")
        time.sleep(0.5)


def members(schema, path=""):
    """Every named member of a schema: its path, and what it says of itself."""
    match schema:
        case {"type": "record", "fields": fields}:
            rest = {k: v for k, v in schema.items() if k not in ("type", "fields")}
            yield path or ".", rest
            yield f"{path}: order of fields", [field["name"] for field in fields]
            for field in fields:
                inner = f"{path}.{field['name']}" if path else field["name"]
                field = {name: said for name, said in field.items() if name not in PROPERTIES}
                branches = field["type"] if isinstance(field["type"], list) else [field["type"]]
                records = [b for b in branches if isinstance(b, dict) and b.get("type") == "record"]
                shape = [b["name"] if b in records else b for b in branches]
                union = isinstance(field["type"], list)
                yield inner, {**field, "type": shape if union else shape[0]}
                for record in records:
                    yield from members(record, inner)
        case _:
            yield path or ".", schema


def difference(what, peer, ours):
    for path in dict.fromkeys([*peer, *ours]):
        if peer.get(path) != ours.get(path):
            print(f"{what} {path}")
            for name, side in (("debezium", peer), ("tidemesh", ours)):
                text = json.dumps(side[path], ensure_ascii=False) if path in side else "nothing"
                print(f"    {name}  {text}")


def flat(value, path=""):
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from flat(inner, f"{path}.{name}" if path else name)
    else:
        yield path or ".", value.hex() if isinstance(value, bytes) else repr(value)


def show_events(table, peer, ours):
    def label(record):
        key, _, value, _ = record
        return f"{'tombstone' if value is None else value['op']} of {key}"

    peer_labels = [label(record) for record in peer.records]
    our_labels = [label(record) for record in ours.records]
    if peer_labels != our_labels:
        print(f"{table} order of events\n    debezium  {peer_labels}\n    tidemesh  {our_labels}")
    found = {}
    same = dict(zip(our_labels, ours.records))
    for name, there in zip(peer_labels, peer.records):
        here = same.get(name)
        if here is None or there[2] is None:
            continue
        a, b = dict(flat(there[2])), dict(flat(here[2]))
        for path in dict.fromkeys([*a, *b]):
            if path not in CLOCK and a.get(path) != b.get(path):
                found.setdefault(path, []).append((name, a.get(path), b.get(path)))
    for path, cases in found.items():
        name, there, here = cases[0]
        print(f"{table} value {path} ({len(cases)} of {len(peer.records)}, as in {name})")
        print(f"    debezium  {there}\n    tidemesh  {here}")


def show(*where):
    for table in TABLES:
        peer, ours = topics(*where, table)
        for what, of in (("key schema", 1), ("value schema", 3)):
            last = [next(r[of] for r in reversed(t.records) if r[of]) for t in (peer, ours)]
            difference(f"{table} {what}", *(dict(members(schema)) for schema in last))
        for what, of in (("key", 1), ("value", 3)):
            count = [len({json.dumps(r[of]) for r in t.records if r[of]}) for t in (peer, ours)]
            print(f"{table} {what} schemas: debezium {count[0]}, tidemesh {count[1]}")
        show_events(table, peer, ours)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["wait", operation, number, *where]:
            wait(operation, int(number), *where)
        case ["print", *where]:
            show(*where)
        case _:
            sys.exit(__doc__)
