#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Prints which types "pinned" and gloo move and reduce, as docs/dtypes.md shows it.

    python tests/support/dtype_table.py

Two ranks try every cell: an error is a refusal, and a result is compared with the definition. What
ends the process (as gloo does) or hangs counts for its cell, and new processes go on from the next.
"""

import subprocess
import sys
import tempfile
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

OPS = ["SUM", "AVG", "PRODUCT", "MIN", "MAX", "BAND", "BOR", "BXOR", "PREMUL_SUM"]
COLUMNS = [*OPS, "moved"]
FLOATS = (
    "float64 float32 float16 bfloat16 float8_e4m3fn float8_e5m2 float8_e4m3fnuz float8_e5m2fnuz"
)
INTEGERS = "int64 int32 int16 int8 uint64 uint32 uint16 uint8"
COMPLEX = "complex128 complex64"
NAMES = [*FLOATS.split(), *INTEGERS.split(), "bool", *COMPLEX.split()]
AS_SUCH = " by reduce"
"""Of complex numbers: all_reduce gets them as pairs of real ones, reduce as they are."""
ROWS = [*NAMES, *(name + AS_SUCH for name in COMPLEX.split())]
CELLS = [(row, column) for row in ROWS for column in COLUMNS]
BACKENDS = ["pinned", "gloo"]
FACTOR = 0.5
VALUES = [[1, 2, 3, 0, 1], [2, 2, 1, 0, 1]]
"""Of the two ranks: all results are exact in every type."""
TIMEOUT_S = 120.0


def values(row, rank):
    """Returns a rank's tensor."""
    dtype = getattr(torch, row.removesuffix(AS_SUCH))
    real = torch.tensor(VALUES[rank], dtype=torch.float64)
    if dtype.is_complex:
        return torch.complex(real, real.flip(0)).to(dtype)
    return real.to(dtype)


def expected(row, column):
    """Returns the result by definition."""
    mine, theirs = values(row, 0), values(row, 1)
    dtype = mine.dtype
    if column == "moved":
        return theirs
    if dtype == torch.bool:
        both = {"PRODUCT": "BAND", "MIN": "BAND", "SUM": "BOR", "MAX": "BOR"}.get(column, column)
        return by_name(both, mine, theirs)
    wide = torch.complex128 if dtype.is_complex else torch.float64
    wide = wide if dtype.is_complex or dtype.is_floating_point else torch.int64
    return by_name(column, mine.to(wide), theirs.to(wide)).to(dtype)


def by_name(op, one, other):
    """Reduces two tensors of a type that torch can reckon with."""
    call = {
        "SUM": lambda: one + other,
        "AVG": lambda: (one + other) / 2 if one.dtype != torch.int64 else (one + other) // 2,
        "PRODUCT": lambda: one * other,
        "MIN": lambda: torch.minimum(one, other),
        "MAX": lambda: torch.maximum(one, other),
        "BAND": lambda: one & other,
        "BOR": lambda: one | other,
        "BXOR": lambda: one ^ other,
        "PREMUL_SUM": lambda: one * FACTOR + other * FACTOR,
    }
    return call[op]()


def tried(row, column):
    """Returns what becomes of a cell on this rank: "yes", "no" (refused) or "wrong"."""
    tensor = values(row, dist.get_rank())
    try:
        if column == "moved":
            dist.broadcast(tensor, 1)
        elif row.endswith(AS_SUCH):
            dist.reduce(tensor, 0, reduce_op(column))
        else:
            dist.all_reduce(tensor, reduce_op(column))
    except (RuntimeError, ValueError, TypeError):
        return "no"
    if row.endswith(AS_SUCH) and dist.get_rank() != 0:
        return "yes"  # the result is the other's
    try:
        wanted = expected(row, column)
    except RuntimeError:  # it has no meaning, and yet there was a result
        return "wrong"
    return "yes" if torch.equal(tensor.view(torch.uint8), wanted.view(torch.uint8)) else "wrong"


def reduce_op(column):
    """Returns torch's operation."""
    make = getattr(dist, "_make_premul_sum", None) or dist._make_nccl_premul_sum
    return make(FACTOR) if column == "PREMUL_SUM" else getattr(dist.ReduceOp, column)


def rank_main(backend, store, rank, first):
    """One rank: tries the cells from that one on, and writes a line for each."""
    dist.init_process_group(
        backend, init_method=store, rank=rank, world_size=2, timeout=timedelta(seconds=30)
    )
    for row, column in CELLS[first:]:
        print(tried(row, column), flush=True)
    dist.destroy_process_group()


def found(backend):
    """Returns {cell: what became of it}."""
    states = []
    while len(states) < len(CELLS):
        both = run_from(backend, len(states))
        rows = list(zip(*both, strict=False))
        states += [max(row, key=("yes", "no", "wrong").index) for row in rows]
        if len(states) < len(CELLS):
            states.append("ends")
    return dict(zip(CELLS, states, strict=True))


def run_from(backend, first):
    """Runs two ranks from a cell on; returns the lines of each."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, backend, f"file://{folder}/store"]
        started = [
            subprocess.Popen(
                [*command, str(rank), str(first)],
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            for rank in range(2)
        ]
        outputs = []
        for process in started:
            try:
                outputs.append(process.communicate(timeout=TIMEOUT_S)[0])
            except subprocess.TimeoutExpired:
                process.kill()
                outputs.append(process.communicate()[0])
    return [output.split() for output in outputs]


def markdown(ours, theirs):
    """Returns the lines of the table; in a cell is first what we do, then gloo."""
    lines = [f"| type | {' | '.join(COLUMNS)} |", "|---" * (len(COLUMNS) + 1) + "|"]
    signs = {"yes": "+", "no": "-", "wrong": "wrong", "ends": "ends"}
    for row in ROWS:
        cells = [f"{signs[ours[row, c]]} {signs[theirs[row, c]]}" for c in COLUMNS]
        lines.append(f"| {row} | {' | '.join(cells)} |")
    return lines


def documented():
    """Returns {cell: whether docs/dtypes.md says that "pinned" does it}."""
    text = (Path(__file__).resolve().parents[2] / "docs/dtypes.md").read_text()
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    head, *rows = rows
    return {
        (row, column): {"+": "yes", "-": "no"}[cell.split()[0]]
        for row, *cells in rows
        for column, cell in zip(head[1:], cells, strict=True)
    }


if __name__ == "__main__":
    if len(sys.argv) > 1:
        backend, store, rank, first = sys.argv[1:]
        rank_main(backend, store, int(rank), int(first))
    else:
        print("\n".join(markdown(*(found(backend) for backend in BACKENDS))))
