# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""What the libraries of the package export: nothing that could take another library's place."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import pinnedpg

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = Path(pinnedpg.__file__).parent
MODULES = sorted(PACKAGE.glob("_C_torch*.so"))
ENGINE = PACKAGE / "libpinnedpg.so"
OURS = (
    "pinnedpg::",
    *(f"{kind} for pinnedpg::" for kind in ("typeinfo", "typeinfo name", "vtable")),
)
needs_nm = pytest.mark.skipif(not shutil.which("nm"), reason="there is no nm")


def exported(library: Path) -> list[str]:
    command = ["nm", "--dynamic", "--defined-only", "--demangle", "--format=posix", str(library)]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [line.rsplit(maxsplit=3)[0] for line in listed.splitlines()]


def strangers(names: list[str]) -> list[str]:
    """Returns the names that are not the engine's own."""
    return [name for name in names if not name.startswith(OURS)]


@needs_nm
@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.name.partition(".")[0])
def test_a_module_exports_what_python_calls(module):
    assert exported(module) == ["PyInit__C"]


@needs_nm
def test_the_engine_exports_its_own_names():
    names = exported(ENGINE)
    assert names and strangers(names) == []


def test_a_stranger_is_seen():
    assert strangers(["std::terminate()", "pinnedpg::built_with_cuda()"]) == ["std::terminate()"]


PROGRAM = """
import torch
from pinnedpg import tp
assert tp.__file__.startswith({folder!r}), tp.__file__
streams = [tp.HostStream(device) for device in range(2)]
split = [(0, 0, 3), (1, 3, 4)]
temp = [torch.empty(1 << 16) for _ in range(2)]
context = tp.make_tp_context(split, split, split, split, split, temp, streams)
tensors = [torch.ones(5, 16) for _ in range(2)]
tp.tp_all_reduce(context, 0, tensors, tensors)
try:
    tp.tp_all_reduce(context, 99, tensors, tensors)  # an error crosses both libraries
except (ValueError, RuntimeError) as error:
    print(type(error).__name__)
tp.tp_synchronize(context)
tp.free_tp_context(context)
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_with_a_static_libstdcxx(tmp_path):
    """As some images' g++ links: the module's copies must not take the place of torch's."""
    compiler = shutil.which("g++")
    if not compiler:
        pytest.skip("there is no g++")
    tree = tmp_path / "tree"
    tree.mkdir()
    for name in ("csrc", "pinnedpg", "tools"):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("*.so"))
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE", "_pinnedpg_autoload.py"):
        shutil.copy2(ROOT / name, tree)
    for name in ("release",):  # the objects are the same: only linked anew
        shutil.copytree(ROOT / "build" / name, tree / "build" / name)
    environment = os.environ | {"LDFLAGS": "-static-libstdc++"}
    command = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
    built = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    (module,) = (tree / "pinnedpg").glob("_C_torch*.so")
    needed = subprocess.run(["ldd", str(module)], capture_output=True, text=True).stdout
    for library in (module, tree / "pinnedpg" / "libpinnedpg.so"):
        assert strangers([name for name in exported(library) if name != "PyInit__C"]) == []
        linked = subprocess.run(["readelf", "-d", str(library)], capture_output=True, text=True)
        assert "libstdc++" not in linked.stdout, needed
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(folder=str(tree))],
        cwd=tree,
        env=os.environ | {"PYTHONPATH": str(tree)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode == 0, (ran.returncode, ran.stderr)
    assert ran.stdout.strip() in ("ValueError", "RuntimeError", "IndexError")
