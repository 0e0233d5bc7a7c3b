# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Chooses which quarter of the soak tests a commit runs, so that four commits run all of them.

PINNEDPG_SOAK is `all`, or the number of a slice; without it a commit's slice is the number of its
ancestors, so the next commit has the next one. PINNEDPG_SEED is where random programs begin;
without it, it is made from the commit's hash, so no two commits run the same programs.

.ci/run asks here too, where there is no pytest yet.
"""

import functools
import itertools
import os
import subprocess
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

SLICES = 4
SEEDS = 100_000
"""How many seeds there are to begin at: a program's tags are thousandfold, and are C's ints."""
COLLECTED: list[Any] = []
"""All tests of a run's files, before any was left out."""


def number() -> int | None:
    """Returns the slice that runs, or None where all do."""
    given = os.environ.get("PINNEDPG_SOAK", "")
    if given == "all":
        return None
    if not given:
        return _commit()[0] % SLICES
    if not given.isdigit():
        raise ValueError(f"PINNEDPG_SOAK must be `all` or a slice's number; got {given!r}")
    return int(given) % SLICES


def seed() -> int:
    """Returns where random programs begin."""
    given = os.environ.get("PINNEDPG_SEED", "")
    if given and not given.isdigit():
        raise ValueError(f"PINNEDPG_SEED must be a number; got {given!r}")
    return int(given) % SEEDS if given else _commit()[1]


def chosen(n: int) -> bool:
    """Whether what belongs to that slice runs."""
    return number() in (None, n % SLICES)


def part(items: Iterable[Any], n: int = SLICES) -> list:
    """Returns every n-th item, from the slice's number on; or all."""
    items = list(items)
    return items if number() is None else items[number() % n :: n]


def amount(whole: int) -> int:
    """Returns how many of so many random programs run."""
    return whole if number() is None else -(-whole // SLICES)


def seeds(whole: int, first: int = 0) -> range:
    """Returns the seeds of that many random programs, or of a slice's share of them."""
    begin = first + seed()
    return range(begin, begin + amount(whole))


def spread(items: Iterable[Any], first: int = 0) -> list:
    """Returns a test's parameters, each marked with a slice of its own, from `first` on in turn.

    A test that is asked for by its own name runs in every slice.
    """
    import pytest

    return [
        _marked(item, pytest.mark.soak(place % SLICES))
        for item, place in zip(items, itertools.count(first))
    ]


def _marked(item: Any, mark: Any) -> Any:
    import pytest

    if hasattr(item, "marks"):  # a pytest.param
        return pytest.param(*item.values, id=item.id, marks=[*item.marks, mark])
    values = item if isinstance(item, tuple) else (item,)
    return pytest.param(*values, marks=mark)


def told() -> str:
    """Returns what runs, and how to run it again."""
    now, begin = number(), seed()
    which = "all" if now is None else f"slice {now} of {SLICES}"
    again = f"PINNEDPG_SOAK={'all' if now is None else now} PINNEDPG_SEED={begin}"
    return f"soak: {which}, seed {begin}; to reproduce: {again}"


def pin() -> None:
    """Lets all processes that begin from here on run the same, whatever is committed meanwhile."""
    now = number()
    os.environ["PINNEDPG_SOAK"] = "all" if now is None else str(now)
    os.environ["PINNEDPG_SEED"] = str(seed())


def runs(item: Any, named: Sequence[str]) -> bool:
    """Whether a test belongs to no slice, to the one that runs, or is among those named."""
    number = of(item)
    is_named = any("::" in name and item.nodeid.startswith(name) for name in named)
    return number is None or is_named or chosen(number)


def of(item: Any) -> int | None:
    """Returns a test's slice: what its mark says, else one by its name; None: in every slice."""
    mark = item.get_closest_marker("soak")
    if mark is None:
        return None
    name = f"{item.path.name}::{item.name}"  # an id may have a word of xdist's at its end
    return (mark.args[0] if mark.args else zlib.crc32(name.encode())) % SLICES


@functools.cache
def _commit() -> tuple[int, int]:
    """Returns the commit's number and its seed; zeros where there is no git."""
    head = _git("rev-parse", "HEAD")
    if not head:
        return 0, 0
    begin = int(head[:12], 16) % SEEDS
    if _git("rev-parse", "--is-shallow-repository") != "false":
        return begin, begin  # its ancestors are not there: slices by chance, not in turn
    return int(_git("rev-list", "--count", "--first-parent", "HEAD")), begin


def _git(*words: str) -> str:
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():  # unpacked into another project's checkout, perhaps
        return ""
    try:
        # A checkout in a container may be another user's.
        command = ["git", "-c", f"safe.directory={root}", "-C", str(root), *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
