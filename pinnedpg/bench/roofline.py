# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""How fast this machine's cores copy memory, and what no all_reduce can be faster than, therefore.

**The definition.** Whatever an all_reduce of S bytes does, each rank reads its own S bytes and
writes S bytes of results: what a copy of S bytes moves. So the roofline is the time in which all
ranks, at once and each on its core, copy S bytes from one place in memory to another, at the
bandwidth that was measured in the same run: S / (the slowest rank's copied bytes per second).
It holds where nothing stays in caches, so it is compared with sizes of 64 MiB and more. A share of
100 % would be an all_reduce in which hearing of the other ranks' data costs nothing.

**The measurement.** Each rank starts a process on its core, which copies with the C library's
memmove between buffers on huge pages: as the library is set up, and with non-temporal stores
(glibc's tunable; other libraries ignore it). Of the passes the median counts, of the two kinds the
faster.
"""

import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

FROM_BYTES = 64 << 20
"""Below, an all_reduce is not compared with it."""
PASSES = 9
COPIES = {
    "plain": {},
    "non-temporal": {"GLIBC_TUNABLES": "glibc.cpu.x86_non_temporal_threshold=0x4040"},
}
"""The environment of the process that copies."""


def _copy(nbytes: int, environment: dict[str, str], taking_part: set[int]) -> float:
    """Returns this rank's median bandwidth in GB/s; 0 where it takes no part. All ranks must."""
    if dist.get_rank() not in taking_part:
        for _ in range(PASSES + 1):
            dist.barrier()
        return 0.0
    program = Path(__file__).with_name("copier.py")
    found = []
    with subprocess.Popen(
        [sys.executable, program, str(nbytes)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    ) as process:
        assert process.stdin and process.stdout
        process.stdout.readline()
        for _ in range(PASSES):
            dist.barrier()
            process.stdin.write("\n")
            process.stdin.flush()
            found.append(nbytes / int(process.stdout.readline()))
        dist.barrier()
        process.stdin.close()
    return statistics.median(found)


def _of_all(mine: float) -> list[float]:
    found = torch.zeros(dist.get_world_size(), dtype=torch.float64)
    found[dist.get_rank()] = mine
    dist.all_reduce(found)
    return [round(float(one), 2) for one in found]


def measure(nbytes: int = 256 << 20) -> dict[str, Any]:
    """Returns copied GB/s of rank 0 alone and of all ranks at once, by kind of store, and the best.

    Args:
        nbytes: Of a copy.
    """
    found: dict[str, Any] = {"bytes": nbytes, "alone": {}, "together": {}}
    everyone = set(range(dist.get_world_size()))
    for kind, environment in COPIES.items():
        found["alone"][kind] = _of_all(_copy(nbytes, environment, {0}))[0]
        found["together"][kind] = _of_all(_copy(nbytes, environment, everyone))
    found["slowest_rank"] = max(min(rates) for rates in found["together"].values())
    return found


def compare(rows: list[dict[str, Any]], found: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns the large all_reduces of the rows, each with its share of the roofline.

    Args:
        rows: As `report.row` makes them.
        found: As `measure` returns it.
    """
    return [
        {
            "backend": row["backend"],
            "dtype": row["dtype"],
            "bytes": row["bytes"],
            "roofline_us": round(row["bytes"] / found["slowest_rank"] / 1e3, 1),
            "share": round(row["bytes"] / found["slowest_rank"] / 1e3 / row["time_us"], 4),
        }
        for row in rows
        if row["operation"] == "all_reduce" and row["bytes"] >= FROM_BYTES
    ]
