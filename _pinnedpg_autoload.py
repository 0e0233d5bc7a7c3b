# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""What torch calls while it is imported, so that "pinned" is known in scripts that never name us.

It loads no C++ and raises nothing: a fault here would break `import torch` for everybody.
"""

from typing import Any


def _create(dist_opts: Any, pg_options: Any = None) -> Any:
    """Makes one rank's process group; the first one loads the extension."""
    from pinnedpg import _register

    return _register.create(dist_opts, pg_options)


def register() -> None:
    """Registers the backend "pinned", unless torch finds it by itself (2.14 and later)."""
    try:
        import torch
        import torch.distributed as dist

        release = tuple(int(part) for part in torch.__version__.split(".")[:2])
        if release >= (2, 14) or not dist.is_available() or hasattr(dist.Backend, "PINNED"):
            return
        dist.Backend.register_backend("pinned", _create, extended_api=True, devices=["cpu", "cuda"])
    except Exception:  # `import pinnedpg` says what is wrong
        pass
