# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""The libraries of the package.

The engine, `libpinnedpg.so`, uses nothing of torch except its header-only vector types. Each
extension module `_C_torch<minor>` contains the ProcessGroup and the raw API for one torch release.
It is linked to the engine and to empty stub libraries in place of torch's, which are loaded before.
"""

import dataclasses
import os
import platform
import re
import resource
import sys
import sysconfig
import time
from pathlib import Path

from native import settings
from native.graph import Graph
from native.nvcc import Nvcc
from native.settings import ROOT
from native.torch_tree import TorchTree, torch_trees

CSRC = Path("csrc")
ENGINE = ("base", "memory", "device", "collective")
# How many files of a folder form one translation unit; 1 elsewhere, since tests replace some.
BATCHES = {"": 3, "base": 6, "memory": 6, "collective": 5, "c10d": 5, "tp": 5}
TORCH_LIBRARIES = ("libc10.so", "libtorch_cpu.so", "libtorch.so", "libtorch_python.so")

# The same bits from every instruction set: no product fused with a sum where one set can and
# another cannot. And no traps, which would keep the loops from being vectorised.
REDUCE_FLAGS = ["-ffp-contract=off", "-fno-trapping-math"]
ISA_FLAGS = {
    "_default": [],
    "_avx2": ["-mavx2", "-mfma", "-mf16c"],
    "_avx512": "-mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx2 -mfma -mf16c".split(),
}
# GCC 12's own AVX-512 header initialises a variable with itself. clang knows the first option only.
HEADER_FAULTS = ["-Wno-unknown-warning-option", "-Wno-maybe-uninitialized"]


@dataclasses.dataclass(frozen=True)
class Built:
    """What a build has made, and for what."""

    files: list[Path]
    cuda_release: str | None
    gpu_targets: list[str]
    torch_releases: dict[str, str]  # minor release -> the version whose headers were used


class Build:
    """One build of the package's libraries into `package`."""

    def __init__(self, package: Path):
        """Looks for nvcc and torch; nothing is compiled yet."""
        self.package = package
        self.nvcc = Nvcc.find()
        self.trees = torch_trees()
        kind = settings.sanitizer() or "release"
        self.directory = Path("build") / kind
        self.graph = Graph(self.directory)
        self.launcher = settings.launcher()

    def run(self) -> Built:
        """Compiles and links what has changed."""
        begun, cpu_before = time.monotonic(), _children_seconds()
        kernels = (
            [self._kernel(source) for source in sorted(CSRC.rglob("*.cu"))] if self.nvcc else []
        )
        doors = [self._door(tree) for tree in self.trees]  # theirs are the long ones
        engine = self._engine(kernels)
        stubs = [self._stub(name) for name in TORCH_LIBRARIES]
        files = [
            engine,
            *(self._link_door(tree, objects, engine, stubs) for tree, objects in doors),
        ]
        self._remove_others(files)
        self.graph.run()
        cpu = _children_seconds() - cpu_before
        print(
            f"pinnedpg: built in {time.monotonic() - begun:.0f} s ({cpu:.0f} s of CPU)", flush=True
        )
        targets = self.nvcc.targets if self.nvcc else []
        release = self.nvcc.release if self.nvcc else None
        return Built(files, release, targets, {tree.minor: tree.version for tree in self.trees})

    def _kernel(self, source: Path) -> Path:
        # One directory per set of GPUs, so that building a wheel keeps the local build's kernels.
        directory = self.directory / f"kernels-{'-'.join(self.nvcc.targets)}"
        return self.graph.compile(source, directory / f"{source.name}.o", self.nvcc.command())

    def _engine(self, kernels: list[Path]) -> Path:
        macros = ["-DPINNEDPG_WITH_CUDA"] if self.nvcc else []
        # Calls within the library are direct, although its symbols are exported.
        direct = ["-fno-semantic-interposition"]
        common = [*self._compiler(), *settings.optimisation(), "-Icsrc", *macros, *direct]
        objects = []
        for names in batches(engine_sources()):
            flags = _isa_flags(names[0])
            if flags:
                flags = [*flags, *self.trees[0].includes()]  # header-only: the vector types
            target = self.directory / "engine" / object_name(names)
            objects.append(self.graph.compile(self._batch(names), target, [*common, *flags]))
        exports = ROOT / "tools" / "native" / "engine.map"
        libraries = self.nvcc.link_flags() if self.nvcc else ["-lpthread"]
        target = self.package / "libpinnedpg.so"
        own = ["-Wl,-soname,libpinnedpg.so", "-Wl,-Bsymbolic"]
        command = [*self._linker(exports), *own]
        return self.graph.link([*objects, *kernels], target, command, libraries, [exports])

    def _door(self, tree: TorchTree) -> tuple[TorchTree, list[Path]]:
        directory = self.directory / f"torch{tree.version}-{sys.implementation.cache_tag}"
        macros = [f'-DPINNEDPG_TORCH_VERSION="{tree.version}"', "-DTORCH_EXTENSION_NAME=_C"]
        command = [
            *self._compiler(),
            *settings.optimisation(),
            "-fvisibility=hidden",
            "-Icsrc",
        ]
        command += [*macros, *tree.includes(), "-isystem", sysconfig.get_path("include")]
        header = CSRC / "torch_glue" / "precompiled.h"
        needs: list[Path] = []
        if not self._uses("sccache"):  # it does not cache a file that uses a precompiled header
            target = directory / "precompiled.h.gch"
            needs = [self.graph.compile(header, target, [*command, "-x", "c++-header"])]
            command += ["-include", str(target.with_suffix("")), "-Winvalid-pch"]
        objects = [
            self.graph.compile(self._batch(names), directory / object_name(names), command, needs)
            for names in batches(door_sources())
        ]
        return tree, objects

    def _link_door(
        self, tree: TorchTree, objects: list[Path], engine: Path, stubs: list[Path]
    ) -> Path:
        exports = ROOT / "tools" / "native" / "module.map"
        name = f"_C_torch{tree.minor.replace('.', '_')}{sysconfig.get_config_var('EXT_SUFFIX')}"
        command = [*self._linker(exports), "-Wl,-rpath,$ORIGIN", "-Wl,--no-as-needed"]
        libraries = list(map(str, [engine, *stubs]))
        return self.graph.link(
            objects, self.package / name, command, libraries, [engine, *stubs, exports]
        )

    def _stub(self, soname: str) -> Path:
        empty = [*settings.compiler(), "-shared", "-nostdlib", f"-Wl,-soname,{soname}"]
        return self.graph.stub(soname, [*empty, "-x", "c++", os.devnull])

    def _compiler(self) -> list[str]:
        cache = self.launcher
        if self._uses("ccache"):  # what its manual asks for with precompiled headers
            cache = ["env", "CCACHE_SLOPPINESS=pch_defines,time_macros", *cache]
        given = settings.from_environment("CPPFLAGS", "CXXFLAGS")
        precompiled = ["-fpch-preprocess"] if self.launcher and not _is_clang() else []
        return [
            *cache,
            *settings.compiler(),
            "-std=c++20",
            "-fPIC",
            "-DNDEBUG",
            "-fno-plt",  # calls between the libraries cost a jump less
            f"-DPINNEDPG_COMPILER={settings.compiler_id()}",  # another one compiles all anew
            *precompiled,
            *given,
        ]

    def _linker(self, exports: Path) -> list[str]:
        hidden = ["-Wl,--exclude-libs,ALL", f"-Wl,--version-script={exports}"]
        name = settings.sanitizer()
        flags = [f"-fsanitize={name}"] if name else []
        given = settings.from_environment("LDFLAGS")
        return [*settings.compiler(), "-shared", *flags, "-Wl,-z,now", *hidden, *given]

    def _batch(self, names: list[Path]) -> Path:
        """Returns the file to compile for a batch: one that includes its sources."""
        if len(names) == 1:
            return CSRC / names[0]
        path = self.directory / "batches" / Path(object_name(names)).with_suffix(".cpp")
        text = "".join(f'#include "{name.as_posix()}"\n' for name in names)
        if not path.exists() or path.read_text() != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return path

    def _uses(self, cache: str) -> bool:
        return bool(self.launcher) and Path(self.launcher[0]).name == cache

    def _remove_others(self, files: list[Path]) -> None:
        """Removes the libraries of another build, whose ninja file does not know this one."""
        note = Path("build", "linked")
        build = f"{self.directory} {self.package}"
        is_same = note.exists() and note.read_text() == build
        for path in self.package.glob("*.so"):
            if path not in files or not is_same:
                path.unlink()
        note.parent.mkdir(exist_ok=True)
        note.write_text(build)


def engine_sources() -> list[Path]:
    """Returns the engine's C++ files, relative to csrc."""
    return [name for name in _sources() if name.parts[0] in ENGINE]


def door_sources() -> list[Path]:
    """Returns the C++ files that know torch, relative to csrc."""
    return [name for name in _sources() if name.parts[0] not in ENGINE]


def batches(names: list[Path]) -> list[list[Path]]:
    """Groups the files into batches; each batch is one translation unit and parses headers once.

    Larger batches make an incremental build after a change in one file slower.
    """
    made = []
    for folder in sorted({name.parent for name in names}):
        inside = [name for name in names if name.parent == folder]
        size = BATCHES.get(folder.name, 1)
        made += [inside[first : first + size] for first in range(0, len(inside), size)]
    return made


def object_name(names: list[Path]) -> str:
    """Returns the path of a batch's object file, relative to the object directory."""
    if len(names) == 1:
        return f"{names[0]}.o"
    return f"{names[0].with_suffix('')}_to_{names[-1].stem}.o"


def _sources() -> list[Path]:
    return sorted(path.relative_to(CSRC) for path in CSRC.rglob("*.cpp"))


def _isa_flags(source: Path) -> list[str]:
    """Returns the flags of an ISA variant (`reduce_host_<isa>.cpp`), or none where it is none."""
    variant = re.fullmatch(r"reduce_host(_\w+)\.cpp", source.name)
    if not variant:
        return []
    if platform.machine() not in ("x86_64", "AMD64"):
        return REDUCE_FLAGS
    return [*REDUCE_FLAGS, *ISA_FLAGS[variant[1]], *HEADER_FAULTS]


def _is_clang() -> bool:
    return "clang" in Path(settings.compiler()[0]).name


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
