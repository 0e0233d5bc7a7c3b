# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""The collectives, one row each: what goes in, the call, and what must come out by definition.

A *member* is a rank, or one tensor of a rank's list (design: member q * k + j is tensor j of rank
q). Rows know members only, so the same rows serve processes, threads and tensor lists.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed import ReduceOp

import pinnedpg.devices as lists

FACTOR = 0.5

# Their names since torch 2.13.
all_gather_single = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor

FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
FLOATS += [torch.float8_e4m3fn, torch.float8_e5m2]
INTEGERS = [torch.int8, torch.uint8, torch.int16, torch.uint16, torch.int32, torch.int64]
INTEGERS += [torch.uint32, torch.uint64]
COMPLEX = [torch.complex64, torch.complex128]
DTYPES = [*FLOATS, *INTEGERS, *COMPLEX, torch.bool]


@dataclasses.dataclass(frozen=True)
class Cell:
    """One call of the matrix. `count`: elements of one shard."""

    case: "Case"
    op: str
    dtype: torch.dtype
    world: int
    count: int
    layout: str
    is_async: bool
    root: int
    number: int

    @property
    def reduce_op(self) -> Any:
        if self.op == "PREMUL_SUM":
            return dist._make_nccl_premul_sum(FACTOR)
        return getattr(ReduceOp, self.op)

    def uneven(self, source: int, target: int) -> int:
        """Elements of the shard between two members; none for a third of the pairs."""
        return self.count * ((source + 2 * target) % 3)

    def __str__(self) -> str:
        mode = "async" if self.is_async else "sync"
        name = str(self.dtype).removeprefix("torch.")
        op = f", {self.op}" if self.case.reduces else ""
        return (
            f"{self.case.name}({name}[{self.count}]{op}, root {self.root}) "
            f"{self.layout} {mode}, world {self.world}, number {self.number}"
        )


@dataclasses.dataclass(frozen=True)
class Case:
    """A row. Counts, tensors and values are of one member; `call` and `expected` get lists."""

    name: str
    inputs: Callable[[Cell, int], list[int]]  # counts
    outputs: Callable[[Cell, int], list[int]] | None  # counts; None: the inputs become the outputs
    call: Callable[[Cell, int, list, list], dist.Work | None]  # (cell, member, inputs, outputs)
    expected: Callable[[Cell, int, list[list]], list]  # (cell, member, the inputs of all)
    reduces: bool = False
    flat: bool = False  # one-dimensional tensors only
    own: Callable[[Cell, int, list, list], tuple[list, list]] | None = None  # which lie in which
    lists: Callable[[Cell, list, list], dist.Work | None] | None = None  # by local member


def one(cell: Cell, member: int) -> list[int]:
    return [cell.count]


def whole(cell: Cell, member: int) -> list[int]:
    return [cell.count * cell.world]


def each(cell: Cell, member: int) -> list[int]:
    return [cell.count] * cell.world


def none(cell: Cell, member: int) -> list[int]:
    return []


def at_root(counts: Callable) -> Callable:
    return lambda cell, member: counts(cell, member) if member == cell.root else []


def column(inputs: list[list], index: int) -> list:
    return [mine[index] for mine in inputs]


def shard(cell: Cell, member: int, tensor: torch.Tensor) -> torch.Tensor:
    return tensor[member * cell.count : (member + 1) * cell.count]


def at(member: int, root: int, value: list | None) -> list | None:
    return value if member == root else None


def firsts(members: list[list]) -> list:
    return [tensors[0] for tensors in members]


MOVES = [
    Case(
        "broadcast",
        one,
        None,
        lambda c, m, i, o: dist.broadcast(o[0], c.root, async_op=c.is_async),
        lambda c, m, all: [all[c.root][0]],
        lists=lambda c, i, o: lists.broadcast(
            firsts(o), c.root // len(o), c.root % len(o), async_op=c.is_async
        ),
    ),
    Case(
        "all_gather",
        one,
        each,
        lambda c, m, i, o: dist.all_gather(o, i[0], async_op=c.is_async),
        lambda c, m, all: column(all, 0),
        lists=lambda c, i, o: lists.all_gather(o, firsts(i), async_op=c.is_async),
    ),
    Case(
        "all_gather_uneven",
        lambda c, m: [c.uneven(m, m)],
        lambda c, m: [c.uneven(peer, peer) for peer in range(c.world)],
        lambda c, m, i, o: dist.all_gather(o, i[0], async_op=c.is_async),
        lambda c, m, all: column(all, 0),
    ),
    Case(
        "all_gather_in_place",
        one,
        each,
        lambda c, m, i, o: dist.all_gather(o, i[0], async_op=c.is_async),
        lambda c, m, all: column(all, 0),
        own=lambda c, m, i, o: ([o[m]], o),
    ),
    Case(
        "all_gather_into_tensor",
        one,
        whole,
        lambda c, m, i, o: all_gather_single(o[0], i[0], async_op=c.is_async),
        lambda c, m, all: [torch.cat(column(all, 0))],
    ),
    Case(
        "all_gather_into_tensor_in_place",
        one,
        whole,
        lambda c, m, i, o: all_gather_single(o[0], i[0], async_op=c.is_async),
        lambda c, m, all: [torch.cat(column(all, 0))],
        own=lambda c, m, i, o: ([shard(c, m, o[0])], o),
        flat=True,
    ),
    Case(
        "gather",
        one,
        at_root(each),
        lambda c, m, i, o: dist.gather(i[0], o or None, c.root, async_op=c.is_async),
        lambda c, m, all: at(m, c.root, column(all, 0)),
    ),
    Case(
        "scatter",
        at_root(each),
        one,
        lambda c, m, i, o: dist.scatter(o[0], i or None, c.root, async_op=c.is_async),
        lambda c, m, all: [all[c.root][m]],
    ),
    Case(
        "all_to_all",
        lambda c, m: [c.uneven(m, peer) for peer in range(c.world)],
        lambda c, m: [c.uneven(peer, m) for peer in range(c.world)],
        lambda c, m, i, o: dist.all_to_all(o, i, async_op=c.is_async),
        lambda c, m, all: column(all, m),
    ),
    Case(
        "all_to_all_single",
        whole,
        whole,
        lambda c, m, i, o: dist.all_to_all_single(o[0], i[0], async_op=c.is_async),
        lambda c, m, all: [torch.cat([shard(c, m, mine[0]) for mine in all])],
    ),
    Case(
        "all_to_all_single_with_splits",
        lambda c, m: [sum(c.uneven(m, peer) for peer in range(c.world))],
        lambda c, m: [sum(c.uneven(peer, m) for peer in range(c.world))],
        lambda c, m, i, o: dist.all_to_all_single(
            o[0],
            i[0],
            [c.uneven(peer, m) for peer in range(c.world)],
            [c.uneven(m, peer) for peer in range(c.world)],
            async_op=c.is_async,
        ),
        lambda c, m, all: [
            torch.cat(
                [
                    mine[0].split([c.uneven(p, peer) for peer in range(c.world)])[m]
                    for p, mine in enumerate(all)
                ]
            )
        ],
        flat=True,
    ),
]

SYNCS = [
    Case(
        "barrier",
        none,
        none,
        lambda c, m, i, o: dist.barrier(async_op=c.is_async),
        lambda c, m, all: [],
        lists=lambda c, i, o: lists.barrier(async_op=c.is_async),
    ),
]
