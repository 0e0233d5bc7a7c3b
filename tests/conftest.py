# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Counts what loops inside a test run, for the summary; skips what is about CPU tensors alone."""

import collections

import pytest
from default_device import ON_GPU

_cells = collections.Counter()


@pytest.fixture
def count_cells():
    """Returns a function that adds to the session's count of cells of the collectives' matrix."""

    def add(launcher: str, cells: int) -> None:
        _cells[launcher] += cells

    return add


def pytest_runtest_setup(item):
    """Skips a test of CPU tensors where the ranks' default device is a GPU."""
    mark = item.get_closest_marker("cpu_only")
    if mark and ON_GPU:
        pytest.skip(mark.args[0])


def pytest_terminal_summary(terminalreporter):
    """Says how many cells of the matrix ran."""
    if _cells:
        parts = ", ".join(f"{count} by {launcher}" for launcher, count in _cells.items())
        terminalreporter.write_line(f"collectives matrix: {_cells.total()} cells ({parts})")
