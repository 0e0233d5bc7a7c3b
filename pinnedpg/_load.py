# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Loads the extension, or says in one ImportError why it cannot be loaded and what to do."""

import importlib
from pathlib import Path

import torch  # the extension needs torch's libraries, and this is what loads them

_IN_TREE = (Path(__file__).parent.parent / "setup.py").exists()
REBUILD = "Rebuild it in pinnedpg's source tree: pip install --no-build-isolation " + (
    "--no-deps -e ." if _IN_TREE else "--force-reinstall --no-deps ."
)


def load() -> None:
    """Imports `pinnedpg._C`.

    Raises:
        ImportError: The extension was never built, or for another torch or Python.
    """
    built_for = _built_for()
    if built_for is not None and _release(built_for) != _release(torch.__version__):
        raise ImportError(
            "pinnedpg: the extension must be built for the torch that runs; "
            f"got one built for torch {built_for}, and torch {torch.__version__} runs. {REBUILD}",
            name="pinnedpg",  # which makes `python -m pinnedpg` print this line, and no traceback
        )
    cause = _import_extension()
    if cause is not None:
        raise ImportError(f"pinnedpg: {_explain(cause, built_for)}. {REBUILD}", name="pinnedpg")


def _import_extension() -> ImportError | None:
    try:
        importlib.import_module("pinnedpg._C")
    except ImportError as error:
        return error
    return None


def _built_for() -> str | None:
    """Returns the torch version that setup.py noted, or None where it noted nothing."""
    try:
        return str(importlib.import_module("pinnedpg._build").torch_version)
    except (ImportError, AttributeError):
        return None


def _release(version: str) -> str:
    """Drops what names only the flavour: one binary serves 2.13.0+cpu and 2.13.0+cu130."""
    return version.partition("+")[0]


def _explain(cause: ImportError, built_for: str | None) -> str:
    folder = Path(__file__).parent
    found = ", ".join(sorted(path.name for path in folder.glob("_C.*so")))
    if not isinstance(cause, ModuleNotFoundError):
        built = f"built for torch {built_for or '(unknown)'}, and torch {torch.__version__} runs"
        return f"the extension must load; got {cause} ({built})"
    if found:
        return f"the extension must be built for the Python that runs; got {found}"
    return f"the extension must be built; got none in {folder}"
