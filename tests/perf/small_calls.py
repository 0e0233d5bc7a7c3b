#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Makes small calls of each operation, for what counts them: tests/engine/test_cost.py, growth.py.

    python tests/perf/small_calls.py [--nbytes 8] RANK WORLD_SIZE FOLDER BACKEND CALLS [NAME ...]

Prints, where the allocation counter is preloaded, "operation allocations-per-call" for each.
"""

import argparse
import ctypes
import os

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

    def __init__(self, world_size, nbytes):
        self.small = torch.ones(nbytes // 4)
        self.wide = torch.ones(nbytes // 4 * world_size)
        self.other = torch.ones_like(self.wide)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--nbytes", type=int, default=8)
    for name in ("rank", "world_size", "folder", "backend", "calls"):
        parser.add_argument(name, type=str if name in ("folder", "backend") else int)
    parser.add_argument("operations", nargs="*", default=list(OPERATIONS))
    given = parser.parse_args()
    world_size, folder, backend = given.world_size, given.folder, given.backend
    store = dist.FileStore(os.path.join(folder, "store"), world_size)
    if backend == "fake":
        from torch.testing._internal.distributed.fake_pg import FakeStore

        store = FakeStore()
    dist.init_process_group(backend, store=store, rank=given.rank, world_size=world_size)
    tensors = Tensors(world_size, given.nbytes)
    dist.reduce(tensors.small, 0)  # the first call of a group costs more
    counter = getattr(ctypes.CDLL(None), "counted_allocations", lambda: 0)
    for name in given.operations:
        call = OPERATIONS[name]
        for _ in range(20):
            call(tensors)
        before = counter()
        for _ in range(given.calls):
            call(tensors)
        print(name, (counter() - before) / given.calls)


if __name__ == "__main__":
    main()
