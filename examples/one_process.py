# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""One process that owns several replicas of a model and averages their gradients: lists of tensors.

python examples/one_process.py
"""

import torch
import torch.distributed as dist
from torch.nn.functional import mse_loss

from pinnedpg import devices

REPLICAS = 4


def gradients(model, inputs, labels):
    loss = mse_loss(model(inputs), labels)
    return torch.autograd.grad(loss, list(model.parameters()))


def main():
    torch.manual_seed(0)
    devices.init()  # a group of this process alone
    inputs, labels = torch.randn(64, 32), torch.randn(64, 8)
    replicas = [torch.nn.Linear(32, 8) for _ in range(REPLICAS)]

    for copies in zip(*(replica.parameters() for replica in replicas), strict=True):
        devices.broadcast([copy.detach() for copy in copies], src_tensor=0)

    shards = zip(replicas, inputs.chunk(REPLICAS), labels.chunk(REPLICAS), strict=True)
    local = [gradients(*shard) for shard in shards]
    works = [
        devices.all_reduce(list(same), op=dist.ReduceOp.AVG, async_op=True)
        for same in zip(*local, strict=True)  # the same parameter's gradients, one per replica
    ]
    for work in works:
        work.wait()

    whole = gradients(replicas[0], inputs, labels)
    for averaged in local:
        torch.testing.assert_close(averaged, whole)
    print(f"one_process: ok, {REPLICAS} replicas have the gradient of the whole batch")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
