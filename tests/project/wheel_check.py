#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Installs the wheel in dist/ as a user would, beside several releases of torch, and uses it.

    make wheel-test                                       # builds the wheel first
    python tests/project/wheel_check.py [RELEASE ...]     # by default 2.11.0, 2.13.0 and the newest

Each release has an environment below build/wheel-check, kept for the next time. It has no network
and no compiler: pip has no index, PATH only its own programs. Runs `pinnedpg version`, the README's
first example and programs under torchrun with two ranks. Exit status: 0 if all passed.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "support"), str(ROOT / "tools")]

import pages  # noqa: E402
import versions  # noqa: E402
from torch_headers import RELEASES as SUPPORTED  # noqa: E402

COMPILERS = ("c++", "g++", "cc", "gcc", "clang", "clang++", "nvcc", "ninja")
TIMEOUT_S = 300.0


def wheel() -> Path:
    """Returns the wheel for the running Python."""
    found = sorted(
        (ROOT / "dist").glob(f"pinnedpg-*-cp{sys.version_info[0]}{sys.version_info[1]}-*.whl")
    )
    if not found:
        sys.exit("wheel_check: no wheel for this Python in dist/: make wheel")
    return max(found, key=lambda path: path.stat().st_mtime)


def environment(python: Path, folder: str) -> dict[str, str]:
    """Returns the variables of a machine that has no compiler, no index and no pinnedpg."""
    kept = {name: os.environ[name] for name in ("LANG", "TMPDIR") if name in os.environ}
    path = str(python.parent)
    assert not [name for name in COMPILERS if shutil.which(name, path=path)], path
    quiet = {"OMP_NUM_THREADS": "1", "HOME": folder, "PYTHONNOUSERSITE": "1"}
    offline = {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull, "no_proxy": "*"}
    return {**kept, **quiet, **offline, "PATH": path}


def check(release: str) -> str:
    """Installs beside one release, runs all, and returns that torch's version."""
    python = versions.environment(ROOT / "build" / "wheel-check" / release, release)
    with tempfile.TemporaryDirectory() as folder:
        variables = environment(python, folder)

        def run(*command: str | Path) -> str:
            done = subprocess.run(
                list(map(str, command)),
                cwd=folder,
                env=variables,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=TIMEOUT_S,
            )
            if done.returncode != 0:
                raise AssertionError(f"{command} ended with {done.returncode}:\n{done.stdout}")
            return done.stdout

        run(python, "-m", "pip", "install", "-q", "--force-reinstall", "--no-deps", wheel())
        version = run(python, "-c", "import torch; print(torch.__version__)").split()[-1]
        said = run(python.parent / "pinnedpg", "version")
        assert f"torch: {version}" in said, said
        assert f"built for torch: {', '.join(SUPPORTED)}" in said or sys.version_info < (3, 11), (
            said
        )
        blocks = pages.parse((ROOT / "README.md").read_text(), "README.md")
        first = next(block for block in blocks if block.kind == "python")
        program = Path(folder, "first.py")
        program.write_text(first.code)
        pages.assert_shown(first.shown, run(python, program))
        shutil.copy2(ROOT / "examples" / "all_reduce.py", folder)
        start = [python.parent / "torchrun", "--standalone", "--nproc-per-node", "2"]
        run(*start, "all_reduce.py")
        run(*start, "-m", "pinnedpg.bench", "all_reduce", "-b", "8", "-e", "8K", "--seconds", "0.1")
    return version


def main() -> int:
    """Returns the exit status."""
    asked = sys.argv[1:] or versions.RELEASES
    status = 0
    for release in dict.fromkeys(versions.newest() if one == "newest" else one for one in asked):
        begun = time.monotonic()
        try:
            version = check(release)
        except (AssertionError, subprocess.SubprocessError) as error:
            print(f"wheel_check: torch {release}: FAILED: {error}")
            status = 1
        else:
            print(f"wheel_check: torch {version}: passed in {time.monotonic() - begun:.0f} s")
    return status


if __name__ == "__main__":
    sys.exit(main())
