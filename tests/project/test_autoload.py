# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""torch finds the backend in a program that never names pinnedpg, by whichever way it has."""

import os
import subprocess
import sys

import limits
import torch
from torch_release import RELEASE, needs

ASKS_ENTRY_POINTS = RELEASE >= (2, 14)  # of torch.distributed.backends, when a name is first used
CALLS_HOOKS = not ASKS_ENTRY_POINTS  # those of torch.backends do nothing from then on

IMPORT = """
import sys
import torch
import torch.distributed as dist
loaded = [name for name in sys.modules if name.split(".")[0] in ("pinnedpg", "_pinnedpg_autoload")]
"""
USE = """
dist.init_process_group("pinned", store=dist.HashStore(), rank=0, world_size=1)
tensor = torch.ones(3)
dist.all_reduce(tensor)
assert tensor.eq(1).all()
assert "pinnedpg._C" in sys.modules
dist.destroy_process_group()
"""


def run(code: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=limits.patient(60),  # a start of torch
    )


def test_a_program_that_does_not_name_us():
    done = run(IMPORT + USE)
    assert done.returncode == 0, done.stderr


def test_importing_torch_loads_no_extension():
    done = run(IMPORT + "print(loaded, dist.is_backend_available('pinned'))")
    assert done.returncode == 0, done.stderr
    names, available = done.stdout.strip().rsplit(maxsplit=1)
    assert names == "['_pinnedpg_autoload']"
    assert available == "True"


def test_which_way_torch_has():
    """Up to 2.13 the hook registers; from 2.14 on nothing does before the name is used."""
    done = run(IMPORT + "print('PINNED' in dist.Backend._plugins)")
    assert done.stdout.strip() == str(CALLS_HOOKS), done.stderr
    assert hasattr(torch.distributed.Backend, "_ensure_backend_registered") == ASKS_ENTRY_POINTS


def test_hook_switched_off():
    """The environment variable is for the hooks alone: entry points are asked all the same."""
    done = run(IMPORT + USE, TORCH_DEVICE_BACKEND_AUTOLOAD="0")
    assert (done.returncode == 0) == ASKS_ENTRY_POINTS, done.stderr
    done = run(IMPORT + "import pinnedpg" + USE, TORCH_DEVICE_BACKEND_AUTOLOAD="0")
    assert done.returncode == 0, done.stderr


def test_import_after_use():
    """What torch has found first is what `import pinnedpg` finds registered."""
    done = run(IMPORT + USE + "import pinnedpg\npinnedpg.register()" + USE)
    assert done.returncode == 0, done.stderr


@needs(2, 14)
def test_entry_point_registers():
    done = run(
        IMPORT + "dist.Backend._ensure_backend_registered('pinned')\n"
        "from pinnedpg import _register\n"
        "assert dist.Backend._plugins['PINNED'].creator_fn is _register.create"
    )
    assert done.returncode == 0, done.stderr
