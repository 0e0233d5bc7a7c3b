# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""What c10d gives beside collectives: batches, coalescing, works, objects, options."""

import copy
from datetime import timedelta

import pytest
import ranks
import torch
import torch.distributed as dist
from clients import WORLDS
from default_device import ON_GPU, wait_on_host
from torch.distributed import distributed_c10d as c10d
from worker import Setup

import pinnedpg

SIZES = [1, 0, 7, 5000, 100_003]


def mine(size, rank=None):
    rank = dist.get_rank() if rank is None else rank
    return torch.arange(size, dtype=torch.float32) + rank


def summed(size):
    return sum(mine(size, rank) for rank in range(dist.get_world_size()))


def coalesced(async_ops):
    world = dist.get_world_size()
    tensors = [mine(size) for size in SIZES]
    with dist._coalescing_manager(async_ops=async_ops) as manager:
        for tensor in tensors:
            dist.all_reduce(tensor)
    if async_ops:
        manager.wait()
    assert all(torch.equal(t, summed(size)) for t, size in zip(tensors, SIZES, strict=True))
    gathered = [torch.empty(world * size) for size in SIZES]
    with dist._coalescing_manager(async_ops=async_ops) as manager:
        for output, size in zip(gathered, SIZES, strict=True):
            dist.all_gather_into_tensor(output, mine(size))
    if async_ops:
        manager.wait()
    for output, size in zip(gathered, SIZES, strict=True):
        assert torch.equal(output, torch.cat([mine(size, rank) for rank in range(world)]))
    parts = [torch.empty(size) for size in SIZES]
    with dist._coalescing_manager(async_ops=async_ops) as manager:
        for output, size in zip(parts, SIZES, strict=True):
            dist.reduce_scatter_tensor(output, mine(world * size))
    if async_ops:
        manager.wait()
    for output, size in zip(parts, SIZES, strict=True):
        assert torch.equal(output, summed(world * size).chunk(world)[dist.get_rank()][:size])


@pytest.mark.parametrize("async_ops", [False, True])
@pytest.mark.parametrize("world", WORLDS)
def test_coalescing_manager(world, async_ops):
    ranks.run(coalesced, world, async_ops)


def coalesced_with_device(async_ops):
    """With a device torch leaves it to the backend, and takes any collective."""
    world, rank = dist.get_world_size(), dist.get_rank()
    tensors = [mine(size) for size in SIZES]
    root = mine(3)
    device = torch.get_default_device()
    with dist._coalescing_manager(device=device, async_ops=async_ops) as manager:
        for tensor in tensors:
            dist.all_reduce(tensor, async_op=True)
        dist.broadcast(root, 1, async_op=True)
        got = torch.empty(9)
        send = dist.isend(mine(9), (rank + 1) % world)
        receive = dist.irecv(got, (rank - 1) % world)
    if async_ops:
        manager.wait()
    assert send is not None and receive is not None
    assert all(torch.equal(t, summed(size)) for t, size in zip(tensors, SIZES, strict=True))
    assert torch.equal(root, mine(3, 1)) and torch.equal(got, mine(9, (rank - 1) % world))


@pytest.mark.parametrize("async_ops", [False, True])
@pytest.mark.parametrize("world", WORLDS)
def test_coalescing_manager_with_a_device(world, async_ops):
    ranks.run(coalesced_with_device, world, async_ops)


def lists():
    world = dist.get_world_size()
    tensors = [mine(size) for size in SIZES]
    values = dist.all_reduce_coalesced(tensors, async_op=True).wait()  # of a future
    assert all(torch.equal(t, summed(size)) for t, size in zip(tensors, SIZES, strict=True))
    assert [len(value) for value in values] == SIZES
    outputs = [[torch.empty(size) for size in SIZES] for _ in range(world)]
    dist.all_gather_coalesced(outputs, [mine(size) for size in SIZES])
    for rank, of_rank in enumerate(outputs):
        assert all(torch.equal(o, mine(s, rank)) for o, s in zip(of_rank, SIZES, strict=True))


@pytest.mark.parametrize("world", WORLDS)
def test_lists(world):
    ranks.run(lists, world)


def batches():
    """All to all others, each with several messages; and among a subgroup."""
    rank, world = dist.get_rank(), dist.get_world_size()
    peers = [peer for peer in range(world) if peer != rank]
    got = {(peer, size): torch.empty(size) for peer in peers for size in SIZES}
    ops = [dist.P2POp(dist.irecv, tensor, peer) for (peer, _), tensor in got.items()]
    ops += [dist.P2POp(dist.isend, mine(size), peer) for peer in peers for size in SIZES]
    for work in dist.batch_isend_irecv(ops):
        work.wait()
    assert all(torch.equal(tensor, mine(size, peer)) for (peer, size), tensor in got.items())
    group = dist.new_group([0, world - 1])
    if rank in (0, world - 1):
        tensor, other = torch.empty(4), world - 1 - rank
        ops = [dist.P2POp(dist.isend, mine(4), other, group)]
        ops += [dist.P2POp(dist.irecv, tensor, other, group)]
        for work in dist.batch_isend_irecv(ops):
            work.wait()
        assert torch.equal(tensor, mine(4, other))


@pytest.mark.parametrize("world", WORLDS)
def test_batches_of_messages(world):
    ranks.run(batches, world, setup=Setup(timeout_s=60.0 if ON_GPU else 15.0))


def after_a_bad_batch():
    """A call that raises ends its batch, and nothing else."""
    rank, world, got = dist.get_rank(), dist.get_world_size(), torch.empty(3)
    to, source = (rank + 1) % world, (rank - 1) % world
    for bad in (
        dist.P2POp(dist.isend, torch.ones(3), to, tag=-1),
        dist.P2POp(dist.isend, torch.ones(3).to_sparse(), to),
    ):
        with pytest.raises((ValueError, RuntimeError)):
            dist.batch_isend_irecv([bad, dist.P2POp(dist.irecv, got, source)])
        tensor = torch.ones(2)
        dist.all_reduce(tensor)
        assert tensor.tolist() == [world] * 2  # torch (2.13) would drop it without a word
    ops = [dist.P2POp(dist.isend, mine(3), to), dist.P2POp(dist.irecv, got, source)]
    for work in dist.batch_isend_irecv(ops):
        work.wait()
    assert torch.equal(got, mine(3, source))


@pytest.mark.parametrize("world", WORLDS)
def test_after_a_bad_batch(world):
    ranks.run(after_a_bad_batch, world)


def futures():
    rank, world = dist.get_rank(), dist.get_world_size()
    tensor, output = mine(5), torch.empty(5 * world)
    first = dist.all_reduce(tensor, async_op=True)
    second = dist.all_gather_into_tensor(output, mine(5), async_op=True)
    third = dist.isend(mine(6), (rank + 1) % world)
    got = torch.empty(6)
    fourth = dist.irecv(got, (rank - 1) % world)
    works = [first, second, third, fourth]
    values = torch.futures.collect_all([work.get_future() for work in works]).wait()
    assert torch.equal(values[0].value()[0], summed(5)) and values[0].value()[0] is not None
    assert torch.equal(values[1].value()[0], torch.cat([mine(5, r) for r in range(world)]))
    assert torch.equal(values[3].value()[0], mine(6, (rank - 1) % world))
    if ON_GPU:  # a future orders the streams
        for work in works:
            wait_on_host(work)
    assert all(work.is_completed() and work.is_success() for work in works)
    assert fourth._source_rank() == (rank - 1) % world
    assert first.result()[0].data_ptr() == tensor.data_ptr()
    durations = [work._get_duration() for work in works]
    assert all(0 <= duration < 30_000 for duration in durations)


@pytest.mark.parametrize("world", WORLDS)
def test_works_and_futures(world):
    ranks.run(futures, world)


def objects():
    rank, world = dist.get_rank(), dist.get_world_size()
    own = {"rank": rank, "bytes": b"x" * (rank * 100_000)}
    gathered = [None] * world
    dist.all_gather_object(gathered, own)
    told = [own, rank] if rank == world - 1 else [None, None]
    dist.broadcast_object_list(told, world - 1)
    at_root = [None] * world if rank == 1 else None
    dist.gather_object(own, at_root, 1)
    handed = [None]
    dist.scatter_object_list(handed, [("to", r) for r in range(world)] if rank == 0 else None, 0)
    if rank == 0:
        dist.send_object_list([own, "and more"], 1)
    got = [None, None]
    if rank == 1:
        dist.recv_object_list(got, 0)
    return gathered, told, at_root, handed, got


@pytest.mark.parametrize("world", WORLDS)
def test_objects(world):
    everyone = [{"rank": rank, "bytes": b"x" * (rank * 100_000)} for rank in range(world)]
    for rank, (gathered, told, at_root, handed, got) in enumerate(ranks.run(objects, world)):
        assert gathered == everyone and told == [everyone[-1], world - 1]
        assert at_root == (everyone if rank == 1 else None)
        assert handed == [("to", rank)]
        assert got == ([everyone[0], "and more"] if rank == 1 else [None, None])


def settings():
    group = c10d._get_default_group()
    backend = group._get_backend(torch.device("cpu"))
    assert isinstance(backend, pinnedpg.ProcessGroupPinned) and backend.name() == "pinned"
    copied = copy.deepcopy(backend.options)
    assert copied is not backend.options and type(copied) is pinnedpg.Options
    assert (copied.depth, copied._timeout) == (8, timedelta(seconds=15))
    copied._timeout = timedelta(seconds=1)
    group.set_timeout(timedelta(seconds=33))
    assert backend.options._timeout == timedelta(seconds=33)
    c10d._set_pg_timeout(timedelta(seconds=44))  # torch up to 2.13 tells gloo and NCCL alone
    told = hasattr(c10d, "set_timeout")
    assert backend.options._timeout == timedelta(seconds=44 if told else 33)
    dist.barrier()


@pytest.mark.parametrize("world", WORLDS)
def test_options_and_time_out(world):
    ranks.run(settings, world, setup=Setup(options={"depth": 8}))
