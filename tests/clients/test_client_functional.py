# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Functional collectives over "pinned": eager, and compiled into a graph."""

import pytest
import ranks
import torch
import torch.distributed as dist
import torch.distributed._functional_collectives as funcol
from clients import SOAK_WORLDS, WORLDS, assert_close, batch, loss, net, numbers, whole
from default_device import randn
from torch import nn
from torch.nn.parallel import DistributedDataParallel as DDP

SIZE = (8, 3)


def part(rank):
    return randn(torch.Generator().manual_seed(rank), *SIZE)


def all_of_them(tensor, world):
    """Returns a result of each functional collective."""
    group = list(range(world))
    splits = [SIZE[0] // world] * world
    ops = ["sum", "avg", "max", "min"]
    return [
        *(funcol.all_reduce(tensor, op, group) for op in ops),
        funcol.all_gather_tensor(tensor, 0, group),
        funcol.all_gather_tensor(tensor, 1, group),
        funcol.reduce_scatter_tensor(tensor, "sum", 0, group),
        funcol.reduce_scatter_tensor(tensor, "avg", 0, group),
        funcol.broadcast(tensor, 1, group),
        funcol.all_to_all_single(tensor, splits, splits, group),
        *funcol.all_reduce_coalesced([tensor, tensor * 2], "sum", group),
        *funcol.all_gather_into_tensor_coalesced([tensor, tensor * 2], group),
        *funcol.reduce_scatter_tensor_coalesced([tensor, tensor * 2], "sum", [0, 0], group),
    ]


def by_definition(rank, world):
    parts = [part(peer) for peer in range(world)]
    stacked, total = torch.stack(parts), torch.stack(parts).sum(0)
    shard = total.chunk(world)[rank]
    return [
        total,
        total / world,
        stacked.amax(0),
        stacked.amin(0),
        torch.cat(parts),
        torch.cat(parts, 1),
        shard,
        shard / world,
        parts[1],
        torch.cat([one.chunk(world)[rank] for one in parts]),
        total,
        2 * total,
        torch.cat(parts),
        2 * torch.cat(parts),
        shard,
        2 * shard,
    ]


def collect():
    rank, world = dist.get_rank(), dist.get_world_size()
    return numbers(one + 0 for one in all_of_them(part(rank), world))


@pytest.mark.parametrize("world", WORLDS)
def test_eager(world):
    for rank, results in enumerate(ranks.run(collect, world)):
        assert_close(results, by_definition(rank, world))


def collect_compiled(backend):
    rank, world = dist.get_rank(), dist.get_world_size()
    torch._dynamo.reset()
    compiled = torch.compile(all_of_them, backend=backend, fullgraph=True)
    results = [numbers(one + 0 for one in compiled(part(rank), world)) for _ in range(2)]
    assert_close(results[0], results[1], rtol=0, atol=0)
    return results[0]


BACKENDS = ["aot_eager", pytest.param("inductor", marks=pytest.mark.soak)]


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("world", SOAK_WORLDS)
def test_compiled(world, backend):
    results = ranks.run(collect_compiled, world, backend, timeout_s=110.0)
    for rank, result in enumerate(results):
        assert_close(result, by_definition(rank, world))


def with_gradients():
    """Through an all_gather, a reduce_scatter and an all_to_all."""
    rank, world = dist.get_rank(), dist.get_world_size()
    tensor, group = part(rank).requires_grad_(), dist.group.WORLD
    splits = [SIZE[0] // world] * world
    gathered = funcol.all_gather_tensor_autograd(tensor, 0, group)
    scattered = funcol.reduce_scatter_tensor_autograd(gathered**2, "sum", 0, group)
    turned = funcol.all_to_all_single_autograd(scattered, splits, splits, group)
    (turned * (rank + 1)).sum().backward()
    return numbers([tensor.grad])[0]


def gradients_alone(world):
    """All ranks' tensors in one process."""
    tensors = [part(rank).requires_grad_() for rank in range(world)]
    gathered = torch.cat(tensors)
    scattered = [world * one for one in (gathered**2).chunk(world)]
    turned = [torch.cat([one.chunk(world)[rank] for one in scattered]) for rank in range(world)]
    sum((one * (rank + 1)).sum() for rank, one in enumerate(turned)).backward()
    return numbers(tensor.grad for tensor in tensors)


@pytest.mark.parametrize("world", WORLDS)
def test_gradients(world):
    assert_close(ranks.run(with_gradients, world), gradients_alone(world))


def in_place_compiled(backend):
    """Calls of torch.distributed itself, which dynamo turns into functional ones."""

    def body(tensor):
        tensor = tensor * 2
        dist.all_reduce(tensor)
        output = torch.empty(dist.get_world_size() * tensor.shape[0], tensor.shape[1])
        dist.all_gather_into_tensor(output, tensor)
        return output + 1

    torch._dynamo.reset()
    return numbers([torch.compile(body, backend=backend)(part(dist.get_rank()))])[0]


@pytest.mark.slow
@pytest.mark.parametrize("world", SOAK_WORLDS)
def test_calls_in_a_graph(world):
    total = 2 * sum(part(rank) for rank in range(world))
    for result in ranks.run(in_place_compiled, world, "aot_eager", timeout_s=110.0):
        assert_close([result], [torch.cat([total] * world) + 1])


def ddp_compiled():
    torch._dynamo.reset()
    model = torch.compile(DDP(net()), backend="aot_eager")
    loss(model, batch(dist.get_rank())).backward()
    return numbers(parameter.grad for parameter in model.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("world", SOAK_WORLDS)
def test_ddp_compiled(world):
    model = net()
    loss(model, whole(world)).backward()
    wanted = numbers(parameter.grad for parameter in model.parameters())
    for grads in ranks.run(ddp_compiled, world, timeout_s=110.0):
        assert_close(grads, wanted)


def sync_batch_norm():
    model = nn.SyncBatchNorm(3)
    with pytest.raises(ValueError, match="SyncBatchNorm expected input tensor to be on"):
        model(part(dist.get_rank()))


@pytest.mark.skipif(torch.cuda.is_available(), reason="it takes CUDA tensors")
def test_torch_refuses_sync_batch_norm_on_cpu():
    ranks.run(sync_batch_norm, 2)


def norm_as_sync_batch_norm_does():
    """Its forward's collectives: counts, means and variances, gathered; its backward's: a sum."""
    rank, world = dist.get_rank(), dist.get_world_size()
    rows = part(rank)[: 3 + rank]
    count = torch.tensor([float(len(rows))])
    packed = torch.cat([rows.mean(0), rows.var(0, unbiased=False), count])
    everyones = torch.empty(world, packed.numel())
    dist.all_gather_into_tensor(everyones, packed)
    means, variances, counts = everyones[:, :3], everyones[:, 3:6], everyones[:, 6:]
    mean = (means * counts).sum(0) / counts.sum()
    second = ((variances + means**2) * counts).sum(0) / counts.sum()
    sums = torch.stack([rows.sum(0), (rows**2).sum(0)])
    dist.all_reduce(sums)
    return numbers([mean, second - mean**2, *sums])


@pytest.mark.parametrize("world", WORLDS)
def test_what_sync_batch_norm_calls(world):
    rows = torch.cat([part(rank)[: 3 + rank] for rank in range(world)])
    sums = [rows.sum(0), (rows**2).sum(0)]
    for result in ranks.run(norm_as_sync_batch_norm_does, world):
        assert_close(result, [rows.mean(0), rows.var(0, unbiased=False), *sums])
