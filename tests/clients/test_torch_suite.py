# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""torch's own DistributedTest: what gloo passes on CPU, "pinned" passes too."""

import subprocess
import sys
from pathlib import Path

import pytest
import slices

LIMIT_S = 900  # where gloo's verdicts are not kept it runs, too


def run(*words):
    """Returns the exit status of the suite, and its summary."""
    ran = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("torch_suite.py")), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LIMIT_S,
    )
    told = [line for line in ran.stdout.splitlines() if line.startswith(("==", "  "))]
    return ran.returncode, "\n".join(told or [ran.stdout])


@pytest.mark.slow
@pytest.mark.timeout(LIMIT_S + 30)
@pytest.mark.parametrize("world", [2, *slices.part([3, 4], 2)])
def test_as_gloo(world):
    status, summary = run("--world", str(world))
    assert status == 0, summary
    print(summary)


@pytest.mark.slow
@pytest.mark.timeout(LIMIT_S + 30)
def test_a_backend_that_moves_nothing_is_seen():
    status, summary = run("--world", "2", "--backend", "fake", "-k", "test_broadcast_full_group")
    assert status == 1
    assert "gloo passes, fake failed: test_broadcast_full_group (NOT EXPECTED)" in summary
