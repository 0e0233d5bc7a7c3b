# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Random calls of pinnedpg.tp on one context, held against tp_model.py."""

import random

import torch
from tp_model import Model, as_bytes
from tp_rig import Rig, same

from pinnedpg import tp

DTYPES = [
    getattr(torch, name)
    for name in "uint8 int16 int64 uint16 float16 bfloat16 float32 float64 float8_e4m3fn".split()
]


def random_split(rng, devices):
    """Some of the devices, in any order, some twice, some without a share."""
    chosen = rng.sample(devices, rng.randint(1, len(devices)))
    if rng.random() < 0.2:
        chosen.append(rng.choice(chosen))
    split, end = [], 0
    for device in chosen:
        begin, end = end, end + rng.choice([0, 1, 1, 2, 3, 7])
        split.append((device, begin, end))
    return split


class Walk:
    """Random calls on one context, queued for real; the model does each at once."""

    Rig = Rig
    devices = range(6)

    def __init__(self, seed):
        self.rng = rng = random.Random(seed)
        self.generator = torch.Generator().manual_seed(seed)
        devices = rng.sample(self.devices, rng.randint(1, min(4, len(self.devices))))
        splits = {type: random_split(rng, devices) for type in range(5)}
        sizes = [rng.choice([1 << 12, 1 << 14, 3 << 16]) for _ in range(rng.randint(1, 3))]
        self.rig = self.Rig(
            splits[0], sizes, devices, splits=splits, multithreaded=rng.random() < 0.3
        )
        self.model = Model(self.rig.splits, self.rig.buffers)
        self.expected = []  # (what is written, what it must become, which call)
        self.legs = []  # calls by legs that are not all issued yet: (devices, function)
        self.calls = 0

    def tensor(self, rows, cols, dtype, device):
        """Small integers, at times with gaps between rows."""
        gap = self.rng.choice([0, 0, 0, 3])
        data = torch.randint(0, 3, (rows, cols + gap), generator=self.generator).to(dtype)
        return self.rig.put(data, device)[:, gap:]

    def note(self, name, written, expected):
        for index, pair in enumerate(zip(written, expected, strict=True)):
            self.expected.append((*pair, f"call {self.calls}, {name}, output {index}"))

    def rows_that_fit(self, buffer, row_bytes):
        return min(
            self.rng.choice([1, 2, 5, 40]), self.rig.buffers[buffer].numel() // max(row_bytes, 1)
        )

    def source(self, buffer, rows, cols, dtype, device):
        """A fresh tensor on that device, or one that lies in this buffer or another."""
        bytes = rows * cols * dtype.itemsize
        where = self.rng.choice(["fresh"] * 3 + ["here", "across", "there"])
        if where == "fresh" or bytes == 0:
            fresh = self.tensor(rows, cols, dtype, device)
            return fresh, fresh
        other = buffer if where != "there" else self.rng.randrange(len(self.rig.buffers))
        room = self.rig.buffers[other].numel() - bytes
        if room < 0:
            return self.source(buffer, rows, cols, dtype, device)
        offset = 0 if where == "here" else self.rng.randint(0, room) // 16 * 16
        pair = [
            buffers[other][offset : offset + bytes].view(dtype).view(rows, cols)
            for buffers in (self.rig.buffers, self.model.buffers)
        ]
        return pair

    def broadcast(self):
        type, buffer, dtype = self.any_type(), self.any_buffer(), self.rng.choice(DTYPES)
        cols = self.rng.choice([1, 3, 32])
        rows = self.rows_that_fit(buffer, cols * dtype.itemsize)
        split = self.rig.splits[type]
        maker = self.rng.randrange(len(split))
        source, models = self.source(buffer, rows, cols, dtype, split[maker][0])
        targets = [self.tensor(rows, cols, dtype, device) for device, _, _ in split]
        if source is models and self.rng.random() < 0.3:
            targets[maker] = source
        models = models.cpu().clone()
        self.note("broadcast", targets, self.model.broadcast(buffer, models, type, targets))
        arguments = (self.rig.handle, buffer, source, type, targets, 1)
        self.issue({device for device, _, _ in split}, lambda d: tp.tp_broadcast(*arguments, d))

    def gather(self):
        type, buffer, dtype = self.any_type(), self.any_buffer(), self.rng.choice(DTYPES)
        target = self.rng.choice([-2, -1, self.any_type(), self.any_type()])
        dim, split = self.rng.choice([1, 2, 16]), self.rig.splits[type]
        width = split[-1][2] * dim
        rows = self.rows_that_fit(buffer, width * dtype.itemsize)
        inputs = [self.tensor(rows, (end - begin) * dim, dtype, d) for d, begin, end in split]
        readers = self.rig.splits[target] if target >= 0 else []
        targets = [self.tensor(rows, width, dtype, device) for device, _, _ in readers]
        parts = [part.cpu() for part in inputs]
        expected = self.model.gather(buffer, parts, type, targets, target, dim)
        self.note(f"gather to {target}", targets, expected)
        arguments = [self.rig.handle, buffer, inputs, type, targets, target, dim]
        devices = {device for device, _, _ in [*split, *readers]}
        if self.rng.random() < 0.2:
            self.issue(devices, lambda d: tp.tp_gather_barrier(*arguments, d, None))
        else:
            self.issue(devices, lambda d: tp.tp_gather(*arguments, d))

    def all_reduce(self):
        dtype, buffer = self.rng.choice(DTYPES), self.any_buffer()
        count = self.rng.choice(
            [len(self.rig.splits[self.any_type()]), self.rng.randint(1, len(self.rig.devices))]
        )
        most = self.rig.buffers[buffer].numel() // dtype.itemsize
        size = min(most, self.rng.choice([1, 17, 1000, 1 << 16]))
        devices = [self.rng.choice(self.rig.devices) for _ in range(count)]
        tensors, residuals = (
            [self.tensor(1, size, dtype, device) for device in devices] for _ in range(2)
        )
        if self.rng.random() < 0.2:
            place = self.rng.randrange(count)
            there = [t for t, device in zip(tensors, devices, strict=True)
                     if device == devices[place]]  # fmt: skip
            residuals[place] = self.rng.choice(there)
        parts, sums = ([x.cpu() for x in group] for group in (tensors, residuals))
        self.note("all_reduce", residuals, self.model.all_reduce(parts, sums))
        self.flush()
        tp.tp_all_reduce(self.rig.handle, buffer, tensors, residuals)

    def barrier(self):
        type = self.any_type()
        devices = {device for device, _, _ in self.rig.splits[type]}
        self.issue(devices, lambda d: tp.tp_cross_device_barrier(self.rig.handle, type, d))

    def any_type(self):
        return self.rng.randrange(5)

    def any_buffer(self):
        return self.rng.randrange(len(self.rig.buffers))

    def issue(self, devices, call):
        """At once for all devices, or by legs, which wait for those of later calls at times."""
        if self.rng.random() < 0.4:
            self.flush()
            return call(-1)
        devices = sorted(devices)
        if self.legs and self.legs[0][0] != devices:
            self.flush()  # other devices: the caller orders them
        self.legs.append((devices, call))
        if self.rng.random() < 0.6:
            self.flush()

    def flush(self):
        """Issues all legs: each device's in order, the devices' in any."""
        order = [device for devices, _ in self.legs for device in devices]
        self.rng.shuffle(order)
        todo = {device: [call for _, call in self.legs] for device in order}
        self.legs = []
        for device in order:
            self.delay()
            todo[device].pop(0)(device)

    def delay(self):
        if self.rng.random() < 0.05:
            seconds = self.rng.choice([0, 0, 0.0005, 0.002])
            self.rig.delay(self.rng.choice(self.rig.devices), seconds)

    def check(self):
        self.flush()
        self.rig.sync()
        for written, expected, call in self.expected:
            assert same(written.cpu(), expected), call
        for buffer, expected in zip(self.rig.buffers, self.model.buffers, strict=True):
            assert torch.equal(as_bytes(buffer), expected), f"call {self.calls}, buffer"
        self.expected = []

    def run(self, calls):
        operations = [self.broadcast] * 3 + [self.gather] * 4 + [self.all_reduce, self.barrier]
        with self.rig:
            for self.calls in range(calls):
                self.delay()
                self.rng.choice(operations)()
                if self.rng.random() < 0.1:
                    self.check()
            self.check()
