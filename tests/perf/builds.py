#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Compares builds of pinnedpg, say with another constant: round by round, each in its own ranks.

    python tests/perf/builds.py [-o OPERATION] [--sizes 4K,64K] [--nproc 2] NAME=FOLDER ...

A folder holds a built package pinnedpg. Rank r of each build is pinned to core r, and sleeps while
another build has its turn. Prints the median microseconds of a call by size and build (of the
slowest rank's rounds).
"""

import argparse
import functools
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path


class Build:
    """The ranks of one build."""

    def __init__(self, folder, nproc, operation):
        self.store = tempfile.TemporaryDirectory()
        env = {**os.environ, "PYTHONPATH": folder, "STORE": f"{self.store.name}/store"}
        command = [sys.executable, __file__, "-o", operation, "--rank"]
        self.ranks = [
            subprocess.Popen(
                [*command, str(rank), "--nproc", str(nproc)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=env,
                cwd="/",
            )
            for rank in range(nproc)
        ]

    def timed(self, nbytes, calls):
        """Returns the seconds of a call."""
        for rank in self.ranks:
            print(nbytes, calls, file=rank.stdin, flush=True)
        return max(float(rank.stdout.readline()) for rank in self.ranks)

    def end(self):
        for rank in self.ranks:
            rank.stdin.close()
        for rank in self.ranks:
            rank.wait()
        self.store.cleanup()


def serve(rank, nproc, operation):
    """One rank: makes the calls that it is told to."""
    import torch
    import torch.distributed as dist

    sys.path.insert(0, str(Path(__file__).resolve().parent))
    from options import call_of

    os.sched_setaffinity(0, {rank % os.cpu_count()})
    torch.set_num_threads(1)
    store = dist.FileStore(os.environ["STORE"], nproc)
    dist.init_process_group("pinned", store=store, rank=rank, world_size=nproc)
    known = {}
    for line in sys.stdin:
        nbytes, calls = map(int, line.split())
        if nbytes not in known:
            known[nbytes] = call_of(operation, nbytes, dist.group.WORLD)
        dist.barrier()
        begin = time.perf_counter()
        for _ in range(calls):
            known[nbytes]()
        print((time.perf_counter() - begin) / calls, flush=True)


def main():
    from options import compare

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", default="all_reduce")
    parser.add_argument("--sizes", default="8,4K,16K,64K,256K,1M")
    parser.add_argument("--nproc", type=int, default=2)
    parser.add_argument("--rank", type=int, help=argparse.SUPPRESS)
    parser.add_argument("builds", nargs="*")
    given = parser.parse_args()
    if given.rank is not None:
        return serve(given.rank, given.nproc, given.o)
    named = dict(build.split("=") for build in given.builds)
    builds = [Build(os.path.abspath(folder), given.nproc, given.o) for folder in named.values()]

    def timers(nbytes):
        return [functools.partial(build.timed, nbytes) for build in builds]

    compare(f"{given.o}, {given.nproc} ranks", list(named), given.sizes, timers)
    for build in builds:
        build.end()
    return None


if __name__ == "__main__":
    main()
