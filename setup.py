# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Builds the package: the engine `libpinnedpg.so`, and an extension module per torch release.

tools/native/ has the build; its graph is ninja's. Environment: PINNEDPG_CUDA=0|1 (never | must),
CUDA_HOME, TORCH_CUDA_ARCH_LIST ("8.0;9.0+PTX", or "All"; by default the GPUs of this machine), CXX,
CXXFLAGS, LDFLAGS, MAX_JOBS, VERBOSE, PINNEDPG_WERROR=1, PINNEDPG_SANITIZE=thread|address, and
PINNEDPG_TORCH_TREES (directories `torch` of several releases; by default the installed one).
"""

import os
import sys
from pathlib import Path

import setuptools
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT / "tools"))

from native.extension import Build  # noqa: E402
from native.torch_tree import torch_trees  # noqa: E402
from pypi_readme import pypi_readme  # noqa: E402


class BuildExtension(build_ext):
    """Runs the build, and notes for what it was in `_build.py`."""

    def run(self) -> None:
        """Builds into the source tree or into setuptools' build directory."""
        package = Path("pinnedpg") if self.inplace else Path(self.build_lib, "pinnedpg").absolute()
        package.mkdir(parents=True, exist_ok=True)
        built = Build(package).run()
        note = package / "_build.py"
        note.write_text(
            '"""What the compiled parts were built for (written by setup.py)."""\n\n'
            f"cuda_release = {built.cuda_release!r}\n"
            f"gpu_targets = {built.gpu_targets!r}\n"
            f"torch_releases = {built.torch_releases!r}\n"
        )
        self.files = list(map(str, [*built.files, note]))

    def get_outputs(self) -> list[str]:
        """Returns the files that `run` has made."""
        return getattr(self, "files", [])

    def get_output_mapping(self) -> dict[str, str]:
        """Returns nothing: an editable build writes into the source tree."""
        return {}


os.chdir(ROOT)
if not {"sdist", "egg_info", "clean"} & set(sys.argv):
    torch_trees()  # fails early, with one line, where there is no torch
setuptools.setup(
    # Tells setuptools that the wheel is for one platform. BuildExtension knows what to build.
    ext_modules=[setuptools.Extension("pinnedpg._C", [])],
    cmdclass={"build_ext": BuildExtension},
    long_description=pypi_readme((ROOT / "README.md").read_text()),
    long_description_content_type="text/markdown",
)
