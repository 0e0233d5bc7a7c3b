# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Counts what loops inside a test run; leaves out what is of CPU tensors alone, or of other slices.

It imports no torch: the tests of layers run before there is one.
"""

import collections
import os

import durations
import pytest
import slices

_cells = collections.Counter()
CELLS = "collectives matrix"


@pytest.fixture
def count_cells(record_property):
    """Returns a function that adds to the session's count of cells of the collectives' matrix."""

    def add(launcher: str, cells: int) -> None:
        record_property(CELLS, (launcher, cells))

    return add


def pytest_addoption(parser):
    """Adds what tests/run asks for."""
    parser.addoption(
        "--alone",
        choices=["only", "none"],
        help="run only the tests that are marked alone, or none of them; else both",
    )


def pytest_configure(config):
    """Chooses the slice, once for all processes of the run."""
    if not hasattr(config, "workerinput"):
        try:
            slices.pin()
        except ValueError as error:
            raise pytest.UsageError(error) from None
        config.pluginmanager.register(durations.plugin())


def pytest_report_header():
    """Says what of the soak tests runs."""
    return slices.told()


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(config, items):
    """Leaves out the soak tests of other slices, once -m and -k have left out theirs."""
    slices.COLLECTED[:] = items
    yield
    asked = config.option.alone
    left_out, kept = [], []
    for item in items:
        is_alone = item.get_closest_marker("alone") is not None
        runs = slices.runs(item, config.args) and asked in (None, "only" if is_alone else "none")
        (kept if runs else left_out).append(item)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = kept


def pytest_runtest_setup(item):
    """Skips a test of CPU tensors where the ranks' default device is a GPU."""
    mark = item.get_closest_marker("cpu_only")
    if mark and os.environ.get("PINNEDPG_TEST_DEFAULT", "cpu") != "cpu":
        pytest.skip(mark.args[0])


def pytest_runtest_logreport(report):
    """Adds up the cells; under xdist they are another process's."""
    if report.when == "call":
        for name, value in report.user_properties:
            if name == CELLS:
                _cells[value[0]] += value[1]


def pytest_terminal_summary(terminalreporter):
    """Says how many cells of the matrix ran."""
    if _cells:
        parts = ", ".join(f"{count} by {launcher}" for launcher, count in _cells.items())
        terminalreporter.write_line(f"{CELLS}: {_cells.total()} cells ({parts})")
