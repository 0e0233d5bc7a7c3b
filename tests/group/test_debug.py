# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""PINNEDPG_DEBUG: what each level and subsystem writes, and where."""

import os
import re
import subprocess
import sys

import limits
import pytest

PROGRAM = """
import torch, torch.distributed as dist, pinnedpg
dist.init_process_group("pinned", store=dist.HashStore(), rank=0, world_size=1)
dist.all_reduce(torch.ones(4))
"""
VERSION = r"PINNED VERSION pinnedpg built for torch \d"
INFO = r"PINNED INFO group '.*': rank 0 of 1"
SEGMENT = r"PINNED INFO segment of \d+ bytes for 1 ranks"
TRACE = r"PINNED TRACE rank 0: call 1, all_reduce\(float32\[4\], SUM\)"
EVERYTHING = [VERSION, INFO, SEGMENT, TRACE]


def write(**environment):
    names = {f"PINNEDPG_DEBUG{name}": value for name, value in environment.items()}
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, **names},
        capture_output=True,
        text=True,
        timeout=limits.patient(60),  # a start of torch
    )
    assert run.returncode == 0, run.stderr
    return run.stderr


@pytest.mark.parametrize(
    ("environment", "shown"),
    [
        ({}, []),
        ({"": "VERSION"}, [VERSION]),
        ({"": "WARN"}, [VERSION]),
        ({"": "INFO"}, [VERSION, INFO, SEGMENT]),
        ({"": "TRACE"}, EVERYTHING),
        ({"": "TRACE", "_SUBSYS": "COLL"}, [VERSION, TRACE]),
        ({"": "TRACE", "_SUBSYS": "^COLL,SHM"}, [VERSION, INFO]),
    ],
)
def test_levels_and_subsystems(environment, shown):
    text = write(**environment)
    for pattern in EVERYTHING:
        assert bool(re.search(pattern, text)) == (pattern in shown), (pattern, text)


def test_a_file_for_each_process(tmp_path):
    assert write(**{"": "TRACE", "_FILE": str(tmp_path / "log.%h.%p")}) == ""
    (log,) = tmp_path.iterdir()
    assert "%" not in log.name and re.search(TRACE, log.read_text())


def test_a_wish_that_cannot_be_is_said():
    assert "PINNED WARN PINNEDPG_DEBUG must be" in write(**{"": "LOUD"})
    assert "PINNED WARN PINNEDPG_DEBUG_FILE" in write(**{"_FILE": "/nonexistent/log"})
