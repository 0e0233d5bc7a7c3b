# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Tells torch.distributed of the backend "pinned"."""

import copy
import datetime
from collections.abc import Sequence
from typing import Any

import torch.distributed as dist

from pinnedpg import _C

NAME = "pinned"
DEVICES = ["cpu", "cuda"]
LONGEST = datetime.timedelta(days=3650)
"""As good as no limit. torch counts in 64 bits, where `timedelta.max` comes out below -LONGEST."""
AUTOLOADED = "_pinnedpg_autoload._create"
"""What torch has registered while it was imported: a forerunner of `create`."""


def register() -> None:
    """Registers the backend "pinned" for CPU and CUDA tensors; a second call does nothing.

    Raises:
        RuntimeError: Another package has registered a backend of that name.
    """
    plugin = dist.Backend._plugins.get(NAME.upper())
    if plugin is None or _origin(plugin.creator_fn) == AUTOLOADED:
        dist.Backend.register_backend(NAME, create, extended_api=True, devices=DEVICES)
    elif _origin(plugin.creator_fn) != _origin(create):
        raise RuntimeError(
            f'pinnedpg: the backend name "{NAME}" must be free; '
            f"got one registered by {_origin(plugin.creator_fn)}. Import only one of the two"
        )


def set_default(devices: Sequence[str] = ("cpu", "cuda")) -> None:
    """Makes "pinned" what `init_process_group()` and `new_group()` take when no backend is named.

    Args:
        devices: The types of device it is to serve; the others keep torch's own default.

    Raises:
        ValueError: A type of device that the backend does not serve.
    """
    unknown = [device for device in devices if device not in DEVICES]
    if isinstance(devices, str) or unknown:
        raise ValueError(f"set_default: devices must be a list of some of {DEVICES}; got {devices}")
    for device in devices:
        dist.Backend.default_device_backend_map[device] = NAME


def create(dist_opts: Any, pg_options: Any = None) -> _C.ProcessGroupPinned:
    """Makes one rank's process group, as `init_process_group` and `new_group` ask for it.

    Args:
        dist_opts: torch's `_DistributedBackendOptions`: the group's store, rank, size, time-out,
            name and global ranks.
        pg_options: A `pinnedpg.Options`, which is left as it is, or None for the defaults.

    Raises:
        TypeError: `pg_options` is of another type.
    """
    options = _copy_options(pg_options)
    if not options._timeout_chosen:
        options._timeout = LONGEST if dist_opts.timeout < -LONGEST else dist_opts.timeout
    options.group_name = dist_opts.group_id
    options.global_ranks_in_group = dist_opts.global_ranks_in_group
    return _C.ProcessGroupPinned(
        dist_opts.store, dist_opts.group_rank, dist_opts.group_size, options
    )


def _copy_options(pg_options: Any) -> _C.Options:
    if pg_options is None:
        return _C.Options()
    if not isinstance(pg_options, _C.Options):
        got = f"{type(pg_options).__module__}.{type(pg_options).__qualname__}"
        raise TypeError(f"pinned: pg_options must be a pinnedpg.Options; got a {got}")
    return copy.copy(pg_options)


def _origin(creator: Any) -> str:
    """Names a creator by where it was written: a module imported anew is still the same one."""
    module = getattr(creator, "__module__", "unknown")
    return f"{module}.{getattr(creator, '__qualname__', type(creator).__qualname__)}"
