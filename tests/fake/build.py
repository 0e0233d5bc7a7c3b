#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Links an extension whose GPU is fake, from the objects of the last build, into build/fake.

    python tests/fake/build.py          # then: PYTHONPATH=build/fake python ...

In that extension, CPU tensors take the code path of CUDA tensors. The engine is linked into it,
because the fake replaces files of both libraries. Only changed files are recompiled.
"""

import os
import shutil
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

from native import settings  # noqa: E402
from native.extension import batches, door_sources, engine_sources, object_name  # noqa: E402
from native.graph import Graph  # noqa: E402
from native.torch_tree import torch_trees  # noqa: E402

FOLDER = ROOT / "build" / "fake"
HERE = Path("tests/fake")
REPLACED = {Path("device/device.cpp"), Path("torch_glue/torch_streams.cpp")}
"""And all .cu files."""
LIBRARIES = ("c10", "torch_cpu", "torch", "torch_python")


def build():
    """Returns the folder for PYTHONPATH."""
    os.chdir(ROOT)
    (tree,) = torch_trees()
    package = FOLDER / "pinnedpg"
    ignored = shutil.ignore_patterns("*.so", "__pycache__")
    shutil.copytree("pinnedpg", package, dirs_exist_ok=True, ignore=ignored)
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    target = package / f"_C_torch{tree.minor.replace('.', '_')}{suffix}"
    for other in set(package.glob("*.so")) - {target}:
        other.unlink()
    graph = Graph(FOLDER / "objects")
    fakes = [_compile(graph, source, tree) for source in sorted(HERE.glob("*.cpp"))]
    library = tree.path / "lib"
    words = [*settings.compiler(), "-shared", f"-L{library}", f"-Wl,-rpath,{library}"]
    libraries = [f"-l{name}" for name in LIBRARIES]
    graph.link([*fakes, *_built_objects(tree)], target, words, [*libraries, "-lpthread"])
    graph.run()
    return FOLDER


def _compile(graph, source, tree):
    command = [*settings.launcher(), *settings.compiler(), "-std=c++20", "-O2", "-g", "-fPIC"]
    command += [*settings.warnings(), "-Icsrc", f"-I{HERE}", *tree.includes()]
    return graph.compile(source, graph.directory / f"{source.name}.o", command)


def _built_objects(tree):
    """Returns what the last build has made of each source that is not replaced."""
    built = Path("build") / "release"
    doors = built / f"torch{tree.version}-{sys.implementation.cache_tag}"
    objects = [
        folder / object_name(names)
        for folder, sources in ((built / "engine", engine_sources()), (doors, door_sources()))
        for names in batches(sources)
        if REPLACED.isdisjoint(names)
    ]
    missing = [str(path) for path in objects if not path.exists()]
    if missing:
        settings.fail(f"the fake GPU is linked from a build: make build; {missing[0]} is missing")
    return objects


if __name__ == "__main__":
    print(build())
