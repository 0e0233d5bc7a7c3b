# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""No order in which the legs of pinnedpg.tp's calls may run is wrong, and the waits are needed."""

import itertools
import random

import pytest
from schedule import Event, fault_of, play, prove

from pinnedpg import _C

CALLS = (
    "barrier broadcast broadcast_in_place broadcast_across gather gather_open all_gather "
    "gather_barrier all_reduce all_reduce_twice"
).split()
SLOT, DEPTH, BYTES = 512, 4, 640  # several chunks per tensor


def record(program, world, two_lanes):
    recorded = _C._record_tp(program, world, SLOT, DEPTH, two_lanes, BYTES)
    return [Event.copied(event) for event in recorded]


@pytest.mark.parametrize("two_lanes", [False, True], ids=["one_lane", "two_lanes"])
@pytest.mark.parametrize("first", CALLS)
def test_no_order_is_wrong(first, two_lanes):
    for second, world in itertools.product(CALLS, (1, 2, 3)):
        events = record([first, second, first], world, two_lanes)
        prove(events)
        play(events, random.Random(world))


@pytest.mark.parametrize("call", ["all_gather", "broadcast_across", "gather_barrier"])
def test_the_waits_are_needed(call):
    """Without the wait for a buffer's readers, or for the others' puts, there is a race."""
    # With two lanes, since on one the end of a call that closes holds the next one's puts too.
    events = record([call, call], 3, True)
    prove(events)
    faults = {"put": set(), "got": set()}
    for place, event in enumerate(events):
        if event.verb != "wait" or len(event.flags) == 1 or event.step == 0:
            continue
        fault = fault_of(prove, events[:place] + events[place + 1 :])
        faults[event.flags[0][:3]].add(fault)
    assert "race" in faults["put"] and "race" in faults["got"]


@pytest.mark.parametrize(
    "call", ["broadcast", "broadcast_in_place", "all_reduce", "all_reduce_twice"]
)
def test_who_closes_waits_for_all_gets(call):
    events = record([call], 3, False)
    for rank in range(3):
        *_, arrive, last = (event for event in events if event.rank == rank)
        assert (arrive.verb, arrive.flags) == ("arrive", (f"got {rank}",))
        assert (last.verb, last.flags) == ("wait", ("got 0", "got 1", "got 2"))
        assert last.step == arrive.step
