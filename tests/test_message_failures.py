# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Sends and receives that cannot succeed are errors, soon, on every rank they concern."""

import os
import signal
import time

import pytest
import ranks
import torch
import torch.distributed as dist
from worker import Setup

BARE = Setup(backend=None)
LAUNCHERS = ["processes", "threads"]
MISFITS = {
    "size": lambda: torch.empty(5),
    "large": lambda: torch.empty(100_000),
    "type": lambda: torch.empty(4, dtype=torch.int32),
}


def misfit(what, early, sender):
    """One side's tensor does not fit the other's; both must raise, and the text name both."""
    rank = dist.get_rank()
    if rank == (sender if early else 1 - sender):
        time.sleep(0.2)
    try:
        if rank == sender:
            dist.send(torch.ones(4), 1 - rank, tag=3)
        else:
            dist.recv(MISFITS[what](), sender, tag=3)
    except dist.DistBackendError as error:
        try:
            dist.barrier()
        except dist.DistBackendError as later:
            return str(error), str(later)
    return "", ""


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("what", MISFITS)
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_misfit_is_an_error_on_both_sides(launcher, what, early):
    for texts in ranks.run(misfit, 2, what, early, 0, launcher=launcher):
        for text in texts:
            assert "rank 1 expects" in text and "tag 3" in text, texts
            assert "from rank 0, which has sent 16 bytes of float32" in text, texts


def late(operation):
    if dist.get_rank() == 1:
        time.sleep(2.0)
        return ""
    try:
        operation(torch.ones(3), 1)
    except dist.DistBackendError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("operation", [dist.send, dist.recv])
def test_time_outs(operation):
    began = time.monotonic()
    text = ranks.run(late, 2, operation, setup=Setup(timeout_s=1.0))[0]
    assert "rank 0 waited 1" in text and "for rank 1 to" in text and "12 bytes" in text, text
    assert time.monotonic() - began < 10


def killed(store, rank, world_size, operation, warm):
    Setup(timeout_s=20.0).init(store=store, rank=rank, world_size=world_size)
    if warm:
        dist.send(torch.ones(1), 1) if rank == 0 else dist.recv(torch.ones(1), 0)
    if rank == 1:
        time.sleep(0.3)
        os.kill(os.getpid(), signal.SIGKILL)
    began = time.monotonic()
    try:
        operation(torch.ones(1_000_000), 1)
    except dist.DistBackendError as error:
        return str(error), time.monotonic() - began
    return "", 0.0


@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize("operation", [dist.send, dist.recv])
def test_a_killed_peer_is_named_within_a_second(operation, warm):
    outcomes = ranks.start(killed, 2, operation, warm, setup=BARE).outcomes()
    text, seconds = outcomes[0].value
    assert "rank 1" in text and "is gone" in text and seconds < 1.3, (text, seconds)


def aborted_by_a_third(with_collectives):
    """Rank 2 waits for rank 1, and rank 0 aborts the group."""
    rank = dist.get_rank()
    if with_collectives:
        dist.barrier()
    if rank != 0:
        dist.send(torch.ones(1), 2) if rank == 1 else dist.recv(torch.ones(1), 1)
    time.sleep(0.2)
    if rank == 0:
        dist.distributed_c10d._get_default_group().abort()
    if rank != 2:
        time.sleep(1.5)
        return "", 0.0
    began = time.monotonic()
    try:
        dist.recv(torch.ones(1), 1)
    except dist.DistBackendError as error:
        return str(error), time.monotonic() - began
    return "", 0.0


@pytest.mark.parametrize("with_collectives", [False, True])
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_an_abort_reaches_who_waits_for_another(launcher, with_collectives):
    text, seconds = ranks.run(aborted_by_a_third, 3, with_collectives, launcher=launcher)[2]
    assert "aborted by rank 0" in text and seconds < 1.3, (text, seconds)
