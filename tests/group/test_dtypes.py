# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""The table in docs/dtypes.md says what the backend does."""

import dtype_table
import ranks
import torch
import torch.distributed as dist


def all_cells():
    return [dtype_table.tried(*cell) for cell in dtype_table.CELLS]


def test_the_table_says_what_the_backend_does():
    documented = dtype_table.documented()
    assert list(documented) == dtype_table.CELLS
    for states in ranks.run(all_cells, 2):
        assert dict(zip(dtype_table.CELLS, states, strict=True)) == documented


OTHERS = ["complex32", "float8_e8m0fnu", "float4_e2m1fn_x2", "bits8", "bits16"]


def moved():
    """Broadcasts every other type, and tries to reduce it."""
    found, rank = [], dist.get_rank()
    for name in [name for name in OTHERS if hasattr(torch, name)]:
        dtype = getattr(torch, name)
        tensor = torch.full((8,), 1 + rank, dtype=torch.uint8).view(dtype)
        dist.broadcast(tensor, 1)
        found.append(tensor.view(torch.uint8).tolist() == [2] * 8)
        try:
            dist.reduce(tensor, 0)
        except ValueError as error:
            found.append(f"SUM must be defined for the type; got torch.{name}" in str(error))
    return found


def test_other_types_are_moved_and_not_reduced():
    count = 2 * sum(hasattr(torch, name) for name in OTHERS)
    assert ranks.run(moved, 2) == [[True] * count] * 2
