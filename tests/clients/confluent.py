"""Uses a registry as its users do: confluent-kafka's client, its serializers over a real Kafka.

    confluent.py REGISTRY SERVERS [CHECK...]

Prints a line for each check, `ok NAME` or `FAILED NAME: why`, or those named alone; ends with 1 if one
failed. Each has subjects of its own, so that one that fails disturbs no other.
"""

import json
import os
import sys
import traceback
import uuid

from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from confluent_kafka.error import KafkaError
from confluent_kafka.schema_registry import (
    Metadata,
    MetadataProperties,
    MetadataTags,
    Rule,
    RuleKind,
    RuleMode,
    RuleParams,
    RuleSet,
    Schema,
    SchemaReference,
    SchemaRegistryClient,
    ServerConfig,
    header_schema_id_serializer,
    record_subject_name_strategy,
    topic_record_subject_name_strategy,
)
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.schema_registry.common.schema_registry_client import ConfigCompatibilityLevel
from confluent_kafka.schema_registry.error import SchemaRegistryError
from confluent_kafka.serialization import MessageField, SerializationContext, SerializationError

TIMEOUT_S = 30
# For a registry that is kept: its authority's certificate, and a user with a password.
LOGIN = {
    key: os.environ[variable]
    for key, variable in [
        ("ssl.ca.location", "TIDEMESH_CLIENT_CA_FILE"),
        ("basic.auth.user.info", "TIDEMESH_CLIENT_USER"),
    ]
    if variable in os.environ
}
RUN = uuid.uuid4().hex[:8]
CHECKS = []


def check(function):
    CHECKS.append(function)
    return function


def record(name, *fields):
    """The text of a record: each field a name with its type, and maybe its default."""
    keys = ("name", "type", "default")
    fields = [dict(zip(keys, field)) for field in fields]
    return json.dumps({"type": "record", "name": name, "namespace": "shop", "fields": fields})


ORDER = record("Order", ("id", "long"), ("note", "string"))
ORDER_WITH_PRICE = record(
    "Order", ("id", "long"), ("note", "string"), ("price", ["null", "double"], None)
)
ORDER_WITH_NEED = record("Order", ("id", "long"), ("note", "string"), ("need", "int"))
ORDER_OF_TEXT = record("Order", ("id", "string"), ("note", "string"))


def avro(text, **more):
    return Schema(text, "AVRO", **more)


def same(left, right):
    assert json.loads(left) == json.loads(right), f"{left} is not {right}"


def equal(left, right):
    assert left == right, f"{left!r} is not {right!r}"


def refused(status, codes, call, *arguments, **named):
    """What the client makes of an error: its status and one of these codes."""
    try:
        given = call(*arguments, **named)
    except SchemaRegistryError as error:
        equal(error.http_status_code, status)
        assert error.error_code in codes, f"{error.error_code}: {error.error_message}"
        assert error.error_message, "an error has a message"
        return error.error_message
    raise AssertionError(f"not refused, but {given!r}")


class Place:
    """A registry and a Kafka, as one check sees them: what it makes is named after it."""

    def __init__(self, registry, servers, name):
        self.url, self.servers = registry, servers
        self.prefix = f"{RUN}.{name}"

    def subject(self, name="orders-value"):
        return f"{self.prefix}.{name}"

    def client(self):
        """A client that has nothing in its caches."""
        return SchemaRegistryClient({"url": self.url} | LOGIN)

    def topic(self, name="orders"):
        topic = f"{self.prefix}.{name}"
        admin = AdminClient({"bootstrap.servers": self.servers})
        admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(TIMEOUT_S)
        return topic

    def produce(self, topic, serializer, *values):
        producer = Producer({"bootstrap.servers": self.servers})
        failed = []

        def delivered(error, _message):
            if error is not None:
                failed.append(error)

        for value in values:
            context = SerializationContext(topic, MessageField.VALUE, [])
            payload = serializer(value, context)
            headers = context.headers or None
            producer.produce(topic, payload, headers=headers, on_delivery=delivered)
        equal(producer.flush(TIMEOUT_S), 0)
        equal(failed, [])

    def messages(self, topic):
        settings = {
            "bootstrap.servers": self.servers,
            "group.id": "not-used",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
        }
        consumer = Consumer(settings)
        consumer.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
        while True:
            message = consumer.poll(TIMEOUT_S)
            assert message is not None, f"no record came in {TIMEOUT_S} s"
            if message.error() is None:
                yield message
            elif message.error().code() == KafkaError._PARTITION_EOF:
                consumer.close()
                return
            else:
                raise AssertionError(str(message.error()))

    def consume(self, topic, deserializer):
        read = []
        for message in self.messages(topic):
            context = SerializationContext(topic, MessageField.VALUE, message.headers())
            read.append(deserializer(message.value(), context))
        return read


# Schemas and versions.


@check
def registers_and_reads_back(place):
    subject, schema = place.subject(), avro(ORDER)
    number = place.client().register_schema(subject, schema)
    assert number >= 1
    equal(place.client().register_schema(subject, schema), number)
    full = place.client().register_schema_full_response(subject, schema)
    equal((full.schema_id, full.subject), (number, subject))
    same(place.client().get_schema(number).schema_str, ORDER)
    same(place.client().get_schema(number, subject).schema_str, ORDER)
    equal(place.client().get_schema(number).schema_type, "AVRO")
    assert subject in place.client().get_subjects_by_schema_id(number, subject_name=subject)
    versions = place.client().get_schema_versions(number, subject_name=subject)
    assert (subject, 1) in [(each.subject, each.version) for each in versions], versions
    other = place.subject("other-value")
    equal(place.client().register_schema(other, schema), number)
    equal(set(place.client().get_subjects_by_schema_id(number)) >= {subject, other}, True)
    refused(404, [40403], place.client().get_schema, 2**31 - 1)


@check
def evolves_and_is_refused(place):
    client, subject = place.client(), place.subject()
    first = client.register_schema(subject, avro(ORDER))
    second = client.register_schema(subject, avro(ORDER_WITH_PRICE))
    assert first != second
    equal(client.get_versions(subject), [1, 2])
    for text in (ORDER_WITH_NEED, ORDER_OF_TEXT):
        why = refused(409, [409, 40901], client.register_schema, subject, avro(text))
        assert subject in why, why
    equal(client.get_versions(subject), [1, 2])
    refused(422, [42201], client.register_schema, subject, avro('{"type": "nothing"}'))
    refused(422, [42201], client.register_schema, subject, Schema("{}", "JSON"))


@check
def latest_version_and_versions(place):
    client, subject = place.client(), place.subject()
    numbers = [client.register_schema(subject, avro(each)) for each in (ORDER, ORDER_WITH_PRICE)]
    latest = place.client().get_latest_version(subject)
    equal((latest.version, latest.schema_id, latest.subject), (2, numbers[1], subject))
    same(latest.schema.schema_str, ORDER_WITH_PRICE)
    first = place.client().get_version(subject, 1)
    equal((first.version, first.schema_id), (1, numbers[0]))
    same(first.schema.schema_str, ORDER)
    equal(place.client().get_version(subject, "latest").version, 2)
    refused(404, [40402], place.client().get_version, subject, 3)
    refused(422, [42202], place.client().get_version, subject, 0)
    refused(404, [40401], place.client().get_latest_version, place.subject("none"))
    refused(404, [40401], place.client().get_versions, place.subject("none"))
    equal(client.get_versions(subject, offset=1, limit=1), [2])


@check
def looks_up(place):
    client, subject = place.client(), place.subject()
    number = client.register_schema(subject, avro(ORDER))
    client.register_schema(subject, avro(ORDER_WITH_PRICE))
    found = place.client().lookup_schema(subject, avro(ORDER))
    equal((found.schema_id, found.version, found.subject), (number, 1, subject))
    spaced = json.dumps(json.loads(ORDER), indent=4)
    equal(place.client().lookup_schema(subject, avro(spaced)).version, 1)
    equal(place.client().lookup_schema(subject, avro(spaced), normalize_schemas=True).version, 1)
    refused(404, [40403], place.client().lookup_schema, subject, avro(ORDER_OF_TEXT))
    refused(404, [40401], place.client().lookup_schema, place.subject("none"), avro(ORDER))


@check
def lists_subjects(place):
    client = place.client()
    names = [place.subject(name) for name in ("a-value", "b-value", "größe/€ value")]
    for name in names:
        client.register_schema(name, avro(ORDER))
    equal(sorted(client.get_subjects(place.prefix)), sorted(names))
    equal(len(client.get_subjects(place.prefix, offset=1, limit=1)), 1)
    client.delete_subject(names[0])
    equal(sorted(client.get_subjects(place.prefix)), sorted(names[1:]))
    equal(sorted(client.get_subjects(place.prefix, deleted=True)), sorted(names))
    equal(client.get_latest_version(names[2]).subject, names[2])
    equal("AVRO" in client.get_schema_types(), True)


@check
def checks_compatibility(place):
    client, subject = place.client(), place.subject()
    client.register_schema(subject, avro(ORDER))
    client.register_schema(subject, avro(ORDER_WITH_PRICE))
    equal(client.test_compatibility(subject, avro(ORDER)), True)
    equal(client.test_compatibility(subject, avro(ORDER_WITH_NEED)), False)
    equal(client.test_compatibility(subject, avro(ORDER_OF_TEXT), version=1, verbose=True), False)
    equal(client.test_compatibility(subject, avro(ORDER), version=1, normalize=True), True)
    equal(client.test_compatibility_all_versions(subject, avro(ORDER_WITH_PRICE)), True)
    equal(client.test_compatibility_all_versions(subject, avro(ORDER_OF_TEXT)), False)
    refused(404, [40402], client.test_compatibility, subject, avro(ORDER), version=9)


@check
def levels(place):
    client, subject = place.client(), place.subject()
    equal(client.get_compatibility(), "BACKWARD")
    refused(404, [40408], client.get_compatibility, subject)
    client.register_schema(subject, avro(ORDER))
    for level in (
        "BACKWARD",
        "BACKWARD_TRANSITIVE",
        "FORWARD",
        "FORWARD_TRANSITIVE",
        "FULL",
        "FULL_TRANSITIVE",
        "NONE",
    ):
        equal(client.set_compatibility(subject, level)["compatibility"], level)
        equal(client.get_compatibility(subject), level)
    client.register_schema(subject, avro(ORDER_OF_TEXT))
    refused(422, [42203], client.set_compatibility, subject, "SOMETIMES")
    client.delete_config(subject)
    refused(404, [40408], client.get_compatibility, subject)


@check
def level_configuration(place):
    client, subject = place.client(), place.subject()
    client.set_config(subject, ServerConfig(compatibility=ConfigCompatibilityLevel.FULL))
    equal(client.get_config(subject).compatibility_level, ConfigCompatibilityLevel.FULL)
    client.set_config(None, ServerConfig(compatibility=ConfigCompatibilityLevel.FORWARD))
    equal(client.get_config().compatibility_level, ConfigCompatibilityLevel.FORWARD)
    client.delete_config()
    equal(client.get_config().compatibility_level, ConfigCompatibilityLevel.BACKWARD)
    equal(client.get_config(subject).compatibility_level, ConfigCompatibilityLevel.FULL)


@check
def deletes_versions(place):
    client, subject = place.client(), place.subject()
    for text in (ORDER, ORDER_WITH_PRICE):
        client.register_schema(subject, avro(text))
    refused(404, [40407], client.delete_version, subject, 1, permanent=True)
    equal(client.delete_version(subject, 1), 1)
    refused(404, [40406], client.delete_version, subject, 1)
    equal(client.get_versions(subject), [2])
    equal(client.get_versions(subject, deleted=True), [1, 2])
    refused(404, [40402], place.client().get_version, subject, 1)
    equal(place.client().get_version(subject, 1, deleted=True).version, 1)
    equal(client.delete_version(subject, 1, permanent=True), 1)
    equal(client.get_versions(subject, deleted=True), [2])


@check
def deletes_subjects(place):
    client, subject = place.client(), place.subject()
    for text in (ORDER, ORDER_WITH_PRICE):
        client.register_schema(subject, avro(text))
    refused(404, [40405], client.delete_subject, subject, permanent=True)
    equal(client.delete_subject(subject), [1, 2])
    refused(404, [40404], client.delete_subject, subject)
    equal(client.delete_subject(subject, permanent=True), [1, 2])
    refused(404, [40401], client.delete_subject, subject)
    refused(404, [40401], client.get_versions, subject, deleted=True)


ADDRESS = record("Address", ("street", "string"))
CUSTOMER = record("Customer", ("name", "string"), ("address", "Address"))


def referring(place, client):
    address, customer = place.subject("address"), place.subject("customer-value")
    client.register_schema(address, avro(ADDRESS))
    reference = SchemaReference("shop.Address", address, 1)
    schema = avro(CUSTOMER, references=[reference])
    return address, customer, schema, client.register_schema(customer, schema)


@check
def references(place):
    client = place.client()
    address, customer, schema, number = referring(place, client)
    equal(client.get_referenced_by(address, 1), [number])
    equal(client.get_referenced_by(address), [number])
    equal(client.get_referenced_by(customer), [])
    read = place.client().get_schema(number)
    same(read.schema_str, CUSTOMER)
    equal([(e.name, e.subject, e.version) for e in read.references], [("shop.Address", address, 1)])
    latest = place.client().get_latest_version(customer)
    equal(len(latest.schema.references), 1)
    equal(place.client().lookup_schema(customer, schema).schema_id, number)
    refused(422, [42206], client.delete_subject, address)
    refused(422, [42206], client.delete_version, address, 1)
    lost = avro(CUSTOMER, references=[SchemaReference("shop.Address", address, 7)])
    refused(422, [42201], client.register_schema, place.subject("lost"), lost)
    client.delete_subject(customer)
    equal(client.delete_subject(address), [1])


# Serializers over Kafka.


@check
def produces_and_consumes(place):
    topic, client = place.topic(), place.client()
    place.produce(topic, AvroSerializer(client, ORDER), {"id": 1, "note": "a"})
    newer = AvroSerializer(client, ORDER_WITH_PRICE)
    place.produce(topic, newer, {"id": 2, "note": "b", "price": 2.5}, {"id": 3, "note": "c"})
    equal(client.get_versions(f"{topic}-value"), [1, 2])
    for message, schema in zip(place.messages(topic), (ORDER, ORDER_WITH_PRICE, ORDER_WITH_PRICE)):
        equal(message.value()[0], 0)
        number = int.from_bytes(message.value()[1:5], "big")
        same(place.client().get_schema(number).schema_str, schema)
    written = [
        {"id": 1, "note": "a"},
        {"id": 2, "note": "b", "price": 2.5},
        {"id": 3, "note": "c", "price": None},
    ]
    equal(place.consume(topic, AvroDeserializer(place.client())), written)
    as_newest = AvroDeserializer(place.client(), ORDER_WITH_PRICE)
    equal(place.consume(topic, as_newest), [written[0] | {"price": None}] + written[1:])
    latest = AvroDeserializer(place.client(), conf={"use.latest.version": True})
    equal(place.consume(topic, latest), [written[0] | {"price": None}] + written[1:])


@check
def a_serializer_is_refused(place):
    topic, client = place.topic(), place.client()
    place.produce(topic, AvroSerializer(client, ORDER), {"id": 1, "note": "a"})
    try:
        place.produce(topic, AvroSerializer(client, ORDER_OF_TEXT), {"id": "x", "note": "a"})
    except (SchemaRegistryError, SerializationError) as error:
        assert "incompatible" in str(error), error
    else:
        raise AssertionError("an incompatible schema was registered by a serializer")
    equal(place.consume(topic, AvroDeserializer(place.client())), [{"id": 1, "note": "a"}])


@check
def serializers_without_registering(place):
    topic, client = place.topic(), place.client()
    quiet = {"auto.register.schemas": False}
    context = SerializationContext(topic, MessageField.VALUE)
    try:
        AvroSerializer(place.client(), ORDER, conf=quiet)({"id": 1, "note": "a"}, context)
    except SchemaRegistryError as error:
        equal((error.http_status_code, error.error_code), (404, 40401))
    else:
        raise AssertionError("a schema that is not registered was found")
    number = client.register_schema(f"{topic}-value", avro(ORDER))
    looked_up = AvroSerializer(place.client(), ORDER, conf=quiet)
    latest = AvroSerializer(place.client(), conf=quiet | {"use.latest.version": True})
    by_id = AvroSerializer(place.client(), conf=quiet | {"use.schema.id": number})
    for serializer in (looked_up, latest, by_id):
        place.produce(topic, serializer, {"id": 1, "note": "a"})
    equal(place.consume(topic, AvroDeserializer(place.client())), [{"id": 1, "note": "a"}] * 3)


@check
def subjects_by_record(place):
    topic, client = place.topic(), place.client()
    name = f"N{uuid.uuid4().hex}"
    text = record(name, ("id", "long"))
    for strategy in (record_subject_name_strategy, topic_record_subject_name_strategy):
        named = {"subject.name.strategy": strategy}
        place.produce(topic, AvroSerializer(client, text, conf=named), {"id": 1})
    equal(client.get_versions(f"shop.{name}"), [1])
    equal(client.get_versions(f"{topic}-shop.{name}"), [1])
    equal(place.consume(topic, AvroDeserializer(place.client())), [{"id": 1}] * 2)


@check
def serializers_with_references(place):
    client = place.client()
    _, customer, schema, _ = referring(place, client)
    topic = place.topic("customer")
    equal(customer, f"{topic}-value")
    value = {"name": "Ada", "address": {"street": "Long Street"}}
    place.produce(topic, AvroSerializer(place.client(), schema), value)
    quiet = {"auto.register.schemas": False, "use.latest.version": True}
    place.produce(topic, AvroSerializer(place.client(), conf=quiet), value)
    equal(client.get_versions(customer), [1])
    equal(place.consume(topic, AvroDeserializer(place.client())), [value] * 2)


@check
def normalized(place):
    topic, client = place.topic(), place.client()
    text = '{"fields": [{"type": {"type": "long"}, "name": "id"}], "name": "N", "type": "record"}'
    one = AvroSerializer(client, text, conf={"normalize.schemas": True})
    place.produce(topic, one, {"id": 1})
    text = '{"type": "record", "name": "N", "fields": [{"name": "id", "type": "long"}]}'
    other = AvroSerializer(place.client(), text, conf={"normalize.schemas": True})
    place.produce(topic, other, {"id": 2})
    equal(client.get_versions(f"{topic}-value"), [1])
    equal(place.consume(topic, AvroDeserializer(place.client())), [{"id": 1}, {"id": 2}])


# Metadata, rules, guids, contexts, modes.


def described(version):
    return Metadata(
        tags=MetadataTags(tags={"shop.Order.note": ["PII"]}),
        properties=MetadataProperties(properties={"owner": "shop", "major": version}),
        sensitive=["owner"],
    )


@check
def metadata(place):
    client, subject = place.client(), place.subject()
    first = client.register_schema(subject, avro(ORDER, metadata=described("1")))
    second = client.register_schema(subject, avro(ORDER_WITH_PRICE, metadata=described("2")))
    latest = place.client().get_latest_version(subject)
    equal(latest.schema.metadata, described("2"))
    found = place.client().get_latest_with_metadata(subject, {"major": "1"})
    equal((found.schema_id, found.version), (first, 1))
    found = place.client().get_latest_with_metadata(subject, {"major": "2", "owner": "shop"})
    equal((found.schema_id, found.version), (second, 2))
    refused(404, [40403], place.client().get_latest_with_metadata, subject, {"major": "3"})
    none = place.subject("none")
    refused(404, [40401, 40403], place.client().get_latest_with_metadata, none, {"major": "1"})
    # The same text with other metadata is another schema.
    third = client.register_schema(subject, avro(ORDER_WITH_PRICE, metadata=described("3")))
    assert third not in (first, second)


@check
def a_serializer_by_metadata(place):
    topic, client = place.topic(), place.client()
    for version, text in (("1", ORDER), ("2", ORDER_WITH_PRICE)):
        client.register_schema(f"{topic}-value", avro(text, metadata=described(version)))
    chosen = {"auto.register.schemas": False, "use.latest.with.metadata": {"major": "1"}}
    place.produce(topic, AvroSerializer(place.client(), conf=chosen), {"id": 1, "note": "a"})
    equal(place.consume(topic, AvroDeserializer(place.client())), [{"id": 1, "note": "a"}])


def rules():
    rule = Rule(
        name="long",
        doc="Ids are positive.",
        kind=RuleKind.CONDITION,
        mode=RuleMode.WRITE,
        type="CEL",
        tags=["PII"],
        params=RuleParams(params={"a": "b"}),
        expr="message.id > 0",
        on_success="NONE",
        on_failure="ERROR",
        disabled=False,
    )
    return RuleSet(migration_rules=[], domain_rules=[rule])


@check
def rule_sets(place):
    client, subject = place.client(), place.subject()
    client.register_schema(subject, avro(ORDER, rule_set=rules()))
    (rule,) = place.client().get_latest_version(subject).schema.rule_set.domain_rules
    equal(rule, rules().domain_rules[0])


@check
def guids(place):
    client, subject = place.client(), place.subject()
    number = client.register_schema(subject, avro(ORDER))
    guid = place.client().get_latest_version(subject).guid
    equal(str(uuid.UUID(guid)), guid)
    same(place.client().get_schema_by_guid(guid).schema_str, ORDER)
    equal(place.client().lookup_schema(subject, avro(ORDER)).guid, guid)
    equal(place.client().lookup_schema(subject, avro(ORDER)).schema_id, number)
    refused(404, [40403], place.client().get_schema_by_guid, str(uuid.uuid4()))


@check
def a_guid_in_a_header(place):
    topic, client = place.topic(), place.client()
    conf = {"schema.id.serializer": header_schema_id_serializer}
    # The client takes fewer than six bytes for no record of a registry's, before it looks at headers.
    order = {"id": 1, "note": "long enough"}
    place.produce(topic, AvroSerializer(client, ORDER, conf=conf), order)
    (message,) = place.messages(topic)
    headers = dict(message.headers())
    equal(headers["__value_schema_id"][0], 1)
    equal(place.consume(topic, AvroDeserializer(place.client())), [order])


@check
def contexts(place):
    client, context = place.client(), f".c{RUN}"
    subject = f":{context}:{place.subject()}"
    number = client.register_schema(subject, avro(ORDER))
    assert context in client.get_contexts(), client.get_contexts()
    equal(client.get_contexts(0, 1), ["."])
    equal(place.client().get_versions(subject), [1])
    latest = place.client().get_latest_version(subject)
    equal((latest.subject, latest.schema_id), (subject, number))
    same(place.client().get_schema(number, subject).schema_str, ORDER)
    equal(client.get_subjects(f":{context}:"), [subject])
    refused(404, [40401], place.client().get_versions, place.subject())


@check
def modes(place):
    client, subject = place.client(), place.subject()
    equal(client.get_global_mode(), "READWRITE")
    refused(404, [40409], client.get_mode, subject)
    client.register_schema(subject, avro(ORDER))
    equal(client.update_mode(subject, "READONLY"), "READONLY")
    equal(client.get_mode(subject), "READONLY")
    refused(422, [42205], client.register_schema, subject, avro(ORDER_WITH_PRICE))
    refused(422, [42205], client.update_mode, subject, "IMPORT")
    equal(client.update_mode(subject, "IMPORT", force=True), "IMPORT")
    equal(client.delete_mode(subject), "IMPORT")
    refused(404, [40409], client.get_mode, subject)
    client.register_schema(subject, avro(ORDER_WITH_PRICE))
    refused(422, [42204], client.update_mode, subject, "SOMETIMES")
    equal(client.update_global_mode("READONLY_OVERRIDE"), "READONLY_OVERRIDE")
    try:
        refused(422, [42205], client.register_schema, place.subject("other"), avro(ORDER))
    finally:
        equal(client.update_global_mode("READWRITE"), "READWRITE")


@check
def compatibility_groups_and_defaults(place):
    client, subject = place.client(), place.subject()
    config = ServerConfig(
        compatibility=ConfigCompatibilityLevel.BACKWARD,
        compatibility_group="major",
        default_metadata=Metadata(
            tags=None, properties=MetadataProperties(properties={"owner": "shop"}), sensitive=None
        ),
    )
    client.set_config(subject, config)
    read = client.get_config(subject)
    equal(read.compatibility_group, "major")
    equal(read.default_metadata.properties.properties, {"owner": "shop"})
    client.register_schema(subject, avro(ORDER, metadata=described("1")))
    client.register_schema(subject, avro(ORDER_OF_TEXT, metadata=described("2")))
    worse = avro(ORDER_WITH_NEED, metadata=described("1"))
    refused(409, [409, 40901], client.register_schema, subject, worse)
    plain = place.subject("plain")
    client.set_config(plain, config)
    client.register_schema(plain, avro(ORDER))
    kept = place.client().get_latest_version(plain).schema.metadata
    equal(kept.properties.properties, {"owner": "shop"})


def main(registry, servers, names):
    failed = 0
    for function in CHECKS:
        name = function.__name__
        if names and name not in names:
            continue
        try:
            function(Place(registry, servers, name))
            print(f"ok {name}", flush=True)
        except Exception as error:
            failed += 1
            line = traceback.extract_tb(error.__traceback__)
            own = [each for each in line if each.filename == __file__ and each.name == name]
            at = f"line {own[-1].lineno}: {own[-1].line}" if own else ""
            print(f"FAILED {name}: {type(error).__name__}: {error} ({at})", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    match sys.argv[1:]:
        case [registry, servers, *names]:
            main(registry, servers, names)
        case _:
            sys.exit(__doc__)
