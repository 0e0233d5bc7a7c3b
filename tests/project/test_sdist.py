# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""The source distribution: it builds on its own, and says in one line where there is no torch."""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PIP = ["-m", "pip", "install", "-q", "--no-index", "--no-deps", "--no-build-isolation"]
pytestmark = [pytest.mark.slow, pytest.mark.soak(2)]


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Returns the source distribution, made from a copy of what git tracks."""
    if not (ROOT / ".git").exists():
        pytest.skip("there is no checkout to make it from")
    tree, dist = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("dist")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).exists():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, tree / name)
    command = [sys.executable, "setup.py", "-q", "sdist", "-d", str(dist)]
    subprocess.run(command, cwd=tree, check=True, timeout=120)
    (made,) = dist.glob("pinnedpg-*.tar.gz")
    return made


@pytest.mark.timeout(900)  # it compiles
def test_it_builds_and_runs(archive, tmp_path):
    site = tmp_path / "site"
    command = [sys.executable, *PIP, "--target", str(site), str(archive)]
    environment = os.environ | {"PINNEDPG_CUDA": "0"}
    built = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    program = (
        "import pinnedpg, torch, torch.distributed as dist\n"
        "from pinnedpg import threads\n"
        f"assert pinnedpg.__file__.startswith({str(site)!r}), pinnedpg.__file__\n"
        "def main():\n"
        "    dist.init_process_group('pinned')\n"
        "    tensor = torch.ones(3)\n"
        "    dist.all_reduce(tensor)\n"
        "    return tensor.tolist()\n"
        "print(threads.run(main, 2))\n"
    )
    environment = os.environ | {"PYTHONPATH": str(site)}
    ran = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert ran.stdout.split("\n")[0] == "[[2.0, 2.0, 2.0], [2.0, 2.0, 2.0]]", ran.stderr


@pytest.mark.timeout(300)
def test_without_torch_it_fails_early(archive, tmp_path):
    """With a line that says what to do, and nothing fetched."""
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "bare"], check=True, timeout=120)
    begun = time.monotonic()
    done = subprocess.run(
        [tmp_path / "bare" / "bin" / "python", *PIP, str(archive)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    said = done.stdout + done.stderr
    assert done.returncode != 0
    lines = set(re.findall(r"pinnedpg: torch 2\.11 or newer must be installed.*", said))
    assert len(lines) == 1 and "--no-build-isolation" in lines.pop(), said
    assert "Traceback" not in said, said
    assert time.monotonic() - begun < 60, "it is a look for torch, and fetches nothing"
