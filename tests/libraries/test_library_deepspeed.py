# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""DeepSpeed over "pinned": its communication, and ZeRO against one process on the whole batch."""

import pytest
import torch
import torch.distributed as dist
from clients import RATE, ROWS, assert_close, batch, loss, net, numbers, trained, whole
from library import WORLDS, Library, assert_pinned

DEEPSPEED = Library("deepspeed", "torch._dynamo", "deepspeed.runtime.zero.muon.muon_optimizer")
pytestmark = DEEPSPEED.marks
STEPS = 3


def begin():
    """Leaves out DeepSpeed's own all_reduce: compiled for a minute at the first start, it crashes.

    (Where the environment does not have LOCAL_SIZE; over gloo too.)
    """
    import deepspeed

    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.init_distributed("pinned", verbose=False)
    assert_pinned()


def communicate():
    begin()
    import deepspeed.comm as comm

    rank, world = comm.get_rank(), comm.get_world_size()
    everyone = torch.arange(world, dtype=torch.float)
    mine = torch.full((2,), float(rank))
    twice = everyone.repeat_interleave(2)

    comm.all_reduce(total := mine.clone())
    assert total.eq(everyone.sum()).all()
    comm.all_reduce(mean := mine.clone(), op=comm.ReduceOp.AVG)
    assert mean.eq(everyone.mean()).all()
    comm.inference_all_reduce(total := mine.clone())
    assert total.eq(everyone.sum()).all()
    comm.all_reduce_coalesced(many := [mine.clone(), mine[:1].clone()])
    assert all(one.eq(everyone.sum()).all() for one in many)
    comm.broadcast(got := mine.clone(), src=1)
    assert got.eq(1).all()
    comm.all_gather_into_tensor(got := torch.empty(2 * world), mine)
    assert got.equal(twice)
    comm.reduce_scatter_tensor(got := torch.empty(2), twice)
    assert got.eq(world * rank).all()
    comm.all_to_all_single(got := torch.empty(2 * world), twice)
    assert got.eq(rank).all()
    one = comm.isend(mine, (rank + 1) % world)
    comm.recv(got := torch.empty(2), (rank - 1) % world)
    one.wait()
    assert got.eq((rank - 1) % world).all()
    group = comm.new_group([0, 1])
    if rank < 2:
        comm.all_reduce(got := mine.clone(), group=group)
        assert got.eq(1).all()
    comm.barrier()


@pytest.mark.parametrize("world", WORLDS)
def test_communicate(world):
    DEEPSPEED.run(communicate, world)


def given_group():
    """A group that is there already is kept, and no backend need be named."""
    import deepspeed

    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    dist.init_process_group("pinned")
    deepspeed.init_distributed(verbose=False)
    assert_pinned()
    deepspeed.comm.all_reduce(got := torch.ones(1))
    assert got.item() == deepspeed.comm.get_world_size() == dist.get_world_size()


@pytest.mark.parametrize("world", WORLDS)
def test_a_group_is_kept(world):
    DEEPSPEED.run(given_group, world)


def train(stage, accumulation_steps):
    begin()
    import deepspeed

    model, rank = net(), dist.get_rank()
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE, momentum=0.9)
    config = {
        "train_micro_batch_size_per_gpu": ROWS,
        "gradient_accumulation_steps": accumulation_steps,
        "zero_optimization": {"stage": stage},
        "zero_allow_untested_optimizer": True,  # it knows Adam
    }
    engine, *_ = deepspeed.initialize(model=model, optimizer=optimizer, config=config)
    assert engine.zero_optimization_stage() == stage
    for step in range(STEPS):
        for _ in range(accumulation_steps):
            engine.backward(loss(engine, batch(rank, step)))
            engine.step()
    with deepspeed.zero.GatheredParameters(list(model.parameters()), enabled=stage == 3):
        return numbers(model.parameters())


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
@pytest.mark.parametrize("world", WORLDS)
def test_zero(world, stage):
    wanted = trained(net(), STEPS, lambda step: whole(world, step))
    for parameters in DEEPSPEED.run(train, world, stage, 1):
        assert_close(parameters, wanted)


@pytest.mark.parametrize("stage", [1, 3])
@pytest.mark.parametrize("world", WORLDS)
def test_accumulated_gradients(world, stage):
    wanted = trained(net(), STEPS, lambda step: whole(world, step))
    for parameters in DEEPSPEED.run(train, world, stage, 2):
        assert_close(parameters, wanted)
