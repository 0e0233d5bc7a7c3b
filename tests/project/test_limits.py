# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Limits of time allow for a machine that others use, and for no more than that."""

import os
import subprocess
import sys

import limits
import pytest


def test_what_is_in_time_measures_nothing(monkeypatch):
    monkeypatch.setattr(limits, "slowness", lambda: pytest.fail("it measures"))
    assert limits.in_time(0.9, 1.0, "nothing")


def test_a_limit_is_as_many_times_longer(monkeypatch):
    monkeypatch.setenv("PINNEDPG_PATIENCE", "3")
    assert limits.in_time(2.9, 1.0, "nothing")
    with pytest.raises(AssertionError, match=r"3.10 s; the limit is 1 s \(the poll\), times 3.0"):
        limits.in_time(3.1, 1.0, "the poll")
    assert limits.patient(5) == 15


@pytest.mark.alone
def test_the_machine_is_measured(monkeypatch):
    """Others that compute on every core slow it down; by itself it is hardly slowed down."""
    monkeypatch.delenv("PINNEDPG_PATIENCE", raising=False)
    before = min(limits.slowness() for _ in range(10))
    others = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"])
        for _ in range(2 * len(os.sched_getaffinity(0)))
    ]
    try:
        beside = max(limits.slowness() for _ in range(10))
    finally:
        for other in others:
            other.kill()
            other.wait()
    assert 1.0 <= before <= beside <= limits.MOST
    assert beside > 1.3
