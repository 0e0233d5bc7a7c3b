# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""A context with all that belongs to it, for tests. Nothing here waits for ever."""

import os
import threading
import time

import pytest
import torch
from tp_model import as_bytes

from pinnedpg import tp

# A fake GPU's streams in the place of HostStreams: see tests/fake/sessions.py.
ON_FAKE_GPU = os.environ.get("FAKE_CUDA_TP") == "1"
if ON_FAKE_GPU:
    import fake_streams

KV, ID, VC, RS, Q = range(5)
SECONDS = 10.0
ALL_DTYPES = [
    getattr(torch, name)
    for name in (
        "uint8 int8 int16 int32 int64 uint16 uint32 uint64 bool float16 bfloat16 float32 float64 "
        "complex64 complex128 float8_e4m3fn float8_e5m2 float8_e4m3fnuz float8_e5m2fnuz"
    ).split()
]

by_caller_and_by_threads = pytest.mark.parametrize(
    "multithreaded", [False, True], ids=["caller", "threads"]
)


def random_bytes(dtype, *shape):
    if dtype == torch.bool:
        return torch.randint(0, 2, shape, dtype=torch.bool)
    size = torch.empty(0, dtype=dtype).element_size()
    return torch.randint(0, 256, (*shape[:-1], shape[-1] * size), dtype=torch.uint8).view(dtype)


def even(devices, units=4):
    """A split that gives each device the same."""
    return [(device, i * units, (i + 1) * units) for i, device in enumerate(devices)]


class Rig:
    """`splits`: one for all types, or {type: split} over it. Devices are those of the splits."""

    def __init__(self, split, buffer_bytes=(1 << 16, 1 << 16), more_devices=(), **settings):
        self.splits = [split] * 5
        for type, other in settings.pop("splits", {}).items():
            self.splits[type] = other
        named = {device for one in self.splits for device, _, _ in one} | set(more_devices)
        self.devices = sorted(named)
        self.streams = {device: self.stream(device) for device in self.devices}
        if ON_FAKE_GPU:  # the caller's streams
            self.current = {device: self.stream(device) for device in self.devices}
            for one in self.current.values():
                one.make_current()
        self.buffers = [self.buffer(size) for size in buffer_bytes]
        handles = {device: stream.cuda_stream for device, stream in self.streams.items()}
        by_ordinal = [handles.get(device, 0) for device in range(max(self.devices) + 1)]
        settings.setdefault("timeout", SECONDS)
        self.handle = tp.make_tp_context(*self.splits, self.buffers, by_ordinal, **settings)

    def stream(self, device):
        return fake_streams.Stream(device) if ON_FAKE_GPU else tp.HostStream(device)

    def buffer(self, size):
        return torch.zeros(size, dtype=torch.uint8)

    def put(self, tensor, device):
        """The tensor as it is on that device."""
        return tensor

    def __enter__(self):
        return self

    def __exit__(self, *error):
        tp.free_tp_context(self.handle)

    def sync(self, buffer=-1):
        tp.tp_synchronize(self.handle, buffer, SECONDS)

    def delay(self, device, seconds=0.05):
        self.streams[device].submit(lambda: time.sleep(seconds))

    def view(self, buffer, like):
        """What lies at byte 0 of the buffer, as a tensor like that one."""
        bytes = self.buffers[buffer][: like.numel() * like.element_size()]
        return bytes.view(like.dtype).view(like.shape)

    def broadcast(self, source, type=KV, buffer=0, targets=None, **more):
        if targets is None:
            zeros = torch.zeros(source.shape, dtype=source.dtype)
            targets = [self.put(zeros.clone(), device) for device, _, _ in self.splits[type]]
        tp.tp_broadcast(self.handle, buffer, source, type, targets, 1, **more)
        return targets

    def gather(self, inputs, type=KV, target=KV, buffer=0, dim=1, outputs=None, **more):
        if outputs is None:
            whole = (inputs[0].shape[0], self.splits[type][-1][2] * dim)
            shares = self.splits[target] if target >= 0 else []
            zeros = torch.zeros(whole, dtype=inputs[0].dtype)
            outputs = [self.put(zeros.clone(), device) for device, _, _ in shares]
        tp.tp_gather(self.handle, buffer, inputs, type, outputs, target, dim, **more)
        return outputs

    def inputs(self, rows=3, type=KV, dim=1, dtype=torch.half, value=None):
        """A tensor for each share, of small integers or of that value."""
        inputs = []
        for device, begin, end in self.splits[type]:
            shape = (rows, (end - begin) * dim)
            made = torch.randint(0, 9, shape) if value is None else torch.full(shape, value)
            inputs.append(self.put(made.to(dtype), device))
        return inputs


def same(one, other):
    """Whether two tensors have the same bytes."""
    return one.dtype == other.dtype and torch.equal(
        as_bytes(one.contiguous()), as_bytes(other.contiguous())
    )


def on_threads(*functions):
    """Runs the functions at once; raises what the first of them raised."""
    errors = []

    def run(function):
        try:
            function()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(f,), daemon=True) for f in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(2 * SECONDS)
        assert not thread.is_alive(), "a thread hangs"
    if errors:
        raise errors[0]


def check_given_up(rig, load, seconds):
    """A leg lacks its peer, and `load` waits for it: the time-out lets both go. Frees the rig."""
    rig.gather(rig.inputs(), target=-1, t_device=0)
    loads = threading.Thread(target=load, daemon=True)
    loads.start()
    loads.join(SECONDS)
    assert not loads.is_alive(), "the stream has not been let go"
    with pytest.raises(RuntimeError, match=rf"device 0 waited {seconds} s .* for device 1"):
        rig.sync()
    tp.free_tp_context(rig.handle)
