# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""DTensor over "pinned": what is redistributed, or split, stays the same."""

import itertools

import pytest
import ranks
import torch
import torch.distributed as dist
from clients import NEAR, REL, WORLDS, assert_close, batch, loss, net, numbers, whole
from default_device import made, randn
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import (
    DTensor,
    Partial,
    Replicate,
    Shard,
    distribute_tensor,
    zeros,
)
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    PrepareModuleInput,
    RowwiseParallel,
    SequenceParallel,
    loss_parallel,
    parallelize_module,
)

SIZES = [(8, 12), (5, 7)]  # even on all worlds; uneven
PARTS = {
    "sum": lambda tensors: tensors.sum(0),
    "avg": lambda tensors: tensors.mean(0),
    "max": lambda tensors: tensors.amax(0),
    "min": lambda tensors: tensors.amin(0),
}


def mesh_of_all():
    return init_device_mesh(torch.get_default_device().type, (dist.get_world_size(),))


def part(rank, size):
    return randn(torch.Generator().manual_seed(rank), *size)


def same(tensor, wanted):
    torch.testing.assert_close(tensor, wanted, **NEAR)


def redistribute():
    mesh = mesh_of_all()
    for size in SIZES:
        tensor = part(99, size)
        layouts = [Replicate(), Shard(0), Shard(1)]
        for start, end in itertools.product(layouts, layouts):
            moved = distribute_tensor(tensor, mesh, [start]).redistribute(placements=[end])
            assert moved.placements == (end,)
            same(moved.full_tensor(), tensor)
            same(moved.to_local(), distribute_tensor(tensor, mesh, [end]).to_local())


@pytest.mark.parametrize("world", WORLDS)
def test_redistribute(world):
    ranks.run(redistribute, world)


def reduce(name):
    mesh, world = mesh_of_all(), dist.get_world_size()
    for size in SIZES:
        wanted = PARTS[name](torch.stack([part(rank, size) for rank in range(world)]))
        partial = DTensor.from_local(part(dist.get_rank(), size), mesh, [Partial(name)])
        for end in (Replicate(), Shard(0), Shard(1)):
            moved = partial.redistribute(placements=[end])
            assert moved.placements == (end,)
            same(moved.full_tensor(), wanted)
            same(moved.to_local(), distribute_tensor(wanted, mesh, [end]).to_local())


@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize("world", WORLDS)
def test_partial(world, name):
    ranks.run(reduce, world, name)


def on_two_dimensions():
    """Over 2 x world / 2 ranks, to and from every pair of placements."""
    device = torch.get_default_device().type
    mesh = init_device_mesh(device, (2, dist.get_world_size() // 2))
    tensor, layouts = part(99, (8, 12)), [Replicate(), Shard(0), Shard(1)]
    pairs = list(itertools.product(layouts, layouts))
    for start, end in itertools.product(pairs, pairs):
        moved = distribute_tensor(tensor, mesh, start).redistribute(placements=end)
        same(moved.full_tensor(), tensor)


@pytest.mark.parametrize("world", WORLDS)
def test_two_dimensions(world):
    ranks.run(on_two_dimensions, world)


def operate():
    """Operations choose their own collectives."""
    mesh = mesh_of_all()
    a, b = part(1, (8, 12)), part(2, (12, 16))
    layouts = [Replicate(), Shard(0), Shard(1)]
    for left, right in itertools.product(layouts, layouts):
        one, other = distribute_tensor(a, mesh, [left]), distribute_tensor(b, mesh, [right])
        same((one @ other).full_tensor(), a @ b)
        same(one.sum().full_tensor(), a.sum())
        same(one.amax(1).full_tensor(), a.amax(1))
        same(torch.softmax(one, 1).full_tensor(), torch.softmax(a, 1))
        same(one.var(0).full_tensor(), a.var(0))
    assert zeros(5, 3, device_mesh=mesh, placements=[Shard(0)]).full_tensor().sum() == 0


@pytest.mark.parametrize("world", WORLDS)
def test_operations(world):
    ranks.run(operate, world)


def distributed():
    tensor = part(dist.get_rank(), (4, 4))
    return distribute_tensor(tensor, mesh_of_all(), [Replicate()]).to_local().tolist()


@pytest.mark.parametrize("world", WORLDS)
def test_the_first_rank_has_the_say(world):
    assert ranks.run(distributed, world) == [part(0, (4, 4)).tolist()] * world


PLANS = {
    "column-row": lambda: {"0": ColwiseParallel(), "2": RowwiseParallel()},
    "gathered": lambda: {"0": ColwiseParallel(output_layouts=Replicate())},
    "sharded-rows": lambda: {
        "0": ColwiseParallel(input_layouts=Shard(0)),
        "2": RowwiseParallel(output_layouts=Shard(0)),
    },
}


def parallel(name):
    model, world = net(), dist.get_world_size()
    parallelize_module(model, mesh_of_all(), PLANS[name]())
    inputs, targets = whole(world)
    if name == "sharded-rows":
        model.append(nn.Identity())
        inputs = inputs.chunk(world)[dist.get_rank()]
        targets = targets.chunk(world)[dist.get_rank()]
    loss(model, (inputs, targets)).backward()
    return numbers(parameter.grad for parameter in model.parameters())


def grads_of(data):
    model = net()
    loss(model, data).backward()
    return numbers(parameter.grad for parameter in model.parameters())


@pytest.mark.parametrize("name", PLANS)
@pytest.mark.parametrize("world", WORLDS)
def test_parallel_modules(world, name):
    rows_are_split = name == "sharded-rows"
    scale = world if rows_are_split else 1  # each rank has the mean of its own rows
    wanted = [scale * grad for grad in grads_of(whole(world))]
    for rank, grads in enumerate(ranks.run(parallel, world, name)):
        if rows_are_split:  # the last Linear is not in the plan: it sees the rank's rows only
            wanted[4:] = grads_of(batch(rank))[4:]
        assert_close(grads, wanted)


class Block(nn.Module):
    """The half of a transformer layer that is split."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(8)
        self.norm, self.up, self.down = nn.LayerNorm(8), nn.Linear(8, 16), nn.Linear(16, 8)

    def forward(self, inputs):
        return self.down(torch.relu(self.up(self.norm(inputs))))


SEQUENCE = (2, 8, 8)  # batch, tokens, features


def sequence_parallel():
    rank, world, model = dist.get_rank(), dist.get_world_size(), made(Block)
    plan = {
        "norm": SequenceParallel(),
        "up": PrepareModuleInput(input_layouts=Shard(1), desired_input_layouts=Replicate()),
        "down": RowwiseParallel(output_layouts=Shard(1)),
    }
    mesh = mesh_of_all()
    parallelize_module(model, mesh, plan)
    parallelize_module(model, mesh, {"up": ColwiseParallel()})
    inputs = part(3, SEQUENCE).chunk(world, 1)[rank]
    outputs = model(inputs)
    (outputs**2).sum().backward()
    return numbers([outputs])[0], numbers(parameter.grad for parameter in model.parameters())


@pytest.mark.parametrize("world", WORLDS)
def test_sequence_parallel(world):
    model = Block()
    outputs = model(part(3, SEQUENCE))
    (outputs**2).sum().backward()
    results = ranks.run(sequence_parallel, world)
    assert_close([o for o, _ in results], outputs.detach().chunk(world, 1))
    for _, grads in results:
        assert_close(grads, numbers(p.grad for p in model.parameters()), rtol=1e-4, atol=1e-5)


def cross_entropy():
    mesh = mesh_of_all()
    logits = part(4, (6, 8))
    split = distribute_tensor(logits, mesh, [Shard(1)]).detach().requires_grad_()
    with loss_parallel():
        value = nn.functional.cross_entropy(split, torch.arange(6))
        value.backward()
    return value.full_tensor().item(), numbers([split.grad])[0]


@pytest.mark.parametrize("world", WORLDS)
def test_loss_parallel(world):
    logits = part(4, (6, 8)).requires_grad_()
    wanted = nn.functional.cross_entropy(logits, torch.arange(6))
    wanted.backward()
    for value, grad in ranks.run(cross_entropy, world):
        assert value == pytest.approx(wanted.item(), rel=REL)
        assert_close([grad], [logits.grad])
