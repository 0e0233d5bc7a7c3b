#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Makes small calls of each operation, for what counts them: tests/test_cost.py and growth.py.

    python tests/perf/small_calls.py RANK WORLD_SIZE FOLDER BACKEND CALLS [OPERATION ...]

Prints, where the allocation counter is preloaded, "operation allocations-per-call" for each.
"""

import ctypes
import os
import sys

import torch
import torch.distributed as dist

from pinnedpg.bench.backends import all_gather_single, reduce_scatter_single

OPERATIONS = {
    "all_reduce": lambda t: dist.all_reduce(t.small),
    "broadcast": lambda t: dist.broadcast(t.small, 0),
    "all_gather": lambda t: all_gather_single(t.wide, t.small),
    "reduce_scatter": lambda t: reduce_scatter_single(t.small, t.wide),
    "all_to_all": lambda t: dist.all_to_all_single(t.wide, t.other),
    "barrier": lambda t: dist.barrier(),
}


class Tensors:
    """What the calls are made with."""

    def __init__(self, world_size):
        self.small = torch.ones(2)
        self.wide, self.other = torch.ones(2 * world_size), torch.ones(2 * world_size)


def main():
    rank, world_size, folder, backend, calls, *operations = sys.argv[1:]
    rank, world_size, calls = int(rank), int(world_size), int(calls)
    store = dist.FileStore(os.path.join(folder, "store"), world_size)
    if backend == "fake":
        from torch.testing._internal.distributed.fake_pg import FakeStore

        store = FakeStore()
    dist.init_process_group(backend, store=store, rank=rank, world_size=world_size)
    tensors = Tensors(world_size)
    counter = getattr(ctypes.CDLL(None), "counted_allocations", lambda: 0)
    for name in operations or OPERATIONS:
        call = OPERATIONS[name]
        for _ in range(20):
            call(tensors)
        before = counter()
        for _ in range(calls):
            call(tensors)
        print(name, (counter() - before) / calls)


if __name__ == "__main__":
    main()
