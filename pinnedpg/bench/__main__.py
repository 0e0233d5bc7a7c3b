# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""The program: starts the ranks, measures, prints, and writes. `options.py` says how it is used."""

import argparse
import sys
from typing import Any

import torch.distributed as dist

from pinnedpg.bench import launch, record, report, roofline
from pinnedpg.bench.backends import join_all
from pinnedpg.bench.operations import DTYPES, OPERATIONS, REDUCE, ROOTED, Case, Seat
from pinnedpg.bench.options import parse
from pinnedpg.bench.plot import plot
from pinnedpg.bench.progress import Progress
from pinnedpg.bench.timing import Cell, Plan


class Benchmark:
    """All operations at all sizes, printed as they come."""

    def __init__(self, options: argparse.Namespace, seat: Seat):
        """Makes the backends' groups."""
        self.options, self.seat = options, seat
        checked = bool(options.check)
        self.plan = Plan(
            options.iters, options.rounds, options.warmup_iters, options.seconds, checked
        )
        self.comms, self.refused = join_all(options.backend, seat)
        self.rows: list[report.Row] = []
        self.ratios: list[report.Row] = []
        self.roofline: dict[str, Any] | None = None

    def run(self) -> None:
        """Measures everything."""
        cells = [
            (name, dtype, nbytes)
            for name in self.options.operations
            for dtype in (self.options.datatype if name != "barrier" else ["-"])
            for nbytes in (self.options.sizes if name != "barrier" else [0])
        ]
        progress, head = Progress(len(cells), self.seat.rank == 0), ""
        for name, dtype, nbytes in cells:
            if name != head:
                self.say(report.table_head(name))
            head = name
            progress.step(f"{name} {dtype} {nbytes}")
            lines = self.measure(name, dtype, nbytes)
            progress.clear()
            self.say(*lines)
        if self.options.roofline:
            self.roofline = roofline.measure()
            world = self.seat.world_size
            self.roofline["shares"] = roofline.compare(self.rows, self.roofline, world)
        self.conclude()

    def measure(self, name: str, dtype: str, nbytes: int) -> list[str]:
        """Measures one operation at one size, and returns its lines."""
        operation, world = OPERATIONS[name], self.seat.world_size
        case = Case(self.seat, nbytes, DTYPES.get(dtype, DTYPES["float"]), self.options.device)
        about = {"operation": name, "dtype": dtype, "bytes": case.bytes if nbytes else 0}
        by_backend: dict[str, dict[str, report.Row]] = {backend: {} for backend in self.comms}
        for form in operation.forms:
            cell = Cell(operation, case, form, self.comms)
            found = cell.measure(self.plan)
            for backend, measured in found.items():
                row = report.row(about, form, backend, measured, operation.factor(world))
                self.rows.append(row)
                by_backend[backend][row["form"]] = row
            self.ratios += report.ratios(about, form, found)
            for backend, why in cell.refused.items():
                what = " ".join([backend, name, report.FORMS[form], dtype])
                self.refused.setdefault(what, why)
        left = [about["bytes"], case.count if nbytes else 0, dtype]
        left.append(self.seat.reduction if name in REDUCE else "none")
        left.append(self.seat.root if name in ROOTED else -1)
        return [
            report.table_row([*left, backend], forms)
            for backend, forms in by_backend.items()
            if forms
        ]

    def conclude(self) -> None:
        """Prints what has been found of all together."""
        if self.ratios:
            self.say(report.ratio_table(self.ratios))
        if self.roofline:
            self.say(
                f"#\n# copied GB/s, each rank on its core: {self.roofline['together']}; "
                f"rank 0 alone: {self.roofline['alone']}; "
                f"the slowest rank in the best pass: {self.roofline['slowest_rank']}"
            )
            for one in self.roofline["shares"]:
                keys = ("operation", "dtype", "form", "bytes", "backend")
                what = " ".join(str(one[key]) for key in keys)
                self.say(f"# {what}: {one['share']:.0%} of the roofline")
        self.say(*report.refusals(self.refused))
        if wrong := sum(row["wrong"] or 0 for row in self.rows):
            self.say(f"# WRONG: {wrong} elements")

    def say(self, *lines: str) -> None:
        """Prints, on the first rank."""
        if lines and self.seat.rank == 0:
            print(*lines, sep="\n", flush=True)

    def write(self, words: list[str]) -> None:
        """Writes the files that were asked for."""
        if self.options.json:
            told = {
                "machine": record.machine(),
                "world_size": self.seat.world_size,
                "command": words,
                "summary": report.summarize(self.ratios),
                "roofline": self.roofline,
                "not_measured": self.refused,
                "ratios": self.ratios,
                "rows": self.rows,
            }
            record.write(self.options.json, told)
        if self.options.plot:
            charts = plot(self.rows, self.options.plot)
            self.say("# charts: " + (", ".join(charts) or "none: pip install 'pinnedpg[bench]'"))


def check_root(root: int, ranks: int) -> None:
    """Ends the program where no rank has that number."""
    if root >= ranks:
        sys.exit(f"bench: -r must be one of {ranks} ranks; got {root}")


def main(words: list[str]) -> int:
    """Runs the benchmark as one rank, or starts the ranks.

    Args:
        words: The command line.

    Returns:
        The exit status: 1 where a result was wrong or nothing could be measured.
    """
    options = parse(words)
    if not launch.is_rank():
        check_root(options.root, options.nproc)
        program = ["-m", "pinnedpg.bench", *launch.without(words, "--nproc")]
        return launch.launch(program, options.nproc, "mpi" in options.backend)
    rank, world_size = launch.join(not options.no_pin, options.device)
    check_root(options.root, world_size)
    benchmark = Benchmark(options, Seat(rank, world_size, options.root, options.op))
    benchmark.run()
    if rank == 0:
        benchmark.write(words)
    dist.barrier()
    dist.destroy_process_group()
    wrong = any(row["wrong"] for row in benchmark.rows)
    return int(wrong or not benchmark.rows)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
