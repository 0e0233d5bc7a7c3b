# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""A ninja file: every object and library of a build is an edge of one graph."""

import os
import shlex
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from native.settings import fail

RULES = """\
rule compile
  command = $program -MMD -MF $out.d -c $in -o $out
  depfile = $out.d
  deps = gcc
rule link
  command = $program -o $out $objects $libraries
rule stub
  command = $program -o $out
"""


def _escaped(path: Path | str) -> str:
    return str(path).replace("$", "$$").replace(" ", "$ ").replace(":", "$:")


class Graph:
    """The build statements of one ninja file."""

    def __init__(self, directory: Path):
        """Keeps the ninja file and its log in `directory`."""
        self.directory = directory
        self._lines = [f"builddir = {_escaped(directory)}", RULES]

    def compile(
        self, source: Path, target: Path, command: list[str], needs: Iterable[Path] = ()
    ) -> Path:
        """Adds an object (or a precompiled header) of one source file; returns the object."""
        self._edge("compile", target, [source], needs, program=shlex.join(command))
        return target

    def link(
        self,
        objects: list[Path],
        target: Path,
        command: list[str],
        libraries: list[str],
        needs: Iterable[Path] = (),
    ) -> Path:
        """Adds a shared library; returns it."""
        words = {"objects": shlex.join(map(str, objects)), "libraries": shlex.join(libraries)}
        self._edge("link", target, objects, needs, program=shlex.join(command), **words)
        return target

    def stub(self, soname: str, command: list[str]) -> Path:
        """Adds an empty library that stands in for `soname` when others are linked."""
        target = self.directory / "stubs" / soname
        self._edge("stub", target, [], [], program=shlex.join(command))
        return target

    def run(self) -> None:
        """Builds what has changed. Raises SystemExit where a command fails."""
        self.directory.mkdir(parents=True, exist_ok=True)
        file = self.directory / "build.ninja"
        file.write_text("\n".join(self._lines) + "\n")
        jobs = ["-j", os.environ["MAX_JOBS"]] if os.environ.get("MAX_JOBS") else []
        command = [ninja(), *(["--quiet"] if not os.environ.get("VERBOSE") else ["-v"])]
        if subprocess.run([*command, "-f", str(file), *jobs]).returncode != 0:
            fail("the build failed (see above). PINNEDPG_CUDA=0 leaves out what needs nvcc")

    def _edge(
        self, rule: str, target: Path, inputs: list[Path], needs: Iterable[Path], **variables: str
    ) -> None:
        names = " ".join(map(_escaped, inputs))
        implicit = "".join(f" {_escaped(path)}" for path in needs)
        self._lines.append(
            f"build {_escaped(target)}: {rule} {names}{' |' + implicit if implicit else ''}"
        )
        # A command is a value of ninja's, where only the dollar is special.
        self._lines += [
            f"  {name} = {value.replace('$', '$$')}" for name, value in variables.items()
        ]


def ninja() -> str:
    """Returns the path of ninja, which pip puts on PATH in an activated environment only."""
    found = shutil.which("ninja")
    if found:
        return found
    try:
        from ninja import BIN_DIR
    except ImportError:
        fail("ninja must be installed: pip install ninja")
    return os.path.join(BIN_DIR, "ninja")
