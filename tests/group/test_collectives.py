# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""The collectives' matrix: row x op x dtype x world x size x layout x sync and async x launcher."""

import matrix
import pytest
import ranks
from cases import DTYPES, MOVES, SYNCS
from matrix import LAYOUTS, MODES, SIZES
from reductions import REDUCING, REDUCTIONS
from worker import Setup

WORLDS = [1, 2, 3, 4, 5]
SLOT_BYTES = 4096
LAUNCHERS = ["processes", "threads", "lists"]
# (ranks, tensors in each rank's list) whose product is the world.
LISTS = {1: (1, 1), 2: (1, 2), 3: (1, 3), 4: (2, 2), 5: (1, 5)}


def run(launcher, world, product, slot_bytes=SLOT_BYTES, timeout_s=60.0):
    """Runs a product on the launcher's ranks; returns how many cells, all right."""
    # all_reduce takes one exchange up to a slot, or up to many: both meet the slots' boundaries.
    one_shot_bytes = slot_bytes if world % 2 else 16 * slot_bytes
    setup = Setup(
        options={
            "slot_bytes": slot_bytes,
            "depth": matrix.DEPTH,
            "one_shot_bytes": one_shot_bytes,
        }
    )
    count, members = LISTS[world] if launcher == "lists" else (world, 0)
    results = ranks.run(
        matrix.check,
        count,
        product,
        slot_bytes,
        members,
        launcher="threads" if launcher == "threads" else "processes",
        setup=setup,
        timeout_s=timeout_s,
    )
    complaints = [text for _, texts in results for text in texts]
    assert not complaints, "\n".join(complaints[:12])
    (cells,) = {count for count, _ in results}
    return cells


def rows(launcher):
    """Returns the moving rows, the reducing ones, and the others, that a launcher knows."""
    groups = [MOVES, REDUCING, SYNCS]
    return [[case for case in group if case.lists or launcher != "lists"] for group in groups]


def flat(cases):
    """Returns how many rows do without the transposed layout."""
    return sum(case.flat for case in cases)


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_types(launcher, world, count_cells):
    moves, reducing, syncs = rows(launcher)
    cells = run(launcher, world, "types")
    assert cells == len(moves) * len(DTYPES) + len(reducing) * len(REDUCTIONS) + len(syncs)
    count_cells(launcher, cells)


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_shapes(launcher, world, count_cells):
    moves, reducing, syncs = rows(launcher)
    cells = run(launcher, world, "shapes")
    laid = len(moves + reducing) * len(LAYOUTS) - flat(moves + reducing)
    assert cells == (laid * len(SIZES) + len(syncs)) * len(MODES)
    count_cells(launcher, cells)


@pytest.mark.exhaustive
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_full(launcher, world, count_cells):
    moves, reducing, syncs = rows(launcher)
    cells = run(launcher, world, "full", timeout_s=1800.0)
    typed = len(DTYPES) * (len(moves) * len(LAYOUTS) - flat(moves))
    typed += len(REDUCTIONS) * (len(reducing) * len(LAYOUTS) - flat(reducing))
    assert cells == (typed * len(SIZES) + len(syncs)) * len(MODES)
    count_cells(launcher, cells)


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_shapes_with_default_slots(launcher, count_cells):
    count_cells(launcher, run(launcher, 2, "shapes", slot_bytes=64 << 10))
