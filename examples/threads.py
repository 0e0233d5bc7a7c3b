# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Ranks as threads of one process: what torchrun would start, without processes.

python examples/threads.py
"""

import torch
import torch.distributed as dist

from pinnedpg import threads

RANKS = 4


def rank_main(offset):
    """Gathers among the even ranks and among the odd ones, then reduces over all."""
    dist.init_process_group("pinned")  # each thread has a default group of its own
    rank, world_size = dist.get_rank(), dist.get_world_size()

    groups = [dist.new_group(list(range(first, world_size, 2))) for first in range(2)]
    mine = groups[rank % 2]
    gathered = [torch.empty(2, dtype=torch.int64) for _ in range(dist.get_world_size(mine))]
    dist.all_gather(gathered, torch.tensor([rank, rank + offset]), group=mine)

    total = torch.stack(gathered).sum(0)
    dist.all_reduce(total)
    return total


def main():
    totals = threads.run(rank_main, RANKS, 100)  # what the ranks returned
    # Each rank was gathered by all ranks of its half.
    expected = torch.tensor([sum(range(RANKS)), sum(range(RANKS)) + 100 * RANKS]) * (RANKS // 2)
    assert all(torch.equal(total, expected) for total in totals), f"got {totals}, not {expected}"
    print(f"threads: ok, {RANKS} threads, total {expected.tolist()}")


if __name__ == "__main__":
    main()
