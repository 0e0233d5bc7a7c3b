# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""The engine on threads, under the sanitizers."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
@pytest.mark.timeout(1200)  # it compiles the engine
@pytest.mark.parametrize("sanitizer", ["thread", "address"])
def test_threads(sanitizer):
    if not shutil.which("g++"):
        pytest.skip("there is no g++")
    done = subprocess.run(
        [ROOT / "tests" / "cpp" / "run_sanitizers", sanitizer],
        env=os.environ | {"PYTHON": sys.executable},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    assert "failed as they should" in done.stdout


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("order", ["begin", "flags", "ring", "chunks"])
def test_an_order_that_is_left_out_is_seen(order):
    if not shutil.which("g++"):
        pytest.skip("there is no g++")
    broken = os.environ | {"PYTHON": sys.executable, "FAKE_CUDA_BREAK": order, "ROUNDS": "100"}
    done = subprocess.run(
        [ROOT / "tests" / "cpp" / "run_sanitizers", "thread"],
        env=broken,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    # The sanitizer sees it, or the values do, or a rank waits for a word that is written over.
    assert done.returncode != 0, done.stdout
    seen = ["data race", "is_right()"] + ["the timeout of "] * (order == "ring")
    assert any(sign in done.stdout for sign in seen), done.stdout
    assert "queued_threads under the thread sanitizer" in done.stdout, done.stdout
