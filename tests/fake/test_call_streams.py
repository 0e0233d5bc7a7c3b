# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Collectives in the order of the caller's streams, on a fake GPU whose current stream is busy.

tests/test_fake_gpu.py builds the extension for it and runs this.
"""

import os
import time

import pytest
import ranks
import torch
import torch.distributed as dist
from test_message_streams import LIMIT, busy, later, pytestmark  # noqa: F401

FUSED, QUEUED = 10, 100_000
"""Elements of a call that is one kernel, and of one that is not."""


def begin():
    """Has the group connected; the host's current stream is the thread's queue from now on."""
    busy(0)
    dist.all_reduce(torch.ones(1), async_op=True).wait(LIMIT)


def end():
    del os.environ["FAKE_CUDA_BUSY_MS"]


def late_producer(size):
    begin()
    tensor = torch.zeros(size)
    if dist.get_rank() == 0:
        busy(400)
        later(0.2, lambda: tensor.fill_(7.0))
    work = dist.all_reduce(tensor, async_op=True)
    busy(0)
    work.wait(LIMIT)
    end()
    return tensor.unique().tolist()


@pytest.mark.parametrize("size", [FUSED, QUEUED])
def test_a_call_reads_what_the_stream_writes_before_it(size):
    assert ranks.run(late_producer, 2, size) == [[7.0]] * 2


def late_reader(size):
    begin()
    rank, seen = dist.get_rank(), []
    tensor = torch.full((size,), float(rank))
    if rank == 1:
        busy(400)
        later(0.2, lambda: seen.append(tensor[-1].item()))
    work = dist.broadcast(tensor, 0, async_op=True)
    busy(0)
    work.wait(LIMIT)
    end()
    time.sleep(0.3)
    return seen, tensor[-1].item()


@pytest.mark.parametrize("size", [FUSED, QUEUED])
def test_a_call_writes_after_the_stream_has_read(size):
    assert ranks.run(late_reader, 2, size) == [([], 0.0), ([1.0], 0.0)]


def barrier_of_a_busy_stream():
    begin()
    busy(400)
    before = time.monotonic()
    dist.barrier()
    held_s = time.monotonic() - before
    end()
    return held_s > 0.3


def test_a_barrier_waits_for_the_current_stream():
    assert ranks.run(barrier_of_a_busy_stream, 2) == [True] * 2


def value_of_a_future(size):
    begin()
    if dist.get_rank() == 1:
        time.sleep(0.3)
    (value,) = dist.all_reduce(torch.ones(size), async_op=True).get_future().wait()
    end()
    return value.unique().tolist()


@pytest.mark.parametrize("size", [FUSED, QUEUED])
def test_the_value_of_a_future_is_there(size):
    assert ranks.run(value_of_a_future, 2, size) == [[2.0]] * 2
