# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Tensors that are not contiguous are staged in copies, made when it is the call's turn."""

import time

import pytest
import ranks
import torch
import torch.distributed as dist


def in_inference_mode():
    """Calls that stage a copy, queued: the worker copies what only inference mode may write."""
    rank = dist.get_rank()
    with torch.inference_mode():
        exchanged = torch.arange(4.0) + 10 * rank
        dist.all_to_all_single(exchanged, exchanged, async_op=True).wait()
        strided = torch.full((4, 6), 10.0).t() if rank == 0 else torch.full((6, 4), 10.0)
        dist.all_reduce(strided, async_op=True).wait()
        after = torch.ones(6, 4)
        dist.all_reduce(after)
    return exchanged.tolist(), strided.unique().tolist(), after.unique().tolist()


@pytest.mark.parametrize("launcher", ["processes", "threads"])
def test_inference_mode(launcher):
    first, second = ranks.run(in_inference_mode, 2, launcher=launcher)
    assert first == ([0.0, 1.0, 10.0, 11.0], [20.0], [2.0])
    assert second == ([2.0, 3.0, 12.0, 13.0], [20.0], [2.0])


def copy_that_fails():
    """Rank 0's tensor has no memory any more when it is the call's turn."""
    strided = torch.ones(64, 64).t()
    if dist.get_rank() == 1:
        time.sleep(0.3)  # until then the first call holds the second
    works = [dist.all_reduce(tensor, async_op=True) for tensor in (torch.ones(3), strided)]
    if dist.get_rank() == 0:
        strided.untyped_storage().resize_(0)
    works[0].wait()
    texts = []
    for call in (works[1].wait, lambda: dist.all_reduce(torch.ones(64, 64))):
        try:
            call()
            texts.append("done")
        except RuntimeError as error:
            texts.append(str(error))
    return texts


def test_a_copy_that_fails_fails_the_group():
    """Else rank 0's next call would meet the one that it has not made."""
    first, second = ranks.run(copy_that_fails, 2)
    assert "all_reduce: rank 0 failed" in first[1], first
    assert all("all_reduce: rank 0 failed" in text for text in second), second
