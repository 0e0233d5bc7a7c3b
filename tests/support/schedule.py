# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Plays recorded schedules with vector clocks, and objects to what could go wrong in some order.

A lane is a sequence of events that one process runs in order; nothing orders two lanes but flags.
An arrive is a release, a wait is an acquire. Two accesses to common bytes, one of them a write,
race unless one happens before the other.
"""

import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

CYCLE = 2**32


class Fault(Exception):
    """What a player objects to; `kind` is race, overlap, deadlock, late release or flag."""

    def __init__(self, kind: str, text: str):
        super().__init__(f"{kind}: {text}")
        self.kind = kind


class Span(NamedTuple):
    space: str
    begin: int
    end: int


class Event(NamedTuple):
    """One verb on a lane, as `pinnedpg._C.Event`, but it can be compared, changed and made."""

    rank: int
    lane: str
    verb: str
    reads: tuple[Span, ...] = ()
    writes: tuple[Span, ...] = ()
    flags: tuple[str, ...] = ()
    step: int = 0

    @classmethod
    def copied(cls, event) -> "Event":
        reads, writes = (
            tuple(Span(*span) for span in part) for part in (event.reads, event.writes)
        )
        return cls(
            event.rank, event.lane, event.verb, reads, writes, tuple(event.flags), event.step
        )

    def __str__(self) -> str:
        what = " ".join(self.flags) + f" at {self.step}" if self.flags else f"{self.writes}"
        return f"rank {self.rank} {self.lane}: {self.verb} {what}"


class Access(NamedTuple):
    begin: int
    end: int
    write: bool
    lane: int
    time: int
    event: Event


def distance(step: int, target: int) -> int:
    """How far `step` is beyond `target` on the circle of steps: negative when short of it."""
    return (step - target + CYCLE // 2) % CYCLE - CYCLE // 2


def check_flags(events: Iterable[Event], start: int = 0) -> None:
    """Objects to a flag of two lanes or that does not grow, and to a wait for an unpublished step.

    A wait that a later arrive ends is not wrong as such, but then its order is that of the later
    step: no wait may lean on a step that nobody publishes.
    """
    writer: dict[str, tuple[int, str]] = {}
    published: dict[str, list[int]] = defaultdict(lambda: [start])
    for event in events:
        if event.verb != "arrive":
            continue
        (flag,) = event.flags
        lane = (event.rank, event.lane)
        if writer.setdefault(flag, lane) != lane:
            raise Fault("flag", f"{flag} is written by {writer[flag]} and {lane}")
        if distance(event.step, published[flag][-1]) <= 0:
            raise Fault("flag", f"{flag} does not grow: {published[flag][-1]}, then {event.step}")
        published[flag].append(event.step)
    exact = {flag: set(steps) for flag, steps in published.items()}
    for event in events:
        if event.verb != "wait" or distance(start, event.step) >= 0:
            continue
        for flag in event.flags:
            if event.step not in exact.get(flag, ()):
                raise Fault("late release", f"{event} waits for what {flag} never says")


class Player:
    """The state of one play: each lane's place and clock, the flags, who touched which bytes."""

    def __init__(self, events: Iterable[Event], start: int = 0, exact: bool = False):
        """Args:
        events: Of all ranks; those of one lane in its order.
        start: The step at which all flags stand.
        exact: A wait acquires the first release that reaches its step, not the newest one. Then
            only that is ordered which is ordered in every order of play.
        """
        self.exact = exact
        self.start = start
        by_lane: dict[tuple[int, str], list[Event]] = defaultdict(list)
        for event in events:
            by_lane[event.rank, event.lane].append(event)
        self.lanes = list(by_lane.values())
        self.places = [0] * len(self.lanes)
        self.clocks = [[0] * len(self.lanes) for _ in self.lanes]
        self.steps: dict[str, int] = defaultdict(lambda: start)
        self.releases: dict[str, list[tuple[int, list[int]]]] = defaultdict(list)
        self.accesses: dict[str, list[Access]] = defaultdict(list)

    def play(self, order: random.Random) -> None:
        """Runs all lanes to their ends in a random order. Raises Fault."""
        # Lanes of very different speeds: evenly mixed orders would be all alike.
        speeds = [10 ** order.uniform(-2, 2) for _ in self.lanes]
        ready = list(range(len(self.lanes)))
        held: list[int] = []
        while ready:
            (lane,) = order.choices(ready, [speeds[lane] for lane in ready])
            if self.places[lane] == len(self.lanes[lane]):
                ready.remove(lane)
                continue
            event = self.lanes[lane][self.places[lane]]
            if not self.can_go(event):
                ready.remove(lane)
                held.append(lane)
                continue
            self.go(lane, event)
            if event.verb == "arrive":
                ready += held
                held = []
        if held:
            stuck = [str(self.lanes[lane][self.places[lane]]) for lane in held]
            raise Fault("deadlock", "; ".join(stuck))

    def can_go(self, event: Event) -> bool:
        if event.verb != "wait":
            return True
        return all(distance(self.steps[flag], event.step) >= 0 for flag in event.flags)

    def go(self, lane: int, event: Event) -> None:
        self.places[lane] += 1
        clock = self.clocks[lane]
        clock[lane] += 1
        if event.verb == "wait":
            for flag in event.flags:
                self.acquire(clock, flag, event.step)
        elif event.verb == "arrive":
            (flag,) = event.flags
            self.steps[flag] = event.step
            self.releases[flag].append((event.step, clock.copy()))
        if event.reads or event.writes:
            check_overlap(event)
            for write, spans in ((False, event.reads), (True, event.writes)):
                for space, begin, end in spans:
                    self.touch(space, Access(begin, end, write, lane, clock[lane], event))

    def acquire(self, clock: list[int], flag: str, step: int) -> None:
        if not self.releases[flag] or distance(self.start, step) >= 0:
            return
        _, released = self.releases[flag][-1]
        if self.exact:
            reaching = (r for at, r in self.releases[flag] if distance(at, step) >= 0)
            released = next(reaching)
        clock[:] = map(max, clock, released)

    def touch(self, space: str, new: Access) -> None:
        clock = self.clocks[new.lane]
        kept = []
        for old in self.accesses[space]:
            if old.begin < new.end and new.begin < old.end:
                ordered = old.time <= clock[old.lane]
                if not ordered and (old.write or new.write):
                    raise Fault("race", f"{space}: {old.event} and {new.event}")
                # What follows this access and races with a covered one races with this one too.
                covered = new.begin <= old.begin and old.end <= new.end
                if ordered and covered and (new.write or not old.write and old.lane == new.lane):
                    continue
            kept.append(old)
        kept.append(new)
        self.accesses[space] = kept


def check_overlap(event: Event) -> None:
    """A copy's source and destination are apart; a reduction's destination may be a source."""
    for to in event.writes:
        for source in event.reads:
            apart = source.space != to.space or source.end <= to.begin or to.end <= source.begin
            if not apart and not (event.verb == "reduce" and source == to):
                raise Fault("overlap", f"{event} reads {source}")


def play(events: Sequence[Event], order: random.Random, start: int = 0) -> None:
    """Plays the schedule once, in a random legal order. Raises Fault."""
    check_flags(events, start)
    Player(events, start).play(order)


def prove(events: Sequence[Event], start: int = 0) -> None:
    """Checks the schedule for all orders at once. Raises Fault.

    Flags only grow and who waits for one does nothing else, so which lane is held for good does not
    depend on the order: one play finds every deadlock. And what is ordered by the first release
    that reaches a wait's step is ordered in all plays; whatever else is ordered in some play only.
    """
    check_flags(events, start)
    Player(events, start, exact=True).play(random.Random(0))


def fault_of(check, *args) -> str | None:
    """The kind of fault that a check objects to, or None."""
    try:
        check(*args)
    except Fault as fault:
        return fault.kind
    return None
