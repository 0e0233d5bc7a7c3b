#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""A few small calls by two threads, on a GPU each where there are two: for compute-sanitizer."""

from datetime import timedelta

import torch
import torch.distributed as dist

import pinnedpg.threads


def main():
    """One rank."""
    dist.init_process_group("pinned", timeout=timedelta(seconds=40))  # a hang is an error
    torch.cuda.set_device(dist.get_rank() % torch.cuda.device_count())
    torch.cuda.set_stream(torch.cuda.Stream())
    rank, world = dist.get_rank(), dist.get_world_size()
    for dtype in (torch.float32, torch.bfloat16, torch.int8):
        for count in (1, 7, 4096, 100_003, 1_100_003):  # the last is no one kernel
            tensor = torch.full((count,), rank + 1, dtype=dtype, device="cuda")
            dist.all_reduce(tensor)
            assert tensor.eq(3).all()
            dist.broadcast(tensor.fill_(rank), 1)
            assert tensor.eq(1).all()
            parts = [torch.empty_like(tensor) for _ in range(world)]
            dist.all_gather(parts, tensor.fill_(rank))
            assert all(part.eq(peer).all() for peer, part in enumerate(parts))
    dist.destroy_process_group()
    return True


if __name__ == "__main__":
    assert pinnedpg.threads.run(main, 2) == [True, True]
