# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Small calls that are one kernel: where each rank has a GPU of its own."""

import pytest
import ranks
import torch
import torch.distributed as dist
from cuda_calls import FUSED_BYTES, captures
from worker import Setup

GPUS = torch.cuda.device_count() if torch.cuda.is_available() else 0
pytestmark = pytest.mark.skipif(GPUS < 2, reason="needs two GPUs")
WORLD = min(GPUS, 4)
LAUNCHERS = ["processes", "threads"]
WORD_BYTES = 64 << 10  # above, each chunk has a flag
REFUSED = "a call can be captured in a CUDA graph where each rank has a GPU of its own"
OPS = ["SUM", "AVG", "PRODUCT", "MIN", "MAX", "BAND", "BOR", "BXOR"]
FLOATS = ["float16", "bfloat16", "float32", "float64"]
INTEGERS = ["uint8", "int8", "int16", "int32", "int64"]
SIZES = [0, 1, 7, 1001, *(WORD_BYTES // 4 + more for more in (-1, 0, 1)), 100_003]
SIZES += [FUSED_BYTES // 4 + more for more in (-1, 0, 1)]


def is_fused(count=4):
    """Only a fused call can be captured."""
    found = captures(count)
    assert found == "captured" or REFUSED in found, found
    return found == "captured"


def given(rank, count, dtype=torch.float32):
    """Small integers: sums of a few are exact in every type."""
    generator = torch.Generator().manual_seed(1000 * rank + count)
    return torch.randint(1, 5, (count,), generator=generator).to(dtype)


def on_gpu(values, offset=0):
    """A copy whose memory begins `offset` elements beyond an aligned address."""
    room = torch.empty(values.numel() + offset, dtype=values.dtype, device="cuda")
    return room[offset:].copy_(values)


def moved(count, offset):
    """Every collective of that many elements, and whether it gave what it is defined to give."""
    rank, world = dist.get_rank(), dist.get_world_size()
    all_given = [given(peer, count) for peer in range(world)]
    shares = [given(peer, count * world).chunk(world) for peer in range(world)]
    whole = torch.cat(shares[rank])

    def room(n=count):
        return on_gpu(torch.full((n,), -1.0), offset)

    found = {}

    def check(name, got, wanted):
        found[name] = torch.equal(got.cpu(), wanted)

    for root in range(world):
        got = on_gpu(all_given[rank], offset)
        dist.broadcast(got, root)
        check(f"broadcast {root}", got, all_given[root])
        got = on_gpu(all_given[rank], offset)
        dist.reduce(got, root)
        check(f"reduce {root}", got, sum(all_given) if rank == root else all_given[rank])
        parts = [room() for _ in range(world)] if rank == root else None
        dist.gather(on_gpu(all_given[rank], offset), parts, root)
        if rank == root:
            check(f"gather {root}", torch.cat(parts), torch.cat(all_given))
        got, parts = room(), [on_gpu(part, offset) for part in shares[root]]
        dist.scatter(got, parts if rank == root else None, root)
        check(f"scatter {root}", got, shares[root][rank])
    got = room(count * world)
    dist.all_gather_into_tensor(got, on_gpu(all_given[rank], offset))
    check("all_gather", got, torch.cat(all_given))
    got = room()
    dist.reduce_scatter_tensor(got, on_gpu(whole, offset))
    check("reduce_scatter", got, sum(shares[peer][rank] for peer in range(world)))
    got = room(count * world)
    dist.all_to_all_single(got, on_gpu(whole, offset))
    check("all_to_all", got, torch.cat([shares[peer][rank] for peer in range(world)]))
    got = on_gpu(all_given[rank], offset)
    dist.all_reduce(got)
    check("all_reduce", got, sum(all_given))
    return [name for name, right in found.items() if not right]


def all_moved(sizes):
    assert is_fused()
    return [(count, offset, moved(count, offset)) for count in sizes for offset in (0, 1)]


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_values(launcher):
    wanted = [(count, offset, []) for count in SIZES for offset in (0, 1)]
    assert ranks.run(all_moved, WORLD, SIZES, launcher=launcher) == [wanted] * WORLD


def in_place(count):
    """The result where the rank's own part lies, and scatter's output as another rank's input."""
    rank, world = dist.get_rank(), dist.get_world_size()
    every = [given(peer, count) for peer in range(world)]
    whole = on_gpu(torch.zeros(count * world))
    own = whole[rank * count : (rank + 1) * count]
    own.copy_(every[rank])
    dist.all_gather_into_tensor(whole, own)
    gathered = torch.equal(whole.cpu(), torch.cat(every))
    shares = [given(peer, count * world) for peer in range(world)]
    whole = on_gpu(shares[rank])
    own = whole[rank * count : (rank + 1) * count]
    dist.reduce_scatter_tensor(own, whole)
    reduced = torch.equal(own.cpu(), sum(shares)[rank * count : (rank + 1) * count])
    right = True
    for _ in range(50):  # what is put to the last rank is overwritten
        parts = [on_gpu(every[peer]) for peer in range(world)]
        got = parts[-1] if rank == 0 else on_gpu(torch.zeros(count))
        dist.scatter(got, parts if rank == 0 else None, 0)
        right &= torch.equal(got.cpu(), every[rank])
    return gathered, reduced, right


@pytest.mark.parametrize("count", [1000, 30_000])
def test_tensors_that_overlap(count):
    assert ranks.run(in_place, WORLD, count) == [(True, True, True)] * WORLD


def strided():
    rank, world = dist.get_rank(), dist.get_world_size()
    columns = torch.full((8, 8), -1.0, device="cuda")[:, ::2]
    columns.fill_(rank + 1.0)
    dist.all_reduce(columns)
    return columns.unique().tolist() == [world * (world + 1) / 2]


def test_a_tensor_that_is_not_contiguous():
    assert all(ranks.run(strided, WORLD))


def same_bits(dtype_name):
    """The GPU's result beside the CPU's, in the same group."""
    assert is_fused()
    dtype, differ = getattr(torch, dtype_name), []
    torch.manual_seed(dist.get_rank())
    for op_name in OPS:
        if dtype.is_floating_point and op_name.startswith("B"):
            continue
        for count, offset in ((1, 0), (7, 1), (999, 0), (999, 1), (70_001, 0), (70_001, 1)):
            values = (torch.randn(count) * 4).to(dtype)
            got = on_gpu(values, offset)
            op = getattr(dist.ReduceOp, op_name)
            dist.all_reduce(values, op)
            dist.all_reduce(got, op)
            if not torch.equal(values.view(torch.uint8), got.cpu().view(torch.uint8)):
                differ.append((op_name, count, offset))
    return differ


@pytest.mark.parametrize("dtype", [*FLOATS, *INTEGERS])
def test_the_kernel_gives_the_cpus_bits(dtype):
    assert ranks.run(same_bits, WORLD, dtype) == [[]] * WORLD


def other_types():
    differ = []
    for name in ("bool", "complex64", "complex128", "float8_e4m3fn", "float8_e5m2"):
        for op in (dist.ReduceOp.SUM, dist.ReduceOp.PRODUCT):
            if name.startswith("complex") and op == dist.ReduceOp.PRODUCT:
                continue  # torch refuses it
            values = given(dist.get_rank(), 333).to(getattr(torch, name))
            got = values.cuda()
            dist.all_reduce(values, op)
            dist.all_reduce(got, op)
            if not torch.equal(values.view(torch.uint8), got.cpu().view(torch.uint8)):
                differ.append((name, str(op)))
    return differ


def test_other_types():
    assert ranks.run(other_types, WORLD) == [[]] * WORLD


def shared():
    torch.cuda.set_device(0)
    right = moved(100, 0) == []
    return is_fused(), right


def test_ranks_that_share_a_gpu_do_not_fuse():
    assert ranks.run(shared, 2) == [(False, True)] * 2


def turned_off():
    return is_fused()


def test_the_first_ranks_option_turns_it_off():
    off = Setup(options={"fused_bytes": 0})
    assert ranks.run(turned_off, WORLD, setup=off) == [False] * WORLD


def on_another_gpu():
    rank = dist.get_rank()
    dist.all_reduce(torch.ones(1, device="cuda"))
    other = f"cuda:{(rank + 1) % torch.cuda.device_count()}"
    with pytest.raises(ValueError, match="must be on the GPU of the group's first call"):
        dist.all_reduce(torch.ones(1, device=other))
    again = torch.ones(5, device="cuda")
    dist.all_reduce(again)
    return again.sum().item()


def test_another_gpu_is_refused():
    assert ranks.run(on_another_gpu, 2) == [10.0] * 2
