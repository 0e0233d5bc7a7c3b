#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""What a call takes with ranks as processes, as threads, and as tensors of one list: a table.

    python tests/gpu/forms.py [RANKS ...]     2 4 8

Microseconds; ranks share a GPU where there are fewer. An all_gather's size is that of its output.
"""

import pathlib
import sys
import time

import torch
import torch.distributed as dist

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import ranks

import pinnedpg.devices

SIZES = [8, 64 << 10, 1 << 20, 64 << 20]
FORMS = ["processes", "threads", "list"]
CALLS = ["all_reduce", "broadcast", "all_gather"]
ROUND_S = 0.15
MOST = 200


def call_of(name, tensors, world):
    """Returns a function that makes that call, with one tensor of each member."""
    if name == "all_reduce":
        return lambda: pinnedpg.devices.all_reduce(tensors)
    if name == "broadcast":
        return lambda: pinnedpg.devices.broadcast(tensors, 0)
    parts = [list(tensor.chunk(world)) for tensor in tensors]
    first = dist.get_rank() * len(tensors)
    own = [parts[i][first + i] for i in range(len(tensors))]
    return lambda: pinnedpg.devices.all_gather(parts, own)


def seconds(call, count):
    """Of one of so many calls, on the slowest rank."""
    torch.cuda.synchronize()
    dist.barrier()
    begin = time.perf_counter()
    for _ in range(count):
        call()
    torch.cuda.synchronize()
    took = torch.tensor((time.perf_counter() - begin) / count)
    dist.all_reduce(took, dist.ReduceOp.MAX)
    return took.item()


def timed(members):
    """Microseconds by call and bytes, of a rank with so many tensors."""
    gpus, first = torch.cuda.device_count(), dist.get_rank() * members
    world = dist.get_world_size() * members
    torch.cuda.set_device(first % gpus)
    torch.cuda.set_stream(torch.cuda.Stream())
    found = {}
    for nbytes in SIZES:
        count = max(nbytes // 4 // world, 1) * world
        tensors = [torch.zeros(count, device=f"cuda:{(first + i) % gpus}") for i in range(members)]
        torch.cuda.synchronize()
        for name in CALLS:
            call = call_of(name, tensors, world)
            call()
            pilot = seconds(call, 3)
            number = min(max(int(ROUND_S / pilot), 2), MOST)
            found[name, nbytes] = min(seconds(call, number) for _ in range(2)) * 1e6
    return found


def main():
    """Prints a row for each call, number of ranks and form."""
    counts = [int(word) for word in sys.argv[1:]] or [2, 4, 8]
    print(f"{torch.cuda.device_count()} GPUs, microseconds of a call")
    print("| call | ranks | form | 8 B | 64 KiB | 1 MiB | 64 MiB |\n|---|---|---|---|---|---|---|")
    for count in counts:
        found = {}
        for form in FORMS:
            world, members = (1, count) if form == "list" else (count, 1)
            launcher = "threads" if form == "threads" else "processes"
            found[form] = ranks.run(timed, world, members, launcher=launcher, timeout_s=60)[0]
        for name in CALLS:
            for form in FORMS:
                row = " | ".join(f"{found[form][name, nbytes]:.1f}" for nbytes in SIZES)
                print(f"| {name} | {count} | {form} | {row} |", flush=True)


if __name__ == "__main__":
    main()
