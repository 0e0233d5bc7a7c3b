#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Counts the instructions of a rank's small calls, world by world, by callgrind.

    python tests/perf/growth.py [WORLD_SIZE ...]

Prints a table: operation by world, without what a rank spends waiting for its peers. Rank 0 runs
in valgrind and all others run as they are, so the ranks may be many more than the cores.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

PROGRAM = str(Path(__file__).with_name("small_calls.py"))
CALLS = 20
TOTAL = CALLS + 20  # small_calls.py's warm-up
METHODS = {
    "all_reduce": "allreduce(*AllreduceOptions const&)",
    "all_gather": "_allgather_base(*AllgatherOptions const&)",
    "barrier": "barrier(*BarrierOptions const&)",
}


def inclusive(annotated, function):
    """Returns the instructions of that function, with * for what its name leaves out, and below."""
    name = ".*".join(map(re.escape, function.split("*")))
    found = re.findall(rf"^ *([\d,]+) .*:pinnedpg::{name}(?: \[.*)?$", annotated, re.M)
    return max((int(count.replace(",", "")) for count in found), default=0)


def count(operation, world_size, folder):
    """Returns the instructions of one call."""
    method, out = f"ProcessGroupPinned::{METHODS[operation]}", Path(folder) / "callgrind"
    valgrind = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}"]
    valgrind += [f"--toggle-collect=pinnedpg::{method}"]
    processes = []
    for rank in range(world_size):
        command = [sys.executable, PROGRAM, str(rank), str(world_size), folder, "pinned"]
        command = [*(valgrind if rank == 0 else []), *command, str(CALLS), operation]
        processes.append(
            subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        )
    for process in processes:
        _, error = process.communicate(timeout=600)
        assert process.returncode == 0, error.decode()
    command = ["callgrind_annotate", "--inclusive=yes", "--threshold=100", str(out)]
    annotated = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    waited = inclusive(annotated, "HostStream::block(*)")
    return (inclusive(annotated, method) - waited) / TOTAL


def main():
    worlds = [int(world) for world in sys.argv[1:]] or [2, 8, 64]
    print("| Operation | " + " | ".join(f"{world} ranks" for world in worlds) + " |")
    print("|---" * (1 + len(worlds)) + "|", flush=True)
    for operation in METHODS:
        cells = []
        for world in worlds:
            with tempfile.TemporaryDirectory() as folder:
                cells.append(f"{count(operation, world, folder):,.0f}")
        print(f"| {operation} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
