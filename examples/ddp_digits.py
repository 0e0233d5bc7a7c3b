# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Trains a classifier of handwritten digits with DistributedDataParallel (needs scikit-learn).

torchrun --standalone --nproc-per-node 2 examples/ddp_digits.py [--device cuda]
"""

import argparse
import sys

import torch
import torch.distributed as dist
from sklearn.datasets import load_digits
from torch import nn

import pinnedpg  # noqa: F401  registers the backend "pinned"

EPOCHS, BATCH, TEST = 20, 128, 360


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    dist.init_process_group("pinned")
    rank, world_size = dist.get_rank(), dist.get_world_size()
    if parser.parse_args().device == "cuda":  # a GPU each, or shared where there are fewer
        torch.cuda.set_device(rank % torch.cuda.device_count())
        torch.set_default_device("cuda")
    torch.manual_seed(0)  # all ranks shuffle alike, and then deal the cards
    data, target = load_digits(return_X_y=True)
    images, labels = torch.tensor(data).float(), torch.tensor(target)
    train, test = torch.randperm(len(labels)).tensor_split([-TEST])
    layers = nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 10)
    model = nn.parallel.DistributedDataParallel(nn.Sequential(*layers))
    optimizer = torch.optim.Adam(model.parameters())
    for epoch in range(1, EPOCHS + 1):
        for batch in train[torch.randperm(len(train))].split(BATCH):
            mine = batch[rank::world_size]
            loss = nn.functional.cross_entropy(model(images[mine]), labels[mine])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        draws = sys.stdout.isatty()  # its line anew; into a file it writes one now and then
        if rank == 0 and (draws or epoch % 5 == 0):
            line = f"epoch {epoch:2}/{EPOCHS} [{'#' * epoch:.<{EPOCHS}}] loss {loss:.4f}"
            print(line, end="\r" if draws and epoch < EPOCHS else "\n", flush=True)
    accuracy = (model(images[test]).argmax(1) == labels[test]).float().mean().item()
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
