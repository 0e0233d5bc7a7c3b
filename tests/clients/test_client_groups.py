# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Groups within the group: DeviceMesh, split_group, subgroups whose members differ."""

import inspect
import itertools
from datetime import timedelta

import pytest
import ranks
import torch
import torch.distributed as dist
from clients import WORLDS
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch_release import before, needs

import pinnedpg


def total(group=None):
    """Returns the sum of the global ranks of a group, as its members reckon it."""
    tensor = torch.tensor([float(dist.get_rank())])
    dist.all_reduce(tensor, group=group)
    return tensor.item()


def one_dimension():
    world = dist.get_world_size()
    mesh = init_device_mesh("cpu", (world,), mesh_dim_names=("all",))
    assert mesh.mesh.tolist() == list(range(world))
    assert dist.get_backend(mesh.get_group()) == "pinned"
    assert mesh.get_local_rank() == dist.get_rank()
    return total(mesh.get_group("all"))


@pytest.mark.parametrize("world", WORLDS)
def test_mesh_of_one_dimension(world):
    assert ranks.run(one_dimension, world) == [sum(range(world))] * world


def two_dimensions():
    columns = dist.get_world_size() // 2
    mesh = init_device_mesh("cpu", (2, columns), mesh_dim_names=("row", "column"))
    flat = mesh["row", "column"]._flatten("flat")
    groups = mesh.get_all_groups()
    assert all(dist.get_backend(group) == "pinned" for group in groups)
    assert mesh["row"].get_group() is groups[0]
    return total(groups[0]), total(groups[1]), total(flat.get_group())


@pytest.mark.parametrize("world", WORLDS)
def test_mesh_of_two_dimensions(world):
    grid = torch.arange(world).view(2, -1)
    wanted = [
        (grid[:, column].sum(), grid[row].sum(), grid.sum())
        for row, column in itertools.product(range(2), range(world // 2))
    ]
    assert ranks.run(two_dimensions, world) == wanted


def made_from_groups():
    world, rank = dist.get_world_size(), dist.get_rank()
    halves = [list(range(world // 2)), list(range(world // 2, world))]
    group, _ = dist.new_subgroups_by_enumeration(halves)
    own = halves[rank >= world // 2]
    mesh = DeviceMesh.from_group(group, "cpu", torch.tensor(own))
    return total(mesh.get_group()) == sum(own)


@pytest.mark.parametrize("world", WORLDS)
def test_mesh_from_a_group(world):
    assert ranks.run(made_from_groups, world) == [True] * world


def subgroups():
    """Every non-empty subset of the ranks, all with work under way at the same time."""
    rank, world = dist.get_rank(), dist.get_world_size()
    subsets = [
        list(members)
        for size in range(1, world + 1)
        for members in itertools.combinations(range(world), size)
    ]
    groups = [(members, dist.new_group(members)) for members in subsets]
    pending = []
    for members, group in groups:
        if rank not in members:
            assert group == dist.GroupMember.NON_GROUP_MEMBER
            continue
        assert dist.get_process_group_ranks(group) == members
        tensor = torch.full((5000,), float(rank))
        pending.append((tensor, members, dist.all_reduce(tensor, group=group, async_op=True)))
    for tensor, members, work in reversed(pending):
        work.wait()
        assert (tensor == sum(members)).all()
    for members, group in groups:
        if rank in members and len(members) < world:
            dist.destroy_process_group(group)
    return total(), len(pending)


@pytest.mark.parametrize("world", WORLDS)
def test_all_subgroups(world):
    assert ranks.run(subgroups, world) == [(sum(range(world)), 2 ** (world - 1))] * world


def members_alone():
    """With use_local_synchronization only the members make the group, in any order if torch can."""
    rank, world = dist.get_rank(), dist.get_world_size()
    members, order = [m for m in range(world) if m % 2 == rank % 2], {}
    if "sort_ranks" in inspect.signature(dist.new_group).parameters:
        members, order = members[::-1], {"sort_ranks": False}
    group = dist.new_group(members, use_local_synchronization=True, **order)
    gathered = [torch.zeros(1) for _ in members]
    dist.all_gather(gathered, torch.tensor([float(rank)]), group=group)
    return [int(one) for one in gathered] == members


@pytest.mark.parametrize("world", WORLDS)
def test_groups_that_only_members_make(world):
    assert ranks.run(members_alone, world) == [True] * world


NO_DEVICE = "No device associated with the default pg, not safe to split any process groups"

NO_ACCELERATOR = "No backend for the parent process group or its backend does not support splitting"


def refused():
    with pytest.raises(RuntimeError, match=NO_DEVICE):
        dist.split_group(split_ranks=[[0, 1]])
    dist.distributed_c10d._get_default_group().bound_device_id = torch.device("cpu", 0)
    with pytest.raises(RuntimeError, match=NO_ACCELERATOR):
        dist.split_group(split_ranks=[[0, 1]])


@needs(2, 13)  # 2.11 splits wherever the group has a device
@before(2, 15)
@pytest.mark.skipif(torch.cuda.is_available(), reason="torch splits where there is a GPU")
def test_torch_refuses_to_split_without_an_accelerator():
    ranks.run(refused, 2)


def split_by_torch():
    half = dist.get_world_size() // 2
    halves = [list(range(half)), list(range(half, 2 * half))]
    child = dist.split_group(split_ranks=halves)
    return total(child) == sum(next(own for own in halves if dist.get_rank() in own)) and total()


@needs(2, 15)
@pytest.mark.parametrize("world", WORLDS)
def test_torch_splits_without_an_accelerator(world):
    assert ranks.run(split_by_torch, world) == [sum(range(world))] * world


def split_below_torch():
    """What dist.split_group calls once it has found an accelerator."""
    rank, world = dist.get_rank(), dist.get_world_size()
    parent = dist.distributed_c10d._get_default_group()
    half = world // 2
    own = list(range(half)) if rank < half else list(range(half, world))
    child = parent.split_group(own, timeout=timedelta(seconds=7), group_name=f"of {own}")
    assert child.size() == half and child.rank() == own.index(rank)
    tensor = torch.tensor([float(rank)])
    child.allreduce([tensor]).wait()
    assert tensor.item() == sum(own)
    child.shutdown()
    return total()


@pytest.mark.parametrize("world", WORLDS)
def test_the_group_itself_splits(world):
    assert ranks.run(split_below_torch, world) == [sum(range(world))] * world


def with_options():
    options = pinnedpg.Options(slot_bytes=8192, depth=4, timeout=timedelta(seconds=9))
    group = dist.new_group(pg_options=options)
    mesh = init_device_mesh("cpu", (dist.get_world_size(),), backend_override={0: options})
    its = [g._get_backend(torch.device("cpu")).options for g in (group, mesh.get_group())]
    assert total(group) == total(mesh.get_group())
    return [(one.slot_bytes, one.depth, one._timeout.seconds) for one in its]


@pytest.mark.parametrize("world", WORLDS)
def test_groups_take_options(world):
    assert ranks.run(with_options, world) == [[(8192, 4, 9)] * 2] * world
