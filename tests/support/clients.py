# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""What the tests of torch's own clients share: a model, its data, and the reference."""

import pytest
import ranks
import torch
from default_device import ON_GPU, made, randn
from torch import nn

ranks.PRELOADED += [  # seconds for each worker otherwise
    "torch._dynamo",
    "torch.distributed.checkpoint",
    "torch.distributed.fsdp",
    "torch.distributed.pipelining",
    "torch.distributed.tensor.parallel",
    "torch.profiler",
]
WORLDS = [2, 4]
SOAK_WORLDS = [2, pytest.param(4, marks=pytest.mark.soak)]
"""Of slow tests."""
ROWS = 4
"""Of one rank's batch."""
RATE = 0.1
NEAR = {"rtol": 1e-4, "atol": 1e-5} if ON_GPU else {"rtol": 1e-5, "atol": 1e-6}
"""How far results may lie from what the CPU alone makes of it."""
REL = 1e-4 if ON_GPU else None
"""The same, for pytest.approx."""


def net():
    """Returns the same small model on every rank, and in the test's process."""
    torch.manual_seed(5)
    return made(
        lambda: nn.Sequential(
            nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 4)
        )
    )


def batch(rank, step=0, rows=ROWS):
    """Returns one rank's inputs and targets."""
    generator = torch.Generator().manual_seed(1000 * step + rank)
    return randn(generator, rows, 8), randn(generator, rows, 4)


def whole(world_size, step=0):
    """Returns all ranks' inputs and targets."""
    parts = [batch(rank, step) for rank in range(world_size)]
    return torch.cat([x for x, _ in parts]), torch.cat([y for _, y in parts])


def rows(world_size, steps):
    """Returns the inputs and targets of all steps, in the order of `whole`."""
    parts = [whole(world_size, step) for step in range(steps)]
    return torch.cat([x for x, _ in parts]), torch.cat([y for _, y in parts])


def loss(model, data):
    return nn.functional.mse_loss(model(data[0]), data[1])


def trained(model, steps, data, optimizer=None):
    """Trains on `data(step)`, and returns the parameters."""
    optimizer = optimizer or torch.optim.SGD(model.parameters(), lr=RATE, momentum=0.9)
    for step in range(steps):
        optimizer.zero_grad()
        loss(model, data(step)).backward()
        optimizer.step()
    return numbers(model.parameters())


def numbers(tensors):
    """Returns copies that can be pickled as they are; of split ones, the whole."""
    whole = [one.full_tensor() if hasattr(one, "full_tensor") else one for one in tensors]
    return [tensor.detach().cpu().clone().numpy() for tensor in whole]


def assert_close(got, wanted, rtol=NEAR["rtol"], atol=NEAR["atol"]):
    """Compares lists of arrays or tensors."""
    assert len(got) == len(wanted)
    for one, other in zip(got, wanted, strict=True):
        torch.testing.assert_close(
            torch.as_tensor(one), torch.as_tensor(other), rtol=rtol, atol=atol
        )
