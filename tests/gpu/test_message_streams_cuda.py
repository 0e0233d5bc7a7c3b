# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Messages of CUDA tensors come in the order of streams, and hold no host."""

import statistics
import time

import pytest
import ranks
import torch
import torch.distributed as dist
from cuda_streams import LAUNCHERS, LIMIT, QUICK_S, SPIN, filled, own_stream, range_of, warm

import pinnedpg  # noqa: F401

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
SIZES = [1, 1000, 3_000_000]  # in float32: whole, and in parts


def late_producer(count):
    """No stale value, and nothing of it holds the host of a process."""
    rank = own_stream()
    warm(rank, count)
    tensor = filled(count, 0)
    torch.cuda.synchronize()
    begin = time.monotonic()
    if rank == 0:
        torch.cuda._sleep(SPIN)
        tensor.fill_(7.0)
        work = dist.isend(tensor, 1)
    else:
        work = dist.irecv(tensor, 0)
    work.wait()
    tensor += 1  # behind the copy, on either side
    held = time.monotonic() - begin
    found = range_of(tensor)
    work.wait(LIMIT)
    return held < QUICK_S, found, work.is_completed()


@pytest.mark.parametrize("count", SIZES)
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_late_producer(launcher, count):
    for rank, found in enumerate(ranks.run(late_producer, 2, count, launcher=launcher)):
        if launcher == "threads" and rank == 1:
            assert found[1:] == ([8.0, 8.0], True)  # the wait for a thread's message may hold
        else:
            assert found == (True, [8.0, 8.0], True)


def late_consumer(count, waits):
    """What the receiver's stream still reads is not overwritten before."""
    rank = own_stream()
    warm(rank, count)
    tensor = filled(count, rank)
    if rank == 0:
        dist.isend(tensor, 1).wait(LIMIT)
        return True
    torch.cuda.synchronize()
    begin = time.monotonic()
    torch.cuda._sleep(SPIN)
    before = tensor.clone()
    work = dist.irecv(tensor, 0)
    if waits:
        work.wait()
    held = time.monotonic() - begin
    while not work.is_completed() and time.monotonic() < begin + 10:
        time.sleep(0.001)
    return held < QUICK_S, range_of(before), range_of(tensor)


@pytest.mark.parametrize("waits", [True, False])
@pytest.mark.parametrize("count", SIZES)
def test_a_late_consumer(count, waits):
    found = ranks.run(late_consumer, 2, count, waits)[1]
    assert found == (True, [1.0, 1.0], [0.0, 0.0])


def late_sender(count):
    """The stream waits for the message; the host does not, and may pin new memory meanwhile."""
    rank = own_stream()
    warm(rank, count)
    tensor = filled(count, 3 + rank)
    torch.cuda.synchronize()
    begin = time.monotonic()
    if rank == 0:
        time.sleep(0.3)
        dist.isend(tensor, 1).wait()
        dist.irecv(filled(5 * count + 70_000, 0), 1).wait(LIMIT)
        return True
    work = dist.irecv(tensor, 0)
    work.wait()
    doubled = tensor * 2
    other = dist.isend(filled(5 * count + 70_000, 0), 0)
    held = time.monotonic() - begin
    pending = not work.is_completed()
    other.wait(LIMIT)
    return held < QUICK_S, pending, range_of(doubled)


@pytest.mark.parametrize("count", SIZES)
def test_a_late_sender(count):
    assert ranks.run(late_sender, 2, count)[1] == (True, True, [6.0, 6.0])


def both_ways(count, rounds):
    rank = own_stream()
    wrong = []
    for i in range(rounds):
        got = filled(count, -1)
        receive = dist.irecv(got, 1 - rank)
        send = dist.isend(filled(count, i + rank), 1 - rank)
        receive.wait()
        send.wait()
        if range_of(got) != [i + 1.0 - rank] * 2:
            wrong.append((i, range_of(got)))
    return wrong


@pytest.mark.parametrize("launcher", LAUNCHERS)
@pytest.mark.parametrize("count, rounds", [(16 << 20, 3), (1000, 50)])
def test_both_ways_at_once_received_first(launcher, count, rounds):
    assert ranks.run(both_ways, 2, count, rounds, launcher=launcher) == [[], []]


def reused():
    """A tensor may be filled anew once its send has been waited for, and dropped at once."""
    rank, found = own_stream(), []
    tensor = filled(100_000, 0)
    for i in range(30):
        if rank == 0:
            tensor.fill_(float(i))
            dist.isend(tensor, 1).wait()
            dist.isend(filled(5000, i), 1, tag=1)
        else:
            dist.recv(tensor, 0)
            found.append(range_of(tensor))
            other = filled(5000, -1)
            dist.recv(other, 0, tag=1)
            found.append(range_of(other))
    dist.barrier()
    return found


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_tensors_that_are_reused_or_dropped(launcher):
    wanted = [[float(i)] * 2 for i in range(30) for _ in range(2)]
    assert ranks.run(reused, 2, launcher=launcher) == [[], wanted]


def pipeline(microbatches):
    """Stages that each add their part, with several microbatches under way."""
    rank, world = own_stream(), dist.get_world_size()
    inputs = [filled(50_000, i) for i in range(microbatches)]
    receives = [dist.irecv(one, rank - 1, tag=i) for i, one in enumerate(inputs)] if rank else []
    sends = []
    for i, one in enumerate(inputs):
        if rank > 0:
            receives[i].wait()
        torch.cuda._sleep(SPIN // 100)
        out = one + (rank + 1)
        inputs[i] = out
        if rank < world - 1:
            sends.append(dist.isend(out, rank + 1, tag=i))
    for send in sends:
        send.wait()
    return [range_of(one)[1] for one in inputs]


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_pipeline(launcher):
    found = ranks.run(pipeline, 3, 12, launcher=launcher)
    assert found[2] == [i + 6.0 for i in range(12)]


def ping_pong(count, rounds):
    """Microseconds of one way, the median: as a program sees them, which waits for the stream."""
    rank = own_stream()
    tensor, times = filled(count, 1), []
    for _ in range(rounds):
        begin = time.perf_counter()
        if rank == 0:
            dist.send(tensor, 1)
            dist.recv(tensor, 1)
        else:
            dist.recv(tensor, 0)
            dist.send(tensor, 0)
        torch.cuda.synchronize()
        times.append((time.perf_counter() - begin) / 2 * 1e6)
    return statistics.median(times[rounds // 5 :])


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_how_fast(launcher, capsys):
    """Prints it; bounded by what is far too slow."""
    for count, rounds in ((2, 100), (1 << 18, 50), (16 << 20, 8)):
        one_way = ranks.run(ping_pong, 2, count, rounds, launcher=launcher)[0]
        with capsys.disabled():
            print(f"\n{launcher}: {4 * count} bytes one way: {one_way:.0f} us", end="")
            print(f", {4 * count / one_way / 1e3:.1f} GB/s" if count > 1000 else "")
        assert one_way < 1e4 + 4 * count / 100  # 10 ms, and 100 MB/s
