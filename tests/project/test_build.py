# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""What `import pinnedpg` does, and what it says where the extension cannot be loaded."""

import shutil
import subprocess
import sys
import sysconfig
import types
from datetime import timedelta
from pathlib import Path

import limits
import pytest
import torch

import pinnedpg

PACKAGE = Path(__file__).resolve().parents[2] / "pinnedpg"
REBUILD = "pip install --no-build-isolation --force-reinstall --no-deps ."


def run_python(code: str, path: Path | None = None) -> subprocess.CompletedProcess:
    # -S: an editable install would lend its extension to the package in `path`.
    start = f"import sys; sys.path.insert(0, {str(path)!r})\n" if path else ""
    return subprocess.run(
        [sys.executable, *(["-S"] if path else []), "-c", start + code],
        capture_output=True,
        text=True,
        timeout=limits.patient(60),  # a start of torch
    )


@pytest.fixture
def package(tmp_path):
    """A copy of the package without its extension, beside a torch that is only a version."""
    shutil.copytree(
        PACKAGE, tmp_path / "pinnedpg", ignore=shutil.ignore_patterns("*.so", "_build*")
    )
    (tmp_path / "torch.py").write_text('__version__ = "2.13.0+cpu"\n')
    return tmp_path / "pinnedpg"


def import_error(package: Path) -> str:
    """Imports the copy, and returns the one ImportError's line."""
    done = run_python("import pinnedpg", package.parent)
    assert done.returncode == 1
    assert done.stderr.count("Traceback") == 1, done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: pinnedpg: ") and REBUILD in last
    return last


def extension_name(minor: str = "2_13") -> str:
    return f"_C_torch{minor}{sysconfig.get_config_var('EXT_SUFFIX')}"


def note(package: Path, **releases: str) -> None:
    known = {name.removeprefix("torch").replace("_", "."): one for name, one in releases.items()}
    (package / "_build.py").write_text(f"torch_releases = {known!r}\n")


def test_never_built(package):
    assert f"must be built; found no extension module in {package}." in import_error(package)


def test_built_for_other_torch_releases(package):
    """What there is, is named; what another Python or a file that is not ours has, is not."""
    (package / extension_name("2_11")).write_bytes(b"")
    (package / extension_name("2_15")).write_bytes(b"")
    note(package, torch2_11="2.11.0+cu126", torch2_15="2.15.0")
    error = import_error(package)
    assert "for the running torch 2.13.0+cpu; got modules for torch 2.11, 2.15" in error


def test_built_for_another_python(package):
    (package / "_C_torch2_13.cpython-30-x86_64-linux-gnu.so").write_bytes(b"")
    error = import_error(package)
    assert "for the running Python; got _C_torch2_13.cpython-30-x86_64-linux-gnu.so" in error


@pytest.mark.parametrize("version", ["2.13.0", "2.13.1+cu130"])
def test_extension_that_does_not_load(package, version):
    """A module for another patch release or flavour is the one to load."""
    (package / extension_name()).write_bytes(b"no shared object")
    note(package, torch2_13=version)
    error = import_error(package)
    assert "must load; got" in error
    assert f"built for torch {version}; torch 2.13.0+cpu is running" in error


def test_import_leaves_cuda_alone():
    done = run_python(
        "import torch\n"
        "maps = lambda: 'libcuda.so' in open('/proc/self/maps').read()\n"
        "before = maps()\n"
        "import pinnedpg\n"
        "assert not torch.cuda.is_initialized()\n"
        "assert maps() == before, 'the driver was loaded'\n"
    )
    assert done.returncode == 0, done.stderr


def test_registered_once():
    import torch.distributed as dist

    import pinnedpg

    plugin = dist.Backend._plugins["PINNED"]
    pinnedpg.register()
    assert dist.Backend._plugins["PINNED"] is plugin
    assert dist.Backend.backend_list.count("pinned") == 1
    assert dist.Backend.backend_capability["pinned"] == ["cpu", "cuda"]


def test_name_taken():
    done = run_python(
        "import torch.distributed as dist\n"
        "def other(*_): ...\n"
        "dist.Backend.register_backend('pinned', other, devices=['cpu'])\n"
        "import pinnedpg\n"
    )
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith('RuntimeError: pinnedpg: the backend name "pinned" must be free')
    assert "got one registered by __main__.other" in last


def group_options() -> types.SimpleNamespace:
    import torch.distributed as dist

    return types.SimpleNamespace(
        store=dist.HashStore(),
        group_rank=0,
        group_size=1,
        timeout=timedelta(seconds=7),
        group_id="mine",
        global_ranks_in_group=[3],
    )


def test_options_of_wrong_type():
    from pinnedpg._register import create

    with pytest.raises(
        TypeError, match="pg_options must be a pinnedpg.Options; got a builtins.dict"
    ):
        create(group_options(), {})


def test_options_are_copied(monkeypatch):
    from pinnedpg import _C, Options, _register

    seen = []
    stub = types.SimpleNamespace(
        Options=Options, ProcessGroupPinned=lambda *given: seen.append(given)
    )
    monkeypatch.setattr(_register, "_C", stub)
    mine = Options()
    mine.group_name = "untouched"
    _register.create(group_options(), mine)
    (_, rank, size, options) = seen[0]
    assert (rank, size) == (0, 1)
    assert options._timeout == timedelta(seconds=7)
    assert (options.group_name, options.global_ranks_in_group) == ("mine", [3])
    assert mine.group_name == "untouched"
    assert _C.Options is Options


@pytest.mark.skipif(pinnedpg.cuda_device_count() > 0, reason="there is a GPU")
def test_pinning_without_a_gpu_says_what_to_do():
    with pytest.raises(RuntimeError, match="pin"):
        pinnedpg._C._pin(torch.zeros(4096))
    with pytest.raises(RuntimeError, match="pin"):
        pinnedpg._C._unpin(torch.zeros(4096))
