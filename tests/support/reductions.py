# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""The rows of `cases` that reduce, and the definition of every reduction."""

import dataclasses

import torch
import torch.distributed as dist
from cases import (
    COMPLEX,
    FACTOR,
    FLOATS,
    INTEGERS,
    Case,
    Cell,
    at,
    column,
    each,
    firsts,
    one,
    shard,
    whole,
)

import pinnedpg.devices as lists

reduce_scatter_single = getattr(dist, "reduce_scatter_single", None) or dist.reduce_scatter_tensor

ARITHMETIC = ["SUM", "AVG", "PRODUCT", "MIN", "MAX"]
BITS = ["BAND", "BOR", "BXOR"]
REDUCTIONS = [
    *((op, dtype) for dtype in FLOATS for op in [*ARITHMETIC, "PREMUL_SUM"]),
    *((op, dtype) for dtype in INTEGERS for op in [*ARITHMETIC, *BITS]),
    *((op, dtype) for dtype in COMPLEX for op in ["SUM", "AVG", "PREMUL_SUM"]),
    *((op, torch.bool) for op in ["SUM", "PRODUCT", "MIN", "MAX", *BITS]),
]


def reduced(cell: Cell, values: list[torch.Tensor]) -> torch.Tensor:
    """The definition of every reduction: exact, or in float32 and rounded once."""
    wide = torch.stack([value.to(wider(cell.dtype)) for value in values])
    if cell.dtype == torch.bool:
        wide = wide.sum(0) % 2 if cell.op == "BXOR" else by_name(wide, BOOL[cell.op])
    elif cell.op == "AVG":
        wide = wide.sum(0).to(cell.dtype).to(wide.dtype) if cell.dtype in INTEGERS else wide.sum(0)
        wide = divided(wide, cell)
    else:
        wide = by_name(wide * FACTOR if cell.op == "PREMUL_SUM" else wide, cell.op)
    return wide.to(cell.dtype)


def divided(wide: torch.Tensor, cell: Cell) -> torch.Tensor:
    if (
        cell.dtype in COMPLEX
    ):  # by parts: torch's own complex division does not round to the nearest
        return torch.view_as_complex(torch.view_as_real(wide) / cell.world)
    return torch.div(wide, cell.world, rounding_mode="trunc" if cell.dtype in INTEGERS else None)


BOOL = {"SUM": "MAX", "BOR": "MAX", "MAX": "MAX", "PRODUCT": "MIN", "MIN": "MIN", "BAND": "MIN"}


def by_name(wide: torch.Tensor, op: str) -> torch.Tensor:
    """Reduces the first dimension, one after the other."""
    step = {
        "SUM": torch.add,
        "PREMUL_SUM": torch.add,
        "PRODUCT": torch.mul,
        "MIN": torch.minimum,
        "MAX": torch.maximum,
        "BAND": torch.bitwise_and,
        "BOR": torch.bitwise_or,
        "BXOR": torch.bitwise_xor,
    }[op]
    result = wide[0]
    for row in wide[1:]:
        result = step(result, row)
    return result


def wider(dtype: torch.dtype) -> torch.dtype:
    """The type to compute and to compare in."""
    if dtype in COMPLEX or dtype == torch.float64:
        return dtype
    return torch.float32 if dtype in FLOATS else torch.int64


REDUCING = [
    Case(
        "all_reduce",
        one,
        None,
        lambda c, m, i, o: dist.all_reduce(o[0], c.reduce_op, async_op=c.is_async),
        lambda c, m, all: [reduced(c, column(all, 0))],
        lists=lambda c, i, o: lists.all_reduce(firsts(o), c.reduce_op, async_op=c.is_async),
    ),
    Case(
        "reduce",
        one,
        None,
        lambda c, m, i, o: dist.reduce(o[0], c.root, c.reduce_op, async_op=c.is_async),
        lambda c, m, all: at(m, c.root, [reduced(c, column(all, 0))]),
        lists=lambda c, i, o: lists.reduce(
            firsts(o), c.root // len(o), c.root % len(o), c.reduce_op, async_op=c.is_async
        ),
    ),
    Case(
        "reduce_scatter",
        each,
        one,
        lambda c, m, i, o: dist.reduce_scatter(o[0], i, c.reduce_op, async_op=c.is_async),
        lambda c, m, all: [reduced(c, column(all, m))],
        lists=lambda c, i, o: lists.reduce_scatter(firsts(o), i, c.reduce_op, async_op=c.is_async),
    ),
    Case(
        "reduce_scatter_uneven",
        lambda c, m: [c.uneven(peer, peer) for peer in range(c.world)],
        lambda c, m: [c.uneven(m, m)],
        lambda c, m, i, o: dist.reduce_scatter(o[0], i, c.reduce_op, async_op=c.is_async),
        lambda c, m, all: [reduced(c, column(all, m))],
    ),
    Case(
        "reduce_scatter_in_place",
        each,
        one,
        lambda c, m, i, o: dist.reduce_scatter(o[0], i, c.reduce_op, async_op=c.is_async),
        lambda c, m, all: [reduced(c, column(all, m))],
        own=lambda c, m, i, o: (i, [i[m]]),
    ),
    Case(
        "reduce_scatter_tensor",
        whole,
        one,
        lambda c, m, i, o: reduce_scatter_single(o[0], i[0], c.reduce_op, async_op=c.is_async),
        lambda c, m, all: [reduced(c, [shard(c, m, mine[0]) for mine in all])],
    ),
    Case(
        "reduce_scatter_tensor_in_place",
        whole,
        one,
        lambda c, m, i, o: reduce_scatter_single(o[0], i[0], c.reduce_op, async_op=c.is_async),
        lambda c, m, all: [reduced(c, [shard(c, m, mine[0]) for mine in all])],
        flat=True,
        own=lambda c, m, i, o: (i, [shard(c, m, i[0])]),
    ),
]
REDUCING = [dataclasses.replace(case, reduces=True) for case in REDUCING]
