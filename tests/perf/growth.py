#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Counts the instructions of a rank's calls as the ranks, or the bytes, grow, by callgrind.

    python tests/perf/growth.py worlds 2 8 64     # 8 bytes, at these numbers of ranks
    python tests/perf/growth.py bytes 8 4096 ...  # of two ranks

Prints a table, without what a rank spends waiting for its peers.
"""

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
import callgrind  # noqa: E402


def main():
    axis, *values = sys.argv[1:]
    columns = []
    for value in map(int, values):
        with tempfile.TemporaryDirectory() as folder:
            world, nbytes = (value, 8) if axis == "worlds" else (2, value)
            columns.append(callgrind.count(world, folder, nbytes=nbytes))
    unit = "ranks" if axis == "worlds" else "bytes"
    print("| Operation | " + " | ".join(f"{value} {unit}" for value in values) + " |")
    print("|---" * (1 + len(values)) + "|")
    for name in callgrind.METHODS:
        cells = [f"{column[name]:,.0f}" for column in columns]
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
