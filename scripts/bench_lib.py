"""What the benchmarks share: the database's statements, and a tidemesh of its own."""

import itertools
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request

TIDEMESH, BIN, PORT, FOLDER, ROWS, PAIRS, ALLOCATIONS = sys.argv[1:]
ROWS, PAIRS = int(ROWS), int(PAIRS)
LIMIT_S = 300
QUIET_LIMIT_S = 240
QUIET_IDLE_SHARE = 0.85
COMMITS = 600
COMMITS_A_SECOND = 20
MESHES = itertools.count()
PSQL = [f"{BIN}/psql", "-h", "127.0.0.1", "-p", PORT, "-U", "postgres", "-qAtX"]


def idle_share():
    """The share of the processors' time that nobody wanted in the next two seconds."""

    def times():
        with open("/proc/stat") as file:
            of_all = [int(ticks) for ticks in file.readline().split()[1:9]]
        return of_all[3] + of_all[4], sum(of_all)

    idle, whole = times()
    time.sleep(2)
    idle_then, whole_then = times()
    return (idle_then - idle) / (whole_then - whole)


def wait_for_quiet():
    """Before something is timed: until others let the machine be, some minutes at most."""
    deadline = time.monotonic() + QUIET_LIMIT_S
    while (share := idle_share()) < QUIET_IDLE_SHARE:
        if time.monotonic() > deadline:
            print(f"the machine stays busy with something else: {share:.0%} idle", flush=True)
            return


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


def cpu_seconds(process):
    """User and system seconds of a process so far."""
    with open(f"/proc/{process}/stat") as file:
        user, system = file.read().rsplit(")", 1)[1].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def peak_mb(process):
    """The most memory that a process had so far (VmHWM)."""
    with open(f"/proc/{process}/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) / 1024


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


class Daemon:
    """`tidemesh up` with one source of the table `rows`: into its own log, fsync on, or to the Kafka
    that the environment names."""

    def __init__(self, host, slot, mode):
        self.folder = f"{FOLDER}/run"
        os.mkdir(self.folder)
        kafka = ""
        if "BENCH_KAFKA" in os.environ:
            servers, mesh = os.environ["BENCH_KAFKA"], next(MESHES)
            kafka = f'[kafka]\nbootstrap_servers = "{servers}"\nprefix = "run{mesh}."\n'
        with open(f"{self.folder}/tidemesh.toml", "w") as file:
            file.write(
                'data_dir = "data"\nregistry.listen = "127.0.0.1:0"\n'
                'control.listen = "127.0.0.1:0"\ndata.listen = "127.0.0.1:0"\n'
                f'{kafka}[[source]]\nname = "bench"\nsnapshot.mode = "{mode}"\n[source.postgres]\n'
                f'host = "{host}"\nport = {PORT}\ndatabase = "postgres"\nuser = "postgres"\n'
                f'tables = ["public.rows"]\nslot = "{slot}"\npublication = "bench"\n'
            )
        self.slot = slot
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            [TIDEMESH, "up", "--config", f"{self.folder}/tidemesh.toml"],
            stderr=subprocess.PIPE, text=True, env=dict(os.environ, TIDEMESH_LOG_FORMAT="json"),
        )
        for line in self.process.stderr:
            fields = json.loads(line)["fields"]
            if fields["message"] == "listening":
                self.url = fields["control"]
                return
        sys.exit("tidemesh did not start")

    def wait(self, what, holds):
        """Seconds from the start until the source's report is so."""
        while True:
            with urllib.request.urlopen(f"{self.url}/v1/sources/bench") as answer:
                report = json.load(answer)
            if holds(report):
                return time.monotonic() - self.began
            if report["state"] == "stopped" or time.monotonic() - self.began > LIMIT_S:
                sys.exit(f"{what} did not come: {report}")
            time.sleep(0.02)

    def command(self, *arguments):
        """The arguments of a command of the command line for this daemon, and its environment."""
        return [TIDEMESH, *arguments], dict(os.environ, TIDEMESH_URL=self.url)

    def cpu_seconds(self):
        return cpu_seconds(self.process.pid)

    def peak_mb(self):
        return peak_mb(self.process.pid)

    def end(self):
        self.process.terminate()
        self.process.wait()
        shutil.rmtree(self.folder)
        drop_slot(self.slot)
