# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Fused calls on a fake GPU: which calls are, what orders them, failures.

tests/fake/run.py builds the extension for it and runs this. What reads results after
`work.wait(timedelta)` can also do so where a call's stream is not the host's (FAKE_CUDA_CALLERS).
"""

import os
import time

import fake_gpu
import pytest
import ranks
import torch
import torch.distributed as dist
from fake_gpu import LAUNCHERS, LIMIT, graph
from worker import Setup

import pinnedpg

pytestmark = fake_gpu.needed


def is_fused(count, group=None):
    tensor = torch.ones(count)
    dist.all_reduce(tensor, group=group, async_op=True).wait(LIMIT)
    try:
        with graph():
            dist.all_reduce(tensor, group=group)
    except ValueError as error:
        assert "each rank has a GPU of its own" in str(error), error
        return False
    return True


def beside_a_display(rank):
    if dist.get_rank() == rank:
        os.environ["FAKE_CUDA_DISPLAY"] = "1"
    try:
        return is_fused(10)
    finally:
        os.environ.pop("FAKE_CUDA_DISPLAY", None)


@pytest.mark.parametrize("rank", [None, 1])
def test_no_kernel_waits_where_long_ones_are_ended(rank):
    assert ranks.run(beside_a_display, 2, rank) == [rank is None] * 2


def thresholds(fused_bytes):
    group = dist.new_group(
        backend="pinned", pg_options=pinnedpg.Options(fused_bytes=fused_bytes[dist.get_rank()])
    )
    return [is_fused(count, group) for count in (0, 1, 15, 16, 17, 8192, 8193)]


@pytest.mark.parametrize(
    "first, fused",
    [(64, [True] * 4 + [False] * 3), (32 << 10, [True] * 6 + [False]), (0, [False] * 7)],
)
def test_the_first_rank_chooses_up_to_where(first, fused):
    assert ranks.run(thresholds, 2, (first, 128)) == [fused] * 2


def sharing():
    os.environ["FAKE_CUDA_SHARED"] = "1"
    try:
        return is_fused(1)
    finally:
        del os.environ["FAKE_CUDA_SHARED"]


def test_ranks_that_share_a_gpu_do_not_fuse():
    assert ranks.run(sharing, 2) == [False] * 2


def many():
    """Sizes mixed, so that words of older calls lie beneath; on the caller's streams and aside."""
    rank, world = dist.get_rank(), dist.get_world_size()
    tensors = [torch.full((1 + 37 * (i % 20),), float(rank + i)) for i in range(300)]
    for i, tensor in enumerate(tensors):
        dist.all_reduce(tensor, async_op=i % 3 == 0)
        if i % 13 == rank:
            time.sleep(0.002)
    dist.all_reduce(torch.ones(1), async_op=True).wait(LIMIT)  # it comes after all others
    wanted = [world * i + world * (world - 1) / 2 for i in range(300)]
    return [i for i in range(300) if not tensors[i].eq(wanted[i]).all()]


def send_between():
    """A call that nobody has waited for holds up nothing that its caller does next."""
    tensor, message = torch.ones(10), torch.ones(1)
    dist.all_reduce(tensor)
    if dist.get_rank() == 0:
        work = dist.all_reduce(tensor, async_op=True)
        dist.send(message, 1)
    else:
        dist.recv(message, 0)
        work = dist.all_reduce(tensor, async_op=True)
    work.wait(LIMIT)
    return tensor.sum().item()


def test_a_message_between_a_call_and_its_wait():
    assert ranks.run(send_between, 2) == [40.0] * 2


@pytest.mark.parametrize("word_bytes", [64 << 10, 64], ids=["words", "chunks"])
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_many_calls(launcher, word_bytes):
    setup = Setup(timeout_s=6.0, options={"word_bytes": word_bytes})
    assert ranks.run(many, 3, launcher=launcher, setup=setup) == [[]] * 3


def every_kind():
    """In words and in chunks, several puts and gets."""
    rank, world = dist.get_rank(), dist.get_world_size()
    for count in (1, 1000, 9000):
        outputs, shares = torch.empty(world * count), torch.arange(world).repeat_interleave(count)
        dist.all_to_all_single(outputs, 10.0 * rank + shares)
        right = outputs.equal(10.0 * shares + rank)
        part = torch.empty(count)
        dist.reduce_scatter_tensor(part, torch.arange(world * count).float())
        wanted = world * torch.arange(rank * count, (rank + 1) * count).float()
        if not right or not part.equal(wanted):
            return count
    return None


def test_calls_of_several_shards():
    for words in (64 << 10, 0):
        assert ranks.run(every_kind, 3, setup=Setup(options={"word_bytes": words})) == [None] * 3


def mixed():
    """Fused and queued calls in turn on the same tensor."""
    rank, large = dist.get_rank(), torch.zeros(300_000)
    small = large[:100]
    for i in range(30):
        small.fill_(rank + i)
        dist.all_reduce(small)
        large[100:].fill_(small[0].item())
        dist.all_reduce(large)
        if not large.eq(2 * (2 * i + 1)).all():
            return i
    return None


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_fused_and_queued_calls_in_turn(launcher):
    assert ranks.run(mixed, 2, launcher=launcher) == [None] * 2


def columns():
    whole = torch.full((6, 8), float(dist.get_rank() + 1))
    dist.all_reduce(whole[:, ::2])
    own = dist.get_rank() + 1.0
    return whole[:, ::2].eq(6).all().item(), whole[:, 1::2].eq(own).all().item()


def test_a_tensor_that_is_not_contiguous():
    assert ranks.run(columns, 3) == [(True, True)] * 3


def bereaved():
    dist.all_reduce(torch.ones(1))
    if dist.get_rank() == 1:
        return "left"
    begin = time.monotonic()
    with pytest.raises(dist.DistBackendError) as caught:
        dist.all_reduce(torch.ones(10), async_op=True).wait(LIMIT)
    with pytest.raises(dist.DistBackendError):
        dist.all_reduce(torch.ones(1))
    return str(caught.value), time.monotonic() - begin


def test_a_rank_that_leaves_ends_the_others_calls():
    (text, seconds), _ = ranks.run(bereaved, 2)
    assert "rank 1" in text and "left" in text and seconds < 2, (text, seconds)


def late():
    dist.all_reduce(torch.ones(1))
    if dist.get_rank() == 1:
        time.sleep(2.5)
    try:
        dist.all_reduce(torch.ones(1), async_op=True).wait(LIMIT)
    except dist.DistBackendError as error:
        return str(error)
    return "no error"


def test_a_call_that_takes_too_long_names_who_is_late():
    for text in ranks.run(late, 2, setup=Setup(timeout_s=1.0)):
        assert "rank 1" in text and "the timeout of the call" in text, text
