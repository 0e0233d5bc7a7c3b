# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Sums over all ranks, at once and in the background.

torchrun --standalone --nproc-per-node 3 examples/all_reduce.py [--device cuda]

On GPUs rank r has number r modulo how many there are.
"""

import argparse

import torch
import torch.distributed as dist

import pinnedpg  # noqa: F401  registers the backend "pinned"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    device = parser.parse_args().device
    dist.init_process_group("pinned")
    rank, world_size = dist.get_rank(), dist.get_world_size()
    if device == "cuda":
        device = f"cuda:{rank % torch.cuda.device_count()}"
        torch.cuda.set_device(device)

    tensor = torch.full((1 << 20,), float(rank + 1), device=device)
    dist.all_reduce(tensor)
    expected = torch.full_like(tensor, world_size * (world_size + 1) / 2)
    torch.testing.assert_close(tensor, expected, rtol=0, atol=0)

    # Many may be under way: they start in the order of the calls, which is the same on all ranks.
    tensors = [torch.full((1000,), rank + i, device=device) for i in range(16)]
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
