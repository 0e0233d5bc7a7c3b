# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""The benchmark: its command line, what it prints and writes, and that it catches wrong results.

No time is looked at: the numbers of a test say nothing.
"""

import argparse
import importlib.util
import json
import re
import shutil
import statistics
import sys

import launch
import pytest
import torch

from pinnedpg.bench import plot, record, report
from pinnedpg.bench.launch import without
from pinnedpg.bench.operations import (
    DTYPES,
    OPERATIONS,
    REDUCTIONS,
    Case,
    Seat,
    count_wrong,
    fill,
    sizes,
)
from pinnedpg.bench.options import parse, parse_bytes
from pinnedpg.bench.progress import Progress
from pinnedpg.bench.timing import Measured, ratio, time_calls

LYING = """
import sys
from pinnedpg.bench.__main__ import main
from pinnedpg.bench.backends import COMMS, TorchComm

class Lying(TorchComm):
    def __init__(self, seat):
        super().__init__(seat, "gloo")
        self.calls = 0

    def all_reduce(self, tensor):
        super().all_reduce(tensor)
        self.calls += 1
        if self.calls {when}:
            tensor[-1] += 1

COMMS["lying"] = Lying
sys.exit(main(sys.argv[1:]))
"""
CELL = ("operation", "dtype", "bytes", "form")
ALONE = "RANK=0 WORLD_SIZE=1 MASTER_ADDR=127.0.0.1 MASTER_PORT=0 python"


def test_the_flags_of_nccl_tests():
    options = parse("broadcast -b 8 -e 1M -f 2 -n 5 -w 3 -o max -r 1 -c 0 -J out.json".split())
    assert options.operations == ["broadcast"]
    assert options.sizes == [8 << step for step in range(18)]
    assert (options.iters, options.warmup_iters, options.op, options.root) == (5, 3, "max", 1)
    assert (options.check, options.json, options.backend) == (0, "out.json", ["pinned"])
    assert parse(["-d", "float,bfloat16"]).datatype == ["float", "bfloat16"]
    assert parse(["--sizes", "8,64K"]).sizes == [8, 65536]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("-b 1X", 'must be like "64"'),
        ("-b 0", 'must be like "64"'),
        ("-b 64 -e 8", "-b must be at most -e"),
        ("-f 1", "must be a whole number from 2"),
        ("--seconds nan", "must be a number above 0; got 'nan'"),
        ("--seconds -1", "must be a number above 0; got '-1'"),
        ("--json /proc/nowhere/x.json", "must be a file that can be written"),
        ("--plot /", "must be a file that can be written"),
        ("-d float,string", "must be of int8"),
        ("--backend gloo,glue", "must be of pinned"),
        ("all_reducing", "operation must be one of all_reduce"),
    ],
)
def test_wrong_words_are_refused(words, said, capsys):
    with pytest.raises(SystemExit):
        parse(words.split())
    assert said in capsys.readouterr().err


def test_sizes():
    assert [parse_bytes(text) for text in ("8", "4K", "2m", "1G")] == [8, 4096, 2 << 20, 1 << 30]
    assert list(sizes(8, 100, 4)) == [8, 32]
    with pytest.raises(argparse.ArgumentTypeError):
        parse_bytes("-8")


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_reductions_by_the_definition(reduction, dtype):
    """What is expected is what Python's whole numbers give, exactly."""
    case = Case(Seat(1, 3, 0, reduction), 96, DTYPES[dtype], "cpu")
    columns = zip(*(case.pattern(rank, case.count).tolist() for rank in range(3)), strict=True)
    of = {"sum": sum, "min": min, "max": max, "prod": lambda c: c[0] * c[1] * c[2], "avg": sum}
    wanted = torch.tensor([of[reduction](column) for column in columns], dtype=torch.float64)
    if reduction == "avg":
        whole = not case.source.is_floating_point()
        wanted = (wanted / 3).floor() if whole else wanted.to(case.source.dtype) / 3
    assert count_wrong(case.reduced(), wanted.to(case.source.dtype), case.seat) == 0


@pytest.mark.parametrize("operation", [name for name in OPERATIONS if name != "barrier"])
def test_a_call_that_does_nothing_is_wrong(operation):
    """Before a call the result holds what it must not hold after, in each form."""
    for form in OPERATIONS[operation].forms:
        case = Case(Seat(1, 2, 1), 1 << 10, torch.float32, "cpu")
        fill(case, OPERATIONS[operation], form)
        got, wanted = OPERATIONS[operation].result(case, form), OPERATIONS[operation].expected(case)
        same = operation == "broadcast"  # rank 1 is the root
        assert (count_wrong(got, wanted, case.seat) == 0) == same


def test_one_wrong_element_counts():
    case = Case(Seat(0, 2), 4096, torch.bfloat16, "cpu")
    right = case.reduced()
    for wrong in (right + torch.nn.functional.one_hot(torch.tensor(7), case.count), right.roll(64)):
        assert count_wrong(wrong.to(right.dtype), right, case.seat) > 0


def test_ratios_are_medians_of_pairs():
    """A median of pairs, not a quotient of medians; then the geometric mean and the least."""
    ours, peer = Measured([1.0, 2.0, 10.0]), Measured([4.0, 4.0, 30.0])
    assert ratio(peer, ours) == 3.0 != peer.time_us / ours.time_us
    found = []
    for nbytes, times in ((8, [4.0, 4.0, 30.0]), (64, [12.0, 24.0, 120.0])):
        about = {"operation": "all_reduce", "dtype": "float", "bytes": nbytes}
        found += report.ratios(about, True, {"pinned": ours, "gloo": Measured(times)})
    assert [one["ratio"] for one in found] == [3.0, 12.0]
    (summary,) = report.summarize(found)
    assert (summary["geomean"], summary["floor"], summary["floor_bytes"]) == (6.0, 3.0, 8)


def test_calls_on_a_gpu_are_timed_by_its_clock(monkeypatch):
    """A stand-in for the GPU: its clock ticks a millisecond for each call."""
    calls, events = [], []

    class Event:
        def __init__(self, enable_timing):
            assert enable_timing
            events.append(self)

        def record(self):
            self.at_ms = len(calls)

        def elapsed_time(self, later):
            return float(later.at_ms - self.at_ms)

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: calls.append("done"))
    assert time_calls(lambda: calls.append(1), 3, cuda=True) == [1e3, 1e3, 1e3]
    assert calls == [1, 1, 1, "done"] and len(events) == 4


def test_percentiles():
    measured = Measured(calls_us=[float(one) for one in range(1, 101)])
    assert (measured.percentile_us(0.5), measured.percentile_us(0.99)) == (51.0, 100.0)


def test_without_matplotlib_there_is_no_chart(monkeypatch, tmp_path):
    monkeypatch.setattr(plot, "find_spec", lambda name: None)
    rows = [{"operation": "all_reduce", "dtype": "float", "bytes": 8}]
    assert plot.plot(rows, str(tmp_path / "chart.svg")) == []
    assert list(tmp_path.iterdir()) == []


def test_the_bar_is_for_terminals(monkeypatch, capsys):
    for is_terminal in (False, True):
        monkeypatch.setattr(sys.stderr, "isatty", lambda is_terminal=is_terminal: is_terminal)
        progress = Progress(4, shown=True)
        progress.step("one")
        progress.step("two")
        progress.clear()
        assert ("1/4 two" in capsys.readouterr().err) == is_terminal


def test_the_machine_is_told():
    told = record.machine()
    assert told["torch"] == torch.__version__ and told["cpu"] and told["cores"] > 0
    assert told["commit"] is None or re.fullmatch(r"[0-9a-f]{12}\+?", told["commit"])


@pytest.fixture(scope="module")
def torchrun(tmp_path_factory):
    """What two ranks print, and the JSON that they write."""
    path = tmp_path_factory.mktemp("bench") / "found.json"
    status, output = launch.run(
        "torchrun --standalone --nproc-per-node 2 -m pinnedpg.bench all_reduce all_gather barrier "
        f"--sizes 8,4K -d float,bfloat16 --backend pinned,gloo,mpi --rounds 3 -n 2 --json {path} "
        f"--plot {path.with_suffix('.svg')}"
    )
    assert status == 0, output
    return output, json.loads(path.read_text()), path


@pytest.mark.xdist_group("bench")
def test_table(torchrun):
    """A line of each backend at each size, as wide as the titles, none of it wrong."""
    output, _, _ = torchrun
    _, titles, *_ = (line for line in output.splitlines() if "redop" in line)
    lines = [line for line in output.splitlines() if re.match(r" +\d+ +\d+ +\S+ +(sum|none)", line)]
    assert len(lines) == 2 * 2 * 2 * 2 + 2  # operations, types, sizes, backends; and the barrier
    assert {len(line) for line in lines} == {len(titles)}
    for line in lines:
        left, cells = line.split()[:6], line.split()[6:]
        assert len(cells) == 12 and left[5] in ("pinned", "gloo")
        assert (cells[0] == "-") == ("sum" in left)  # torch reduces in place alone
        assert {cells[5], cells[11]} <= {"0", "-", "N/A"}


@pytest.mark.xdist_group("bench")
def test_what_is_not_there_is_told(torchrun):
    output, found, _ = torchrun
    assert "# not measured: mpi: " in output
    assert list(found["not_measured"]) == ["mpi"]


@pytest.mark.xdist_group("bench")
def test_json(torchrun):
    """Ratios and means follow from the rounds that are written beside them."""
    _, found, _ = torchrun
    assert found["world_size"] == 2 and found["command"][0] == "all_reduce"
    assert found["machine"]["torch"] == torch.__version__
    rounds = {}
    for row in found["rows"]:
        assert row["wrong"] == (None if row["operation"] == "barrier" else 0)
        assert row["p50_us"] <= row["p99_us"] and row["time_us"] > 0
        rounds[tuple(row[key] for key in (*CELL, "backend"))] = row["rounds_us"]
    for one in found["ratios"]:
        key = tuple(one[name] for name in CELL)
        ours, gloo = (rounds[(*key, backend)] for backend in ("pinned", "gloo"))
        pairs = [theirs / own for theirs, own in zip(gloo, ours, strict=True)]
        assert one["ratio"] == pytest.approx(statistics.median(pairs), rel=1e-3)
    for one in found["summary"]:
        keys = ("operation", "dtype", "form", "peer")
        mine = [r["ratio"] for r in found["ratios"] if all(r[key] == one[key] for key in keys)]
        assert one["geomean"] == pytest.approx(statistics.geometric_mean(mine), rel=1e-3)
        assert one["floor"] == min(mine)


@pytest.mark.xdist_group("bench")
def test_charts(torchrun):
    output, _, path = torchrun
    charts = sorted(one.name for one in path.parent.glob("*.svg"))
    drawn = ["found-bandwidth.svg", "found-latency.svg"]
    assert charts == (drawn if importlib.util.find_spec("matplotlib") else [])
    assert "# charts: " in output


@pytest.mark.parametrize(("when", "wrong"), [("> 0", True), ("> 4", True), ("< 0", False)])
def test_wrong_results_are_caught(when, wrong, tmp_path):
    """From the first call on, or only after it was timed; the exit status says so."""
    path = tmp_path / "lying.py"
    path.write_text(LYING.format(when=when))
    flags = "all_reduce --sizes 64 --backend lying --rounds 1 -n 1 -w 0 --no-pin"
    status, output = launch.run(f"{ALONE} {path} {flags}")
    assert status == int(wrong), output
    assert ("# WRONG: " in output) == wrong


@pytest.mark.skipif(
    not (shutil.which("mpirun") and importlib.util.find_spec("mpi4py")), reason="no MPI"
)
def test_mpi():
    status, output = launch.run(
        "python -m pinnedpg.bench reduce_scatter barrier --sizes 8 --backend pinned,mpi -n 1"
    )
    assert status == 0, output
    assert "not measured: mpi reduce_scatter: leaves" in output
    assert len(re.findall(r" mpi +[\d.-]+ ", output)) == 2


def test_the_ranks_are_not_told_how_many_they_are():
    words = ["all_reduce", "--nproc", "4", "-b", "8", "--nproc=2", "--plot", "x"]
    assert without(words, "--nproc") == ["all_reduce", "-b", "8", "--plot", "x"]
