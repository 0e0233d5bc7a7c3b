# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""The command line: nccl-tests' flags, and ours."""

import argparse
import math
import os
from collections.abc import Callable, Collection

import torch

from pinnedpg.bench.backends import COMMS
from pinnedpg.bench.operations import DTYPES, OPERATIONS, REDUCTIONS, sizes

DEFAULT = ["all_reduce", "broadcast", "all_gather", "reduce_scatter", "all_to_all", "barrier"]
ABOUT = """Times collectives in the manner of nccl-tests, several backends side by side.

    python -m pinnedpg.bench                                     two ranks on this machine
    python -m pinnedpg.bench all_reduce -b 8 -e 64M -f 4 --backend pinned,gloo
    torchrun --nproc-per-node 4 -m pinnedpg.bench broadcast
    mpirun -n 2 python -m pinnedpg.bench --backend pinned,gloo,mpi

A size is that of the largest tensor of a rank, as nccl-tests counts, made a multiple of the ranks.
All backends run in the same processes on the same tensors, round by round in turn; every result is
compared with the definition before and after. Times are the medians of the rounds of the slowest
rank; p50 and p99 are of single calls. Ratios are the medians of the paired rounds. Where torch has
no out-of-place form, or no in-place one, the table says "-". The exit status is 1 where a result
was wrong."""


def parse_bytes(text: str) -> int:
    """Returns the bytes of "64", "4K", "8M" or "1G"."""
    scale = {"K": 10, "M": 20, "G": 30}.get(text[-1:].upper(), 0)
    number = text[:-1] if scale else text
    if not number.isdecimal() or int(number) == 0:
        raise argparse.ArgumentTypeError(f'must be like "64", "4K", "8M"; got {text!r}')
    return int(number) << scale


def _above(least: int) -> Callable[[str], int]:
    def whole(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"must be a whole number from {least}; got {text!r}")
        return int(text)

    return whole


def _seconds(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not 0 < found < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number above 0; got {text!r}")
    return found


def _file(text: str) -> str:
    folder = os.path.dirname(os.path.abspath(text))
    if os.path.isdir(text) or not os.access(folder, os.W_OK):
        raise argparse.ArgumentTypeError(f"must be a file that can be written; got {text!r}")
    return text


def _some_of(known: Collection[str]) -> Callable[[str], list[str]]:
    def listed(text: str) -> list[str]:
        found = text.split(",")
        for name in found:
            if name not in known:
                raise argparse.ArgumentTypeError(f"must be of {','.join(known)}; got {name!r}")
        return list(dict.fromkeys(found))

    return listed


def _byte_list(text: str) -> list[int]:
    return [parse_bytes(one) for one in text.split(",")]


def parser() -> argparse.ArgumentParser:
    """Describes the command line."""
    made = argparse.ArgumentParser(
        "python -m pinnedpg.bench",
        description=ABOUT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = made.add_argument
    add("operations", nargs="*", metavar="operation", help=f"of {', '.join(OPERATIONS)}")
    add("-b", "--minbytes", type=parse_bytes, default=8, metavar="SIZE")
    add("-e", "--maxbytes", type=parse_bytes, default=64 << 20, metavar="SIZE")
    add("-f", "--stepfactor", type=_above(2), default=8, help="each size is so many times the last")
    add("--sizes", type=_byte_list, help="a list of sizes, instead of -b, -e and -f")
    add("-n", "--iters", type=_above(1), default=20, help="calls of a round, fewer of slow ones")
    add("-w", "--warmup_iters", type=_above(0), default=5)
    add("-o", "--op", choices=REDUCTIONS, default="sum")
    add("-d", "--datatype", type=_some_of(DTYPES), default=["float"], help=f"of {','.join(DTYPES)}")
    add("-r", "--root", type=_above(0), default=0)
    add("-c", "--check", type=_above(0), default=1, help="0: do not check the results")
    add("-J", "--json", type=_file, metavar="FILE", help="for all that was measured, and on what")
    add("--rounds", type=_above(1), default=21, help="of each backend at the most")
    add("--seconds", type=_seconds, default=3.0, help="of one size at the most, roughly")
    add("--backend", type=_some_of(COMMS), default=["pinned"], help=f"of {','.join(COMMS)}")
    add("--device", choices=("cpu", "cuda"), default="cpu")
    add("--nproc", type=_above(1), default=2, help="ranks, where no launcher has started this one")
    add("--no-pin", action="store_true", help="do not pin rank r to core r")
    add("--roofline", action="store_true", help="measure how fast the cores copy, too")
    add(
        "--plot",
        type=_file,
        metavar="FILE",
        help="charts: FILE.svg makes FILE-latency.svg, FILE-bandwidth.svg",
    )
    return made


def parse(words: list[str]) -> argparse.Namespace:
    """Returns the options, `sizes` and `operations` filled in; ends the program on bad ones."""
    made = parser()
    options = made.parse_args(words)
    for name in options.operations:
        if name not in OPERATIONS:
            made.error(f"operation must be one of {', '.join(OPERATIONS)}; got {name}")
    if options.device == "cuda" and not torch.cuda.is_available():
        made.error("--device cuda needs a GPU, and a torch for it")
    options.operations = options.operations or DEFAULT
    options.sizes = options.sizes or list(
        sizes(options.minbytes, options.maxbytes, options.stepfactor)
    )
    if not options.sizes:
        made.error(f"-b must be at most -e; got {options.minbytes} and {options.maxbytes}")
    return options
