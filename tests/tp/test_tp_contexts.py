# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Contexts: handles, the end, threads; and the signatures of all calls."""

import inspect
import subprocess
import sys
import time

import limits
import pytest
import torch
from tp_rig import KV, SECONDS, Q, Rig, even, on_threads

from pinnedpg import tp


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
    limits.in_time(time.monotonic() - begin, 5, "no wait for a leg; the time-out is 60 s")
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
