"""What the benchmarks share: their arguments, a quiet machine, and a tidemesh of its own."""

import atexit
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


def cpu_seconds(process):
    """User and system seconds of a process so far."""
    with open(f"/proc/{process}/stat") as file:
        user, system = file.read().rsplit(")", 1)[1].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def peak_mb(process):
    """The most memory that a process had so far (VmHWM)."""
    with open(f"/proc/{process}/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) / 1024


def latencies(daemon, table, writer):
    """Milliseconds from sending a statement that commits to its record's line at a consumer. The
    daemon's own; `writer` is a command that runs the SQL of its input."""
    daemon.wait("streaming", lambda report: report["state"] == "streaming")
    run = {"stdout": subprocess.DEVNULL, "text": True}
    subprocess.run(writer, input=f"UPDATE {table} SET n = -1 WHERE id = 1;\n", check=True, **run)
    daemon.wait("the first event", lambda report: report["records"] >= 1)
    command, environment = daemon.command(
        "topic", "read", f"bench.{table}", "--follow", "--from", "latest", "--max", str(COMMITS)
    )
    consumer = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True)
    writer = subprocess.Popen(writer, stdin=subprocess.PIPE, **run)
    time.sleep(1)  # The consumer stands at the end by then, or the last line never comes.
    found = []
    for number in range(COMMITS):
        began = time.monotonic()
        writer.stdin.write(f"UPDATE {table} SET n = {number} WHERE id = {number + 1};\n")
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


class Tidemesh:
    """`tidemesh up` with the source `bench`, of which this is the database's part: into its own log,
    fsync on, or to that Kafka, under a prefix of its own."""

    def __init__(self, source, mode, kafka=None):
        number = next(MESHES)
        self.folder = f"{FOLDER}/run{number}"
        os.mkdir(self.folder)
        into = ""
        if kafka:
            into = f'[kafka]\nbootstrap_servers = "{kafka}"\nprefix = "run{number}."\n'
        with open(f"{self.folder}/tidemesh.toml", "w") as file:
            file.write(
                'data_dir = "data"\nregistry.listen = "127.0.0.1:0"\n'
                'control.listen = "127.0.0.1:0"\ndata.listen = "127.0.0.1:0"\n'
                f'{into}[[source]]\nname = "bench"\nsnapshot.mode = "{mode}"\n{source}'
            )
        self.start()

    def start(self):
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            [TIDEMESH, "up", "--config", f"{self.folder}/tidemesh.toml"],
            stderr=subprocess.PIPE, text=True, env=dict(os.environ, TIDEMESH_LOG_FORMAT="json"),
        )
        atexit.register(self.process.kill)  # Whatever stops the benchmark.
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

    def stop(self):
        """Its folder stays: it can be started again."""
        self.process.terminate()
        self.process.wait()

    def end(self):
        self.stop()
        shutil.rmtree(self.folder)
