# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Times a DDP training step of a model with 100 million parameters, `pinned` against `gloo`.

    python benchmarks/ddp.py --json benchmarks/ddp.json

Models with the same weights and batches live in the same processes, one with each backend, and
take steps round by round in turn; a third takes them without any communication. Before and after,
the gradients must agree between the backends, and between the ranks bit by bit.
"""

import argparse
import copy
import sys
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import pinnedpg  # noqa: F401
from pinnedpg.bench import launch, record
from pinnedpg.bench.timing import Plan, interleave, ratio


def arguments() -> argparse.Namespace:
    """Returns the parsed command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nproc", type=int, default=2)
    parser.add_argument("--layers", type=int, default=14, help="of 7.1 million parameters each")
    parser.add_argument("--tokens", type=int, default=16, help="of a rank's batch")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=60.0, help="of all rounds, roughly")
    parser.add_argument("--json", metavar="FILE")
    return parser.parse_args()


class Trainer:
    """A model that is trained: with a backend, or None: by each rank for itself."""

    def __init__(self, model: nn.Module, backend: str | None, batch: torch.Tensor):
        """Trains a copy of the model."""
        self.batch = batch
        self.model = copy.deepcopy(model)
        if backend:
            group = dist.new_group(backend=backend)
            self.model = DistributedDataParallel(
                self.model, process_group=group, gradient_as_bucket_view=True
            )
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=1e-3)

    def step(self) -> None:
        """Takes a step."""
        self.optimizer.zero_grad()
        self.model(self.batch).square().mean().backward()
        self.optimizer.step()

    def gradient(self) -> torch.Tensor:
        """Returns the gradients of a step, in one tensor."""
        self.step()
        return torch.cat(
            [one.grad.flatten() for one in self.model.parameters() if one.grad is not None]
        )


def count_wrong(trainers: dict[str, Trainer]) -> int:
    """Returns how many gradients differ between backends beyond rounding, or between ranks."""
    ours, gloo = trainers["pinned"], trainers["gloo"]
    gloo.model.load_state_dict(ours.model.state_dict())
    pinned, wanted = ours.gradient(), gloo.gradient()
    first = pinned.clone()
    dist.broadcast(first, 0)
    differ = ((pinned - wanted).abs() > 1e-4 * wanted.abs().max()).sum() + (pinned != first).sum()
    dist.all_reduce(differ)
    return int(differ)


def make(options: argparse.Namespace, rank: int) -> dict[str, Trainer]:
    """Returns a trainer for each backend, and one that is alone, all with the same weights."""
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(768, 12, 3072, dropout=0.0, batch_first=True)
    model = nn.TransformerEncoder(layer, options.layers)
    batch = torch.randn(1, options.tokens, 768, generator=torch.Generator().manual_seed(rank))
    return {name or "alone": Trainer(model, name, batch) for name in ("pinned", "gloo", None)}


def measure(options: argparse.Namespace, rank: int) -> dict[str, Any]:
    """Returns what was found, as the JSON has it."""
    trainers = make(options, rank)
    wrong = count_wrong(trainers)
    plan = Plan(calls=1, rounds=options.rounds, warmup=1, seconds=options.seconds)
    found = interleave({name: trainer.step for name, trainer in trainers.items()}, plan)
    wrong += count_wrong(trainers)
    parameters = sum(one.numel() for one in trainers["alone"].model.parameters())
    about = {"operation": "ddp_step", "dtype": "float", "bytes": 4 * parameters, "form": "-"}
    compared = [{**about, "peer": "gloo", "ratio": ratio(found["gloo"], found["pinned"])}]
    return {
        "machine": record.machine(),
        "world_size": dist.get_world_size(),
        "command": sys.argv[1:],
        "parameters": parameters,
        "tokens": options.tokens,
        "wrong": wrong,
        "ratios": compared,
        "rows": [
            {
                **about,
                "backend": name,
                "time_us": round(one.time_us, 1),
                "rounds_us": [round(us, 1) for us in one.rounds_us],
            }
            for name, one in found.items()
        ],
    }


def main() -> int:
    """Runs as one rank, or starts the ranks; the exit status is 1 where a gradient was wrong."""
    options = arguments()
    if not launch.is_rank():
        return launch.launch(sys.argv, options.nproc, by_mpi=False)
    rank, _ = launch.join(pin=True)
    found = measure(options, rank)
    if rank == 0:
        print(f"# DDP step of {found['parameters'] / 1e6:.1f} million parameters")
        for row in found["rows"]:
            print(f"{row['backend']:>8} {row['time_us'] / 1e3:>9.1f} ms")
        print(f"# gloo over pinned, paired: {found['ratios'][0]['ratio']:.2f}x")
        print(f"# wrong gradients: {found['wrong']}")
        if options.json:
            record.write(options.json, found)
    dist.barrier()
    dist.destroy_process_group()
    return int(found["wrong"] > 0)


if __name__ == "__main__":
    sys.exit(main())
