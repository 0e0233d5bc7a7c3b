# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""What no call can be faster than, in `pinnedpg.bench`."""

import pytest
import ranks
from worker import Setup

from pinnedpg.bench import roofline


@pytest.mark.parametrize(
    ("operation", "form", "least_us"),
    [
        ("all_reduce", "in-place", 100_000.0),  # reads it, and writes it
        ("broadcast", "in-place", 50_000.0),  # the root reads it, the others write it
        ("all_gather", "in-place", 50_000.0),  # reads a half, writes the other
        ("all_gather", "out-of-place", 75_000.0),
        ("reduce_scatter", "out-of-place", 75_000.0),
        ("all_to_all", "out-of-place", 100_000.0),
    ],
)
def test_roofline_compares_large_calls(operation, form, least_us):
    about = {"backend": "pinned", "dtype": "float", "time_us": 200_000.0, "form": form}
    rows = [{**about, "operation": operation, "bytes": nbytes} for nbytes in (1 << 20, 10**9)]
    (one,) = roofline.compare(rows, {"slowest_rank": 10.0}, 2)  # GB/s: a gigabyte in 100 ms
    assert (one["roofline_us"], one["share"]) == (least_us, least_us / 200_000.0)


def test_roofline_is_measured():
    found, _ = ranks.run(roofline.measure, 2, 1 << 20, setup=Setup(backend="gloo"))
    assert all(len(rates) == 2 and min(rates) > 0 for rates in found["together"].values())
    assert found["slowest_rank"] >= max(map(min, found["together"].values()))
    assert min(found["alone"].values()) > 0
