# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Loads the extension module for the running torch as `pinnedpg._C`.

An installation has one module per minor release of torch, `_C_torch2_13.<suffix>`, beside the
engine that they share, `libpinnedpg.so`. c10d's C++ interface changes between minor releases, not
within one, and not between the CPU and CUDA flavours.
"""

import importlib
import importlib.util
import sys
import sysconfig
from importlib.machinery import ExtensionFileLoader
from pathlib import Path

import torch  # the module needs torch's libraries, and this is what loads them

FOLDER = Path(__file__).parent
_IN_TREE = (FOLDER.parent / "setup.py").exists()
BUILD = "Build it in pinnedpg's source tree: pip install --no-build-isolation " + (
    "--no-deps -e ." if _IN_TREE else "--force-reinstall --no-deps ."
)


def load() -> None:
    """Imports `pinnedpg._C`.

    Raises:
        ImportError: There is no module for the running torch and Python, or it does not load.
    """
    minor = minor_release(torch.__version__)
    path = FOLDER / f"_C_torch{minor.replace('.', '_')}{sysconfig.get_config_var('EXT_SUFFIX')}"
    if not path.exists():
        raise ImportError(f"pinnedpg: {_explain_missing(minor)}. {BUILD}", name="pinnedpg")
    error = _import(path)
    if error is not None:
        built_for = releases().get(minor, "(unknown)")
        versions = f"built for torch {built_for}; torch {torch.__version__} is running"
        said = f"pinnedpg: {path.name} must load; got {error} ({versions}). {BUILD}"
        raise ImportError(said, name="pinnedpg")


def _import(path: Path) -> ImportError | None:
    """Imports a file as `pinnedpg._C`; returns why it cannot be loaded."""
    loader = ExtensionFileLoader("pinnedpg._C", str(path))
    spec = importlib.util.spec_from_loader(loader.name, loader, origin=str(path))
    assert spec is not None
    try:
        module = importlib.util.module_from_spec(spec)
    except ImportError as error:
        return error
    sys.modules[loader.name] = module
    loader.exec_module(module)
    sys.modules["pinnedpg"]._C = module  # type: ignore[attr-defined]
    return None


def releases() -> dict[str, str]:
    """Returns the torch versions that the modules were compiled with, by minor release."""
    try:
        return dict(importlib.import_module("pinnedpg._build").torch_releases)
    except (ImportError, AttributeError):
        return {}


def minor_release(version: str) -> str:
    """Returns "2.13" for "2.13.1+cu130"."""
    return ".".join(version.split(".")[:2])


def _explain_missing(minor: str) -> str:
    found = sorted(path.name for path in FOLDER.glob("_C_torch*.so"))
    if not found:
        return f"the extension must be built; found no extension module in {FOLDER}"
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    if not any(name.endswith(suffix) for name in found):
        return f"the extension must be built for the running Python; got {', '.join(found)}"
    have = ", ".join(releases()) or ", ".join(found)
    return (
        f"the extension must be built for the running torch {torch.__version__}; "
        f"got modules for torch {have}"
    )
