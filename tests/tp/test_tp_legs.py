# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Calls whose legs are issued one by one, and the stages of the cross-device barrier."""

import time

import limits
import pytest
import torch
from tp_rig import (
    ID,
    KV,
    ON_FAKE_GPU,
    SECONDS,
    Q,
    Rig,
    by_caller_and_by_threads,
    even,
    on_threads,
    same,
)

from pinnedpg import tp


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


@by_caller_and_by_threads
def test_a_leg_that_never_comes_is_named(multithreaded):
    with Rig(even([0, 3]), timeout=0.3, multithreaded=multithreaded) as rig:
        rig.gather(rig.inputs(), target=-1, t_device=0)
        begin = time.monotonic()
        with pytest.raises(
            RuntimeError, match=r"tp_gather: device 0 waited 0\.\d s .* for device 3"
        ):
            rig.sync()
        limits.in_time(time.monotonic() - begin, 5, "a time-out of 0.3 s")
        with pytest.raises(RuntimeError, match="tp_broadcast: the context has failed: tp_gather"):
            rig.broadcast(torch.ones(4))
        if not ON_FAKE_GPU:  # whose streams keep no errors
            with pytest.raises(RuntimeError, match="for device 3"):
                rig.streams[0].synchronize(SECONDS)
        rig.streams[0].synchronize(SECONDS)  # raised once


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
