# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""With TORCH_DISTRIBUTED_DEBUG=DETAIL torch wraps the backend, and compares calls over gloo."""

import os

import pytest
import ranks
import torch
import torch.distributed as dist
from clients import WORLDS, assert_close, batch, loss, net, numbers, whole
from torch.nn.parallel import DistributedDataParallel as DDP
from worker import Setup

BARE = Setup(backend=None)


def wrapped(store, rank, world_size, fn, *args):
    """Calls a function in a group made at that level; the level goes back, as workers are kept."""
    os.environ["TORCH_DISTRIBUTED_DEBUG"] = "DETAIL"
    dist.set_debug_level_from_env()
    try:
        Setup().init(store=store, rank=rank, world_size=world_size)
        backend = dist.distributed_c10d._get_default_group()._get_backend(torch.device("cpu"))
        assert type(backend).__name__ == "_ProcessGroupWrapper"
        assert backend.wrapped_pg.name() == "pinned"
        return fn(*args)
    finally:
        dist.destroy_process_group()
        os.environ.pop("TORCH_DISTRIBUTED_DEBUG")
        dist.set_debug_level_from_env()


def collectives():
    rank, world = dist.get_rank(), dist.get_world_size()
    tensor = torch.full((5,), float(rank))
    dist.all_reduce(tensor)
    gathered = torch.empty(5 * world)
    dist.all_gather_into_tensor(gathered, torch.full((5,), float(rank)))
    part = torch.empty(3)
    dist.reduce_scatter_tensor(part, torch.full((3 * world,), float(rank)))
    works = [dist.all_reduce(torch.ones(4), async_op=True) for _ in range(3)]
    for work in works:
        work.wait()
    everyone = [None] * world
    dist.all_gather_object(everyone, {"rank": rank})
    send = dist.isend(torch.full((2,), float(rank)), (rank + 1) % world)
    got = torch.empty(2)
    dist.recv(got, (rank - 1) % world)
    send.wait()
    group = dist.new_group([0, world - 1])
    if rank in (0, world - 1):
        pair = torch.ones(1)
        dist.all_reduce(pair, group=group)
        assert pair.item() == 2
    dist.barrier()
    dist.distributed_c10d._get_default_group().monitored_barrier()
    peers = [one["rank"] for one in everyone]
    return tensor[0].item(), gathered[::5].tolist(), part[0].item(), peers, got[0].item()


@pytest.mark.parametrize("world", WORLDS)
def test_collectives(world):
    total = sum(range(world))
    results = ranks.run(wrapped, world, collectives, setup=BARE)
    for rank, result in enumerate(results):
        everyone = list(range(world))
        assert result == (total, everyone, total, everyone, (rank - 1) % world)


def messages():
    """A batch around the ring; then rank 0 takes one of each other rank, whoever comes first."""
    rank, world = dist.get_rank(), dist.get_world_size()
    mine, got = torch.full((2,), float(rank)), torch.empty(2)
    send = dist.P2POp(dist.isend, mine, (rank + 1) % world)
    receive = dist.P2POp(dist.irecv, got, (rank - 1) % world)
    for work in dist.batch_isend_irecv([send, receive]):
        work.wait()
    assert got.tolist() == [(rank - 1) % world] * 2
    if rank != 0:
        dist.send(mine, 0)
        return
    sources = set()
    for _ in range(world - 1):
        source = dist.recv(got)
        assert got.tolist() == [source] * 2
        sources.add(source)
    assert sources == set(range(1, world))


@pytest.mark.parametrize("world", WORLDS)
def test_messages(world):
    ranks.run(wrapped, world, messages, setup=BARE)


def coalesced():
    rank, total = dist.get_rank(), sum(range(dist.get_world_size()))
    tensors = [torch.full((2,), float(rank)), torch.full((3,), 2.0 * rank)]
    with dist.distributed_c10d._coalescing_manager():
        for tensor in tensors:
            dist.all_reduce(tensor)
    assert [tensor.tolist() for tensor in tensors] == [[total] * 2, [2 * total] * 3]


@pytest.mark.parametrize("world", WORLDS)
def test_coalesced_all_reduce(world):
    ranks.run(wrapped, world, coalesced, setup=BARE)


def sparse():
    """Every rank has a one at place 0, and one at that of its number."""
    rank, world = dist.get_rank(), dist.get_world_size()
    places, ones = torch.tensor([[0, rank]]), torch.ones(2)
    tensor = torch.sparse_coo_tensor(places, ones, (world,), check_invariants=True)
    dist.all_reduce(tensor)
    assert tensor.is_sparse and tensor.to_dense().tolist() == [world + 1] + [1] * (world - 1)


@pytest.mark.parametrize("world", WORLDS)
def test_sparse_all_reduce(world):
    ranks.run(wrapped, world, sparse, setup=BARE)


def train():
    model = DDP(net(), find_unused_parameters=True)
    loss(model, batch(dist.get_rank())).backward()
    return numbers(parameter.grad for parameter in model.parameters())


@pytest.mark.parametrize("world", WORLDS)
def test_ddp(world):
    model = net()
    loss(model, whole(world)).backward()
    wanted = numbers(parameter.grad for parameter in model.parameters())
    for grads in ranks.run(wrapped, world, train, setup=BARE):
        assert_close(grads, wanted)


def mismatch():
    rank = dist.get_rank()
    with pytest.raises(RuntimeError, match="Detected mismatch between collectives on ranks"):
        dist.all_reduce(torch.ones(4 if rank == 0 else 5))


@pytest.mark.parametrize("world", WORLDS)
def test_the_wrapper_names_a_mismatch(world):
    ranks.run(wrapped, world, mismatch, setup=BARE)
