# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""A rank that stays away until others have seen what they should: no longer, however slow they are.

It looks into the Store that the ranks have met in, without a wait that would hold the Store up.
"""

import time
from typing import Any

import torch.distributed as dist


def store() -> dist.Store:
    """Returns the Store of the default group, to be kept where a rank leaves the group."""
    return dist.distributed_c10d._get_default_store()


def tell(result: Any = None) -> Any:
    """Lets those that stay away for this rank come back, and returns what it has found."""
    store().set(f"away/{dist.get_rank()}", "")
    return result


def until_told(ranks: list[int], most_s: float, where: dist.Store | None = None) -> None:
    """Stays away until all of these have told, or as long as that."""
    where, end = where or store(), time.monotonic() + most_s
    while not where.check([f"away/{rank}" for rank in ranks]) and time.monotonic() < end:
        time.sleep(0.02)
