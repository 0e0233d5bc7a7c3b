# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""A state of the ranks that checkpoints are made of, and whether what was loaded is that."""

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from clients import assert_close
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor, zeros


def sharded(number):
    """Returns a state: a split tensor, one that is whole, and what is no tensor."""
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    tensor = torch.arange(35.0).view(7, 5) + number
    split = distribute_tensor(tensor, mesh, [Shard(0)])
    return {"split": split, "whole": tensor * 2, "step": number}


def empty():
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    split = zeros(7, 5, device_mesh=mesh, placements=[Shard(1)])  # another layout
    return {"split": split, "whole": torch.zeros(7, 5), "step": 0}


def save(path, number):
    dcp.save(sharded(number), checkpoint_id=path)


def load(path):
    state = empty()
    dcp.load(state, checkpoint_id=path)
    return state["split"].full_tensor().numpy(), state["whole"].numpy(), state["step"]


def assert_is(results, number):
    wanted = torch.arange(35.0).view(7, 5) + number
    for split, unsplit, step in results:
        assert_close([split, unsplit], [wanted, wanted * 2])
        assert step == number
