# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Point to point: what sends and receives promise beside the order (see test_messages_random)."""

import time

import limits
import pytest
import ranks
import torch
import torch.distributed as dist
from default_device import ON_GPU
from worker import Setup

LAUNCHERS = ["processes", "threads"]


def message(number, count=4):
    return torch.full((count,), float(number))


def thousands(count):
    """Each rank posts all sends first; the receives are posted in the opposite order of tags."""
    peer = 1 - dist.get_rank()
    sends = [dist.isend(message(tag), peer, tag=tag) for tag in range(count)]
    tensors = [torch.empty(4) for _ in range(count)]
    receives = [dist.irecv(tensors[tag], peer, tag=tag) for tag in reversed(range(count))]
    for work in receives + sends:
        work.wait()
    return all(torch.equal(tensors[tag], message(tag)) for tag in range(count))


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_thousands_outstanding(launcher):
    limit_s = limits.patient(30.0)  # each has threads of its own on a fake GPU
    setup = Setup(timeout_s=limit_s / 2)
    assert all(ranks.run(thousands, 2, 3000, launcher=launcher, setup=setup, timeout_s=limit_s))


def large_both_ways(count):
    rank = dist.get_rank()
    send = dist.isend(message(rank, count), 1 - rank)
    tensor = torch.empty(count)
    receive = dist.irecv(tensor, 1 - rank)
    send.wait()
    receive.wait()
    return torch.equal(tensor, message(1 - rank, count))


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_large_both_ways_at_once(launcher):
    assert all(ranks.run(large_both_ways, 2, 10_000_000, launcher=launcher))


def to_self():
    rank, got = dist.get_rank(), torch.empty(4)
    early = dist.isend(message(7), rank, tag=1)
    late = torch.empty(4)
    receive = dist.irecv(late, rank, tag=2)
    dist.isend(message(8), rank, tag=2).wait()
    dist.recv(got, rank, tag=1)
    early.wait()
    receive.wait()
    return got[0].item(), late[0].item()


@pytest.mark.parametrize("world_size", [1, 2])
def test_send_to_self(world_size):
    assert ranks.run(to_self, world_size) == [(7.0, 8.0)] * world_size


def beside_collectives():
    """A send that nobody receives yet holds up neither its caller nor a collective."""
    peer, began = 1 - dist.get_rank(), time.monotonic()
    sends = [dist.isend(message(size, size), peer, tag=size) for size in (1, 1000, 1_000_000)]
    posted = time.monotonic() - began
    tensor = torch.ones(1000)
    for _ in range(20):
        dist.all_reduce(tensor)
        dist.all_reduce(torch.ones(3), async_op=True).wait()
    states = [work.is_completed() for work in sends]
    dist.barrier()  # none is received before both have looked
    for size in (1_000_000, 1000, 1):
        got = torch.empty(size)
        dist.recv(got, peer, tag=size)
        assert torch.equal(got, message(size, size))
    for work in sends:
        work.wait()
    return posted, states


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_an_unreceived_send_holds_up_nothing(launcher):
    for posted, states in ranks.run(beside_collectives, 2, launcher=launcher):
        assert states == [False] * 3
        limits.in_time(posted, 5.0 if ON_GPU else 0.5, "three posts, which wait for nobody")


def unwaited():
    """Nobody waits: the worker sees to it."""
    peer, tensor = 1 - dist.get_rank(), torch.zeros(200_000)
    dist.isend(message(5, 200_000), peer)
    dist.irecv(tensor, peer)
    deadline = time.monotonic() + 10
    while tensor[-1] != 5 and time.monotonic() < deadline:
        time.sleep(0.01)
    dist.barrier()
    return torch.equal(tensor, message(5, 200_000))


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_dropped_work_still_runs(launcher):
    assert all(ranks.run(unwaited, 2, launcher=launcher))


def odd_tensors():
    if dist.get_rank() == 0:
        dist.send(torch.arange(12.0).view(3, 4).t(), 1)
        dist.send(torch.arange(3, dtype=torch.bfloat16), 1)
        dist.send(torch.empty(0), 1)
        return True
    transposed, gaps = torch.full((3, 4), -1.0).t(), torch.full((6,), -1.0, dtype=torch.bfloat16)
    dist.recv(transposed, 0)
    dist.recv(gaps[::2], 0)
    dist.recv(torch.empty(0), 0)
    right = torch.equal(transposed, torch.arange(12.0).view(3, 4).t())
    return right and gaps.tolist() == [0, -1, 1, -1, 2, -1]


def test_strided_tensors():
    assert all(ranks.run(odd_tensors, 2))


def in_batches():
    rank, world_size = dist.get_rank(), dist.get_world_size()
    got = [torch.empty(1000 * (peer + 1)) for peer in range(world_size)]
    works = dist.batch_isend_irecv(
        [dist.P2POp(dist.isend, message(rank, 1000 * (rank + 1)), p) for p in range(world_size)]
        + [dist.P2POp(dist.irecv, got[peer], peer) for peer in range(world_size)]
    )
    for work in works:
        work.wait()
    return all(torch.equal(got[p], message(p, 1000 * (p + 1))) for p in range(world_size))


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_batches(launcher):
    assert all(ranks.run(in_batches, 3, launcher=launcher))


def objects():
    if dist.get_rank() == 0:
        dist.send_object_list([{"a": 1}, "text"], dst=1)
        return None
    found = [None, None]
    dist.recv_object_list(found, src=0)
    return found


def test_objects():
    assert ranks.run(objects, 2)[1] == [{"a": 1}, "text"]


def leaves_at_once():
    """The receiver gets what was sent, though the sender has left by then."""
    if dist.get_rank() == 0:
        works = [dist.isend(message(n, 50_000), 1, tag=n) for n in range(5)]
        for work in works:
            work.wait()
        dist.destroy_process_group()
        return True
    tensors = [torch.empty(50_000) for _ in range(5)]
    works = [dist.irecv(tensor, 0, tag=n) for n, tensor in enumerate(tensors)]
    time.sleep(0.3)
    for work in works:
        work.wait()
    return all(torch.equal(tensor, message(n, 50_000)) for n, tensor in enumerate(tensors))


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_sender_may_leave_once_its_sends_are_done(launcher):
    assert all(ranks.run(leaves_at_once, 2, launcher=launcher))


def any_source():
    rank, world_size = dist.get_rank(), dist.get_world_size()
    if rank != 0:
        time.sleep(0.05 * rank)
        dist.send(message(rank), 0)
        return True
    found = {}
    for _ in range(world_size - 1):
        tensor = torch.empty(4)
        source = dist.recv(tensor)
        found[source] = tensor[0].item()
    return found == {peer: float(peer) for peer in range(1, world_size)}


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_any_source(launcher):
    assert all(ranks.run(any_source, 4, launcher=launcher))


def while_another_is_awaited():
    """Rank 0 waits for rank 1, which waits for rank 2, which gets much from rank 0 first."""
    rank, small, large = dist.get_rank(), torch.ones(1), [torch.ones(16384) for _ in range(40)]
    dist.barrier()
    began = time.monotonic()
    if rank == 0:
        works = [dist.isend(one, 2) for one in large]
        dist.recv(small, 1)
        for work in works:
            work.wait()
    elif rank == 1:
        dist.recv(small, 2)
        dist.send(small, 0)
    else:
        for one in large:
            dist.recv(one, 0)
        dist.send(small, 1)
    return time.monotonic() - began


@pytest.mark.alone
@pytest.mark.cpu_only("of how long the host sleeps: copies of a shared GPU take longer")
def test_who_waits_for_one_rank_serves_the_others():
    longest = max(ranks.run(while_another_is_awaited, 3))
    limits.in_time(longest, 0.8, "40 messages; 1.9 s where each hop took a sleep")
