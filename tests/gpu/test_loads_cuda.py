# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Kernels that are loaded by their first launch while the GPU waits: CUDA then waits for the GPU,
and holds up every other thread's call of its own. tests/fake/test_loads.py: without a GPU."""

import time
from datetime import timedelta

import pytest
import ranks
import torch
import torch.distributed as dist
from cuda_rig import COUNT, SHARES, CudaRig
from tp_rig import check_given_up
from worker import Setup

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
LIMIT = timedelta(seconds=20)
SETUP = Setup(timeout_s=30.0)
SIZES = [10, 1_000_000]  # whole, and in parts
PAIRS = [torch.nextafter, torch.hypot, torch.copysign, torch.heaviside, torch.fmod, torch.fmax]
RARE = [lambda x, f=f: f(x, x) for f in PAIRS]
RARE += [torch.frac, torch.erfinv, torch.asinh, torch.digamma, torch.logit, torch.sinc, torch.trunc]
"""Each is launched by one case alone: a process that serves several has loaded what it had."""


def ping_pong(size):
    """Each needs what the other is to send while it loads a kernel."""
    rank, wrong = dist.get_rank(), []
    some = torch.ones(3, device="cuda")
    for i, rare in enumerate(RARE[:5] if size == SIZES[0] else RARE[5:10]):
        there = torch.full((size,), float(i), device="cuda")
        back = torch.full((size,), -1.0, device="cuda")
        if rank == 0:
            sent = dist.isend(there, 1)
        come = dist.irecv(back, 1 - rank)
        come.wait()
        rare(some)
        if rank == 1:
            sent = dist.isend(back + 1, 0)
        come.wait(LIMIT)
        sent.wait(LIMIT)
        wrong += [i] if not back.eq(i + 1.0 - rank).all() else []
    return wrong


@pytest.mark.parametrize("size", SIZES)
def test_messages_move_while_a_kernel_is_loaded(size):
    assert ranks.run(ping_pong, 2, size, setup=SETUP, timeout_s=40.0) == [[]] * 2


def bereaved(count):
    """The GPU waits for a rank that has left, and the loading of a kernel for the GPU."""
    some = torch.ones(count, device="cuda")
    dist.all_reduce(some)
    if dist.get_rank() == 1:
        return None
    work = dist.all_reduce(some, async_op=True)
    work.wait()
    begin = time.monotonic()
    RARE[10 if count == 10 else 11](some)
    with pytest.raises(dist.DistBackendError) as caught:
        work.wait(LIMIT)
    return "rank 1" in str(caught.value) and time.monotonic() - begin < 10


@pytest.mark.parametrize("count", [10, 1_000_000])
def test_a_rank_that_leaves_while_a_kernel_is_loaded(count):
    assert ranks.run(bereaved, 2, count, setup=SETUP, timeout_s=40.0) == [True, None]


@pytest.mark.skipif(COUNT < 2, reason="there are no two GPUs")
def test_a_leg_that_never_comes_is_given_up_while_a_kernel_is_loaded():
    some = torch.ones(3, device="cuda:0")
    check_given_up(CudaRig(SHARES, timeout=1.0), lambda: RARE[12](some), r"\d\.\d")
