# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""accelerate over "pinned" trains as one process does on the whole batch."""

import pytest
import torch
import torch.distributed as dist
from clients import ROWS, assert_close, loss, net, numbers, rows, trained, whole
from library import WORLDS, Library, assert_pinned
from torch.utils.data import DataLoader, TensorDataset

ACCELERATE = Library("accelerate", "torch._dynamo", "deepspeed")
pytestmark = ACCELERATE.marks
STEPS = 4
MAX_NORM = 0.3


def accelerator(**options):
    """Makes the group first: on CPU accelerate would take gloo, and refuses any other name."""
    from accelerate import Accelerator

    dist.init_process_group("pinned")
    one = Accelerator(cpu=True, **options)
    assert one.num_processes == dist.get_world_size()
    assert one.process_index == dist.get_rank()
    assert_pinned()
    return one


def train(accumulation_steps, max_norm):
    """Trains as accelerate's own documentation does."""
    one = accelerator(gradient_accumulation_steps=accumulation_steps)
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    loader = DataLoader(TensorDataset(*rows(one.num_processes, STEPS)), batch_size=ROWS)
    model, optimizer, loader = one.prepare(model, optimizer, loader)
    assert isinstance(model, torch.nn.parallel.DistributedDataParallel)
    assert len(loader) == STEPS
    for data in loader:
        with one.accumulate(model):
            one.backward(loss(model, data))
            if max_norm and one.sync_gradients:
                one.clip_grad_norm_(model.parameters(), max_norm)
            optimizer.step()
            optimizer.zero_grad()  # after the step: before it, accelerate's would drop the sum
    return numbers(one.unwrap_model(model).parameters())


def clipped(world_size):
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for step in range(STEPS):
        optimizer.zero_grad()
        loss(model, whole(world_size, step)).backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), MAX_NORM)
        assert norm > MAX_NORM, "nothing to clip"
        optimizer.step()
    return numbers(model.parameters())


@pytest.mark.parametrize("world", WORLDS)
def test_train(world):
    wanted = trained(net(), STEPS, lambda step: whole(world, step))
    for parameters in ACCELERATE.run(train, world, 1, None):
        assert_close(parameters, wanted)


@pytest.mark.parametrize("world", WORLDS)
def test_clip_the_norm(world):
    for parameters in ACCELERATE.run(train, world, 1, MAX_NORM):
        assert_close(parameters, clipped(world))


def in_pairs(world_size):
    """Trains on two steps' rows at a time."""
    data = [part.chunk(STEPS // 2) for part in rows(world_size, STEPS)]
    return trained(net(), STEPS // 2, lambda step: [part[step] for part in data])


@pytest.mark.parametrize("world", WORLDS)
def test_accumulate_gradients(world):
    for parameters in ACCELERATE.run(train, world, 2, None):
        assert_close(parameters, in_pairs(world))


def exchange():
    """What accelerate offers for use in a training loop, each against its definition."""
    from accelerate.utils import broadcast, broadcast_object_list, gather_object

    one = accelerator()
    rank, world = one.process_index, one.num_processes
    everyone = torch.arange(world)
    mine = torch.full((2, 3), float(rank))
    gathered = one.gather({"a": mine, "b": [mine[0]]})
    assert gathered["a"].equal(everyone.repeat_interleave(2).float()[:, None].expand(-1, 3))
    assert gathered["b"][0].equal(everyone.float().repeat_interleave(3))
    assert one.reduce(mine, "sum").eq(sum(range(world))).all()
    assert one.reduce(mine, "mean").eq(sum(range(world)) / world).all()
    padded = one.gather(one.pad_across_processes(torch.ones(1, 1 + rank), dim=1))
    assert padded.equal(torch.ones(world, world).tril())
    assert gather_object([f"of {rank}"]) == [f"of {q}" for q in range(world)]
    assert broadcast_object_list([rank, {"rank": rank}], 1) == [1, {"rank": 1}]
    assert broadcast(torch.tensor([rank]), from_process=1).item() == 1
    with one.split_between_processes(list(range(2 * world))) as part:
        assert part == [2 * rank, 2 * rank + 1]
    with one.main_process_first():
        pass
    one.wait_for_everyone()


@pytest.mark.parametrize("world", WORLDS)
def test_exchange(world):
    ACCELERATE.run(exchange, world)


def evaluate(count):
    one = accelerator()
    loader = one.prepare(DataLoader(TensorDataset(torch.arange(count)), batch_size=2))
    return torch.cat([one.gather_for_metrics(number) for (number,) in loader]).tolist()


@pytest.mark.parametrize("world", WORLDS)
def test_uneven_data_is_gathered_once(world):
    """accelerate pads the last batches with samples that it drops again."""
    assert ACCELERATE.run(evaluate, world, 11) == [list(range(11))] * world


def save_and_load(folder):
    one = accelerator()
    model = one.prepare(net())
    one.save_state(folder)  # the first process writes
    one.wait_for_everyone()
    before = numbers(model.parameters())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    one.load_state(folder)
    assert_close(numbers(model.parameters()), before, 0, 0)


@pytest.mark.parametrize("world", WORLDS)
def test_state_is_saved_and_loaded(world, tmp_path):
    ACCELERATE.run(save_and_load, world, str(tmp_path))


def refused():
    from accelerate import Accelerator, InitProcessGroupKwargs

    with pytest.raises(ValueError, match="backend pinned is not available, please use gloo"):
        Accelerator(cpu=True, kwargs_handlers=[InitProcessGroupKwargs(backend="pinned")])


def test_accelerate_refuses_the_name_on_cpu():
    """docs/recipes.md says so."""
    ACCELERATE.run(refused, 2)


def without_cpu():
    """Each rank is alone, and nothing says so; over gloo too."""
    from accelerate import Accelerator

    dist.init_process_group("pinned")
    assert Accelerator().num_processes == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="accelerate takes the GPU then")
def test_cpu_must_be_asked_for():
    """docs/recipes.md says so."""
    ACCELERATE.run(without_cpu, 2)


def with_fsdp_plugin():
    from accelerate import FullyShardedDataParallelPlugin

    one = accelerator(fsdp_plugin=FullyShardedDataParallelPlugin(fsdp_version=2))
    assert isinstance(one.prepare(net()), torch.nn.parallel.DistributedDataParallel)


def test_fsdp_plugin_is_not_used_on_cpu():
    """docs/recipes.md says so."""
    ACCELERATE.run(with_fsdp_plugin, 2)
