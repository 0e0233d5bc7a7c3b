# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""What a Work promises, and the calls of a Backend that no collective needs."""

import time
from datetime import timedelta

import pytest
import ranks
import torch
import torch.distributed as dist
from default_device import ON_GPU, wait_on_host
from torch_release import RELEASE
from worker import Setup

from pinnedpg import Options

LAUNCHERS = ["processes", "threads"]
CPU = torch.device("cpu")
ErrorType = torch._C._distributed_c10d.ErrorType


def group():
    return dist.distributed_c10d._get_default_group()


def backend():
    return group()._get_backend(CPU)


def error_of(call):
    try:
        call()
    except dist.DistBackendError as error:
        return str(error)
    return ""


def exception_of(work):
    """Returns `work.exception()`, of which torch 2.11 can make no Python object."""
    if RELEASE > (2, 11):
        return work.exception()
    return error_of(work.wait) if work.is_completed() and not work.is_success() else None


def failing():
    """The ranks' calls do not fit together: all that a work can say must say so."""
    assert backend().get_error() == ErrorType.SUCCESS
    work = dist.all_reduce(torch.ones(2 + dist.get_rank()), async_op=True)
    future = work.get_future()
    texts = [error_of(lambda: wait_on_host(work)), error_of(work.wait)]
    texts += [str(exception_of(work)), error_of(work.result)]
    late = dist.Work.get_future(work)  # asked for once the work is over
    texts += [error_of(late.wait)]
    if not ON_GPU:  # where a future is complete once the call is queued
        texts += [error_of(future.wait)]
    assert work.is_completed() and not work.is_success()
    assert backend().get_error() == ErrorType.COMM_ERROR
    return texts


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_failed_work_says_why_in_every_way(launcher):
    for texts in ranks.run(failing, 2, launcher=launcher):
        assert all("float32[2]" in text and "float32[3]" in text for text in texts), texts


def under_way():
    """Rank 1 comes late: until then the work of rank 0 has no result, and no error either."""
    tensor = torch.ones(3)
    if ON_GPU:
        dist.all_reduce(torch.ones(3))  # the first call waits on the host for all ranks
    if dist.get_rank() == 1:
        time.sleep(0.2)
        dist.all_reduce(tensor)
        return True
    work = dist.all_reduce(tensor, async_op=True)
    states = work.is_completed(), exception_of(work)
    for early in (work.result, work._get_duration):
        with pytest.raises(RuntimeError, match="once the work is done; wait for it first"):
            early()
    with pytest.raises(dist.DistBackendError, match="not done after 0.02 s"):
        work.wait(timedelta(milliseconds=20))
    assert work.wait() and work.wait(timedelta(seconds=1))
    assert work.is_success() and exception_of(work) is None and work._get_duration() > 100
    with pytest.raises(RuntimeError, match="correspond to a recv"):
        work._source_rank()
    (result,) = work.result()
    return states == (False, None) and result.data_ptr() == tensor.data_ptr()


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_work_under_way(launcher):
    assert ranks.run(under_way, 2, launcher=launcher) == [True, True]


def call_with_a_time_out():
    """A time-out of the call, where its options take one, and not the group's."""
    if dist.get_rank() == 1:
        time.sleep(1.0)
        return ""
    options = dist.BarrierOptions()
    options.timeout = timedelta(milliseconds=200)
    return error_of(lambda: group().barrier(options).wait())


def test_a_call_has_a_time_out_of_its_own():
    text = ranks.run(call_with_a_time_out, 2)[0]
    assert "barrier: rank 0 waited 0.2" in text and "for rank 1" in text, text


def shorter():
    group().set_timeout(timedelta(milliseconds=300))
    if dist.get_rank() == 1:
        time.sleep(1.0)
        return ""
    return error_of(lambda: dist.all_reduce(torch.ones(3), async_op=True).wait())


def test_set_timeout_counts_for_the_calls_after_it():
    text = ranks.run(shorter, 2)[0]
    assert "all_reduce: rank 0 waited 0.3" in text, text


def short_wait():
    work = dist.irecv(torch.ones(2), 1 - dist.get_rank(), tag=9)
    texts = [error_of(lambda: work.wait(timedelta(seconds=0.3)))]
    own = backend()
    own._start_coalescing()
    for tag in (10, 11):
        dist.irecv(torch.ones(2), 1 - dist.get_rank(), tag=tag)
    batch = own._end_coalescing()
    texts.append(error_of(lambda: batch.wait(timedelta(seconds=0.3))))
    dist.barrier()
    return texts


def test_a_wait_that_is_over_says_how_long_it_was_to_be():
    for texts in ranks.run(short_wait, 2):
        assert all("recv: not done after 0.3 s" in text for text in texts), texts


def sources():
    peer, got = 1 - dist.get_rank(), torch.empty(2)
    send, receive = dist.isend(torch.ones(2), peer), dist.irecv(got)
    receive.wait()
    send.wait()
    with pytest.raises(RuntimeError, match="recv"):
        send._source_rank()
    return receive._source_rank() == peer


def test_only_a_receive_has_a_source():
    assert all(ranks.run(sources, 2))


def coalesced_work():
    own, tensors = backend(), [torch.ones(2), torch.ones(3)]
    own._start_coalescing()
    for tensor in tensors:
        dist.all_reduce(tensor, async_op=True)
    work = own._end_coalescing()
    values = work.get_future().wait()
    assert work.wait() and work.wait(timedelta(seconds=1)) and exception_of(work) is None
    assert work.is_completed() and work.is_success() and work._get_duration() >= 0
    places = [tensor.data_ptr() for tensor in tensors]
    assert [value.data_ptr() for value in values] == places
    assert [result.data_ptr() for result in work.result()] == places
    own._start_coalescing()
    nothing = own._end_coalescing()
    return nothing.wait() and nothing.is_completed() and nothing.get_future().wait() == []


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_the_work_of_a_batch(launcher):
    assert ranks.run(coalesced_work, 2, launcher=launcher) == [True, True]


def failing_batch():
    own = backend()
    own._start_coalescing()
    dist.all_reduce(torch.ones(1), async_op=True)
    dist.all_reduce(torch.ones(2 + dist.get_rank()), async_op=True)
    work = own._end_coalescing()
    future = work.get_future()
    texts = [error_of(lambda: wait_on_host(work)), str(exception_of(work))]
    return texts if ON_GPU else [*texts, error_of(future.wait)]  # there it is complete already


def test_the_work_of_a_batch_that_fails():
    for texts in ranks.run(failing_batch, 2):
        assert all("float32[2]" in text and "float32[3]" in text for text in texts), texts


def sequence_numbers():
    own = backend()
    own._set_sequence_number_for_group()  # torch's debug wrapper does
    before = own._get_sequence_number_for_group()
    dist.all_reduce(torch.ones(1))
    dist.barrier()
    after = own._get_sequence_number_for_group()
    # Before 2.15 torch asks for gloo, NCCL, XCCL or UCC by name; since then it has no second one.
    calls = ["_get_sequence_number_for_group", "_set_sequence_number_for_group"]
    for withheld in calls if RELEASE < (2, 15) else []:
        with pytest.raises(RuntimeError, match="custom does not yet support sequence numbers"):
            getattr(group(), withheld)()
    return after - before


def test_sequence_numbers_count_the_calls():
    assert ranks.run(sequence_numbers, 2) == [2, 2]


def own_options():
    """torch writes the child's name and time-out into what it gets: that must be a copy."""
    before, child = backend().options, group().split_group([0, 1], group_name="child")
    own = child._get_backend(CPU)
    assert own.options.group_name == "child" and own.options.global_ranks_in_group == [0, 1]
    after = backend().options
    assert (after.group_name, after._timeout) == (before.group_name, before._timeout)
    assert isinstance(own.options, Options) and own.options.depth == before.depth == 8
    return own.get_error() == ErrorType.SUCCESS


def test_a_child_does_not_write_into_its_parents_options():
    assert ranks.run(own_options, 2, setup=Setup(options={"depth": 8})) == [True, True]


def named():
    """torch says what a group is called, and what for, once that is there."""
    pair = dist.new_group([0, 1], group_desc="the pair")
    assert (pair.group_desc, group().group_desc) == ("the pair", "default_pg")
    own = pair._get_backend(CPU)
    own.eager_connect_single_device(torch.device("cpu", 0))
    dist.all_reduce(total := torch.ones(1), group=pair)
    return total.item(), pair.group_name != group().group_name


def test_groups_have_names_and_purposes():
    assert ranks.run(named, 2) == [(2.0, True)] * 2


def left_twice():
    own = backend()
    dist.barrier()
    own.shutdown()
    own.shutdown()
    own.abort()
    own.abort()
    return error_of(dist.barrier)


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_abort_and_shutdown_may_come_again(launcher):
    for text in ranks.run(left_twice, 2, launcher=launcher):
        assert "destroyed" in text or "aborted" in text, text


def told_of_an_abort():
    dist.barrier()
    if dist.get_rank() == 0:
        backend().abort()
    deadline = time.monotonic() + 5
    while backend().get_error() == ErrorType.SUCCESS and time.monotonic() < deadline:
        time.sleep(0.01)
    return backend().get_error() == ErrorType.COMM_ERROR


def test_get_error_sees_what_another_rank_has_aborted():
    assert ranks.run(told_of_an_abort, 2) == [True, True]
