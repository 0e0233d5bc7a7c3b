# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""The sum of sparse tensors of GPUs, against that of the same tensors made dense."""

import pytest
import ranks
import torch
import torch.distributed as dist

import pinnedpg  # noqa: F401

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
SHAPE = (40, 3)


def mine(rank):
    made = torch.Generator().manual_seed(rank)
    places = torch.randint(SHAPE[0], (1, 7 * rank), generator=made)  # rank 0 has none
    values = torch.randint(-4, 5, (7 * rank, SHAPE[1]), generator=made).float()
    return torch.sparse_coo_tensor(places, values, SHAPE, check_invariants=True)


def summed(async_op):
    rank, world = dist.get_rank(), dist.get_world_size()
    torch.cuda._sleep(10_000_000)  # what is read is queued behind it
    tensor = mine(rank).cuda().mul(2)
    work = dist.all_reduce(tensor, async_op=async_op)
    values = [tensor]
    if async_op:
        values += work.get_future().wait()
        work.wait()
    expected = sum(mine(other).to_dense() * 2 for other in range(world))
    return [one.is_cuda and torch.equal(one.to_dense().cpu(), expected) for one in values]


@pytest.mark.parametrize("launcher", ["processes", "threads"])
@pytest.mark.parametrize("async_op", [False, True])
def test_the_sum(launcher, async_op):
    for found in ranks.run(summed, 2, async_op, launcher=launcher):
        assert all(found), found
