"""Debezium in Kafka Connect, as the peer of scripts/bench_kafka.py: the same backlog, into the same
Kafka, as Avro in Confluent's frame."""

import os
import shutil
import socket
import statistics
import subprocess
import sys
import time

from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from bench_lib import (
    FOLDER,
    PORT,
    ROWS,
    copy_slot,
    cpu_seconds,
    drop_slot,
    peak_mb,
    wait_for_quiet,
)

SERVERS = os.environ["BENCH_KAFKA"]
JARS = os.environ["BENCH_DEBEZIUM"]
REGISTRY = os.environ["BENCH_APICURIO"]
USER = os.environ["BENCH_SERVER_USER"]
LIMIT_S = 900

# Beyond the defaults of Debezium and of Kafka Connect's producer.
CONNECTORS = {
    "default": {},
    "tuned": {"poll.interval.ms": 10, "max.batch.size": 8192, "max.queue.size": 32768},
}
WORKERS = {
    "default": {},
    "tuned": {"producer.linger.ms": 10, "producer.batch.size": 262144},
}


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def write_properties(path, properties):
    with open(path, "w") as file:
        file.writelines(f"{name}={value}\n" for name, value in properties.items())


def worker(how, folder):
    properties = {
        "bootstrap.servers": SERVERS,
        "listeners": f"http://127.0.0.1:{free_port()}",
        "offset.storage.file.filename": f"{folder}/offsets",
        "plugin.discovery": "only_scan",
        **WORKERS[how],
    }
    for side in ["key", "value"]:
        properties[f"{side}.converter"] = "io.apicurio.registry.utils.converter.AvroConverter"
        for name, value in {
            "url": f"{REGISTRY}/apis/registry/v2",
            "auto-register": "true",
            "find-latest": "true",
            "as-confluent": "true",
            "use-id": "contentId",
            "headers.enabled": "false",
            "id-handler": "io.apicurio.registry.serde.Legacy4ByteIdHandler",
        }.items():
            properties[f"{side}.converter.apicurio.registry.{name}"] = value
    return properties


def connector(how, prefix, slot):
    return {
        "name": prefix,
        "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
        "database.hostname": "127.0.0.1",
        "database.port": PORT,
        "database.user": "postgres",
        "database.password": "none",
        "database.dbname": "postgres",
        "topic.prefix": prefix,
        "table.include.list": "public.rows",
        "plugin.name": "pgoutput",
        "slot.name": slot,
        "publication.name": "bench",
        "publication.autocreate.mode": "disabled",
        "snapshot.mode": "no_data",
        "schema.name.adjustment.mode": "avro",
        "field.name.adjustment.mode": "avro",
        "topic.creation.default.partitions": 1,
        "topic.creation.default.replication.factor": 1,
        **CONNECTORS[how],
    }


class Topic:
    """How many records a topic of one partition has: nobody else writes to the broker but these."""

    def __init__(self, name):
        self.partition = TopicPartition(name, 0)
        self.consumer = Consumer({"bootstrap.servers": SERVERS, "group.id": "not-used"})

    def records(self):
        try:
            return self.consumer.get_watermark_offsets(self.partition, timeout=10)[1]
        except KafkaException:  # It has not been made yet.
            return 0

    def delete(self):
        self.consumer.close()
        client = AdminClient({"bootstrap.servers": SERVERS})
        client.delete_topics([self.partition.topic])[self.partition.topic].result()


def drain(how, number):
    """Rows a second and CPU seconds a row, from its first record on: the start of its JVM is not
    counted, nor what it does before. And the most memory it had, in MB."""
    prefix = f"debezium_{how}_{number}"
    copy_slot("debezium")
    wait_for_quiet()
    folder = f"{FOLDER}/debezium"
    os.mkdir(folder)
    if os.getuid() == 0:
        shutil.chown(folder, USER)
    write_properties(f"{folder}/worker.properties", worker(how, folder))
    write_properties(f"{folder}/connector.properties", connector(how, prefix, "debezium"))
    topic = Topic(f"{prefix}.public.rows")
    java = ["java", "-Xms256m", "-Xmx1g", "-Dorg.apache.logging.log4j.level=WARN"]
    java += ["-cp", f"{JARS}/*", "org.apache.kafka.connect.cli.ConnectStandalone"]
    java += [f"{folder}/worker.properties", f"{folder}/connector.properties"]
    as_user = {"user": USER, "extra_groups": []} if os.getuid() == 0 else {}
    with open(f"{folder}/log", "w") as log:
        process = subprocess.Popen(java, stdout=log, stderr=log, cwd=folder, **as_user)
    try:
        first, began, cpu = wait(process, topic, 1, folder)
        last, ended, cpu_then = wait(process, topic, ROWS, folder)
        peak = peak_mb(process.pid)
    finally:
        process.kill()
        process.wait()
    shutil.rmtree(folder)
    topic.delete()
    drop_slot("debezium")
    return (last - first) / (ended - began), (cpu_then - cpu) / (last - first), peak


def wait(process, topic, records, folder):
    """Until the topic has that many records: how many it has, when, and the CPU seconds by then."""
    deadline = time.monotonic() + LIMIT_S
    while (found := topic.records()) < records:
        if process.poll() is not None or time.monotonic() > deadline:
            with open(f"{folder}/log") as log:
                sys.exit(f"Debezium wrote {found} records: {log.read()[-4000:]}")
        time.sleep(0.1)
    return found, time.monotonic(), cpu_seconds(process.pid)


class Peer:
    """Debezium in one of its two ways, beside runs of ours."""

    def __init__(self, how):
        self.how = how
        self.runs = []

    def run(self, our_rows_per_s, our_cpu_s_per_row):
        rows_per_s, cpu_s_per_row, peak = drain(self.how, len(self.runs))
        self.runs.append(
            {
                "rows_per_s": rows_per_s,
                "cpu_us_per_event": cpu_s_per_row * 1e6,
                "rss_peak_mb": peak,
                "ratio": our_rows_per_s / rows_per_s,
                "cpu_ratio": cpu_s_per_row / our_cpu_s_per_row,
            }
        )
        print(
            f"   debezium {self.how}: {rows_per_s:.0f} rows/s, {cpu_s_per_row * 1e6:.1f} us/event, "
            f"{peak:.0f} MB",
            flush=True,
        )

    def figures(self):
        """Medians; of the memory the largest."""
        found = {}
        for name in self.runs[0]:
            values = [run[name] for run in self.runs]
            figure = max(values) if name == "rss_peak_mb" else statistics.median(values)
            found[f"debezium_{self.how}_{name}"] = round(figure, 2)
        return found
