# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""What is printed: nccl-tests' table, and the ratios. Rows are plain data, as JSON has them."""

import statistics
from collections.abc import Mapping
from typing import Any

from pinnedpg.bench.timing import Measured, ratio

FORMS = {False: "out-of-place", True: "in-place"}
OURS = "pinned"
KEYS = ("operation", "dtype", "form", "peer")
"""What a line of the summary is about."""

Row = dict[str, Any]


def row(about: Row, form: bool, backend: str, found: Measured, factor: float) -> Row:
    """Returns one measurement as plain data; times in microseconds, bandwidths in GB/s.

    Args:
        about: Its "operation", "dtype" and "bytes".
        form: Whether in place.
        backend: Whose it is.
        found: What was measured.
        factor: Bus bandwidth over algorithm bandwidth.
    """
    algbw = about["bytes"] / found.time_us / 1e3
    return {
        **about,
        "form": FORMS[form],
        "backend": backend,
        "time_us": round(found.time_us, 3),
        "p50_us": round(found.percentile_us(0.5), 3),
        "p99_us": round(found.percentile_us(0.99), 3),
        "algbw": round(algbw, 4),
        "busbw": round(algbw * factor, 4),
        "wrong": found.wrong,
        "rounds_us": [float(f"{one:.5g}") for one in found.rounds_us],
    }


def ratios(about: Row, form: bool, found: Mapping[str, Measured]) -> list[Row]:
    """Returns each peer's time over that of "pinned", paired round by round."""
    if OURS not in found:
        return []
    return [
        {**about, "form": FORMS[form], "peer": name, "ratio": round(ratio(one, found[OURS]), 3)}
        for name, one in found.items()
        if name != OURS
    ]


def summarize(found: list[Row]) -> list[Row]:
    """Returns, per operation, type, form and peer, the ratios' geometric mean over sizes and least.

    Args:
        found: As `ratios` returns them.
    """
    summary = []
    for key in dict.fromkeys(tuple(one[name] for name in KEYS) for one in found):
        mine = [one for one in found if tuple(one[name] for name in KEYS) == key]
        least = min(mine, key=lambda one: one["ratio"])
        mean = statistics.geometric_mean(one["ratio"] for one in mine)
        line = {"geomean": round(mean, 3), "floor": least["ratio"], "floor_bytes": least["bytes"]}
        summary.append({**dict(zip(KEYS, key, strict=True)), **line})
    return summary


COLUMNS = (
    ("time", "(us)", 10),
    ("p50", "(us)", 10),
    ("p99", "(us)", 10),
    ("algbw", "(GB/s)", 7),
    ("busbw", "(GB/s)", 7),
    ("#wrong", "", 6),
)
LEFT = (
    ("size", "(B)", 10),
    ("count", "(elements)", 10),
    ("type", "", 8),
    ("redop", "", 5),
    ("root", "", 4),
    ("backend", "", 9),
)


Columns = tuple[tuple[str, str, int], ...]


def _join(values: list[str], columns: Columns) -> str:
    widths = [width for _, _, width in columns]
    return " ".join(f"{value:>{width}}" for value, width in zip(values, widths, strict=True))


def _titles(columns: Columns) -> str:
    return _join([title for title, _, _ in columns], columns)


def _units(columns: Columns) -> str:
    return _join([unit for _, unit, _ in columns], columns)


def table_head(operation: str) -> str:
    """Returns the lines above an operation's rows."""
    blank, width = " " * len(_titles(LEFT)), len(_titles(COLUMNS))
    forms = "  ".join(f"{form:^{width}}" for form in FORMS.values())
    titles = "  ".join(map(_titles, (LEFT, COLUMNS, COLUMNS)))
    units = "  ".join(map(_units, (LEFT, COLUMNS, COLUMNS)))
    return f"#\n# {operation}\n# {blank}  {forms}\n# {titles}\n# {units}"


def table_row(left: list[Any], forms: Mapping[str, Row]) -> str:
    """Returns one backend's line: both forms side by side, "-" where there is none.

    Args:
        left: Size, count, type, reduction, root, backend.
        forms: The backend's rows by form.
    """
    cells = []
    for form in FORMS.values():
        values = ["-"] * len(COLUMNS)
        if one := forms.get(form):
            keys = ("time_us", "p50_us", "p99_us", "algbw", "busbw")
            values = [f"{one[key]:.2f}" for key in keys]
            values.append("N/A" if one["wrong"] is None else str(one["wrong"]))
        cells.append(_join(values, COLUMNS))
    return "  ".join(["  " + _join([str(one) for one in left], LEFT), *cells])


def ratio_table(found: list[Row]) -> str:
    """Returns the ratios: a line per operation, type, form and size, a column per peer."""
    peers = list(dict.fromkeys(one["peer"] for one in found))
    means = summarize(found)
    lines = [f"#\n# time over that of {OURS}: medians of paired rounds", _line("#", peers)]
    for title in dict.fromkeys(tuple(one[name] for name in KEYS[:3]) for one in found):
        name = " ".join(title)
        mine = [one for one in found if tuple(one[key] for key in KEYS[:3]) == title]
        for nbytes in dict.fromkeys(one["bytes"] for one in mine):
            of = {one["peer"]: one["ratio"] for one in mine if one["bytes"] == nbytes}
            lines.append(_line(f"{name} {nbytes}", [of.get(peer) for peer in peers]))
        for word, key in (("geometric mean", "geomean"), ("least", "floor")):
            of = {o["peer"]: o[key] for o in means if tuple(o[k] for k in KEYS[:3]) == title}
            lines.append(_line(f"{name}, {word}", [of.get(peer) for peer in peers]))
    return "\n".join(lines)


def _line(title: str, values: list[Any]) -> str:
    shown = [f"{one:.2f}x" if isinstance(one, float) else one or "-" for one in values]
    return f"{title:<52}" + "".join(f" {one:>10}" for one in shown)


def refusals(refused: Mapping[str, str]) -> list[str]:
    """Returns a line for each backend and reason why something was not measured.

    Args:
        refused: Why, by backend; or by backend, operation, form and type.
    """
    grouped: dict[tuple[str, str], dict[str, None]] = {}
    for what, why in refused.items():
        backend, _, rest = what.partition(" ")
        grouped.setdefault((backend, why), {})[rest.partition(" ")[0]] = None
    return [
        f"# not measured: {backend} {', '.join(names)}".rstrip() + f": {why}"
        for (backend, why), names in grouped.items()
    ]
