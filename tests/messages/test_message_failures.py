# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Sends and receives that cannot succeed are errors, soon, on every rank they concern."""

import os
import signal
import subprocess
import sys
import threading
import time
from datetime import timedelta

import away
import limits
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


LIMIT = timedelta(seconds=60)


def send(tensor, to, tag=0):  # a CUDA tensor's send does not wait on the host
    work = dist.isend(tensor, to, tag=tag)
    work.wait()
    work.wait(LIMIT)


def failure_of(call, *args):
    """Returns what the group said when the call failed, and after how many seconds."""
    began = time.monotonic()
    try:
        call(*args)
    except dist.DistBackendError as error:
        return str(error), time.monotonic() - began
    return "", 0.0


def misfit(what, early, sender, named):
    """One side's tensor does not fit the other's; both must raise, and the text name both."""
    rank = dist.get_rank()
    if rank == (sender if early else 1 - sender):
        time.sleep(0.2)
    try:
        if rank == sender:
            send(torch.ones(4), 1 - rank, tag=3)
        else:
            dist.recv(MISFITS[what](), sender if named else None, tag=3)
    except dist.DistBackendError as error:
        try:
            dist.barrier()
        except dist.DistBackendError as later:
            return str(error), str(later)
    return "", ""


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("what", MISFITS)
@pytest.mark.parametrize("launcher", LAUNCHERS)
@pytest.mark.parametrize("named", [True, False])
def test_a_misfit_is_an_error_on_both_sides(launcher, what, early, named):
    for texts in ranks.run(misfit, 2, what, early, 0, named, launcher=launcher):
        for text in texts:
            assert "rank 1 expects" in text and "tag 3" in text, texts
            assert "from rank 0, which has sent 16 bytes of float32" in text, texts


def misfit_to_self(what, early, named):
    """Rank 0's send does not fit its own receive; rank 1 only waits for it."""
    if dist.get_rank() == 1:
        return [failure_of(dist.barrier)[0]]
    posts = [
        lambda: dist.isend(torch.ones(4), 0, tag=3),
        lambda: dist.irecv(MISFITS[what](), 0 if named else None, tag=3),
    ]
    works = [post() for post in (posts if early else reversed(posts))]
    return [failure_of(work.wait, LIMIT)[0] for work in works]


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("what", MISFITS)
@pytest.mark.parametrize("launcher", LAUNCHERS)
@pytest.mark.parametrize("named", [True, False])
def test_a_misfit_to_oneself_is_an_error_on_both_works(launcher, what, early, named):
    own, other = ranks.run(misfit_to_self, 2, what, early, named, launcher=launcher)
    assert len(own) == 2
    for text in own + other:
        assert "rank 0 expects" in text and "tag 3" in text, text
        assert "from rank 0, which has sent 16 bytes of float32" in text, text


def late(operation):
    if dist.get_rank() == 1:
        time.sleep(2.0)
        return ""
    try:
        operation(torch.ones(3), 1)
    except dist.DistBackendError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("operation", [send, dist.recv])
def test_time_outs(operation):
    began = time.monotonic()
    text = ranks.run(late, 2, operation, setup=Setup(timeout_s=1.0))[0]
    assert "rank 0 waited 1" in text and "for rank 1 to" in text and "12 bytes" in text, text
    limits.in_time(time.monotonic() - began, 10, "a start and a timeout of 1 s")


def killed(store, rank, world_size, operation, warm):
    Setup(timeout_s=20.0).init(store=store, rank=rank, world_size=world_size)
    if warm:
        send(torch.ones(1), 1) if rank == 0 else dist.recv(torch.ones(1), 0)
    if rank == 1:
        time.sleep(0.3)
        os.kill(os.getpid(), signal.SIGKILL)
    return failure_of(operation, torch.ones(1_000_000), 1)


@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize("operation", [send, dist.recv])
def test_a_killed_peer_is_named_within_a_second(operation, warm):
    outcomes = ranks.start(killed, 2, operation, warm, setup=BARE).outcomes()
    text, seconds = outcomes[0].value
    assert "rank 1" in text and "is gone" in text, text
    limits.in_time(seconds, 1.3, "0.3 s until it dies, and a look at who lives")


def aborted_by_a_third(with_collectives):
    """Rank 2 waits for rank 1, and rank 0 aborts the group."""
    rank = dist.get_rank()
    if with_collectives:
        dist.barrier()
    if rank != 0:
        send(torch.ones(1), 2) if rank == 1 else dist.recv(torch.ones(1), 1)
    time.sleep(0.2)
    if rank == 0:
        dist.distributed_c10d._get_default_group().abort()
    if rank != 2:
        away.until_told([2], 1.5)
        return "", 0.0
    return away.tell(failure_of(dist.recv, torch.ones(1), 1))


@pytest.mark.parametrize("with_collectives", [False, True])
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_an_abort_reaches_who_waits_for_another(launcher, with_collectives):
    text, seconds = ranks.run(aborted_by_a_third, 3, with_collectives, launcher=launcher)[2]
    assert "aborted by rank 0" in text, text
    limits.in_time(seconds, 1.3, "0.2 s until the abort; all end after 1.5 s more")


def posts_while_the_group_is_aborted(repeats):
    """Several threads post until they are refused; returns how many works never end."""
    group = dist.distributed_c10d._get_default_group()
    peer, works, lock = 1 - dist.get_rank(), [], threading.Lock()

    def storm(number):
        try:
            for _ in range(300):
                tensor = [torch.ones(1)]
                post = group.recv if number % 2 else group.send
                one = post(tensor, peer, number)
                with lock:
                    works.append(one)
        except dist.DistBackendError:
            pass

    threads = [threading.Thread(target=storm, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    time.sleep(0.001 * repeats)
    group.abort()
    for thread in threads:
        thread.join()
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and not all(one.is_completed() for one in works):
        time.sleep(0.01)
    return sum(not one.is_completed() for one in works)


@pytest.mark.parametrize("repeats", range(1, 9))
def test_no_message_is_forgotten_by_an_abort(repeats):
    assert ranks.run(posts_while_the_group_is_aborted, 2, repeats) == [0, 0]


def killed_while_it_sends(store, rank, world_size, source):
    """Rank 1 stops with a large message under way, which rank 0 has accepted, and is killed."""
    Setup(timeout_s=20.0).init(store=store, rank=rank, world_size=world_size)
    pids = [None] * world_size
    dist.all_gather_object(pids, os.getpid())
    for peer in (1, 2):
        if rank == 0:
            dist.recv(torch.ones(1), peer)
        elif rank == peer:
            send(torch.ones(1), 0)
    if rank == 1:
        dist.isend(torch.ones(1 << 20), 0)
        os.kill(os.getpid(), signal.SIGSTOP)
    if rank == 2:
        away.until_told([0], 4)
        return "", 0.0
    time.sleep(0.5)
    work = dist.irecv(torch.ones(1 << 20), source)
    time.sleep(0.3)
    os.kill(pids[1], signal.SIGKILL)
    return away.tell(failure_of(work.wait))


@pytest.mark.parametrize("source", [1, None], ids=["named", "any"])
def test_a_matched_sender_that_dies_is_named(source):
    outcomes = ranks.start(killed_while_it_sends, 3, source, setup=BARE).outcomes()
    text, seconds = outcomes[0].value
    assert "rank 1" in text and "is gone" in text, text
    limits.in_time(seconds, 1.3, "0.3 s until it dies, and a look at who lives")


def left_after_collectives():
    store = away.store()
    dist.barrier()
    if dist.get_rank() == 1:
        dist.destroy_process_group()
        away.until_told([0], 1.5, store)
        return "", 0.0
    time.sleep(0.3)
    return away.tell(failure_of(dist.recv, torch.ones(1), 1))


def test_a_rank_that_left_after_collectives_is_not_waited_for():
    text, seconds = ranks.run(left_after_collectives, 2)[0]
    assert "rank 1, which has left the group" in text, text
    limits.in_time(seconds, 1.3, "0.3 s until it leaves")


def without_a_store(rank, port):
    """The Store's process ends once all have met: messages and collectives go on."""
    store = dist.TCPStore("127.0.0.1", port, is_master=False)
    dist.init_process_group("pinned", store=store, rank=rank, world_size=2)
    dist.all_reduce(torch.ones(1))
    (dist.send if rank == 0 else dist.recv)(torch.ones(1), 1 - rank)
    print("met", flush=True)
    sys.stdin.readline()  # the Store has gone
    if rank == 0:
        time.sleep(1)
    got = torch.zeros(1)
    for _ in range(2):
        (dist.send(torch.ones(1), 1) if rank == 0 else dist.recv(got, 0))
        time.sleep(0.5 if rank == 0 else 0)
    dist.all_reduce(got)
    print("went on", flush=True)
    os._exit(0)


def test_messages_outlive_the_store():
    served = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    begin = f"import sys; sys.path[:] = {sys.path!r}; from {__name__} import without_a_store"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", f"{begin}; without_a_store({rank}, {served.port})"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    assert [process.stdout.readline() for process in processes] == ["met\n"] * 2
    del served
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    assert ["went on" in process.communicate(timeout=40)[0] for process in processes] == [True] * 2
