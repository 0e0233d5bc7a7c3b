# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""What a profiler records of a call ends before the call returns, and so before the profiler.

Rank 0 calls inside the profiler, and the others answer once that is gone. The memory that it has
let go of is taken at once: a recording that ended with its work would write there.
"""

from collections import Counter
from datetime import timedelta

import pytest
import ranks
import torch
import torch.distributed as dist

ranks.PRELOADED.append("torch.profiler")
TIMES = 3
LARGE = 10_000
"""Elements of a message that waits at its sender."""
BLOCK = b"pinnedpg" * 128


def all_reduce():
    return dist.all_reduce(torch.ones(3, 5), async_op=True)


def broadcast():
    return dist.broadcast(torch.ones(3, 5), 0, async_op=True)


def uneven_all_to_all():
    rows = [1, 1]
    return dist.all_to_all_single(torch.empty(2, 5), torch.ones(2, 5), rows, rows, async_op=True)


def sparse_all_reduce():
    return dist.all_reduce(torch.eye(3).to_sparse(), async_op=True)


def send():
    if dist.get_rank() == 0:
        return dist.isend(torch.ones(LARGE), 1)
    return dist.irecv(torch.empty(LARGE), 0)


def recv():
    if dist.get_rank() == 0:
        return dist.irecv(torch.empty(3, 5), 1)
    return dist.isend(torch.ones(3, 5), 0)


def recv_from_any():
    if dist.get_rank() == 0:
        return dist.irecv(torch.empty(3, 5))
    return dist.isend(torch.ones(3, 5), 0)


def batch():
    peer = 1 - dist.get_rank()
    recv = dist.P2POp(dist.irecv, torch.empty(3, 5), peer)
    send = dist.P2POp(dist.isend, torch.ones(3, 5), peer)
    return Works(dist.batch_isend_irecv([recv, send]))


def coalesced():
    with dist._coalescing_manager(async_ops=True) as works:
        for _ in range(2):
            dist.all_reduce(torch.ones(3, 5))
    return works


def call_of_a_child():
    return child().allreduce([torch.ones(3, 5)])


def future():
    return dist.all_reduce(torch.ones(3, 5), async_op=True).get_future()


def failing():
    return Failing(dist.all_reduce(torch.ones(3 + dist.get_rank(), 5), async_op=True))


def refused():
    with pytest.raises(ValueError, match="there must be 2 outputs"):
        dist.all_gather([torch.empty(3, 5)], torch.ones(3, 5), async_op=True)
    return Works()


RECORDED = {
    all_reduce: ["all_reduce [3, 5]"],
    broadcast: ["broadcast [3, 5]"],
    uneven_all_to_all: ["all_to_all_single [2, 5]"],
    sparse_all_reduce: ["all_reduce [3, 3]"],
    send: [f"send [{LARGE}]"],
    recv: ["recv [3, 5]"],
    recv_from_any: ["recvAnySource [3, 5]"],
    batch: ["recv [3, 5]", "send [3, 5]"],
    coalesced: ["all_reduce [3, 5]"] * 2,
    call_of_a_child: ["all_reduce [3, 5]"],
    future: ["all_reduce [3, 5]"],
    failing: ["all_reduce [3, 5]"],
    refused: [],
}


class Works(list):
    def wait(self):
        for work in self:
            work.wait()


class Failing:
    def __init__(self, work):
        self.work = work

    def wait(self):
        with pytest.raises(dist.DistBackendError):
            self.work.wait()


def child():
    group = dist.distributed_c10d._get_default_group()
    return group.split_group([0, 1], timeout=timedelta(seconds=9), group_name="child")


def seen(profile):
    """Returns how often which calls were recorded, each with the shape of its first tensor."""
    events = [event for event in profile.function_events if event.name.startswith("pinned:")]
    assert all(event.is_async for event in events)  # as those of torch's own backends
    return Counter(f"{e.name.removeprefix('pinned:')} {e.input_shapes[0]}" for e in events)


def call_inside(call):
    dist.all_reduce(torch.ones(1))  # GPUs' ranks wait for each other in the first call
    store = dist.distributed_c10d._get_default_store()
    if dist.get_rank() > 0:
        store.wait(["the profiler is gone"])
        Works(call() for _ in range(TIMES)).wait()
        return
    with torch.autograd.profiler.profile(record_shapes=True) as profile:
        works = Works(call() for _ in range(TIMES))
    taken = [bytearray(BLOCK) for _ in range(20_000)]
    store.set("the profiler is gone", "")
    works.wait()
    del works
    assert all(block == BLOCK for block in taken)
    assert seen(profile) == Counter(RECORDED[call] * TIMES)


@pytest.mark.parametrize("call", RECORDED, ids=lambda call: call.__name__)
def test_before_the_call_returns(call):
    ranks.run(call_inside, 2, call)
