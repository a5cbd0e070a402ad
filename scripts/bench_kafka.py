#!/usr/bin/env python3
"""Times tidemesh with Kafka against pg_recvlogical and COPY, in turn; then its latency. Prints JSON.

With Debezium in the same turns where the environment names one. Started by scripts/bench.
"""

import json
import os
import statistics
import subprocess
import time

from bench_lib import PAIRS, PORT, ROWS, wait_for_quiet
from bench_postgres import PSQL, Daemon, copy_slot, drop_slot, latencies, ours, sql, theirs


def copied():
    """Seconds that COPY takes for the table, to nothing."""
    wait_for_quiet()
    began = time.monotonic()
    subprocess.run(
        PSQL + ["-c", "COPY rows TO STDOUT"], check=True, stdout=subprocess.DEVNULL
    )
    return time.monotonic() - began


def snapshot():
    """Seconds from the start until every row of the table is in its topic."""
    copy_slot("snapshot")
    sql("SELECT pg_replication_slot_advance('snapshot', pg_current_wal_lsn())")
    wait_for_quiet()
    daemon = Daemon("127.0.0.1", "snapshot", "initial")
    done = lambda report: any(table["state"] == "done" for table in report["snapshot"]["tables"])
    seconds = daemon.wait("the snapshot's end", done)
    daemon.end()
    return seconds


class Backlog:
    """Debezium's part of this database."""

    table = "public.rows"

    def properties(self):
        return {
            "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
            "database.hostname": "127.0.0.1",
            "database.port": PORT,
            "database.user": "postgres",
            "database.password": "none",
            "database.dbname": "postgres",
            "plugin.name": "pgoutput",
            "slot.name": "debezium",
            "publication.name": "bench",
            "publication.autocreate.mode": "disabled",
        }

    def begin(self, folder):
        copy_slot("debezium")

    def end(self):
        drop_slot("debezium")


def debeziums():
    if "BENCH_DEBEZIUM" not in os.environ:
        return []
    from bench_debezium import CONNECTORS, Peer

    return [Peer(how, Backlog()) for how in CONNECTORS]


def main():
    peers = debeziums()
    end = sql("SELECT pg_current_wal_lsn()")
    ratios, cpus, peaks, snapshots = [], [], [], []
    for pair in range(PAIRS):
        their_seconds = theirs("127.0.0.1", end)
        our_seconds, cpu, peak_mb = ours("127.0.0.1")
        copy_seconds, snapshot_seconds = copied(), snapshot()
        print(
            f"{pair}: pg_recvlogical {their_seconds:.2f} s, tidemesh {our_seconds:.2f} s, "
            f"{cpu / ROWS * 1e6:.2f} us/event, {peak_mb:.0f} MB; COPY {copy_seconds:.2f} s, "
            f"snapshot {snapshot_seconds:.2f} s",
            flush=True,
        )
        ratios.append(their_seconds / our_seconds)
        cpus.append(cpu / ROWS * 1e6)
        peaks.append(peak_mb)
        snapshots.append(copy_seconds / snapshot_seconds)
        for peer in peers:
            peer.run(ROWS / our_seconds, cpu / ROWS)
    wait_for_quiet()
    found = latencies()
    figures = {
        "kafka_ratio": round(statistics.median(ratios), 3),
        "cpu_us_per_event": round(statistics.median(cpus), 2),
        "rss_peak_mb": round(max(peaks), 1),
        "latency_p50_ms": round(found[len(found) // 2], 2),
        "latency_p99_ms": round(found[len(found) * 99 // 100], 2),
        "snapshot_ratio": round(statistics.median(snapshots), 3),
    }
    for peer in peers:
        figures |= peer.figures()
    print(json.dumps(figures))


main()
