# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""The engine on threads, under the sanitizers; needs a compiler, and for some a torch's headers.

The thread sanitizer runs with every commit, the address sanitizer with one in four; what they run
begins at another seed each time.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import slices

ROOT = Path(__file__).resolve().parents[2]
SANITIZERS = ["thread", pytest.param("address", marks=pytest.mark.soak(1))]
PROGRAMS = ["engine_threads", "queued_threads"]
TRIES = 3
"""Of an order that is left out: threads may keep it by chance. None where it has shown."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1200),  # it compiles the engine
    pytest.mark.xdist_group("sanitizers"),  # once
    pytest.mark.skipif(not shutil.which("g++"), reason="there is no g++"),
]


def run(sanitizer, program, rounds, **environment):
    """Returns the exit status and what was printed."""
    words = {"PYTHON": sys.executable, "PROGRAMS": program, "ROUNDS": str(rounds)}
    done = subprocess.run(
        [ROOT / "tests" / "cpp" / "run_sanitizers", sanitizer],
        env=os.environ | words | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert f"{program} under the {sanitizer} sanitizer" in done.stdout, done.stdout
    return done.returncode, done.stdout


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("sanitizer", SANITIZERS)
def test_threads(sanitizer, program):
    status, printed = run(sanitizer, program, 600, SEED=str(slices.seed()))
    assert status == 0, printed
    assert "checked calls" in printed


@pytest.mark.parametrize("order", ["begin", "flags", "ring", "chunks"])
def test_an_order_that_is_left_out_is_seen(order):
    """The sanitizer sees it, or the values do, or a rank waits for what is written over."""
    seen = ["data race", "is_right()"] + ["the timeout of "] * (order == "ring")
    broken = {"FAKE_CUDA_BREAK": order, "PATIENCE_S": "5"}
    for seed in range(1, TRIES + 1):
        status, printed = run("thread", "queued_threads", 50, SEED=str(seed), **broken)
        if status != 0:
            break
    assert status != 0 and any(sign in printed for sign in seen), printed
