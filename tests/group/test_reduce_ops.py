# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Reductions that the matrix cannot show: a factor of each rank's own, complex numbers as such."""

import pytest
import ranks
import torch
import torch.distributed as dist
from reductions import reduce_scatter_single

import pinnedpg.devices as lists

LAUNCHERS = ["processes", "threads"]
FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
COMPLEX = [torch.complex64, torch.complex128]
COUNT = 5
FACTORS = [0.5, -2.0, 4.0]
"""Of the ranks. Powers of two, and values so small that every type holds every sum exactly."""


def world_group():
    return dist.distributed_c10d._get_default_group()


def values(rank, dtype, count=COUNT):
    real = torch.arange(count, dtype=torch.float64) + 2 * rank
    return (torch.complex(real, 1 - real) if dtype in COMPLEX else real).to(dtype)


def reductions(op, dtype):
    """Does every call that reduces; returns {name: this rank's result}, None where it has none."""
    rank, world = dist.get_rank(), dist.get_world_size()
    one, whole = values(rank, dtype), values(rank, dtype, COUNT * world)
    found = {"all_reduce": one.clone(), "reduce": one.clone()}
    dist.all_reduce(found["all_reduce"], op)
    dist.reduce(found["reduce"], 1, op)
    found["reduce_scatter"] = torch.empty_like(one)
    dist.reduce_scatter(found["reduce_scatter"], list(whole.chunk(world)), op)
    found["reduce_scatter_single"] = torch.empty_like(one)
    reduce_scatter_single(found["reduce_scatter_single"], whole, op)
    options = dist.AllreduceCoalescedOptions()
    options.reduceOp = op
    pair = [one.clone(), one[:2].clone()]
    world_group().allreduce_coalesced(pair, options).wait()
    found["all_reduce_coalesced"] = torch.cat(pair)
    options = dist.ReduceScatterOptions()
    options.reduceOp = op
    found["reduce_scatter_coalesced"] = torch.empty_like(one)
    outputs = [found["reduce_scatter_coalesced"]]
    world_group().reduce_scatter_tensor_coalesced(outputs, [whole], options).wait()
    return {name: tensor.tolist() for name, tensor in found.items()}


def scaled(dtype, as_tensor):
    factor = FACTORS[dist.get_rank()]
    made = torch.tensor([factor], dtype=torch.bfloat16) if as_tensor else factor
    return reductions(dist._make_nccl_premul_sum(made), dtype)


@pytest.mark.parametrize("as_tensor", [False, True])
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_every_reducing_call_takes_each_ranks_own_factor(launcher, as_tensor):
    for dtype in [*FLOATS, *COMPLEX]:
        factors = torch.tensor(FACTORS, dtype=torch.float64).view(-1, 1)
        every = torch.stack([values(rank, torch.float64) for rank in range(3)])
        wide = torch.stack([values(rank, torch.float64, 3 * COUNT) for rank in range(3)])
        if dtype in COMPLEX:
            every, wide = torch.complex(every, 1 - every), torch.complex(wide, 1 - wide)
        total, parts = (every * factors).sum(0), (wide * factors).sum(0).chunk(3)
        for rank, found in enumerate(ranks.run(scaled, 3, dtype, as_tensor, launcher=launcher)):
            assert found["all_reduce"] == total.tolist(), dtype
            assert found["reduce"] == (total if rank == 1 else values(rank, dtype)).tolist()
            assert found["all_reduce_coalesced"] == [*total.tolist(), *total[:2].tolist()]
            for name in ("", "_single", "_coalesced"):
                assert found[f"reduce_scatter{name}"] == parts[rank].tolist(), (dtype, name)


def scaled_lists():
    """Both tensors of a rank get the rank's factor."""
    rank = dist.get_rank()
    op = dist._make_nccl_premul_sum(FACTORS[rank])
    mine = [torch.tensor([1.0 + 2 * rank + i]) for i in range(2)]
    tensors = [tensor.clone() for tensor in mine]
    lists.all_reduce(tensors, op)
    rooted = [tensor.clone() for tensor in mine]
    lists.reduce(rooted, 1, 0, op)
    outputs = [torch.empty(1), torch.empty(1)]
    lists.reduce_scatter(outputs, [[tensor.clone() for _ in range(4)] for tensor in mine], op)
    return [tensor.item() for tensor in [*tensors, *rooted, *outputs]]


def test_lists_take_each_ranks_own_factor():
    total = (1.0 + 2.0) * FACTORS[0] + (3.0 + 4.0) * FACTORS[1]
    first, second = ranks.run(scaled_lists, 2)
    assert first == [total, total, 1.0, 2.0, total, total]
    assert second == [total, total, total, 4.0, total, total]


def complex_as_such(dtype, name):
    """dist.reduce and reduce_scatter_tensor hand complex numbers on; all_reduce makes pairs."""
    rank, world = dist.get_rank(), dist.get_world_size()
    op = getattr(dist.ReduceOp, name)
    whole, rooted, part = values(rank, dtype, 2 * world), values(rank, dtype), torch.zeros(2)
    part = part.to(dtype)
    dist.reduce(rooted, 0, op)
    reduce_scatter_single(part, whole, op)
    listed = [values(2 * rank + i, dtype) for i in range(2)]
    lists.all_reduce(listed, op)
    return rooted.tolist(), part.tolist(), [tensor.tolist() for tensor in listed]


def by_definition(name, rows):
    rows = torch.stack(rows)
    wanted = rows.prod(0) if name == "PRODUCT" else rows.sum(0)
    return wanted / len(rows) if name == "AVG" else wanted


@pytest.mark.parametrize("dtype", COMPLEX)
@pytest.mark.parametrize("name", ["SUM", "AVG", "PRODUCT"])
def test_complex_numbers_reduce_as_such(name, dtype):
    whole = by_definition(name, [values(rank, dtype, 4) for rank in range(2)])
    one = by_definition(name, [values(rank, dtype) for rank in range(2)])
    four = by_definition(name, [values(member, dtype) for member in range(4)])
    for rank, (rooted, part, listed) in enumerate(ranks.run(complex_as_such, 2, dtype, name)):
        assert rooted == (one if rank == 0 else values(rank, dtype)).tolist()
        assert part == whole.chunk(2)[rank].tolist()
        assert listed == [four.tolist()] * 2


def refusals():
    op, tensor = dist.ReduceOp, torch.ones(2, dtype=torch.complex64)
    texts = []
    for name in ("MIN", "MAX", "BAND", "BOR", "BXOR"):
        for call in (
            lambda o: dist.reduce(tensor, 0, o),
            lambda o: reduce_scatter_single(tensor[:1], tensor, o),
            lambda o: lists.all_reduce([tensor], o),
        ):
            with pytest.raises(ValueError, match=f"{name} must be defined .*torch.complex64") as e:
                call(getattr(op, name))
            texts.append(str(e.value))
    factor = dist._make_nccl_premul_sum(torch.tensor(1j))
    with pytest.raises(ValueError, match="must be real; got one of torch.complex64"):
        dist.reduce(tensor, 0, factor)
    for name in ("PRODUCT", "MIN"):  # by torch, which would hand on real pairs
        with pytest.raises(ValueError, match="does not support .* on complex tensors"):
            dist.all_reduce(tensor, getattr(op, name))
    dist.all_reduce(tensor)
    return len(texts), tensor.tolist()


def test_what_complex_numbers_do_not_have_is_refused():
    assert ranks.run(refusals, 2) == [(15, [2 + 0j, 2 + 0j])] * 2


def test_types_have_their_names():
    """Also those of 16 letters, and those that are moved and not reduced."""
    assert ranks.run(named, 2) == [True] * 2


def named():
    raw = torch.full((4,), dist.get_rank(), dtype=torch.uint8)
    for name in ("float4_e2m1fn_x2", "float8_e8m0fnu"):
        if not hasattr(torch, name):  # a torch that does not have it
            continue
        tensor = raw.clone().view(getattr(torch, name))
        with pytest.raises(ValueError, match=f"defined for the type; got torch.{name}$"):
            dist.all_reduce(tensor)
        dist.broadcast(tensor, 1)
        assert tensor.view(torch.uint8).eq(1).all()
    with pytest.raises(ValueError, match="type of the others, torch.float32; got torch.uint8$"):
        lists.broadcast([torch.empty(4), raw])
    return True
