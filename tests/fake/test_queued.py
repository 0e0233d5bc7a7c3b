# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Calls that are queued ahead of the peers, on a fake GPU: failures and orders.

tests/fake/run.py builds the extension for it and runs this.
"""

import os
import signal
import time

import fake_gpu
import pytest
import ranks
import torch
import torch.distributed as dist
from fake_gpu import LAUNCHERS, LIMIT, error_of_later_calls
from worker import Setup

import pinnedpg

pytestmark = fake_gpu.needed


def differ(case):
    dist.all_reduce(torch.ones(1))
    try:
        unlike(case)
    except dist.DistBackendError as error:  # where the host waits
        return str(error)
    return error_of_later_calls()


def unlike(case):
    rank, four = dist.get_rank(), torch.ones(4)
    if case == "sizes":
        dist.all_reduce(torch.ones(4 + rank), async_op=True)
    elif case == "ways":  # of which one is fused
        dist.all_reduce(torch.ones(4 + 300_000 * rank), async_op=True)
    elif case == "ops":
        dist.all_reduce(four, [dist.ReduceOp.SUM, dist.ReduceOp.MAX][rank], async_op=True)
    elif case == "roots":
        dist.broadcast(four, rank, async_op=True)
    elif rank == 0:
        dist.all_reduce(four, async_op=True)
    else:
        dist.broadcast(four, 0, async_op=True)


WANTED = {
    "sizes": ("all_reduce(float32[4], SUM)", "all_reduce(float32[5], SUM)"),
    "ways": ("all_reduce(float32[4], SUM)", "all_reduce(float32[300004], SUM)"),
    "ops": ("all_reduce(float32[4], SUM)", "all_reduce(float32[4], MAX)"),
    "roots": ("broadcast(float32[4], root 0)", "broadcast(float32[4], root 1)"),
    "calls": ("all_reduce(float32[4], SUM)", "broadcast(float32[4], root 0)"),
}


@pytest.mark.parametrize("launcher", LAUNCHERS)
@pytest.mark.parametrize("case", WANTED)
def test_a_mismatch_is_raised_by_later_calls(case, launcher):
    for text in ranks.run(differ, 2, case, launcher=launcher):
        assert all(call in text for call in WANTED[case]), text


def bereaved(how):
    dist.all_reduce(torch.ones(1))
    if dist.get_rank() == 1:
        if how == "is killed":
            os.kill(os.getpid(), signal.SIGKILL)
        return how
    begin = time.monotonic()
    with pytest.raises(dist.DistBackendError) as caught:
        dist.all_reduce(torch.ones(100_000), async_op=True).wait(LIMIT)
    with pytest.raises(dist.DistBackendError):
        dist.all_reduce(torch.ones(1))
    return str(caught.value), time.monotonic() - begin


def test_a_rank_that_leaves_ends_the_others_calls():
    (text, seconds), _ = ranks.run(bereaved, 2, "leaves")
    assert "rank 1" in text and "left" in text and seconds < 2, (text, seconds)


def test_a_rank_that_is_killed_ends_the_others_calls():
    with pytest.raises(ranks.RanksError) as caught:
        ranks.run(bereaved, 2, "is killed")
    (found,) = [one for one in caught.value.outcomes if one.state != "died"]
    assert found.state == "returned", found.report()
    text, seconds = found.value
    assert "rank 1" in text and "is gone" in text and seconds < 2, (text, seconds)


def late():
    dist.all_reduce(torch.ones(1))
    if dist.get_rank() == 1:
        time.sleep(2.5)
    return error_of_later_calls()


def test_a_call_that_takes_too_long_names_who_is_late():
    for text in ranks.run(late, 2, setup=Setup(timeout_s=1.0)):
        assert "rank 1" in text and "the timeout of the call" in text, text


def forsaken(leaves):
    """Of ranks that are threads each waits on the host until the others have queued that far."""
    dist.all_reduce(torch.ones(1), async_op=True).wait(LIMIT)
    if dist.get_rank() == 1:
        time.sleep(0.3)
        if leaves:
            dist.destroy_process_group()
        time.sleep(3.0)
        return None
    begin = time.monotonic()
    with pytest.raises(dist.DistBackendError) as caught:
        dist.all_reduce(torch.ones(100_000), async_op=True).wait(LIMIT)
    return str(caught.value), time.monotonic() - begin


@pytest.mark.parametrize("leaves", [True, False])
def test_a_thread_that_does_not_come_ends_the_others_calls(leaves):
    setup = Setup(timeout_s=1.5)
    (text, seconds), _ = ranks.run(forsaken, 2, leaves, launcher="threads", setup=setup)
    assert "rank 1" in text and seconds < 3, (text, seconds)


def far_ahead():
    """More calls than labels have places, while the other rank has yet to make the first."""
    rank, tensors = dist.get_rank(), [torch.full((1000,), float(i)) for i in range(100)]
    dist.all_reduce(torch.ones(1))
    if rank == 1:
        time.sleep(0.3)
    works = [dist.all_reduce(tensor, async_op=True) for tensor in tensors]
    for work in works:
        work.wait()
    return [tensor[0].item() for tensor in tensors] == [2.0 * i for i in range(100)]


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_rank_may_be_many_calls_ahead(launcher):
    assert ranks.run(far_ahead, 2, launcher=launcher) == [True, True]


def destroyed():
    tensors = [torch.ones(50_000) for _ in range(8)]
    works = [dist.all_reduce(tensor, async_op=True) for tensor in tensors]
    dist.destroy_process_group()
    for work in works:
        work.wait()
    return all(tensor.eq(2).all() for tensor in tensors)


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_what_is_queued_goes_on_after_the_group(launcher):
    assert ranks.run(destroyed, 2, launcher=launcher) == [True, True]


def kept():
    """A tensor that its user drops is there until the call is done."""
    results = []
    for i in range(50):
        gathered = [torch.empty(5000) for _ in range(dist.get_world_size())]
        dist.all_gather(gathered, torch.full((5000,), float(i + dist.get_rank())), async_op=True)
        results.append(gathered)
    dist.all_reduce(torch.ones(1))
    return all(
        bool(part.eq(i + peer).all())
        for i, parts in enumerate(results)
        for peer, part in enumerate(parts)
    )


def test_tensors_are_kept():
    assert ranks.run(kept, 3) == [True] * 3


def host_waits(how):
    """One rank's GPU cannot wait, or one rank does not want it to: then no rank's does."""
    if how == "gpu" and dist.get_rank() == 1:
        os.environ["FAKE_CUDA_NO_WAITS"] = "1"  # it dies where it does
    try:
        options = pinnedpg.Options(host_waits=how == "option" and dist.get_rank() == 1)
        group = dist.new_group(backend="pinned", pg_options=options)
        tensor = torch.arange(100_000.0) + dist.get_rank()
        work = dist.all_reduce(tensor, async_op=True, group=group)
        done = work.is_completed()  # by the call, or else the GPU would do it later
        work.wait()
        (value,) = work.get_future().wait()
        return done, torch.equal(value, 3 * torch.arange(100_000.0) + 3), work.is_success()
    finally:
        os.environ.pop("FAKE_CUDA_NO_WAITS", None)


def little_pinned(most, tensors, elements_most, budget_bytes=32 << 20):
    """Of one rank little of the stage can be pinned: all make do with that."""
    rank, size = dist.get_rank(), dist.get_world_size()
    if rank == size - 1:
        os.environ["FAKE_CUDA_PIN_MOST"] = str(most)
    options = pinnedpg.Options(budget_bytes=budget_bytes)
    try:
        group = dist.new_group(backend="pinned", pg_options=options)
        for elements in 1, 1000, elements_most:
            mine = [torch.arange(elements) + rank * tensors + i for i in range(tensors)]
            every = [torch.arange(elements) + i for i in range(size * tensors)]
            if tensors == 1:
                gathered = torch.empty(size * elements, dtype=torch.int64)
                dist.all_gather_into_tensor(gathered, mine[0], group=group)
                assert torch.equal(gathered, torch.cat(every)), elements
            group.allreduce(mine).wait()
            assert all(torch.equal(tensor, sum(every)) for tensor in mine), elements
    finally:
        os.environ.pop("FAKE_CUDA_PIN_MOST", None)


@pytest.mark.parametrize("launcher", LAUNCHERS)
@pytest.mark.parametrize("tensors", [1, 2])
@pytest.mark.parametrize("most", [40_000, 5_000_000])
def test_a_stage_of_which_little_can_be_pinned(launcher, tensors, most):
    ranks.run(little_pinned, 2, most, tensors, 300_000, launcher=launcher)


@pytest.mark.parametrize("most", [*range(18 << 10, 28 << 10, 2048), 100_000, 1 << 20])
def test_a_stage_of_eight_of_which_little_can_be_pinned(most):
    """Down to where slots are the least there can be, and there is no place for fused calls."""
    ranks.run(little_pinned, 8, most, 1, 3000, launcher="threads")


def test_a_small_stage_of_which_little_can_be_pinned():
    """Its slots are smaller than those that can be asked for."""
    ranks.run(little_pinned, 2, 20_000, 1, 3000, 40_000)


def no_pin():
    """Of one rank the stage cannot be pinned: all say so, then and later."""
    if dist.get_rank() == 1:
        os.environ["FAKE_CUDA_PIN_MOST"] = "4096"
    try:
        group = dist.new_group(backend="pinned")
        texts = []
        for _ in range(2):
            try:
                dist.all_reduce(torch.ones(8), group=group, async_op=True).wait(LIMIT)
                texts.append("no error")
            except RuntimeError as error:  # its own rank's is that of the driver
                texts.append(str(error))
        return texts
    finally:
        os.environ.pop("FAKE_CUDA_PIN_MOST", None)


def test_a_stage_that_cannot_be_pinned():
    first, second = ranks.run(no_pin, 2)
    assert all("cannot pin" in text for text in [*first, *second]), (first, second)
    assert all("rank 1 failed" in text for text in [*first, second[1]]), (first, second)


@pytest.mark.parametrize("how", ["gpu", "option"])
def test_all_hosts_wait_where_one_must(how):
    assert ranks.run(host_waits, 3, how) == [(True, True, True)] * 3
