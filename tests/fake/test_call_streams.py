# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Collectives in the order of the caller's streams, on a fake GPU whose current stream is busy.

tests/fake/run.py builds the extension for it and runs this.
"""

import os
import signal
import time

import fake_gpu
import pytest
import ranks
import torch
import torch.distributed as dist
from fake_gpu import LIMIT, busy, later, met

pytestmark = fake_gpu.needed
ErrorType = torch._C._distributed_c10d.ErrorType
FUSED, QUEUED = 10, 300_000
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


def failed(rank, size):
    """What is known of a call that has failed."""
    work = dist.all_reduce(torch.ones(size + rank), async_op=True)
    with pytest.raises(dist.DistBackendError):
        work.wait(LIMIT)
    with pytest.raises(dist.DistBackendError, match="float32"):
        work.get_future().wait()
    own = dist.group.WORLD._get_backend(torch.device("cpu"))
    return own.get_error() == ErrorType.COMM_ERROR, work.is_success()


@pytest.mark.parametrize("size", [FUSED, QUEUED])
def test_a_failed_call_is_known_to_all_that_ask(size):
    assert ranks.run(met, 2, connected, failed, size) == [(True, False)] * 2


def factors_far_ahead(rank):
    """One stream is late with a call whose factors it reads when the other rank has made many."""
    tensors = [torch.full((20_000,), 1.0) for _ in range(40)]
    factors = [float(2 * i + 1 + 100 * rank) for i in range(40)]
    if rank == 1:
        busy(400)
    works = []
    for tensor, factor in zip(tensors, factors, strict=True):
        op = dist._make_nccl_premul_sum(factor)
        works.append(dist.all_reduce(tensor, op, async_op=True))
        busy(0)
    for work in works:
        work.wait(LIMIT)
    wanted = [2.0 * (2 * i + 1) + 100 for i in range(40)]
    return [i for i in range(40) if not tensors[i].eq(wanted[i]).all()]


def test_factors_stay_until_they_are_read():
    assert ranks.run(met, 2, factors_far_ahead) == [[]] * 2


def interrupted_far_ahead(rank):
    """Ctrl-C while a call waits for the other rank to make one: it can be made again."""
    tensors = [torch.full((1000,), float(i)) for i in range(40)]
    calling = False

    def interrupt(*_):
        if calling:
            raise KeyboardInterrupt
        signal.setitimer(signal.ITIMER_REAL, 0.1)

    if rank == 1:
        time.sleep(1.5)
    else:
        signal.signal(signal.SIGALRM, interrupt)
        signal.setitimer(signal.ITIMER_REAL, 0.5)
    caught, left = 0, list(tensors)
    while left:
        try:
            calling = True
            dist.all_reduce(left[0], async_op=True)
            calling = False
            left.pop(0)
        except KeyboardInterrupt:
            caught += 1
    calling = False
    signal.setitimer(signal.ITIMER_REAL, 0)
    dist.all_reduce(torch.ones(1), async_op=True).wait(LIMIT)
    return caught, [i for i in range(40) if not tensors[i].eq(2.0 * i).all()]


def test_a_call_that_is_broken_off_before_it_is_made():
    assert ranks.run(met, 2, connected, interrupted_far_ahead) == [(1, []), (0, [])]


def late_waiter(rank, size):
    """A stream comes to its wait for a call when the group has gone, and its memory with it."""
    tensor = torch.ones(size)
    if rank == 1:
        time.sleep(0.1)
    work = dist.all_reduce(tensor, async_op=True)
    if rank == 0:
        busy(600)
        work.wait()
    busy(0)
    work.wait(LIMIT)
    del work
    dist.destroy_process_group()
    time.sleep(0.8)
    return tensor[-1].item()


@pytest.mark.parametrize("size", [FUSED, QUEUED])
def test_a_stream_may_wait_when_the_group_has_gone(size):
    assert ranks.run(met, 2, connected, late_waiter, size) == [2.0] * 2


def on_a_gpu_that_fails(size):
    rank = dist.get_rank()
    dist.all_reduce(torch.ones(size))
    dist.all_reduce(torch.ones(size), async_op=True).wait(LIMIT)
    if rank == 1:
        os.environ["FAKE_CUDA_FAILED"] = "1"
    begin = time.monotonic()
    try:
        dist.all_reduce(torch.ones(size), async_op=True).wait(LIMIT)
    except RuntimeError as error:
        return str(error), time.monotonic() - begin
    finally:
        os.environ.pop("FAKE_CUDA_FAILED", None)
    return "no error", 0.0


@pytest.mark.parametrize("size", [FUSED, QUEUED])
def test_a_gpu_that_fails_is_told_of_at_once_on_all_ranks(size):
    for text, seconds in ranks.run(on_a_gpu_that_fails, 2, size):
        assert "the fake GPU has failed" in text and seconds < 3, (text, seconds)


def polls(size, rounds=8):
    """Counts how often a call that was aborted passed for one that is well over."""
    rank, wrong = dist.get_rank(), 0
    for _ in range(rounds):
        group = dist.new_group([0, 1])
        dist.all_reduce(torch.ones(size), group=group, async_op=True).wait(LIMIT)
        dist.barrier()
        if rank == 1:
            time.sleep(0.02)
            dist.destroy_process_group(group)
        else:
            work = dist.all_reduce(torch.full((size,), 5.0), group=group, async_op=True)
            end = time.monotonic() + 5
            while not work.is_completed() and time.monotonic() < end:
                pass
            try:
                work.wait()
                wrong += 1
            except dist.DistBackendError:
                pass
        dist.barrier()
    return wrong


@pytest.mark.parametrize("size", [FUSED, QUEUED])
def test_an_aborted_call_is_not_complete_before_its_error_is_known(size):
    assert ranks.run(polls, 2, size) == [0, 0]
