# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""The raw API on a fake GPU: in which order its calls, the context's and the caller's streams come.

tests/fake/run.py builds the extension for it, runs this, and sees that tests fail where
an order is left out (FAKE_CUDA_BREAK).
"""

import threading
import time

import pytest
import torch
from freed import thread_name, watched
from tp_rig import KV, ON_FAKE_GPU, RS, SECONDS, Q, Rig, check_given_up, even, on_threads, same

from pinnedpg import tp

if not ON_FAKE_GPU:
    pytest.skip("the raw API does not run on the fake GPU", allow_module_level=True)

import fake_streams

LATE = 0.03


def late(stream, function):
    stream.submit(lambda: (time.sleep(LATE), function()))


@pytest.mark.parametrize("streams", ["current", "streams"])
def test_inputs_come_after_their_stream(streams):
    """D4 of exllamav2: on whichever of the two an input is made."""
    with Rig(even([0, 1, 2])) as rig:
        for device in rig.devices:
            inputs = rig.inputs(value=0)
            late(getattr(rig, streams)[device], lambda d=device, x=inputs: x[d].fill_(5))
            outputs = rig.gather(inputs)
            rig.sync()
            assert all((output[:, 4 * device : 4 * device + 4] == 5).all() for output in outputs)


@pytest.mark.parametrize("streams", ["current", "streams"])
def test_a_source_comes_after_its_devices_stream(streams):
    """D1: a source that is no target, and one that is."""
    with Rig(even([0, 1, 2])) as rig:
        for is_target in (False, True):
            source = fake_streams.place(torch.zeros(64), 1)
            targets = [torch.zeros(64) for _ in range(3)]
            if is_target:
                targets[1] = source
            late(getattr(rig, streams)[1], lambda s=source: s.fill_(7))
            rig.broadcast(source, targets=targets)
            rig.sync()
            assert all(same(target, torch.full((64,), 7.0)) for target in targets)


@pytest.mark.parametrize("streams", ["current", "streams"])
def test_sums_come_after_their_streams(streams):
    with Rig(even([0, 1])) as rig:
        tensors, residuals = ([torch.zeros(1000) for _ in range(2)] for _ in range(2))
        late(getattr(rig, streams)[1], lambda: tensors[1].fill_(2))
        late(getattr(rig, streams)[0], lambda: residuals[0].fill_(1))
        tp.tp_all_reduce(rig.handle, 0, tensors, residuals)
        rig.sync()
        assert all((residual == 3).all() for residual in residuals)


@pytest.mark.parametrize("streams", ["current", "streams"])
def test_outputs_are_there_on_both_streams(streams):
    with Rig(even([0, 1])) as rig:
        for late_device in (0, 1):
            outputs = [torch.zeros(3, 8, dtype=torch.half) for _ in range(2)]
            copies = [torch.zeros(3, 8, dtype=torch.half) for _ in range(2)]
            rig.delay(late_device, LATE)
            rig.gather(rig.inputs(value=4), outputs=outputs)
            for device, stream in getattr(rig, streams).items():
                stream.submit(lambda d=device, c=copies, o=outputs: c[d].copy_(o[d]))
            for stream in getattr(rig, streams).values():
                stream.synchronize()
            assert all((copy == 4).all() for copy in copies)


@pytest.mark.parametrize("streams", ["current", "streams"])
def test_inputs_may_be_overwritten_afterwards(streams):
    with Rig(even([0, 1])) as rig:
        inputs = rig.inputs(value=3)
        rig.delay(1, LATE)
        outputs = rig.gather(inputs)
        for device, stream in getattr(rig, streams).items():
            stream.submit(lambda d=device: inputs[d].fill_(9))
        rig.sync()
        assert all((output == 3).all() for output in outputs)


def test_a_buffer_is_used_again_after_its_readers():
    """D2: all-gathers in a row on one buffer, one device late each time."""
    with Rig(even([0, 1]), splits={Q: even([0, 1, 2])}) as rig:
        for device in (0, 1, 2):
            outputs = []
            for value in range(6):
                rig.delay(device, 0.005)
                outputs.append(rig.gather(rig.inputs(value=value), KV, Q))
            rig.sync()
            for value, group in enumerate(outputs):
                assert all((output == value).all() for output in group), (device, value)


def test_legs_are_ordered_after_the_stream_of_their_device():
    with Rig(even([0, 1])) as rig:
        inputs = rig.inputs(value=0)
        outputs = [torch.zeros(3, 8, dtype=torch.half) for _ in range(2)]
        late(rig.current[1], lambda: inputs[1].fill_(5))
        for device in (0, 1):
            rig.gather(inputs, outputs=outputs, t_device=device)
        copy = torch.zeros(3, 8, dtype=torch.half)
        rig.current[0].submit(lambda: copy.copy_(outputs[0]))
        rig.current[0].synchronize()
        assert (copy[:, 4:] == 5).all()
        rig.sync()


@pytest.mark.parametrize("multithreaded", [False, True])
def test_a_source_of_a_device_that_takes_no_part(multithreaded):
    with Rig(even([0, 1, 2]), splits={RS: even([2])}, multithreaded=multithreaded) as rig:
        source = fake_streams.place(torch.zeros(64), 0)
        target = torch.zeros(64)
        late(rig.current[0], lambda: source.fill_(6))
        rig.broadcast(source, RS, targets=[target])
        rig.sync()
        assert (target == 6).all()
        with pytest.raises(ValueError, match=r"on a GPU that takes part, one of \[2\]; got .* 0"):
            rig.broadcast(source, RS, targets=[target], t_device=2)
        alien = fake_streams.place(torch.zeros(64), 7)
        with pytest.raises(ValueError, match=r"one of \[0, 1, 2\]; got one on GPU 7"):
            rig.broadcast(alien, RS, targets=[target])


def test_what_lies_on_another_gpu_raises():
    with Rig(even([0, 1])) as rig:
        wrong = [fake_streams.place(x, 1) for x in rig.inputs()]
        with pytest.raises(ValueError, match=r"inputs\[0\] must be on GPU 0, the device of its"):
            rig.gather(wrong)
        with pytest.raises(ValueError, match=r"residuals\[1\] must be on GPU 1"):
            tensors = [fake_streams.place(torch.zeros(4), device) for device in (0, 1)]
            sums = [fake_streams.place(torch.zeros(4), 0) for _ in range(2)]
            tp.tp_all_reduce(rig.handle, 0, tensors, sums)
        rig.gather(rig.inputs())
        rig.sync()


def test_a_leg_that_never_comes_lets_the_streams_go():
    rig = Rig(even([0, 1]), timeout=60)
    rig.gather(rig.inputs(), target=-1, t_device=0)
    done = threading.Event()
    rig.current[0].submit(done.set)
    time.sleep(0.05)
    assert not done.is_set(), "the stream waits for the leg"
    begin = time.monotonic()
    tp.free_tp_context(rig.handle)
    assert done.wait(SECONDS) and time.monotonic() - begin < 5


def test_a_leg_that_never_comes_is_given_up_while_a_kernel_is_loaded():
    """Who loads it waits for the leg's stream, and holds up all who would ask about that."""
    check_given_up(Rig(even([0, 1]), timeout=0.5), fake_streams.load, r"0\.\d")


def test_a_call_that_fails_half_way_keeps_what_it_has_queued():
    """Device 0's leg is queued in part when device 1's finds that the context has failed."""
    rig, events = Rig(even([0, 1], 256), timeout=0.4), []
    for stream in rig.streams.values():
        stream.make_current()
    outputs = [torch.zeros(1, 512) for _ in range(2)]
    rig.delay(0, 0.7)
    tp.tp_gather(rig.handle, 0, [torch.ones(1, 256) for _ in range(2)], KV, outputs, KV, 1)
    loads = threading.Thread(target=fake_streams.load, daemon=True)
    loads.start()
    time.sleep(0.05)
    rig.streams[0].submit(lambda: (time.sleep(0.5), events.append("put")))
    freed = watched(256, lambda: events.append("freed")).view(1, 256)
    inputs = [freed, torch.full((1, 256), 78.0)]
    del freed
    with pytest.raises(RuntimeError, match="context has failed"):
        tp.tp_gather(rig.handle, 0, inputs, KV, outputs, KV, 1)
    del inputs
    end = time.monotonic() + SECONDS
    while len(events) < 2 and time.monotonic() < end:
        time.sleep(0.01)
    tp.free_tp_context(rig.handle)
    assert events == ["put", "freed"]


def test_the_worker_frees_no_memory():
    """The allocator may have to wait for whom the worker is to let go."""
    names, rounds = [], 20
    with Rig(even([0, 1], 256)) as rig:
        for _ in range(rounds):
            outputs = [torch.zeros(1, 512) for _ in range(2)]
            floats = [watched(256, lambda: names.append(thread_name())) for _ in range(2)]
            inputs = [tensor.view(1, 256) for tensor in floats]
            tp.tp_gather(rig.handle, 0, inputs, KV, outputs, KV, 1)
            del inputs, floats
        end = time.monotonic() + SECONDS
        while len(names) < 2 * rounds and time.monotonic() < end:
            time.sleep(0.01)
    assert len(names) == 2 * rounds and "pinnedpg" not in names, set(names)


def test_pageable_buffers_raise_and_nothing_stays_pinned():
    before = fake_streams.pinned_bytes()
    pageable = fake_streams.pageable(torch.zeros(64))
    streams = [fake_streams.Stream(0)]
    with pytest.raises(ValueError, match=r"pinned_temp\[1\] must be pinned .* of 256 bytes\. Make"):
        tp.make_tp_context(*[even([0])] * 5, [torch.zeros(8), pageable], streams)
    assert fake_streams.pinned_bytes() == before
    empty = fake_streams.pageable(torch.zeros(0))
    handle = tp.make_tp_context(*[even([0])] * 5, [empty, pageable[1:]], streams)
    assert fake_streams.pinned_bytes() > before, "the stage is"
    tp.free_tp_context(handle)
    assert fake_streams.pinned_bytes() == before
    tp.make_tp_context(*[even([0])] * 5, [pageable], [tp.HostStream(0)])  # no GPU


def test_streams_of_host_devices_and_of_gpus_do_not_mix():
    streams = [tp.HostStream(0), fake_streams.Stream(1)]
    for mixed in (streams, [fake_streams.Stream(0), tp.HostStream(1)]):
        with pytest.raises(ValueError, match=r"streams\[1\] must be of the same kind"):
            tp.make_tp_context(*[even([0, 1])] * 5, [], mixed)
    with pytest.raises(ValueError, match=r"streams\[0\] must be 0 or a HostStream that is alive"):
        tp.make_tp_context(*[even([0])] * 5, [], [fake_streams.Stream(1)])


def test_two_contexts_share_streams_from_two_threads():
    streams, split = [fake_streams.Stream(device) for device in range(2)], even([0, 1])
    for stream in streams:
        stream.make_current()
    handles = [
        tp.make_tp_context(*[split] * 5, [torch.zeros(64)], streams, timeout=SECONDS)
        for _ in range(2)
    ]
    targets = [[torch.zeros(8) for _ in range(2)] for _ in handles]

    def drive(i):
        for value in range(200):
            tp.tp_broadcast(handles[i], 0, torch.full((8,), float(value)), KV, targets[i], 1)

    on_threads(lambda: drive(0), lambda: drive(1))
    for handle in handles:
        tp.tp_synchronize(handle, timeout=SECONDS)
        tp.free_tp_context(handle)
    assert all((target == 199).all() for group in targets for target in group)
