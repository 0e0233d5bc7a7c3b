#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Gets the headers of every torch release that a wheel of pinnedpg supports.

    python tools/torch_headers.py [RELEASE ...]      # by default each minor release from 2.11 on

Downloads the wheel of each release for the running Python, one after the other, and keeps its
headers and its version (60 MB) below build/torch-headers. The installed torch serves its own
release. Prints the directories, joined by colons, as PINNEDPG_TORCH_TREES takes them. A release
that has no wheel for this Python is left out, with a word on stderr.
"""

import os
import re
import subprocess
import sys
import tempfile
import zipfile
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "build" / "torch-headers"
RELEASES = ("2.11", "2.12", "2.13", "2.14", "2.15")
KEPT = re.compile(r"torch/(version\.py|include/.*)")
# Ignores the user's pip constraints, which may pin another torch.
ENVIRONMENT = {**os.environ, "PIP_CONSTRAINT": os.devnull}


def headers(release: str) -> Path | None:
    """Returns the directory `torch` of a minor release, or None where there is no such wheel."""
    installed = installed_tree(release)
    if installed:
        return installed
    # The headers are the same for all Pythons, but not every release has a wheel for each.
    tree = FOLDER / f"{release}-{sys.implementation.cache_tag}" / "torch"
    if not (tree / "version.py").exists():
        with tempfile.TemporaryDirectory(dir=_made(FOLDER)) as folder:
            if not _download(release, folder):
                return None
            (wheel,) = Path(folder).glob("torch-*.whl")
            _unpack(wheel, tree.parent)
    return tree


def installed_tree(release: str) -> Path | None:
    """Returns the installed torch's directory if it is of that minor release."""
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    tree = Path(spec.origin).parent
    return tree if f"'{release}." in (tree / "version.py").read_text() else None


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _download(release: str, folder: str) -> bool:
    pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-cache-dir"]
    only = ["--only-binary=:all:", "-d", folder, f"torch=={release}.*"]
    done = subprocess.run(
        [*pip, *only], env=ENVIRONMENT, stdout=sys.stderr, stderr=subprocess.PIPE, text=True
    )
    if done.returncode == 0:
        return True
    if "No matching distribution" not in done.stderr:  # the network, the disk
        sys.exit(f"torch_headers: cannot download torch {release}:\n{done.stderr}")
    print(f"torch_headers: no wheel of torch {release} for this Python", file=sys.stderr)
    return False


def _unpack(wheel: Path, folder: Path) -> None:
    """Unpacks the headers, and the version last: a tree that has it is whole."""
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if KEPT.fullmatch(name)]
        archive.extractall(folder, sorted(names, key=lambda name: name.endswith("version.py")))


def main() -> int:
    """Returns the exit status: 1 if no release was found."""
    trees = [tree for tree in map(headers, sys.argv[1:] or RELEASES) if tree]
    print(os.pathsep.join(map(str, trees)))
    return 0 if trees else 1


if __name__ == "__main__":
    sys.exit(main())
