# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""What `benchmarks/` shows comes from its JSON files."""

import runpy

import launch
import pytest

FOLDER = launch.ROOT / "benchmarks"
SHOW = runpy.run_path(str(FOLDER / "show.py"))
TITLE = {"operation": "all_reduce", "dtype": "float", "form": "in-place"}


@pytest.fixture
def files():
    """Two ranks, four ranks, and DDP, as `benchmarks/run` writes them, with round numbers."""
    ratios = [
        {**TITLE, "bytes": nbytes, "peer": peer, "ratio": ratio}
        for peer, of in (("gloo", (40.0, 10.0)), ("mpi", (1.0, 2.5)))
        for nbytes, ratio in zip((8, 64 << 20 >> 2), of, strict=True)
    ]
    row = {**TITLE, "backend": "pinned"}
    ranks = {
        "machine": {"cores": 2, "cpu": "a CPU", "torch": "2.13.0", "commit": "0123456789ab"},
        "world_size": 2,
        "summary": [{**TITLE, "peer": "gloo", "geomean": 20.0, "floor": 10.0}],
        "ratios": ratios,
        "rows": [{**row, "bytes": 8, "time_us": 5.5}, {**row, "bytes": 16 << 20, "time_us": 2e3}],
        "roofline": {
            "all_reduce": [
                {"backend": "pinned", "dtype": "float", "bytes": 256 << 20, "share": 0.61},
                {"backend": "gloo", "dtype": "float", "bytes": 256 << 20, "share": 0.1},
            ]
        },
    }
    steps = {
        "world_size": 2,
        "parameters": 99_200_000,
        "rows": [
            {"backend": name, "time_us": 1e5 * times}
            for times, name in enumerate(("alone", "pinned", "gloo"), 1)
        ],
        "ratios": [{"ratio": 1.5}],
    }
    return [ranks, ranks, steps]


def test_the_table_of_the_readme(files):
    text = SHOW["short"](files)
    assert "| `all_reduce` | 5.5 µs | 20x (10.0x) | 2.5x |\n" in text
    assert (
        "|  | pinned, ≤ 4 KB | gloo: mean (least) | mpi 16 MB |\n| --- | --- | --- | --- |" in text
    )
    assert "`all_reduce` of 256 MB runs at 61% (float) of the memory roofline" in text
    assert "pinned 200 ms, gloo 300 ms, without communication 100 ms" in text
    assert "commit 0123456789ab" in text


def test_the_pages_show_what_the_files_hold():
    """Where there are results, `show.py --write` would change nothing."""
    if not (FOLDER / "ddp.json").exists():
        pytest.skip("nothing has been measured yet")
    files = SHOW["load"](FOLDER)
    for page, text in ((launch.ROOT, SHOW["short"](files)), (FOLDER, SHOW["whole"](files))):
        _, shown, _ = SHOW["MARKED"].split((page / "README.md").read_text())
        assert shown == text
