#!/usr/bin/env python3
"""Compares the demo's topics with its tables: compare.py TIDEMESH PSQL PORT.

Waits until every topic is equal to its table, a minute at the most, prints one line and exits with
0, or prints the differences and exits with 1.
"""

import json
import re
import subprocess
import sys
import time

TABLES = {"customers": ["id"], "orders": ["id"], "items": ["order_id", "line"]}
DIFFERENCES_SHOWN_MAX = 100
PATIENCE_S = 60


def table(psql, port, name):
    """A table's rows by key, each as the server writes it in JSON."""
    query = f"SELECT row_to_json(t) FROM {name} t"
    command = [psql, "-h", "127.0.0.1", "-p", port, "-U", "postgres", "-d", "shop", "-qAtX", "-c"]
    environment = {"PGTZ": "UTC", "PATH": "/usr/bin:/bin"}
    output = subprocess.run(
        command + [query], check=True, capture_output=True, text=True, env=environment
    ).stdout
    rows = [json.loads(line, parse_float=str) for line in output.splitlines()]
    return {key(row, name): normal(row) for row in rows}


def reader_fields(tidemesh, name):
    """The fields of a table's rows with their defaults, by the newest schema: what a reader sees."""
    command = [tidemesh, "schema", "get", f"shop.public.{name}-value"]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    fields = json.loads(output)["fields"][0]["type"][1]["fields"]
    return {field["name"]: field.get("default") for field in fields}


def topic(tidemesh, name):
    """The latest row of each key of a table's topic, and how many events it holds."""
    fields = reader_fields(tidemesh, name)
    command = [tidemesh, "topic", "read", f"shop.public.{name}"]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    rows, events = {}, 0
    for line in output.splitlines():
        record = json.loads(line, parse_float=str)
        if record["value"] is None:
            continue
        events += 1
        if record["value"]["after"] is None:
            rows.pop(key(record["key"], name), None)
        else:
            written = record["value"]["after"]
            row = {field: written.get(field, default) for field, default in fields.items()}
            rows[key(row, name)] = normal(row)
    return rows, events


def key(row, name):
    return tuple(row[column] for column in TABLES[name])


def normal(row):
    """One spelling for what both sides mean: JSON text parsed, instants without zone's spelling."""
    spelled = {}
    for column, value in row.items():
        if column == "profile" and isinstance(value, str):
            value = json.loads(value)
        if isinstance(value, str) and re.match(r"\d{4}-\d\d-\d\dT", value):
            value = re.sub(r"(Z|\+00:00)$", "", value)
        if column == "price":
            value = f"{float(value):.2f}"
        spelled[column] = value
    return spelled


def differences(tidemesh, psql, port):
    found, events = [], 0
    for name in TABLES:
        wanted = table(psql, port, name)
        got, count = topic(tidemesh, name)
        events += count
        for which in sorted(wanted.keys() | got.keys()):
            if wanted.get(which) != got.get(which):
                found.append(f"{name} {which}: table {wanted.get(which)}, topic {got.get(which)}")
    return found, events


def main():
    tidemesh, psql, port = sys.argv[1:]
    deadline = time.monotonic() + PATIENCE_S
    while True:
        found, events = differences(tidemesh, psql, port)
        if not found or time.monotonic() > deadline:
            break
        time.sleep(0.5)
    for difference in found[:DIFFERENCES_SHOWN_MAX]:
        print(difference)
    equal = len(TABLES) - len({difference.split()[0] for difference in found})
    print(f"demo: {events} events, {equal} tables equal, {len(found)} differences")
    sys.exit(1 if found else 0)


main()
