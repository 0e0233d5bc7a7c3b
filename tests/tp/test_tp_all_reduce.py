# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""What tp_all_reduce sums."""

import time

import pytest
import torch
from tp_model import summed
from tp_rig import ALL_DTYPES, Rig, by_caller_and_by_threads, even, same

from pinnedpg import tp

SUMMED = [dtype for dtype in ALL_DTYPES if dtype != torch.bool and not dtype.is_complex]


@by_caller_and_by_threads
@pytest.mark.parametrize("dtype", SUMMED, ids=str)
def test_all_reduce(dtype, multithreaded):
    with Rig(even([0, 1, 4]), multithreaded=multithreaded) as rig:
        tensors = [torch.randint(0, 3, (5, 33)).to(dtype) for _ in range(3)]
        residuals = [torch.randint(0, 3, (5, 33)).to(dtype) for _ in range(3)]
        kept = [tensor.clone() for tensor in tensors]
        expected = summed(residuals[0], tensors)
        tp.tp_all_reduce(rig.handle, 0, tensors, residuals)
        rig.sync()
        assert all(same(residual, expected) for residual in residuals)
        assert all(same(tensor, old) for tensor, old in zip(tensors, kept, strict=True))


def test_all_reduce_of_bool_is_or_and_of_complex_is_the_sum():
    with Rig(even([0, 1])) as rig:
        flags = [torch.tensor(bits).bool() for bits in ([0, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 1])]
        residuals = [flags[0], torch.ones(4, dtype=torch.bool)]
        tp.tp_all_reduce(rig.handle, 0, flags[1:], residuals)
        rig.sync()
        assert all(residual.tolist() == [False, True, True, True] for residual in residuals)
        for dtype in (torch.complex64, torch.complex128):
            tensors = [torch.full((5,), value, dtype=dtype) for value in (1 + 2j, 3 - 5j)]
            residuals = [torch.full((5,), 0.5j, dtype=dtype) for _ in range(2)]
            tp.tp_all_reduce(rig.handle, 0, tensors, residuals)
            rig.sync()
            expected = torch.full((5,), 4 - 2.5j, dtype=dtype)
            assert all(same(residual, expected) for residual in residuals)


@pytest.mark.parametrize("dtype", [torch.half, torch.bfloat16], ids=str)
def test_all_reduce_is_bit_equal_and_no_worse_than_a_chain(dtype):
    size = 300_001  # many chunks
    with Rig(even([0, 1, 2]), buffer_bytes=(size * 2,)) as rig:
        tensors = [torch.randn(size).to(dtype) for _ in range(3)]
        residuals = [torch.randn(size).to(dtype) for _ in range(3)]
        residual = residuals[0].clone()
        exact = residuals[0].double() + sum(tensor.double() for tensor in tensors)
        single = residuals[0].float()
        chain = residuals[0].clone()
        for tensor in tensors:
            single = single + tensor.float()
            chain = chain + tensor
        tp.tp_all_reduce(rig.handle, 0, tensors, residuals)
        rig.sync()
        assert all(same(residual, residuals[0]) for residual in residuals)
        assert same(residuals[0], single.to(dtype))
        ours = (residuals[0].double() - exact).abs()
        chained = (chain.double() - exact).abs()
        sizes = sum(tensor.double().abs() for tensor in (residual, *tensors))
        assert (ours <= (exact.to(dtype).double() - exact).abs() + 1e-6 * sizes).all()
        assert ours.max() <= chained.max() and ours.mean() < chained.mean()


@pytest.mark.parametrize("shift", [0, 1, 2])
def test_all_reduce_in_place_and_twice_the_same(shift):
    # residuals[i] is tensors[i + shift]: read by other devices than it is written by.
    count = 200_000
    with Rig(even([0, 1, 2]), buffer_bytes=(1 << 20,)) as rig:
        tensors = [torch.randint(0, 9, (count,)).float() for _ in range(3)]
        residuals = tensors[shift:] + tensors[:shift]
        expected = summed(residuals[0], tensors)
        tp.tp_all_reduce(rig.handle, 0, tensors, residuals)
        rig.sync()
        assert all(same(residual, expected) for residual in residuals)
        one, two = torch.ones(count), torch.ones(count)
        tp.tp_all_reduce(rig.handle, 0, [one, one, one], [two, two, two])
        rig.sync()
        assert same(one, torch.ones(count)) and same(two, torch.full((count,), 4.0))


def test_all_reduce_with_two_entries_on_a_device():
    split = [(1, 0, 1), (0, 1, 2), (1, 2, 3), (1, 3, 3)]
    with Rig(split, buffer_bytes=(1 << 20,), more_devices=[5]) as rig:
        tensors = [torch.randint(0, 9, (100_000,)).float() for _ in range(4)]
        residuals = [torch.randint(0, 9, (100_000,)).float() for _ in range(4)]
        expected = summed(residuals[0], tensors)
        tp.tp_all_reduce(rig.handle, 0, tensors, residuals)
        rig.sync()
        assert all(same(residual, expected) for residual in residuals)


def test_all_reduce_of_fewer_tensors_than_devices_and_twice_in_a_row():
    with Rig(even([0, 1, 2])) as rig:
        residuals = [torch.ones(1000) for _ in range(2)]
        for _ in range(5):
            rig.delay(1, 0.002)
            tp.tp_all_reduce(rig.handle, 0, [torch.ones(1000), torch.ones(1000)], residuals)
        rig.sync()
        assert all(same(residual, torch.full((1000,), 11.0)) for residual in residuals)


def test_all_reduce_orders_every_stream():
    with Rig(even([0, 1, 2])) as rig:
        residuals = [torch.zeros(1000) for _ in range(2)]
        tensors = [torch.zeros(1000) for _ in range(2)]
        copy = torch.zeros(1000)
        # Made and read by a device that no guess would find.
        rig.streams[2].submit(lambda: (time.sleep(0.05), tensors[0].fill_(3)))
        tp.tp_all_reduce(rig.handle, 0, tensors, residuals)
        rig.streams[2].submit(lambda: copy.copy_(residuals[1]))
        rig.sync()
        assert same(copy, torch.full((1000,), 3.0))
