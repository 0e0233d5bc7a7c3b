# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""torch's own DistributedTest: what gloo passes on CPU, "pinned" passes too."""

import subprocess
import sys
from pathlib import Path

import pytest

LIMIT_S = 900


@pytest.mark.slow
@pytest.mark.timeout(LIMIT_S + 30)
@pytest.mark.parametrize("world", [2, 3, 4])
def test_as_gloo(world):
    ran = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("torch_suite.py")), "--world", str(world)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LIMIT_S,
    )
    summary = "\n".join(line for line in ran.stdout.splitlines() if line.startswith(("==", "  ")))
    assert ran.returncode == 0, summary
    print(summary)
