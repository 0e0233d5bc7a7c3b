# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Fused calls in CUDA graphs, on a fake GPU: replays, what cannot be captured, failures.

tests/fake/run.py builds the extension for it and runs this.
"""

import time

import fake_gpu
import pytest
import ranks
import torch
import torch.distributed as dist
from fake_gpu import LAUNCHERS, LIMIT, error_of_later_calls, graph
from worker import Setup

pytestmark = fake_gpu.needed


def replayed():
    rank, world = dist.get_rank(), dist.get_world_size()
    rank_sum = world * (world - 1) / 2
    summed, everyone = torch.empty(50), [torch.empty(50) for _ in range(world)]
    dist.all_reduce(summed)
    with graph() as replay:
        dist.all_reduce(summed)
        work = dist.all_gather(everyone, summed, async_op=True)
        work.wait()
    done = work.is_completed()
    for i in range(40):
        summed.fill_(rank + i)
        replay()
        wanted = world * i + rank_sum
        if not all(one.eq(wanted).all() for one in (summed, *everyone)):
            return i
        for count in (3, 30_000, 300_000) if i % 3 == 0 else ():
            plain = torch.full((count,), float(rank))
            dist.all_reduce(plain)
            if not plain.eq(rank_sum).all():
                return -i
    return done


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_replays_beside_other_calls(launcher):
    assert ranks.run(replayed, 3, launcher=launcher) == [True] * 3


def refused():
    texts = []
    for tensors in ([torch.ones(1)], [torch.ones(300_000)]):
        try:
            with graph():
                dist.all_reduce(tensors[0])
        except ValueError as error:
            texts.append(str(error))
        dist.all_reduce(torch.ones(1))
    try:
        with graph():
            dist.all_to_all([torch.ones(1), torch.ones(1)], [torch.ones(1), torch.ones(1)])
    except ValueError as error:
        texts.append(str(error))
    try:
        with graph():
            dist.isend(torch.ones(1), 1 - dist.get_rank())
    except ValueError as error:
        texts.append(str(error))
    return texts


def test_what_cannot_be_captured_says_why():
    for first, large, uneven, message in ranks.run(refused, 2):
        assert "must not be the first of its group" in first
        assert "at most 1048576 bytes" in large and "all_reduce(float32[300000], SUM)" in large
        assert "each pair of ranks has a size of its own" in uneven
        assert "a message cannot be captured" in message


def waits_in_graph():
    tensor, text = torch.ones(4), ""
    dist.all_reduce(tensor, async_op=True).wait(LIMIT)
    if dist.get_rank() == 1:
        time.sleep(0.5)
    work = dist.all_reduce(tensor, async_op=True)
    if dist.get_rank() == 0:
        try:
            with graph():
                work.wait()
        except ValueError as error:
            text = str(error)
    work.wait(LIMIT)
    with graph():
        work.wait()  # it is over
    return text, tensor.tolist()


def test_a_graph_does_not_wait_for_a_call_outside_of_it():
    (text, summed), other = ranks.run(waits_in_graph, 2)
    assert "cannot wait for a call that is not in it" in text
    assert summed == other[1] == [4.0] * 4


def replays_unlike(how):
    rank, tensor = dist.get_rank(), torch.ones(4)
    dist.all_reduce(tensor)
    with graph() as replay:
        if how == "another" and rank == 1:
            dist.broadcast(tensor, 0)
        else:
            dist.all_reduce(tensor)
    if how == "another" or rank == 0:
        replay()
    else:
        time.sleep(2.5)
    return error_of_later_calls()


def test_a_replay_that_meets_another_call_ends_the_group():
    for text in ranks.run(replays_unlike, 2, "another"):
        assert "a call in a CUDA graph met another one" in text, text


def test_a_replay_that_nobody_meets_ends_the_group():
    for text in ranks.run(replays_unlike, 2, "alone", setup=Setup(timeout_s=1.0)):
        assert "a GPU waited longer than the timeout" in text, text
