# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Collectives in the order of the caller's streams, on a fake GPU whose current stream is busy.

tests/test_fake_gpu.py builds the extension for it and runs this.
"""

import time

import pytest
import ranks
import torch
import torch.distributed as dist
from test_message_streams import LIMIT, busy, later, met, pytestmark  # noqa: F401

FUSED, QUEUED = 10, 100_000
"""Elements of a call that is one kernel, and of one that is not."""


def connected(rank, function, *args):
    """Calls it once the group has made a call."""
    dist.all_reduce(torch.ones(1), async_op=True).wait(LIMIT)
    return function(rank, *args)


def late_producer(rank, size):
    tensor = torch.zeros(size)
    if rank == 0:
        busy(400)
        later(0.2, lambda: tensor.fill_(7.0))
    work = dist.all_reduce(tensor, async_op=True)
    busy(0)
    work.wait(LIMIT)
    return tensor.unique().tolist()


@pytest.mark.parametrize("size", [FUSED, QUEUED])
def test_a_call_reads_what_the_stream_writes_before_it(size):
    assert ranks.run(met, 2, connected, late_producer, size) == [[7.0]] * 2


def late_reader(rank, size):
    seen = []
    tensor = torch.full((size,), float(rank))
    if rank == 1:
        busy(400)
        later(0.2, lambda: seen.append(tensor[-1].item()))
    work = dist.broadcast(tensor, 0, async_op=True)
    busy(0)
    work.wait(LIMIT)
    time.sleep(0.3)
    return seen, tensor[-1].item()


@pytest.mark.parametrize("size", [FUSED, QUEUED])
def test_a_call_writes_after_the_stream_has_read(size):
    assert ranks.run(met, 2, connected, late_reader, size) == [([], 0.0), ([1.0], 0.0)]


def barrier_of_a_busy_stream(rank):
    busy(400)
    before = time.monotonic()
    dist.barrier()
    return time.monotonic() - before > 0.3


def test_a_barrier_waits_for_the_current_stream():
    assert ranks.run(met, 2, connected, barrier_of_a_busy_stream) == [True] * 2


def value_of_a_future(rank, size):
    if rank == 1:
        time.sleep(0.3)
    (value,) = dist.all_reduce(torch.ones(size), async_op=True).get_future().wait()
    return value.unique().tolist()


@pytest.mark.parametrize("size", [FUSED, QUEUED])
def test_the_value_of_a_future_is_there(size):
    assert ranks.run(met, 2, connected, value_of_a_future, size) == [[2.0]] * 2
