# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""The CUDA compiler: where it is, what it compiles for, and how to call it."""

import functools
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

from native.settings import compiler, fail, launcher, optimisation

# The lowest of each family: code for 8.0 also runs on 8.6 and 8.9. PTX for the newest one is added
# for later GPUs.
ARCHITECTURES = ("70", "75", "80", "90", "100", "120")
CAPABILITIES = ["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"]


class Nvcc:
    """An installed nvcc. The constructor runs it three times."""

    def __init__(self, path: str):
        """Asks the nvcc at `path` for its release, directory and architectures."""
        self.path = path
        self.release = re.search(r"release (\S+),", self._ask("--version")).group(1)
        dry_run = self._ask("--dryrun", "-x", "cu", os.devnull)
        self.top = Path(re.search(r"TOP=(\S+)", dry_run).group(1))
        self.supported = re.findall(r"compute_(\d+)", self._ask("--list-gpu-arch"))

    @classmethod
    def find(cls) -> "Nvcc | None":
        """Returns the nvcc to use, or None where there is none or PINNEDPG_CUDA=0."""
        wanted = os.environ.get("PINNEDPG_CUDA", "")
        if wanted not in ("", "0", "1"):
            fail(f"PINNEDPG_CUDA must be 0 (never) or 1 (must); got {wanted!r}")
        if wanted == "0":
            print("pinnedpg: PINNEDPG_CUDA=0: building for the CPU alone")
            return None
        home = os.environ.get("CUDA_HOME")
        places = [f"{home}/bin/nvcc"] if home else ["nvcc", "/usr/local/cuda/bin/nvcc"]
        for path in filter(None, map(shutil.which, places)):
            return cls(path)
        where = f"in CUDA_HOME ({home})" if home else "on PATH or in /usr/local/cuda"
        if wanted == "1":
            remedy = "Install the CUDA toolkit or set CUDA_HOME"
            fail(f"PINNEDPG_CUDA=1 needs nvcc; found none {where}. {remedy}")
        print(f"pinnedpg: no nvcc {where}: building for the CPU alone")
        return None

    @functools.cached_property
    def targets(self) -> list[str]:
        """Returns what the kernels are compiled for, as in TORCH_CUDA_ARCH_LIST.

        That variable decides ("All": one architecture per major release). Else it is the GPUs of
        this machine, and without any the oldest architecture's PTX, which runs on every GPU.
        """
        listed = os.environ.get("TORCH_CUDA_ARCH_LIST", "").replace(";", " ").split()
        if listed == ["All"]:
            chosen = [_dotted(arch) for arch in self._majors()]
            return [*chosen[:-1], f"{chosen[-1]}+PTX"]
        return listed or self._present() or [f"{_dotted(self._majors()[0])}+PTX"]

    def gencodes(self) -> list[str]:
        """Returns the -gencode flags for `targets`."""
        listed = bool(os.environ.get("TORCH_CUDA_ARCH_LIST"))
        flags = []
        for entry in self.targets:
            parsed = re.fullmatch(r"(\d+)\.(\d+[af]?)(\+PTX)?", entry)
            if not parsed:
                fail(f'TORCH_CUDA_ARCH_LIST must be "All" or like "8.0;9.0+PTX"; got {entry!r}')
            arch = parsed[1] + parsed[2]
            if listed or not parsed[3]:
                flags.append(f"-gencode=arch=compute_{arch},code=sm_{arch}")
            if parsed[3]:
                flags.append(f"-gencode=arch=compute_{arch},code=compute_{arch}")
        return flags

    def command(self) -> list[str]:
        """Returns the command that compiles one `.cu` file."""
        command = [self.path, "-std=c++20", "-O3", "-fmad=false", "-Icsrc", *self.gencodes()]
        command += ["-Wno-deprecated-gpu-targets"]
        if len(self.gencodes()) > 1:
            command += ["--threads=0"]  # the architectures side by side
            command += ["-Xfatbin=-compress-all", *self._smallest()]
        if os.environ.get("CXX"):
            command += ["-ccbin", compiler()[0]]
        if "-Werror" in optimisation():
            command += ["-Werror", "all-warnings"]
        # ccache and sccache know nvcc, but not its --threads.
        front = [] if "--threads=0" in command else launcher()
        return [*front, *command, *(f"-Xcompiler={flag}" for flag in ["-fPIC", *optimisation()])]

    def link_flags(self) -> list[str]:
        """Returns what links the static CUDA runtime: torch may bring another one."""
        places = [self.top / "lib64", *self.top.glob("targets/*/lib"), self.top / "lib"]
        found = [
            f"-L{place.resolve()}" for place in places if (place / "libcudart_static.a").exists()
        ]
        return [*found[:1], "-lcudart_static", "-ldl", "-lrt", "-lpthread"]

    def _majors(self) -> list[str]:
        chosen = [arch for arch in ARCHITECTURES if arch in self.supported]
        if not chosen:
            fail(f"{self.path} must know one of {ARCHITECTURES}; set TORCH_CUDA_ARCH_LIST")
        return chosen

    def _present(self) -> list[str]:
        """Returns the compute capabilities of this machine's GPUs, as far as nvcc knows them."""
        if not shutil.which(CAPABILITIES[0]):
            return []
        asked = subprocess.run(CAPABILITIES, capture_output=True, text=True)
        found = sorted(set(asked.stdout.split())) if asked.returncode == 0 else []
        return [entry for entry in found if entry.replace(".", "") in self.supported]

    def _smallest(self) -> list[str]:
        """Returns the flag for the smallest code, from nvcc 12.8 on."""
        release = tuple(map(int, self.release.split(".")[:2]))
        return ["--compress-mode=size"] if release >= (12, 8) else []

    def _ask(self, *arguments: str) -> str:
        asked = subprocess.run([self.path, *arguments], capture_output=True, text=True)
        if asked.returncode != 0:
            call = shlex.join([self.path, *arguments])
            fail(f"{call} failed: {asked.stderr.strip()}. PINNEDPG_CUDA=0 builds without CUDA")
        return asked.stdout + asked.stderr


def _dotted(arch: str) -> str:
    """Returns "12.0" for "120"."""
    return f"{arch[:-1]}.{arch[-1]}"
