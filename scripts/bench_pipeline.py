#!/usr/bin/env python3
"""Times tidemesh against pg_recvlogical on copies of one slot, in turn; then its latency. Prints JSON.

Started by scripts/bench.
"""

import json
import statistics
import subprocess
import time

from bench_lib import ALLOCATIONS, BIN, FOLDER, PAIRS, PORT, PSQL, ROWS, Daemon, sql

COMMITS = 600
COMMITS_A_SECOND = 20


def copy_slot(name):
    sql(f"SELECT pg_copy_logical_replication_slot('backlog', '{name}')")


def theirs(host, end):
    """Seconds pg_recvlogical takes for the backlog, to nothing."""
    copy_slot("theirs")
    command = [f"{BIN}/pg_recvlogical", "-h", host, "-p", PORT, "-U", "postgres", "-d", "postgres"]
    command += ["-S", "theirs", "--start", "-E", end, "--no-loop", "-f", "/dev/null"]
    for option in ["proto_version=1", "publication_names=bench", "binary=true", "messages=true"]:
        command += ["-o", option]
    began = time.monotonic()
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    seconds = time.monotonic() - began
    sql("SELECT pg_drop_replication_slot('theirs')")
    return seconds


def ours(host):
    """Seconds tidemesh takes from its start to the last record; CPU seconds; peak MB."""
    copy_slot("ours")
    daemon = Daemon(host, "ours", "never")
    seconds = daemon.wait("the backlog's end", lambda report: report["records"] >= ROWS)
    cpu, peak = daemon.cpu_seconds(), daemon.peak_mb()
    daemon.end()
    return seconds, cpu, peak


def latencies():
    """Milliseconds from sending a statement that commits to its record's line at a consumer."""
    daemon = Daemon("127.0.0.1", "latency", "never")
    daemon.wait("streaming", lambda report: report["state"] == "streaming")
    sql("UPDATE rows SET n = 0 WHERE id = 1")
    daemon.wait("the first event", lambda report: report["records"] >= 1)
    command, environment = daemon.command(
        "topic", "read", "bench.public.rows", "--follow", "--from", "latest", "--max", str(COMMITS)
    )
    consumer = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True)
    writer = subprocess.Popen(PSQL, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    time.sleep(1)  # The consumer stands at the end by then, or the last line never comes.
    found = []
    for number in range(COMMITS):
        began = time.monotonic()
        writer.stdin.write(f"UPDATE rows SET n = {number} WHERE id = {number + 1};\n")
        writer.stdin.flush()
        line = json.loads(consumer.stdout.readline())
        found.append((time.monotonic() - began) * 1000)
        assert line["value"]["after"]["n"] == number, line
        time.sleep(max(0, 1 / COMMITS_A_SECOND - (time.monotonic() - began)))
    writer.stdin.close()
    writer.wait()
    consumer.wait()
    daemon.end()
    return sorted(found)


def main():
    end = sql("SELECT pg_current_wal_lsn()")
    figures = {}
    for socket, host in [("tcp", "127.0.0.1"), ("unix", f"{FOLDER}/postgres")]:
        ratios, cpus, peaks = [], [], []
        for pair in range(PAIRS):
            their_seconds = theirs(host, end)
            our_seconds, cpu, peak_mb = ours(host)
            print(
                f"{socket} {pair}: pg_recvlogical {their_seconds:.2f} s, tidemesh "
                f"{our_seconds:.2f} s, {cpu / ROWS * 1e6:.2f} us/event, {peak_mb:.0f} MB",
                flush=True,
            )
            ratios.append(their_seconds / our_seconds)
            cpus.append(cpu / ROWS * 1e6)
            peaks.append(peak_mb)
        name = "embedded_ratio" if socket == "tcp" else "embedded_ratio_unix"
        figures[name] = round(statistics.median(ratios), 3)
        if socket == "tcp":
            figures["cpu_us_per_event"] = round(statistics.median(cpus), 2)
            figures["rss_peak_mb"] = round(max(peaks), 1)
    figures["allocations_per_event"] = float(ALLOCATIONS)
    found = latencies()
    figures["latency_p50_ms"] = round(found[len(found) // 2], 2)
    figures["latency_p99_ms"] = round(found[len(found) * 99 // 100], 2)
    print(json.dumps(figures))


main()
