# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""How fast this machine's cores copy memory, and what no call can be faster than, therefore.

**The definition.** Whatever a call does, its tensors must be read and written: of an all_reduce of
S bytes, S bytes and S bytes on each rank (`Operation.touched`). A copy of S bytes reads and writes
as many. So the roofline is the time in which all ranks, at once and each on its core, move that
many bytes by copies from one place in memory to another, at the bandwidth that was measured in the
same run (copied bytes per second of the slowest rank, in the pass in which that is highest).
It holds where nothing stays in caches, so it is compared with sizes of 64 MiB and more. A share of
100 % would be a call in which hearing of the other ranks' data costs nothing.

**The measurement.** Each rank starts a process on its core, which copies with the C library's
memmove between buffers on huge pages: as the library is set up, and with non-temporal stores
(glibc's tunable; other libraries ignore it). The bandwidths shown are medians of the passes.
"""

import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from pinnedpg.bench.operations import OPERATIONS

FROM_BYTES = 64 << 20
"""Below, a call is not compared with it."""
PASSES = 9
COPIES = {
    "plain": {},
    "non-temporal": {"GLIBC_TUNABLES": "glibc.cpu.x86_non_temporal_threshold=0x4040"},
}
"""The environment of the process that copies."""


def _copy(nbytes: int, environment: dict[str, str], taking_part: int) -> torch.Tensor:
    """Returns the GB/s of the first ranks, a line for each and a column a pass. All ranks must."""
    found = torch.zeros(taking_part, PASSES, dtype=torch.float64)
    if dist.get_rank() < taking_part:
        _copy_here(nbytes, environment, found[dist.get_rank()])
    else:
        for _ in range(PASSES):
            dist.barrier()
    dist.all_reduce(found)
    return found


def _copy_here(nbytes: int, environment: dict[str, str], found: torch.Tensor) -> None:
    with subprocess.Popen(
        [sys.executable, Path(__file__).with_name("copier.py"), str(nbytes)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    ) as process:
        assert process.stdin and process.stdout
        process.stdout.readline()
        for number in range(PASSES):
            dist.barrier()
            process.stdin.write("\n")
            process.stdin.flush()
            found[number] = nbytes / int(process.stdout.readline())
        process.stdin.close()


def measure(nbytes: int = 256 << 20) -> dict[str, Any]:
    """Returns copied GB/s: of rank 0 alone, of all ranks together, and the "slowest_rank".

    Args:
        nbytes: Of a copy.
    """
    found: dict[str, Any] = {"bytes": nbytes, "alone": {}, "together": {}, "slowest_rank": 0.0}
    for kind, environment in COPIES.items():
        alone = _copy(nbytes, environment, 1)
        together = _copy(nbytes, environment, dist.get_world_size())
        found["alone"][kind] = round(statistics.median(alone[0].tolist()), 2)
        found["together"][kind] = [round(statistics.median(one.tolist()), 2) for one in together]
        best = round(float(together.amin(0).max()), 2)
        found["slowest_rank"] = max(found["slowest_rank"], best)
    return found


def compare(
    rows: list[dict[str, Any]], found: dict[str, Any], world_size: int
) -> list[dict[str, Any]]:
    """Returns the large calls of the rows, each with its share of the roofline.

    Args:
        rows: As `report.row` makes them.
        found: As `measure` returns it.
        world_size: How many ranks there were.
    """
    compared = []
    for row in rows:
        if row["bytes"] < FROM_BYTES:
            continue
        touched = OPERATIONS[row["operation"]].touched(world_size, row["form"] == "in-place")
        least_us = row["bytes"] * touched / 2 / found["slowest_rank"] / 1e3
        about = {key: row[key] for key in ("operation", "form", "backend", "dtype", "bytes")}
        share = round(least_us / row["time_us"], 4)
        compared.append({**about, "roofline_us": round(least_us, 1), "share": share})
    return compared
