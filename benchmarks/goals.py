# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Compares what was measured with the goals of two ranks (goals.json)."""

import json
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

GOALS = json.loads((Path(__file__).resolve().parent / "goals.json").read_text())
SMALL = 4 << 10
Found = dict[str, Any]
Line = tuple[str, str, str, bool, str]


def select(found: list[Found], **wanted: Any) -> list[Found]:
    """Returns those of the lines that have these values."""
    return [one for one in found if all(one[key] == value for key, value in wanted.items())]


def by_medians(found: Found, about: Found) -> float:
    """Returns gloo's time over ours, the geometric mean over sizes, by the medians of calls."""
    ours = select(found["rows"], backend="pinned", **about)
    theirs = {one["bytes"]: one["p50_us"] for one in select(found["rows"], backend="gloo", **about)}
    return statistics.geometric_mean(theirs[one["bytes"]] / one["p50_us"] for one in ours)


def limit(found: Found, about: Found, nbytes: int, peer: str) -> str:
    """Returns the most that the roofline leaves: the peer's time over the roofline's."""
    shares = select(found["roofline"]["shares"], backend=peer, bytes=nbytes, **about)
    return f"{1 / shares[0]['share']:.2f}x" if shares else ""


def lines_of(found: Found, operation: str, dtype: str, form: str) -> Iterator[Line]:
    """Yields goals: against whom, the goal, what was found, whether that meets it, the limit."""
    goal, about = GOALS[operation], {"operation": operation, "dtype": dtype, "form": form}
    small = [
        one for one in select(found["rows"], backend="pinned", **about) if one["bytes"] <= SMALL
    ]
    worst, median = (max(one[key] for one in small) for key in ("time_us", "p50_us"))
    met = worst <= goal["small_us"]
    yield "≤ 4 KB", f"{goal['small_us']} µs", f"{worst:.1f} µs (p50 {median:.1f})", met, ""
    for one in select(found["summary"], peer="gloo", **about):
        mean, least = goal["gloo"]
        got = f"{one['geomean']:.1f}x (by p50 {by_medians(found, about):.1f}x)"
        yield "gloo, mean", f"{mean}x", got, one["geomean"] >= mean, ""
        most = limit(found, about, one["floor_bytes"], "gloo")
        got = f"{one['floor']:.2f}x at {one['floor_bytes']} B"
        yield "gloo, least", f"{least}x", got, one["floor"] >= least, most
    for peer in ("mpi", "deepspeed"):
        for nbytes, wanted in goal.get(peer, {}).items():
            for one in select(found["ratios"], peer=peer, bytes=int(nbytes), **about):
                most = limit(found, about, int(nbytes), peer)
                got = f"{one['ratio']:.2f}x"
                yield f"{peer}, {nbytes} B", f"{wanted}x", got, one["ratio"] >= wanted, most


def table(found: Found) -> str:
    """Returns a line for each goal and type, in each operation's first form."""
    head = ("Call", "against", "goal", "found", "met", "most, by the roofline")
    lines = [head, ("---",) * len(head)]
    known = dict.fromkeys((one["operation"], one["dtype"]) for one in found["summary"])
    for operation, dtype in known:
        (form, *_) = (one["form"] for one in select(found["summary"], operation=operation))
        name = f"`{operation}`" + ("" if dtype == "-" else f" {dtype}")
        for of, goal, got, met, most in lines_of(found, operation, dtype, form):
            lines.append((name, of, goal, got, "yes" if met else "**no**", most))
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
