# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""HostStream: handles, order, errors, lifetime."""

import gc
import threading
import time

import pytest
import torch
from tp_rig import KV, SECONDS, even, on_threads

from pinnedpg import tp


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
