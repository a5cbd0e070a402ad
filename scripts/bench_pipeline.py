#!/usr/bin/env python3
"""Times tidemesh against pg_recvlogical on copies of one slot, in turn; then its latency. Prints JSON.

Started by scripts/bench.
"""

import json
import statistics

from bench_lib import ALLOCATIONS, FOLDER, PAIRS, ROWS
from bench_postgres import latencies, ours, sql, theirs


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
