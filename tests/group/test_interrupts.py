# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""The outer world while a rank waits: signals, callbacks, a mute Store, no files, no threads."""

import ctypes
import os
import resource
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
WAITS = {
    "call": lambda: dist.all_reduce(torch.ones(3)),
    "work": lambda: dist.all_reduce(torch.ones(3), async_op=True).wait(),
    "barrier": dist.barrier,
}


def interrupt_soon():
    # A shell has those that it starts in the background ignore SIGINT.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()


def interrupted(how, calls_before, who):
    """Rank `who` waits for another, which does not come for 1.5 s, and is sent a SIGINT."""
    for _ in range(calls_before):
        dist.barrier()
    if dist.get_rank() != who:
        away.until_told([who], 1.5)
        return None
    interrupt_soon()
    began, taken = time.monotonic(), None
    try:
        WAITS[how]()
    except KeyboardInterrupt:
        taken = time.monotonic() - began
    return away.tell(taken)


@pytest.mark.parametrize("how", WAITS)
@pytest.mark.parametrize(("calls_before", "who"), [(1, 0), (0, 0), (0, 1)])
def test_a_signal_ends_the_wait(how, calls_before, who):
    seconds = ranks.run(interrupted, 2, how, calls_before, who)[who]
    assert seconds is not None
    limits.in_time(seconds, 1.0, "a signal after 0.3 s; the other comes after 1.5 s")


def break_off_a_call():
    dist.barrier()
    if dist.get_rank() == 0:
        interrupt_soon()
    try:
        if dist.get_rank() == 1:
            time.sleep(0.6)
        dist.all_reduce(torch.ones(3))
    except KeyboardInterrupt:
        pass
    except dist.DistBackendError as error:
        return str(error)
    try:
        dist.all_reduce(torch.ones(3))
    except dist.DistBackendError as error:
        return str(error)
    return ""


def test_an_interrupted_call_is_an_error_on_every_rank():
    assert ranks.run(break_off_a_call, 2) == ["all_reduce: rank 0 was interrupted"] * 2


def wait_in_callbacks():
    """Callbacks wait for calls, and those calls' callbacks for further ones."""
    world_size, found = dist.get_world_size(), []
    group = dist.distributed_c10d._get_default_group()  # whose callback runs on no rank's thread

    def deeper(level):
        def callback(future):
            tensor = torch.full((2,), float(level))
            dist.all_reduce(tensor, group=group)
            dist.all_reduce(tensor, group=group, async_op=True).wait()
            if level < 4:
                work = dist.all_reduce(torch.ones(2), group=group, async_op=True)
                work.get_future().then(deeper(level + 1)).wait()
            found.append((level, tensor[0].item()))
            return future.value()

        return callback

    work = dist.all_reduce(torch.ones(3), async_op=True)
    (result,) = work.get_future().then(deeper(1)).wait()
    assert result.tolist() == [world_size] * 3
    return found


@pytest.mark.parametrize("launcher", ["processes", "threads"])
def test_a_callback_may_wait_for_other_calls(launcher):
    for found in ranks.run(wait_in_callbacks, 2, launcher=launcher):
        assert found == [(level, 4.0 * level) for level in (4, 3, 2, 1)]


def served_without_the_lock(count):
    """Rank 0's main thread waits for rank 2 and looks for signals, while another keeps the GIL."""
    rank = dist.get_rank()
    dist.barrier()
    if rank == 0:
        send, awaited = dist.isend(torch.ones(count), 1), dist.irecv(torch.ones(2), 2)
        keep = lambda: ctypes.PyDLL(None).sleep(3)  # noqa: E731
        threading.Timer(0.3, keep).start()
        awaited.wait()
        send.wait()
        return 0.0
    time.sleep(0.8 if rank == 1 else 4)
    began = time.monotonic()
    dist.recv(torch.ones(count), 0) if rank == 1 else dist.send(torch.ones(2), 0)
    return time.monotonic() - began


def test_a_rank_whose_main_thread_waits_for_the_gil_serves_messages():
    seconds = ranks.run(served_without_the_lock, 3, 5_000_000)[1]
    limits.in_time(seconds, 1.5, "20 MB; the GIL is kept for 2.5 s more")


def threads():
    return len(os.listdir("/proc/self/task"))


def many_callbacks(count):
    """Callbacks that run at once need a thread each, but not for long.

    The peer comes once they are all there: what is done already runs its callback at once.
    """
    own = dist.new_group([dist.get_rank()], use_local_synchronization=True)
    before = threads()
    if dist.get_rank() == 1:
        time.sleep(2)
        for _ in range(count):
            dist.all_reduce(torch.ones(2))
        return None
    works = [dist.all_reduce(torch.ones(2), async_op=True) for _ in range(count)]
    chained = [work.get_future().then(lambda _: time.sleep(0.3)) for work in works]
    torch.futures.wait_all(chained)
    most, deadline = threads() - before, time.monotonic() + 10
    while threads() - before > 8 and time.monotonic() < deadline:
        dist.all_reduce(torch.ones(2), group=own, async_op=True).get_future().wait()
        time.sleep(0.01)
    return most, threads() - before


def test_the_threads_of_callbacks_end():
    most, left = ranks.run(many_callbacks, 2, 100)[0]
    assert most > 20 and left <= 8, (most, left)


def done_after_wait(times):
    for _ in range(times):
        work = dist.all_reduce(torch.ones(2), async_op=True)
        future = work.get_future()
        work.wait()
        assert future.done()
    return True


def test_a_future_is_done_when_its_work_has_been_waited_for():
    assert all(ranks.run(done_after_wait, 2, 300))


SERVER = """
import sys, time
import torch.distributed as dist
store = dist.TCPStore("127.0.0.1", 0, is_master=True)
print(store.port, flush=True)
time.sleep(60)
"""


def with_a_mute_store(store, rank, world_size, port, server, missing):
    """The other rank never comes, and the Store's server is stopped after init."""
    del store
    if rank == missing:
        return None
    mute = dist.TCPStore("127.0.0.1", port, is_master=False)
    second = timedelta(seconds=1.0)
    dist.init_process_group("pinned", store=mute, rank=rank, world_size=world_size, timeout=second)
    os.kill(server, signal.SIGSTOP)
    began, text = time.monotonic(), ""
    try:
        dist.all_reduce(torch.ones(1))
    except dist.DistBackendError as error:
        text = str(error)
    raised = time.monotonic() - began
    dist.destroy_process_group()
    return text, raised, time.monotonic() - began - raised


@pytest.mark.parametrize(
    ("missing", "said"), [(0, "the Store must answer"), (1, "(the timeout of the call) for rank 1")]
)
def test_a_store_that_is_mute_does_not_hold_a_rank(missing, said):
    command = [sys.executable, "-c", SERVER]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            port = int(server.stdout.readline())
            arguments = port, server.pid, missing
            outcomes = ranks.run(with_a_mute_store, 2, *arguments, setup=BARE)
        finally:
            server.kill()
    text, raised, left = outcomes[1 - missing]
    assert said in text and "frame #" not in text, text
    limits.in_time(raised, 2.5, "a timeout of 1 s")
    limits.in_time(left, 1.0, "leaving, which waits for nobody")


def without_descriptors():
    """Rank 0 has none left while it waits for rank 1, which is alive, and late."""
    dist.barrier()
    if dist.get_rank() == 1:
        time.sleep(0.5)
        dist.barrier()
        return None
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, limit[1]))
    try:
        dist.barrier()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)
    return True


def test_a_process_that_cannot_be_looked_at_is_not_gone():
    assert ranks.run(without_descriptors, 2)[0]


NO_THREAD = """
import resource
import torch, torch.distributed as dist
import pinnedpg

dist.init_process_group("pinned", store=dist.HashStore(), rank=0, world_size=1)
with open("/proc/self/statm") as statm:
    now = int(statm.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (now + {room}, -1))  # the stack of a thread, or none
try:
    work = dist.irecv(torch.ones(3), 0)
    dist.isend(torch.ones(3), 0)
    work.wait()
    print("threads enough")
except dist.DistBackendError as error:
    print(error)
"""


@pytest.mark.parametrize("room", [2 << 20, 96 << 20])
def test_no_thread_can_be_had(room):
    """None, or one (of 64 MiB): enough if one that began to serve the group is still idle."""
    command = ["sh", "-c", 'ulimit -s 65536; exec "$@"', "sh"]
    command += [sys.executable, "-c", NO_THREAD.format(room=room)]
    text = subprocess.run(
        command, capture_output=True, text=True, timeout=limits.patient(60)
    ).stdout
    refused = "send, recv: rank 0 failed: a thread must be had" in text and "ulimit -u" in text
    assert refused or (room > 64 << 20 and text == "threads enough\n"), text
