#!/usr/bin/env python3
"""Times a snapshot of the table and its verification. Prints JSON. Started by scripts/bench."""

import json
import subprocess
import time

from bench_lib import ROWS
from bench_postgres import Daemon


def main():
    daemon = Daemon("127.0.0.1", "snapshot", "initial")

    def is_done(report):
        tables = report["snapshot"]["tables"]
        return tables and all(table["state"] == "done" for table in tables)

    seconds = daemon.wait("the snapshot's end", is_done)
    figures = {
        "snapshot_rows_per_s": round(ROWS / seconds),
        "snapshot_cpu_us_per_row": round(daemon.cpu_seconds() / ROWS * 1e6, 2),
        "snapshot_rss_peak_mb": round(daemon.peak_mb(), 1),
    }
    command, environment = daemon.command("verify", "--source", "bench", "--json")
    began = time.monotonic()
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    figures["verify_rows_per_s"] = round(ROWS / (time.monotonic() - began))
    figures["verify_outcome"] = json.loads(done.stdout)["outcome"]
    figures["verify_rss_peak_mb"] = round(daemon.peak_mb(), 1)
    daemon.end()
    print(json.dumps(figures))


main()
