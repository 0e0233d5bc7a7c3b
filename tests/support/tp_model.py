# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""The contract of pinnedpg.tp in plain Python: what is where once everything is done."""

import torch

NO_BARRIER, NO_TARGET = -2, -1


def as_bytes(tensor):
    """A contiguous tensor's bytes."""
    return tensor.reshape(-1).view(torch.uint8)


def summed(residual, tensors):
    """The sum in a type wide enough for every partial sum, rounded once."""
    wide = torch.float64 if residual.dtype.is_floating_point else torch.int64
    total = residual.to(wide)
    for tensor in tensors:
        total = total + tensor.to(wide)
    return total.to(residual.dtype)


class Model:
    """Buffers and splits; every call is done when it returns."""

    def __init__(self, splits, buffers):
        self.splits = splits
        self.buffers = [as_bytes(buffer.clone()) for buffer in buffers]

    def store(self, buffer, data):
        data = as_bytes(data.contiguous())
        self.buffers[buffer][: data.numel()] = data

    def broadcast(self, buffer, source, type, targets):
        """Returns what each target becomes."""
        assert len(targets) == len(self.splits[type])
        self.store(buffer, source)
        return [source.clone() for _ in targets]

    def gather(self, buffer, inputs, type, targets, type_target, dim):
        """Returns what each target becomes."""
        split = self.splits[type]
        rows = inputs[0].shape[0]
        matrix = torch.empty(rows, split[-1][2] * dim, dtype=inputs[0].dtype)
        for (_, begin, end), part in zip(split, inputs, strict=True):
            matrix[:, begin * dim : end * dim] = part
        self.store(buffer, matrix)
        return [matrix.clone() for _ in targets] if type_target >= 0 else []

    def all_reduce(self, tensors, residuals):
        """Returns what each residual becomes."""
        total = summed(residuals[0], tensors)
        return [total.clone() for _ in residuals]
