# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Sums over all ranks, at once and in the background.

torchrun --standalone --nproc-per-node 3 examples/all_reduce.py
"""

import torch
import torch.distributed as dist

import pinnedpg  # noqa: F401  registers the backend "pinned"


def main():
    dist.init_process_group("pinned")
    rank, world_size = dist.get_rank(), dist.get_world_size()

    tensor = torch.full((1 << 20,), float(rank + 1))
    dist.all_reduce(tensor)
    expected = torch.full_like(tensor, world_size * (world_size + 1) / 2)
    torch.testing.assert_close(tensor, expected, rtol=0, atol=0)

    # Many may be under way: they start in the order of the calls, which is the same on all ranks.
    tensors = [torch.full((1000,), rank + i) for i in range(16)]
    works = [dist.all_reduce(one, dist.ReduceOp.MAX, async_op=True) for one in tensors]
    for i, (one, work) in enumerate(zip(tensors, works, strict=True)):
        work.wait()
        assert (one == world_size - 1 + i).all(), f"rank {rank}, call {i}: got {one}"

    dist.barrier()  # all ranks have checked
    if rank == 0:
        print(f"all_reduce: ok, {world_size} ranks, sum {expected[0]:g}", flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
