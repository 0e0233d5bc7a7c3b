# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Kernels that are loaded by their first launch, on a fake GPU.

CUDA then waits for all that is queued, and holds up every other thread's call of its own: nothing
that the GPU waits for may need one. tests/fake/run.py builds the extension and runs this.
"""

import subprocess
import sys
import time

import fake_gpu
import pytest
import ranks
import torch
import torch.distributed as dist
from fake_gpu import LIMIT, SIZES, met
from freed import thread_name, watched
from worker import Setup

pytestmark = fake_gpu.needed
LAUNCHED_S = 8.0
"""A hang is found after that time; the ranks' own is longer."""
SETUP = Setup(timeout_s=20.0)
WORKER = "pinnedpg"


def load():
    fake_gpu.library.fake_load()


def ping_pong(rank, size, rounds=10):
    """Each needs what the other is to send while it loads a kernel."""
    wrong = []
    for i in range(rounds):
        there, back = torch.full((size,), float(i)), torch.full((size,), -1.0)
        if rank == 0:
            dist.isend(there, 1)
        come = dist.irecv(back, 1 - rank)
        come.wait()
        load()
        come.wait(LIMIT)
        if rank == 1:
            dist.isend(back + 1, 0).wait()
        wrong += [i] if back.unique().tolist() != [i + 1.0 - rank] else []
    return wrong


@pytest.mark.parametrize("size", SIZES)
def test_messages_move_while_a_kernel_is_loaded(size):
    run = ranks.start(met, 2, ping_pong, size, setup=SETUP)
    assert run.results(LAUNCHED_S) == [[]] * 2


def nobody_waits(rank, size):
    """What has come is copied later than a kernel is loaded, and frees what it has kept."""
    tensor = torch.full((size,), float(rank))
    if rank == 0:
        dist.isend(tensor, 1)
    else:
        work = dist.irecv(tensor, 0)
    for _ in range(20):
        load()
    end = time.monotonic() + 5
    while rank == 1 and not work.is_completed() and time.monotonic() < end:
        time.sleep(0.001)
    return tensor.unique().tolist()


@pytest.mark.parametrize("size", SIZES)
def test_a_message_that_nobody_waits_for(size):
    assert ranks.start(met, 2, nobody_waits, size, setup=SETUP).results(LAUNCHED_S) == [[0.0]] * 2


def bereaved(rank, count):
    """The GPU waits for a rank that has left, and the loading of a kernel for the GPU."""
    dist.all_reduce(torch.ones(count))
    if rank == 1:
        return None
    work = dist.all_reduce(torch.ones(count), async_op=True)
    begin = time.monotonic()
    load()
    with pytest.raises(dist.DistBackendError) as caught:
        work.wait(LIMIT)
    return "rank 1" in str(caught.value) and time.monotonic() - begin < 3


@pytest.mark.parametrize("count", [10, 300_000], ids=["fused", "queued"])
def test_a_rank_that_leaves_while_a_kernel_is_loaded(count):
    run = ranks.start(met, 2, bereaved, count, setup=SETUP)
    assert run.results(LAUNCHED_S) == [True, None]


def lost_group(rank, size):
    """A group that is let go of while a call of it is under way; its last holder is the worker."""
    group = dist.new_group([0, 1])
    dist.all_reduce(torch.ones(size), group=group, async_op=True).wait(LIMIT)
    if rank == 1:
        time.sleep(0.3)
        dist.all_reduce(torch.ones(size), group=group, async_op=True).wait(LIMIT)
        time.sleep(0.3)
        dist.isend(torch.ones(10), 0).wait(LIMIT)
        return 1.0
    dist.all_reduce(torch.ones(size), group=group, async_op=True)
    dist.destroy_process_group(group)
    del group
    tensor = torch.zeros(10)
    work = dist.irecv(tensor, 1)
    work.wait()
    load()
    work.wait(LIMIT)
    return tensor[0].item()


@pytest.mark.parametrize("size", [10, 300_000], ids=["fused", "queued"])
def test_a_group_that_ends_while_a_kernel_is_loaded(size):
    assert ranks.start(met, 2, lost_group, size, setup=SETUP).results(LAUNCHED_S) == [1.0] * 2


def freed(rank, size, step, keeps_work):
    """Tells which threads free tensors that nobody else holds: their allocator may block."""
    names, rounds = [], 20
    for _ in range(rounds):
        tensor = watched(size * step, lambda: names.append(thread_name()))[::step]
        work = dist.all_reduce(tensor, async_op=keeps_work)
        del tensor, work
    end = time.monotonic() + 5
    while len(names) < rounds and time.monotonic() < end:
        time.sleep(0.001)
    return len(names) == rounds and set(names)


@pytest.mark.parametrize("keeps_work", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("step", [1, 2], ids=["plain", "staged"])
@pytest.mark.parametrize("size", [10, 300_000], ids=["fused", "queued"])
def test_the_worker_frees_no_memory(size, step, keeps_work):
    run = ranks.start(met, 2, freed, size, step, keeps_work, setup=SETUP)
    for names in run.results(LAUNCHED_S):
        assert names and WORKER not in names, names


EXITS = """
import time, torch, torch.distributed as dist, pinnedpg
class Slow(bytearray):
    def __del__(self): time.sleep(0.01)
dist.init_process_group("pinned", store=dist.HashStore(), rank=0, world_size=1)
for _ in range(1000):
    dist.all_reduce(torch.frombuffer(Slow(40), dtype=torch.float32), async_op=True)
"""


def test_a_process_ends_with_much_to_be_freed():
    """Python's objects among it: those are not touched while Python is taken down."""
    ended = subprocess.run(
        [sys.executable, "-c", EXITS], capture_output=True, text=True, timeout=30
    )
    assert ended.returncode == 0, ended.stderr


def dropped(rank, rounds=12):
    """Sends that nobody keeps are over while a message of another group is waited for."""
    group = dist.new_group([0, 1])
    for i in range(rounds):
        back = torch.full((10,), -1.0)
        if rank == 0:
            for _ in range(30):
                dist.isend(torch.full((10,), float(i)), 1, group=group)
            work = dist.irecv(back, 1)
            work.wait()
            load()
            work.wait(LIMIT)
        else:
            for _ in range(30):
                time.sleep(0.001)
                dist.irecv(torch.empty(10), 0, group=group).wait(LIMIT)
            dist.isend(torch.full((10,), float(i)), 0).wait(LIMIT)
    return back[0].item()


def test_messages_that_nobody_keeps_end_while_a_kernel_is_loaded():
    assert ranks.start(met, 2, dropped, setup=SETUP).results(LAUNCHED_S) == [11.0, -1.0]
