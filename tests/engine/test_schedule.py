# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Every collective's schedule is free of races and deadlocks, and every wait in it is needed."""

import random
from collections import Counter
from collections.abc import Iterator

import pytest
import slices
from recordings import NAMES, ONE_SHOT, SIZES, SLOT, Mutants, is_meeting, last_step, record
from schedule import CYCLE, Event, Fault, Span, check_flags, fault_of, play, prove


@pytest.mark.parametrize("two_lanes", [False, True], ids=["one_lane", "two_lanes"])
@pytest.mark.parametrize("world", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("name", NAMES)
def test_no_order_is_wrong(name, world, two_lanes):
    for nbytes in SIZES:
        for calls in (2, 3):
            events = record(name, world, nbytes, calls, two_lanes=two_lanes)
            prove(events)
            for seed in range(2):
                play(events, random.Random(seed))


@pytest.mark.slow
@pytest.mark.parametrize("two_lanes", [False, True], ids=["one_lane", "two_lanes"])
@pytest.mark.parametrize("world", [8, *slices.spread([1, 2, 3, 4, 5])])
@pytest.mark.parametrize("name", NAMES)
def test_no_order_is_wrong_in_many_orders(name, world, two_lanes):
    for nbytes in SIZES:
        events = record(name, world, nbytes, 4, two_lanes=two_lanes, slot_bytes=64 * 7)
        for seed in slices.seeds(12):
            play(events, random.Random(seed))


@pytest.mark.parametrize("mib, steps", [(1, 1), (2, 2), (6, 4), (16, 4), (64, 16)])
def test_a_large_slot_is_filled_where_that_leaves_four_chunks(mib, steps):
    nbytes, large = mib << 20, {"slot_bytes": 4 << 20, "two_lanes": True}
    assert last_step(record("broadcast", 2, nbytes, **large)) == steps
    for name in "broadcast", "all_reduce", "all_to_all":
        prove(record(name, 3, nbytes, 2, **large))


def test_steps_go_round_the_circle():
    """Flags compare on a circle: a schedule that passes 2^32 on its way is the same schedule."""
    start = CYCLE - 5
    events = record("all_reduce", 3, SIZES[-1], 2)
    shifted = [
        event._replace(step=(event.step + start) % CYCLE) if event.flags else event
        for event in events
    ]
    prove(shifted, start)
    play(shifted, random.Random(0), start)


@pytest.mark.parametrize("world", [2, 3, 5])
def test_labels_are_compared_before_they_are_overwritten(world):
    """A rank writes its label when it begins a call; all read it after their first get's wait."""
    for name in NAMES:
        events = record(name, world, 4, 9, two_lanes=False)
        steps = last_step(events) // 9
        prove(list(with_labels(events, steps, world, places=4)))
        assert fault_of(prove, list(with_labels(events, steps, world, places=1))) == "race"


def with_labels(events: list[Event], steps: int, world: int, places: int) -> Iterator[Event]:
    begun, compared = set(), set()
    got: Counter = Counter()
    for event in events:
        rank, call = event.rank, got[event.rank] // steps
        place = call % places
        if (rank, call) not in begun:
            begun.add((rank, call))
            label = Span(f"label {rank}", place, place + 1)
            yield Event(rank, event.lane, "copy", writes=(label,))
        yield event
        if is_meeting(event) and (rank, call) not in compared:
            compared.add((rank, call))
            labels = tuple(Span(f"label {peer}", place, place + 1) for peer in range(world))
            yield Event(rank, event.lane, "copy", reads=labels)
        got[rank] += event.verb == "arrive" and event.flags[0].startswith("got")


# One step, so many calls that the ring wraps; a few steps; the ring wraps in a call.
CALLS = ((4, 7), (2 * SLOT, 4), (SIZES[-1], 2))


@pytest.mark.parametrize("world", [2, 3])
@pytest.mark.parametrize("name", NAMES)
def test_every_wait_and_arrive_is_needed(name, world):
    caught = Counter()
    for nbytes, calls in CALLS:
        caught += check_mutants(name, world, nbytes, calls)
    kinds = {"arrive put", "arrive got", "wait for puts"}
    if name != "barrier":  # which moves no data, so no slot and no tensor needs a guard
        kinds |= {"wait for own gots", "wait for gots"}
    assert set(caught) == kinds


@pytest.mark.slow
@pytest.mark.parametrize("nbytes, calls", [(4, 12), (2 * SLOT, 4), (SIZES[-1], 3)])
@pytest.mark.parametrize("name", NAMES)
def test_every_wait_and_arrive_is_needed_by_four_ranks(name, nbytes, calls):
    check_mutants(name, 4, nbytes, calls)


def check_mutants(name: str, world: int, nbytes: int, calls: int) -> Counter:
    """Each mutant is caught, or the wait guards nothing, or others at a call's start stand in.

    At the start of a call two kinds of wait overlap: for the own gets of the call before (what is
    put now may be what they wrote), and for the slot. Since all ranks have met in that call, either
    may imply the other, as the sizes fall. So there it is their common absence that must be caught.

    Returns:
        How many waits and arrives of each kind nothing else stands in for.
    """
    mutants = Mutants(record(name, world, nbytes, calls), calls)
    caught: Counter = Counter()
    for place in mutants.places:
        if fault_of(prove, mutants.without(place)):
            caught[kind_of(mutants.events[place])] += 1
        elif not mutants.guards_nothing(place):
            assert mutants.begins_call(place), f"nobody misses {mutants.events[place]}"
            near = mutants.near(place)
            assert fault_of(prove, mutants.without(*near)), f"nobody misses any of {near}"
    return caught


def kind_of(event: Event) -> str:
    flag = event.flags[0].split()[0]
    if event.verb == "arrive":
        return f"arrive {flag}"
    is_own = flag == "got" and len(event.flags) == 1
    return f"wait for own {flag}s" if is_own else f"wait for {flag}s"


@pytest.mark.parametrize("name", ["all_reduce", "all_to_all", "broadcast"])
def test_random_orders_catch_what_the_proof_catches(name):
    mutants = Mutants(record(name, 2, SIZES[-1], 2), 2)
    for place in mutants.places:
        events = mutants.without(place)
        if fault_of(prove, events):
            seeds = range(200)
            assert any(fault_of(play, events, random.Random(seed)) for seed in seeds), place


def least_bytes(name: str, world: int, nbytes: int, rank: int) -> tuple[int, int]:
    """What a rank must put and get at the least, with root 0 and nothing said twice."""
    peers = world - 1
    root = rank == 0
    if name == "barrier" or peers == 0:
        return 0, 0
    if name == "broadcast":
        return (nbytes, 0) if root else (0, nbytes)
    if name in ("gather", "reduce"):
        return (0, peers * nbytes) if root else (nbytes, 0)
    if name == "scatter":
        return (peers * nbytes, 0) if root else (0, nbytes)
    if name == "all_gather":
        return nbytes, peers * nbytes
    if name == "all_reduce":
        if nbytes <= ONE_SHOT:
            return nbytes, peers * nbytes
        shard = -(-nbytes // world // 64) * 64
        own = max(0, min(shard, nbytes - rank * shard))
        return nbytes, peers * own + nbytes - own  # others' shards put, the own one put reduced
    return peers * nbytes, peers * nbytes


@pytest.mark.parametrize("world", [1, 2, 3, 4, 5, 16, pytest.param(64, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", NAMES)
def test_no_byte_moves_twice(name, world):
    for nbytes in SIZES:
        put, got = Counter(), Counter()
        for event in record(name, world, nbytes, slot_bytes=max(SLOT, 64 * (world - 1))):
            for spans, count in ((event.writes, put), (event.reads, got)):
                slots = [span for span in spans if span.space.startswith("slots")]
                count[event.rank] += sum(span.end - span.begin for span in slots)
        for rank in range(world):
            assert (put[rank], got[rank]) == least_bytes(name, world, nbytes, rank)


@pytest.mark.parametrize("name", NAMES)
def test_steps_do_not_grow_with_the_world(name):
    """One step per exchange while it fits a slot; then as many as what a rank puts fills slots."""
    exchanges = 2 if name == "all_reduce" else 1
    for world in (2, 3, 4, 5, 8, 16, 32, 64):
        assert last_step(record(name, world, 128, slot_bytes=16384)) == exchanges
    for world in (2, 3, 4, 5, 8):
        steps = last_step(record(name, world, 64 << 10, slot_bytes=4096))
        if name == "barrier":
            assert steps == 1
        elif name in ("scatter", "reduce_scatter", "all_to_all"):  # a rank puts N - 1 shards
            assert steps == -(-(64 << 10) // (4096 // (world - 1) // 64 * 64))
        elif name == "all_reduce":
            assert steps <= 2 * (64 << 10) / 4096
        else:
            assert steps == (64 << 10) / 4096


def test_dependent_exchanges_need_a_depth_of_four():
    """On one lane the second exchange puts a step while the first is two ahead of its gets."""
    shallow = record("all_reduce", 2, SIZES[-1], depth=2, two_lanes=False)
    assert fault_of(prove, shallow) == "deadlock"
    assert fault_of(play, shallow, random.Random(0)) == "deadlock"
    prove(record("all_reduce", 2, SIZES[-1], depth=4, two_lanes=False))
    for name in NAMES:
        if name != "all_reduce":
            prove(record(name, 2, SIZES[-1], depth=2, two_lanes=False))


def arrive(rank: int, flag: str, step: int, lane: str = "host") -> Event:
    return Event(rank, lane, "arrive", flags=(flag,), step=step)


def wait(rank: int, flag: str, step: int) -> Event:
    return Event(rank, "host", "wait", flags=(flag,), step=step)


def write(rank: int, begin: int, end: int) -> Event:
    return Event(rank, "host", "copy", writes=(Span("shared", begin, end),))


def read(rank: int, begin: int, end: int) -> Event:
    return Event(rank, "host", "copy", reads=(Span("shared", begin, end),))


@pytest.mark.parametrize(
    "kind, events",
    [
        (None, [write(0, 0, 8), arrive(0, "put 0", 1), wait(1, "put 0", 1), read(1, 0, 8)]),
        (None, [write(0, 0, 8), write(1, 8, 16)]),
        (None, [read(0, 0, 8), read(1, 0, 8)]),
        ("race", [write(0, 0, 8), read(1, 7, 9)]),
        ("race", [write(0, 0, 8), write(1, 0, 8)]),
        ("race", [arrive(0, "put 0", 1), write(0, 0, 8), wait(1, "put 0", 1), read(1, 0, 8)]),
        ("deadlock", [wait(0, "b", 1), arrive(0, "a", 1), wait(1, "a", 1), arrive(1, "b", 1)]),
        ("late release", [arrive(0, "a", 2), wait(1, "a", 1)]),
        ("late release", [wait(1, "a", 1)]),
        ("flag", [arrive(0, "a", 1), arrive(1, "a", 2)]),
        ("flag", [arrive(0, "a", 1), arrive(0, "a", 2, lane="put")]),
        ("flag", [arrive(0, "a", 1), arrive(0, "a", 1)]),
        ("flag", [arrive(0, "a", 2), arrive(0, "a", 1)]),
        ("overlap", [read(0, 0, 8)._replace(writes=(Span("shared", 4, 12),))]),
    ],
)
def test_the_player_itself(kind, events):
    assert fault_of(prove, events) == kind
    assert fault_of(play, events, random.Random(1)) == kind


def test_a_play_may_miss_what_the_proof_finds():
    """Rank 1 may see a newer step than it asked for, and with it what it did not ask for."""
    events = [arrive(0, "a", 1), write(0, 0, 8), arrive(0, "a", 2), wait(1, "a", 1), read(1, 0, 8)]
    found = Counter(fault_of(play, events, random.Random(seed)) for seed in range(100))
    assert found[None] and found["race"]
    assert fault_of(prove, events) == "race"


def test_faults_name_what_collides():
    with pytest.raises(Fault, match=r"race: shared: rank 0 host: copy .* and rank 1 host: copy"):
        prove([write(0, 0, 8), write(1, 0, 8)])
    with pytest.raises(Fault, match="put 0 does not grow: 1, then 1"):
        check_flags([arrive(0, "put 0", 1), arrive(0, "put 0", 1)])
