# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Leaving a group with messages under way: they end, who waits for them is told, nothing stays."""

import time

import away
import limits
import pytest
import ranks
import torch
import torch.distributed as dist
from default_device import ON_GPU, wait_on_host
from processes import holdings, settled
from worker import Setup

BARE = Setup(backend=None)
LONG = 600.0
LAUNCHERS = ["processes", "threads"]
LARGE = 100_000


def post(what, peer):
    return {
        "irecv": lambda: dist.irecv(torch.empty(4), peer, tag=5),
        "any": lambda: dist.irecv(torch.empty(4), tag=5),
        "isend": lambda: dist.isend(torch.ones(4), peer, tag=5),
        "large": lambda: dist.isend(torch.ones(LARGE), peer, tag=5),
        "self": lambda: dist.isend(torch.ones(4), dist.get_rank(), tag=5),
    }[what]()


def with_unmatched(store, rank, world_size, what):
    """Returns what the works say, how soon, and what is held after the second and the last turn."""
    held, found = [], []
    for turn in range(8):
        Setup(timeout_s=LONG).init(
            store=dist.PrefixStore(f"{turn}", store), rank=rank, world_size=world_size
        )
        if turn % 2:
            dist.barrier()
        work = post(what, 1 - rank)
        began = time.monotonic()
        dist.destroy_process_group()
        try:
            wait_on_host(work)
        except dist.DistBackendError as error:
            found.append((str(error), time.monotonic() - began))
        if turn in (1, 7):
            held.append(settled(held[0] if held else holdings()))
    return found, held


@pytest.mark.parametrize("what", ["irecv", "any", "isend", "large", "self"])
def test_what_cannot_be_matched_any_more_fails_at_once(what):
    for found, (first, last) in ranks.run(with_unmatched, 2, what, setup=BARE):
        assert len(found) == 8
        for text, took in found:  # the other rank may have left first
            assert "the group was destroyed" in text or "which has left the group" in text, text
            limits.in_time(took, 5, "leaving; the group's timeout is minutes")
        assert last <= first


def leaves_and_is_awaited(what, with_collectives):
    rank, store = dist.get_rank(), away.store()
    if with_collectives:
        dist.barrier()
    if rank == 0:
        post(what, 1)
        time.sleep(0.3)
        dist.destroy_process_group()
        away.until_told([1], 2.5, store)
        return "", 0.0
    began, told = time.monotonic(), ""
    try:
        wait_on_host(dist.irecv(torch.empty(4), 0, tag=3))
    except dist.DistBackendError as error:
        told = str(error)
    return away.tell((told, time.monotonic() - began))


@pytest.mark.parametrize("with_collectives", [False, True])
@pytest.mark.parametrize("what", ["irecv", "isend", "large"])
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_who_waits_for_a_rank_that_left_is_told(launcher, what, with_collectives):
    text, took = ranks.run(leaves_and_is_awaited, 2, what, with_collectives, launcher=launcher)[1]
    assert "rank 0, which has left the group" in text, text
    limits.in_time(took, 1.5, "the other leaves after 0.3 s, and comes back after 2.5 s more")


def comes_after_a_failure():
    rank = dist.get_rank()
    if rank == 2:
        time.sleep(0.6)
    if rank == 1:
        return dist.destroy_process_group()
    try:
        dist.all_reduce(torch.ones(4))
    except dist.DistBackendError as error:
        dist.destroy_process_group()
        return str(error)
    return "no error"


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_who_comes_after_a_failure_is_told_of_it(launcher):
    for text in ranks.run(comes_after_a_failure, 3, launcher=launcher)[::2]:
        assert "rank 0 waits for rank 1, which has left the group" in text, text


def sent_before_it_left(count, met):
    """Small messages lie in the receiver's memory, in more frames than two ranks have slots."""
    rank, tensors = dist.get_rank(), [torch.empty(4) for _ in range(count)]
    store = away.store()
    if met:
        dist.send(torch.ones(1), 1, tag=99) if rank == 0 else dist.recv(torch.ones(1), 0, tag=99)
    if rank == 0:
        for number in range(count):
            work = dist.isend(torch.full((4,), float(number)), 1, tag=number)
            if ON_GPU:
                work.wait()  # else the group may end before the bytes are on the host
        dist.destroy_process_group()
        away.until_told([1], 1.5, store)
        return True
    time.sleep(0.3)
    works = [dist.irecv(tensor, 0, tag=number) for number, tensor in enumerate(tensors)]
    for work in works:
        work.wait()
    away.tell()
    return [tensor[0].item() for tensor in tensors] == list(range(count))


@pytest.mark.parametrize("met", [False, True])
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_what_was_sent_is_received_after_the_sender_left(launcher, met):
    assert all(ranks.run(sent_before_it_left, 2, 40, met, launcher=launcher))


def leaves_while_a_large_one_moves(count):
    rank, tensor = dist.get_rank(), torch.zeros(count)
    dist.barrier()
    work = dist.isend(torch.ones(count), 1) if rank == 0 else dist.irecv(tensor, 0)
    dist.barrier()
    if rank == 0:
        time.sleep(0.1)  # by then it is accepted
        if ON_GPU:
            work.wait()
        dist.destroy_process_group()
    work.wait()
    return rank == 0 or tensor[-1].item() == 1.0


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_large_message_that_was_accepted_arrives(launcher):
    assert all(ranks.run(leaves_while_a_large_one_moves, 2, 30_000_000, launcher=launcher))
