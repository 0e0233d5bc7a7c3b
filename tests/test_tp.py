# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""What each call of pinnedpg.tp does, and in which order. Random calls are in test_tp_random.py."""

import gc
import inspect
import subprocess
import sys
import threading
import time
import weakref

import pytest
import torch
from tp_model import summed
from tp_rig import ID, KV, RS, SECONDS, VC, Q, Rig, even, on_threads, same

from pinnedpg import tp

ALL_DTYPES = [
    getattr(torch, name)
    for name in (
        "uint8 int8 int16 int32 int64 uint16 uint32 uint64 bool float16 bfloat16 float32 float64 "
        "complex64 complex128 float8_e4m3fn float8_e5m2 float8_e4m3fnuz float8_e5m2fnuz"
    ).split()
]
SUMMED = [dtype for dtype in ALL_DTYPES if dtype != torch.bool and not dtype.is_complex]


@pytest.fixture(params=[False, True], ids=["caller", "threads"])
def multithreaded(request):
    return request.param


def random_bytes(dtype, *shape):
    if dtype == torch.bool:
        return torch.randint(0, 2, shape, dtype=torch.bool)
    size = torch.empty(0, dtype=dtype).element_size()
    return torch.randint(0, 256, (*shape[:-1], shape[-1] * size), dtype=torch.uint8).view(dtype)


# Broadcast


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


# Gather


@pytest.mark.parametrize("dtype", ALL_DTYPES, ids=str)
def test_gather_moves_any_dtype(dtype, multithreaded):
    split = [(0, 0, 3), (2, 3, 4), (1, 4, 4), (2, 4, 9)]  # uneven, without a share, twice, unsorted
    with Rig(split, multithreaded=multithreaded) as rig:
        inputs = [random_bytes(dtype, 5, max(end - begin, 1) * 2) for _, begin, end in split]
        inputs[2] = inputs[2][:, :0]
        outputs = rig.gather(inputs, dim=2)
        rig.sync()
        expected = torch.empty(5, 18, dtype=dtype)
        for (_, begin, end), part in zip(split, inputs, strict=True):
            expected[:, begin * 2 : end * 2] = part
        assert all(same(output, expected) for output in outputs)
        assert same(rig.view(0, expected), expected)


@pytest.mark.parametrize("target", [-1, -2])
def test_gather_without_targets_leaves_the_matrix_in_the_buffer(target, multithreaded):
    with Rig(even([0, 1, 2]), multithreaded=multithreaded) as rig:
        inputs = rig.inputs()
        rig.gather(inputs, target=target, buffer=1, outputs=[])
        rig.sync(1)
        expected = torch.cat(inputs, 1)
        assert same(rig.view(1, expected), expected)


def test_gather_waits_for_peers_with_minus_1_but_not_with_minus_2():
    with Rig(even([0, 1])) as rig:
        for target, waits in ((-2, False), (-1, True)):
            gate = threading.Event()
            rig.streams[1].submit(lambda gate=gate: gate.wait(SECONDS))
            rig.gather(rig.inputs(), target=target)
            time.sleep(0.05)
            assert rig.streams[0].query() is not waits
            gate.set()
            rig.sync()


def test_gather_reads_rows_apart_and_writes_rows_apart():
    with Rig(even([0, 1])) as rig:
        wide = [torch.randn(6, 10) for _ in range(2)]
        inputs = [x[:, 3:7] for x in wide]
        outputs = [torch.zeros(6, 20) for _ in range(2)]
        rig.gather(inputs, outputs=[output[:, 1:9] for output in outputs])
        rig.sync()
        for output in outputs:
            assert same(output[:, 1:9], torch.cat(inputs, 1)) and output[:, 9:].abs().sum() == 0


def test_gather_takes_other_numbers_of_dimensions_and_an_expanded_input():
    with Rig(even([0, 1])) as rig:
        inputs = [torch.randn(2, 3, 4), torch.randn(1, 4).expand(6, 4)]
        outputs = rig.gather(inputs, outputs=[torch.zeros(6, 8), torch.zeros(2, 3, 8)])
        one = rig.gather(
            [torch.arange(4.0), torch.arange(4.0)], buffer=1, outputs=[torch.zeros(8)] * 2
        )
        rig.sync()
        expected = torch.cat([inputs[0].view(6, 4), inputs[1]], 1)
        assert same(outputs[0], expected) and same(outputs[1].view(6, 8), expected)
        assert same(one[0], torch.arange(4.0).repeat(2))


def test_gather_of_another_split_than_its_targets():
    with Rig(even([0, 1]), splits={Q: [(2, 0, 5), (3, 5, 6)], VC: even([1, 3])}) as rig:
        inputs = rig.inputs(type=Q)
        outputs = rig.gather(inputs, Q, VC)
        rig.sync()
        assert len(outputs) == 2 and all(same(o, torch.cat(inputs, 1)) for o in outputs)


def test_gather_of_an_input_that_lies_in_its_band():
    with Rig(even([0, 1])) as rig:
        band = rig.view(0, torch.empty(3, 8))[:, :4]
        band.copy_(torch.randn(3, 4))
        expected = torch.cat([band, torch.ones(3, 4)], 1)
        outputs = rig.gather([band, torch.ones(3, 4)])
        rig.sync()
        assert all(same(output, expected) for output in outputs)


def test_gather_of_no_rows():
    with Rig(even([0, 1])) as rig:
        rig.gather(rig.inputs(rows=0))
        rig.sync()


# All-reduce


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


@pytest.mark.parametrize("dtype", [torch.half, torch.bfloat16], ids=str)
def test_all_reduce_is_bit_equal_and_no_worse_than_a_chain(dtype):
    size = 300_001  # many chunks
    with Rig(even([0, 1, 2]), buffer_bytes=(size * 2,)) as rig:
        tensors = [torch.randn(size).to(dtype) for _ in range(3)]
        residuals = [torch.randn(size).to(dtype) for _ in range(3)]
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
        assert (ours <= (exact.to(dtype).double() - exact).abs() + 1e-6 * exact.abs()).all()
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


# Order


def test_d1_a_source_made_by_late_work_arrives_whole():
    with Rig(even([0, 1, 2])) as rig:
        for source_is_target in (True, False):
            source = torch.zeros(64)
            targets = [torch.zeros(64) for _ in range(3)]
            if source_is_target:
                targets[1] = source
            rig.streams[1].submit(lambda s=source: (time.sleep(0.05), s.fill_(7)))
            rig.broadcast(source, targets=targets)
            rig.sync()
            assert all(same(target, torch.full((64,), 7.0)) for target in targets)


def test_d2_two_all_gathers_in_a_row_with_a_late_reader():
    with Rig(even([0, 1]), splits={Q: even([0, 1, 2])}) as rig:
        for late in (0, 1, 2):
            outputs = []
            for value in range(6):
                rig.delay(late, 0.005)
                outputs.append(rig.gather(rig.inputs(value=value), KV, Q))
            rig.sync()
            for value, group in enumerate(outputs):
                assert all((output == value).all() for output in group), (late, value)


def test_d2_a_reader_of_another_set_of_devices_is_waited_for():
    # Devices 2 and 3 read in place what 0 and 1 then overwrite; only the buffer connects them.
    with Rig(even([0, 1]), splits={RS: even([2, 3])}) as rig:
        one, two = rig.inputs(value=1), rig.inputs(value=2)
        matrix = rig.view(0, torch.empty(3, 8, dtype=torch.half))
        targets = [torch.zeros(3, 8, dtype=torch.half) for _ in range(2)]
        for device in (0, 1):
            rig.gather(one, target=-1, t_device=device)
        rig.delay(3, 0.1)
        for device in (3, 2):
            rig.broadcast(matrix, RS, targets=targets, t_device=device)
        for device in (1, 0):
            rig.gather(two, target=-1, t_device=device)
        rig.sync()
        assert all((target == 1).all() for target in targets) and (matrix == 2).all()


def test_d3_the_host_waits_for_a_buffer():
    with Rig(even([0, 1])) as rig:
        rig.delay(1)
        rig.gather(rig.inputs(value=1), target=-1, buffer=0)
        rig.sync(0)
        assert (rig.view(0, torch.empty(3, 8, dtype=torch.half)) == 1).all()
        gate = threading.Event()
        rig.streams[0].submit(lambda: gate.wait(SECONDS))
        rig.sync(1)  # nothing has used it
        rig.sync(0)  # nothing uses it any more
        gate.set()


def test_d4_inputs_made_on_the_devices_streams():
    with Rig(even([0, 1])) as rig:
        inputs = rig.inputs(value=0)
        for i, device in enumerate(rig.devices):
            rig.streams[device].submit(lambda x=inputs[i]: (time.sleep(0.03), x.fill_(5)))
        outputs = rig.gather(inputs)
        copies = [torch.zeros_like(output) for output in outputs]
        for i, device in enumerate(rig.devices):
            rig.streams[device].submit(lambda i=i: copies[i].copy_(outputs[i]))
        rig.sync()
        assert all((copy == 5).all() for copy in copies)


def test_d5_tensors_live_until_the_call_is_done():
    with Rig(even([0, 1])) as rig:
        rig.delay(0)
        source = torch.full((64,), 3.0)
        targets = [torch.zeros(64) for _ in range(2)]
        memory = weakref.ref(source.untyped_storage())
        rig.broadcast(source, targets=targets)
        del source
        gc.collect()
        junk = [torch.full((64,), 9.0) for _ in range(50)]
        rig.sync()
        assert all((target == 3).all() for target in targets) and len(junk) == 50
        del memory
        alive = weakref.ref(targets[0])
        del targets
        gc.collect()
        assert alive() is None


def test_barrier_holds_every_stream():
    with Rig(even([0, 1, 2])) as rig:
        order = []
        rig.streams[1].submit(lambda: (time.sleep(0.05), order.append("work")))
        tp.tp_cross_device_barrier(rig.handle, KV)
        for device in rig.devices:
            rig.streams[device].submit(lambda: order.append("after"))
        rig.sync()
        assert order == ["work", "after", "after", "after"]


def test_broadcast_ends_with_the_barrier():
    with Rig(even([0, 1]), splits={RS: even([1])}) as rig:
        # Device 0 has no share, but its stream waits for what device 1 gets.
        target, copy = torch.zeros(64), torch.zeros(64)
        rig.delay(1)
        rig.broadcast(torch.ones(64), RS, targets=[target])
        rig.streams[0].submit(lambda: copy.copy_(target))
        rig.sync()
        assert (copy == 1).all()


def test_a_call_does_not_block_the_host():
    with Rig(even([0, 1])) as rig:
        gate = threading.Event()
        rig.streams[0].submit(lambda: gate.wait(SECONDS))
        begin = time.monotonic()
        targets = rig.broadcast(torch.ones(8))
        rig.gather(rig.inputs())
        tp.tp_all_reduce(rig.handle, 0, [torch.ones(8)], [torch.ones(8)])
        assert time.monotonic() - begin < 1 and not rig.streams[1].query()
        with pytest.raises(RuntimeError, match="device 0 must be done within the time-out"):
            tp.tp_synchronize(rig.handle, timeout=0.05)
        gate.set()
        rig.sync()
        assert (targets[1] == 1).all()


# Legs


def test_legs_from_one_thread_in_any_order():
    with Rig(even([0, 1, 2])) as rig:
        inputs = rig.inputs()
        outputs = [torch.zeros(3, 12, dtype=torch.half) for _ in range(3)]
        source, targets = torch.randn(8), [torch.zeros(8) for _ in range(3)]
        for device in (2, 0, 1):
            rig.gather(inputs, outputs=outputs, t_device=device)
            rig.broadcast(source, targets=targets, buffer=1, t_device=device)
            tp.tp_cross_device_barrier(rig.handle, KV, device)
        rig.sync()
        assert all(same(output, torch.cat(inputs, 1)) for output in outputs)
        assert all(same(target, source) for target in targets)


def test_a_thread_per_device():
    rounds, devices = 100, [0, 1, 2]
    with Rig(even(devices), buffer_bytes=(4096, 4096)) as rig:
        inputs = [rig.inputs(value=i % 9) for i in range(rounds)]
        sources = [torch.full((16,), float(i)) for i in range(rounds)]
        outputs = [[torch.zeros(3, 12, dtype=torch.half) for _ in devices] for _ in range(rounds)]
        targets = [[torch.zeros(16) for _ in devices] for _ in range(rounds)]
        barrier = tp.Barrier(len(devices))

        def drive(device):
            for i in range(rounds):
                tp.tp_gather_barrier(
                    rig.handle, i % 2, inputs[i], KV, outputs[i], KV, 1, device, barrier
                )
                rig.broadcast(sources[i], targets=targets[i], t_device=device)
                tp.tp_cross_device_barrier(rig.handle, KV, device)

        on_threads(*(lambda d=device: drive(d) for device in devices))
        rig.sync()
        for i in range(rounds):
            assert all(same(output, torch.cat(inputs[i], 1)) for output in outputs[i])
            assert all(same(target, sources[i]) for target in targets[i])


def test_legs_of_a_gather_are_the_devices_of_both_splits():
    with Rig(even([0, 1]), splits={Q: even([3, 1])}) as rig:
        inputs = rig.inputs()
        outputs = [torch.zeros(3, 8, dtype=torch.half) for _ in range(2)]
        for device in (3, 1, 0):
            rig.gather(inputs, KV, Q, outputs=outputs, t_device=device)
        rig.sync()
        assert all(same(output, torch.cat(inputs, 1)) for output in outputs)


def test_legs_that_disagree_raise_and_can_be_mended():
    with Rig(even([0, 1])) as rig:
        source, targets = torch.randn(8), [torch.zeros(8) for _ in range(2)]
        rig.broadcast(source, targets=targets, t_device=0)
        wrong = [
            lambda: rig.gather(rig.inputs(), t_device=1),
            lambda: rig.broadcast(source, targets=targets, buffer=1, t_device=1),
            lambda: rig.broadcast(source, ID, targets=targets, t_device=1),
            lambda: rig.broadcast(source[:4], targets=[t[:4] for t in targets], t_device=1),
            lambda: rig.broadcast(source, targets=[targets[0], source], t_device=1),
            lambda: tp.tp_cross_device_barrier(rig.handle, KV, 1),
        ]
        for call in wrong:
            with pytest.raises(
                ValueError, match="device 1's leg must be of the call that device 0"
            ):
                call()
        with pytest.raises(
            ValueError, match="must be issued before a call for all devices; got none for device 1"
        ):
            rig.broadcast(source)
        rig.broadcast(source, targets=targets, t_device=1)
        rig.sync()
        assert all(same(target, source) for target in targets)


def test_a_leg_that_never_comes_is_named(multithreaded):
    with Rig(even([0, 3]), timeout=0.3, multithreaded=multithreaded) as rig:
        rig.gather(rig.inputs(), target=-1, t_device=0)
        begin = time.monotonic()
        with pytest.raises(
            RuntimeError, match=r"tp_gather: device 0 waited 0\.\d s .* for device 3"
        ):
            rig.sync()
        assert time.monotonic() - begin < 5
        with pytest.raises(RuntimeError, match="tp_broadcast: the context has failed: tp_gather"):
            rig.broadcast(torch.ones(4))
        with pytest.raises(RuntimeError, match="for device 3"):
            rig.streams[0].synchronize(SECONDS)
        rig.streams[0].synchronize(SECONDS)  # raised once


# Stages


def test_stages_must_agree():
    with Rig(even([0, 1])) as rig:
        tp.tp_cross_device_barrier(rig.handle, KV, 0)  # stage 0, then 1
        with pytest.raises(ValueError, match="stage 0, then 1.*got .*stage 2, then 0"):
            tp.tp_cross_device_barrier(rig.handle, KV, 1, 2)
        tp.tp_cross_device_barrier(rig.handle, KV, 1, 0, 1)
        tp.tp_cross_device_barrier(rig.handle, KV, 1, 1, 0)
        with pytest.raises(ValueError, match="stage 1, then 0"):
            tp.tp_cross_device_barrier(rig.handle, KV, 0)  # would go on with 2
        tp.tp_cross_device_barrier(rig.handle, KV, 0, -1, 0)
        tp.tp_cross_device_barrier(rig.handle, KV, 0, 0)
        tp.tp_cross_device_barrier(rig.handle, KV, 1)
        tp.tp_cross_device_barrier(rig.handle, KV, stage=2, next_stage=2)
        rig.sync()


# Host barrier


def test_gather_barrier_meets_between(multithreaded):
    # With threads of the context's own each device's meets; else the caller, once.
    with Rig(even([0, 1]), multithreaded=multithreaded) as rig:
        barrier = tp.Barrier(3 if multithreaded else 2)
        seen = []

        def other():
            time.sleep(0.05)
            seen.append([stream.query() for stream in rig.streams.values()])
            barrier.arrive_and_wait(SECONDS)

        inputs = rig.inputs()
        outputs = [torch.zeros(3, 8, dtype=torch.half) for _ in range(2)]
        on_threads(
            other,
            lambda: tp.tp_gather_barrier(rig.handle, 0, inputs, KV, outputs, KV, 1, -1, barrier),
        )
        rig.sync()
        assert seen == [[True, True]]  # the copies were done, the rest not yet queued
        assert all(same(output, torch.cat(inputs, 1)) for output in outputs)


def test_gather_barrier_that_is_not_met_raises_but_goes_on(multithreaded):
    with Rig(even([0, 1]), timeout=0.2, multithreaded=multithreaded) as rig:
        inputs = rig.inputs()
        outputs = [torch.zeros(3, 8, dtype=torch.half) for _ in range(2)]
        with pytest.raises(RuntimeError, match="Barrier: "):
            tp.tp_gather_barrier(rig.handle, 0, inputs, KV, outputs, KV, 1, -1, tp.Barrier(5))
        rig.sync()
        assert all(same(output, torch.cat(inputs, 1)) for output in outputs)
        targets = rig.broadcast(inputs[0])
        rig.sync()
        assert all(same(target, inputs[0]) for target in targets)


def test_gather_barrier_without_a_barrier_or_with_minus_2():
    with Rig(even([0, 1])) as rig:
        inputs = rig.inputs()
        tp.tp_gather_barrier(rig.handle, 0, inputs, KV, [], -1, 1, -1, None)
        tp.tp_gather_barrier(rig.handle, 0, inputs, KV, [], -2, 1, -1, tp.Barrier(7))
        rig.sync()


def test_barrier_meets_breaks_and_begins_anew():
    barrier = tp.Barrier(2)
    for _ in range(20):
        on_threads(*[lambda: barrier.arrive_and_wait(SECONDS)] * 2)
    with pytest.raises(RuntimeError, match="all 2 threads must come; got 1"):
        barrier.arrive_and_wait(0.05)
    with pytest.raises(RuntimeError, match="broken"):
        barrier.arrive_and_wait(0.05)
    barrier.reset(1)
    barrier.arrive_and_wait()
    barrier.reset(2)

    def late():
        time.sleep(0.05)
        barrier.reset(3)

    with pytest.raises(RuntimeError, match="broken"):
        on_threads(lambda: barrier.arrive_and_wait(SECONDS), late)
    with pytest.raises(ValueError, match="num_threads must be at least 1; got 0"):
        tp.Barrier(0)


# Streams


def test_stream_handles():
    one, two = tp.HostStream(0), tp.HostStream(0)
    handles = {int(one), int(two), one.cuda_stream, two.__index__()}
    assert len(handles) == 2 and 0 not in handles and one.device == 0
    assert repr(tp.HostStream(3)) == "HostStream(device=3)"
    old = int(one)
    del one
    gc.collect()
    split = even([0])
    with pytest.raises(ValueError, match=r"streams\[0\] must be 0 or a HostStream that is alive"):
        tp.make_tp_context(split, split, split, split, split, [], [old])
    with pytest.raises(ValueError, match="device must be 0 or more; got -1"):
        tp.HostStream(-1)


def test_stream_runs_in_order_on_another_thread_and_keeps_the_first_error():
    stream, seen = tp.HostStream(0), []

    def fail(text):
        seen.append(threading.current_thread() is threading.main_thread())
        raise KeyError(text)

    stream.submit(lambda: fail("first"))
    stream.submit(lambda: fail("second"))
    stream.submit(lambda: seen.append("third"))
    with pytest.raises(KeyError, match="first") as caught:
        stream.synchronize(SECONDS)
    assert caught.traceback[-1].name == "fail"
    assert seen == [False, False, "third"] and stream.query()
    stream.synchronize()
    with pytest.raises(ValueError, match="must be callable; got 3"):
        stream.submit(3)
    stream.submit(lambda: time.sleep(0.2))
    with pytest.raises(RuntimeError, match="device 0 must be done within the time-out"):
        stream.synchronize(0.01)
    assert not stream.query()
    stream.synchronize(SECONDS)


def test_the_worker_is_not_blocked_by_a_function():
    one, two, gate = tp.HostStream(0), tp.HostStream(1), threading.Event()
    one.submit(lambda: gate.wait(SECONDS))
    two.submit(gate.set)
    one.synchronize(SECONDS)


def test_context_keeps_streams_and_buffers_alive():
    split = even([0, 1])
    handle = tp.make_tp_context(
        split, split, split, split, split, [torch.zeros(1024)], [tp.HostStream(0), tp.HostStream(1)]
    )
    gc.collect()
    targets = [torch.zeros(8) for _ in range(2)]
    tp.tp_broadcast(handle, 0, torch.ones(8), KV, targets, 1)
    tp.tp_synchronize(handle, timeout=SECONDS)
    assert all((target == 1).all() for target in targets)
    tp.free_tp_context(handle)


def test_two_contexts_share_streams_from_two_threads():
    streams, split = [tp.HostStream(d) for d in range(2)], even([0, 1])
    handles = [
        tp.make_tp_context(*[split] * 5, [torch.zeros(64)], streams, timeout=SECONDS)
        for _ in range(2)
    ]
    targets = [[torch.zeros(8) for _ in range(2)] for _ in handles]

    def drive(i):
        for value in range(300):
            tp.tp_broadcast(handles[i], 0, torch.full((8,), float(value)), KV, targets[i], 1)

    on_threads(lambda: drive(0), lambda: drive(1))
    for handle in handles:
        tp.tp_synchronize(handle, timeout=SECONDS)
        tp.free_tp_context(handle)
    assert all((target == 299).all() for group in targets for target in group)


# Contexts


def test_free_waits_for_the_work_in_flight_and_may_be_called_twice():
    rig = Rig(even([0, 1]))
    rig.delay(1)
    targets = rig.broadcast(torch.ones(8))
    tp.free_tp_context(rig.handle)
    assert all((target == 1).all() for target in targets)
    tp.free_tp_context(rig.handle)
    with pytest.raises(ValueError, match="tp_broadcast: tp_context must be .* which was freed"):
        rig.broadcast(torch.ones(8))


def test_free_gives_up_calls_that_lack_a_leg():
    rig = Rig(even([0, 1]), timeout=60)
    rig.gather(rig.inputs(), target=-1, t_device=0)
    begin = time.monotonic()
    tp.free_tp_context(rig.handle)
    assert time.monotonic() - begin < 5
    rig.streams[0].synchronize(SECONDS)  # its error went with the context


@pytest.mark.parametrize("handle", [0, 1, -3, 12345, 2**63, 2**70, "x", None, 1.5])
def test_unknown_handles_raise(handle):
    calls = [
        lambda: tp.free_tp_context(handle),
        lambda: tp.tp_broadcast(handle, 0, torch.ones(1), KV, [], 1),
        lambda: tp.tp_gather(handle, 0, [], KV, [], -1, 1),
        lambda: tp.tp_all_reduce(handle, 0, [], []),
        lambda: tp.tp_cross_device_barrier(handle, KV),
        lambda: tp.tp_synchronize(handle),
        lambda: tp.tp_set_multithreaded(handle, True),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="tp_context must be a handle from make_tp_context"):
            call()


def test_a_stream_is_no_context_nor_the_reverse():
    with Rig(even([0])) as rig:
        with pytest.raises(ValueError, match="tp_context must be"):
            tp.tp_synchronize(rig.streams[0])
        with pytest.raises(ValueError, match=r"streams\[0\]"):
            tp.make_tp_context(*[even([0])] * 5, [], [rig.handle])


def test_threads_call_at_once():
    with Rig(even([0, 1]), buffer_bytes=(4096,) * 4) as rig:

        def drive(buffer):
            for value in range(100):
                targets = rig.broadcast(torch.full((8,), float(value)), buffer=buffer)
                outputs = rig.gather(rig.inputs(value=value % 9), buffer=buffer)
                rig.sync(buffer)
                assert all((target == value).all() for target in targets)
                assert all((output == value % 9).all() for output in outputs)

        on_threads(*(lambda b=buffer: drive(b) for buffer in range(4)))


def test_multithreaded_can_be_switched():
    with Rig(even([0, 1])) as rig:
        for multithreaded in (True, True, False, True):
            tp.tp_set_multithreaded(rig.handle, multithreaded)
            targets = rig.broadcast(torch.ones(8))
            rig.sync()
            assert all((target == 1).all() for target in targets)


def test_the_interpreter_ends_with_work_in_flight():
    script = """
import time, torch
from pinnedpg import tp
split = [(0, 0, 1), (1, 1, 2)]
streams = [tp.HostStream(0), tp.HostStream(1)]
ctx = tp.make_tp_context(*[split] * 5, [torch.zeros(64)], streams, multithreaded=True)
streams[0].submit(lambda: time.sleep(0.3))
streams[0].submit(lambda: print("never"))
targets = [torch.zeros(4), torch.zeros(4)]
tp.tp_broadcast(ctx, 0, torch.ones(4), 0, targets, 1)
tp.tp_gather(ctx, 0, [torch.ones(1), torch.ones(1)], 0, [], -1, 1, 0)
streams[1].submit(lambda: 1 / 0)
print("end")
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "end\n", "")


def test_signatures_are_the_contract():
    parameters = {
        "make_tp_context": "kv_split id_split vc_split rs_split q_split pinned_temp streams "
        "multithreaded timeout",
        "free_tp_context": "tp_context",
        "tp_broadcast": "tp_context buffer source broadcast_type targets dim t_device",
        "tp_gather": "tp_context buffer inputs broadcast_type targets broadcast_type_target dim "
        "t_device",
        "tp_gather_barrier": "tp_context buffer inputs broadcast_type targets "
        "broadcast_type_target dim t_device barrier",
        "tp_cross_device_barrier": "tp_context broadcast_type t_device stage next_stage",
        "tp_all_reduce": "tp_context buffer tensors residuals",
    }
    for name, expected in parameters.items():
        function = getattr(tp, name)
        assert list(inspect.signature(function).parameters) == expected.split()
        assert "Raises:" in function.__doc__ and "Source:" in function.__doc__
    constants = [tp.BROADCAST_KV, tp.BROADCAST_ID, tp.BROADCAST_VC, tp.BROADCAST_RS, tp.BROADCAST_Q]
    assert constants == [0, 1, 2, 3, 4]


def test_keyword_arguments():
    with Rig(even([0, 1])) as rig:
        c, x = rig.handle, rig.inputs()
        o = [torch.zeros(3, 8, dtype=torch.half) for _ in range(2)]
        tp.tp_broadcast(
            tp_context=c, buffer=0, source=o[0], broadcast_type=KV, targets=o, dim=1, t_device=-1
        )
        tp.tp_gather(
            tp_context=c, buffer=0, inputs=x, broadcast_type=KV, targets=o,
            broadcast_type_target=Q, dim=1, t_device=-1,
        )  # fmt: skip
        tp.tp_gather_barrier(
            tp_context=c, buffer=0, inputs=x, broadcast_type=KV, targets=o,
            broadcast_type_target=Q, dim=1, t_device=-1, barrier=tp.Barrier(num_threads=1),
        )  # fmt: skip
        tp.tp_cross_device_barrier(
            tp_context=c, broadcast_type=KV, t_device=-1, stage=-1, next_stage=-1
        )
        tp.tp_all_reduce(tp_context=c, buffer=0, tensors=x, residuals=[i.clone() for i in x])
        tp.tp_synchronize(tp_context=c, buffer=-1, timeout=SECONDS)
