# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Time limits for tests, scaled to the load of the machine.

A limit is generous on an idle machine. If a test exceeds its limit, a busy loop measures how much
other processes slow it down, and the limit is multiplied by that factor. A test within its limit
measures nothing. PINNEDPG_PATIENCE sets the factor instead.
"""

import hashlib
import os
import time
from concurrent.futures import ThreadPoolExecutor

LOOP_S = 0.04
"""Of a core's time: some time slices of a process that computes beside it (Linux 6: 2 to 4 ms)."""
MOST = 10.0
LONGEST_S = 280.0
"""Some less than pytest's own time-out in pyproject.toml, which says less of what hangs."""
THREADS = min(len(os.sched_getaffinity(0)), 4)


def in_time(seconds: float, limit_s: float, what_for: str) -> bool:
    """Returns True where it took less than the limit, as this machine is now.

    Args:
        seconds: What it took.
        limit_s: What it may take on a quiet machine.
        what_for: The time that the limit allows for.

    Raises:
        AssertionError: It took longer.
    """
    if seconds < limit_s:
        return True
    slow = slowness()
    assert seconds < limit_s * slow, (
        f"took {seconds:.2f} s; the limit is {limit_s:g} s ({what_for}), times {slow:.1f} for load"
    )
    return True


def patient(seconds: float) -> float:
    """Returns a time-out that is longer the slower the machine is now: up to that of a test."""
    return min(seconds * slowness(), max(seconds, LONGEST_S))


def slowness() -> float:
    """Returns how much longer a loop on each core takes than the core's time that it gets."""
    if given := os.environ.get("PINNEDPG_PATIENCE"):
        return float(given)
    with ThreadPoolExecutor(THREADS) as pool:
        found = list(pool.map(lambda _: _loop(), range(THREADS)))
    return min(MOST, max(1.0, *found))


def _loop() -> float:
    block, digest = bytes(1 << 16), hashlib.sha256()  # which lets go of the GIL
    begin, spent = time.monotonic(), time.thread_time()
    while (used := time.thread_time() - spent) < LOOP_S:
        digest.update(block)
    return (time.monotonic() - begin) / used
