# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""What runs the tests of libraries says which rank failed, ends those that hang, and goes on."""

import os
import time

import limits
import pytest
import torch.distributed as dist
from library import Library

TORCH = Library("torch")
pytestmark = TORCH.marks


def rank():
    dist.init_process_group("pinned")
    return dist.get_rank(), int(os.environ["LOCAL_RANK"]), dist.get_world_size()


def fails():
    if rank()[0] == 1:
        raise KeyError("no such thing")
    dist.barrier()


def hangs():
    if rank()[0] == 0:
        time.sleep(1000)


def test_a_failed_run_does_not_spoil_the_next():
    with pytest.raises(AssertionError, match="rank 1 raised KeyError"):
        TORCH.run(fails, 2)
    began = time.monotonic()
    with pytest.raises(AssertionError, match=r"rank 0 hung[\s\S]*in hangs"):
        TORCH.run(hangs, 2, timeout_s=3)
    limits.in_time(time.monotonic() - began, 20, "a start and a limit of 3 s")
    assert TORCH.run(rank, 3) == [(0, 0, 3), (1, 1, 3), (2, 2, 3)]


def test_it_starts_again():
    TORCH.close()
    assert TORCH.run(rank, 2) == [(0, 0, 2), (1, 1, 2)]


def test_a_missing_library_is_skipped():
    slow, _, skip = Library("no_such_library").marks
    assert slow.name == "slow" and skip.args == (True,)
