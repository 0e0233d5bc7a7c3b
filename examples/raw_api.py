# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""The raw API on two host devices or two GPUs: python examples/raw_api.py [--device cuda]."""

import argparse

import torch

from pinnedpg import tp

parser = argparse.ArgumentParser()
parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
on_gpus = parser.parse_args().device == "cuda"
if on_gpus and torch.cuda.device_count() < 2:
    parser.error("--device cuda needs two GPUs")

ROWS, HEAD_DIM = 5, 4
SPLIT = [(0, 0, 3), (1, 3, 4)]  # (device, begin, end) in heads: uneven shares are fine
names = ["cuda:0", "cuda:1"] if on_gpus else ["cpu", "cpu"]
streams = [torch.cuda.Stream(d).cuda_stream if on_gpus else tp.HostStream(d) for d in range(2)]
temp = [torch.empty(1 << 16, pin_memory=on_gpus) for _ in range(2)]  # the host buffers
ctx = tp.make_tp_context(SPLIT, SPLIT, SPLIT, SPLIT, SPLIT, temp, streams)

# The whole source to every device.
source = torch.randn(ROWS, 4 * HEAD_DIM)
targets = [torch.empty(ROWS, 4 * HEAD_DIM, device=name) for name in names]
tp.tp_broadcast(ctx, 0, source, tp.BROADCAST_KV, targets, HEAD_DIM)

# Each device's heads to the whole matrix on every device. On GPUs the streams see to the order;
# what a host device computes is the host's work, which waits before it reads.
if not on_gpus:
    tp.tp_synchronize(ctx)
heads = [targets[d][:, b * HEAD_DIM : e * HEAD_DIM] * 2 for d, b, e in SPLIT]
whole = [torch.empty(ROWS, 4 * HEAD_DIM, device=name) for name in names]
tp.tp_gather(ctx, 1, heads, tp.BROADCAST_Q, whole, tp.BROADCAST_Q, HEAD_DIM)

# Every residual becomes residuals[0] and all tensors.
tensors = [torch.full((ROWS, 8), d + 1.0, device=name) for d, name in enumerate(names)]
residuals = [torch.full((ROWS, 8), 10.0, device=name) for name in names]
tp.tp_all_reduce(ctx, 0, tensors, residuals)

tp.tp_synchronize(ctx)
assert all(torch.equal(matrix.cpu(), 2 * source) for matrix in whole)
assert all(residual.eq(13).all() for residual in residuals)
tp.free_tp_context(ctx)
print(f"raw_api: ok, two {'GPUs' if on_gpus else 'host devices'} have the same results")
