# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""The sum of sparse tensors, against that of the same tensors made dense."""

import time

import limits
import pytest
import ranks
import torch
import torch.distributed as dist
from ranks import RanksError

LAUNCHERS = ["processes", "threads"]
SHAPE = (40, 3, 5)
DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int64]


def mine(rank, elements, dtype=torch.float32, sparse_dim=1, seed=0):
    """A tensor of small whole numbers, so that sums are exact, with places that come twice."""
    made = torch.Generator().manual_seed(100 * seed + rank)
    sizes = torch.tensor(SHAPE[:sparse_dim]).unsqueeze(1)
    places = torch.rand(sparse_dim, elements, generator=made).mul(sizes).long()
    values = torch.randint(-4, 5, (elements, *SHAPE[sparse_dim:]), generator=made).to(dtype)
    return torch.sparse_coo_tensor(places, values, SHAPE, check_invariants=True)


def summed(world, counts, *what, **more):
    return sum(mine(rank, counts[rank], *what, **more).to_dense() for rank in range(world))


def sums(counts):
    rank, world = dist.get_rank(), dist.get_world_size()
    for dtype in DTYPES:
        for sparse_dim in (1, 2, 3):
            tensor = mine(rank, counts[rank], dtype, sparse_dim)
            dist.all_reduce(tensor)
            assert tensor.is_sparse and tensor.sparse_dim() == sparse_dim
            expected = summed(world, counts, dtype, sparse_dim)
            assert torch.equal(tensor.to_dense(), expected), (dtype, sparse_dim)


def complex_sum():
    with pytest.raises(ValueError, match="must be real"):
        dist.all_reduce(mine(0, 3, torch.complex64))  # gloo leaves it as it is, without a word


def test_complex_tensors_are_refused():
    ranks.run(complex_sum, 2)


@pytest.mark.parametrize("launcher", LAUNCHERS)
@pytest.mark.parametrize("counts", [[9, 4, 30], [0, 7, 0], [0, 0], [3000], [20_000, 1]])
def test_sums(counts, launcher):
    ranks.run(sums, len(counts), counts, launcher=launcher)


def queued():
    """A call reads what the one before it has left, and dense calls go between."""
    rank, world, counts = dist.get_rank(), dist.get_world_size(), [5, 11, 2]
    tensor, dense = mine(rank, counts[rank]), torch.ones(3)
    works = []
    for _ in range(3):
        works += [dist.all_reduce(tensor, async_op=True), dist.all_reduce(dense, async_op=True)]
    value = works[-2].get_future().wait()
    for work in works:
        work.wait()
    assert value[0] is tensor or value[0]._values().data_ptr() == tensor._values().data_ptr()
    assert torch.equal(tensor.to_dense(), world**2 * summed(world, counts))
    assert dense.tolist() == [world**3] * 3


def test_queued_calls():
    ranks.run(queued, 3)


def modes():
    """Tensors that take part in autograd, and those of inference mode, stay what they were."""
    rank, counts = dist.get_rank(), [5, 6]
    leaf = mine(rank, counts[rank]).requires_grad_()
    with torch.no_grad():
        dist.all_reduce(leaf)
    leaf.to_dense().sum().backward()
    assert leaf.grad is not None and torch.equal(leaf.detach().to_dense(), summed(2, counts))
    with torch.inference_mode():
        tensor = mine(rank, counts[rank])
        dist.all_reduce(tensor, async_op=True).wait()
    assert tensor.is_inference() and torch.equal(tensor.to_dense(), summed(2, counts))


def test_modes():
    ranks.run(modes, 2)


def rounded():
    """16-bit floats are added up in float32, on a rank and between ranks."""
    places = torch.tensor([[1, 1]])
    values = torch.tensor([256.0 if dist.get_rank() == 0 else 1.0, 1.0], dtype=torch.bfloat16)
    tensor = torch.sparse_coo_tensor(places, values, (3,))
    dist.all_reduce(tensor)
    return tensor.to_dense().tolist(), str(tensor.dtype)


def test_sums_are_rounded_once():
    assert ranks.run(rounded, 3) == [([0.0, 260.0, 0.0], "torch.bfloat16")] * 3  # 261 lies between


def changed(what):
    tensor = mine(dist.get_rank(), 4)
    if dist.get_rank() == 1:
        time.sleep(0.3)
    dist.all_reduce(torch.ones(1), async_op=True)  # until rank 1 comes, the next one waits
    work = dist.all_reduce(tensor, async_op=True)
    if dist.get_rank() == 0:
        other = mine(0, 4, torch.float64) if what == "type" else mine(0, 4, sparse_dim=2)
        tensor.data = other
    work.wait()


@pytest.mark.parametrize("what", ["type", "shape"])
def test_a_tensor_that_changes_under_way_is_an_error_on_all_ranks(what):
    held = ranks.start(changed, 2, what).outcomes()
    assert all("must keep its type and shape" in outcome.text for outcome in held), held


def failed_alone():
    """Rank 0 fails in its first call, and goes, before rank 1 comes."""
    tensor = mine(0, 4)
    if dist.get_rank() == 1:
        time.sleep(0.5)
        dist.all_reduce(tensor)
        return
    work = dist.all_reduce(tensor, async_op=True)
    tensor.data = mine(0, 4, torch.float64)
    work.wait()


def test_a_rank_that_comes_late_to_a_failed_group_is_told():
    begin = time.monotonic()
    outcomes = ranks.start(failed_alone, 2).outcomes()
    if outcomes[0].state == "raised":  # else the call was quicker than the change
        assert "rank 0" in outcomes[1].text, outcomes
        limits.in_time(outcomes[1].at - begin, 10, "a start and 0.5 s, not the timeout of 15 s")


def unlike(how):
    rank = dist.get_rank()
    tensor = mine(rank, 4, sparse_dim=2 if how == "dimensions" and rank else 3)
    if rank and how == "shape":
        tensor = tensor.transpose(1, 2)
    if rank and how == "layout":
        tensor = tensor.to_dense()
    dist.all_reduce(tensor)


@pytest.mark.parametrize("how", ["dimensions", "shape", "layout"])
def test_tensors_that_do_not_fit(how):
    with pytest.raises(RanksError) as caught:
        ranks.run(unlike, 2, how)
    for outcome in caught.value.outcomes:
        assert "rank 1 called all_reduce(float32[600]" in outcome.text, outcome
        assert "rank 0 called all_reduce(float32[600] sparse, shape #" in outcome.text, outcome
