# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""What the environment asks of the build."""

import os
import shlex
import shutil
import subprocess
import sys
import zlib
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parents[2]
SANITIZERS = ("thread", "address")
LAUNCHERS = ("ccache", "sccache")


def fail(message: str) -> NoReturn:
    """Ends the build with one line instead of a traceback."""
    sys.exit(f"pinnedpg: {message}")


def sanitizer() -> str:
    """Returns the sanitizer that PINNEDPG_SANITIZE asks for, or an empty string."""
    name = os.environ.get("PINNEDPG_SANITIZE", "")
    if name and name not in SANITIZERS:
        fail(f"PINNEDPG_SANITIZE must be one of {', '.join(SANITIZERS)}; got {name!r}")
    return name


def compiler() -> list[str]:
    """Returns the C++ compiler of CXX, without a compiler cache before it."""
    words = shlex.split(os.environ.get("CXX") or "c++")
    return words[1:] if len(words) > 1 and Path(words[0]).name in LAUNCHERS else words


def launcher() -> list[str]:
    """Returns the compiler cache: the one before the compiler in CXX, else the first on PATH."""
    words = shlex.split(os.environ.get("CXX", ""))
    if len(words) > 1 and Path(words[0]).name in LAUNCHERS:
        return words[:1]
    return [found for found in map(shutil.which, LAUNCHERS) if found][:1]


def compiler_id() -> int:
    """Returns a number that differs between compilers and their releases."""
    asked = subprocess.run([*compiler(), "--version"], capture_output=True)
    return zlib.crc32(asked.stdout)


def optimisation() -> list[str]:
    """Returns the flags of optimisation and warnings that every host compiler gets."""
    name = sanitizer()
    flags = ["-O1", "-g", f"-fsanitize={name}"] if name else ["-O3", "-g0"]
    return [*flags, *warnings()]


def warnings() -> list[str]:
    """Returns the warning flags; with PINNEDPG_WERROR=1 a warning is an error."""
    return ["-Wall", "-Wextra", *(["-Werror"] if os.environ.get("PINNEDPG_WERROR") == "1" else [])]


def from_environment(*names: str) -> list[str]:
    """Returns the flags that the user has put into variables such as CXXFLAGS."""
    return [flag for name in names for flag in shlex.split(os.environ.get(name, ""))]
