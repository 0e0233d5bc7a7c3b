# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""The product of `cases` with types, sizes, layouts and modes, and how a rank runs it.

Inputs are random and differ from cell to cell, so that data left over from an earlier one is
noticed. Outputs and the gaps between elements begin as SENTINEL, and the gaps must end as such.
"""

import functools
import itertools
import os
from collections.abc import Iterator

import torch
import torch.distributed as dist
from cases import COMPLEX, DTYPES, FLOATS, MOVES, SYNCS, Case, Cell
from reductions import REDUCING, REDUCTIONS

DEVICE = os.environ.get("PINNEDPG_TEST_DEVICE", "cpu")
"""Where the tensors are: cpu, cuda, or cuda:1."""
SENTINEL = 0xA5
OUTSTANDING = 16
DEPTH = 4
SIZES = ["0", "1", "7", "shard-1", "shard", "shard+1", "slot-1", "slot", "slot+1", "many"]
LAYOUTS = ["contiguous", "strided", "transposed", "offset"]
MODES = [False, True]  # asynchronous
POOL = 1 << 14
"""Random elements per member, laid end to end as often as needed."""


def elements(size: str, slot_bytes: int, dtype: torch.dtype, world: int) -> int:
    """Returns how many elements a size is. A slot holds `world` shards side by side, or one."""
    slot = slot_bytes // dtype.itemsize
    shard = slot // world
    return {
        "shard-1": shard - 1,
        "shard": shard,
        "shard+1": shard + 1,
        "slot-1": slot - 1,
        "slot": slot,
        "slot+1": slot + 1,
        "many": (2 * DEPTH + 3) * slot + 5,  # goes round the ring of slots twice
    }.get(size) or int(size)


def layouts(case: Case) -> list[str]:
    if case in SYNCS:
        return LAYOUTS[:1]
    return [layout for layout in LAYOUTS if not (case.flat and layout == "transposed")]


def sizes(case: Case) -> list[str]:
    return SIZES[:1] if case in SYNCS else SIZES


def kinds(case: Case) -> list[tuple[str, torch.dtype]]:
    """Returns the (op, dtype) that a row knows."""
    if case in SYNCS:
        return [("", torch.uint8)]
    return REDUCTIONS if case.reduces else [("", dtype) for dtype in DTYPES]


class Product:
    """Cells for one world. `lists`: only rows that tensor lists know."""

    def __init__(self, world: int, slot_bytes: int, lists: bool = False):
        self.world = world
        self.slot_bytes = slot_bytes
        self.cases = [case for case in MOVES + REDUCING + SYNCS if case.lists or not lists]
        self._numbers = itertools.count(world)

    def types(self) -> Iterator[Cell]:
        """Every row with every op and dtype; sizes, layouts and modes take turns."""
        turns = itertools.cycle(itertools.product(SIZES, MODES, range(len(LAYOUTS))))
        for case in self.cases:
            for kind in kinds(case):
                size, mode, layout = next(turns)
                own = layouts(case)
                yield self._cell(case, kind, size, own[layout % len(own)], mode)

    def shapes(self) -> Iterator[Cell]:
        """Every row with every size, layout and mode; ops and dtypes take turns."""
        for case in self.cases:
            turns = itertools.cycle(kinds(case))
            for size, layout, mode in itertools.product(sizes(case), layouts(case), MODES):
                yield self._cell(case, next(turns), size, layout, mode)

    def full(self) -> Iterator[Cell]:
        """All of it."""
        for case in self.cases:
            axes = kinds(case), sizes(case), layouts(case), MODES
            for kind, size, layout, mode in itertools.product(*axes):
                yield self._cell(case, kind, size, layout, mode)

    def _cell(self, case: Case, kind: tuple, size: str, layout: str, mode: bool) -> Cell:
        op, dtype = kind
        count = elements(size, self.slot_bytes, dtype, self.world)
        number = next(self._numbers)
        root = number % self.world
        return Cell(case, op, dtype, self.world, count, layout, mode, root, number)


def check(product: str, slot_bytes: int, members: int = 0, case: str = "") -> tuple[int, list[str]]:
    """Runs a product on the ranks of the default group; returns how many cells, and what was wrong.

    Args:
        product: Which of Product's.
        slot_bytes: Of the group.
        members: 0, or how many members each rank has: then all calls are with tensor lists.
        case: Only the rows of that name, where given.
    """
    if DEVICE != "cpu":
        # Ranks that are threads of one GPU need streams of their own: one that waits holds all up.
        torch.cuda.set_stream(torch.cuda.Stream(DEVICE))
    first = dist.get_rank() * max(members, 1)
    world = dist.get_world_size() * max(members, 1)
    made = Product(world, slot_bytes, members > 0)
    made.cases = [row for row in made.cases if case in ("", row.name)]
    own = range(first, first + max(members, 1))
    count, complaints, trials = 0, [], []
    for cell in getattr(made, product)():
        count += 1
        trials.append(Trial(cell, own, members > 0))
        trials[-1].start()
        if not cell.is_async and count % 3 or len(trials) >= OUTSTANDING:
            complaints += [text for trial in trials for text in trial.finish()]
            trials = []
    complaints += [text for trial in trials for text in trial.finish()]
    return count, complaints[:10]


class Trial:
    """One cell on one rank: the tensors of its members, the call, and the comparison."""

    def __init__(self, cell: Cell, members: range, lists: bool):
        self.cell = cell
        self.lists = lists
        # A list's tensors lie on all GPUs in turn; others on the rank's own.
        several = lists and DEVICE == "cuda"
        gpus = torch.cuda.device_count() if several else 0
        self.seats = [
            Seat(cell, member, f"cuda:{member % gpus}" if several else DEVICE) for member in members
        ]
        self.works: list = []

    def start(self) -> None:
        cell, seats = self.cell, self.seats
        try:
            if self.lists:
                inputs = [seat.inputs for seat in seats]
                work = cell.case.lists(cell, inputs, [seat.outputs for seat in seats])
            else:
                (seat,) = seats
                work = cell.case.call(cell, seat.member, seat.inputs, seat.outputs)
        except Exception as error:
            raise RuntimeError(f"{cell}: {error}") from error
        self.works = [work] if work is not None else []

    def finish(self) -> list[str]:
        for work in self.works:
            work.wait()
        everyones = [values(self.cell, member) for member in range(self.cell.world)]
        return [
            f"member {seat.member}: {self.cell}: {text}"
            for seat in self.seats
            for text in seat.complaints(everyones)
        ]


class Seat:
    """The tensors of one member."""

    def __init__(self, cell: Cell, member: int, device: str):
        case = cell.case
        self.cell, self.member = cell, member
        self.device = device
        self.guards: list[torch.Tensor] = []
        self.inputs = [self._lay(count) for count in case.inputs(cell, member)]
        if case.outputs is None:
            self.outputs = self.inputs
        else:
            self.outputs = [self._lay(count) for count in case.outputs(cell, member)]
        if case.own:
            self.inputs, self.outputs = case.own(cell, member, self.inputs, self.outputs)
        for tensor, value in zip(self.inputs, values(cell, member), strict=True):
            tensor.copy_(value.view(tensor.shape))

    def _lay(self, count: int) -> torch.Tensor:
        cell, item = self.cell, self.cell.dtype.itemsize
        slots = {"offset": count + 2, "strided": 2 * count}.get(cell.layout, count)
        base = torch.full((slots * item,), SENTINEL, dtype=torch.uint8, device=self.device)
        flat = base.view(cell.dtype)
        if cell.layout == "offset":
            self.guards += [base[:item], base[-item:]]
            return flat[1:-1]
        if cell.layout == "strided":
            self.guards.append(base.view(-1, 2 * item)[:, item:])
            return flat[::2]
        if cell.layout == "transposed":
            columns = next(n for n in (4, 3, 5, 7, 2, 1) if cell.count % n == 0)
            return flat.view(columns, count // columns).t()
        return flat

    def complaints(self, everyones: list[list]) -> Iterator[str]:
        """Says what is wrong after the call."""
        cell = self.cell
        wanted = cell.case.expected(cell, self.member, everyones)
        for index, value in enumerate(wanted or []):
            got = self.outputs[index].cpu().reshape(-1)
            if not same(cell, got, value):
                yield f"output {index} must be {some(value)}; got {some(got)}"
        if cell.case.outputs and not cell.case.own:
            for index, value in enumerate(everyones[self.member]):
                if not same(cell, self.inputs[index].cpu().reshape(-1), value):
                    yield f"input {index} was written to"
        if any((guard != SENTINEL).any() for guard in self.guards):
            yield "a gap between elements was written to"


def same(cell: Cell, got: torch.Tensor, wanted: torch.Tensor) -> bool:
    """Equal by value where rounding may choose a zero's sign, else by every bit."""
    if cell.case.reduces and cell.dtype in FLOATS + COMPLEX:
        wide = torch.float32 if cell.dtype.itemsize < 4 else cell.dtype
        return torch.equal(got.to(wide), wanted.to(wide))
    return torch.equal(bits(got), bits(wanted))


def bits(tensor: torch.Tensor) -> torch.Tensor:
    # A single element counts as contiguous at any stride, but cannot be viewed.
    return torch.empty(tensor.numel(), dtype=tensor.dtype).copy_(tensor).view(torch.uint8)


def some(tensor: torch.Tensor) -> str:
    return f"{tensor[:6].tolist()}… ({tensor.numel()})"


@functools.lru_cache(maxsize=64)
def values(cell: Cell, member: int) -> list[torch.Tensor]:
    """Returns a member's inputs, flat; the same on every rank."""
    source = pool(member, cell.dtype, exact(cell))
    found, begin = [], cell.number * 331
    for count in cell.case.inputs(cell, member):
        begin %= POOL
        rows = source.view(torch.uint8).view(POOL, -1)
        repeats = -(-(begin + count) // POOL)
        found.append(rows.repeat(repeats, 1)[begin : begin + count].reshape(-1).view(cell.dtype))
        begin += count + 17
    return found


def exact(cell: Cell) -> bool:
    """Whether inputs must be small numbers for the definition to hold to the bit."""
    if not cell.case.reduces or cell.dtype == torch.bool:
        return False
    signs_matter = cell.dtype == torch.uint64 and cell.op in ("AVG", "MIN", "MAX")
    return cell.dtype in FLOATS + COMPLEX or signs_matter


@functools.cache
def pool(member: int, dtype: torch.dtype, small: bool) -> torch.Tensor:
    """Returns POOL random elements: small integers, or any bits."""
    generator = torch.Generator().manual_seed(100 * member + dtype.itemsize + small)
    if small:
        low = 0 if dtype == torch.uint64 else -2
        parts = torch.randint(low, 3, (POOL, 2), generator=generator)
        if dtype in COMPLEX:
            return torch.complex(*parts.double().unbind(1)).to(dtype)
        return parts[:, 0].to(dtype)
    data = torch.randint(0, 256, (POOL * dtype.itemsize,), generator=generator, dtype=torch.uint8)
    return (data & 1 if dtype == torch.bool else data).view(dtype)
