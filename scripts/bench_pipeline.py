#!/usr/bin/env python3
"""Times tidemesh against pg_recvlogical on copies of one slot, in turn, and prints JSON.

bench_pipeline.py TIDEMESH POSTGRES_BIN PORT FOLDER ROWS PAIRS
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
import urllib.request

TIDEMESH, BIN, PORT, FOLDER, ROWS, PAIRS = sys.argv[1:]
ROWS, PAIRS = int(ROWS), int(PAIRS)
LIMIT_S = 300


def sql(statement):
    command = [f"{BIN}/psql", "-h", "127.0.0.1", "-p", PORT, "-U", "postgres", "-qAtX", "-c"]
    return subprocess.run(
        command + [statement], check=True, capture_output=True, text=True
    ).stdout.strip()


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
    """Seconds tidemesh takes from its start to the last record, fsync on; CPU seconds; peak MB."""
    copy_slot("ours")
    folder = f"{FOLDER}/run"
    os.mkdir(folder)
    with open(f"{folder}/tidemesh.toml", "w") as file:
        file.write(
            'data_dir = "data"\nregistry.listen = "127.0.0.1:0"\ncontrol.listen = "127.0.0.1:0"\n'
            'data.listen = "127.0.0.1:0"\n[[source]]\nname = "bench"\n[source.postgres]\n'
            f'host = "{host}"\nport = {PORT}\ndatabase = "postgres"\nuser = "postgres"\n'
            'tables = ["public.rows"]\nslot = "ours"\npublication = "bench"\n'
        )
    environment = dict(os.environ, TIDEMESH_LOG_FORMAT="json")
    began = time.monotonic()
    daemon = subprocess.Popen(
        [TIDEMESH, "up", "--config", f"{folder}/tidemesh.toml"],
        stderr=subprocess.PIPE, text=True, env=environment,
    )
    for line in daemon.stderr:
        fields = json.loads(line)["fields"]
        if fields["message"] == "listening":
            url = fields["control"]
            break
    while True:
        with urllib.request.urlopen(f"{url}/v1/sources/bench") as answer:
            report = json.load(answer)
        if report["records"] >= ROWS:
            break
        if report["state"] == "stopped" or time.monotonic() - began > LIMIT_S:
            sys.exit(f"tidemesh did not drain the backlog: {report}")
        time.sleep(0.02)
    seconds = time.monotonic() - began
    with open(f"/proc/{daemon.pid}/stat") as file:
        user, system = file.read().rsplit(")", 1)[1].split()[11:13]
    cpu = (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
    with open(f"/proc/{daemon.pid}/status") as file:
        peak_kb = next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))
    daemon.terminate()
    daemon.wait()
    shutil.rmtree(folder)
    sql("SELECT pg_drop_replication_slot('ours')")
    return seconds, cpu, peak_kb / 1024


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
    print(json.dumps(figures))


main()
