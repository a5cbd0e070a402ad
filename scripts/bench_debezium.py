"""Debezium in Kafka Connect, as the peer of scripts/bench_kafka.py and scripts/bench_mysql.py: the same
backlog, into the same Kafka, as Avro in Confluent's frame.

What is the database's own comes as an object with the name of the table, the connector's `properties()`
of it, `begin(folder)` before a run in this folder, and `end()` after it.
"""

import atexit
import os
import shutil
import socket
import statistics
import subprocess
import sys
import time

from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from bench_lib import FOLDER, ROWS, cpu_seconds, peak_mb, wait_for_quiet

SERVERS = os.environ["BENCH_KAFKA"]
JARS = os.environ["BENCH_DEBEZIUM"]
REGISTRY = os.environ["BENCH_APICURIO"]
USER = os.environ["BENCH_SERVER_USER"]
LIMIT_S = 900
NAME = "debezium"

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


def connector(how, database):
    return {
        "name": NAME,
        "topic.prefix": NAME,
        "table.include.list": database.table,
        "snapshot.mode": "no_data",
        "schema.name.adjustment.mode": "avro",
        "field.name.adjustment.mode": "avro",
        "topic.creation.default.partitions": 1,
        "topic.creation.default.replication.factor": 1,
        **database.properties(),
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


class Connect:
    """Kafka Connect with Debezium, in a folder of its own with what it keeps there (`offsets`)."""

    def __init__(self, how, database):
        self.folder = f"{FOLDER}/debezium"
        self.database = database
        os.mkdir(self.folder)
        database.begin(self.folder)
        if os.getuid() == 0:
            for path in [self.folder, *(entry.path for entry in os.scandir(self.folder))]:
                shutil.chown(path, USER)
        write_properties(f"{self.folder}/worker.properties", worker(how, self.folder))
        write_properties(f"{self.folder}/connector.properties", connector(how, database))
        self.topic = Topic(f"{NAME}.{database.table}")
        java = ["java", "-Xms256m", "-Xmx1g", "-Dorg.apache.logging.log4j.level=WARN"]
        java += ["-cp", f"{JARS}/*", "org.apache.kafka.connect.cli.ConnectStandalone"]
        java += [f"{self.folder}/worker.properties", f"{self.folder}/connector.properties"]
        as_user = {"user": USER, "extra_groups": []} if os.getuid() == 0 else {}
        with open(f"{self.folder}/log", "w") as log:
            self.process = subprocess.Popen(
                java, stdout=log, stderr=log, cwd=self.folder, **as_user
            )
        atexit.register(self.process.kill)  # Whatever stops the benchmark.

    def wait(self, records, meanwhile=lambda: None):
        """Until the topic has that many: how many it has, when, and the CPU seconds by then."""
        deadline = time.monotonic() + LIMIT_S
        while (found := self.topic.records()) < records:
            with open(f"{self.folder}/log") as log:
                said = log.read()
            ended = self.process.poll() is not None or "Task is being killed" in said
            if ended or time.monotonic() > deadline:
                sys.exit(f"Debezium wrote {found} records: {said[-4000:]}")
            meanwhile()
            time.sleep(0.1)
        return found, time.monotonic(), cpu_seconds(self.process.pid)

    def end(self):
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.folder)
        self.topic.delete()
        self.database.end()


def drain(how, database):
    """Rows a second and CPU seconds a row, from its first record on: the start of its JVM is not
    counted, nor what it does before. And the most memory it had, in MB."""
    wait_for_quiet()
    connect = Connect(how, database)
    first, began, cpu = connect.wait(1)
    last, ended, cpu_then = connect.wait(ROWS)
    peak = peak_mb(connect.process.pid)
    connect.end()
    return (last - first) / (ended - began), (cpu_then - cpu) / (last - first), peak


class Peer:
    """Debezium in one of its two ways, beside runs of ours."""

    def __init__(self, how, database):
        self.how = how
        self.database = database
        self.runs = []

    def run(self, our_rows_per_s, our_cpu_s_per_row):
        rows_per_s, cpu_s_per_row, peak = drain(self.how, self.database)
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
