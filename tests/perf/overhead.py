# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Times a call of 8 bytes from Python against torch's "fake" backend, which moves nothing.

    python tests/perf/overhead.py --world-sizes 1,2

What a call costs over "fake" is ours: its checks, its exchange, and the wait for the other ranks.
What "fake" costs is torch's; of all_gather and reduce_scatter that has a copy_ for each rank in it,
so the difference can be below zero. Both backends are in the same process and take turns, round by
round, each round after a barrier. Rank r is pinned to core r. Microseconds of one call on rank 0:
medians of the rounds, of the differences within a round, and the least.
"""

import argparse
import os
import statistics
import tempfile
import time

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.testing._internal.distributed.fake_pg  # registers "fake"

import pinnedpg  # noqa: F401

CORES = sorted(os.sched_getaffinity(0))
NBYTES = 8
BACKENDS = ("fake", "pinned")
all_gather_single = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor
reduce_scatter_single = getattr(dist, "reduce_scatter_single", None) or dist.reduce_scatter_tensor


def exchange(tensor, other, group):
    """One message each way: from rank 0 and back; with one rank, to itself."""
    rank = dist.get_rank()
    if dist.get_world_size() == 1:
        work = dist.isend(tensor, 0, group=group)
        dist.recv(other, 0, group=group)
        work.wait()
    elif rank == 0:
        dist.send(tensor, 1, group=group)
        dist.recv(other, 1, group=group)
    else:
        dist.recv(other, 0, group=group)
        dist.send(tensor, 0, group=group)


OPS = {
    "all_reduce": lambda whole, shard, group: dist.all_reduce(whole, group=group),
    "all_reduce async, wait": lambda whole, shard, group: dist.all_reduce(
        whole, group=group, async_op=True
    ).wait(),
    "broadcast": lambda whole, shard, group: dist.broadcast(whole, 0, group=group),
    "all_gather_into_tensor": lambda whole, shard, group: all_gather_single(
        whole, shard, group=group
    ),
    "reduce_scatter_tensor": lambda whole, shard, group: reduce_scatter_single(
        shard, whole, group=group
    ),
    "barrier": lambda whole, shard, group: dist.barrier(group=group),
    "send and recv": lambda whole, shard, group: exchange(whole, whole.clone(), group),
}


def arguments():
    """Returns the parsed command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--world-sizes", default="1,2")
    parser.add_argument("--rounds", type=int, default=301)
    parser.add_argument("--calls", type=int, default=20, help="of one backend in a round")
    return parser.parse_args()


def time_calls(call, calls):
    """Returns the microseconds of one of that many calls."""
    began = time.perf_counter()
    for _ in range(calls):
        call()
    return (time.perf_counter() - began) / calls * 1e6


def measure(op, groups, options):
    """Returns {backend: [microseconds of one call, by round]}."""
    world = dist.get_world_size()
    whole = torch.zeros(NBYTES // 4)
    shard = torch.zeros(NBYTES // 4 // world)
    calls = {name: lambda g=group: OPS[op](whole, shard, g) for name, group in groups.items()}
    taken = {name: [] for name in groups}
    for number in range(options.rounds + 5):
        for name in BACKENDS if number % 2 else reversed(BACKENDS):
            dist.barrier()
            taken[name].append(time_calls(calls[name], options.calls))
    return {name: values[5:] for name, values in taken.items()}  # the first ones warm up


def report(op, taken):
    """Prints one line."""
    fake, pinned = (statistics.median(taken[name]) for name in BACKENDS)
    pairs = zip(taken["fake"], taken["pinned"], strict=True)
    difference = statistics.median(ours - theirs for theirs, ours in pairs)
    least = [min(taken[name]) for name in BACKENDS]
    print(
        f"| {dist.get_world_size()} | {op} | {fake:.1f} | {pinned:.1f} | {difference:.1f} "
        f"| {least[0]:.1f} | {least[1]:.1f} | {least[1] - least[0]:.1f} |",
        flush=True,
    )


def rank_main(rank, world, store, options):
    """One rank: times every call; rank 0 prints."""
    os.sched_setaffinity(0, {CORES[rank % len(CORES)]})
    torch.set_num_threads(1)
    dist.init_process_group("pinned", init_method=f"file://{store}", rank=rank, world_size=world)
    groups = {name: dist.new_group(backend=name) for name in BACKENDS}
    for op in OPS:
        taken = measure(op, groups, options)
        if rank == 0:
            report(op, taken)
    dist.destroy_process_group()


def main():
    """Runs the ranks, one number of them after the other."""
    options = arguments()
    print("| ranks | call | fake | pinned | difference | least: fake | pinned | difference |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    for world in map(int, options.world_sizes.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            mp.spawn(rank_main, (world, f"{folder}/store", options), world)


if __name__ == "__main__":
    main()
