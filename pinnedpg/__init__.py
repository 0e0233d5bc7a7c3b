# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""torch.distributed over shared pinned host memory: importing registers the backend "pinned".

Importing neither initialises CUDA nor starts a thread or a process.
"""

import atexit

from pinnedpg import _load

_load.load()

from pinnedpg import _C
from pinnedpg._C import Options, ProcessGroupPinned, built_with_cuda, cuda_device_count
from pinnedpg._register import register, set_default
from pinnedpg.trace import trace

__version__ = "0.1.0"
__all__ = [
    "Options",
    "ProcessGroupPinned",
    "__version__",
    "built_with_cuda",
    "cuda_device_count",
    "register",
    "set_default",
    "trace",
]

register()

# The worker lets go of tensors: no thread may while the interpreter is being taken down.
atexit.register(_C._retire_worker, seconds=1)
