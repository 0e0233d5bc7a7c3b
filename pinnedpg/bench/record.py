# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""The JSON file: what was measured, and on what."""

import importlib.metadata
import json
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import torch

import pinnedpg


def machine() -> dict[str, Any]:
    """Returns what the numbers depend on."""
    return {
        "machine": platform.machine(),
        "cpu": _cpu_name(),
        "vectors": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "pinnedpg": pinnedpg.__version__,
        "commit": _commit(),
        "peers": {name: _version(name) for name in ("mpi4py", "openmpi", "deepspeed")},
    }


def write(path: str, told: dict[str, Any]) -> None:
    """Writes a file with a line for each entry of the lists in it, so that it can be compared."""
    parts = []
    for key, value in told.items():
        text = json.dumps(value)
        if isinstance(value, list) and value and isinstance(value[0], dict):
            text = "[\n  " + ",\n  ".join(map(json.dumps, value)) + "\n ]"
        parts.append(f" {json.dumps(key)}: {text}")
    Path(path).write_text("{\n" + ",\n".join(parts) + "\n}\n")


def _version(package: str) -> str | None:
    """Returns the version of a package; of Open MPI where it did not come as one, mpirun's."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        if package != "openmpi":
            return None
    try:
        asked = subprocess.run(["mpirun", "--version"], capture_output=True, text=True)
    except OSError:
        return None
    return asked.stdout.partition("\n")[0].strip() or None


def _cpu_name() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def _commit() -> str | None:
    """Returns the source tree's commit, with "+" where code was changed; None outside of one."""

    def git(*words: str) -> str:
        asked = ["git", "-C", str(Path(__file__).parent), *words]
        return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", __file__)  # not of another project's tree around ours
        changed = git("status", "--porcelain", "--", ":/pinnedpg", ":/csrc", ":/setup.py")
        return git("rev-parse", "--short=12", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return None
