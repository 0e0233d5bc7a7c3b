# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""What backends from outside of torch stumble over, a test for each.

Those with a home elsewhere: split is asked once for each type of device (test_groups), FSDP2's AVG
and PREMUL_SUM (test_client_fsdp), large messages both ways (test_messages), DETAIL
(test_client_debug_detail), a build for another torch (test_build), mismatches (test_failures).
"""

import contextlib
from unittest import mock

import pytest
import ranks
import torch
import torch.distributed as dist
from cases import all_gather_single
from default_device import ON_GPU
from reductions import reduce_scatter_single
from torch.distributed.device_mesh import init_device_mesh
from torch_release import RELEASE
from worker import Setup

import pinnedpg

BARE = Setup(backend=None)
LAUNCHERS = ["processes", "threads"]
GPU = torch.device("cuda", 0)


@contextlib.contextmanager
def as_if_there_were_a_gpu():
    """Feigns what torch asks before it binds a group to a device, and splits. No tensor is CUDA."""
    with (
        mock.patch("torch.accelerator.is_available", lambda: True),
        mock.patch("torch.accelerator.device_count", lambda: 8),
        mock.patch("torch.accelerator.current_accelerator", lambda *_: torch.device("cuda")),
    ):
        yield


def sum_of_ranks(group=None):
    tensor = torch.tensor([float(dist.get_rank())])
    dist.all_reduce(tensor, group=group)
    return tensor.item()


def bound(store, rank, world_size, fn):
    """Calls a function in a group that init_process_group(device_id=...) has bound to a device."""
    with as_if_there_were_a_gpu():
        dist.init_process_group(
            "pinned", store=store, rank=rank, world_size=world_size, device_id=GPU
        )
        try:
            return fn()
        finally:
            dist.destroy_process_group()


def split_at_once():
    """Pitfalls 1 to 3: connected eagerly, split by torch itself, and new_group on all ranks."""
    rank, group = dist.get_rank(), dist.distributed_c10d._get_default_group()
    assert group.bound_device_id == GPU and group._get_backend(GPU).supports_splitting
    child = dist.split_group(split_ranks=[[0, 2]])  # before any call
    found = [child if child is None else sum_of_ranks(child)]
    calls = []
    with mock.patch.object(
        pinnedpg.ProcessGroupPinned,
        "perform_nocolor_split",
        lambda self, device: calls.append(device),
    ):
        other = dist.new_group([0, 1])
    assert calls == ([GPU] if rank == 2 else [])
    found.append(sum_of_ranks(other) if rank != 2 else None)
    again = dist.split_group(split_ranks=[[0, 1], [2]])
    return [*found, sum_of_ranks(again), sum_of_ranks()]


def test_a_group_bound_to_a_device_splits():
    results = ranks.run(bound, 3, split_at_once, setup=BARE)
    left_out = None if RELEASE < (2, 15) else 1  # has a group of its own since torch 2.15
    assert results == [[2, 1, 1, 3], [left_out, 1, 1, 3], [2, None, 2, 3]]


def mesh_by_splits():
    split_group = dist.distributed_c10d.split_group
    with mock.patch.object(dist.device_mesh, "split_group", wraps=split_group) as split:
        mesh = init_device_mesh("cpu", (2, 2))
    return split.call_count, [sum_of_ranks(mesh.get_group(i)) for i in range(2)]


def test_a_mesh_splits_a_group_bound_to_a_device():
    grid = torch.arange(4.0).view(2, 2)
    # torch 2.11 asks torch.cuda, which is not feigned, and makes new groups where there is none.
    for rank, (splits, sums) in enumerate(ranks.run(bound, 4, mesh_by_splits, setup=BARE)):
        assert splits == (2 if RELEASE > (2, 11) or torch.cuda.is_available() else 0)
        assert sums == [grid[:, rank % 2].sum(), grid[rank // 2].sum()]


def slices_in_place():
    """Pitfall 4: FSDP2's all-gather reads a slice of its output, its reduce-scatter the reverse."""
    rank, world = dist.get_rank(), dist.get_world_size()
    whole = torch.full((world, 1000), -1.0)
    whole[rank] = rank
    all_gather_single(whole.view(-1), whole[rank])
    gathered = torch.equal(whole, torch.arange(float(world)).view(-1, 1).expand(-1, 1000))
    reduce_scatter_single(whole[rank], whole.view(-1), dist.ReduceOp.AVG)
    return gathered, whole[rank].eq(rank).all().item()


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_in_place_slices(launcher):
    assert ranks.run(slices_in_place, 3, launcher=launcher) == [(True, True)] * 3


def a_hundred_sends():
    """Pitfall 5: no send may wait in its call, also in a batch, which torch might issue singly."""
    rank = dist.get_rank()
    sends = [dist.isend(torch.full((5000,), float(i)), 1 - rank) for i in range(100)]
    batch = dist.batch_isend_irecv(
        [dist.P2POp(dist.isend, torch.ones(300_000), 1 - rank, tag=1) for _ in range(3)]
    )
    dist.barrier()  # nobody has posted a receive yet
    states = any(work.is_completed() for work in sends + batch)
    dist.barrier()
    got = [torch.empty(5000) for _ in range(100)]
    for tensor in got:
        dist.recv(tensor, 1 - rank)
    for _ in range(3):
        dist.recv(torch.empty(300_000), 1 - rank, tag=1)
    for work in sends + batch:
        work.wait()
    return states, [tensor[-1].item() for tensor in got] == list(range(100))


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_sends_before_any_receive(launcher):
    assert ranks.run(a_hundred_sends, 2, launcher=launcher) == [(False, True)] * 2


def strided():
    """Pitfall 6: gloo takes a view for flat memory, and so writes what lies between."""
    base = torch.zeros(8)
    base[::2] = 1
    dist.all_reduce(base[::2])
    image = torch.arange(24.0).view(1, 2, 3, 4).to(memory_format=torch.channels_last)
    dist.all_reduce(image)
    rows = torch.zeros(3, 4)
    dist.broadcast(rows[:, 1], 0)
    dist.reduce(rows.t()[2], 0)
    return base.tolist(), image.flatten().tolist(), rows.tolist()


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_views_keep_what_lies_between(launcher):
    for base, image, rows in ranks.run(strided, 2, launcher=launcher):
        assert base == [2, 0] * 4
        assert image == [2.0 * i for i in range(24)]
        assert rows == [[0] * 4] * 3


def reduced_at_the_root():
    """Only the root's tensor is written: no partial sums in the others, whatever the size."""
    rank, found = dist.get_rank(), []
    for count in (3, 100_000):
        tensor = torch.full((count,), float(rank))
        dist.reduce(tensor, 1)
        found.append(tensor.unique().tolist())
    return found


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_reduce_leaves_the_others_alone(launcher):
    assert ranks.run(reduced_at_the_root, 3, launcher=launcher) == [[[0]] * 2, [[3]] * 2, [[2]] * 2]


def shapes():
    """Only the number of elements matters to calls of one tensor: concatenated, stacked, flat."""
    rank, world = dist.get_rank(), dist.get_world_size()
    own = torch.full((2, 3), float(rank))
    for shape in ((2 * world, 3), (world, 2, 3), (world * 6,)):
        output = torch.empty(shape)
        all_gather_single(output, own)
        assert output.view(world, 6).eq(torch.arange(world).view(-1, 1)).all(), shape
        part = torch.empty(2, 3)
        reduce_scatter_single(part, output)
        assert part.eq(rank * world).all(), shape
    return True


def test_one_tensor_for_all_ranks_may_have_any_shape():
    assert ranks.run(shapes, 3) == [True] * 3


def shrunk(flags):
    """torch's own call; with SHRINK_ABORT what is under way on the old group ends."""
    group = dist.distributed_c10d._get_default_group()
    backend = group._get_backend(torch.device("cpu"))
    dist.barrier()
    if dist.get_rank() == 1:
        return None
    work = dist.all_reduce(torch.ones(2), async_op=True) if flags else None
    dist.shrink_group([1], shrink_flags=flags)
    if flags:
        with pytest.raises(dist.DistBackendError, match="aborted"):
            work.wait()
        with pytest.raises(dist.DistBackendError, match="aborted"):
            backend.barrier().wait()
    new = dist.distributed_c10d._get_default_group()._get_backend(torch.device("cpu"))
    return dist.get_rank(), dist.get_world_size(), new.options.global_ranks_in_group, sum_of_ranks()


@pytest.mark.cpu_only("torch gives the new group a backend for CPU tensors alone")
@pytest.mark.parametrize("flags", [0, 1])  # SHRINK_DEFAULT, SHRINK_ABORT
def test_torch_shrinks_the_default_group(flags):
    first, _, last = ranks.run(shrunk, 3, flags)
    assert first == (0, 2, [0, 2], 1.0) and last == (1, 2, [0, 2], 1.0)


def withheld():
    """torch asks for gloo by its name; the group has the call all the same."""
    with pytest.raises(ValueError, match="monitored_barrier is only implemented for GLOO backend"):
        dist.monitored_barrier()
    dist.distributed_c10d._get_default_group().monitored_barrier()
    return True


@pytest.mark.skipif(
    tuple(map(int, torch.__version__.split(".")[:2])) >= (2, 15), reason="torch asks no more"
)
def test_torch_withholds_its_monitored_barrier():
    assert ranks.run(withheld, 2) == [True, True]


def with_hooks():
    group = dist.distributed_c10d._get_default_group()
    with pytest.raises(RuntimeError, match="got pinned backend"):
        group._register_on_completion_hook(print)
    return group._has_hooks()


def test_there_are_no_completion_hooks():
    assert ranks.run(with_hooks, 1) == [False]


def on_a_gpu():
    return torch.ones(1).is_cuda


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_the_default_device_is_what_was_asked_for(launcher):
    assert ranks.run(on_a_gpu, 2, launcher=launcher) == [ON_GPU] * 2
