# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""What is timed: each operation, its tensors, and what it must give by its definition."""

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist

DTYPES = {
    "int8": torch.int8,
    "uint8": torch.uint8,
    "int32": torch.int32,
    "int64": torch.int64,
    "half": torch.float16,
    "bfloat16": torch.bfloat16,
    "float": torch.float32,
    "double": torch.float64,
}
"""Under nccl-tests' names."""

REDUCTIONS: dict[str, tuple[Any, Callable[..., torch.Tensor]]] = {
    "sum": (dist.ReduceOp.SUM, torch.add),
    "prod": (dist.ReduceOp.PRODUCT, torch.mul),
    "min": (dist.ReduceOp.MIN, torch.minimum),
    "max": (dist.ReduceOp.MAX, torch.maximum),
    "avg": (dist.ReduceOp.AVG, torch.add),
}

REDUCE = ("all_reduce", "reduce_scatter", "reduce")
ROOTED = ("broadcast", "reduce", "gather", "scatter")
LARGEST = 5
"""Of the elements a rank puts in."""
TILE = 65521
"""Elements after which a rank's pattern repeats: a prime, so that shards and slots differ."""


@dataclass(frozen=True)
class Seat:
    """Who measures: its rank, of how many, the root, and the reduction's name."""

    rank: int
    world_size: int
    root: int = 0
    reduction: str = "sum"


class Case:
    """One rank's tensors of one operation: `source` and `target` of `count` elements each.

    The elements are small whole numbers, different on every rank, so that types of 8 bits too give
    sums of up to 25 ranks exactly, and a 16-bit float those of 51.
    """

    def __init__(self, seat: Seat, nbytes: int, dtype: torch.dtype, device: str):
        """Allocates what `nbytes` bytes are the largest tensor of, rounded to whole shards."""
        self.seat = seat
        self.shard = max(1, nbytes // dtype.itemsize // seat.world_size)
        self.count = self.shard * seat.world_size
        self.bytes = self.count * dtype.itemsize
        self.source = torch.empty(self.count, dtype=dtype, device=device)
        self.target = torch.empty_like(self.source)

    def pattern(self, rank: int, count: int) -> torch.Tensor:
        """Returns what a rank puts in."""
        above = 1 + (2 if self.seat.reduction == "prod" else LARGEST)
        random = torch.Generator().manual_seed(rank)
        tile = torch.randint(1, above, (TILE,), generator=random).to(self.source)
        return tile.repeat(-(-count // TILE))[:count]

    def part(self, tensor: torch.Tensor, rank: int) -> torch.Tensor:
        """Returns the shard of a rank."""
        return tensor[rank * self.shard : (rank + 1) * self.shard]

    def parts(self, tensor: torch.Tensor) -> list[torch.Tensor]:
        """Returns the shards of all ranks."""
        return list(tensor.chunk(self.seat.world_size))

    def reduced(self) -> torch.Tensor:
        """Returns the reduction of all ranks' patterns."""
        world = self.seat.world_size
        everyone = (self.pattern(rank, self.count) for rank in range(world))
        total = functools.reduce(REDUCTIONS[self.seat.reduction][1], everyone)
        if self.seat.reduction != "avg":
            return total
        return total / world if total.is_floating_point() else total // world


@dataclass(frozen=True)
class Operation:
    """An operation of torch.distributed.

    Attributes:
        factor: Bus bandwidth over algorithm bandwidth, for a world size, as nccl-tests has it.
        call: Makes the call with a `Comm`, in place or not.
        result: The tensor that holds the result, or None where this rank gets none.
        expected: What it must hold.
        touched: How often the tensors' bytes, counted as `factor` does, must be read and written by
            the rank that has the most to do, for a world size and a form.
        forms: Whether there is an out-of-place form (False), an in-place one (True), or both.
    """

    factor: Callable[[int], float]
    call: Callable[[Any, Case, bool], object]
    result: Callable[[Case, bool], torch.Tensor | None]
    expected: Callable[[Case], torch.Tensor]
    touched: Callable[[int, bool], float] = lambda world, in_place: 2.0
    forms: tuple[bool, ...] = (False,)


def _is_root(case: Case) -> bool:
    return case.seat.rank == case.seat.root


def _gather_input(case: Case, in_place: bool) -> torch.Tensor:
    return case.part(case.target, case.seat.rank) if in_place else case.part(case.source, 0)


def _scatter_output(case: Case, in_place: bool) -> torch.Tensor:
    return case.part(case.source, case.seat.rank) if in_place else case.part(case.target, 0)


def _gathered(case: Case) -> torch.Tensor:
    return torch.cat([case.pattern(rank, case.shard) for rank in range(case.seat.world_size)])


def _exchanged(case: Case) -> torch.Tensor:
    everyone = (case.pattern(rank, case.count) for rank in range(case.seat.world_size))
    return torch.cat([case.part(one, case.seat.rank) for one in everyone])


def _share(world: int) -> float:
    return (world - 1) / world


def _whole(world: int) -> float:
    return 1.0


OPERATIONS: dict[str, Operation] = {
    "all_reduce": Operation(
        factor=lambda world: 2 * _share(world),
        call=lambda comm, case, _: comm.all_reduce(case.source),
        result=lambda case, _: case.source,
        expected=Case.reduced,
        forms=(True,),
    ),
    "broadcast": Operation(
        factor=_whole,
        call=lambda comm, case, _: comm.broadcast(case.source),
        result=lambda case, _: case.source,
        expected=lambda case: case.pattern(case.seat.root, case.count),
        touched=lambda world, _: 1.0,
        forms=(True,),
    ),
    "all_gather": Operation(
        factor=_share,
        call=lambda comm, case, inside: comm.all_gather(case.target, _gather_input(case, inside)),
        result=lambda case, _: case.target,
        expected=_gathered,
        touched=lambda world, in_place: 1.0 if in_place else 1.0 + 1.0 / world,
        forms=(False, True),
    ),
    "reduce_scatter": Operation(
        factor=_share,
        call=lambda comm, case, inside: comm.reduce_scatter(
            _scatter_output(case, inside), case.source
        ),
        result=_scatter_output,
        expected=lambda case: case.part(case.reduced(), case.seat.rank),
        touched=lambda world, _: 1.0 + 1.0 / world,
        forms=(False, True),
    ),
    "all_to_all": Operation(
        factor=_share,
        call=lambda comm, case, _: comm.all_to_all(case.target, case.source),
        result=lambda case, _: case.target,
        expected=_exchanged,
    ),
    "reduce": Operation(
        factor=_whole,
        call=lambda comm, case, _: comm.reduce(case.source),
        result=lambda case, _: case.source if _is_root(case) else None,
        expected=Case.reduced,
        forms=(True,),
    ),
    "gather": Operation(
        factor=_share,
        call=lambda comm, case, _: comm.gather(
            case.parts(case.target) if _is_root(case) else None, case.part(case.source, 0)
        ),
        result=lambda case, _: case.target if _is_root(case) else None,
        expected=_gathered,
        touched=lambda world, _: 1.0 + 1.0 / world,
    ),
    "scatter": Operation(
        factor=_share,
        call=lambda comm, case, _: comm.scatter(
            case.part(case.target, 0), case.parts(case.source) if _is_root(case) else None
        ),
        result=lambda case, _: case.part(case.target, 0),
        expected=lambda case: case.part(case.pattern(case.seat.root, case.count), case.seat.rank),
        touched=lambda world, _: 1.0 + 1.0 / world,
    ),
    "sendrecv": Operation(
        factor=_whole,
        call=lambda comm, case, _: comm.sendrecv(case.target, case.source),
        result=lambda case, _: case.target,
        expected=lambda case: case.pattern((case.seat.rank - 1) % case.seat.world_size, case.count),
    ),
    "barrier": Operation(
        factor=lambda world: 0.0,
        call=lambda comm, case, _: comm.barrier(),
        result=lambda case, _: None,
        expected=lambda case: case.source[:0],
    ),
}


def fill(case: Case, operation: Operation, in_place: bool) -> None:
    """Writes the rank's pattern where the operation reads it, and what it must overwrite."""
    rank = case.seat.rank
    case.target.fill_(LARGEST + 2)
    case.source.copy_(case.pattern(rank, case.count))
    if in_place and False in operation.forms:
        case.part(case.target, rank).copy_(case.pattern(rank, case.shard))


def count_wrong(got: torch.Tensor, wanted: torch.Tensor, seat: Seat) -> int:
    """Returns how many elements differ; averages, and sums of many ranks, may be rounded."""
    if got.is_floating_point() and (seat.reduction == "avg" or seat.world_size * LARGEST > 256):
        near = torch.isclose(got, wanted, rtol=4 * torch.finfo(got.dtype).eps, atol=0)
        return int((~near).sum())
    return int((got != wanted).sum())


def sizes(begin: int, end: int, factor: int) -> Iterator[int]:
    """Yields the sizes from `begin` to `end` bytes, each `factor` times the last."""
    while begin <= end:
        yield begin
        begin *= factor
