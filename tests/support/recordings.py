# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""What the engine queues for each collective, and the same with a wait or an arrive missing."""

from collections import Counter, defaultdict

from schedule import Event, Span, distance

from pinnedpg import _C

NAMES = (
    "barrier",
    "broadcast",
    "all_reduce",
    "reduce",
    "all_gather",
    "gather",
    "scatter",
    "reduce_scatter",
    "all_to_all",
)
SLOT, DEPTH, ONE_SHOT = 256, 4, 64
# Nothing; one element; one whole chunk; so many chunks that the ring of slots wraps in a call, the
# last one short.
SIZES = (0, 4, SLOT, 6 * SLOT + 4)


def record(name: str, world: int, nbytes: int, calls: int = 1, **options) -> list[Event]:
    """What the engine queues, with the promise that a get brings: all ranks have entered."""
    options = {"slot_bytes": SLOT, "depth": DEPTH, "one_shot_bytes": ONE_SHOT, **options}
    recorded = _C._record(name, world, nbytes, calls=calls, **options)
    return [with_meeting(Event.copied(event), world) for event in recorded]


def with_meeting(event: Event, world: int) -> Event:
    """A rank writes that it has entered a step, and who has got that step reads it of all ranks."""
    if event.verb != "arrive":
        return event
    step = event.step
    entered = tuple(Span(f"entered {rank}", step, step + 1) for rank in range(world))
    if event.flags == (f"put {event.rank}",):
        return event._replace(writes=entered[event.rank : event.rank + 1])
    return event._replace(reads=entered)


def last_step(events: list[Event]) -> int:
    return max(event.step for event in events if event.verb == "arrive")


def is_meeting(event: Event) -> bool:
    return event.verb == "wait" and event.flags[0].startswith("put")


class Mutants:
    """A recording without one of its waits or arrives, for each of them that has a use in it.

    Without a use are a wait for a step that is reached from the start (the ring of slots is new),
    and an arrive that nobody in the recording waits for (those who do come after its end).
    """

    def __init__(self, events: list[Event], calls: int):
        self.events = events
        self.steps = last_step(events) // calls
        awaited = {(f, e.step) for e in events if e.verb == "wait" for f in e.flags}
        self.places = [
            place
            for place, event in enumerate(events)
            if (event.verb == "wait" and distance(0, event.step) < 0)
            or (event.verb == "arrive" and (event.flags[0], event.step) in awaited)
        ]
        # What a rank puts, or gets, in a step; and before which put a wait for gots stands.
        self.puts: dict[tuple[int, int], list[Span]] = defaultdict(list)
        self.gets: dict[tuple[int, int], list[Span]] = defaultdict(list)
        self.put_step: dict[int, int] = {}
        put_next, got_next = Counter(), Counter()
        for place, event in enumerate(events):
            rank = event.rank
            put, got = (rank, put_next[rank] + 1), (rank, got_next[rank] + 1)
            if event.verb == "wait" and not is_meeting(event):
                self.put_step[place] = put[1]
            elif event.verb == "arrive":
                (put_next if event.flags == (f"put {rank}",) else got_next)[rank] = event.step
            elif any(span.space.startswith("slots") for span in event.writes):
                self.puts[put] += event.reads
            else:
                self.gets[got] += event.writes

    def without(self, *places: int) -> list[Event]:
        gone = set(places)
        return [event for place, event in enumerate(self.events) if place not in gone]

    def guards_nothing(self, place: int) -> bool:
        """Whether it is a wait for gots with nothing to protect.

        Such is one before a step in which its rank puts nothing; one for a slot that held nothing
        when it was last used; one for the own gets if they wrote nothing of what the call puts,
        but for so long ago that the waits for slots cover it.
        """
        if place not in self.put_step:
            return False
        rank, step = self.events[place].rank, self.put_step[place]
        if not self.puts[rank, step]:
            return True
        if len(self.events[place].flags) > 1:
            return not self.puts[rank, step - DEPTH]
        for at in range(step, (step - 1) // self.steps * self.steps + self.steps + 1):
            for got in range(at - DEPTH + 1, step):
                if have_common(self.puts[rank, at], self.gets[rank, got]):
                    return False
        return True

    def begins_call(self, place: int) -> bool:
        """Whether it is a wait for gots in the first `DEPTH` steps of a call after the first."""
        if place not in self.put_step:
            return False
        call, turn = divmod(self.put_step[place] - 1, self.steps)
        return call > 0 and turn < DEPTH

    def near(self, place: int) -> list[int]:
        """The waits for gots of the rank before this put and the ones since the slot's last use."""
        rank, step = self.events[place].rank, self.put_step[place]
        return [
            other
            for other, at in self.put_step.items()
            if self.events[other].rank == rank and step - DEPTH < at <= step
        ]


def have_common(some: list[Span], others: list[Span]) -> bool:
    return any(
        a.space == b.space and a.begin < b.end and b.begin < a.end for a in some for b in others
    )
