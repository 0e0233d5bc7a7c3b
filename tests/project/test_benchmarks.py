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
    row = TITLE
    ranks = {
        "machine": {"cores": 2, "cpu": "a CPU", "torch": "2.13.0", "commit": "0123456789ab"},
        "world_size": 2,
        "summary": [
            {**TITLE, "peer": "gloo", "geomean": 20.0, "floor": 10.0, "floor_bytes": 256 << 20}
        ],
        "ratios": ratios,
        "rows": [
            {**row, "bytes": nbytes, "backend": backend, "time_us": times * us, "p50_us": times * 4}
            for nbytes, us in ((8, 5.5), (16 << 20, 2e3))
            for backend, times in (("pinned", 1), ("gloo", 20))
        ],
        "roofline": {
            "shares": [
                {**TITLE, "backend": "pinned", "bytes": 256 << 20, "share": 0.61},
                {**TITLE, "backend": "gloo", "bytes": 256 << 20, "share": 0.1},
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
    assert "| `all_reduce` | 5.5 µs | 20x (10.0x) | 2.50x |\n" in text
    assert (
        "|  | pinned, ≤ 4 KB | gloo: mean (least) | mpi 16 MB |\n| --- | --- | --- | --- |" in text
    )
    assert "`all_reduce` of 256 MB runs at 61% (float) of the memory roofline" in text
    assert "pinned 200 ms, gloo 300 ms, without communication 100 ms" in text
    assert "commit 0123456789ab" in text


def test_goals_are_compared_with_what_was_found(files):
    table = SHOW["goals"].table(files[0])
    assert "| `all_reduce` float | ≤ 4 KB | 4.8 µs | 5.5 µs (p50 4.0) | **no** |  |\n" in table
    assert "| gloo, mean | 20x | 20.0x (by p50 20.0x) | yes |  |\n" in table
    assert "| gloo, least | 5x | 10.00x at 268435456 B | yes | 10.00x |\n" in table
    assert "| mpi, 16777216 B | 2.5x | 2.50x | yes |  |\n" in table


def test_shares_of_the_roofline(files):
    table = SHOW["rooflines"](files[0])
    assert "| 256 MB: share of the roofline | pinned | gloo |\n" in table
    assert "| `all_reduce` float, in-place | 61% | 10% |\n" in table


def test_the_pages_show_what_the_files_hold():
    """Where there are results, `show.py --write` would change nothing."""
    if not (FOLDER / "ddp.json").exists():
        pytest.skip("nothing has been measured yet")
    files = SHOW["load"](FOLDER)
    for page, text in ((launch.ROOT, SHOW["short"](files)), (FOLDER, SHOW["whole"](files))):
        _, shown, _ = SHOW["MARKED"].split((page / "README.md").read_text())
        assert shown == text
