# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""FSDP 1 and 2 over "pinned" train as the unsplit model does."""

import pytest
import ranks
import torch
import torch.distributed as dist
from clients import RATE, REL, WORLDS, assert_close, batch, loss, net, numbers, trained, whole
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import (
    CPUOffloadPolicy,
    FullyShardedDataParallel,
    MixedPrecision,
    MixedPrecisionPolicy,
    ShardingStrategy,
    fully_shard,
)

STEPS = 3


def alone(world_size, scale=1.0):
    """One process, whose gradients are `scale` times those of the whole batch's mean."""
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE, momentum=0.9)
    for step in range(STEPS):
        optimizer.zero_grad()
        (loss(model, whole(world_size, step)) * scale).backward()
        optimizer.step()
    return numbers(model.parameters())


def fully_sharded(**options):
    model = net()
    for layer in model:
        if isinstance(layer, nn.Linear):
            fully_shard(layer, **options)
    return fully_shard(model, **options)


def train_fsdp2(factor, keep):
    rank = dist.get_rank()
    model = fully_sharded(reshard_after_forward=not keep)
    if factor is not None:
        model.set_gradient_divide_factor(factor)
        for layer in model.children():
            if isinstance(layer, nn.Linear):
                layer.set_gradient_divide_factor(factor)
    return trained(model, STEPS, lambda step: batch(rank, step))


@pytest.mark.parametrize("keep", [False, True], ids=["reshard", "keep"])
@pytest.mark.parametrize("factor", [None, 3.0], ids=["AVG", "PREMUL_SUM"])
@pytest.mark.parametrize("world", WORLDS)
def test_fsdp2(world, factor, keep):
    wanted = alone(world, 1.0 if factor is None else world / factor)
    for parameters in ranks.run(train_fsdp2, world, factor, keep):
        assert_close(parameters, wanted)


def train_in_bf16(reduce_dtype):
    rank = dist.get_rank()
    policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=reduce_dtype)
    model = fully_sharded(mp_policy=policy)
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE, momentum=0.9)
    for step in range(STEPS):
        inputs, targets = batch(rank, step)
        optimizer.zero_grad()
        loss(model, (inputs, targets.bfloat16())).backward()
        optimizer.step()
    return numbers(model.parameters())


@pytest.mark.parametrize("reduce_dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("world", WORLDS)
def test_fsdp2_mixed_precision(world, reduce_dtype):
    results = ranks.run(train_in_bf16, world, reduce_dtype)
    for parameters in results:
        assert_close(parameters, results[0], rtol=0, atol=0)
        assert_close(parameters, alone(world), rtol=3e-2, atol=1e-2)


def train_hybrid():
    """Sharded over the inner dimension, replicated over the outer one."""
    shape, device = (2, dist.get_world_size() // 2), torch.get_default_device()
    mesh = init_device_mesh(device.type, shape, mesh_dim_names=("r", "s"))
    rank, model = dist.get_rank(), fully_sharded(mesh=mesh)
    return trained(model, STEPS, lambda step: batch(rank, step))


@pytest.mark.parametrize("world", WORLDS)
def test_fsdp2_hybrid(world):
    for parameters in ranks.run(train_hybrid, world):
        assert_close(parameters, alone(world))


def accumulated(clip):
    """Gradients of two steps, reduced once; then their norm."""
    rank, model = dist.get_rank(), fully_sharded()
    model.set_requires_gradient_sync(False)
    loss(model, batch(rank, 0)).backward()
    model.set_requires_gradient_sync(True)
    loss(model, batch(rank, 1)).backward()
    norm = nn.utils.clip_grad_norm_(model.parameters(), clip).full_tensor().item()
    return norm, numbers(parameter.grad for parameter in model.parameters())


@pytest.mark.parametrize("world", WORLDS)
def test_fsdp2_accumulates_and_clips(world):
    model = net()
    for step in range(2):
        loss(model, whole(world, step)).backward()
    norm = nn.utils.clip_grad_norm_(model.parameters(), 0.1).item()
    wanted = numbers(parameter.grad for parameter in model.parameters())
    for its_norm, grads in ranks.run(accumulated, world, 0.1):
        assert its_norm == pytest.approx(norm, rel=REL)
        assert_close(grads, wanted)


def train_offloaded():
    rank, model = dist.get_rank(), fully_sharded(offload_policy=CPUOffloadPolicy(pin_memory=False))
    return trained(model, STEPS, lambda step: batch(rank, step))


@pytest.mark.skipif(torch.cuda.is_available(), reason="offloads to the CPU what is there already")
@pytest.mark.parametrize("world", WORLDS)
def test_fsdp2_offload(world):
    for parameters in ranks.run(train_offloaded, world):
        assert_close(parameters, alone(world))


def train_fsdp1(strategy, original):
    rank, model = dist.get_rank(), net()
    options = {
        "device_id": torch.get_default_device(),
        "sharding_strategy": ShardingStrategy[strategy],
        "use_orig_params": original,
    }
    model[2] = FullyShardedDataParallel(model[2], **options)
    model = FullyShardedDataParallel(model, **options)
    trained(model, STEPS, lambda step: batch(rank, step))
    norm = model.clip_grad_norm_(1000.0).item()
    with FullyShardedDataParallel.summon_full_params(model):
        names = [name for name, _ in model.named_parameters()]
        return names, numbers(model.parameters()), norm


def last_norm(world_size):
    model = net()
    trained(model, STEPS, lambda step: whole(world_size, step))
    return nn.utils.clip_grad_norm_(model.parameters(), 1000.0).item()


@pytest.mark.parametrize("original", [False, True], ids=["flat", "original"])
@pytest.mark.parametrize("strategy", ["FULL_SHARD", "SHARD_GRAD_OP", "NO_SHARD"])
@pytest.mark.parametrize("world", WORLDS)
def test_fsdp1(world, strategy, original):
    for names, parameters, norm in ranks.run(train_fsdp1, world, strategy, original):
        assert names == list(net().state_dict())
        assert_close(parameters, alone(world))
        assert norm == pytest.approx(last_norm(world), rel=1e-4)


def train_fsdp1_in_bf16():
    rank, bf16 = dist.get_rank(), torch.bfloat16
    model = FullyShardedDataParallel(
        net(),
        device_id=torch.get_default_device(),
        use_orig_params=True,
        mixed_precision=MixedPrecision(param_dtype=bf16, reduce_dtype=bf16),
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE, momentum=0.9)
    for step in range(STEPS):
        inputs, targets = batch(rank, step)
        optimizer.zero_grad()
        loss(model, (inputs, targets.bfloat16())).backward()
        optimizer.step()
    with FullyShardedDataParallel.summon_full_params(model):
        return numbers(model.parameters())


@pytest.mark.parametrize("world", WORLDS)
def test_fsdp1_mixed_precision(world):
    for parameters in ranks.run(train_fsdp1_in_bf16, world):
        assert_close(parameters, alone(world), rtol=3e-2, atol=1e-2)


def state_of_fsdp1():
    """Not the optimizer's: on CPU tensors torch 2.13 gives the wrong ones, over gloo as well."""
    device = torch.get_default_device()
    model = FullyShardedDataParallel(net(), device_id=device, use_orig_params=True)
    trained(model, STEPS, lambda step: batch(dist.get_rank(), step))
    state = model.state_dict()
    return dict(zip(state, numbers(state.values()), strict=True))


@pytest.mark.parametrize("world", WORLDS)
def test_fsdp1_state_dict(world):
    wanted = alone(world)
    for state in ranks.run(state_of_fsdp1, world):
        assert list(state) == list(net().state_dict())
        assert_close(list(state.values()), wanted)
