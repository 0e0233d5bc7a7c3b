# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Messages in the order of streams that are busy, on a fake GPU: the host is held by none of it.

tests/fake/run.py builds the extension for it and runs this, also without some of the
order.
"""

import threading
import time

import fake_gpu
import pytest
import ranks
import torch
import torch.distributed as dist
from fake_gpu import LIMIT, SIZES, busy, later, met
from limits import patient

pytestmark = fake_gpu.needed
HELD_S = 0.15


def late_producer(rank, size):
    tensor = torch.zeros(size)
    begin = time.monotonic()
    if rank == 0:
        busy(400)
        later(0.2, lambda: tensor.fill_(7.0))
        work = dist.isend(tensor, 1)
    else:
        work = dist.irecv(tensor, 0)
    work.wait()
    held = time.monotonic() - begin
    done = work.is_completed()
    busy(0)
    work.wait(LIMIT)
    return held < HELD_S, done, tensor.unique().tolist(), work.is_completed()


@pytest.mark.parametrize("size", SIZES)
def test_a_send_waits_for_its_stream_and_holds_no_host(size):
    assert ranks.run(met, 2, late_producer, size) == [(True, False, [7.0], True)] * 2


def late_consumer(rank, size, waits):
    """The receiver's stream still reads the tensor when the message comes."""
    tensor, seen = torch.full((size,), float(rank)), []
    begin = time.monotonic()
    if rank == 1:
        busy(400)
        later(0.2, lambda: seen.append(tensor[-1].item()))
        work = dist.irecv(tensor, 0)
        busy(0)
    else:
        work = dist.isend(tensor, 1)
    if waits:
        work.wait()
    held = time.monotonic() - begin
    while not work.is_completed() and time.monotonic() < begin + 5:
        time.sleep(0.01)
    late = time.monotonic() - begin > 0.3
    return held < HELD_S, seen, late, tensor[-1].item()


@pytest.mark.parametrize("waits", [True, False])
@pytest.mark.parametrize("size", SIZES)
def test_a_receive_waits_for_its_stream_and_holds_no_host(size, waits):
    sent, got = ranks.run(met, 2, late_consumer, size, waits)
    assert sent[0] and got == (True, [1.0], True, 0.0), (sent, got)


def late_sender(rank, size):
    tensor = torch.full((size,), 5.0 - rank)
    begin = time.monotonic()
    if rank == 0:
        time.sleep(0.3)
        work = dist.isend(tensor, 1)
    else:
        work = dist.irecv(tensor, 0)
        work.wait()
    held = time.monotonic() - begin
    work.wait(LIMIT)
    return held, tensor.unique().tolist()


@pytest.mark.parametrize("size", SIZES)
def test_a_stream_waits_for_the_sender(size):
    (_, _), (held, values) = ranks.run(met, 2, late_sender, size)
    assert held < HELD_S and values == [5.0], (held, values)


def both_ways(rank, size, rounds=20):
    """The common pattern: nothing may be queued before what it waits for."""
    wrong = []
    for i in range(rounds):
        sent, got = torch.full((size,), float(i + rank)), torch.empty(size)
        receive = dist.irecv(got, 1 - rank)
        send = dist.isend(sent, 1 - rank)
        receive.wait()
        send.wait()
        receive.wait(LIMIT)
        wrong += [i] if got.unique().tolist() != [i + 1.0 - rank] else []
    return wrong


@pytest.mark.parametrize("launcher", ["processes", "threads"])
@pytest.mark.parametrize("size", SIZES)
def test_both_ways(size, launcher):
    if launcher == "threads":
        assert ranks.run(both_ways_of_threads, 2, size, launcher=launcher) == [[], []]
    else:
        assert ranks.run(met, 2, both_ways, size) == [[], []]


def both_ways_of_threads(size):
    busy(0)
    return both_ways(dist.get_rank(), size)


def overtaken(rank, size):
    """What is sent while an earlier message's stream is busy comes after it, and only there."""
    tensors = [torch.full((size,), float(i)) for i in range(4)]
    if rank == 0:
        busy(int(1000 * patient(0.3)))
        works = [dist.isend(tensors[0], 1)]
        busy(0)
        other = threading.Thread(
            target=lambda: works.extend(dist.isend(one, 1, tag=i % 2) for i, one in others)
        )
        others = [(1, tensors[1]), (2, tensors[2]), (3, tensors[3])]
        other.start()  # on a stream of its own
        other.join()
    else:
        for tensor in tensors:
            tensor.fill_(-1.0)
        works = [dist.irecv(tensor, 0, tag=i % 2) for i, tensor in enumerate(tensors)]
    for work in works[1::2]:
        work.wait(LIMIT)
    early = not works[0].is_completed()
    for work in works:
        work.wait(LIMIT)
    return early, [tensor[0].item() for tensor in tensors]


@pytest.mark.parametrize("size", SIZES)
def test_messages_of_a_tag_stay_in_order_and_others_are_not_held_up(size):
    for found in ranks.run(met, 2, overtaken, size):
        assert found == (True, [0.0, 1.0, 2.0, 3.0])


def leaves(rank, size):
    """A wait has promised the message: the group is not left before."""
    tensor = torch.full((size,), 3.0 + rank)
    if rank == 0:
        dist.send(tensor, 1)
    else:
        time.sleep(1.5)  # longer than one that leaves stays for the others
        work = dist.irecv(tensor, 0)
        work.wait()
    dist.destroy_process_group()
    if rank == 1:
        work.wait(LIMIT)  # the copy is the stream's
    return tensor.unique().tolist() == [3.0]


@pytest.mark.parametrize("size", SIZES)
def test_who_leaves_keeps_what_a_wait_has_promised(size):
    assert ranks.run(met, 2, leaves, size) == [True, True]


def future_value(rank, size):
    tensor = torch.full((size,), 1.0 + rank)
    if rank == 0:
        time.sleep(0.2)
        work = dist.isend(tensor, 1)
    else:
        work = dist.irecv(tensor, 0)
    begin = time.monotonic()
    future = work.get_future()
    held = time.monotonic() - begin
    (value,) = future.wait()
    return held < 0.1, value.unique().tolist()


@pytest.mark.parametrize("size", SIZES)
def test_futures(size):
    assert ranks.run(met, 2, future_value, size) == [(True, [1.0])] * 2


def bereaved(rank):
    """A stream that waits for a message of a rank that has left is let go of."""
    if rank == 1:
        time.sleep(0.2)
        return ""
    work = dist.irecv(torch.empty(4), 1)
    work.wait()
    begin = time.monotonic()
    try:
        work.wait(LIMIT)
    except dist.DistBackendError as error:
        return f"{time.monotonic() - begin:.1f} {error}"
    return "no error"


def test_a_peer_that_leaves_frees_the_stream():
    text, _ = ranks.run(met, 2, bereaved)
    assert "rank 1" in text and "left" in text and float(text.split()[0]) < 3, text
