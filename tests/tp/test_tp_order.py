# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""In which order calls, the work of streams and the host come."""

import gc
import threading
import time
import weakref

import limits
import pytest
import torch
from tp_rig import KV, RS, SECONDS, Q, Rig, even, same

from pinnedpg import tp


def test_a_source_made_by_late_work_arrives_whole():
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


def test_two_all_gathers_in_a_row_with_a_late_reader():
    with Rig(even([0, 1]), splits={Q: even([0, 1, 2])}) as rig:
        for late in (0, 1, 2):
            outputs = []
            for value in range(6):
                rig.delay(late, 0.005)
                outputs.append(rig.gather(rig.inputs(value=value), KV, Q))
            rig.sync()
            for value, group in enumerate(outputs):
                assert all((output == value).all() for output in group), (late, value)


def test_a_reader_of_another_set_of_devices_is_waited_for():
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


def test_the_host_waits_for_a_buffer():
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


def test_inputs_made_on_the_devices_streams():
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


def test_tensors_live_until_the_call_is_done():
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
        limits.in_time(time.monotonic() - begin, 1, "three calls that only queue")
        assert not rig.streams[1].query()
        with pytest.raises(RuntimeError, match="device 0 must be done within the time-out"):
            tp.tp_synchronize(rig.handle, timeout=0.05)
        gate.set()
        rig.sync()
        assert (targets[1] == 1).all()
