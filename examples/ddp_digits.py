# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Trains a classifier of handwritten digits with DistributedDataParallel (needs scikit-learn).

torchrun --standalone --nproc-per-node 2 examples/ddp_digits.py
"""

import sys

import torch
import torch.distributed as dist
from sklearn.datasets import load_digits
from torch import nn

import pinnedpg  # noqa: F401  registers the backend "pinned"

EPOCHS, BATCH, TEST = 20, 128, 360


def show_progress(epoch, loss):
    """Redraws its line on a terminal; into a file it writes one now and then."""
    line = f"epoch {epoch:2}/{EPOCHS} [{'#' * epoch:.<{EPOCHS}}] loss {loss:.4f}"
    if sys.stdout.isatty():
        print(f"\r{line}", end="\n" if epoch == EPOCHS else "", flush=True)
    elif epoch % 5 == 0:
        print(line, flush=True)


def main():
    dist.init_process_group("pinned")
    rank, world_size = dist.get_rank(), dist.get_world_size()
    torch.manual_seed(0)  # all ranks shuffle alike, and then deal the cards
    data, target = load_digits(return_X_y=True)
    order = torch.randperm(len(target))
    images, labels = torch.tensor(data).float()[order], torch.tensor(target)[order]
    layers = nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 10)
    model = nn.parallel.DistributedDataParallel(nn.Sequential(*layers))
    optimizer = torch.optim.Adam(model.parameters())
    for epoch in range(1, EPOCHS + 1):
        for batch in torch.randperm(len(labels) - TEST).split(BATCH):
            mine = batch[rank::world_size]
            loss = nn.functional.cross_entropy(model(images[mine]), labels[mine])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if rank == 0:
            show_progress(epoch, loss.item())
    accuracy = (model(images[-TEST:]).argmax(1) == labels[-TEST:]).float().mean().item()
    weights = nn.utils.parameters_to_vector(model.parameters()).detach()
    gathered = [torch.empty_like(weights) for _ in range(world_size)]
    dist.all_gather(gathered, weights)
    assert all(torch.equal(one, weights) for one in gathered), f"rank {rank}: weights differ"
    assert accuracy >= 0.95, f"test accuracy {accuracy:.1%}, not 95 %"
    if rank == 0:
        print(f"ddp_digits: ok, accuracy {accuracy:.1%}, weights bit-equal on {world_size} ranks")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
