# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Pipelines over "pinned": stages that send and receive make the gradients of the whole model."""

import pytest
import ranks
import torch
import torch.distributed as dist
from clients import REL, WORLDS, assert_close, numbers
from default_device import made, randn
from torch import nn
from torch.distributed.pipelining import (
    PipelineStage,
    Schedule1F1B,
    ScheduleGPipe,
    ScheduleInterleaved1F1B,
    ScheduleZBVZeroBubble,
)

CHUNKS = 8
WIDTH = 6


def layer(number):
    torch.manual_seed(number)
    return made(lambda: nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Tanh()))


def data():
    generator = torch.Generator().manual_seed(77)
    return randn(generator, 16, WIDTH), randn(generator, 16, WIDTH)


def stage(number, count):
    return PipelineStage(layer(number), number, count, torch.get_default_device())


def on_one_stage(schedule_class):
    rank, world = dist.get_rank(), dist.get_world_size()
    own = stage(rank, world)
    schedule = schedule_class(own, CHUNKS, loss_fn=nn.MSELoss())
    return go(schedule, [own], rank == 0, rank == world - 1)


def on_two_stages(schedule_class):
    rank, world = dist.get_rank(), dist.get_world_size()
    turned = schedule_class is ScheduleZBVZeroBubble
    numbers_of = [rank, 2 * world - 1 - rank if turned else world + rank]
    own = [stage(number, 2 * world) for number in numbers_of]
    schedule = schedule_class(own, CHUNKS, loss_fn=nn.MSELoss())
    return go(schedule, own, rank == 0, numbers_of[1] == 2 * world - 1)


def go(schedule, own, is_first, is_last):
    """Takes two steps; returns the losses and each stage's gradients."""
    inputs, targets = data()
    for _ in range(2):
        for one in own:
            one.submod.zero_grad()
        losses = []
        arguments = (inputs,) if is_first else ()
        keywords = {"target": targets, "losses": losses} if is_last else {}
        schedule.step(*arguments, **keywords)
    grads = {
        one.stage_index: numbers(parameter.grad for parameter in one.submod.parameters())
        for one in own
    }
    return [value.item() for value in losses], grads


def alone(count):
    layers = [layer(number) for number in range(count)]
    inputs, targets = data()
    value = nn.functional.mse_loss(nn.Sequential(*layers)(inputs), targets)
    value.backward()
    return value.item(), [numbers(p.grad for p in one.parameters()) for one in layers]


def compare(results, count):
    value, wanted = alone(count)
    seen = 0
    for losses, grads in results:
        if losses:
            assert sum(losses) / len(losses) == pytest.approx(value, rel=REL)
        for number, its in grads.items():
            assert_close(its, wanted[number])
            seen += 1
    assert seen == count and any(losses for losses, _ in results)


@pytest.mark.parametrize("schedule", [ScheduleGPipe, Schedule1F1B])
@pytest.mark.parametrize("world", WORLDS)
def test_one_stage_per_rank(world, schedule):
    compare(ranks.run(on_one_stage, world, schedule), world)


@pytest.mark.parametrize("schedule", [ScheduleInterleaved1F1B, ScheduleZBVZeroBubble])
@pytest.mark.parametrize("world", WORLDS)
def test_two_stages_per_rank(world, schedule):
    compare(ranks.run(on_two_stages, world, schedule), 2 * world)
