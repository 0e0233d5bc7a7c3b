# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""torch.profiler over "pinned"."""

import pytest
import ranks
import torch
import torch.distributed as dist
from reductions import reduce_scatter_single
from torch.profiler import ProfilerActivity, profile

ranks.PRELOADED.append("torch.profiler")


def titles():
    rank, world = dist.get_rank(), dist.get_world_size()
    one, whole = torch.ones(2), torch.ones(2 * world)
    each = [torch.ones(2) for _ in range(world)]
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as recorded:
        dist.all_reduce(one)
        dist.broadcast(one, 0)
        dist.reduce(one, 0)
        dist.all_gather(each, one)
        dist.gather(one, each if rank == 0 else None, 0)
        dist.scatter(one, each if rank == 0 else None, 0)
        dist.reduce_scatter(one, each)
        reduce_scatter_single(one, whole)
        dist.all_to_all([torch.empty(2) for _ in each], each)
        dist.all_to_all_single(torch.empty(2 * world), whole)
        send = dist.isend(one, (rank + 1) % world)
        dist.recv(torch.empty(2))
        send.wait()
        dist.all_reduce(one, async_op=True).wait()
        dist.barrier()
        dist.all_gather_into_tensor(whole, one)
        with dist._coalescing_manager():
            dist.all_reduce(one)
            dist.all_reduce(one)
    events = [event for event in recorded.events() if event.name.startswith("pinned:")]
    return sorted(event.name.removeprefix("pinned:") for event in events)


@pytest.mark.parametrize("world", [2, 4])
def test_sees_every_call(world):
    wanted = "all_gather all_gather_into_tensor all_reduce all_reduce all_reduce all_reduce"
    wanted += " all_to_all all_to_all_single barrier broadcast gather"
    wanted += " recvAnySource reduce reduce_scatter reduce_scatter_tensor scatter send"
    assert ranks.run(titles, world) == [wanted.split()] * world
