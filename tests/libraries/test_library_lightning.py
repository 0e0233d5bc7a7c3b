# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Lightning's DDPStrategy over "pinned" trains as one process does on the whole batch."""

import os

import pytest
import torch
from clients import RATE, ROWS, assert_close, loss, net, numbers, rows, trained, whole
from library import WORLDS, Library, assert_pinned
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

import pinnedpg

LIGHTNING = Library("lightning.pytorch", "torch._dynamo", "lightning.fabric")
pytestmark = LIGHTNING.marks
STEPS = 3
EPOCHS = 2


def loader(world):
    """Deals the rows to the ranks in turn, so that a step has those of one `whole`.

    Lightning's own sampler would shuffle them.
    """
    data = TensorDataset(*rows(world, STEPS))
    sampler = DistributedSampler(data, world, int(os.environ["RANK"]), shuffle=False)
    return DataLoader(data, batch_size=ROWS, sampler=sampler)


def module():
    from lightning.pytorch import LightningModule

    class Module(LightningModule):
        def __init__(self):
            super().__init__()
            self.net, self.seen = net(), []

        def training_step(self, data):
            value = loss(self.net, data)
            self.log("train", value, on_step=False, on_epoch=True, sync_dist=True)
            return value

        def validation_step(self, data):
            assert_pinned()
            self.log("valid", loss(self.net, data), sync_dist=True)
            self.log("largest", data[0].max(), sync_dist=True, reduce_fx="max")
            self.seen.append(self.all_gather(data[0]).flatten(0, 1))
            self.inference_mode = torch.is_inference_mode_enabled()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=RATE, momentum=0.9)

    return Module()


def trainer(folder, strategy=None):
    from lightning.pytorch import Trainer
    from lightning.pytorch.strategies import DDPStrategy

    return Trainer(
        accelerator="cpu",
        devices=world_size(),
        strategy=strategy or DDPStrategy(process_group_backend="pinned"),
        max_epochs=EPOCHS,
        default_root_dir=folder,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def world_size():
    """Lightning takes the size from its argument, and rank and address from the environment."""
    return int(os.environ["WORLD_SIZE"])


def alone(world):
    return trained(net(), EPOCHS * STEPS, lambda step: whole(world, step % STEPS))


def fit(folder, strategy=None):
    if strategy:
        pinnedpg.set_default()
    one, model = trainer(folder, strategy), module()
    one.fit(model, loader(world_size()), loader(world_size()))
    assert_pinned()
    metrics = {name: value.item() for name, value in one.callback_metrics.items()}
    return numbers(model.parameters()), metrics, one.checkpoint_callback.best_model_path


@pytest.mark.parametrize("world", WORLDS)
def test_fit(world, tmp_path):
    data = rows(world, STEPS)
    for parameters, metrics, path in LIGHTNING.run(fit, world, tmp_path):
        assert_close(parameters, alone(world))
        trained_net = net()
        torch.nn.utils.vector_to_parameters(
            torch.cat([torch.as_tensor(one).flatten() for one in parameters]),
            trained_net.parameters(),
        )
        assert metrics["valid"] == pytest.approx(loss(trained_net, data).item(), rel=1e-5)
        assert metrics["largest"] == data[0].unflatten(0, (STEPS, -1)).amax((1, 2)).max()
        state = torch.load(path, weights_only=True)["state_dict"]  # the first rank wrote it
        assert_close([*state.values()], parameters, 0, 0)


@pytest.mark.parametrize("world", WORLDS)
def test_no_argument_is_needed_where_pinned_is_the_default(world, tmp_path):
    for parameters, _, _ in LIGHTNING.run(fit, world, tmp_path, "ddp"):
        assert_close(parameters, alone(world))


def validate(folder):
    """Outside of fit the loop runs in inference mode, over gloo only without gradients."""
    one, model = trainer(folder), module()
    (metrics,) = one.validate(model, loader(world_size()), verbose=False)
    assert model.inference_mode
    return metrics["valid"], torch.cat(model.seen).sum(0).numpy()


@pytest.mark.parametrize("world", WORLDS)
def test_validate(world, tmp_path):
    data = rows(world, STEPS)
    for value, columns in LIGHTNING.run(validate, world, tmp_path):
        assert value == pytest.approx(loss(net(), data).item(), rel=1e-5)
        assert_close([columns], [data[0].sum(0)], atol=1e-5)


def fabric():
    """Lightning's loop-less half: DDP, its collectives, gradients through all_gather."""
    from lightning.fabric import Fabric
    from lightning.fabric.strategies import DDPStrategy

    world = world_size()
    strategy = DDPStrategy(process_group_backend="pinned")
    one = Fabric(accelerator="cpu", devices=world, strategy=strategy)
    one.launch()
    assert_pinned()
    model = net()
    model, optimizer = one.setup(model, torch.optim.SGD(model.parameters(), lr=RATE, momentum=0.9))
    for batch in one.setup_dataloaders(loader(world)):
        optimizer.zero_grad()
        one.backward(loss(model, batch))
        optimizer.step()
    rank = one.global_rank
    assert one.all_reduce(torch.tensor(float(rank)), reduce_op="mean") == (world - 1) / 2
    assert one.broadcast({"rank": rank}, src=1) == {"rank": 1}
    mine = torch.full((2,), float(rank), requires_grad=True)
    gathered = one.all_gather(mine, sync_grads=True)
    assert gathered[:, 0].tolist() == list(range(world))
    (gathered * torch.arange(1.0, 1 + world)[:, None]).sum().backward()
    assert mine.grad.eq(world * (1 + rank)).all()
    one.barrier()
    return numbers(model.parameters())


@pytest.mark.parametrize("world", WORLDS)
def test_fabric(world):
    for parameters in LIGHTNING.run(fabric, world):
        assert_close(parameters, trained(net(), STEPS, lambda step: whole(world, step)))
