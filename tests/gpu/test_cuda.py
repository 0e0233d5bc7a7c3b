# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""What differs on a GPU: streams, futures, failures while a GPU waits. The matrix covers values."""

import time
from datetime import timedelta

import pytest
import ranks
import torch
import torch.distributed as dist
from cuda_calls import left_alone
from cuda_streams import LAUNCHERS, QUICK_S, SPIN
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel
from worker import Setup

import pinnedpg  # noqa: F401

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")


def own_stream():
    """Ranks that are threads of one GPU need streams of their own."""
    stream = torch.cuda.Stream()
    torch.cuda.set_stream(stream)
    return stream


def late_producer():
    """A stale value must not get through, and neither the call nor its wait may hold the host."""
    own_stream()
    rank, world = dist.get_rank(), dist.get_world_size()
    found = []
    for count in (1, 1000, 3_000_000) * 2:  # the first rounds load the kernels, which waits
        tensor = torch.zeros(count, device="cuda")
        torch.cuda.synchronize()
        begin = time.monotonic()
        torch.cuda._sleep(SPIN if rank == world - 1 else 1000)
        tensor.fill_(rank + 1.0)
        work = dist.all_reduce(tensor, async_op=True)
        work.wait()
        result = tensor.min() + tensor.max()
        held = time.monotonic() - begin
        found.append((result.item(), held < QUICK_S))
    return found[3:]


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_streams_are_waited_for_and_the_host_is_not(launcher):
    total = {2: 6.0, 4: 20.0}
    for world, sum_of_ranks in total.items():
        for found in ranks.run(late_producer, world, launcher=launcher):
            assert [value for value, _ in found] == [sum_of_ranks] * 3
            assert [quick for _, quick in found] == [True] * 3


def strided_again(count):
    """Calls that nobody has waited for yet, on a tensor that is copied for each."""
    own_stream()
    tensor = torch.ones(2 * count, device="cuda")[::2]
    works = [dist.all_reduce(tensor, async_op=True) for _ in range(3)]
    for work in works:
        work.wait()
    return tensor.unique().tolist()


@pytest.mark.parametrize("count", [10, 500_000])
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_copy_comes_after_the_calls_before(launcher, count):
    assert ranks.run(strided_again, 2, count, launcher=launcher) == [[8.0]] * 2


def late_consumer():
    """What the call reads may be overwritten by its stream afterwards, and what it writes read."""
    own_stream()
    rank, results = dist.get_rank(), []
    for i in range(20):
        tensor = torch.full((300_000,), float(rank + i), device="cuda")
        dist.broadcast(tensor, i % dist.get_world_size())
        results.append(tensor.clone())
        tensor.fill_(-1.0)
    return [(result.min().item(), result.max().item()) for result in results]


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_calls_come_in_the_order_of_the_stream(launcher):
    wanted = [(float(i % 3 + i),) * 2 for i in range(20)]
    assert ranks.run(late_consumer, 3, launcher=launcher) == [wanted] * 3


def future_value():
    own_stream()
    tensor = torch.full((1000,), 1.0, device="cuda")
    future = dist.all_reduce(tensor, async_op=True).get_future()
    doubled = future.then(lambda done: done.value()[0] * 2).wait()
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        work = dist.all_reduce(torch.ones(5, device="cuda"), async_op=True)
        work.wait()
    work.wait(timedelta(seconds=10))
    return doubled.sum().item(), work.is_completed(), work.is_success()


def test_futures_and_works():
    assert ranks.run(future_value, 2) == [(4000.0, True, True)] * 2


def late_futures(spin):
    """The future of several calls, behind a kernel that takes its time."""
    own_stream()
    tensors = [torch.zeros(size, device="cuda") for size in (10, 500_000)]
    dist.all_reduce_coalesced(tensors)  # the first call pins the stage
    torch.cuda.synchronize()
    if dist.get_rank() == 0:
        torch.cuda._sleep(spin)
    for tensor in tensors:
        tensor.fill_(1.0)
    begin = time.monotonic()
    values = dist.all_reduce_coalesced(tensors, async_op=True).wait()
    quick = time.monotonic() - begin < QUICK_S
    return [value.sum().item() for value in values], quick


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_the_future_of_several_calls(launcher):
    ranks.run(late_futures, 2, 1000, launcher=launcher)  # loads the kernels
    for sums, quick in ranks.run(late_futures, 2, SPIN, launcher=launcher):
        assert sums == [20.0, 1_000_000.0] and quick


def both_devices():
    rank, world = dist.get_rank(), dist.get_world_size()
    on_cpu, on_gpu = torch.tensor([rank + 1.0]), torch.tensor([rank + 1.0], device="cuda")
    dist.all_reduce(on_cpu)
    dist.all_reduce(on_gpu)
    objects = [None] * world
    dist.all_gather_object(objects, {"rank": rank})
    ring = torch.full((50_000,), float(rank), device="cuda")
    got = torch.empty_like(ring)
    send = dist.isend(ring, (rank + 1) % world)
    dist.recv(got, (rank - 1) % world)
    send.wait()
    dist.barrier()
    return on_cpu.item(), on_gpu.item(), [each["rank"] for each in objects], got.unique().tolist()


def test_one_group_for_both_devices_and_messages():
    for rank, found in enumerate(ranks.run(both_devices, 3)):
        assert found == (6.0, 6.0, [0, 1, 2], [(rank - 1.0) % 3])


def same_bits(dtype_name, op_name):
    """The GPU's result beside the CPU's, in the same group."""
    dtype, op = getattr(torch, dtype_name), getattr(dist.ReduceOp, op_name)
    torch.manual_seed(dist.get_rank())
    values = (torch.randn(100_003) * 4).to(dtype)
    on_gpu = values.cuda()
    dist.all_reduce(values, op)
    dist.all_reduce(on_gpu, op)
    return torch.equal(values.view(torch.uint8), on_gpu.cpu().view(torch.uint8))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("op", ["SUM", "AVG", "MAX"])
def test_the_gpu_gives_the_cpus_bits(dtype, op):
    assert all(ranks.run(same_bits, 4, dtype, op))


def misfit():
    tensor = torch.ones(10 + dist.get_rank(), device="cuda")
    dist.all_reduce(torch.ones(1, device="cuda"))
    try:
        dist.all_reduce(tensor)
        torch.cuda.synchronize()
        for _ in range(200):
            time.sleep(0.01)
            dist.all_reduce(torch.ones(1, device="cuda"))
    except dist.DistBackendError as error:
        torch.cuda.synchronize()  # nothing waits on the GPU any more
        return str(error)
    return "no error"


@pytest.mark.parametrize("launcher", ["processes"])
def test_calls_that_differ_raise_on_all_ranks(launcher):
    for text in ranks.run(misfit, 2, launcher=launcher):
        assert "float32[11]" in text and "float32[10]" in text, text


def test_a_peer_that_has_left_frees_the_gpu():
    found, left = ranks.run(left_alone, 2, "leaves")
    assert left == "left"
    assert "rank 1" in found and "left" in found and float(found.split()[0]) < 5, found


def test_a_call_that_takes_too_long_frees_the_gpu():
    with pytest.raises(ranks.RanksError) as caught:
        ranks.run(left_alone, 2, "sleeps", setup=Setup(timeout_s=2.0), timeout_s=12.0)
    first = caught.value.outcomes[0]
    assert first.state == "returned" and "timeout" in first.value, first.report()


def captured():
    tensor = torch.ones(1_000_000, device="cuda")
    dist.all_reduce(tensor)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph):
            dist.all_reduce(tensor)
    except ValueError as error:
        return str(error)
    return "no error"


def test_the_capture_of_a_large_call_is_refused():
    for text in ranks.run(captured, 2):
        assert "can be captured in a CUDA graph where" in text, text


def trained(kind):
    torch.manual_seed(7)
    model = torch.nn.Sequential(torch.nn.Linear(64, 128), torch.nn.ReLU(), torch.nn.Linear(128, 8))
    model = model.cuda()
    reference = [parameter.detach().clone() for parameter in model.parameters()]
    world, rank = dist.get_world_size(), dist.get_rank()
    inputs = torch.randn(world * 4, 64).cuda()
    if kind == "ddp":
        wrapped = DistributedDataParallel(model)
    else:
        wrapped = fully_shard(model)
    optimizer = torch.optim.SGD(wrapped.parameters(), 0.1)
    for _ in range(3):
        optimizer.zero_grad()
        wrapped(inputs[rank * 4 : rank * 4 + 4]).square().mean().backward()
        optimizer.step()
    alone = torch.nn.Sequential(torch.nn.Linear(64, 128), torch.nn.ReLU(), torch.nn.Linear(128, 8))
    alone = alone.cuda()
    with torch.no_grad():
        for parameter, value in zip(alone.parameters(), reference, strict=True):
            parameter.copy_(value)
    optimizer = torch.optim.SGD(alone.parameters(), 0.1)
    for _ in range(3):
        optimizer.zero_grad()
        alone(inputs).square().mean().backward()
        optimizer.step()
    for got, wanted in zip(wrapped.parameters(), alone.parameters(), strict=True):
        whole = got.full_tensor() if kind == "fsdp2" else got
        torch.testing.assert_close(whole.detach(), wanted.detach(), rtol=1e-4, atol=1e-5)
    return True


@pytest.mark.parametrize("kind", ["ddp", "fsdp2"])
def test_training(kind):
    assert all(ranks.run(trained, 2, kind, timeout_s=90.0))
