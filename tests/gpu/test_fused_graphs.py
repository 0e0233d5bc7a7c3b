# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Small calls that are one kernel: in CUDA graphs; and what they take."""

import time

import pytest
import ranks
import torch
import torch.distributed as dist
from cuda_calls import FUSED_BYTES, captures, captures_into
from worker import Setup

GPUS = torch.cuda.device_count() if torch.cuda.is_available() else 0
pytestmark = pytest.mark.skipif(GPUS < 2, reason="needs two GPUs")
WORLD = min(GPUS, 4)
LAUNCHERS = ["processes", "threads"]


def captured():
    rank, world = dist.get_rank(), dist.get_world_size()
    summed, cast = torch.empty(1000, device="cuda"), torch.empty(30_000, device="cuda")
    everyone = torch.empty(30_000 * world, device="cuda")
    dist.all_reduce(summed)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with captures_into(graph):
        summed.mul_(2)
        dist.all_reduce(summed)
        work = dist.broadcast(cast, world - 1, async_op=True)
        work.wait()
        dist.all_gather_into_tensor(everyone, cast)
    right, rank_sum = True, world * (world - 1) / 2
    for i in range(100):
        summed.fill_(rank + i)
        cast.fill_(100.0 * rank + i)
        graph.replay()
        right &= bool(summed.eq(2 * (world * i + rank_sum)).all())
        right &= bool(everyone.eq(100.0 * (world - 1) + i).all())
        if i % 3 == 0:
            plain = torch.full((1 + i,), float(rank), device="cuda")
            dist.all_reduce(plain)
            right &= bool(plain.eq(rank_sum).all())
        if i % 10 == 0:
            large = torch.full((300_000,), float(rank), device="cuda")
            dist.all_reduce(large)
            right &= bool(large.eq(rank_sum).all())
    return right


@pytest.mark.parametrize("launcher", ["processes"])
def test_captured_calls_are_replayed_beside_others(launcher):
    assert all(ranks.run(captured, WORLD, launcher=launcher))


def small_and_large():
    return captures(FUSED_BYTES // 4), captures(FUSED_BYTES // 4 + 1)


def test_a_large_call_is_not_captured():
    for small, large in ranks.run(small_and_large, 2):  # more have smaller limits
        assert small == "captured"
        assert "at most 1048576 bytes" in large and "float32[262145]" in large, large


def replays_alone(how):
    tensor = torch.ones(8, device="cuda")
    dist.all_reduce(tensor)
    torch.cuda.synchronize()
    graph, rank = torch.cuda.CUDAGraph(), dist.get_rank()
    with captures_into(graph):
        if how == "another" and rank == 1:
            dist.broadcast(tensor, 0)
        else:
            dist.all_reduce(tensor)
    begin = time.monotonic()
    if how == "another" or rank == 0:
        graph.replay()
    torch.cuda.synchronize()
    for _ in range(800):
        try:
            dist.all_reduce(torch.ones(1, device="cuda"))
        except dist.DistBackendError as error:
            torch.cuda.synchronize()
            return f"{time.monotonic() - begin:.1f} {error}"
        time.sleep(0.01)
    return "no error"


@pytest.mark.parametrize("how, reason", [("alone", ""), ("another", "CUDA graph met another")])
def test_replays_that_do_not_fit_end_the_group(how, reason):
    for text in ranks.run(replays_alone, 2, how, setup=Setup(timeout_s=3.0)):
        assert reason in text and float(text.split()[0]) < 9, text


def timed(graphed):
    """Microseconds of a call, by bytes."""
    found = {}
    for nbytes in (8, *(8 << 10 << i for i in range(8))):  # to FUSED_BYTES
        tensor = torch.zeros(nbytes // 4, device="cuda")
        for _ in range(50):
            dist.all_reduce(tensor)
        torch.cuda.synchronize()
        if graphed:
            graph = torch.cuda.CUDAGraph()
            with captures_into(graph):
                for _ in range(20):
                    dist.all_reduce(tensor)
        dist.barrier()
        begin = time.perf_counter()
        for _ in range(50 if graphed else 1000):
            graph.replay() if graphed else dist.all_reduce(tensor)
        torch.cuda.synchronize()
        found[nbytes] = round((time.perf_counter() - begin) / 1000 * 1e6, 1)
    return found


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_time(launcher, capsys):
    queued = ranks.run(timed, 2, False, launcher=launcher, setup=Setup(options={"fused_bytes": 0}))[
        0
    ]
    fused = ranks.run(timed, 2, False, launcher=launcher)[0]
    graphed = ranks.run(timed, 2, True)[0] if launcher == "processes" else {}
    with capsys.disabled():
        print(f"\nall_reduce, us a call by bytes, 2 {launcher}: queued {queued}, fused {fused}")
        print(f"  in a graph of 20: {graphed}")
