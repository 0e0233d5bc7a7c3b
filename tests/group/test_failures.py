# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Wrong calls, absent ranks, time-outs, aborts: an error that says what and who, never a hang."""

import datetime
import os
import threading
import time

import away
import limits
import pytest
import ranks
import torch
import torch.distributed as dist
from cases import all_gather_single
from default_device import wait_on_host
from reductions import reduce_scatter_single
from worker import Setup

LAUNCHERS = ["processes", "threads"]
HURRIED = Setup(timeout_s=1.0)
IS_ASYNC = [pytest.param(False, marks=pytest.mark.cpu_only("on GPUs the next call raises")), True]
HOST = pytest.mark.cpu_only("calls with CUDA tensors and calls of the host do not meet")


def attempt(call):
    """Returns an error's type and text and how long it took, or None without one."""
    began = time.monotonic()
    try:
        call()
    except Exception as error:
        return type(error).__name__, str(error), time.monotonic() - began
    return None


def finish(work):
    if work is not None:
        wait_on_host(work)


def t(count, dtype=torch.float32):
    return torch.ones(count, dtype=dtype)


CALLS = {
    "all_reduce(float32[2048], SUM)": lambda a: dist.all_reduce(t(2048), async_op=a),
    "all_reduce(float32[2048], MAX)": lambda a: dist.all_reduce(
        t(2048), dist.ReduceOp.MAX, async_op=a
    ),
    "all_reduce(int32[2048], SUM)": lambda a: dist.all_reduce(t(2048, torch.int32), async_op=a),
    "all_reduce(float32[2049], SUM)": lambda a: dist.all_reduce(t(2049), async_op=a),
    "all_reduce(float32[300000], SUM)": lambda a: dist.all_reduce(t(300_000), async_op=a),
    "broadcast(float32[1024], root 0)": lambda a: dist.broadcast(t(1024), 0, async_op=a),
    "broadcast(float32[1024], root 1)": lambda a: dist.broadcast(t(1024), 1, async_op=a),
    "reduce(float32[1024], SUM, root 1)": lambda a: dist.reduce(t(1024), 1, async_op=a),
    "barrier()": lambda a: dist.barrier(async_op=a),
    "all_gather(float32[6]": lambda a: dist.all_gather([t(2), t(2), t(2)], t(2), async_op=a),
    "reduce_scatter(float32[6], SUM)": lambda a: dist.reduce_scatter(
        t(2), [t(2), t(2), t(2)], async_op=a
    ),
    "all_to_all(float32": lambda a: dist.all_to_all_single(t(3), t(3), async_op=a),
}
MISMATCHES = [
    ("all_reduce(float32[2048], SUM)", "broadcast(float32[1024], root 0)"),
    ("all_reduce(float32[2048], SUM)", "all_reduce(float32[2048], MAX)"),
    ("all_reduce(float32[2048], SUM)", "all_reduce(int32[2048], SUM)"),
    ("all_reduce(float32[2048], SUM)", "all_reduce(float32[2049], SUM)"),
    ("all_reduce(float32[2048], SUM)", "all_reduce(float32[300000], SUM)"),
    ("broadcast(float32[1024], root 0)", "broadcast(float32[1024], root 1)"),
    ("broadcast(float32[1024], root 1)", "reduce(float32[1024], SUM, root 1)"),
    pytest.param("barrier()", "all_gather(float32[6]", marks=HOST),
    ("reduce_scatter(float32[6], SUM)", "all_gather(float32[6]"),
    pytest.param("all_to_all(float32", "barrier()", marks=HOST),
]


def mismatch(common, odd, odd_rank, is_async):
    for _ in range(16):
        dist.all_reduce(t(1))
    call = CALLS[odd if dist.get_rank() == odd_rank else common]
    return attempt(lambda: finish(call(is_async))), attempt(lambda: dist.all_reduce(t(1)))


@pytest.mark.parametrize("is_async", IS_ASYNC)
@pytest.mark.parametrize(("common", "odd"), MISMATCHES)
def test_mismatch_names_both_sides_on_every_rank(common, odd, is_async):
    for odd_rank in (0, 1, 2):
        for first, later in ranks.run(mismatch, 3, common, odd, odd_rank, is_async):
            assert first is not None and later is not None
            kind, text, seconds = first
            assert kind == "DistBackendError"
            ours = common in text and f"rank {odd_rank} called {odd}" in text
            theirs = odd in text and f"called {common}" in text and f"rank {odd_rank}" in text
            assert ours or theirs, text
            assert "call 17" in text, text
            limits.in_time(seconds, 5, "a call's first step, where all ranks compare their calls")


@pytest.mark.parametrize("is_async", IS_ASYNC)
def test_mismatch_on_threads(is_async):
    common, odd = MISMATCHES[0]
    for first, later in ranks.run(mismatch, 3, common, odd, 1, is_async, launcher="threads"):
        assert all(part in first[1] for part in ("rank 1", common, odd)) and later is not None


def bad_calls():
    rank, world = dist.get_rank(), dist.get_world_size()
    backend = dist.distributed_c10d._get_default_group()._get_backend(torch.device("cpu"))
    opts = torch._C._distributed_c10d
    broadcast = opts.BroadcastOptions()
    broadcast.rootRank = world
    far = opts.BroadcastOptions()
    far.rootTensor = 1
    op = dist.ReduceOp
    return [
        lambda: backend.broadcast([t(1)], broadcast),
        lambda: backend.broadcast([t(1)], far),
        lambda: backend.allreduce([], opts.AllreduceOptions()),
        lambda: backend.allreduce([t(1), t(2)], opts.AllreduceOptions()),
        lambda: backend.allreduce([t(1), t(1, torch.int8)], opts.AllreduceOptions()),
        lambda: dist.all_reduce(t(4), op.BAND),
        lambda: dist.all_reduce(t(4, torch.float16), op.BXOR),
        lambda: dist.all_reduce(t(4, torch.int32), dist._make_nccl_premul_sum(2.0)),
        lambda: dist.all_reduce(t(4, torch.bool), op.AVG),
        lambda: dist.reduce(t(4, torch.complex64), 0, op.MAX),
        lambda: dist.all_reduce(t(4).to_sparse(), op.MAX),
        lambda: dist.all_reduce(t(4).view(2, 2).to_sparse_csr()),
        lambda: dist.broadcast(t(4).to_sparse(), 0),
        lambda: backend.allreduce([t(4).to_sparse(), t(4).to_sparse()], opts.AllreduceOptions()),
        lambda: dist.all_reduce(t(1).expand(4)),
        lambda: dist.all_gather([t(2)] * (world + 1), t(2)),
        lambda: dist.all_gather([t(3) for _ in range(world)], t(2)),
        lambda: dist.all_gather([t(2, torch.int32) for _ in range(world)], t(2)),
        lambda: all_gather_single(t(2 * world + 1), t(2)),
        lambda: reduce_scatter_single(t(2), t(2 * world - 1)),
        lambda: dist.reduce_scatter(t(2), [t(3) for _ in range(world)]),
        lambda: dist.reduce_scatter(t(2), [t(2)]),
        lambda: dist.gather(t(2), [t(2)] if rank == 0 else None, 0) if rank == 0 else int("x"),
        lambda: dist.gather(t(2), None, rank),
        lambda: dist.scatter(t(2), [t(3) for _ in range(world)], rank),
        lambda: dist.scatter(t(2), [t(2)], rank),
        lambda: dist.all_to_all_single(t(world + 1), t(world + 1)),
        lambda: dist.all_to_all_single(t(4), t(4), [1] * world, [2] * world),
        lambda: dist.all_to_all_single(t(4), t(4), [4], [4]),
        lambda: dist.all_to_all([t(1)], [t(1)] * world),
        lambda: dist.all_to_all([t(1) for _ in range(world)], [t(1, torch.int8)] * world),
        lambda: dist.broadcast(t(2), world),
        lambda: backend.send([t(2)], -1, 0),
        lambda: backend.recv([t(2)], -1, 0),
        lambda: backend.send([t(2), t(2)], 0, 0),
        lambda: dist.all_reduce(t(4, torch.uint16).to_sparse()),
        lambda: dist.all_reduce(torch.zeros(4).to_sparse().to(torch.float8_e5m2)),
    ]


def survive_bad_calls(only_rank):
    rank = dist.get_rank()
    wrong = []
    for index, call in enumerate(bad_calls()):
        if only_rank in (None, rank):
            error = attempt(call)
            if error is None or error[0] == "DistBackendError":
                wrong.append((index, error))
        tensor = torch.full((100,), float(rank))
        dist.all_reduce(tensor)
        if tensor[0].item() != sum(range(dist.get_world_size())):
            wrong.append((index, "the next all_reduce"))
    return wrong


@pytest.mark.parametrize("only_rank", [None, 0, 2])
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_bad_arguments_leave_the_group_alive(launcher, only_rank):
    assert ranks.run(survive_bad_calls, 3, only_rank, launcher=launcher) == [[]] * 3


def absent(calls_before, missing, is_async):
    for _ in range(calls_before):
        dist.all_reduce(t(1))
    if dist.get_rank() == missing:
        away.until_told([1, 2 - missing], 2.5)
        return attempt(lambda: dist.all_reduce(t(5))), os.getpid()
    error = attempt(lambda: finish(dist.all_reduce(t(5), async_op=is_async)))
    return away.tell(error), os.getpid()


@pytest.mark.parametrize("is_async", IS_ASYNC)
@pytest.mark.parametrize("missing", [0, 2])
@pytest.mark.parametrize("calls_before", [0, 3])
def test_time_out_names_the_absent(calls_before, missing, is_async):
    results = ranks.run(absent, 3, calls_before, missing, is_async, setup=HURRIED)
    pid = results[missing][1]
    for rank, (error, _) in enumerate(results):
        assert error is not None and error[0] == "DistBackendError"
        if rank != missing:
            assert error[2] > 0.9 and limits.in_time(error[2], 2.4, "a timeout of 1 s"), error
            assert f"for rank {missing}" in error[1] and "all_reduce" in error[1], error
            assert f"process {pid}" in error[1] and "is alive" in error[1], error
            if calls_before:
                assert "step" in error[1], error


def impatient():
    rank = dist.get_rank()
    dist.all_reduce(t(1))  # with CUDA tensors the first call waits on the host for all ranks
    if rank == 1:
        time.sleep(0.6)
    work = dist.all_reduce(tensor := torch.full((10,), float(rank)), async_op=True)
    early = attempt(lambda: work.wait(datetime.timedelta(milliseconds=100))) if rank == 0 else None
    work.wait()
    return early, tensor[0].item()


def test_a_short_wait_leaves_the_call_running():
    (early, first), (_, second) = ranks.run(impatient, 2)
    assert early is not None and limits.in_time(early[2], 0.5, "a wait of 100 ms")
    assert first == second == 1.0


def aborted(is_async):
    rank = dist.get_rank()
    dist.barrier()
    group = dist.distributed_c10d._get_default_group()
    if rank == 1:  # never calls, until all is over
        away.until_told([0, 2], 3.0)
        return attempt(lambda: dist.all_reduce(t(5)))
    if rank == 0:
        threading.Timer(0.3, group.abort).start()
    return away.tell(attempt(lambda: finish(dist.all_reduce(t(5), async_op=is_async))))


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_abort_from_another_thread_frees_every_rank(launcher, is_async):
    for error in ranks.run(aborted, 3, is_async, launcher=launcher):
        assert error is not None and "aborted" in error[1], error
        assert limits.in_time(error[2], 2.5, "an abort after 0.3 s")


def abort_before_any_call():
    rank = dist.get_rank()
    group = dist.distributed_c10d._get_default_group()
    if rank == 1:
        time.sleep(0.5)
        group.abort()
        return attempt(lambda: dist.barrier())
    return attempt(lambda: dist.all_reduce(t(5)))


def test_abort_before_any_call_frees_every_rank():
    for error in ranks.run(abort_before_any_call, 3):
        assert error is not None and limits.in_time(error[2], 2.0, "an abort after 0.5 s")


def leaves(calls_before):
    for _ in range(calls_before):
        dist.barrier()
    if dist.get_rank() == 1:
        dist.destroy_process_group()
        return None
    return attempt(lambda: dist.all_reduce(t(5)))


@pytest.mark.parametrize("calls_before", [0, 2])
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_rank_that_leaves_is_named_at_once(launcher, calls_before):
    for error in ranks.run(leaves, 3, calls_before, launcher=launcher)[::2]:
        assert "rank 1" in error[1] and "left" in error[1], error
        assert limits.in_time(error[2], 1, "a look at who has left, every 100 ms")


def disagree_on_sizes():
    rank, world = dist.get_rank(), dist.get_world_size()
    sends = [2] * world if rank != 1 else [2] * (world - 1) + [3]
    output = torch.empty(2 * world)
    error = attempt(lambda: dist.all_to_all_single(output, t(sum(sends)), [2] * world, sends))
    tensor = torch.ones(3)
    dist.all_reduce(tensor)  # nothing had moved: the group lives on
    return error, tensor[0].item()


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_all_to_all_sizes_that_disagree_are_an_error_on_every_rank(launcher):
    for error, total in ranks.run(disagree_on_sizes, 3, launcher=launcher):
        assert error is not None and "rank 1 sends 12 bytes to rank 2, which expects 8" in error[1]
        assert total == 3


def splits_on_some_ranks():
    splits = [1, 1] if dist.get_rank() == 1 else None
    return attempt(lambda: dist.all_to_all_single(torch.empty(2), torch.ones(2), splits, splits))


@HOST
def test_splits_on_some_ranks_only_are_named():
    for kind, text, _ in ranks.run(splits_on_some_ranks, 2):
        assert kind == "DistBackendError"
        assert "all_to_all(float32, with sizes for each pair of ranks)" in text
        assert "all_to_all(float32[2])" in text
