# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Times pinned against gloo: the same processes, the same tensors, round by round in turn.

    python tests/perf/compare.py --world-size 2 --json compare.json

Ranks are pinned to cores, rank r to core r modulo their number. A round is some calls of one
backend and then the same calls of the other (the order alternates), each after a barrier; its time
is the slowest rank's, per call. Reported are the medians of the rounds and of their ratios. bytes:
of the whole tensor, as nccl-tests counts it.
"""

import argparse
import json
import os
import platform
import statistics
import tempfile
import time

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

import pinnedpg  # noqa: F401

CORES = sorted(os.sched_getaffinity(0))
all_gather_single = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor
reduce_scatter_single = getattr(dist, "reduce_scatter_single", None) or dist.reduce_scatter_tensor

OPS = {
    "all_reduce": lambda whole, shard, other, group: dist.all_reduce(whole, group=group),
    "broadcast": lambda whole, shard, other, group: dist.broadcast(whole, 0, group=group),
    "all_gather": lambda whole, shard, other, group: all_gather_single(whole, shard, group=group),
    "reduce_scatter": lambda whole, shard, other, group: reduce_scatter_single(
        shard, whole, group=group
    ),
    "all_to_all": lambda whole, shard, other, group: dist.all_to_all_single(
        other, whole, group=group
    ),
}
SECONDS_PER_CELL = 0.6
BACKENDS = ("gloo", "pinned")


def parse_bytes(text):
    """Returns the bytes of "64", "4K" or "64M"."""
    return int(text.rstrip("KM")) << {"K": 10, "M": 20}.get(text[-1], 0)


def arguments():
    """Returns the parsed command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--world-size", type=int, default=2)
    parser.add_argument("--ops", default=",".join(OPS))
    parser.add_argument("--sizes", default="8,64,512,4K,16K,64K,256K,1M,4M,16M,64M")
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--json", help="file to write the results to")
    return parser.parse_args()


def time_calls(call, calls):
    """Returns the seconds of one of that many calls."""
    began = time.perf_counter()
    for _ in range(calls):
        call()
    return (time.perf_counter() - began) / calls


def compare(op, nbytes, rounds, groups):
    """Returns {backend: [seconds per call of each round]}, on rank 0; elsewhere None."""
    world = dist.get_world_size()
    count = max(world, nbytes // 4)
    count -= count % world
    tensors = torch.zeros(count), torch.zeros(count // world), torch.zeros(count)
    calls = {name: lambda g=group: OPS[op](*tensors, g) for name, group in groups.items()}
    pilot = torch.zeros(1, dtype=torch.float64)
    for call in calls.values():
        call()
        pilot += time_calls(call, 3)
    dist.all_reduce(pilot, dist.ReduceOp.MAX)
    repeats = max(1, min(100, int(SECONDS_PER_CELL / rounds / pilot.item())))
    taken = {name: [] for name in groups}
    for number in range(rounds):
        for name in BACKENDS if number % 2 else reversed(BACKENDS):
            dist.barrier(groups[name])
            taken[name].append(time_calls(calls[name], repeats))
    mine = torch.tensor([taken[name] for name in BACKENDS], dtype=torch.float64)
    dist.all_reduce(mine, dist.ReduceOp.MAX)
    return dict(zip(BACKENDS, mine.tolist(), strict=True)) | {"calls": repeats}


def rank_main(rank, options, store, results):
    """One rank: compares every op at every size; rank 0 prints."""
    world = options.world_size
    os.sched_setaffinity(0, {CORES[rank % len(CORES)]})
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=world)
    groups = {"gloo": dist.group.WORLD, "pinned": dist.new_group(backend="pinned")}
    if rank == 0:
        print(f"{'op':>15} {'bytes':>10} {'gloo us':>11} {'pinned us':>11} {'ratio':>7}")
    for op in options.ops.split(","):
        for nbytes in map(parse_bytes, options.sizes.split(",")):
            found = compare(op, nbytes, options.rounds, groups)
            if rank == 0:
                results.put(report(op, nbytes, found))
    dist.destroy_process_group()


def report(op, nbytes, found):
    """Prints one line and returns it as a row."""
    gloo, pinned = (statistics.median(found[name]) * 1e6 for name in BACKENDS)
    pairs = zip(found["gloo"], found["pinned"], strict=True)
    ratio = statistics.median(one / other for one, other in pairs)
    print(f"{op:>15} {nbytes:>10} {gloo:>11.1f} {pinned:>11.1f} {ratio:>7.2f}", flush=True)
    return {
        "op": op,
        "bytes": nbytes,
        "gloo_us": round(gloo, 2),
        "pinned_us": round(pinned, 2),
        "ratio": round(ratio, 3),
        "calls_per_round": found["calls"],
    }


def main():
    """Runs the ranks and writes the JSON."""
    options = arguments()
    with tempfile.TemporaryDirectory() as folder:
        results = mp.get_context("spawn").SimpleQueue()
        spawned = mp.spawn(
            rank_main, (options, f"{folder}/store", results), options.world_size, join=False
        )
        rows = []
        cells = len(options.ops.split(",")) * len(options.sizes.split(","))
        while len(rows) < cells and not spawned.join(timeout=0):
            while not results.empty():
                rows.append(results.get())
            time.sleep(0.05)
        while not spawned.join():
            pass
        while not results.empty():
            rows.append(results.get())
    if options.json:
        machine = {
            "machine": platform.machine(),
            "cores": len(CORES),
            "torch": torch.__version__,
        }
        with open(options.json, "w") as file:
            json.dump({**machine, "world_size": options.world_size, "rows": rows}, file, indent=1)


if __name__ == "__main__":
    main()
