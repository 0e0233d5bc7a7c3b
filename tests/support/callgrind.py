# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Counts the instructions of a rank's calls by callgrind, without what it spends waiting."""

import re
import subprocess
import sys
from pathlib import Path

PROGRAM = str(Path(__file__).resolve().parents[1] / "perf" / "small_calls.py")
METHODS = {
    "all_reduce": "allreduce(*Options const&)",
    "broadcast": "broadcast(*Options const&)",
    "all_gather": "_allgather_base(*Options const&)",
    "reduce_scatter": "_reduce_scatter_base(*Options const&)",
    "all_to_all": "alltoall_base(*Options const&)",
    "barrier": "barrier(*Options const&)",
}
"""The methods of ProcessGroupPinned that small_calls.py comes to."""
WARM_UP = 20
WAIT = "pinnedpg::HostStream::block(*)"
TIMEOUT_S = 600


def program(rank, world_size, folder, backend, calls, *operations, nbytes=8):
    """Returns the command of one rank of perf/small_calls.py."""
    words = [sys.executable, PROGRAM, "--nbytes", str(nbytes), str(rank), str(world_size)]
    return [*words, str(folder), backend, str(calls), *operations]


def count(world_size, folder, *operations, calls=20, nbytes=8):
    """Returns the instructions of one call by operation: of its method and all below it.

    Rank 0 runs in valgrind and all others run as they are, so the ranks may be many more than the
    cores. Collecting is turned on by a method, and off again while the rank waits.

    Args:
        world_size: How many ranks.
        folder: Where the ranks' store and the counts go: empty, and one for each count.
        operations: All, where none is named.
        calls: How many of each are counted, after those that warm up.
        nbytes: Of the tensor.
    """
    operations = operations or tuple(METHODS)
    out = Path(folder) / "callgrind"
    names = [f"pinnedpg::ProcessGroupPinned::{METHODS[name]}" for name in operations]
    valgrind = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}"]
    valgrind += [f"--toggle-collect={name}" for name in [*names, WAIT]]
    processes = []
    for rank in range(world_size):
        command = program(rank, world_size, folder, "pinned", calls, *operations, nbytes=nbytes)
        command = [*valgrind, *command] if rank == 0 else command
        processes.append(
            subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        )
    for process in processes:
        _, error = process.communicate(timeout=TIMEOUT_S)
        assert process.returncode == 0, error.decode()
    command = ["callgrind_annotate", "--inclusive=yes", "--threshold=100", str(out)]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return {
        name: _inclusive(told, method) / (calls + WARM_UP)
        for name, method in zip(operations, names, strict=True)
    }


def _inclusive(told, name):
    pattern = ".*".join(map(re.escape, name.split("*")))
    return max(
        int(one.replace(",", "")) for one in re.findall(rf"^ *([\d,]+) .*:{pattern} \[", told, re.M)
    )
