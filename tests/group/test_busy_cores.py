# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Ranks whose core somebody else computes on: a call must not cost a time slice."""

import os
import subprocess
import sys
import time

import limits
import pytest
import ranks
import torch
import torch.distributed as dist

import pinnedpg  # noqa: F401

CORES = sorted(os.sched_getaffinity(0))
CALLS = 300
SLICE_S = 0.002
"""What a yield to a process that computes takes at the least (Linux 6, two cores: 2 to 4 ms)."""


def reduce_beside_others():
    """One call after the other, on a core of its own but for what computes on the first one."""
    rank = dist.get_rank()
    core = CORES[rank % len(CORES)]
    os.sched_setaffinity(0, {core})
    hog = None
    if rank == 0:
        program = f"import os; os.sched_setaffinity(0, {{{core}}})\nwhile True: pass"
        hog = subprocess.Popen([sys.executable, "-c", program])
    try:
        tensor = torch.zeros(2)
        dist.barrier()
        time.sleep(0.3)  # until it computes
        dist.barrier()
        begin = time.monotonic()
        for _ in range(CALLS):
            dist.all_reduce(tensor)
        return time.monotonic() - begin
    finally:
        if hog:
            hog.kill()
            hog.wait()
        os.sched_setaffinity(0, CORES)


@pytest.mark.alone
@pytest.mark.skipif(len(CORES) < 2, reason="the ranks need a core each")
def test_a_call_does_not_wait_for_a_time_slice():
    """By yields each of them would: CALLS x SLICE_S."""
    for seconds in ranks.run(reduce_beside_others, 2):
        limits.in_time(seconds, CALLS * SLICE_S / 2, "half a slice for each call")
