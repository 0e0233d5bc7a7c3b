# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Who sleeps on the bell is woken by a ring, at once and always; between processes."""

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = [
    "csrc/memory/bell.cpp",
    "csrc/device/host_stream.cpp",
    "csrc/device/wait_policy.cpp",
    "csrc/device/host_copy.cpp",
    "csrc/device/stage_copy.cpp",
    "csrc/base/interrupt.cpp",
    "tests/cpp/bell_rings.cpp",
]


@pytest.fixture(scope="module")
def bell_rings(tmp_path_factory):
    """The program, compiled: the bell and the host stream without the rest of the engine."""
    compiler = shlex.split(os.environ.get("CXX", "c++"))
    if not shutil.which(compiler[0]):
        pytest.skip(f"there is no {compiler[0]}")
    binary = tmp_path_factory.mktemp("bell") / "bell_rings"
    command = [*compiler, "-std=c++20", "-O2", "-Icsrc", *SOURCES, "-o", str(binary), "-lpthread"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return binary


@pytest.mark.xdist_group("bell")
@pytest.mark.parametrize("what", ["wake", "stress", "late", "look"])
def test_bell(bell_rings, what):
    done = subprocess.run([bell_rings, what], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
