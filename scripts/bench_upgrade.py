#!/usr/bin/env python3
"""Times a new column through five pipelines that read each other. Prints JSON.

Started by scripts/bench. From the moment at which the statement that adds the column and a row is handed
to psql until a consumer of the fifth pipeline's topic has a record with it: two sessions' work is in it,
psql's and the consumer's.
"""

import json
import statistics
import subprocess
import time

from bench_lib import FOLDER, LIMIT_S, PAIRS, wait_for_quiet
from bench_postgres import PSQL, Daemon, sql

DEPTH = 5


def pipeline(number):
    reads = "bench.public.rows" if number == 1 else f"mesh.p{number - 1}"
    return f"""---
apiVersion: tidemesh/v1
kind: Pipeline
metadata: {{name: p{number}}}
spec:
  inputs: {{rows: {reads}}}
  processors: [{{name: made, sql: "SELECT * FROM rows WHERE id > 0"}}]
  sinks: [{{name: out, from: made, kafka: {{topic: mesh.p{number}}}}}]
"""


def run(daemon, *arguments):
    command, environment = daemon.command(*arguments)
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def applied(daemon):
    path = f"{FOLDER}/mesh.yaml"
    with open(path, "w") as file:
        file.writelines(pipeline(number + 1) for number in range(DEPTH))
    deadline = time.monotonic() + LIMIT_S
    while (done := run(daemon, "apply", "-f", path))[0] != 0:
        assert time.monotonic() < deadline, done[1]
        time.sleep(0.2)


def consumer(daemon):
    topic = f"mesh.p{DEPTH}"
    command, environment = daemon.command("topic", "read", topic, "--follow", "--from", "earliest")
    return subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True)


def until(reading, column):
    for line in reading.stdout:
        row = json.loads(line)["value"]["after"]
        if row is not None and column in row and row[column] is not None:
            return


def main():
    sql("CREATE TABLE rows (id bigint PRIMARY KEY, first text)")
    sql("CREATE PUBLICATION bench FOR TABLE rows")
    sql("INSERT INTO rows SELECT g, 'x' FROM generate_series(1, 1000) g")
    daemon = Daemon("127.0.0.1", "upgrade", "initial")
    applied(daemon)
    reading = consumer(daemon)
    until(reading, "first")
    took = []
    for number in range(PAIRS):
        wait_for_quiet()
        column = f"more{number}"
        began = time.monotonic()
        change = f"ALTER TABLE rows ADD COLUMN {column} text; INSERT INTO rows (id, {column}) "
        change += f"VALUES ({2000 + number}, 'y')"
        subprocess.run(PSQL + ["-c", change], check=True)
        until(reading, column)
        took.append(time.monotonic() - began)
        print(f"{number}: {took[-1]:.2f} s", flush=True)
    reading.terminate()
    reading.wait()
    daemon.end()
    print(json.dumps({"upgrade_s": round(statistics.median(took), 2), "upgrade_max_s": round(max(took), 2)}))


main()
