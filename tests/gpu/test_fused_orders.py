# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Small calls that are one kernel: streams, late peers, failures."""

import time

import pytest
import ranks
import torch
import torch.distributed as dist
from cuda_calls import left_alone
from worker import Setup

GPUS = torch.cuda.device_count() if torch.cuda.is_available() else 0
pytestmark = pytest.mark.skipif(GPUS < 2, reason="needs two GPUs")
WORLD = min(GPUS, 4)
LAUNCHERS = ["processes", "threads"]
SPIN = 400_000_000  # cycles: about 0.2 s
HELD_S = 0.12
SMALL = 10


def many():
    """Sizes mixed, so that lines of older calls lie beneath, and streams in turn."""
    rank, world = dist.get_rank(), dist.get_world_size()
    streams = [torch.cuda.Stream() for _ in range(3)]
    wrong = 0
    for i in range(600):
        with torch.cuda.stream(streams[i % 3]):
            if (i + rank) % 7 == 0:
                torch.cuda._sleep(20_000)
            count = (1 + 37 * (i % 50)) * (100 if i % 5 == 0 else 1)  # in words, and in chunks
            tensor = torch.full((count,), float(rank + i), device="cuda")
            dist.all_reduce(tensor)
            wanted = world * i + world * (world - 1) / 2
            wrong += (tensor != wanted).sum()
            streams[(i + 1) % 3].wait_stream(streams[i % 3])
    torch.cuda.synchronize()
    return int(wrong)


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_many_calls_on_several_streams(launcher):
    assert ranks.run(many, WORLD, launcher=launcher) == [0] * WORLD


def unordered_streams():
    """Calls on streams that nothing else orders: they come in the order in which they are made."""
    rank, streams = dist.get_rank(), [torch.cuda.Stream() for _ in range(4)]
    tensors = [torch.full((500,), float(rank + i), device="cuda") for i in range(200)]
    torch.cuda.synchronize()
    for i, tensor in enumerate(tensors):
        with torch.cuda.stream(streams[i % 4]):
            dist.all_reduce(tensor)
    torch.cuda.synchronize()
    world = dist.get_world_size()
    return all(
        tensor.eq(world * i + world * (world - 1) / 2).all() for i, tensor in enumerate(tensors)
    )


def test_streams_that_nothing_orders():
    assert all(ranks.run(unordered_streams, WORLD))


def late_producer():
    rank, world = dist.get_rank(), dist.get_world_size()
    found, tensor = [], torch.zeros(1000, device="cuda")
    dist.all_reduce(tensor)
    for i in range(4):
        torch.cuda.synchronize()
        begin = time.monotonic()
        torch.cuda._sleep(SPIN if rank == world - 1 else 1000)
        tensor.fill_(rank + i)
        work = dist.all_reduce(tensor, async_op=True)
        work.wait()
        total = tensor.min() + tensor.max()
        held = time.monotonic() - begin
        found.append((total.item() == 2 * (world * i + world * (world - 1) / 2), held < HELD_S))
    return found[1:]  # the first one loads kernels


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_stale_value_does_not_get_through(launcher):
    assert ranks.run(late_producer, WORLD, launcher=launcher) == [[(True, True)] * 3] * WORLD


def send_between():
    """A call that nobody has waited for holds up nothing that its caller does next."""
    tensor, message = torch.ones(10, device="cuda"), torch.ones(1, device="cuda")
    dist.all_reduce(tensor)
    if dist.get_rank() == 0:
        work = dist.all_reduce(tensor, async_op=True)
        dist.send(message, 1)  # waits for the current stream
    else:
        dist.recv(message, 0)
        work = dist.all_reduce(tensor, async_op=True)
    work.wait()
    return tensor.sum().item()


def test_a_message_between_a_call_and_its_wait():
    assert ranks.run(send_between, 2) == [40.0] * 2


def misfit(counts):
    dist.all_reduce(torch.ones(1, device="cuda"))
    begin = time.monotonic()
    try:
        dist.all_reduce(torch.ones(counts[dist.get_rank()], device="cuda"))
        torch.cuda.synchronize()
        for _ in range(500):
            time.sleep(0.01)
            dist.all_reduce(torch.ones(1, device="cuda"))
    except dist.DistBackendError as error:
        torch.cuda.synchronize()  # nothing waits on the GPU any more
        return f"{time.monotonic() - begin:.1f} {error}"
    return "no error"


@pytest.mark.parametrize("counts", [(10, 11), (10, 1_000_000)])
def test_calls_that_differ_raise_on_all_ranks(counts):
    for text in ranks.run(misfit, 2, counts):
        assert all(f"float32[{count}]" in text for count in counts), text
        assert float(text.split()[0]) < 5, text


def test_a_peer_that_has_left_frees_the_gpu():
    found, left = ranks.run(left_alone, 2, "leaves", SMALL)
    assert left == "left"
    assert "rank 1" in found and "left" in found and float(found.split()[0]) < 5, found


def test_a_call_that_takes_too_long_frees_the_gpu():
    with pytest.raises(ranks.RanksError) as caught:
        ranks.run(left_alone, 2, "sleeps", SMALL, setup=Setup(timeout_s=2.0), timeout_s=12.0)
    first = caught.value.outcomes[0]
    assert first.state == "returned" and "timeout" in first.value, first.report()
