# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Shows what a collective queues on each rank: every copy, reduction, arrive and wait."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from pinnedpg import _C

# Of a long trace: the ranks shown, and of each the events at its beginning and end.
MOST_EVENTS, MOST_RANKS, HEAD, TAIL = 60, 3, 16, 8


def trace(
    name: str,
    world_size: int = 2,
    nbytes: int = 1 << 20,
    *,
    slot_bytes: int = 128 << 10,
    depth: int = 16,
    one_shot_bytes: int | None = None,
    calls: int = 1,
    two_lanes: bool = True,
    full: bool = False,
) -> "Trace":
    """Records a collective without running it: no memory is touched, no rank is needed.

    Args:
        name: barrier, broadcast, all_reduce, reduce, all_gather, gather, scatter, reduce_scatter
            or all_to_all. Rooted ones have root 0 (in the first call; the root moves on).
        world_size: Number of ranks.
        nbytes: Bytes of one tensor: of each shard where a rank has one for every peer.
        slot_bytes: Of one rank for one step.
        depth: Slots in a rank's ring.
        one_shot_bytes: Up to here all_reduce takes one exchange; None: 1 MiB / world_size^2.
        calls: How many calls in a row; each works on what the one before it has made.
        two_lanes: Puts and gets on lanes of their own, as on a GPU, or on one, as on the host.
        full: Print every event; else a long schedule's middle is left out.

    Returns:
        A Trace: print it, or read its `events`.

    Raises:
        ValueError: There is no collective of that name, or a number is out of range.

    Example:
        >>> print(pinnedpg.trace("all_reduce", world_size=4, nbytes=1 << 20))
    """
    _check(world_size >= 1, "world_size must be at least 1", world_size)
    _check(nbytes >= 0 and nbytes % 4 == 0, "nbytes must be whole float32", nbytes)
    least = max(64, -(-16 * world_size // 64) * 64)  # an element for every peer
    fits = least <= slot_bytes <= 1 << 30 and slot_bytes % 64 == 0
    _check(fits, f"slot_bytes must be a multiple of 64 from {least} to 1 GiB", slot_bytes)
    powers = 2 <= depth <= 1024 and depth & (depth - 1) == 0
    _check(powers, "depth must be a power of two from 2 to 1024", depth)
    if one_shot_bytes is None:
        one_shot_bytes = (1 << 20) // world_size**2
    whole = 0 <= one_shot_bytes < 1 << 62
    _check(whole, "one_shot_bytes must not be negative, or beyond all memory", one_shot_bytes)
    _check(calls >= 1, "calls must be at least 1", calls)
    shape = (name, world_size, nbytes, slot_bytes, depth, one_shot_bytes, calls, two_lanes)
    events = _C._record(*shape)
    large = name == "all_reduce" and nbytes > one_shot_bytes and world_size > 1
    exchanges = calls * (2 if large else 1)
    title = [
        f"{name}: {world_size} ranks, {nbytes} bytes each, {calls} call(s)",
        f"stage: slots of {slot_bytes} bytes, {depth} of each rank",
    ]
    return Trace(title, world_size, exchanges, events, full)


class Trace:
    """What every rank queues, rank by rank, in program order. Its string is a table to read.

    Attributes:
        events: Each with `rank`, `lane`, `verb` (copy, reduce, arrive, wait), `reads` and `writes`
            (lists of (space, begin, end) in bytes), `flags` and `step`.
        steps: How many steps the schedule takes.
        exchanges: How many motions of all ranks those steps make up.
        put_bytes: By rank, what it writes into its slots.
        got_bytes: By rank, what it reads from slots.
    """

    def __init__(
        self, title: list[str], world_size: int, exchanges: int, events: Sequence[Any], full: bool
    ):
        self.events = list(events)
        self.exchanges = exchanges
        self.steps = max(event.step for event in self.events if event.verb == "arrive")
        self.put_bytes = _slot_bytes(self.events, world_size, "writes")
        self.got_bytes = _slot_bytes(self.events, world_size, "reads")
        self._title = title
        self._full = full

    def __str__(self) -> str:
        lines = [
            *self._title,
            f"exchanges: {self.exchanges}, steps: {self.steps}",
            f"bytes put: {_by_rank(self.put_bytes)}",
            f"bytes got: {_by_rank(self.got_bytes)}",
            "",
            f"{'rank':>4}  {'lane':4}  {'step':>5}  {'verb':6}  what",
        ]
        return "\n".join([*lines, *self._rows()])

    __repr__ = __str__

    def _rows(self) -> Iterator[str]:
        ranks = len(self.put_bytes)
        elide = not self._full and len(self.events) > MOST_EVENTS
        shown = ranks if not elide or ranks <= MOST_RANKS else MOST_RANKS - 1
        for rank in range(shown):
            rows = list(_rows_of([event for event in self.events if event.rank == rank]))
            left_out = len(rows) - HEAD - TAIL
            if elide and left_out > 1:
                rows[HEAD:-TAIL] = [f"{rank:4}  ... {left_out} more; full=True shows all"]
            yield from rows
        if shown < ranks:
            yield f"{shown:4}  ... to rank {ranks - 1}, alike; full=True shows all"


def _check(holds: bool, what: str, got: int) -> None:
    if not holds:
        raise ValueError(f"trace: {what}; got {got}")


def _slot_bytes(events: Sequence[Any], world_size: int, side: str) -> list[int]:
    total: Counter[int] = Counter()
    for event in events:
        spans = getattr(event, side)
        total[event.rank] += sum(end - begin for space, begin, end in spans if _is_slot(space))
    return [total[rank] for rank in range(world_size)]


def _is_slot(space: str) -> bool:
    return space.startswith("slots ")


def _by_rank(count: list[int]) -> str:
    """'1024 by each rank' or '0 by rank 0, 1024 by ranks 1 to 3'."""
    if len(set(count)) == 1:
        return f"{count[0]} by each rank"
    parts, begin = [], 0
    for end in range(1, len(count) + 1):
        if end == len(count) or count[end] != count[begin]:
            who = f"rank {begin}" if end - begin == 1 else f"ranks {begin} to {end - 1}"
            parts.append(f"{count[begin]} by {who}")
            begin = end
    return ", ".join(parts)


def _rows_of(events: Sequence[Any]) -> Iterator[str]:
    """The rows of one rank. What comes before an arrive on its lane belongs to that step."""
    steps, step = [], {}
    for event in reversed(events):
        if event.verb == "arrive":
            step[event.lane] = event.step
        steps.append(step.get(event.lane, event.step))
    for event, at in zip(events, reversed(steps), strict=True):
        verb, what = _describe(event)
        yield f"{event.rank:4}  {event.lane:4}  {at:5}  {verb:6}  {what}"


def _describe(event: Any) -> tuple[str, str]:
    if event.verb == "arrive":
        return "arrive", f"{_flags(event.flags)} = {event.step}"
    if event.verb == "wait":
        step = event.step - (1 << 32) if event.step >= 1 << 31 else event.step
        at_once = "" if step > 0 else " (at once)"
        return "wait", f"{_flags(event.flags)} >= {step}{at_once}"
    sources, target = [_span(span) for span in event.reads], _span(event.writes[0])
    if event.verb == "reduce":
        return "reduce", f"{' + '.join(sources)} -> {target}"
    puts, gets = _is_slot(event.writes[0][0]), _is_slot(event.reads[0][0])
    verb = "put" if puts else "get" if gets else "copy"
    return verb, f"{', '.join(sources)} -> {target}"


def _span(span: tuple[str, int, int]) -> str:
    space, begin, end = span
    return f"{space}[{begin}:{end}]"


def _flags(flags: Sequence[str]) -> str:
    """'put 0..3' for put 0, put 1, put 2 and put 3, which is all that one event ever names."""
    kind, first = flags[0].split()
    last = flags[-1].split()[1]
    return f"{kind} {first}" if len(flags) == 1 else f"{kind} {first}..{last}"
