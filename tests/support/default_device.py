# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Where tensors lie of which a test does not say where: on the CPU, or on the rank's GPU.

The tests' own process stays on the CPU, and compares with what it reckons there.
"""

import os
from collections.abc import Callable
from datetime import timedelta

import torch
import torch.distributed as dist

ON_GPU = os.environ.get("PINNEDPG_TEST_DEFAULT", "cpu") != "cpu"
"""Whether the default device of the ranks is a GPU (see `worker.spread`)."""
if ON_GPU and os.environ.get("PINNEDPG_TEST_DEVICE") != "cuda":
    raise RuntimeError("PINNEDPG_TEST_DEFAULT=cuda needs PINNEDPG_TEST_DEVICE=cuda")


def made(make: Callable):
    """Returns what `make()` draws on the CPU, tensor or module: the same numbers on any device."""
    device = torch.get_default_device()
    with torch.device("cpu"):
        return make().to(device)


def randn(generator: torch.Generator, *size: int) -> torch.Tensor:
    """Returns normal numbers of a generator of the CPU's."""
    return made(lambda: torch.randn(size, generator=generator))


def wait_on_host(work: dist.Work) -> bool:
    """Waits until the call is over: with CUDA tensors `wait()` orders the current stream alone."""
    return work.wait(timedelta(seconds=20)) if ON_GPU else work.wait()
