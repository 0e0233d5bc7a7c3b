# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Ranks as threads: each has torch's whole world to itself, and one that fails frees the others."""

import sys
import threading
import time

import limits
import pytest
import torch
import torch.distributed as dist
from torch.distributed._functional_collectives import all_reduce as functional_all_reduce
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
from torch.nn.parallel import DistributedDataParallel

import pinnedpg.threads
from pinnedpg.threads import RankError

BACKENDS = ["pinned", "gloo"]


def reduce_in_a_crowd():
    dist.init_process_group("pinned")
    rank, world_size = dist.get_rank(), dist.get_world_size()
    output = torch.zeros(2)
    whole = torch.arange(2.0 * world_size)
    dist.reduce_scatter(output, list(whole.view(world_size, 2)))
    assert output.tolist() == [2 * rank * world_size, (2 * rank + 1) * world_size]
    tensor = torch.ones(1 << 16)
    dist.all_reduce(tensor)
    assert tensor.eq(world_size).all()


@pytest.mark.alone  # three hundred threads on every core: what runs beside them comes too late
def test_more_ranks_than_a_slot_has_lines():
    pinnedpg.threads.run(reduce_in_a_crowd, 300)


def summed(backend):
    dist.init_process_group(backend)
    tensor = torch.full((4,), float(dist.get_rank()))
    dist.all_reduce(tensor)
    return dist.get_rank(), dist.get_world_size(), dist.get_backend(), tensor.tolist()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("world", [1, 2, 5])
def test_results_are_by_rank(world, backend):
    total = [float(sum(range(world)))] * 4
    wanted = [(rank, world, backend, total) for rank in range(world)]
    assert pinnedpg.threads.run(summed, world, backend, timeout=20) == wanted


def meshes():
    mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("row", "column"))
    rank = dist.get_rank()
    rows = functional_all_reduce(torch.full((3,), float(rank)), "sum", mesh["row"]) + 0
    columns = functional_all_reduce(torch.full((3,), float(rank)), "sum", mesh["column"]) + 0
    spread = distribute_tensor(torch.arange(8.0), mesh["row"], [Shard(0)])
    generator = torch.Generator().manual_seed(0)  # torch's own is the process's
    block = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 8))
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter, generator=generator)
    data = torch.randn(2, 8, generator=generator)
    whole = block(data)
    plan = {"0": ColwiseParallel(), "2": RowwiseParallel()}
    split = parallelize_module(block, mesh["column"], plan)(data)
    split.sum().backward()
    close = torch.allclose(split, whole, atol=1e-4)
    return rows[0].item(), columns[0].item(), spread.sum().full_tensor().item(), close


def test_device_mesh_and_tensor_parallel():
    results = pinnedpg.threads.run(in_group, 4, meshes, timeout=60)
    assert results == [(2, 1, 28, True), (4, 1, 28, True), (2, 5, 28, True), (4, 5, 28, True)]


def in_group(fn):
    dist.init_process_group("pinned")
    return fn()


def trained():
    torch.manual_seed(dist.get_rank())
    net = DistributedDataParallel(torch.nn.Linear(5, 3))
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(3):
        optimiser.zero_grad()
        net(torch.randn(4, 5)).square().sum().backward()
        optimiser.step()
    return net.module.weight.detach()


def test_data_parallel_weights_are_bit_equal():
    first, *others = pinnedpg.threads.run(in_group, 3, trained, timeout=60)
    assert all(torch.equal(first, other) for other in others)


def init_again(times):
    for turn in range(times):
        dist.init_process_group("pinned")
        tensor = torch.full((3,), float(turn))
        dist.all_reduce(tensor)
        assert tensor[0].item() == turn * dist.get_world_size()
        dist.destroy_process_group()
    return not dist.is_initialized()


def test_init_again():
    assert pinnedpg.threads.run(init_again, 3, 20, timeout=30) == [True] * 3


def one_fails(moment):
    dist.init_process_group("pinned")
    if moment == "later":
        dist.barrier()
    if dist.get_rank() == 1:
        raise KeyError("mine")
    dist.all_reduce(torch.ones(3))


@pytest.mark.parametrize("moment", ["at once", "later"])
def test_a_failing_rank_frees_the_others(moment):
    began = time.monotonic()
    with pytest.raises(RankError, match="rank 1 of 3: KeyError: 'mine'") as caught:
        pinnedpg.threads.run(one_fails, 3, moment, timeout=30)
    limits.in_time(time.monotonic() - began, 3, "three threads' start; the limit is 30 s")
    assert caught.value.rank == 1 and isinstance(caught.value.__cause__, KeyError)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("rank ")]


def never_comes(stop):
    dist.init_process_group("pinned")
    dist.barrier()
    if dist.get_rank() == 2:
        stop.wait(20)
    dist.all_reduce(torch.ones(3))


def test_time_out_says_who_is_where():
    stop = threading.Event()
    threading.Timer(1.0, stop.set).start()
    with pytest.raises(TimeoutError, match=r"no return of \[0, 1, 2\]") as caught:
        pinnedpg.threads.run(never_comes, 3, stop, timeout=0.5)
    assert "rank 2 of 3 is at" in str(caught.value) and "stop.wait(20)" in str(caught.value)


def test_torch_is_left_as_it_was():
    world, hook = dist.distributed_c10d._world, sys.excepthook
    pinnedpg.threads.run(summed, 2, "pinned", timeout=20)
    assert dist.distributed_c10d._world is world and sys.excepthook is hook
    assert not dist.is_initialized()
    with pytest.raises(ValueError, match="RANK expected"):
        dist.init_process_group("pinned")


def test_other_threads_keep_their_group():
    dist.init_process_group("pinned", store=dist.HashStore(), rank=0, world_size=1)
    try:
        sizes = pinnedpg.threads.run(lambda: in_group(dist.get_world_size), 3, timeout=20)
        assert sizes == [3, 3, 3] and dist.get_world_size() == 1
    finally:
        dist.destroy_process_group()


def test_arguments():
    assert pinnedpg.threads.run(lambda a, b: a + b, 2, 3, 4) == [7, 7]
    with pytest.raises(ValueError, match="world_size must be at least 1; got 0"):
        pinnedpg.threads.run(summed, 0)
