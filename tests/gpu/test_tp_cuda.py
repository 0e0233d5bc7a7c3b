# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""The raw API on GPUs: on one with several shares, on two where there are two."""

import time

import pytest
import torch
from cuda_rig import COUNT, GPUS, SHARES, CudaRig, on_streams, spin
from tp_rig import KV, RS, SECONDS, Q, even, on_threads, same
from tp_walk import Walk

from pinnedpg import tp

pytestmark = [
    pytest.mark.skipif(COUNT == 0, reason="there is no GPU"),
    pytest.mark.timeout(60),
]
two_gpus = pytest.mark.skipif(COUNT < 2, reason="there are no two GPUs")


@pytest.fixture(scope="module", autouse=True)
def kernels():
    """All that is loaded when it is first used, which would wait for the GPU."""
    for device in GPUS:
        x = torch.zeros(8, device=f"cuda:{device}")
        spin(torch.cuda.Stream(device), 1e-6)
        x.fill_(1).clone().add_(1).eq(2).all().item()
    with CudaRig(SHARES) as rig:
        rig.gather(rig.inputs())
        rig.sync()


class CudaWalk(Walk):
    Rig = CudaRig
    devices = GPUS


@pytest.mark.parametrize("seed", range(40))
def test_random_calls(seed):
    CudaWalk(seed).run(40)


@pytest.mark.parametrize("where", ["current", "streams"])
def test_inputs_come_after_their_stream(where):
    """D4 of exllamav2: on whichever of the two an input is made; each of them late in turn."""
    with CudaRig(SHARES) as rig, on_streams(rig.current):
        for i, (device, begin, end) in enumerate(SHARES):
            inputs = rig.inputs(rows=500, value=0)
            torch.cuda.synchronize()
            rig.fill(getattr(rig, where)[device], inputs[i], 5)
            outputs = rig.gather(inputs)
            assert all((output[:, begin:end] == 5).all().item() for output in outputs)
            rig.sync()


@pytest.mark.parametrize("where", ["current", "streams"])
@pytest.mark.parametrize("is_target", [False, True])
def test_a_source_comes_after_its_devices_stream(where, is_target):
    """D1: targets on other streams than the source's."""
    with CudaRig(SHARES, (1 << 20,)) as rig, on_streams(rig.current):
        for i, (device, _, _) in enumerate(SHARES):
            source = torch.zeros(100_000, device=f"cuda:{device}")
            targets = rig.broadcast(torch.zeros(100_000))
            if is_target:
                targets[i] = source
            torch.cuda.synchronize()
            rig.fill(getattr(rig, where)[device], source, 7)
            rig.broadcast(source, targets=targets)
            assert all((target == 7).all().item() for target in targets)
            rig.sync(0)
            assert (rig.view(0, torch.empty(1000)) == 7).all()  # there on the host too


@pytest.mark.parametrize("where", ["current", "streams"])
def test_sums_come_after_their_streams(where):
    with CudaRig(SHARES, (1 << 22,)) as rig, on_streams(rig.current):
        for i, (device, _, _) in enumerate(SHARES):
            tensors, residuals = (
                [torch.zeros(700_000, device=f"cuda:{d}") for d, _, _ in SHARES] for _ in range(2)
            )
            torch.cuda.synchronize()
            rig.fill(getattr(rig, where)[device], tensors[i], 2)
            tp.tp_all_reduce(rig.handle, 0, tensors, residuals)
            assert all((residual == 2).all().item() for residual in residuals)


@pytest.mark.parametrize("where", ["current", "streams"])
def test_outputs_are_there_on_both_streams_and_inputs_may_be_overwritten(where):
    with CudaRig(SHARES) as rig, on_streams(rig.current):
        for device in GPUS:
            inputs = rig.inputs(rows=500, value=4)
            outputs = rig.gather(rig.inputs(rows=500, value=0))
            torch.cuda.synchronize()
            rig.delay(device)
            rig.gather(inputs, outputs=outputs)
            copies = []
            for i, (of, _, _) in enumerate(SHARES):
                with torch.cuda.stream(getattr(rig, where)[of]):
                    inputs[i].fill_(9)
                    copies.append(outputs[i].clone())
            torch.cuda.synchronize()
            assert all((copy == 4).all().item() for copy in copies)


def test_all_gathers_in_a_row_on_one_buffer():
    """D2: what the readers of the first have yet to read is not overwritten by the next."""
    with CudaRig(SHARES, (1 << 24,), splits={Q: SHARES}) as rig:
        inputs = [rig.inputs(rows=100_000, value=value) for value in range(6)]
        outputs = [rig.gather(inputs[0], KV, Q) for _ in range(6)]
        for device in GPUS:
            torch.cuda.synchronize()
            for value in range(6):
                rig.delay(device, 0.01)
                rig.gather(inputs[value], KV, Q, outputs=outputs[value])
            rig.sync()
            for value, group in enumerate(outputs):
                assert all((output == value).all().item() for output in group), (device, value)


def test_the_host_is_not_held():
    with CudaRig(SHARES) as rig:
        inputs, tensors = rig.inputs(), rig.inputs(dtype=torch.float)
        pageable = torch.full((1000,), 3.0)
        targets = rig.broadcast(pageable)
        tp.tp_all_reduce(rig.handle, 0, tensors, tensors)  # loads the kernel
        torch.cuda.synchronize()
        begin = time.monotonic()
        rig.delay(GPUS[-1], 0.4)
        rig.broadcast(pageable, targets=targets)
        for _ in range(5):
            rig.gather(inputs, target=-1)
            tp.tp_all_reduce(rig.handle, 0, tensors, tensors)
        assert time.monotonic() - begin < 0.2
        with pytest.raises(RuntimeError, match="must be done within the time-out"):
            tp.tp_synchronize(rig.handle, timeout=0.01)
        rig.sync()
        assert all((target == 3).all().item() for target in targets)


def test_pageable_buffers_raise_and_those_by_the_driver_do_not():
    temp = [torch.zeros(1000, pin_memory=True), torch.zeros(1 << 20, dtype=torch.uint8)]
    streams = [torch.cuda.Stream(device).cuda_stream for device in GPUS]
    with pytest.raises(ValueError, match=r"pinned_temp\[1\] must be pinned memory, .* of 1048576"):
        tp.make_tp_context(*[SHARES] * 5, temp, streams)
    cudart = torch.cuda.cudart()
    assert not int(cudart.cudaHostRegister(temp[1].data_ptr(), 1 << 20, 0))
    for _ in range(2):
        handle = tp.make_tp_context(*[SHARES] * 5, temp, streams, timeout=SECONDS)
        row = torch.arange(10.0, device="cuda:0")
        targets = [torch.zeros(5, 10, device=f"cuda:{device}") for device, _, _ in SHARES]
        for buffer in (0, 1):
            tp.tp_broadcast(handle, buffer, row.expand(5, 10), KV, targets, 1)
        tp.tp_synchronize(handle, timeout=SECONDS)
        assert all(same(target.cpu(), row.expand(5, 10).cpu()) for target in targets)
        tp.free_tp_context(handle)
    assert not int(cudart.cudaHostUnregister(temp[1].data_ptr()))


def test_a_thread_per_device():
    rounds = 50
    with CudaRig(SHARES, (1 << 16, 1 << 16)) as rig:
        inputs = [rig.inputs(value=i % 9) for i in range(rounds)]
        outputs = [rig.gather(inputs[0]) for _ in range(rounds)]
        source = torch.full((100,), 6.0, device="cuda:0")
        targets = rig.broadcast(source)
        torch.cuda.synchronize()
        barrier = tp.Barrier(len(GPUS))

        def drive(device):
            for i in range(rounds):
                tp.tp_gather_barrier(
                    rig.handle, i % 2, inputs[i], KV, outputs[i], KV, 1, device, barrier
                )
                rig.broadcast(source, targets=targets, t_device=device)
                tp.tp_cross_device_barrier(rig.handle, KV, device)

        on_threads(*(lambda d=device: drive(d) for device in GPUS))
        rig.sync()
        for i in range(rounds):
            assert all((output == i % 9).all().item() for output in outputs[i])
        assert all((target == 6).all().item() for target in targets)


def test_multithreaded():
    with CudaRig(SHARES, multithreaded=True) as rig:
        for value in range(20):
            outputs = rig.gather(rig.inputs(value=value))
            assert all((output == value).all().item() for output in outputs)


def test_the_current_device_and_streams_stay():
    with CudaRig(SHARES) as rig, on_streams(rig.current):
        before = torch.cuda.current_device(), [torch.cuda.current_stream(d) for d in GPUS]
        rig.broadcast(torch.ones(8, device="cuda:0"))
        rig.gather(rig.inputs())
        tensors = rig.inputs(dtype=torch.float)
        tp.tp_all_reduce(rig.handle, 0, tensors, tensors)
        tp.tp_cross_device_barrier(rig.handle, KV)
        rig.sync()
        after = torch.cuda.current_device(), [torch.cuda.current_stream(d) for d in GPUS]
        assert before == after


def test_wrong_calls_raise_and_the_context_goes_on():
    with CudaRig(SHARES, (1 << 12,)) as rig:
        wrong = {
            r"inputs\[0\] must be on GPU 0.*; got one on cpu": lambda: rig.gather(
                [x.cpu() for x in rig.inputs()]
            ),
            r"targets\[1\] must be on GPU .*; got one on cpu": lambda: rig.broadcast(
                torch.ones(4), targets=[torch.ones(4, device="cuda:0"), torch.ones(4)]
            ),
            "source must fit into .*, which has 4096 bytes; got 40000 bytes": lambda: rig.broadcast(
                torch.ones(10_000, device="cuda:0")
            ),
            "broadcast_type must be one of": lambda: rig.broadcast(torch.ones(4), 9, targets=[]),
        }
        for text, call in wrong.items():
            with pytest.raises(ValueError, match=text):
                call()
        assert all((output == 3).all().item() for output in rig.gather(rig.inputs(value=3)))


def test_wrong_streams_raise():
    for handle in (140_000_000, 1, 12345, 2**63, int(tp.HostStream(0))):
        with pytest.raises(ValueError, match=r"streams\[0\] must be 0 or a HostStream"):
            tp.make_tp_context(*[even([0])] * 5, [], [handle])
    with pytest.raises(ValueError, match=r"streams\[9\] must be 0 or a HostStream"):
        stream = torch.cuda.Stream(0).cuda_stream
        tp.make_tp_context(*[even([9])] * 5, [], [0] * 9 + [stream])


def test_capture_is_refused():
    with CudaRig(even([0])) as rig:
        inputs, graph = rig.inputs(), torch.cuda.CUDAGraph()
        torch.cuda.synchronize()
        with pytest.raises(ValueError, match="cannot be captured in a CUDA graph"):
            with torch.cuda.graph(graph, capture_error_mode="relaxed"):
                rig.gather(inputs, target=-1)
        rig.gather(inputs)
        rig.sync()


@two_gpus
def test_streams_of_the_wrong_gpu_and_mixed_kinds_raise():
    streams = [torch.cuda.Stream(device).cuda_stream for device in (1, 0)]
    with pytest.raises(ValueError, match=r"streams\[0\] must be 0 or a HostStream .* a GPU 0"):
        tp.make_tp_context(*[even([0, 1])] * 5, [], streams)
    mixed = [tp.HostStream(0), streams[0]]
    with pytest.raises(ValueError, match=r"streams\[1\] must be of the same kind"):
        tp.make_tp_context(*[even([0, 1])] * 5, [], mixed)


@two_gpus
def test_legs_from_one_thread_in_any_order():
    with CudaRig(SHARES, splits={RS: even([1, 0])}) as rig:
        inputs = rig.inputs(value=2)
        outputs = rig.gather(rig.inputs(value=0))
        torch.cuda.synchronize()
        for device in (1, 0):
            rig.gather(inputs, outputs=outputs, t_device=device)
            tp.tp_cross_device_barrier(rig.handle, RS, device)
        assert all((output == 2).all().item() for output in outputs)


@two_gpus
def test_a_leg_that_never_comes_is_named():
    with CudaRig(SHARES, timeout=0.5) as rig:
        rig.gather(rig.inputs(), target=-1, t_device=0)
        with pytest.raises(RuntimeError, match=r"device 0 waited 0\.\d s .* for device 1"):
            rig.sync()
        torch.cuda.synchronize(0)  # nothing waits there any more
        with pytest.raises(RuntimeError, match="the context has failed"):
            rig.broadcast(torch.ones(4))


@two_gpus
def test_free_lets_go_what_lacks_a_leg():
    rig = CudaRig(SHARES, timeout=60)
    rig.gather(rig.inputs(), target=-1, t_device=0)
    begin = time.monotonic()
    tp.free_tp_context(rig.handle)
    torch.cuda.synchronize(0)
    assert time.monotonic() - begin < 5
