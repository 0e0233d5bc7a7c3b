# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""The torch releases that extension modules are compiled for: their headers and versions."""

import dataclasses
import importlib.util
import os
import re
from pathlib import Path

from native.settings import fail

MINIMUM = (2, 11)
NO_TORCH = (
    "torch 2.11 or newer must be installed where pinnedpg is compiled; found none. Install it "
    "and run: pip install --no-build-isolation (a wheel of pinnedpg needs no compiler)"
)


@dataclasses.dataclass(frozen=True)
class TorchTree:
    """The directory `torch` of an installed or unpacked wheel."""

    path: Path
    version: str

    @classmethod
    def read(cls, path: Path) -> "TorchTree":
        """Reads the version of the tree at `path`."""
        text = (path / "version.py").read_text()
        found = re.search(r"__version__ = ['\"]([^'\"]+)['\"]", text)
        if not found:
            fail(f"{path / 'version.py'} must name torch's version")
        tree = cls(path, found[1])
        if tuple(map(int, tree.minor.split("."))) < MINIMUM:
            fail(f"torch must be 2.11 or newer; got {tree.version}")
        return tree

    @property
    def minor(self) -> str:
        """Returns the release without its patch number and flavour: "2.13"."""
        return ".".join(self.version.split(".")[:2])

    def includes(self) -> list[str]:
        """Returns the include directories as system ones, so that only our own warnings count."""
        include = self.path / "include"
        places = (include, include / "torch" / "csrc" / "api" / "include")
        return [flag for place in places for flag in ("-isystem", str(place))]


def torch_trees() -> list[TorchTree]:
    """Returns the trees that PINNEDPG_TORCH_TREES names, else the installed torch's.

    "@NAME" stands for what is in the file of that name.
    """
    named = os.environ.get("PINNEDPG_TORCH_TREES", "")
    if named.startswith("@"):
        named = Path(named[1:]).read_text().strip()
    if named:
        trees = [TorchTree.read(Path(path)) for path in named.split(os.pathsep)]
        minors = [tree.minor for tree in trees]
        if len(set(minors)) < len(minors):
            fail(f"PINNEDPG_TORCH_TREES must name each minor release once; got {minors}")
        return trees
    found = importlib.util.find_spec("torch")
    if found is None or found.origin is None:
        fail(NO_TORCH)
    return [TorchTree.read(Path(found.origin).parent)]
