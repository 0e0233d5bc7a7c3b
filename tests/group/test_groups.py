# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Groups made of groups, calls that come together, and the choice of the backend."""

import datetime
import subprocess
import sys
import time

import pytest
import ranks
import torch
import torch.distributed as dist
from default_device import wait_on_host
from worker import Setup

import pinnedpg

CPU = torch.device("cpu")
LAUNCHERS = ["processes", "threads"]


def backend():
    return dist.distributed_c10d._get_default_group()._get_backend(CPU)


def total(group, tensor):
    group.allreduce([tensor], dist.AllreduceOptions()).wait()
    return tensor.tolist()


def split_off():
    """torch asks once for each of the two types of device: one child serves both."""
    group, rank = dist.distributed_c10d._get_default_group(), dist.get_rank()
    backend().perform_nocolor_split(CPU)
    child = group.split_group([2, 0], group_name="child")
    if rank == 1:
        return child is None
    assert child._get_backend(CPU) is child._get_backend(torch.device("cuda"))
    assert child.size() == 2 and total(child, torch.ones(1)) == [2.0]
    return total(child, torch.full((3,), float(rank))) == [2.0] * 3


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_split_makes_one_child(launcher):
    assert all(ranks.run(split_off, 3, launcher=launcher))


def merged():
    store = dist.PrefixStore("merged/", dist.distributed_c10d._get_default_store())
    size, group = dist.get_world_size(), dist.distributed_c10d._get_default_group()
    whole = group.merge_remote_group(store, size, group_name="whole")
    return whole.size() == size and total(whole, torch.ones(2)) == [size] * 2


def test_merge():
    assert all(ranks.run(merged, 3))


def shrunk():
    dist.barrier()
    if dist.get_rank() == 1:
        return True  # and leaves: the others go on without it
    group = backend().shrink([1])
    return total(group, torch.ones(2)) == [2.0] * 2 and total(group, torch.ones(1)) == [2.0]


def test_shrink_leaves_out_a_rank():
    assert all(ranks.run(shrunk, 3))


def watched(wait_all):
    group = dist.distributed_c10d._get_default_group()
    group.monitored_barrier(datetime.timedelta(seconds=5))
    if dist.get_rank() in (1, 2):
        time.sleep(1.5)
        return "", True
    text = ""
    try:
        group.monitored_barrier(datetime.timedelta(seconds=0.5), wait_all_ranks=wait_all)
    except dist.DistBackendError as error:
        text = str(error)
    return text, True


@pytest.mark.parametrize(("wait_all", "named"), [(False, "rank 1,"), (True, "rank 1, rank 2,")])
def test_monitored_barrier_names_who_is_missing(wait_all, named):
    texts = [text for text, _ in ranks.run(watched, 4, wait_all)]
    assert f"for {named} which did not come" in texts[0] and texts[3] == texts[0], texts


def coalesced():
    group, size = dist.distributed_c10d._get_default_group(), dist.get_world_size()
    tensors = [torch.ones(3), torch.ones(2, 5), torch.ones(0)]
    work = group.allreduce_coalesced(tensors, dist.AllreduceCoalescedOptions())
    values = work.get_future().wait()
    assert all(value.eq(size).all() for value in values) and len(values) == 3
    outputs = [torch.empty(size * 2), torch.empty(size, 4)]
    group.allgather_into_tensor_coalesced(outputs, [torch.ones(2), torch.ones(4)]).wait()
    assert all(output.eq(1).all() for output in outputs)
    parts = [torch.empty(1), torch.empty(2)]
    inputs = [torch.ones(size), torch.ones(2 * size)]
    group.reduce_scatter_tensor_coalesced(parts, inputs).wait()
    return all(part.eq(size).all() for part in parts)


def coalesced_types():
    """Each call of a coalesced one has a type of its own, as with gloo."""
    own, rank = dist.distributed_c10d._get_default_group(), dist.get_rank()
    world = dist.get_world_size()
    mine = [torch.full((2,), rank, dtype=dtype) for dtype in (torch.float32, torch.int64)]
    wanted = torch.arange(world).repeat_interleave(2)
    gathered = [torch.empty(2 * world, dtype=tensor.dtype) for tensor in mine]
    own.allgather_into_tensor_coalesced(gathered, mine).wait()
    lists = [[torch.empty_like(tensor) for tensor in mine] for _ in range(world)]
    own.allgather_coalesced(lists, mine).wait()
    parts = [torch.empty(2, dtype=tensor.dtype) for tensor in mine]
    own.reduce_scatter_tensor_coalesced(parts, gathered).wait()
    found = [torch.equal(whole, wanted.to(whole.dtype)) for whole in gathered]
    found += [bool(lists[r][i].eq(r).all()) for r in range(world) for i in range(2)]
    return found + [bool(part.eq(rank * world).all()) for part in parts]


def test_coalesced_calls_of_several_types():
    assert all(all(found) for found in ranks.run(coalesced_types, 3))


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_coalesced_calls(launcher):
    assert all(ranks.run(coalesced, 3, launcher=launcher))


def half_wrong():
    """One of the tensors cannot take part: none is touched, and the group goes on."""
    group = dist.distributed_c10d._get_default_group()
    good = torch.ones(3)
    with pytest.raises(ValueError, match="type of the others"):
        group.allreduce_coalesced(
            [good, torch.ones(3, dtype=torch.int32)], dist.AllreduceCoalescedOptions()
        )
    with pytest.raises(ValueError, match="must have"):
        outputs = [torch.empty(2 * dist.get_world_size()), torch.empty(3)]
        group.allgather_into_tensor_coalesced(outputs, [torch.ones(2), torch.ones(2)])
    untouched = good.eq(1).all().item()
    dist.all_reduce(good)
    return untouched and good.eq(dist.get_world_size()).all().item()


def test_all_is_checked_before_any_is_queued():
    assert all(ranks.run(half_wrong, 2))


def in_a_batch():
    size = dist.get_world_size()
    first, second, third = torch.ones(4), torch.ones(4), torch.empty(2 * size)
    own = backend()
    own._start_coalescing()
    dist.all_reduce(first)
    dist.all_reduce(second, op=dist.ReduceOp.MAX)
    dist.all_gather_into_tensor(third, torch.ones(2))
    own._end_coalescing().wait()
    return bool(first.eq(size).all() and second.eq(1).all() and third.eq(1).all())


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_batch_is_one_work(launcher):
    assert all(ranks.run(in_a_batch, 2, launcher=launcher))


def timed():
    work = dist.all_reduce(torch.ones(3), async_op=True)
    wait_on_host(work)
    return work._get_duration()


def test_a_work_knows_how_long_it_took():
    assert all(0 < milliseconds < 10_000 for milliseconds in ranks.run(timed, 2))


def interrupted_receive():
    """A wait that is ended leaves the receive running, and the worker sees to it."""
    peer, tensor = 1 - dist.get_rank(), torch.zeros(200_000)
    if dist.get_rank() == 1:
        time.sleep(0.5)
        dist.send(torch.ones(200_000), peer)
        return True
    work = dist.irecv(tensor, peer)
    with pytest.raises(dist.DistBackendError, match="not done after"):
        work.wait(datetime.timedelta(seconds=0.1))
    deadline = time.monotonic() + 5
    while not work.is_completed() and time.monotonic() < deadline:
        time.sleep(0.01)
    return work.is_completed() and tensor.eq(1).all().item()


def test_a_receive_outlives_a_wait_for_it():
    assert all(ranks.run(interrupted_receive, 2))


DEFAULT = """
import torch, torch.distributed as dist, pinnedpg
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")  # what torch asks for alone
pinnedpg.set_default([device.type])
dist.init_process_group(store=dist.HashStore(), rank=0, world_size=1)
group = dist.distributed_c10d._get_default_group()
print(group._get_backend(device).name())
"""


def test_set_default():
    done = subprocess.run([sys.executable, "-c", DEFAULT], capture_output=True, text=True)
    assert done.stdout.split() == ["pinned"], done.stderr
    with pytest.raises(ValueError, match="xpu"):
        pinnedpg.set_default(["xpu"])


def mixed(config):
    tensor = torch.ones(2)
    dist.all_reduce(tensor)
    return tensor.tolist()


ALONE = pytest.mark.cpu_only("the group has no backend for CUDA tensors")


@pytest.mark.parametrize(
    "config",
    ["cpu:pinned,cuda:gloo", "cpu:gloo,cuda:pinned", pytest.param("cpu:pinned", marks=ALONE)],
)
def test_backends_by_device(config):
    assert ranks.run(mixed, 2, config, setup=Setup(backend=config)) == [[2.0, 2.0]] * 2


def split_again():
    """A name that comes again: of one that is gone, and of other ranks."""
    rank, group = dist.get_rank(), dist.distributed_c10d._get_default_group()
    first = group.split_group([0, 1], group_name="child")
    if first is not None:
        first._get_backend(CPU).shutdown()  # and the object lives on
    found = []
    for ranks_of_child in ([0, 1], [0, 1, 2]):
        child = group.split_group(ranks_of_child, group_name="child")
        if child is not None:
            tensor = torch.ones(1)
            child.allreduce([tensor]).wait()
            found.append(tensor.item())
    assert found == ([2.0, 3.0] if rank < 2 else [3.0])
    for wrong in ([rank, 1000], [rank, -1]):
        with pytest.raises(ValueError, match="split: the ranks must be of the group, 0 to 2; got"):
            group.split_group(wrong, group_name="wrong")
    dist.barrier()


@pytest.mark.parametrize("launcher", ["processes", "threads"])
def test_split_again(launcher):
    ranks.run(split_again, 3, launcher=launcher)


def unlike_groups(late):
    """Rank 2 takes the first subgroup to be the second: its segment is not one of three ranks."""
    # Rank 2 waits for the others' first call, or comes after it; they wait for it in vain.
    limit = datetime.timedelta(seconds=4 if dist.get_rank() < 2 else 25)
    orders = [[0, 1], [0, 1, 2]] if dist.get_rank() < 2 else [[0, 1, 2], [0, 1]]
    groups = {tuple(members): dist.new_group(members, timeout=limit) for members in orders}
    tensor, store = torch.ones(4), dist.distributed_c10d._get_default_store()
    try:
        if dist.get_rank() == 2 and late:
            store.wait(["rank 0"])
        elif dist.get_rank() == 2:
            store.set("rank 2", "is about to call")
        else:
            if not late:
                store.wait(["rank 2"])
                time.sleep(0.5)
            dist.all_reduce(tensor, group=groups[0, 1])
            assert tensor.eq(2).all()
            if dist.get_rank() == 0:
                store.set("rank 0", "has called")
        dist.all_reduce(tensor, group=groups[0, 1, 2])
    except dist.DistBackendError as error:
        return str(error)
    return "no error"


@pytest.mark.parametrize("late", [False, True])
def test_groups_in_another_order_raise(late):
    first, second, third = ranks.run(unlike_groups, 3, late)
    assert "rank 2 takes its group to have 3 ranks, rank 0 takes it to have 2" in third, third
    assert "for rank 2" in first and "for rank" in second, (first, second)
