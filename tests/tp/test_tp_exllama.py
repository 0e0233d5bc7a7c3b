# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""A tensor-parallel forward pass that calls pinnedpg.tp the way exllamav2 calls its extension.

Positional arguments, streams as integers by ordinal, views of the pinned buffers as hidden states,
two buffers in turn. Each device computes on its own stream.
"""

import pytest
import torch
from tp_rig import SECONDS

from pinnedpg import tp as ext_c

HEADS, HEAD_DIM, INTERMEDIATE, VOCABULARY, LAYERS = 6, 4, 40, 50, 2
HIDDEN = HEADS * HEAD_DIM
DTYPE = torch.double


def split_of(shares):
    split, end = [], 0
    for device, units in shares.items():
        if units:
            split.append((device, end, end + units))
            end += units
    return split


class TPContext:
    """The calls and their order are those of exllamav2's class of that name."""

    def __init__(self, shares):
        self.split = {name: split_of(part) for name, part in shares.items()}
        self.devices = sorted({device for part in self.split.values() for device, _, _ in part})
        self.stream_objects = {device: ext_c.HostStream(device) for device in self.devices}
        streams = [0] * (max(self.devices) + 1)
        for device, stream in self.stream_objects.items():
            streams[device] = stream.cuda_stream
        size = 64 * max(HIDDEN, INTERMEDIATE, VOCABULARY)
        self.pinned_temp = [torch.empty(size, dtype=DTYPE) for _ in range(2)]
        order = ("kv", "id", "vc", "rs", "q")
        self.type = {name: index for index, name in enumerate(order)}
        self.ext = ext_c.make_tp_context(
            *(self.split[name] for name in order), self.pinned_temp, streams
        )

    def unload(self):
        ext_c.free_tp_context(self.ext)

    def get_pinned(self, buffer, rows, width):
        return self.pinned_temp[buffer][: rows * width].view(rows, width)

    def copy_pinned(self, buffer, tensor):
        ext_c.tp_synchronize(self.ext, buffer)
        view = self.get_pinned(buffer, *tensor.shape)
        view.copy_(tensor)
        return view

    def broadcast(self, buffer, source, name, dim=1):
        targets = [torch.empty_like(source) for _ in self.split[name]]
        ext_c.tp_broadcast(self.ext, buffer, source, self.type[name], targets, dim, -1)
        return targets

    def gather(self, buffer, inputs, name, dim=1):
        ext_c.tp_gather(self.ext, buffer, inputs, self.type[name], [], -1, dim, -1)
        return self.get_pinned(buffer, inputs[0].shape[0], self.split[name][-1][2] * dim)

    def allgather(self, buffer, inputs, name, name_target, dim=1):
        shape = (inputs[0].shape[0], self.split[name][-1][2] * dim)
        targets = [torch.empty(shape, dtype=DTYPE) for _ in self.split[name_target]]
        ext_c.tp_gather(
            self.ext, buffer, inputs, self.type[name], targets, self.type[name_target], dim, -1
        )
        return targets

    def wait_streams(self):
        for stream in self.stream_objects.values():
            stream.synchronize(SECONDS)

    def compute(self, name, function, width, rows, dim=1):
        """Each device of the split makes its columns: function(entry, columns, output)."""
        outputs = []
        for i, (device, begin, end) in enumerate(self.split[name]):
            columns = slice(begin * dim, end * dim)
            output = torch.empty(rows, (end - begin) * dim, dtype=DTYPE)
            self.stream_objects[device].submit(
                lambda i=i, c=columns, o=output: o.copy_(function(i, c))
            )
            outputs.append(output)
        assert sum(output.shape[1] for output in outputs) == width
        return outputs


def norm(x):
    return x / x.pow(2).mean(-1, keepdim=True).add(1e-6).sqrt()


def weights(generator):
    def matrix(rows, cols):
        return torch.randn(rows, cols, dtype=DTYPE, generator=generator) / rows**0.5

    layers = [
        {"v": matrix(HIDDEN, HIDDEN), "o": matrix(HIDDEN, HIDDEN),
         "up": matrix(HIDDEN, INTERMEDIATE), "down": matrix(INTERMEDIATE, HIDDEN)}
        for _ in range(LAYERS)
    ]  # fmt: skip
    return layers, matrix(HIDDEN, VOCABULARY)


def dense(x, layers, head):
    for w in layers:
        x = x + torch.tanh(norm(x) @ w["v"]) @ w["o"]
        x = x + torch.relu(norm(x) @ w["up"]) @ w["down"]
    return norm(x) @ head


def parallel(ctx, embedded, layers, head):
    rows = embedded.shape[0]
    hidden = ctx.copy_pinned(0, embedded)
    for w in layers:
        x = ctx.broadcast(0, hidden, "q", HEAD_DIM)
        part = ctx.compute(
            "q",
            lambda i, c, x=x, w=w: torch.tanh(norm(x[i]) @ w["v"][:, c]),
            HIDDEN,
            rows,
            HEAD_DIM,
        )
        heads = ctx.allgather(1, part, "q", "q", HEAD_DIM)
        part = ctx.compute(
            "q",
            lambda i, c, x=x, h=heads, w=w: x[i][:, c] + h[i] @ w["o"][:, c],
            HIDDEN,
            rows,
            HEAD_DIM,
        )
        hidden = ctx.gather(0, part, "q", HEAD_DIM)
        x = ctx.broadcast(0, hidden, "id")
        part = ctx.compute(
            "id", lambda i, c, x=x, w=w: torch.relu(norm(x[i]) @ w["up"][:, c]), INTERMEDIATE, rows
        )
        y = ctx.broadcast(0, hidden, "rs")
        wide = ctx.allgather(1, part, "id", "rs")
        part = ctx.compute(
            "rs", lambda i, c, y=y, z=wide, w=w: y[i][:, c] + z[i] @ w["down"][:, c], HIDDEN, rows
        )
        hidden = ctx.gather(0, part, "rs")
    x = ctx.broadcast(0, hidden, "vc")
    part = ctx.compute("vc", lambda i, c: norm(x[i]) @ head[:, c], VOCABULARY, rows)
    logits = ctx.gather(0, part, "vc")
    ctx.wait_streams()
    return logits


SHARES = {
    "one device": {name: {0: total} for name, total in
                   [("kv", 2), ("id", 40), ("vc", 50), ("rs", 24), ("q", 6)]},
    "even": {"kv": {0: 1, 1: 1}, "id": {0: 20, 1: 20}, "vc": {0: 25, 1: 25}, "rs": {0: 12, 1: 12},
             "q": {0: 3, 1: 3}},
    "uneven, gaps, some without a share": {
        "kv": {0: 1, 2: 1, 5: 0}, "id": {0: 30, 2: 10, 5: 0}, "vc": {2: 1, 5: 49},
        "rs": {0: 1, 2: 2, 5: 21}, "q": {0: 1, 2: 0, 5: 5}},
}  # fmt: skip


@pytest.mark.parametrize("shares", SHARES)
def test_forward_passes(shares):
    generator = torch.Generator().manual_seed(1)
    layers, head = weights(generator)
    ctx = TPContext(SHARES[shares])
    # The wait at the end of a pass is skipped once: the next pass must not overrun it.
    for rows in (1, 7, 64, 1, 1, 33):
        embedded = torch.randn(rows, HIDDEN, dtype=DTYPE, generator=generator)
        if rows == 64:
            parallel_without_waiting(ctx, embedded, layers, head)
        logits = parallel(ctx, embedded, layers, head)
        torch.testing.assert_close(logits, dense(embedded, layers, head))
    ctx.unload()


def parallel_without_waiting(ctx, embedded, layers, head):
    """A pass that is given up by its caller."""
    waits, ctx.wait_streams = ctx.wait_streams, lambda: None
    parallel(ctx, embedded, layers, head)
    ctx.wait_streams = waits
