# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Runs a program as a user would, from the project's folder. Bounded."""

import functools
import os
import signal
import subprocess
import sys
from pathlib import Path

import limits

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_S = 90.0  # starts of torch for torchrun and its ranks; a program takes seconds
STARTERS = {
    "python": [sys.executable],
    "torchrun": [sys.executable, "-m", "torch.distributed.run"],
}


def command(path: Path | str, ranks: int = 0) -> str:
    """Returns the command line that runs a program: on that many ranks, or 0: by itself."""
    return f"torchrun --standalone --nproc-per-node {ranks} {path}" if ranks else f"python {path}"


@functools.cache
def once(line: str) -> tuple[int, str]:
    """Runs a command line the first time, and from then on returns what came of that."""
    return run(line)


def run(line: str) -> tuple[int, str]:
    """Returns exit status and output of "NAME=value torchrun program.py" and the like."""
    words, env, limit_s = line.split(), {}, limits.patient(TIMEOUT_S)
    while "=" in words[0]:
        name, _, env[name] = words.pop(0).partition("=")
    process = subprocess.Popen(
        [*STARTERS[words[0]], *words[1:]],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        raise AssertionError(f"not done after {limit_s:.0f} s: {line}\n{_stop(process)}") from None
    return process.returncode, output


def _stop(process: subprocess.Popen) -> str:
    """Ends it and its ranks, as torchrun does when asked to; returns what it wrote."""
    process.terminate()
    try:
        return process.communicate(timeout=10)[0]
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return process.communicate()[0]
