# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""A benchmark that is told to end, or dies, takes its ranks with it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import launch
import limits
import pytest

LIMIT_S = 40.0  # torchrun gives the ranks 30 s


def children(pid: int) -> set[int]:
    """Returns all that a process has started, and what those have."""
    try:
        tasks = Path(f"/proc/{pid}/task").iterdir()
        below = {int(one) for task in tasks for one in (task / "children").read_text().split()}
    except OSError:
        return set()
    return below.union(*map(children, below))


def is_there(pid: int) -> bool:
    """Returns whether it runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def await_that(holds):
    end = time.monotonic() + limits.patient(LIMIT_S)
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.1)


SLOW = [pytest.param(number, marks=pytest.mark.slow) for number in (signal.SIGINT, signal.SIGKILL)]


@pytest.mark.parametrize("number", [signal.SIGTERM, *SLOW])
def test_no_rank_is_left(number):
    words = "-m pinnedpg.bench all_reduce --sizes 16M --seconds 300 --rounds 100000".split()
    bench = subprocess.Popen(
        [sys.executable, *words],
        cwd=launch.ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert bench.stdout.readline() == b"#\n"  # the title: all ranks have met
        ranks = children(bench.pid)
        assert len(ranks) >= 3  # torchrun and two ranks
        bench.send_signal(number)
        status = bench.wait(timeout=limits.patient(LIMIT_S))
        await_that(lambda: not any(map(is_there, ranks)))
    finally:
        bench.kill()
    assert status == (-number if number == signal.SIGKILL else 128 + number)
