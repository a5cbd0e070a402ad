#!/usr/bin/env python3
"""What a snapshot and a catch-up do to other clients of the same database: pgbench's latency while
they run, against alone. Prints JSON. Started by scripts/bench.

pgbench sends transactions at a fixed mean rate, so a latency counts from when a transaction was due:
one that waits behind a slow one is slow too. It has its own tables, which no publication has. Beside
ours, PostgreSQL's own clients read the same in the same way, to nothing: COPY and pg_recvlogical.
"""

import json
import statistics
import subprocess
import time

from bench_lib import BIN, FOLDER, PAIRS, PORT, ROWS, wait_for_quiet
from bench_postgres import PSQL, Daemon, copy_slot, drop_slot, receive, sql

PHASE_S = 20
SETTLE_S = 2
TRANSACTIONS_A_SECOND = 300
CLIENTS = 8
SCALE = 10
PGBENCH = ["-h", "127.0.0.1", "-p", PORT, "-U", "postgres"]


class Load:
    """pgbench, from now until it is ended; its log has every transaction's end and latency."""

    def __init__(self, number):
        self.log = f"{FOLDER}/pgbench{number}"
        command = [f"{BIN}/pgbench", *PGBENCH, "-n", "-c", str(CLIENTS), "-j", "1", "-T", "86400"]
        command += ["--rate", str(TRANSACTIONS_A_SECOND), "-l", "--log-prefix", self.log, "postgres"]
        self.process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def end(self):
        """(when it ended in Unix seconds, latency in milliseconds) of every transaction."""
        time.sleep(SETTLE_S)  # pgbench writes its log in blocks.
        self.process.terminate()
        self.process.wait()
        found = []
        with open(f"{self.log}.{self.process.pid}") as file:
            for line in file:
                if line.endswith("\n") and len(fields := line.split()) == 7:
                    _, _, latency_us, _, seconds, microseconds, _ = map(int, fields)
                    found.append((seconds + microseconds / 1e6, latency_us / 1000))
        return found


def timed(run):
    """When it began and when it ended, in Unix seconds."""
    began = time.time()
    run()
    return began, time.time()


def repeated(once):
    """Runs one after the other, each to its end, until they have taken a phase's time."""
    spans = []
    while sum(ended - began for began, ended in spans) < PHASE_S:
        spans.append(once())
    return spans


def alone():
    time.sleep(SETTLE_S)
    return [timed(lambda: time.sleep(PHASE_S))]


def received(end):
    """A catch-up by pg_recvlogical."""
    copy_slot("theirs")
    span = timed(lambda: receive("127.0.0.1", end))
    drop_slot("theirs")
    return span


def copies():
    command = PSQL + ["-c", "COPY rows TO STDOUT"]
    copy = lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return repeated(lambda: timed(copy))


def snapshots():
    """Snapshots of the table by one daemon, whose slot stands at the log's end."""
    copy_slot("snapshot")
    sql("SELECT pg_replication_slot_advance('snapshot', pg_current_wal_lsn())")
    time.sleep(SETTLE_S)
    began = time.time()
    daemon = Daemon("127.0.0.1", "snapshot", "initial")
    done = lambda report: any(table["state"] == "done" for table in report["snapshot"]["tables"])
    daemon.wait("the snapshot's end", done)
    spans = [(began, time.time())]
    command, environment = daemon.command("snapshot", "start", "bench", "--wait")
    again = lambda: subprocess.run(command, env=environment, check=True, capture_output=True)
    while sum(ended - began for began, ended in spans) < PHASE_S:
        spans.append(timed(again))
    daemon.end()
    return spans


def catch_up():
    copy_slot("ours")
    began = time.time()
    daemon = Daemon("127.0.0.1", "ours", "never")
    daemon.wait("the backlog's end", lambda report: report["records"] >= ROWS)
    ended = time.time()
    daemon.end()
    return began, ended


def percentiles(transactions, spans):
    """p50 and p99 in milliseconds of what ended within the spans, and how many those are."""
    within = lambda at: any(began <= at <= ended for began, ended in spans)
    found = sorted(latency for at, latency in transactions if within(at))
    return found[len(found) // 2], found[len(found) * 99 // 100], len(found)


def main():
    end = sql("SELECT pg_current_wal_lsn()")
    subprocess.run(
        [f"{BIN}/pgbench", *PGBENCH, "-i", "-q", "-s", str(SCALE), "postgres"],
        check=True, capture_output=True,
    )
    sql("CHECKPOINT")
    ratios = {}
    alone_p99s = []
    for pair in range(PAIRS):
        wait_for_quiet()
        load = Load(pair)
        phases = {
            "alone": alone(),
            "copy": copies(),
            "snapshot": snapshots(),
            "alone again": alone(),
            "recvlogical": repeated(lambda: received(end)),
            "catchup": repeated(catch_up),
        }
        transactions = load.end()
        for name, spans in phases.items():
            p50, p99, count = percentiles(transactions, spans)
            print(
                f"{pair} {name}: p50 {p50:.2f} ms, p99 {p99:.2f} ms of {count} transactions, "
                f"{len(spans)} runs in {sum(ended - began for began, ended in spans):.0f} s",
                flush=True,
            )
            if name.startswith("alone"):
                alone_p50, alone_p99 = p50, p99
                alone_p99s.append(p99)
            else:
                ratios.setdefault(f"{name}_p50_ratio", []).append(p50 / alone_p50)
                ratios.setdefault(f"{name}_p99_ratio", []).append(p99 / alone_p99)
    figures = {name: round(statistics.median(found), 2) for name, found in ratios.items()}
    figures["alone_p99_ms"] = round(statistics.median(alone_p99s), 2)
    print(json.dumps(figures))


main()
