# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Trains a classifier of handwritten digits with FSDP2's fully_shard (needs scikit-learn).

torchrun --standalone --nproc-per-node 2 examples/fsdp_digits.py [--device cuda]
"""

import argparse

import torch
import torch.distributed as dist
from sklearn.datasets import load_digits
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

import pinnedpg  # noqa: F401  registers the backend "pinned"

EPOCHS, BATCH, TEST = 20, 128, 360


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    dist.init_process_group("pinned")
    device = parser.parse_args().device
    rank, world_size = dist.get_rank(), dist.get_world_size()
    if device == "cuda":  # a GPU each, or shared where there are fewer
        torch.cuda.set_device(rank % torch.cuda.device_count())
    torch.set_default_device(device)
    torch.manual_seed(0)  # all ranks shuffle alike, and then deal the cards
    data, target = load_digits(return_X_y=True)
    images, labels = torch.tensor(data).float(), torch.tensor(target)
    train, test = torch.randperm(len(labels)).tensor_split([-TEST])
    model = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 10))
    whole = sum(weight.numel() for weight in model.parameters())
    mesh = init_device_mesh(device, (world_size,))
    for layer in (model[0], model[2], model):  # each is gathered when it is its turn
        fully_shard(layer, mesh=mesh)
    optimizer = torch.optim.Adam(model.parameters())
    for epoch in range(1, EPOCHS + 1):
        for batch in train[torch.randperm(len(train))].split(BATCH):
            mine = batch[rank::world_size]
            loss = nn.functional.cross_entropy(model(images[mine]), labels[mine])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if rank == 0 and epoch % 5 == 0:
            print(f"epoch {epoch:2}/{EPOCHS} loss {loss:.4f}", flush=True)
    own = sum(weight.to_local().numel() for weight in model.state_dict().values())
    accuracy = (model(images[test]).argmax(1) == labels[test]).float().mean().item()
    assert own <= whole / world_size + 1000, f"rank {rank} has {own} of {whole} weights"
    assert accuracy >= 0.95, f"test accuracy {accuracy:.1%}, not 95 %"
    if rank == 0:
        print(f"fsdp_digits: ok, accuracy {accuracy:.1%}, sharded on {world_size} ranks")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
