# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""What the matrix cannot show: order of sums, outstanding work, roots, groups, objects, giants."""

import time

import matrix
import pytest
import ranks
import slices
import torch
import torch.distributed as dist
from default_device import randn
from reductions import by_name
from worker import Setup

LAUNCHERS = ["processes", "threads"]
SMALL = Setup(options={"slot_bytes": 4096, "depth": 4, "one_shot_bytes": 8192})
# Half a unit in the last place, relative: one rounding at the end.
ROUNDING = {torch.float16: 2.0**-11, torch.bfloat16: 2.0**-8, torch.float32: 0.0}


def numbers(rank, count, dtype):
    return randn(torch.Generator().manual_seed(rank), count).to(dtype)


def sums(count, dtype):
    mine = numbers(dist.get_rank(), count, dtype)
    dist.all_reduce(mine)
    return mine.view(torch.uint8).cpu().numpy()


@pytest.mark.parametrize("count", [1000, 100_003])  # in one exchange; in two
@pytest.mark.parametrize("dtype", ROUNDING)
@pytest.mark.parametrize("world", [2, 3, 5])
def test_sums_are_exact_but_for_one_rounding(world, dtype, count):
    results = ranks.run(sums, world, count, dtype, setup=SMALL)
    inputs = torch.stack([numbers(rank, count, dtype) for rank in range(world)])
    exact, size = inputs.double().sum(0), inputs.double().abs().sum(0)
    error = (torch.from_numpy(results[0]).view(dtype).double() - exact).abs()
    assert (error <= ROUNDING[dtype] * exact.abs() + world * 2.0**-24 * size).all()
    in_rank_order = by_name(inputs.float(), "SUM").to(dtype).view(torch.uint8).numpy()
    assert all((result == in_rank_order).all() for result in results)  # so all are bit-equal


def with_factors():
    rank, world = dist.get_rank(), dist.get_world_size()
    tensors = [torch.full((5,), 3.0), torch.full((5,), 3.0)]
    dist.all_reduce(tensors[0], dist._make_nccl_premul_sum(rank + 0.5))
    dist.all_reduce(tensors[1], dist._make_nccl_premul_sum(torch.tensor(rank + 0.5)))
    wanted = 3.0 * sum(rank + 0.5 for rank in range(world))
    return [tensor.tolist() == [wanted] * 5 for tensor in tensors]


def test_every_rank_has_its_own_premul_factor():
    assert ranks.run(with_factors, 3) == [[True, True]] * 3


def outstanding(count):
    rank, world = dist.get_rank(), dist.get_world_size()
    tensors = [torch.full((7 * i,), float(rank + i)) for i in range(count)]
    works = [dist.all_reduce(tensor, async_op=True) for tensor in tensors]
    late, base = torch.full((9,), float(rank)), sum(range(world))
    dist.all_reduce(late)  # a synchronous one behind them
    late_is_right = late[0].item() == base  # so it is over
    done_before = all(work.is_completed() for work in works)
    for work in reversed(works):
        work.wait()
        work.wait()
    futures = [work.get_future().value() for work in works[:3]]
    same = all(future[0] is not None for future in futures)
    right = [bool((tensor == base + world * i).all()) for i, tensor in enumerate(tensors)]
    return done_before, same, all(right), late_is_right


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_many_outstanding(launcher):
    assert ranks.run(outstanding, 3, 200, launcher=launcher) == [(True, True, True, True)] * 3


def dropped(count):
    tensors = [torch.ones(1000) for _ in range(count)]
    for tensor in tensors:
        dist.all_reduce(tensor, async_op=True)
    progress = dist.all_reduce(torch.ones(3), async_op=True)
    deadline = time.monotonic() + 10
    while not progress.is_completed() and time.monotonic() < deadline:  # without a wait
        time.sleep(0.001)
    return progress.is_completed(), all(tensor[-1] == 2 for tensor in tensors)


def test_work_runs_unwaited():
    assert ranks.run(dropped, 2, 50) == [(True, True)] * 2


def through_future():
    tensor = torch.ones(4)
    future = dist.all_reduce(tensor, async_op=True).get_future()
    doubled = future.then(lambda done: done.value()[0] * 2)
    return doubled.wait().tolist()


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_futures(launcher):
    assert ranks.run(through_future, 2, launcher=launcher) == [[4.0] * 4] * 2


def held():
    if dist.get_rank() == 1:
        time.sleep(0.3)
    came = time.monotonic()
    dist.barrier()
    return came, time.monotonic()


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_barrier_holds(launcher):
    times = ranks.run(held, 3, launcher=launcher)
    assert max(came for came, _ in times) <= min(left for _, left in times)


def all_roots(members):
    group = dist.new_group(members)
    rank = dist.get_rank()
    if rank not in members:
        return True
    right = []
    for root in members:  # global ranks
        tensor = torch.full((3,), float(rank))
        dist.broadcast(tensor, root, group=group)
        right.append(tensor[0].item() == root)
        tensor = torch.full((3,), float(rank))
        dist.reduce(tensor, root, group=group)
        right.append(rank != root or tensor[0].item() == sum(members))
        outputs = [torch.zeros(2) for _ in members] if rank == root else None
        dist.gather(torch.full((2,), float(rank)), outputs, root, group=group)
        right.append(rank != root or [output[0].item() for output in outputs] == members)
        inputs = [torch.full((2,), 10.0 * root + m) for m in members] if rank == root else None
        tensor = torch.zeros(2)
        dist.scatter(tensor, inputs, root, group=group)
        right.append(tensor[0].item() == 10.0 * root + rank)
    return all(right)


@pytest.mark.parametrize("members", [[0, 1, 2, 3], [1, 3], [0, 2, 3], [2]])
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_roots_are_global_ranks(launcher, members):
    assert ranks.run(all_roots, 4, members, launcher=launcher) == [True] * 4


MEMBERSHIPS = [[0, 1], [1, 2, 3], [0, 3], [2], [3, 0, 1, 2]]


def overlapping(times):
    rank = dist.get_rank()
    mine = [(m, dist.new_group(m)) for m in MEMBERSHIPS]
    pending = []
    for i in range(times):
        for members, group in mine:
            if rank in members:
                tensor = torch.full((1 + 500 * i,), float(rank + i))
                pending.append(
                    (members, i, tensor, dist.all_reduce(tensor, group=group, async_op=True))
                )
    world = torch.ones(3)
    dist.all_reduce(world)
    right = [world[0].item() == 4]
    for members, i, tensor, work in pending:
        work.wait()
        right.append(bool((tensor == sum(members) + i * len(members)).all()))
    return all(right), len(pending)


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_groups_with_differing_members(launcher):
    results = ranks.run(overlapping, 4, 20, launcher=launcher)
    counts = [20 * sum(rank in members for members in MEMBERSHIPS) for rank in range(4)]
    assert results == [(True, count) for count in counts]


def objects():
    rank, world = dist.get_rank(), dist.get_world_size()
    mine = {"rank": rank, "text": "x" * 1000 * rank}
    gathered = [None] * world
    dist.all_gather_object(gathered, mine)
    sent = [mine, "more"] if rank == 1 else [None, None]
    dist.broadcast_object_list(sent, 1)
    collected = [None] * world if rank == 2 else None
    dist.gather_object(rank * 11, collected, 2)
    scattered = [None]
    dist.scatter_object_list(
        scattered, [f"for {r}" for r in range(world)] if rank == 0 else None, 0
    )
    return [one["rank"] for one in gathered], sent[0]["rank"], collected, scattered[0]


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_objects(launcher):
    results = ranks.run(objects, 3, launcher=launcher)
    assert results == [
        ([0, 1, 2], 1, [0, 11, 22] if rank == 2 else None, f"for {rank}") for rank in range(3)
    ]


def odd_layouts():
    rank, world = dist.get_rank(), dist.get_world_size()
    mixed = torch.full((6, 4), float(rank)).t() if rank else torch.full((4, 6), float(rank))
    dist.all_reduce(mixed)
    spread = [torch.zeros(8) for _ in range(world)]
    dist.all_gather(spread, torch.full((1,), float(rank)).expand(8))
    image = torch.full((2, 3, 4, 5), float(rank)).to(memory_format=torch.channels_last)
    dist.broadcast(image, 1)
    turned = [torch.zeros(3, dtype=torch.complex64) for _ in range(world)] if rank == 0 else []
    dist.gather(torch.full((3,), 1j).conj(), turned or None)
    return (
        bool((mixed == sum(range(world))).all()),
        [one.tolist() == [float(peer)] * 8 for peer, one in enumerate(spread)],
        bool((image == 1).all()),
        all(one.tolist() == [-1j] * 3 for one in turned),
    )


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_ranks_may_differ_in_layout(launcher):
    assert ranks.run(odd_layouts, 2, launcher=launcher) == [(True, [True, True], True, True)] * 2


def strided_twice(layout):
    """The second call takes what the first has left, whatever the layout."""
    tensor = torch.ones(8)[::2] if layout == "strided" else torch.ones(4)
    works = [dist.all_reduce(tensor, async_op=True) for _ in range(3)]
    for work in works:
        work.wait()
    return tensor.tolist()


@pytest.mark.parametrize("layout", ["flat", "strided"])
def test_calls_see_what_the_calls_before_them_left(layout):
    assert ranks.run(strided_twice, 2, layout) == [[8.0] * 4] * 2


def giant(count, dtype):
    rank = dist.get_rank()
    tensor = torch.full((count,), rank + 1, dtype=dtype)
    tensor[-3:] += 1
    began = time.monotonic()
    dist.all_reduce(tensor)
    seconds = time.monotonic() - began
    dist.broadcast(tensor, 1)
    ends = tensor[[0, count // 2, -4, -3, -1]].tolist()
    return ends, bool((tensor[:-3] == 3).all()), seconds


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("count", "dtype"),
    slices.spread([(1 << 28, torch.float32), ((1 << 31) + 5, torch.uint8)]),
)  # 1 GiB; more elements than an int counts
def test_giants(count, dtype):
    for ends, middle, _ in ranks.run(giant, 2, count, dtype, timeout_s=300.0):
        assert ends == [3, 3, 3, 5, 5] and middle


def blind():
    """Runs the matrix with a broadcast that does nothing, and one that writes too much."""
    complaints = []
    for spoil in (lambda c, m, i, o: None, lambda c, m, i, o: [None, o[0].fill_(1)][0]):
        original = matrix.MOVES[0].call
        object.__setattr__(matrix.MOVES[0], "call", spoil)
        with torch.device("cpu"):  # but for what the matrix itself places
            complaints.append(len(matrix.check("shapes", 4096, 0, "broadcast")[1]))
        object.__setattr__(matrix.MOVES[0], "call", original)
    return complaints


def test_the_matrix_sees():
    assert all(count > 0 for counts in ranks.run(blind, 2) for count in counts)


def without_memory():
    tensor = torch.ones(8)
    tensor.untyped_storage().resize_(0)
    texts = []
    for call in (
        dist.all_reduce,
        lambda freed: dist.broadcast(freed, 0),
        lambda freed: dist.isend(freed, 0),
    ):
        with pytest.raises(ValueError) as error:
            call(tensor)
        texts.append(str(error.value))
    return texts


def test_a_tensor_whose_memory_is_freed_raises():
    (texts,) = ranks.run(without_memory, 1)
    assert all("whose storage has been freed" in text and "[8]" in text for text in texts), texts
