# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Makes tables and charts from the JSON files of `benchmarks/run`.

    python benchmarks/show.py [--write] [FOLDER]

Prints the tables of a folder. `--write` puts those of benchmarks/ and the charts into
benchmarks/README.md, and the short one into README.md.
"""

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

from pinnedpg.bench.plot import CHARTS, plot

sys.path.insert(0, str(Path(__file__).resolve().parent))
import goals  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
HERE = ROOT / "benchmarks"
MARKED = re.compile(r"(?<=<!-- benchmarks -->\n)(.*?)(?=<!-- end of benchmarks -->)", re.DOTALL)
FILES = ("two_ranks", "four_ranks", "ddp")
TITLE = ("operation", "dtype", "form")
SMALL = 4 << 10
LARGE = (64 << 10, 1 << 20, 16 << 20, 256 << 20)
Found = dict[str, Any]


def load(folder: Path) -> list[Found]:
    """Returns what the files of a folder hold."""
    return [json.loads((folder / f"{name}.json").read_text()) for name in FILES]


def name_bytes(nbytes: int) -> str:
    """Returns "64 KB" for 65536."""
    return f"{nbytes >> 20} MB" if nbytes >= 1 << 20 else f"{nbytes >> 10} KB"


def multiple(ratio: float | None) -> str:
    """Returns a ratio as it is printed."""
    if ratio is None:
        return "–"
    digits = 0 if ratio >= 20 else 1 if ratio >= 10 else 2
    return f"{ratio:.{digits}f}x"


def table(found: Found, dtypes: tuple[str, ...]) -> str:
    """Returns a line for each operation and each of the types, in the form that comes first."""
    ratios = [one for one in found["ratios"] if one["dtype"] in dtypes]
    peers = [name for name in dict.fromkeys(one["peer"] for one in ratios) if name != "gloo"]
    large = [size for size in LARGE if any(one["bytes"] == size for one in ratios)]
    columns = [(peer, size) for peer in peers for size in large]
    lines = [["", f"pinned, ≤ {name_bytes(SMALL)}", "gloo: mean (least)"]]
    lines[0] += [f"{peer} {name_bytes(size)}" for peer, size in columns]
    lines.append(["---"] * len(lines[0]))
    shown: dict[tuple[str, str], str] = {}
    for one in ratios:
        operation, dtype, form = (one[key] for key in TITLE)
        if shown.setdefault((operation, dtype), form) == form and one["peer"] == "gloo":
            name = f"`{operation}`" + (f" {dtype}" if len(dtypes) > 2 and dtype != "-" else "")
            line = [name, *cells(found, (operation, dtype, form), columns)]
            if line not in lines:
                lines.append(line)
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def cells(found: Found, title: tuple[str, ...], columns: list[tuple[str, int]]) -> list[str]:
    """Returns an operation's cells: our slowest small call, gloo's ratios, the other peers'."""

    def of(name: str) -> list[Found]:
        return [one for one in found[name] if tuple(one[key] for key in TITLE) == title]

    ours = [one for one in of("rows") if one["backend"] == "pinned"]
    small = [one["time_us"] for one in ours if one["bytes"] <= SMALL]
    gloo = next(one for one in of("summary") if one["peer"] == "gloo")
    ratios = {(one["peer"], one["bytes"]): one["ratio"] for one in of("ratios")}
    return [
        f"{max(small):.1f} µs" if small else "–",
        f"{multiple(gloo['geomean'])} ({multiple(gloo['floor'])})",
        *(multiple(ratios.get(column)) for column in columns),
    ]


def describe(found: Found) -> str:
    """Returns what was measured on, in words."""
    machine = found["machine"]
    return (
        f"{found['world_size']} ranks on {machine['cores']} cores ({machine['cpu']}, "
        f"torch {machine['torch']}, commit {machine['commit']}): the time of peers over ours."
    )


def share_of_roofline(found: Found) -> str:
    """Returns how near the largest all_reduce comes to what the cores can copy."""
    shares = goals.select(found["roofline"]["shares"], backend="pinned", operation="all_reduce")
    largest = max((one["bytes"] for one in shares), default=0)
    told = [f"{one['share']:.0%} ({one['dtype']})" for one in shares if one["bytes"] == largest]
    return (
        f"`all_reduce` of {name_bytes(largest)} runs at {' and '.join(told)} of the memory "
        "roofline of the same run (defined in pinnedpg/bench/roofline.py).\n"
        if told
        else ""
    )


def rooflines(found: Found) -> str:
    """Returns a line for each operation, type and form: the shares at the largest size."""
    shares = found["roofline"]["shares"]
    if not shares:
        return ""
    largest = max(one["bytes"] for one in shares)
    backends = list(dict.fromkeys(one["backend"] for one in shares))
    lines = [[f"{name_bytes(largest)}: share of the roofline", *backends]]
    lines.append(["---"] * len(lines[0]))
    for title in dict.fromkeys(tuple(one[key] for key in TITLE) for one in shares):
        mine = {
            one["backend"]: f"{one['share']:.0%}"
            for one in shares
            if one["bytes"] == largest and tuple(one[key] for key in TITLE) == title
        }
        operation, dtype, form = title
        lines.append([f"`{operation}` {dtype}, {form}", *(mine.get(b, "–") for b in backends)])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def ddp(found: Found) -> str:
    """Returns what a training step takes."""
    times = {row["backend"]: f"{row['time_us'] / 1e3:.0f} ms" for row in found["rows"]}
    return (
        f"A DDP step of {found['parameters'] / 1e6:.0f} million parameters on "
        f"{found['world_size']} ranks: pinned {times['pinned']}, gloo {times['gloo']}, without "
        f"communication {times['alone']}; gloo over pinned, paired, "
        f"{found['ratios'][0]['ratio']:.2f}x.\n"
    )


def whole(files: list[Found]) -> str:
    """Returns all tables."""
    two, four, steps = files
    parts = [f"{describe(one)}\n\n{table(one, ('float', 'bfloat16', '-'))}" for one in (two, four)]
    told = [share_of_roofline(two), rooflines(two), ddp(steps)]
    judged = f"The goals of two ranks, and what that run found:\n\n{goals.table(two)}"
    return "\n".join(filter(None, [*parts, *told, judged]))


def short(files: list[Found]) -> str:
    """Returns the part of the project's README."""
    two, _, steps = files
    more = "More, with bfloat16 and four ranks: [benchmarks/README.md](benchmarks/README.md)."
    charts = " ".join(f"![{kind}](benchmarks/two_ranks-{kind}.svg)" for kind in CHARTS)
    told = " ".join(f"{share_of_roofline(two)}{ddp(steps)}{charts}".splitlines())
    return f"{describe(two)} {more}\n\n{table(two, ('float', '-'))}\n{told}\n"


def main() -> None:
    """Prints or writes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", nargs="?", type=Path, default=HERE)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    files = load(options.folder)
    print(whole(files))
    if options.write:
        plot(files[0]["rows"], str(HERE / "two_ranks.svg"))
        for path, text in ((ROOT / "README.md", short(files)), (HERE / "README.md", whole(files))):
            before, _, after = MARKED.split(path.read_text())
            path.write_text(before + text + after)


if __name__ == "__main__":
    main()
