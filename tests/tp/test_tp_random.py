# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Random calls of pinnedpg.tp against the contract in tp_model.py."""

import pytest
from tp_walk import Walk

CALLS = 100


@pytest.mark.parametrize("seed", range(100))
def test_random_calls(seed):
    Walk(seed).run(CALLS)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1000, 2000))
def test_many_random_calls(seed):
    Walk(seed).run(CALLS)
