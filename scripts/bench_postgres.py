"""What the benchmarks of PostgreSQL share: its statements, its own client, and a tidemesh that reads it."""

import os
import subprocess
import time

import bench_lib
from bench_lib import BIN, LIMIT_S, PORT, ROWS, Tidemesh, wait_for_quiet

PSQL = [f"{BIN}/psql", "-h", "127.0.0.1", "-p", PORT, "-U", "postgres", "-qAtX"]


def sql(statement):
    return subprocess.run(
        PSQL + ["-c", statement], check=True, capture_output=True, text=True
    ).stdout.strip()


def copy_slot(name):
    sql(f"SELECT pg_copy_logical_replication_slot('backlog', '{name}')")


def drop_slot(name):
    """Waits for a client that has just ended to be gone from it."""
    deadline = time.monotonic() + LIMIT_S
    of_slot = f"FROM pg_replication_slots WHERE slot_name = '{name}'"
    while sql(f"SELECT active {of_slot}") == "t" and time.monotonic() < deadline:
        time.sleep(0.1)
    sql(f"SELECT pg_drop_replication_slot('{name}')")


def theirs(host, end):
    """Seconds pg_recvlogical takes for the backlog, to nothing."""
    copy_slot("theirs")
    wait_for_quiet()
    began = time.monotonic()
    receive(host, end)
    seconds = time.monotonic() - began
    drop_slot("theirs")
    return seconds


def receive(host, end):
    """Drains the slot `theirs` up to this position by pg_recvlogical, in binary, to nothing."""
    command = [f"{BIN}/pg_recvlogical", "-h", host, "-p", PORT, "-U", "postgres", "-d", "postgres"]
    command += ["-S", "theirs", "--start", "-E", end, "--no-loop", "-f", "/dev/null"]
    for option in ["proto_version=1", "publication_names=bench", "binary=true", "messages=true"]:
        command += ["-o", option]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)


def ours(host):
    """Seconds tidemesh takes from its start to the last record; CPU seconds; peak MB."""
    copy_slot("ours")
    wait_for_quiet()
    daemon = Daemon(host, "ours", "never")
    seconds = daemon.wait("the backlog's end", lambda report: report["records"] >= ROWS)
    cpu, peak = daemon.cpu_seconds(), daemon.peak_mb()
    daemon.end()
    return seconds, cpu, peak


def latencies():
    return bench_lib.latencies(Daemon("127.0.0.1", "latency", "never"), "public.rows", PSQL)


class Daemon(Tidemesh):
    """A tidemesh that reads the table `rows`, to the Kafka that the environment names, if it does."""

    def __init__(self, host, slot, mode):
        self.slot = slot
        source = (
            f'[source.postgres]\nhost = "{host}"\nport = {PORT}\ndatabase = "postgres"\n'
            f'user = "postgres"\ntables = ["public.rows"]\nslot = "{slot}"\npublication = "bench"\n'
        )
        super().__init__(source, mode, os.environ.get("BENCH_KAFKA"))

    def end(self):
        super().end()
        drop_slot(self.slot)
