#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Compares choices of pinnedpg.Options: a group for each, in the same processes, round by round.

    torchrun --nproc-per-node N tests/perf/options.py [-o OPERATION] [--sizes 4K,64K] CHOICE ...

A choice is a list like one_shot_bytes=64K,depth=8. Prints the median microseconds of a call by size
and choice (of the slowest rank's rounds). With --device cuda each rank takes the GPU of its number,
as far as there are any.
"""

import argparse
import functools
import os
import statistics
import time

import torch
import torch.distributed as dist

import pinnedpg
from pinnedpg.bench.backends import all_gather_single, reduce_scatter_single

UNITS = {"K": 10, "M": 20, "G": 30}
ROUNDS = 15
ROUND_S = 0.02


def number(text):
    return int(text[:-1]) << UNITS[text[-1]] if text[-1] in UNITS else int(text)


def call_of(operation, nbytes, group, device="cpu", dtype=torch.float32):
    """Returns a function that makes one call with tensors of that size, the largest of a rank."""
    world = group.size()
    count = max(nbytes // dtype.itemsize // world, 1) * world
    whole = torch.ones(count, dtype=dtype, device=device)
    shard, other = torch.ones_like(whole[: whole.numel() // world]), torch.ones_like(whole)
    return {
        "all_reduce": lambda: dist.all_reduce(whole, dist.ReduceOp.MAX, group=group),
        "broadcast": lambda: dist.broadcast(whole, 0, group=group),
        "all_gather": lambda: all_gather_single(whole, shard, group=group),
        "reduce_scatter": lambda: reduce_scatter_single(shard, whole, group=group),
        "ping_pong": lambda: ping_pong(whole, group),
        "all_to_all": lambda: dist.all_to_all_single(other, whole, group=group),
    }[operation]


def ping_pong(tensor, group):
    """A message from rank 0 to rank 1, and one back."""
    steps = [dist.send, dist.recv][:: 1 if group.rank() == 0 else -1]
    for step in steps:
        step(tensor, 1 - group.rank(), group=group)


def timed(call, calls, synchronize):
    synchronize()
    dist.barrier()
    begin = time.perf_counter()
    for _ in range(calls):
        call()
    synchronize()
    taken = torch.tensor((time.perf_counter() - begin) / calls)
    dist.all_reduce(taken, dist.ReduceOp.MAX)
    return taken.item()


def compare(head, names, sizes, timers, shows=True):
    """Prints the median microseconds of a call by size and name: round by round, all in turn.

    Args:
        head: What is compared.
        names: Of what takes turns.
        sizes: As the command line has them.
        timers: Returns, for a size, what takes a number of calls and returns the seconds of one.
        shows: Whether this process is to print.
    """
    if shows:
        print(f"| {head} | " + " | ".join(names) + " |")
        print("|---" * (1 + len(names)) + "|")
    for size in sizes.split(","):
        each = timers(number(size))
        first = max(timer(3) for timer in each)
        calls = max(1, int(ROUND_S / first))
        rounds = [[timer(calls) for timer in each] for _ in range(ROUNDS)]
        cells = [f"{1e6 * statistics.median(column):.1f}" for column in zip(*rounds, strict=True)]
        if shows:
            print(f"| {size} | " + " | ".join(cells) + " |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", default="all_reduce")
    parser.add_argument("--sizes", default="8,4K,16K,64K,256K,1M")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("choices", nargs="+")
    given = parser.parse_args()
    if given.device == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())
    if given.device == "cpu":
        os.sched_setaffinity(0, {int(os.environ["LOCAL_RANK"]) % os.cpu_count()})
    torch.set_num_threads(1)
    dist.init_process_group("pinned")
    synchronize = torch.cuda.synchronize if given.device == "cuda" else lambda: None
    groups = []
    for choice in given.choices:
        pairs = [pair.split("=") for pair in choice.split(",")]
        options = pinnedpg.Options(**{name: number(value) for name, value in pairs})
        groups.append(dist.new_group(backend="pinned", pg_options=options))
    about = {"device": given.device, "dtype": getattr(torch, given.dtype)}

    def timers(nbytes):
        calls = [call_of(given.o, nbytes, group, **about) for group in groups]
        return [functools.partial(timed, call, synchronize=synchronize) for call in calls]

    head = f"{given.o} {given.dtype}, {dist.get_world_size()} ranks"
    compare(head, given.choices, given.sizes, timers, shows=dist.get_rank() == 0)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
