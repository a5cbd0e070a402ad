#!/usr/bin/env python3
"""Times the registry with wrk beside a bare axum handler that answers the same bytes, in turn. Prints
JSON.

With Apicurio in the same turns where the environment names one. Started by scripts/bench.
"""

import json
import math
import os
import re
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request

TIDEMESH, BARE, FOLDER, PAIRS, SCHEMAS, SECONDS = sys.argv[1:]
PAIRS, SCHEMAS, SECONDS = int(PAIRS), int(SCHEMAS), int(SECONDS)
SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "bench_registry.lua")
SUBJECTS = max(1, SCHEMAS // 4)
FILL_LIMIT_S = 600
FILL_STEP_S = 10
START_LIMIT_S = 120
STARTS = 3
JSON = "application/vnd.schemaregistry.v1+json"
UNITS_MS = {"us": 0.001, "ms": 1, "s": 1000, "m": 60_000}


def record(fields):
    names = [f"field{each}" for each in range(1, fields + 1)]
    fields = [{"name": name, "type": ["null", "string"], "default": None} for name in names]
    return json.dumps({"type": "record", "name": "Timed", "namespace": "bench", "fields": fields})


def ask(url, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": JSON})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.read()


def wrk(url, *arguments, seconds=SECONDS):
    """Answers a second, the milliseconds that 99 % of answers are within, and how many came."""
    command = ["wrk", "-t1", "-c32", f"-d{seconds}s", "--timeout", "30s", "--latency"]
    if arguments:
        command += ["-s", SCRIPT, url, "--", *map(str, arguments)]
    else:
        command += [url]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    if "Non-2xx" in said or "Socket errors" in said:
        sys.exit(f"{' '.join(command)} met errors:\n{said}")
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", said)[1])
    value, unit = re.search(r"99%\s+([\d.]+)(us|ms|s|m)", said).groups()
    count = int(re.search(r"(\d+) requests in", said)[1])
    return rate, float(value) * UNITS_MS[unit], count


def memory_mb(process, name):
    with open(f"/proc/{process}/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(name)) / 1024


class Registry:
    """`tidemesh up` that has a registry and nothing else; its folder stays over starts."""

    def __init__(self):
        self.config = f"{FOLDER}/tidemesh.toml"
        with open(self.config, "w") as file:
            file.write(
                f'data_dir = "{FOLDER}/data"\nregistry.listen = "127.0.0.1:0"\n'
                'control.listen = "127.0.0.1:0"\ndata.listen = "127.0.0.1:0"\n'
            )
        self.process = None

    def start(self):
        """Seconds until it has answered a request."""
        began = time.monotonic()
        self.process = subprocess.Popen(
            [TIDEMESH, "up", "--config", self.config],
            stderr=subprocess.PIPE, text=True, env=dict(os.environ, TIDEMESH_LOG_FORMAT="json"),
        )
        for line in self.process.stderr:
            fields = json.loads(line)["fields"]
            if fields["message"] == "listening":
                self.url = fields["registry"]
                break
        else:
            sys.exit("tidemesh did not start")
        while time.monotonic() - began < START_LIMIT_S:
            try:
                ask(f"{self.url}/schemas/types")
                return time.monotonic() - began
            except urllib.error.URLError:
                time.sleep(0.005)
        sys.exit("the registry does not answer")

    def end(self):
        self.process.terminate()
        self.process.wait()

    def schemas(self):
        try:
            return json.loads(ask(f"{self.url}/schemas/ids/1?fetchMaxId=true"))["maxId"]
        except urllib.error.HTTPError:
            return 0

    def fill(self):
        """New schemas a second, until there are as many as wanted or the time is over."""
        sent, spent, rate = 0, 0.0, 0
        while (held := self.schemas()) < SCHEMAS and spent < FILL_LIMIT_S:
            # The last step is as long as what is left takes.
            left = math.ceil((SCHEMAS - held) / rate) if rate else FILL_STEP_S
            seconds = min(FILL_STEP_S, left)
            rate, _, count = wrk(self.url, "new", "", SUBJECTS, sent, seconds=seconds)
            sent, spent = sent + count, spent + seconds
            print(f"{held} schemas, then {rate:.0f} new ones a second", flush=True)
        return self.schemas() / spent


class Loads:
    """The three requests that are timed, at one registry's address."""

    def __init__(self, url):
        self.url, subject = url, "timed-value"
        path = url.split("/", 3)[3] if url.count("/") > 2 else ""
        prefix = f"/{path}" if path else ""
        body = {"schema": record(10)}
        id = json.loads(ask(f"{url}/subjects/{subject}/versions", body))["id"]
        self.answers = {"get": ask(f"{url}/schemas/ids/{id}")}
        self.requests = {"get": (f"{url}/schemas/ids/{id}",)}
        for name, tail, body in (
            ("register", f"/subjects/{subject}/versions", body),
            (
                "check",
                f"/compatibility/subjects/{subject}/versions/latest",
                {"schema": record(11)},
            ),
        ):
            self.answers[name] = ask(f"{url}{tail}", body)
            file = f"{FOLDER}/{name}.json"
            with open(file, "w") as out:
                json.dump(body, out)
            self.requests[name] = (url, "same", f"{prefix}{tail}", file)

    def run(self, name):
        return wrk(*self.requests[name])


class Bare:
    """The bare handler, with one process for each of the answers."""

    def __init__(self, answers, requests):
        self.processes, self.requests = [], {}
        for name, answer in answers.items():
            with open(f"{FOLDER}/{name}.answer", "wb") as file:
                file.write(answer)
            with subprocess.Popen(
                ["python3", "-c", "import socket; s = socket.socket(); s.bind(('127.0.0.1', 0)); "
                 "print(s.getsockname()[1])"], stdout=subprocess.PIPE, text=True,
            ) as free:
                port = free.stdout.read().strip()
            self.processes.append(subprocess.Popen([BARE, port, f"{FOLDER}/{name}.answer"]))
            url, ours = f"http://127.0.0.1:{port}", requests[name]
            rest = ours[0].split("/", 3)
            if len(ours) == 1:
                self.requests[name] = (f"{url}/{rest[3]}",)
            else:
                self.requests[name] = (url, *ours[1:])
            deadline = time.monotonic() + START_LIMIT_S
            while True:
                try:
                    assert ask(url) == answer
                    break
                except urllib.error.URLError:
                    if time.monotonic() > deadline:
                        sys.exit("the bare handler does not answer")
                    time.sleep(0.02)

    def run(self, name):
        return wrk(*self.requests[name])

    def end(self):
        for process in self.processes:
            process.kill()
            process.wait()


def main():
    registry = Registry()
    registry.start()
    new_per_s = registry.fill()
    schemas = registry.schemas()
    registry.end()
    starts = []
    for _ in range(STARTS):
        starts.append(registry.start())
        if len(starts) < STARTS:
            registry.end()
    loads = Loads(registry.url)
    bare = Bare(loads.answers, loads.requests)
    peer = None
    if "BENCH_APICURIO" in os.environ:
        peer = Loads(f"{os.environ['BENCH_APICURIO']}/apis/ccompat/v7")
        for name in peer.requests:
            peer.run(name)
    ratios = {name: [] for name in loads.requests}
    rates = {name: [] for name in loads.requests}
    peers = {name: [] for name in loads.requests}
    p99s = []
    for pair in range(PAIRS):
        for name in loads.requests:
            ours, p99, _ = loads.run(name)
            theirs, bare_p99, _ = bare.run(name)
            ratios[name].append(ours / theirs)
            rates[name].append(ours)
            p99s.append(p99)
            line = f"{pair}: {name} {ours:.0f}/s, p99 {p99:.2f} ms; bare {theirs:.0f}/s, {bare_p99:.2f} ms"
            if peer is not None:
                rate, peer_p99, _ = peer.run(name)
                peers[name].append(rate)
                line += f"; Apicurio {rate:.0f}/s, {peer_p99:.2f} ms"
            print(line, flush=True)
    process = registry.process.pid
    figures = {f"{name}_ratio": round(statistics.median(each), 3) for name, each in ratios.items()}
    figures |= {f"{name}_per_s": round(statistics.median(each)) for name, each in rates.items()}
    figures |= {
        "register_new_per_s": round(new_per_s),
        "p99_ms": round(max(p99s), 2),
        "start_s": round(statistics.median(starts), 3),
        "rss_mb": round(memory_mb(process, "VmRSS"), 1),
        "rss_peak_mb": round(memory_mb(process, "VmHWM"), 1),
        "schemas": schemas,
    }
    if peer is not None:
        figures |= {f"apicurio_{name}_per_s": round(statistics.median(each)) for name, each in peers.items()}
    bare.end()
    registry.end()
    print(json.dumps(figures))


main()
