# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""`pinnedpg.trace`: what a collective queues, as a table."""

import pytest

import pinnedpg

GATHER = """\
gather: 2 ranks, 4096 bytes each, 1 call(s)
stage: slots of 131072 bytes, 16 of each rank
exchanges: 1, steps: 1
bytes put: 0 by rank 0, 4096 by rank 1
bytes got: 4096 by rank 0, 0 by rank 1

rank  lane   step  verb    what
   0  put       1  wait    got 0 >= 0 (at once)
   0  put       1  wait    got 0..1 >= -15 (at once)
   0  put       1  arrive  put 0 = 1
   0  get       1  wait    put 0..1 >= 1
   0  get       1  copy    in 0[0:4096] -> out 0[0:4096]
   0  get       1  get     slots 1[131072:135168] -> out 0[4096:8192]
   0  get       1  arrive  got 0 = 1
   1  put       1  wait    got 1 >= 0 (at once)
   1  put       1  wait    got 0..1 >= -15 (at once)
   1  put       1  put     in 1[0:4096] -> slots 1[131072:135168]
   1  put       1  arrive  put 1 = 1
   1  get       1  wait    put 0..1 >= 1
   1  get       1  arrive  got 1 = 1"""


def test_table():
    assert str(pinnedpg.trace("gather", nbytes=4096)) == GATHER


def test_numbers():
    trace = pinnedpg.trace("all_reduce", world_size=4, nbytes=1 << 20, slot_bytes=3 << 14)
    assert (trace.exchanges, trace.steps) == (2, 32)
    assert trace.put_bytes == [1 << 20] * 4
    assert trace.got_bytes == [3 << 19] * 4
    assert {event.verb for event in trace.events} == {"copy", "reduce", "arrive", "wait"}


def test_long_schedules_are_cut_unless_full():
    short = str(pinnedpg.trace("all_reduce", world_size=8, nbytes=8 << 20))
    full = pinnedpg.trace("all_reduce", world_size=8, nbytes=8 << 20, full=True)
    assert len(short.splitlines()) < 70
    assert "more; full=True shows all" in short and "to rank 7, alike" in short
    assert len(str(full).splitlines()) == len(full.events) + 7


def test_reductions_name_their_sources_in_rank_order():
    table = str(pinnedpg.trace("all_reduce", world_size=3, nbytes=64, two_lanes=False))
    assert "slots 0[131072:131136] + out 1[0:64] + slots 2[131072:131136] -> out 1[0:64]" in table
    assert "   1  host      1  reduce  " in table


@pytest.mark.parametrize(
    "options, text",
    [
        (
            {"name": "all_reduces"},
            "trace: name must be barrier, broadcast, all_reduce, reduce, all_gather, gather, "
            "scatter, reduce_scatter or all_to_all; got all_reduces",
        ),
        ({"world_size": 0}, "trace: world_size must be at least 1; got 0"),
        ({"nbytes": 3}, "trace: nbytes must be whole float32; got 3"),
        ({"depth": 3}, "trace: depth must be a power of two from 2 to 1024; got 3"),
        ({"depth": 1 << 32}, "trace: depth must be a power of two from 2 to 1024; got 4294967296"),
        (
            {"slot_bytes": 100},
            "trace: slot_bytes must be a multiple of 64 from 64 to 1 GiB; got 100",
        ),
        (
            {"slot_bytes": 64, "world_size": 70},
            "trace: slot_bytes must be a multiple of 64 from 1152 to 1 GiB; got 64",
        ),
        (
            {"one_shot_bytes": -1},
            "trace: one_shot_bytes must not be negative, or beyond all memory; got -1",
        ),
    ],
)
def test_what_cannot_be_traced(options, text):
    with pytest.raises(ValueError) as error:
        pinnedpg.trace(**{"name": "barrier", **options})
    assert str(error.value) == text
