# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Distributed checkpoints over "pinned": what was saved is loaded, also on other worlds."""

import launch
import pytest
import ranks
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from checkpoints import assert_is, load, save, sharded
from clients import (
    RATE,
    SOAK_WORLDS,
    WORLDS,
    assert_close,
    batch,
    loss,
    net,
    numbers,
    trained,
    whole,
)
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.distributed.checkpoint.state_dict_saver import AsyncCheckpointerType
from torch.distributed.fsdp import fully_shard


def save_and_load(path, number):
    save(path, number)
    return load(path)


@pytest.mark.parametrize("world", WORLDS)
def test_save_and_load(world, tmp_path):
    assert_is(ranks.run(save_and_load, world, str(tmp_path), 3), 3)


@pytest.mark.parametrize(("before", "after"), [(2, 4), (4, 2)])
def test_load_on_another_world(before, after, tmp_path):
    ranks.run(save, before, str(tmp_path), 4)
    assert_is(ranks.run(load, after, str(tmp_path)), 4)


def save_async(path, number):
    """On a group of its own: the thread's collectives and ours come in no common order."""
    group = dist.new_group()
    state = sharded(number)
    future = dcp.async_save(
        state,
        checkpoint_id=path,
        process_group=group,
        async_checkpointer_type=AsyncCheckpointerType.THREAD,
    )
    state["whole"].zero_()  # what is saved has been copied
    for _ in range(20):
        tensor = torch.ones(3)
        dist.all_reduce(tensor)
        assert tensor[0].item() == dist.get_world_size()
    future.result()
    return load(path)


@pytest.mark.parametrize("world", WORLDS)
def test_async_save(world, tmp_path):
    assert_is(ranks.run(save_async, world, str(tmp_path), 5), 5)


@pytest.mark.slow
@pytest.mark.parametrize("world", SOAK_WORLDS)
def test_async_save_by_a_process(world, tmp_path):
    """Under torchrun: the suite's own ranks may have no children."""
    program = f"tests/support/checkpoint_process.py {tmp_path}"
    status, output = launch.run(f"DCP_USE_PREFIX_STORE=1 {launch.command(program, world)}")
    assert status == 0 and output.count("as saved") == world, output


def trainer():
    model = fully_shard(net())
    return model, torch.optim.Adam(model.parameters(), lr=RATE)


def resume(path):
    """Trains two steps, saves; loads into a fresh model, and trains a third."""
    rank = dist.get_rank()
    model, optimizer = trainer()
    trained(model, 2, lambda step: batch(rank, step), optimizer)
    states = dict(zip(("model", "optimizer"), get_state_dict(model, optimizer), strict=True))
    dcp.save(states, checkpoint_id=path)
    model, optimizer = trainer()
    model_state, optimizer_state = get_state_dict(model, optimizer)
    states = {"model": model_state, "optimizer": optimizer_state}
    dcp.load(states, checkpoint_id=path)
    set_state_dict(
        model,
        optimizer,
        model_state_dict=states["model"],
        optim_state_dict=states["optimizer"],
    )
    optimizer.zero_grad()
    loss(model, batch(rank, 2)).backward()
    optimizer.step()
    return numbers(model.parameters())


@pytest.mark.parametrize("world", WORLDS)
def test_training_resumes(world, tmp_path):
    model = net()
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
    wanted = trained(model, 3, lambda step: whole(world, step), optimizer)
    for parameters in ranks.run(resume, world, str(tmp_path)):
        assert_close(parameters, wanted, rtol=1e-3, atol=1e-4)
