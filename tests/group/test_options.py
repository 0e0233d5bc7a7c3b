# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Options: what a group costs, which time-out counts, and choices that cannot be."""

import copy
import datetime
import os

import pytest
import ranks
import torch
import torch.distributed as dist
from worker import Setup

import pinnedpg


@pytest.mark.parametrize("world_size", [1, 2, 3, 7, 16, 17, 64, 255, 600])
@pytest.mark.parametrize("slot_bytes", [0, 4096, 64 << 10, 1 << 20, 64 << 20])
def test_a_group_costs_at_most_its_budget(world_size, slot_bytes):
    options = pinnedpg.Options(slot_bytes=slot_bytes)
    assert options.budget_bytes == 32 << 20
    assert 0 < options.segment_bytes(world_size) <= 32 << 20


@pytest.mark.parametrize(
    "choice",
    [
        {"depth": 3},
        {"depth": 2},
        {"depth": 2048},
        {"depth": (1 << 32) + 16},
        {"slot_bytes": 100},
        {"slot_bytes": -1},
        {"slot_bytes": 1 << 59},
        {"fused_bytes": 2 << 20},
        {"word_bytes": 100},
        {"timeout": datetime.timedelta(0)},
        {"timeout": datetime.timedelta(seconds=-1)},
    ],
)
def test_a_choice_that_cannot_be_is_an_error(choice):
    with pytest.raises(ValueError, match=next(iter(choice))):
        pinnedpg.Options(**choice)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_copies_are_equal_and_apart(copied):
    options = pinnedpg.Options(slot_bytes=8192, depth=8, timeout=datetime.timedelta(seconds=7))
    other = copied(options)
    assert (other.slot_bytes, other.depth, other._timeout_chosen) == (8192, 8, True)
    other.slot_bytes = 4096
    assert options.slot_bytes == 8192


@pytest.mark.parametrize("chosen", [None, datetime.timedelta(seconds=7)])
def test_the_time_out_of_the_options_wins(chosen):
    options = pinnedpg.Options(timeout=chosen)
    dist.init_process_group(
        "pinned",
        store=dist.HashStore(),
        rank=0,
        world_size=1,
        timeout=datetime.timedelta(seconds=99),
        pg_options=options,
    )
    try:
        backend = dist.distributed_c10d._get_default_group()._get_backend(torch.device("cpu"))
        assert backend.options._timeout == (chosen or datetime.timedelta(seconds=99))
    finally:
        dist.destroy_process_group()


def without_a_limit(store, rank, world_size, how):
    longest = datetime.timedelta.max
    where = {"store": store, "rank": rank, "world_size": world_size}
    if how == "options":
        dist.init_process_group("pinned", pg_options=pinnedpg.Options(timeout=longest), **where)
    else:
        dist.init_process_group("pinned", timeout=longest, **where)
    group = dist.new_group([0, 1], timeout=longest)
    got = torch.zeros(2)
    works = [dist.irecv(got, 1 - rank), dist.isend(torch.ones(2), 1 - rank)]
    for work in works:
        work.wait(longest)
    dist.all_reduce(got)
    dist.all_reduce(got, group=group, async_op=True).wait(longest)
    backend = dist.distributed_c10d._get_default_group()._get_backend(torch.device("cpu"))
    if hasattr(backend, "set_timeout"):
        backend.set_timeout(longest)
    dist.recv(got, 1) if rank == 0 else dist.send(got, 0)
    limit = backend.options._timeout
    dist.destroy_process_group()
    return got[0].item(), limit > datetime.timedelta(days=3000)


@pytest.mark.parametrize("how", ["options", "init"])
def test_the_longest_timedelta_is_no_limit(how):
    assert ranks.run(without_a_limit, 2, how, setup=Setup(backend=None)) == [(4.0, True)] * 2


@pytest.mark.parametrize("world_size", [1, 2, 3, 4, 7, 8, 64])
def test_slots_that_shrink_fill_the_budget(world_size):
    """All but less than a page of each slot."""
    options = pinnedpg.Options(slot_bytes=64 << 20, depth=4)
    spare = (16 << 20) - options.segment_bytes(world_size)
    assert 0 <= spare <= 4096 * (4 * world_size + 1)


def test_too_many_ranks_for_the_budget_still_have_slots():
    small = pinnedpg.Options(budget_bytes=1)
    assert small.segment_bytes(2) < 64 << 10


@pytest.mark.parametrize("world_size", [0, -1, 10**9])
def test_no_segment_of_such_a_world(world_size):
    with pytest.raises(ValueError, match="world_size must be from 1 to 65536; got"):
        pinnedpg.Options().segment_bytes(world_size)


def test_a_rank_pinned_to_one_core_has_the_slots_of_one_that_is_not():
    cores = os.sched_getaffinity(0)
    if len(cores) < 2:
        pytest.skip("needs two cores")
    before = pinnedpg.Options().segment_bytes(2)
    os.sched_setaffinity(0, {min(cores)})
    try:
        assert pinnedpg.Options().segment_bytes(2) == before
    finally:
        os.sched_setaffinity(0, cores)


@pytest.mark.parametrize("how", ["init", "later"])
def test_no_time_at_all_is_refused(how):
    none, where = datetime.timedelta(0), {"store": dist.HashStore(), "rank": 0, "world_size": 1}
    refused = pytest.raises(ValueError, match="the timeout must be longer than 0; got 0 ms")
    if how == "init":
        with refused:
            dist.init_process_group("pinned", timeout=none, **where)
        return
    dist.init_process_group("pinned", **where)
    try:
        backend = dist.distributed_c10d._get_default_group()._get_backend(torch.device("cpu"))
        if not hasattr(backend, "set_timeout"):
            pytest.skip("this torch cannot set it")
        for wrong in (none, datetime.timedelta(seconds=-1)):
            with pytest.raises(ValueError, match="the timeout must be longer than 0; got"):
                backend.set_timeout(wrong)
    finally:
        dist.destroy_process_group()
