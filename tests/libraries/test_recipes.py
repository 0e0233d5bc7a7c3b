# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Every recipe of docs/recipes.md runs, where there are the libraries that it needs."""

import re
from importlib.util import find_spec

import launch
import pytest
from pages import assert_names_exist, assert_no_fence_escapes, parse

PAGE = launch.ROOT / "docs/recipes.md"
TEXT = PAGE.read_text()
EXTRA = re.search(r"^clients = \[(.*?)\]", (launch.ROOT / "pyproject.toml").read_text(), re.M)
CLIENTS = dict(re.findall(r'"(\w+)==([\d.]+)\.\*"', EXTRA[1]))


def cases():
    """Yields the blocks; those that need a library are slow."""
    for block in parse(TEXT, "docs/recipes.md"):
        needed = CLIENTS.keys() & set(re.findall(r"^(?:import|from) (\w+)", block.code, re.M))
        missing = [name for name in needed if find_spec(name) is None]
        skip = pytest.mark.skipif(bool(missing), reason=f"no {missing}: make clients")
        marks = [skip, pytest.mark.slow] if needed else []
        yield pytest.param(block, id="-".join([f"line-{block.line}", *sorted(needed)]), marks=marks)


@pytest.mark.parametrize("block", list(cases()))
def test_block(block, tmp_path):
    block.run(tmp_path)


def test_page():
    assert_no_fence_escapes(TEXT)
    assert_names_exist(TEXT, PAGE.parent)
    assert len(TEXT.splitlines()) <= 300


def test_versions_are_those_of_the_extra():
    assert len(CLIENTS) == EXTRA[1].count('"') // 2
    table = dict(re.findall(r"^\| (\w+) ([\d.]+) \|", TEXT, re.M))
    assert {name.lower(): version for name, version in table.items()} == CLIENTS
