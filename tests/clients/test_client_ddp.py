# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""DistributedDataParallel over "pinned" trains as one process does on the whole batch."""

import pytest
import ranks
import torch
import torch.distributed as dist
from clients import RATE, WORLDS, assert_close, batch, loss, net, numbers, trained, whole
from default_device import made
from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks
from torch.distributed.algorithms.ddp_comm_hooks.powerSGD_hook import PowerSGDState, powerSGD_hook
from torch.nn.parallel import DistributedDataParallel as DDP

STEPS = 3
OPTIONS = {
    "plain": {},
    "many-buckets": {"bucket_cap_mb": 0.0005},
    "view": {"gradient_as_bucket_view": True},
    "unused": {"find_unused_parameters": True},
    "static": {"static_graph": True},
}


def alone(world_size, steps=STEPS):
    return trained(net(), steps, lambda step: whole(world_size, step))


def train(options):
    rank = dist.get_rank()
    return trained(DDP(net(), **options), STEPS, lambda step: batch(rank, step))


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("world", WORLDS)
def test_ddp(world, options):
    for parameters in ranks.run(train, world, OPTIONS[options]):
        assert_close(parameters, alone(world))


def halve(state, bucket):
    """A hook with a collective in the callback of another: with one bucket all have one order."""
    world = dist.get_world_size()
    first = dist.all_reduce(bucket.buffer(), async_op=True).get_future()

    def again(done):
        tensor = done.value()[0].div_(2 * world)
        dist.all_reduce(count := tensor.new_ones(1))  # in a hook there is no default device
        assert count.item() == world
        return tensor.mul_(2)

    return first.then(again)


def gather_and_sum(state, bucket):
    """Averages by all_gather, as hooks that compress do."""
    mine, world = bucket.buffer(), dist.get_world_size()
    everyones = mine.new_empty(world * mine.numel())
    work = dist.all_gather_into_tensor(everyones, mine, async_op=True)
    return work.get_future().then(lambda done: done.value()[0].view(world, -1).mean(0))


def bf16(state, bucket):
    """torch refuses its own by name where there is no NCCL: see test_torch_refuses_bf16_by_name."""
    return default_hooks.bf16_compress_hook(state, bucket)


HOOKS = {  # the hook, its tolerance, the buckets' size
    "allreduce": (default_hooks.allreduce_hook, 1e-5, 0.0005),
    "bf16": (bf16, 2e-2, 0.0005),
    "fp16": (default_hooks.fp16_compress_hook, 2e-3, 0.0005),
    "two-in-a-row": (halve, 1e-5, 25),
    "by-all-gather": (gather_and_sum, 1e-5, 0.0005),
}


def train_with_hook(name):
    hook, _, bucket_cap_mb = HOOKS[name]
    rank, model = dist.get_rank(), DDP(net(), bucket_cap_mb=bucket_cap_mb)
    model.register_comm_hook(None, hook)
    return trained(model, STEPS, lambda step: batch(rank, step))


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("world", WORLDS)
def test_comm_hooks(world, hook):
    results = ranks.run(train_with_hook, world, hook)
    for parameters in results:
        assert_close(parameters, alone(world), rtol=HOOKS[hook][1], atol=HOOKS[hook][1])
        assert_close(parameters, results[0], rtol=0, atol=0)


def refused():
    with pytest.raises(TypeError, match="BF16 all reduce communication hook required"):
        DDP(net()).register_comm_hook(None, default_hooks.bf16_compress_hook)


@pytest.mark.skipif(dist.is_nccl_available(), reason="a torch that has NCCL lets it through")
def test_torch_refuses_bf16_by_name():
    ranks.run(refused, 2)


def train_with_power_sgd():
    rank, model = dist.get_rank(), DDP(net())
    state = PowerSGDState(dist.group.WORLD, matrix_approximation_rank=8, start_powerSGD_iter=2)
    model.register_comm_hook(state, powerSGD_hook)
    return trained(model, 5, lambda step: batch(rank, step))


@pytest.mark.parametrize("world", WORLDS)
def test_power_sgd(world):
    results = ranks.run(train_with_power_sgd, world)
    for parameters in results:
        assert_close(parameters, results[0], rtol=0, atol=0)
        assert_close(parameters, alone(world, 5), rtol=0.2, atol=0.05)  # a lossy compression


class Forked(nn.Module):
    """Uses one of two heads."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(6)
        self.stem, self.heads = nn.Linear(8, 8), nn.ModuleList(nn.Linear(8, 4) for _ in range(2))

    def forward(self, inputs, head):
        return self.heads[head](self.stem(inputs).tanh())


def forked_loss(model, data, head):
    return nn.functional.mse_loss(model(data[0], head), data[1])


def with_unused_heads():
    rank = dist.get_rank()
    model = DDP(made(Forked), find_unused_parameters=True)
    for head in (rank % 2, 0):  # ranks use different ones; none uses the second
        model.zero_grad()
        forked_loss(model, batch(rank), head).backward()
        yield_grads = [p.grad for p in model.parameters()]
    unused = model.module.heads[1].weight.grad
    return numbers(yield_grads[:4]), unused is None or bool((unused == 0).all())


@pytest.mark.parametrize("world", WORLDS)
def test_unused_parameters(world):
    model = Forked()
    forked_loss(model, whole(world), 0).backward()
    wanted = [parameter.grad for parameter in model.parameters()][:4]
    for grads, unused_is_zero in ranks.run(with_unused_heads, world):
        assert_close(grads, wanted)
        assert unused_is_zero


def accumulate():
    rank, model = dist.get_rank(), DDP(net())
    with model.no_sync():
        for step in range(2):
            loss(model, batch(rank, step)).backward()
    own = numbers(parameter.grad for parameter in model.parameters())
    loss(model, batch(rank, 2)).backward()
    return own, numbers(parameter.grad for parameter in model.parameters())


def summed_grads(batches):
    model = net()
    for data in batches:
        loss(model, data).backward()
    return numbers(parameter.grad for parameter in model.parameters())


@pytest.mark.parametrize("world", WORLDS)
def test_no_sync(world):
    together = summed_grads(whole(world, step) for step in range(3))
    for rank, (own, synced) in enumerate(ranks.run(accumulate, world)):
        assert_close(own, summed_grads(batch(rank, step) for step in range(2)))
        assert_close(synced, together)


def uneven():
    """Rank r has 2 + r batches."""
    rank, model = dist.get_rank(), DDP(net())
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
    with model.join():
        for step in range(2 + rank):
            optimizer.zero_grad()
            loss(model, batch(rank, step)).backward()
            optimizer.step()
    return numbers(model.parameters())


def uneven_alone(world_size):
    """The sum over those that still have a batch, divided by the size of the world."""
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
    for step in range(1 + world_size):
        optimizer.zero_grad()
        for rank in range(world_size):
            if step < 2 + rank:
                (loss(model, batch(rank, step)) / world_size).backward()
        optimizer.step()
    return numbers(model.parameters())


@pytest.mark.parametrize("world", WORLDS)
def test_join(world):
    for parameters in ranks.run(uneven, world):
        assert_close(parameters, uneven_alone(world))


def with_buffers(wrap):
    """DDP broadcasts rank 0's buffers before each forward pass; the last one has rank 0's data."""
    torch.manual_seed(7)
    rank = dist.get_rank() if dist.is_initialized() else 0
    model = wrap(made(lambda: nn.Sequential(nn.Linear(8, 4), nn.BatchNorm1d(4))))
    for step in range(2):
        loss(model, batch(rank, step)).backward()
    model(batch(0)[0])
    return numbers(model.buffers())


@pytest.mark.parametrize("world", WORLDS)
def test_buffers(world):
    for result in ranks.run(with_buffers, world, DDP):
        assert_close(result, with_buffers(nn.Sequential))


def embedding():
    torch.manual_seed(5)
    return made(lambda: nn.Sequential(nn.Embedding(50, 4, sparse=True), nn.Linear(4, 1)))


def words(world_size):
    """Returns every rank's row."""
    generator = torch.Generator().manual_seed(9)
    return made(lambda: torch.randint(0, 50, (world_size, 6), generator=generator))


def dense_grads(model):
    return numbers(parameter.grad.to_dense() for parameter in model.parameters())


def with_a_sparse_embedding():
    """DDP hands the embedding's gradients over as they are."""
    model = DDP(embedding())
    model(words(dist.get_world_size())[dist.get_rank()]).mean().backward()
    return model.module[0].weight.grad.is_sparse, dense_grads(model)


@pytest.mark.cpu_only("all_reduce refuses sparse CUDA tensors")
@pytest.mark.parametrize("world", WORLDS)
def test_sparse_embedding(world):
    model = embedding()
    model(words(world)).mean().backward()
    for is_sparse, grads in ranks.run(with_a_sparse_embedding, world):
        assert is_sparse
        assert_close(grads, dense_grads(model))


def averaging():
    """The averager of the post-local SGD."""
    from torch.distributed.algorithms.model_averaging import averagers

    parameters = [nn.Parameter(one.detach() + dist.get_rank()) for one in net().parameters()]
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)  # else it is not averaged
    averagers.PeriodicModelAverager(period=2).average_parameters(parameters)
    return numbers(parameters)


@pytest.mark.parametrize("world", WORLDS)
def test_model_averager(world):
    wanted = [p.detach() + (world - 1) / 2 for p in net().parameters()]
    for parameters in ranks.run(averaging, world):
        assert_close(parameters, wanted)
