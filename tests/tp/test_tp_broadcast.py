# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""What tp_broadcast moves, and where to."""

import pytest
import torch
from tp_rig import ALL_DTYPES, RS, Rig, by_caller_and_by_threads, even, random_bytes, same


@by_caller_and_by_threads
@pytest.mark.parametrize("dtype", ALL_DTYPES, ids=str)
def test_broadcast_moves_any_dtype(dtype, multithreaded):
    with Rig(even([0, 1, 3]), multithreaded=multithreaded) as rig:
        source = random_bytes(dtype, 5, 7)
        targets = rig.broadcast(source)
        rig.sync()
        assert all(same(target, source) for target in targets)
        assert same(rig.view(0, source), source)


def test_broadcast_reads_byte_0_of_the_buffer_in_place():
    with Rig(even([0, 1])) as rig:
        source = rig.view(1, torch.empty(4, 8, dtype=torch.half))
        source.copy_(torch.arange(32).view(4, 8))
        targets = rig.broadcast(source, buffer=1)
        rig.sync()
        assert all(same(target, source) for target in targets)


@pytest.mark.parametrize("offset", [1, 64, 4000, 5000])
def test_broadcast_of_what_lies_across_the_first_bytes(offset):
    with Rig(even([0, 1])) as rig:
        rig.buffers[0].random_()
        source = rig.buffers[0][offset : offset + 4096]
        expected = source.clone()
        targets = rig.broadcast(source)
        rig.sync()
        assert all(same(target, expected) for target in targets)
        assert same(rig.buffers[0][:4096], expected)


def test_broadcast_of_another_buffer_and_of_rows_apart():
    with Rig(even([0, 1])) as rig:
        rig.buffers[1].random_()
        source = rig.buffers[1][:4096].view(16, 256)[:, 8:40]
        wide = [torch.zeros(16, 64, dtype=torch.uint8) for _ in range(2)]
        rig.broadcast(source, targets=[target[:, 3:35] for target in wide])
        rig.sync()
        for target in wide:
            assert same(target[:, 3:35], source)
            assert target[:, :3].sum() == 0 and target[:, 35:].sum() == 0
        assert same(rig.view(0, source), source)


def test_broadcast_leaves_the_source_alone_where_it_is_a_target():
    with Rig(even([0, 1, 2])) as rig:
        source = torch.randn(4, 4)
        other = [torch.zeros(4, 4) for _ in range(2)]
        version = source._version
        rig.broadcast(source, targets=[other[0], source, other[1]])
        rig.sync()
        assert same(other[0], source) and same(other[1], source) and source._version == version


def test_broadcast_accepts_a_target_at_byte_0():
    with Rig(even([0, 1])) as rig:
        source = torch.randn(4, 4)
        targets = [rig.view(0, source), torch.zeros(4, 4)]
        rig.broadcast(source, targets=targets)
        rig.sync()
        assert all(same(target, source) for target in targets)


def test_broadcast_takes_its_own_split_and_any_number_of_dimensions():
    with Rig(even([0, 1]), splits={RS: even([1])}) as rig:
        source = torch.randn(2, 3, 4)
        (target,) = rig.broadcast(source, RS, targets=[torch.zeros(6, 4)])
        flat = rig.broadcast(torch.arange(5.0), buffer=1)
        rig.sync()
        assert same(target, source) and same(flat[1], torch.arange(5.0))
