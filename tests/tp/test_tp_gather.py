# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""What tp_gather moves, and where host threads meet in tp_gather_barrier."""

import threading
import time

import pytest
import torch
from tp_rig import (
    ALL_DTYPES,
    KV,
    SECONDS,
    VC,
    Q,
    Rig,
    by_caller_and_by_threads,
    even,
    on_threads,
    random_bytes,
    same,
)

from pinnedpg import tp


@by_caller_and_by_threads
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


@by_caller_and_by_threads
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


@by_caller_and_by_threads
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


@by_caller_and_by_threads
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
