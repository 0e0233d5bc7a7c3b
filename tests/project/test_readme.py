# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Every block of code in README.md runs, or names things that exist; no other block is in it."""

import contextlib
import re

import launch
import pytest
from pages import assert_names_exist, assert_no_fence_escapes, assert_shown, parse

import pinnedpg

README = (launch.ROOT / "README.md").read_text()
BLOCKS = [
    pytest.param(
        block,
        marks=[pytest.mark.xdist_group("examples")] * (block.kind == "bash"),  # it runs those, too
        id=f"{block.kind}-line-{block.line}",
    )
    for block in parse(README, "README.md")
]


@pytest.mark.parametrize("block", BLOCKS)
def test_block(block, tmp_path):
    block.run(tmp_path)


@pytest.mark.parametrize(
    ("shown", "is_right"),
    [
        ("rank 0 waited 2.5 s for process 7, at step 1", True),
        ("rank 1 waited 2.0 s for process 4711, at step 1", False),
        ("rank 0 waited 2.0 s for process 4711, at step 2", False),
        ("rank 0 waited 2 s for process 4711", False),
    ],
)
def test_other_numbers_fail(shown, is_right):
    output = "rank 0 waited 2.0 s for process 4711, at step 1\n"
    with contextlib.nullcontext() if is_right else pytest.raises(AssertionError, match="printed"):
        assert_shown(shown, output)


def test_no_fence_escapes():
    assert_no_fence_escapes(README)


@pytest.mark.parametrize(
    "text",
    ["```sh\nls\n```\n", "```text\nx\n```\n", "<!-- run: often -->\n```python\n1\n```\n"],
)
def test_unknown_blocks_fail(text):
    with pytest.raises(AssertionError, match="README.md:1"):
        parse(text, "README.md")


def test_what_it_names_exists():
    assert_names_exist(README, launch.ROOT)
    assert len(README.splitlines()) <= 300


def test_options_are_all_there():
    """The table of options names each, and nothing else."""
    rows = README[README.index("| Option |") :].partition("\n\n")[0]
    table = set(re.findall(r"^\| `(\w+)` \|", rows, re.MULTILINE))
    options = {name for name, kind in vars(pinnedpg.Options).items() if isinstance(kind, property)}
    options = {name for name in options if not name.startswith("_")}
    assert table == options - {"group_name", "global_ranks_in_group"}  # torch's own
