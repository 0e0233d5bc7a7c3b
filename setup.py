# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Builds `pinnedpg._C`.

torch's BuildExtension compiles the C++. Two kinds of source need what it does not offer, so they
become extra objects: `.cu` files, compiled by nvcc whichever torch is installed (torch's own
CUDAExtension refuses beside a CPU torch), and the ISA variants of the host reduction, each with its
own flags.

Environment: PINNEDPG_CUDA=0|1 (never | must), CUDA_HOME, TORCH_CUDA_ARCH_LIST ("8.0;9.0+PTX"), CXX,
MAX_JOBS, PINNEDPG_WERROR=1, PINNEDPG_SANITIZE=thread|address.
"""

import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import setuptools
import torch
from torch.utils import cpp_extension

ROOT = Path(__file__).resolve().parent
MINIMUM_TORCH = (2, 11)
SANITIZERS = ("thread", "address")

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

# One per major: code for 8.0 also runs on 8.6 and 8.9. Of the newest its PTX goes in too, for what
# comes later.
GPU_ARCHITECTURES = ("70", "75", "80", "90", "100", "120")


def fail(message):
    """Ends the build with one line instead of a traceback."""
    sys.exit(f"pinnedpg: {message}")


def check_tools():
    """Fails on a torch that is too old, or a missing ninja."""
    if tuple(int(part) for part in torch.__version__.split(".")[:2]) < MINIMUM_TORCH:
        fail(f"torch must be 2.11 or newer; got {torch.__version__}")
    if not shutil.which("ninja"):  # pip does not put an environment that is not activated on PATH
        try:
            from ninja import BIN_DIR
        except ImportError:
            fail("ninja must be installed: pip install ninja")
        os.environ["PATH"] = BIN_DIR + os.pathsep + os.environ["PATH"]


def sanitizer_flags():
    """Returns the flags for compiler and linker that PINNEDPG_SANITIZE asks for."""
    name = os.environ.get("PINNEDPG_SANITIZE", "")
    if name and name not in SANITIZERS:
        fail(f"PINNEDPG_SANITIZE must be one of {', '.join(SANITIZERS)}; got {name!r}")
    return [f"-fsanitize={name}"] if name else []


def host_flags():
    """Returns the flags every host compiler gets, nvcc's included."""
    sanitizer = sanitizer_flags()
    flags = ["-O1", "-g", *sanitizer] if sanitizer else ["-O3", "-g0"]
    flags += ["-Wall", "-Wextra", "-fvisibility=hidden"]
    return [*flags, "-Werror"] if os.environ.get("PINNEDPG_WERROR") == "1" else flags


class Nvcc:
    """The CUDA compiler: where it is, what it targets, and how to call it."""

    def __init__(self, path):
        """Asks the nvcc at `path` for its release, directory and architectures."""
        self.path = path
        self.release = re.search(r"release (\S+),", self._ask("--version")).group(1)
        dry_run = self._ask("--dryrun", "-x", "cu", os.devnull)
        self.top = Path(re.search(r"TOP=(\S+)", dry_run).group(1))
        self.supported = re.findall(r"compute_(\d+)", self._ask("--list-gpu-arch"))

    @classmethod
    def find(cls):
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

    def gencodes(self):
        """Returns the -gencode flags: TORCH_CUDA_ARCH_LIST, or every major one supported."""
        listed = os.environ.get("TORCH_CUDA_ARCH_LIST", "").replace(";", " ").split()
        if not listed:
            chosen = [arch for arch in GPU_ARCHITECTURES if arch in self.supported]
            if not chosen:
                fail(f"{self.path} must know one of {GPU_ARCHITECTURES}; set TORCH_CUDA_ARCH_LIST")
            return [*map(self._code, chosen), self._code(chosen[-1], ptx=True)]
        flags = []
        for entry in listed:
            parsed = re.fullmatch(r"(\d+)\.(\d+[af]?)(\+PTX)?", entry)
            if not parsed:
                fail(f'TORCH_CUDA_ARCH_LIST must look like "8.0;9.0+PTX"; got {entry!r}')
            flags.append(self._code(parsed[1] + parsed[2]))
            if parsed[3]:
                flags.append(self._code(parsed[1] + parsed[2], ptx=True))
        return flags

    def command(self):
        """Returns the command that compiles one `.cu` file."""
        command = [self.path, "-std=c++20", "-O3", "-fmad=false", "-Icsrc", *self.gencodes()]
        command += ["-Wno-deprecated-gpu-targets"]
        if os.environ.get("CXX"):
            command += ["-ccbin", shlex.split(os.environ["CXX"])[-1]]  # without a ccache before it
        if "-Werror" in host_flags():
            command += ["-Werror", "all-warnings"]
        return [*command, *(f"-Xcompiler={flag}" for flag in ["-fPIC", *host_flags()])]

    def link_flags(self):
        """Returns what links the static CUDA runtime, hidden: torch may bring another one."""
        places = [self.top / "lib64", *self.top.glob("targets/*/lib"), self.top / "lib"]
        found = [
            f"-L{place.resolve()}" for place in places if (place / "libcudart_static.a").exists()
        ]
        hidden = "-Wl,--exclude-libs,libcudart_static.a"
        return [*found[:1], hidden, "-lcudart_static", "-ldl", "-lrt", "-lpthread"]

    def _ask(self, *arguments):
        asked = subprocess.run([self.path, *arguments], capture_output=True, text=True)
        if asked.returncode != 0:
            call = shlex.join([self.path, *arguments])
            fail(f"{call} failed: {asked.stderr.strip()}. PINNEDPG_CUDA=0 builds without CUDA")
        return asked.stdout + asked.stderr

    @staticmethod
    def _code(arch, ptx=False):
        return f"-gencode=arch=compute_{arch},code={'compute' if ptx else 'sm'}_{arch}"


def isa_flags(source):
    """Returns the flags of an ISA variant (`reduce_host*_<isa>.cpp`), or None where it is none."""
    variant = re.fullmatch(r"csrc/device/reduce_host(_\w+)\.cpp", source.as_posix())
    if not variant:
        return None
    if platform.machine() not in ("x86_64", "AMD64"):
        return REDUCE_FLAGS
    return [*REDUCE_FLAGS, *ISA_FLAGS[variant[1]], *HEADER_FAULTS]


def isa_command(flags):
    """Returns the command that compiles one ISA variant."""
    compiler = shlex.split(os.environ.get("CXX", "c++"))
    return [
        *compiler,
        "-std=c++20",
        "-fPIC",
        "-DNDEBUG",
        *host_flags(),
        *flags,
        "-Icsrc",
        *system_includes(),
    ]


def system_includes():
    """Returns torch's include directories as system ones, so that only our own warnings count."""
    return [flag for path in cpp_extension.include_paths() for flag in ("-isystem", path)]


def compile_objects(commands, directory):
    """Compiles {source: command} with ninja, what has changed only, and returns the objects."""
    if not commands:
        return []
    rules = [
        f"builddir = {directory}/extra",  # for ninja's log
        "rule compile",
        "  command = $compiler -MMD -MF $out.d -c $in -o $out",
        "  depfile = $out.d",
        "  deps = gcc",
    ]
    objects = []
    for source, command in commands.items():
        objects.append(f"{directory}/{source.as_posix()}.o")
        rules += [
            f"build {objects[-1]}: compile {source.as_posix()}",
            f"  compiler = {shlex.join(command)}",
        ]
    ninja_file = Path(directory, "extra", "build.ninja")
    ninja_file.parent.mkdir(parents=True, exist_ok=True)
    ninja_file.write_text("\n".join(rules) + "\n")
    jobs = ["-j", os.environ["MAX_JOBS"]] if os.environ.get("MAX_JOBS") else []
    if subprocess.run(["ninja", "-f", str(ninja_file), *jobs]).returncode != 0:
        fail("an object did not compile (see above). PINNEDPG_CUDA=0 leaves out those of nvcc")
    return objects


class BuildExtension(cpp_extension.BuildExtension):
    """torch's, plus the extra objects and a note of what was built."""

    def finalize_options(self):
        """Keeps the objects, one place per torch and Python: pip drops them after a build.

        Linked anew each time: `build/lib*` is one place for all, and may hold another torch's.
        """
        super().finalize_options()
        self.force = True
        kind = os.environ.get("PINNEDPG_SANITIZE") or "release"
        self.build_temp = f"build/{kind}-torch{torch.__version__}-{sys.implementation.cache_tag}"

    def build_extension(self, ext):
        """Compiles the extra objects, then what torch's BuildExtension can.

        They are linked last: of an inline function compiled twice the linker keeps the first, which
        is then the one without AVX, so a baseline processor never meets the other.
        """
        ext.extra_objects += compile_objects(ext.extra_commands, self.build_temp)
        super().build_extension(ext)

    def run(self):
        """Builds, then notes for what in `_build.py`, readable if the extension does not load."""
        super().run()
        for ext in self.extensions:
            note = Path(self.get_ext_fullpath(ext.name)).with_name("_build.py")
            note.parent.mkdir(parents=True, exist_ok=True)
            note.write_text(
                '"""What `pinnedpg._C` was built for (written by setup.py)."""\n\n'
                f'torch_version = "{torch.__version__}"\n'
                f"cuda_release = {repr(ext.cuda_release)}\n"
            )


def extension():
    """Describes `pinnedpg._C`."""
    nvcc = Nvcc.find()
    os.chdir(ROOT)
    sources = sorted(Path("csrc").rglob("*.cpp"))
    commands = {
        source: isa_command(isa_flags(source))
        for source in sources
        if isa_flags(source) is not None
    }
    plain = [source.as_posix() for source in sources if source not in commands]
    macros = [("PINNEDPG_TORCH_VERSION", f'"{torch.__version__}"')]
    link_flags = sanitizer_flags()
    if nvcc:
        command = nvcc.command()
        commands |= {source: command for source in sorted(Path("csrc").rglob("*.cu"))}
        macros.append(("PINNEDPG_WITH_CUDA", None))
        link_flags += nvcc.link_flags()
        print(f"pinnedpg: building with CUDA {nvcc.release} ({nvcc.path})")
    ext = cpp_extension.CppExtension(
        "pinnedpg._C",
        plain,
        include_dirs=[str(ROOT / "csrc")],
        define_macros=macros,
        extra_compile_args=["-std=c++20", *host_flags(), *system_includes()],
        extra_link_args=link_flags,
    )
    ext.extra_commands = commands
    ext.cuda_release = nvcc.release if nvcc else None
    return ext


check_tools()
setuptools.setup(ext_modules=[extension()], cmdclass={"build_ext": BuildExtension})
