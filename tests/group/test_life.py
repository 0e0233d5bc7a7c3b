# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Making, leaving and forgetting groups: nothing hangs; no file, descriptor or mapping is left."""

import gc
import os
import subprocess
import sys
import tempfile
import threading
import time

import limits
import pytest
import ranks
import torch
import torch.distributed as dist
import worker
from default_device import wait_on_host
from processes import SHM, holdings, in_a_fork, left_behind, settled, shared_files
from worker import Setup

BARE = Setup(backend=None)
LAUNCHERS = ["processes", "threads"]
SUPPORT = os.path.dirname(worker.__file__)


def again_and_again(store, rank, world_size, times):
    held = []
    for turn in range(times):
        Setup().init(store=store, rank=rank, world_size=world_size)
        tensor = torch.full((1000,), float(rank + turn))
        if turn % 3:  # every third group is never used
            dist.all_reduce(tensor)
            assert tensor[0].item() == sum(range(world_size)) + turn * world_size
            subgroup = dist.new_group([0, world_size - 1])
            if rank in (0, world_size - 1):
                dist.all_reduce(tensor, group=subgroup)
            dist.barrier()
        dist.destroy_process_group()
        if turn in (2, times - 1):
            held.append(settled(held[0] if held else holdings()))
    return held, shared_files()


def test_destroy_and_init_fifty_times():
    before = left_behind()
    for (first, last), files in ranks.run(again_and_again, 3, 50, setup=BARE):
        assert first == last and files == []
    assert left_behind() == before


def destroyed_with_work_under_way(is_first):
    rank = dist.get_rank()
    if not is_first:
        dist.all_reduce(torch.ones(1))
    works = [dist.all_reduce(torch.ones(10), async_op=True) for _ in range(3)] if rank == 0 else []
    if rank == 1:
        time.sleep(0.5)
    began = time.monotonic()
    dist.destroy_process_group()
    destroyed = time.monotonic() - began
    failed = 0
    for work in works:
        try:
            wait_on_host(work)
        except dist.DistBackendError:
            failed += 1
    return destroyed, time.monotonic() - began, failed


MEETS = pytest.mark.cpu_only("the first call with CUDA tensors waits on the host for all ranks")


@pytest.mark.parametrize("is_first", [False, pytest.param(True, marks=MEETS)])
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_destroy_with_work_under_way(launcher, is_first):
    results = ranks.run(destroyed_with_work_under_way, 2, is_first, launcher=launcher)
    assert results[0][2] == 3
    for destroyed, waited, _ in results:
        limits.in_time(destroyed, 1, "leaving, which waits for nobody")
        limits.in_time(waited, 2, "works that fail when their group ends")


SCRIPT = """
import sys, threading, time
import torch, torch.distributed as dist
import pinnedpg
from processes import shared_files

how = sys.argv[1]
dist.init_process_group("pinned", init_method=sys.argv[2], rank=int(sys.argv[3]), world_size=2)
kept = torch.ones(1000)
dist.all_reduce(kept)
assert kept[0] == 2
if how == "outstanding" and dist.get_rank() == 0:
    works = [dist.all_reduce(torch.ones(1000), async_op=True) for _ in range(10)]
    time.sleep(0.2)  # the worker thread is at it
if how == "subgroup":
    group = dist.new_group([0, 1])
    dist.all_reduce(kept, group=group)
print(*shared_files())
if how == "raise":
    raise KeyError("mine")
if how == "destroy":
    dist.destroy_process_group()
"""


@pytest.mark.parametrize("how", ["destroy", "forget", "subgroup", "outstanding", "raise"])
def test_exit(how, tmp_path):
    before, names = left_behind(), []
    command = [sys.executable, "-c", SCRIPT, how, f"file://{tmp_path}/store"]
    path = [SUPPORT, *filter(None, [os.environ.get("PYTHONPATH")])]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(path)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen([*command, str(rank)], env=env, **pipes) for rank in range(2)]
    for process in processes:
        files, text = process.communicate(timeout=limits.patient(30))  # two starts of torch
        names += files.split()
        if how == "raise":
            assert process.returncode == 1 and "KeyError" in text
        else:
            assert process.returncode == 0 and "Error" not in text, text
    assert left_behind(names) == before


def test_what_is_left_is_seen():
    """The negative control, beside a file of somebody else's."""
    before = left_behind()
    with tempfile.NamedTemporaryFile(dir=SHM) as theirs:
        assert left_behind() == before
        name = os.path.basename(theirs.name)
        assert name in shared_files() and name in left_behind(shared_files())
    with tempfile.NamedTemporaryFile(dir=SHM, prefix="pinnedpg-") as ours:
        assert os.path.basename(ours.name) in left_behind()
    assert left_behind() == before


def drop_groups():
    """Runs the destructors of all groups, as an exiting interpreter may."""
    world = dist.distributed_c10d._world
    for book in (world.pg_map, world.pg_names, world.pg_group_ranks, world.pg_backend_config):
        book.clear()
    world.pg_to_tag.clear()
    world.tags_to_pg.clear()
    world.default_pg = None
    gc.collect()


def forked(store, rank, world_size):
    me = dist.PrefixStore("parent", store)
    in_a_fork(lambda: torch.ones(3, device="cpu").sum())  # before init
    Setup(timeout_s=5.0).init(store=me, rank=rank, world_size=world_size)
    tensor = torch.ones(1000)
    dist.all_reduce(tensor, async_op=True).wait()  # there is a worker thread
    # A child with the parent's groups, which it drops: on exit, or by itself.
    codes = [in_a_fork(call) for call in (lambda: None, drop_groups)]
    codes.append(in_a_fork(dist.destroy_process_group))
    dist.all_reduce(tensor)
    dist.barrier()
    dist.destroy_process_group()
    return codes, tensor[0].item()


def test_fork_before_and_after_init():
    assert ranks.run(forked, 2, setup=BARE) == [([0, 0, 0], 4.0)] * 2


def fork_at_work(times):
    """Forks while the worker does calls of a group of one, and lets go of their tensors."""
    group, over = dist.new_group([dist.get_rank()], use_local_synchronization=True), []

    def work():
        while not over:
            calls = [dist.all_reduce(torch.ones(1), group=group, async_op=True) for _ in range(8)]
            for call in calls:
                call.wait()

    thread = threading.Thread(target=work)
    thread.start()
    codes = {in_a_fork(lambda: None) for _ in range(times)}
    over.append(True)
    thread.join()
    return codes


def test_fork_while_the_worker_is_busy():
    assert ranks.run(fork_at_work, 1, 60) == [{0}]


def forked_speaks():
    """A forked child may neither abort the group nor take its parent's place in it."""
    dist.barrier()
    if dist.get_rank() == 0 and os.fork() == 0:
        try:
            dist.distributed_c10d._get_default_group().abort()
            dist.all_reduce(torch.full((1,), 100.0, device="cpu"))
        except dist.DistBackendError as error:
            os._exit(0 if "forked" in str(error) else 1)
        os._exit(2)
    code = os.waitstatus_to_exitcode(os.wait()[1]) if dist.get_rank() == 0 else 0
    tensor = torch.ones(1)
    dist.all_reduce(tensor)
    return code, tensor.item()


def test_a_forked_child_does_not_speak_for_its_parent():
    assert ranks.run(forked_speaks, 2) == [(0, 2.0)] * 2
