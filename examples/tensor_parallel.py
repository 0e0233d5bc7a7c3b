# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""A transformer layer split unevenly over two host devices: python examples/tensor_parallel.py."""

import torch
from torch.nn.functional import scaled_dot_product_attention, silu

from pinnedpg import tp

ROWS, HIDDEN, INNER, HEADS, KV_HEADS, HEAD_DIM = 12, 128, 352, 8, 4, 16
KV, Q = [(0, 0, 3), (1, 3, KV_HEADS)], [(0, 0, 6), (1, 6, HEADS)]  # (device, begin, end)
ID, RS = [(0, 0, 224), (1, 224, INNER)], [(0, 0, 96), (1, 96, HIDDEN)]


def attend(x, wq, wk, wv):
    q, k, v = ((x @ w).unflatten(1, (-1, HEAD_DIM)).transpose(0, 1) for w in (wq, wk, wv))
    return scaled_dot_product_attention(q, k, v, enable_gqa=True).transpose(0, 1).flatten(1)


def mlp(x, gate, up, down):
    return (silu(x @ gate) * (x @ up)) @ down


def unsplit_layer(x, wq, wk, wv, wo, *mlp_weights):
    x = x + attend(x, wq, wk, wv) @ wo
    return x + mlp(x, *mlp_weights)


def split_layer(x, wq, wk, wv, wo, gate, up, down):
    def shares(weight, split, dim=1, axis=1):
        return [weight.narrow(axis, b * dim, (e - b) * dim) for _, b, e in split]

    temp = [torch.empty(ROWS, HIDDEN) for _ in range(2)]  # the host buffers
    ctx = tp.make_tp_context(KV, ID, [], RS, Q, temp, [tp.HostStream(d) for d in range(2)])
    xs, full = ([torch.empty(ROWS, HIDDEN) for _ in range(2)] for _ in range(2))  # by device

    tp.tp_broadcast(ctx, 0, x, tp.BROADCAST_Q, xs, HEAD_DIM)
    tp.tp_synchronize(ctx)  # Python is the host here: it waits before it reads an output
    keys, values = shares(wk, KV, HEAD_DIM), shares(wv, KV, HEAD_DIM)
    heads = list(map(attend, xs, shares(wq, Q, HEAD_DIM), keys, values))
    tp.tp_gather(ctx, 1, heads, tp.BROADCAST_Q, full, tp.BROADCAST_Q, HEAD_DIM)
    tp.tp_synchronize(ctx)
    columns = [xs[d][:, b:e] + full[d] @ wo[:, b:e] for d, b, e in RS]
    tp.tp_gather(ctx, 0, columns, tp.BROADCAST_RS, [], -1, 1)  # stays in the buffer
    tp.tp_broadcast(ctx, 0, temp[0], tp.BROADCAST_ID, xs, 1)  # from where it lies
    tp.tp_synchronize(ctx)
    parts = list(map(mlp, xs, shares(gate, ID), shares(up, ID), shares(down, ID, axis=0)))
    tp.tp_all_reduce(ctx, 1, parts, xs)  # every one becomes xs[0] + all parts
    tp.free_tp_context(ctx)  # waits as well
    return xs


torch.manual_seed(0)
shapes = [(ROWS, HIDDEN), (HIDDEN, HEADS * HEAD_DIM), *[(HIDDEN, KV_HEADS * HEAD_DIM)] * 2]
shapes += [(HEADS * HEAD_DIM, HIDDEN), (HIDDEN, INNER), (HIDDEN, INNER), (INNER, HIDDEN)]
tensors = [torch.randn(shape) / shape[0] ** 0.5 for shape in shapes]
outputs = split_layer(*tensors)
for output in outputs:
    torch.testing.assert_close(output, unsplit_layer(*tensors))
print(f"tensor_parallel: ok, {len(outputs)} devices have the unsplit layer's output")
