# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""What the tests of messages between GPUs share."""

from datetime import timedelta

import torch
import torch.distributed as dist

LAUNCHERS = ["processes", "threads"]
LIMIT = timedelta(seconds=20)
SPIN = 600_000_000  # cycles: about 0.3 s
QUICK_S = 0.2


def own_stream():
    """Ranks that are threads of one GPU need streams of their own."""
    torch.cuda.set_stream(torch.cuda.Stream())
    return dist.get_rank()


def filled(count, value):
    return torch.full((count,), float(value), device="cuda")


def range_of(tensor):
    return [tensor.min().item(), tensor.max().item()]


def warm(rank, count=1):
    """The ranks have met, kernels are loaded, and memory of that size is pinned."""
    got = filled(count, -1)
    if rank == 0:
        dist.isend(filled(count, 1), 1).wait(LIMIT)
        dist.irecv(got, 1).wait(LIMIT)
    elif rank == 1:
        dist.irecv(got, 0).wait(LIMIT)
        dist.isend(got, 0).wait(LIMIT)
    got.fill_(1).add_(1).mul_(2)  # the kernels that the tests queue behind a spin
    range_of(got * 2)
    torch.cuda._sleep(1000)
    torch.cuda.synchronize()
