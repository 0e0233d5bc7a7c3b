#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Links an extension whose GPU is fake, from the objects of the last build, into build/fake.

    python tests/fake/build.py          # then: PYTHONPATH=build/fake python ...

In it, CPU tensors take the way of CUDA tensors.
"""

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import torch
from torch.utils import cpp_extension

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "build" / "fake"
REPLACED = ("device/cuda_device", "device/cuda_stream", "device/reduce_cuda", "device/device.o")
REPLACED += ("device/torch_streams", "device/fused.cu")


def build():
    """Returns the folder for PYTHONPATH."""
    objects = ROOT / f"build/release-torch{torch.__version__}-{sys.implementation.cache_tag}"
    found = [path for path in objects.rglob("*.o") if not any(n in str(path) for n in REPLACED)]
    package = FOLDER / "pinnedpg"
    shutil.copytree(
        ROOT / "pinnedpg",
        package,
        dirs_exist_ok=True,
        ignore=shutil.ignore_patterns("*.so", "__pycache__"),
    )
    compiler = shlex.split(os.environ.get("CXX", "c++"))
    includes = [
        f"-I{ROOT / 'csrc'}",
        f"-I{ROOT / 'tests' / 'fake'}",
        f"-I{sysconfig.get_path('include')}",
    ]
    includes += [f"-isystem{path}" for path in cpp_extension.include_paths()]
    flags = ["-std=c++20", "-O2", "-g", "-fPIC", "-Wall", "-Wextra"]
    sources = sorted((ROOT / "tests" / "fake").glob("*.cpp"))
    library = Path(torch.__file__).parent / "lib"
    links = [f"-L{library}", f"-Wl,-rpath,{library}", "-lc10", "-ltorch_cpu", "-ltorch"]
    target = package / f"_C{sysconfig.get_config_var('EXT_SUFFIX')}"
    command = [*compiler, *flags, "-shared", *includes, *map(str, sources), *map(str, found)]
    command += ["-o", str(target), *links, "-ltorch_python"]
    subprocess.run(command, check=True)
    return FOLDER


if __name__ == "__main__":
    print(build())
