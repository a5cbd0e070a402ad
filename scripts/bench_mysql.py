#!/usr/bin/env python3
"""Times tidemesh from a MariaDB: its backlog to the embedded log against `mariadb-binlog --raw`, in turn,
and to Kafka; its latency; one transaction of five times the rows, and their snapshot against
`mariadb-dump --quick` and SELECT. Prints JSON.

With Debezium in the same turns where the environment names one. Started by scripts/bench.

A server keeps no place in its log for who reads it: each run has stood there before the backlog was
written, and goes on.
"""

import json
import os
import shutil
import subprocess
import time
from statistics import median

import bench_lib
from bench_lib import BIN, FOLDER, LIMIT_S, PAIRS, PORT, ROWS, Tidemesh, wait_for_quiet

KAFKA = os.environ["BENCH_KAFKA"]
BIG_ROWS = 5 * ROWS
STEP_ROWS = 1000
SERVER = ["--no-defaults", "--protocol=tcp", "-h", "127.0.0.1", "-P", PORT, "-u", "root"]
MARIADB = [f"{BIN}/mariadb", *SERVER, "--batch", "--skip-column-names"]
COLUMNS = """id bigint PRIMARY KEY, n int, note text, price decimal(12,2),
    at timestamp(6) NOT NULL DEFAULT current_timestamp(6), ok boolean, j json,
    u uuid DEFAULT uuid(), d double, v varchar(20)"""


def sql(statements):
    return subprocess.run(
        MARIADB, input=statements, check=True, stdout=subprocess.PIPE, text=True
    ).stdout.strip()


def insert(table, first, last):
    return (
        f"INSERT INTO {table} (id, n, note, price, ok, j, d, v) SELECT seq, seq, repeat('x', 40), "
        "seq * 0.01, seq % 2 = 0, '{\"a\": 1}', seq / 3e0, concat('v', seq % 10) "
        f"FROM bench.seq_{first}_to_{last};\n"
    )


def next_file():
    """Has the server begin another file of its log, and says which."""
    return sql("FLUSH BINARY LOGS; SHOW MASTER STATUS").split()[0]


def settle():
    """The server runs without fsync: else the first run's fsyncs wait until the disk has what it wrote."""
    os.sync()


def forget_readers():
    """A server sees that a reader is gone when it next writes to it; until then it counts as one."""
    deadline = time.monotonic() + LIMIT_S
    of_readers = "SELECT id FROM information_schema.processlist WHERE command = 'Binlog Dump'"
    while (found := sql(of_readers).split()) and time.monotonic() < deadline:
        # One that is gone by now cannot be ended.
        subprocess.run(
            [*MARIADB, "--force"], input="".join(f"KILL {reader};" for reader in found),
            capture_output=True, text=True,
        )
        time.sleep(0.1)


class Daemon(Tidemesh):
    """A tidemesh that reads this table."""

    def __init__(self, table, mode, kafka=None):
        source = (
            f'[source.mysql]\nhost = "127.0.0.1"\nport = {PORT}\nuser = "root"\n'
            f'tables = ["{table}"]\n'
        )
        super().__init__(source, mode, kafka)

    def stop(self):
        super().stop()
        forget_readers()

    def drain(self, rows):
        """Seconds from its start to the last record; CPU seconds; peak MB."""
        wait_for_quiet()
        self.start()
        seconds = self.wait("the backlog's end", lambda report: report["records"] >= rows)
        cpu, peak = self.cpu_seconds(), self.peak_mb()
        self.end()
        return seconds, cpu, peak


def standing(table, kafka=None):
    """A tidemesh that has stopped where the log ends now."""
    daemon = Daemon(table, "never", kafka)
    placed = lambda report: report["state"] == "streaming" and report["position"]
    daemon.wait("its place in the log", placed)
    daemon.stop()
    return daemon


def raw(file):
    """Seconds that mariadb-binlog takes for the log from this file on, as it is, to files."""
    folder = f"{FOLDER}/raw"
    os.mkdir(folder)
    wait_for_quiet()
    began = time.monotonic()
    command = [f"{BIN}/mariadb-binlog", *SERVER, "--read-from-remote-server", "--raw"]
    command += ["--to-last-log", f"--result-file={folder}/", file]
    subprocess.run(command, check=True)
    seconds = time.monotonic() - began
    shutil.rmtree(folder)
    return seconds


def to_nothing(command):
    wait_for_quiet()
    began = time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - began


def snapshot(table):
    """Seconds from the start until every row of the table is in its topic; CPU seconds; peak MB."""
    wait_for_quiet()
    daemon = Daemon(table, "initial")
    done = lambda report: any(table["state"] == "done" for table in report["snapshot"]["tables"])
    seconds = daemon.wait("the snapshot's end", done)
    cpu, peak = daemon.cpu_seconds(), daemon.peak_mb()
    daemon.end()
    return seconds, cpu, peak


class Backlog:
    """Debezium's part of this database. Where the backlog begins it knows from a run before."""

    table = "bench.rows"

    def __init__(self):
        from bench_debezium import Connect

        self.offsets = None
        sql("CREATE USER debezium IDENTIFIED BY 'debezium'; GRANT ALL ON *.* TO debezium")
        connect = Connect("default", self)
        # A place in the log is kept with what is told of the log.
        there_and_gone = "INSERT INTO bench.rows (id) VALUES (0); DELETE FROM bench.rows"
        connect.wait(1, lambda: sql(there_and_gone))
        connect.process.terminate()
        connect.process.wait()
        shutil.copy(f"{connect.folder}/offsets", f"{FOLDER}/offsets")
        self.offsets = f"{FOLDER}/offsets"
        connect.end()

    def properties(self):
        return {
            "connector.class": "io.debezium.connector.mariadb.MariaDbConnector",
            "database.hostname": "127.0.0.1",
            "database.port": PORT,
            "database.user": "debezium",
            "database.password": "debezium",
            "database.server.id": 4242,
            "database.include.list": "bench",
            "schema.history.internal.kafka.bootstrap.servers": KAFKA,
            "schema.history.internal.kafka.topic": "debezium.history",
        }

    def begin(self, folder):
        if self.offsets:
            shutil.copy(self.offsets, f"{folder}/offsets")

    def end(self):
        forget_readers()


def debeziums():
    if "BENCH_DEBEZIUM" not in os.environ:
        return []
    from bench_debezium import CONNECTORS, Peer

    backlog = Backlog()
    return [Peer(how, backlog) for how in CONNECTORS]


def backlog_figures():
    sql(f"CREATE TABLE bench.rows ({COLUMNS})")
    peers = debeziums()
    embedded = [standing("bench.rows") for _ in range(PAIRS)]
    kafka = [standing("bench.rows", KAFKA) for _ in range(PAIRS)]
    file = next_file()
    print(f"writing {ROWS} rows, {STEP_ROWS} a transaction", flush=True)
    firsts = range(1, ROWS + 1, STEP_ROWS)
    sql("".join(insert("bench.rows", f, min(f + STEP_ROWS - 1, ROWS)) for f in firsts))
    settle()
    sizes = dict(line.split()[:2] for line in sql("SHOW BINARY LOGS").splitlines())
    log_mb = sum(int(size) for name, size in sizes.items() if name >= file) / 1e6
    print(f"the log of them has {log_mb:.1f} MB", flush=True)
    raws, ours, others = [], [], []
    for pair in range(PAIRS):
        raws.append(raw(file))
        ours.append(embedded[pair].drain(ROWS))
        others.append(kafka[pair].drain(ROWS))
        print(
            f"{pair}: mariadb-binlog {raws[-1]:.2f} s; tidemesh {told(*ours[-1], ROWS)}; "
            f"into Kafka {told(*others[-1], ROWS)}",
            flush=True,
        )
        for peer in peers:
            seconds, cpu, _ = others[-1]
            peer.run(ROWS / seconds, cpu / ROWS)
    wait_for_quiet()
    found = bench_lib.latencies(Daemon("bench.rows", "never"), "bench.rows", MARIADB)
    figures = {
        "embedded_ratio": round(median(its / run[0] for its, run in zip(raws, ours)), 3),
        "embedded_per_s": round(median(ROWS / run[0] for run in ours)),
        "cpu_us_per_event": round(median(run[1] for run in ours) / ROWS * 1e6, 2),
        "rss_peak_mb": round(max(run[2] for run in ours), 1),
        "kafka_per_s": round(median(ROWS / run[0] for run in others)),
        "kafka_cpu_us_per_event": round(median(run[1] for run in others) / ROWS * 1e6, 2),
        "kafka_rss_peak_mb": round(max(run[2] for run in others), 1),
        "latency_p50_ms": round(found[len(found) // 2], 2),
        "latency_p99_ms": round(found[len(found) * 99 // 100], 2),
    }
    for peer in peers:
        figures |= peer.figures()
    return figures


def transaction_figures():
    """One transaction that is larger than memory should be, and then the table that it has made."""
    sql(f"CREATE TABLE bench.big ({COLUMNS})")
    # The disk has to hold what comes, and what has been is not read again.
    sql(f"PURGE BINARY LOGS TO '{next_file()}'")
    runs = [standing("bench.big") for _ in range(PAIRS)]
    print(f"writing {BIG_ROWS} rows in one transaction", flush=True)
    sql(insert("bench.big", 1, BIG_ROWS))
    settle()
    drains, ratios, snapshots = [], [], []
    for pair in range(PAIRS):
        drains.append(runs[pair].drain(BIG_ROWS))
        print(f"{pair}: the transaction {told(*drains[-1], BIG_ROWS)}", flush=True)
    dump = [f"{BIN}/mariadb-dump", *SERVER, "--quick", "bench", "big"]
    select = [*MARIADB, "--quick", "--execute", "SELECT * FROM bench.big"]
    for pair in range(PAIRS):
        dumped, selected = to_nothing(dump), to_nothing(select)
        snapshots.append(snapshot("bench.big"))
        ratios.append(min(dumped, selected) / snapshots[-1][0])
        print(
            f"{pair}: mariadb-dump {dumped:.2f} s, SELECT {selected:.2f} s, snapshot "
            f"{told(*snapshots[-1], BIG_ROWS)}",
            flush=True,
        )
    return {
        "transaction_per_s": round(median(BIG_ROWS / run[0] for run in drains)),
        "transaction_rss_peak_mb": round(max(run[2] for run in drains), 1),
        "snapshot_ratio": round(median(ratios), 3),
        "snapshot_per_s": round(median(BIG_ROWS / run[0] for run in snapshots)),
        "snapshot_cpu_us_per_row": round(median(run[1] for run in snapshots) / BIG_ROWS * 1e6, 2),
        "snapshot_rss_peak_mb": round(max(run[2] for run in snapshots), 1),
    }


def told(seconds, cpu, peak_mb, rows):
    return f"{seconds:.2f} s, {cpu / rows * 1e6:.2f} us/event, {peak_mb:.0f} MB"


def main():
    sql("CREATE DATABASE bench")
    print(json.dumps(backlog_figures() | transaction_figures()))


main()
