# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""What the tests of collectives on GPUs share."""

import time
from datetime import timedelta

import torch
import torch.distributed as dist

FUSED_BYTES = 1 << 20


def captures_into(graph):
    """Captures on a stream of this rank's GPU: torch's own is that of the process's first."""
    return torch.cuda.graph(graph, stream=torch.cuda.Stream(), capture_error_mode="thread_local")


def captures(count):
    """Returns "captured", or why an all_reduce of so many elements cannot be."""
    tensor = torch.ones(count, device="cuda")
    dist.all_reduce(tensor)
    torch.cuda.synchronize()
    try:
        with captures_into(torch.cuda.CUDAGraph()):
            dist.all_reduce(tensor)
    except ValueError as error:
        return str(error)
    finally:
        dist.barrier()  # to capture empties torch's caches on the GPUs of all threads, which waits
    return "captured"


def left_alone(how, count=1_000_000):
    dist.all_reduce(torch.ones(1, device="cuda"))
    torch.cuda.synchronize()
    if dist.get_rank() == 1:
        if how == "leaves":
            return "left"
        time.sleep(30)
    begin = time.monotonic()
    work = dist.all_reduce(torch.ones(count, device="cuda"), async_op=True)
    torch.cuda.synchronize()
    try:
        work.wait(timedelta(seconds=20))
        for _ in range(100):
            time.sleep(0.01)
            dist.all_reduce(torch.ones(1, device="cuda"))
    except dist.DistBackendError as error:
        return f"{time.monotonic() - begin:.1f} {error}"
    return "no error"
