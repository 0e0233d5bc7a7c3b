# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""ZeroRedundancyOptimizer over "pinned" steps as one process's optimizer does."""

import pytest
import ranks
import torch
import torch.distributed as dist
from clients import RATE, WORLDS, assert_close, batch, loss, net, numbers, trained, whole
from torch.distributed.algorithms.ddp_comm_hooks.ddp_zero_hook import hook_with_zero_step
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.distributed.algorithms.join import Join
from torch.distributed.optim import ZeroRedundancyOptimizer
from torch.nn.parallel import DistributedDataParallel as DDP

STEPS = 4
SGD = {"lr": RATE, "momentum": 0.9}


def alone(world_size):
    return trained(net(), STEPS, lambda step: whole(world_size, step))


def train(as_bucket_view):
    rank, model = dist.get_rank(), DDP(net())
    optimizer = ZeroRedundancyOptimizer(
        model.parameters(), torch.optim.SGD, parameters_as_bucket_view=as_bucket_view, **SGD
    )
    parameters = trained(model, STEPS, lambda step: batch(rank, step), optimizer)
    optimizer.consolidate_state_dict(to=0)
    buffers = []
    if rank == 0:
        state = optimizer.state_dict()["state"]
        buffers = numbers(state[index]["momentum_buffer"] for index in sorted(state))
    return parameters, buffers


@pytest.mark.parametrize("as_bucket_view", [False, True])
@pytest.mark.parametrize("world", WORLDS)
def test_zero(world, as_bucket_view):
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), **SGD)
    wanted = trained(model, STEPS, lambda step: whole(world, step), optimizer)
    state = [optimizer.state[p]["momentum_buffer"] for p in model.parameters()]
    results = ranks.run(train, world, as_bucket_view)
    for parameters, _ in results:
        assert_close(parameters, wanted)
    assert_close(results[0][1], state)


def train_overlapped():
    """The step is taken in DDP's backward pass, bucket by bucket, from the hook's futures."""
    rank, model = dist.get_rank(), DDP(net(), bucket_cap_mb=0.0005, static_graph=False)
    optimizer = ZeroRedundancyOptimizer(
        model.parameters(), torch.optim.SGD, overlap_with_ddp=True, **SGD
    )
    model.register_comm_hook(None, hook_with_zero_step(allreduce_hook, model, optimizer))
    for step in range(STEPS + 2):  # the first two find out the buckets and step nowhere
        optimizer.zero_grad()
        loss(model, batch(rank, max(0, step - 2))).backward()
        optimizer.step()
    return numbers(model.parameters())


@pytest.mark.parametrize("world", WORLDS)
def test_zero_overlapped(world):
    for parameters in ranks.run(train_overlapped, world):
        assert_close(parameters, alone(world))


def train_uneven():
    """Rank r has 2 + r batches; DDP and the optimizer join together."""
    rank, model = dist.get_rank(), DDP(net())
    optimizer = ZeroRedundancyOptimizer(model.parameters(), torch.optim.SGD, lr=RATE)
    with Join([model, optimizer]):
        for step in range(2 + rank):
            optimizer.zero_grad()
            loss(model, batch(rank, step)).backward()
            optimizer.step()
    owned = [
        {id(parameter) for group in groups for parameter in group["params"]}
        for groups in optimizer._partition_parameters()
    ]
    owners = [
        next(owner for owner, ids in enumerate(owned) if id(parameter) in ids)
        for parameter in model.parameters()
    ]
    return numbers(model.parameters()), owners


def uneven_alone(world_size, owners):
    """A rank that has joined steps on with the last gradient it has of what it owns."""
    model, last = net(), {}
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
    for step in range(1 + world_size):
        optimizer.zero_grad()
        for rank in range(world_size):
            if step < 2 + rank:
                (loss(model, batch(rank, step)) / world_size).backward()
        for index, parameter in enumerate(model.parameters()):
            if step >= 2 + owners[index]:
                parameter.grad = last[index]
            last[index] = parameter.grad
        optimizer.step()
    return numbers(model.parameters())


@pytest.mark.parametrize("world", WORLDS)
def test_zero_joins(world):
    for parameters, owners in ranks.run(train_uneven, world):
        assert_close(parameters, uneven_alone(world, owners))
