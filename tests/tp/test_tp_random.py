# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Random calls of pinnedpg.tp against the contract in tp_model.py."""

import pytest
import slices
from tp_walk import Walk

CALLS = 100


@pytest.mark.parametrize("seed", range(100))
def test_random_calls(seed):
    Walk(seed).run(CALLS)


@pytest.mark.slow
@pytest.mark.parametrize("number", slices.spread(range(1000)))
def test_many_random_calls(number):
    Walk(1000 + slices.seed() + number).run(CALLS)
