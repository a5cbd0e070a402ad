"""What the benchmarks share: the database's statements, and a tidemesh of its own."""

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
PSQL = [f"{BIN}/psql", "-h", "127.0.0.1", "-p", PORT, "-U", "postgres", "-qAtX"]


def sql(statement):
    return subprocess.run(
        PSQL + ["-c", statement], check=True, capture_output=True, text=True
    ).stdout.strip()


class Daemon:
    """`tidemesh up` with one source of the table `rows`, fsync on."""

    def __init__(self, host, slot, mode):
        self.folder = f"{FOLDER}/run"
        os.mkdir(self.folder)
        with open(f"{self.folder}/tidemesh.toml", "w") as file:
            file.write(
                'data_dir = "data"\nregistry.listen = "127.0.0.1:0"\n'
                'control.listen = "127.0.0.1:0"\ndata.listen = "127.0.0.1:0"\n'
                f'[[source]]\nname = "bench"\nsnapshot.mode = "{mode}"\n[source.postgres]\n'
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
        """User and system seconds so far."""
        with open(f"/proc/{self.process.pid}/stat") as file:
            user, system = file.read().rsplit(")", 1)[1].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def peak_mb(self):
        """The most memory it had so far (VmHWM)."""
        with open(f"/proc/{self.process.pid}/status") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) / 1024

    def end(self):
        self.process.terminate()
        self.process.wait()
        shutil.rmtree(self.folder)
        sql(f"SELECT pg_drop_replication_slot('{self.slot}')")
