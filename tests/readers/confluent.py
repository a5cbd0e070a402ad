"""Reads a topic as its users do: confluent-kafka, its AvroDeserializer, the registry by its URL.

    confluent.py rows SERVERS REGISTRY TOPIC         the table that the topic's records add up to
    confluent.py rows --wide SERVERS REGISTRY TOPIC  with values that `datetime` cannot hold
    confluent.py partitions SERVERS TOPIC            where a Java client would put each key

`rows` prints a JSON line for each row, its cells as text that PostgreSQL can read, then one with the
number of records of each operation and of tombstones. `partitions` prints a JSON line for each
record: its key's bytes, its partition, and the one that murmur2 over a topic of as many partitions
gives. Transactions that are open or aborted are not read.
"""

import datetime
import decimal
import json
import sys
import uuid

import fastavro.read
from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    DeserializingConsumer,
    KafkaError,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, NewTopic
from confluent_kafka.error import ConsumeError
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer

# The Julian day of 1970-01-01: PostgreSQL reads `J2440588` as a date, and has room for all of ours.
EPOCH_JULIAN_DAY = 2440588
DAY_US = 86_400_000_000
TIMEOUT_S = 30


def consumer_settings(servers):
    return {
        "bootstrap.servers": servers,
        "group.id": "not-used",
        "isolation.level": "read_committed",
        "enable.auto.commit": False,
        "enable.partition.eof": True,
    }


def partitions_of(client, topic):
    metadata = client.list_topics(topic, TIMEOUT_S).topics[topic]
    if metadata.error is not None:
        sys.exit(f"{topic}: {metadata.error}")
    return list(metadata.partitions)


def records(consumer, topic):
    """Every record of the topic from its beginning to its end."""
    partitions = partitions_of(consumer, topic)
    consumer.assign([TopicPartition(topic, each, OFFSET_BEGINNING) for each in partitions])
    open_partitions = set(partitions)
    while open_partitions:
        try:
            message = consumer.poll(TIMEOUT_S)
        except ConsumeError as error:
            if error.code != KafkaError._PARTITION_EOF:
                raise
            message = error.kafka_message
        if message is None:
            sys.exit(f"no record came in {TIMEOUT_S} s")
        if message.error() is None:
            yield message
        elif message.error().code() == KafkaError._PARTITION_EOF:
            open_partitions.discard(message.partition())
        else:
            sys.exit(str(message.error()))
    consumer.close()


def day(days):
    if days in (2**31 - 1, -(2**31)):
        return "infinity" if days > 0 else "-infinity"
    return f"J{EPOCH_JULIAN_DAY + days}"


def clock(us):
    seconds, us = divmod(us, 1_000_000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{us:06}"


def moment(us):
    if us in (2**63 - 1, -(2**63)):
        return "infinity" if us > 0 else "-infinity"
    days, us = divmod(us, DAY_US)
    return f"{day(days)} {clock(us)}"


def widen():
    """In place of fastavro's readers of dates and times, whose `datetime` begins in the year 1."""
    moments = {
        "int-date": day,
        "long-time-micros": clock,
        "long-local-timestamp-micros": moment,
        "long-timestamp-micros": lambda us: f"{moment(us)}+00",
    }
    for name, read in moments.items():
        fastavro.read.LOGICAL_READERS[name] = lambda data, *_schemas, read=read: read(data)


def cell(value):
    """A cell as text; arrays and records as lists and objects of such."""
    match value:
        case None | str():
            return value
        case bool():
            return "true" if value else "false"
        case bytes():
            return "\\x" + value.hex()
        case decimal.Decimal():
            return format(value, "f")
        case int() | float() | uuid.UUID():
            return str(value)
        case datetime.datetime():
            return value.isoformat(sep=" ")
        case datetime.date() | datetime.time():
            return value.isoformat()
        case list():
            return [cell(each) for each in value]
        case dict():
            return {name: cell(each) for name, each in value.items()}
        case _:
            sys.exit(f"a value of the type {type(value).__name__}")


def rows(servers, registry, topic):
    deserializer = AvroDeserializer(SchemaRegistryClient({"url": registry}))
    consumer = DeserializingConsumer(
        consumer_settings(servers)
        | {"key.deserializer": deserializer, "value.deserializer": deserializer}
    )
    table, told = {}, {}
    for message in records(consumer, topic):
        key, event = json.dumps(cell(message.key())), message.value()
        operation = "tombstone" if event is None else event.get("op", "row")
        told[operation] = told.get(operation, 0) + 1
        row = event.get("after") if event is not None and "op" in event else event
        if row is None:
            table.pop(key, None)
        else:
            table[key] = cell(row)
    for row in table.values():
        print(json.dumps(row))
    print(json.dumps({"told": told}))


def partitions(servers, topic):
    consumer = Consumer(consumer_settings(servers))
    found = [(message.key(), message.partition()) for message in records(consumer, topic)]
    admin = AdminClient({"bootstrap.servers": servers})
    copy = f"{topic}.as-java"
    admin.create_topics([NewTopic(copy, len(partitions_of(admin, topic)), 1)])[copy].result()
    producer = Producer({"bootstrap.servers": servers, "partitioner": "murmur2_random"})
    expected = {}

    def delivered(error, message):
        if error is not None:
            sys.exit(str(error))
        expected[message.key()] = message.partition()

    for key in {key for key, _ in found}:
        producer.produce(copy, key=key, value=b"", on_delivery=delivered)
    producer.flush(TIMEOUT_S)
    for key, partition in found:
        print(json.dumps({"key": key.hex(), "partition": partition, "java": expected.get(key)}))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["rows", "--wide", servers, registry, topic]:
            widen()
            rows(servers, registry, topic)
        case ["rows", servers, registry, topic]:
            rows(servers, registry, topic)
        case ["partitions", servers, topic]:
            partitions(servers, topic)
        case _:
            sys.exit(__doc__)
