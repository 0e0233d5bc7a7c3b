# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Messages of CUDA tensors: which goes where, and failures while a GPU waits."""

import time

import pytest
import ranks
import torch
import torch.distributed as dist
from cuda_streams import LAUNCHERS, LIMIT, SPIN, filled, own_stream, range_of, warm

import pinnedpg  # noqa: F401

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")


def outstanding(count):
    """Many small ones both ways; the receives are posted in the opposite order of tags."""
    rank = own_stream()
    sends = [dist.isend(filled(4, tag), 1 - rank, tag=tag) for tag in range(count)]
    tensors = [filled(4, -1) for _ in range(count)]
    receives = [dist.irecv(tensors[tag], 1 - rank, tag=tag) for tag in reversed(range(count))]
    for work in receives + sends:
        work.wait()
    return torch.stack(tensors).amin(1).tolist() == [float(tag) for tag in range(count)]


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_many_outstanding_and_tags_out_of_order(launcher):
    assert ranks.run(outstanding, 2, 500, launcher=launcher) == [True, True]


def mixed_devices():
    """One side's tensor on the CPU; order is kept between them; one that is not contiguous."""
    rank = own_stream()
    if rank == 0:
        torch.cuda._sleep(SPIN)
        dist.isend(filled(1000, 1), 1)
        dist.isend(torch.full((1000,), 2.0), 1)
        dist.isend(torch.arange(12.0, device="cuda").view(3, 4).t(), 1)
        dist.isend(filled(0, 0), 1).wait(LIMIT)
        dist.barrier()
        return True
    on_cpu, on_gpu = torch.empty(1000), filled(1000, -1)
    strided = torch.full((3, 8), -1.0, device="cuda")[:, ::2].t()
    dist.recv(on_cpu, 0)
    dist.recv(on_gpu, 0)
    dist.recv(strided, 0)
    dist.recv(filled(0, 0), 0)
    dist.barrier()
    same = torch.equal(strided.cpu(), torch.arange(12.0).view(3, 4).t())
    return range_of(on_cpu) == [1.0, 1.0] and range_of(on_gpu) == [2.0, 2.0] and same


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_cpu_tensors_and_strides(launcher):
    assert ranks.run(mixed_devices, 2, launcher=launcher) == [True, True]


def ring():
    """A batch to the right and from the left; a message to oneself; and from any source."""
    rank, world = own_stream(), dist.get_world_size()
    got, own = filled(200_000, -1), filled(10, -1)
    operations = [
        dist.P2POp(dist.isend, filled(200_000, rank), (rank + 1) % world),
        dist.P2POp(dist.irecv, got, (rank - 1) % world),
    ]
    for work in dist.batch_isend_irecv(operations):
        work.wait()
    to_self = dist.isend(filled(10, 50 + rank), rank, tag=1)
    dist.recv(own, rank, tag=1)
    to_self.wait()
    sources = []
    if rank == 0:
        for _ in range(world - 1):
            one = filled(3, -1)
            source = dist.recv(one, tag=2)
            sources.append(range_of(one) == [float(source)] * 2)
    else:
        dist.send(filled(3, rank), 0, tag=2)
    return range_of(got), range_of(own), all(sources)


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_ring_in_a_batch(launcher):
    for rank, found in enumerate(ranks.run(ring, 3, launcher=launcher)):
        assert found == ([(rank - 1.0) % 3] * 2, [50.0 + rank] * 2, True)


def misfit():
    rank = own_stream()
    warm(rank)
    if rank == 0:
        work = dist.isend(filled(4, 1), 1, tag=3)
    else:
        work = dist.irecv(filled(5, 1), 0, tag=3)
    texts = []
    for wait in (work.wait, lambda: work.wait(LIMIT)):
        try:
            wait()
        except dist.DistBackendError as error:
            texts.append(str(error))
    torch.cuda.synchronize()  # nothing waits on the GPU any more
    try:
        dist.barrier()
    except dist.DistBackendError as error:
        texts.append(str(error))
    return texts


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_misfit_raises_on_both_sides(launcher):
    for texts in ranks.run(misfit, 2, launcher=launcher):
        assert len(texts) >= 2, texts
        for text in texts:
            assert "rank 1 expects 20 bytes" in text and "has sent 16 bytes" in text, text


def left_alone(how):
    rank = own_stream()
    warm(rank)
    if rank == 1:
        time.sleep(0.2)
        return "left"
    work = dist.irecv(filled(1000, 0), 1)
    work.wait()
    if how == "abort":
        dist.distributed_c10d._get_default_group().abort()
    begin = time.monotonic()
    torch.cuda.synchronize()
    seconds = time.monotonic() - begin
    try:
        work.wait(LIMIT)
    except dist.DistBackendError as error:
        return f"{seconds:.1f} {error}"
    return "no error"


@pytest.mark.parametrize("how", ["leaves", "abort"])
def test_a_message_that_does_not_come_frees_the_gpu(how):
    text, _ = ranks.run(left_alone, 2, how)
    assert float(text.split()[0]) < 3, text
    assert ("left" if how == "leaves" else "aborted by rank 0") in text, text


def promised():
    """The group is not left before what a wait has promised has gone."""
    rank = own_stream()
    warm(rank)
    tensor = filled(500_000, 5 + rank)
    if rank == 0:
        dist.send(tensor, 1)
    else:
        time.sleep(1.5)
        dist.recv(tensor, 0)
    dist.destroy_process_group()
    return range_of(tensor)


def test_who_leaves_keeps_a_promise():
    assert ranks.run(promised, 2) == [[5.0, 5.0]] * 2


def future_value():
    rank = own_stream()
    warm(rank)
    tensor = filled(1000, 1 + rank)
    work = dist.isend(tensor, 1) if rank == 0 else dist.irecv(tensor, 0)
    doubled = work.get_future().then(lambda done: done.value()[0] * 2).wait()
    return range_of(doubled)


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_futures(launcher):
    assert ranks.run(future_value, 2, launcher=launcher) == [[2.0, 2.0]] * 2


def two_gpus():
    """Each rank's messages on two GPUs, one of which is not the current one."""
    rank, found = dist.get_rank(), []
    for device in ("cuda:0", "cuda:1"):
        got = torch.empty(1000, device=device)
        receive = dist.irecv(got, 1 - rank)
        send = dist.isend(torch.full((1000,), 1.0 + rank, device=device), 1 - rank)
        receive.wait()
        send.wait()
        found += range_of(got)
    return found


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="there is one GPU")
def test_several_gpus_of_a_process():
    assert ranks.run(two_gpus, 2) == [[2.0] * 4, [1.0] * 4]


def captured():
    rank = own_stream()
    warm(rank)
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph, capture_error_mode="relaxed"):
            dist.isend(filled(4, 1), 1 - rank)
    except ValueError as error:
        return str(error)
    return "no error"


def test_capture_is_refused():
    for text in ranks.run(captured, 2):
        assert "cannot be captured in a CUDA graph" in text, text
