# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Charts of a benchmark's rows; needs matplotlib (pip install 'pinnedpg[bench]')."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

CHARTS = {
    "latency": ("time_us", "time of a call (µs)"),
    "bandwidth": ("busbw", "bus bandwidth (GB/s)"),
}
TICKS = {8: "8", 512: "512", 32 << 10: "32K", 2 << 20: "2M", 128 << 20: "128M", 8 << 30: "8G"}
"""Where the axis of sizes is labelled."""


def plot(rows: list[dict[str, Any]], path: str) -> list[str]:
    """Writes a chart of latency and one of bandwidth, and returns their files.

    Args:
        rows: As `report.row` makes them; those of the first type are drawn, and of the form that
            comes first.
        path: "chart.svg" becomes chart-latency.svg and chart-bandwidth.svg.

    Returns:
        Nothing where there is no matplotlib, or no row with a size.
    """
    rows = [row for row in rows if row["bytes"] and row["dtype"] == rows[0]["dtype"]]
    if not rows or not find_spec("matplotlib"):
        return []
    return [_chart(rows, kind, Path(path)) for kind in CHARTS]


def _chart(rows: list[dict[str, Any]], kind: str, path: Path) -> str:
    import matplotlib
    from matplotlib.figure import Figure

    key, unit = CHARTS[kind]
    operations = list(dict.fromkeys(row["operation"] for row in rows))
    figure = Figure(figsize=(3.2 * len(operations), 3.4))
    axes = figure.subplots(1, len(operations), squeeze=False, sharey=True)[0]
    for axis, operation in zip(axes, operations, strict=True):
        _draw(axis, [row for row in rows if row["operation"] == operation], key)
        axis.set(title=operation, xlabel="bytes", xscale="log", yscale="log")
        sizes = {row["bytes"] for row in rows}
        ticks = [one for one in TICKS if min(sizes) <= one <= max(sizes)]
        axis.set_xticks(ticks, [TICKS[one] for one in ticks])
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    axes[0].set_ylabel(unit)
    lines = {line.get_label(): line for axis in axes for line in axis.lines}
    figure.legend(lines.values(), lines, loc="upper center", ncols=len(lines), frameon=False)
    figure.subplots_adjust(top=0.82)
    target = path.with_stem(f"{path.stem}-{kind}")
    same = {"svg.fonttype": "none", "svg.hashsalt": "pinnedpg"}  # the same file from the same rows
    with matplotlib.rc_context(same):
        svg = target.suffix == ".svg"
        figure.savefig(target, bbox_inches="tight", metadata={"Date": None} if svg else None)
    return str(target)


def _draw(axis: Any, rows: list[dict[str, Any]], key: str) -> None:
    colors = ("pinned", "gloo", "mpi", "deepspeed", "nccl")
    for backend in dict.fromkeys(row["backend"] for row in rows):
        line: dict[int, float] = {}
        for row in rows:
            if row["backend"] == backend:
                line.setdefault(row["bytes"], row[key])
        color = f"C{colors.index(backend)}" if backend in colors else None
        axis.plot(list(line), list(line.values()), marker=".", label=backend, color=color)
