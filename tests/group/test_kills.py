# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""SIGKILL: the survivors raise within a second and say who is gone, and nothing is left behind."""

import os
import random
import signal
import time
from datetime import timedelta

import limits
import pytest
import ranks
import slices
import torch
import torch.distributed as dist
from processes import holdings, left_behind, settled, shared_files
from reductions import reduce_scatter_single
from worker import Setup

pytestmark = pytest.mark.alone
BARE = Setup(backend=None, timeout_s=20.0)
IN_GROUP = Setup(timeout_s=20.0)


CALLS = [
    lambda n: dist.all_reduce(torch.ones(n)),
    lambda n: dist.broadcast(torch.ones(n), 0),
    lambda n: dist.all_gather([torch.ones(n) for _ in range(dist.get_world_size())], torch.ones(n)),
    lambda n: dist.barrier(),
    lambda n: dist.all_reduce(torch.ones(n), async_op=True).wait(),
    lambda n: reduce_scatter_single(torch.ones(n), torch.ones(n * dist.get_world_size())),
    lambda n: [
        work.wait() for work in [dist.all_reduce(torch.ones(n), async_op=True) for _ in range(5)]
    ],
]


def until_an_error(store, rank, world_size, count, warm):
    """Calls collectives until one raises; returns what, when, and what is held before and after."""
    before = holdings()
    IN_GROUP.init(store=store, rank=rank, world_size=world_size)
    for number in range(warm):
        CALLS[number % len(CALLS)](count)
    store.set(f"warm/{rank}", " ".join(shared_files()))
    text = ""
    deadline = time.monotonic() + 20
    while not text and time.monotonic() < deadline:
        try:
            for call in CALLS:
                call(count)
        except dist.DistBackendError as error:
            text, at = str(error), time.monotonic()
    dist.destroy_process_group()
    return text, at, before, settled(before)


def kill_one(world_size, count, victim, delay_s):
    """Kills a rank at work, and checks what the others make of it, and what is left of it."""
    before_all = left_behind()
    run = ranks.start(until_an_error, world_size, count, 7, setup=BARE)
    run.store.wait([f"warm/{rank}" for rank in range(world_size)], timedelta(seconds=20))
    time.sleep(delay_s)
    files = b" ".join(run.store.get(f"warm/{rank}") for rank in range(world_size)).decode()
    killed = run.kill(victim)
    outcomes = run.outcomes()
    failed = [outcome for outcome in outcomes if outcome.state != "returned"]
    assert [outcome.rank for outcome in failed] == [victim], ranks.RanksError(outcomes)
    for outcome in outcomes:
        if outcome.rank != victim:
            text, at, before, after = outcome.value
            assert f"rank {victim}" in text and f"{run.pids[victim]} is gone" in text, text
            limits.in_time(at - killed, 1.0, "a look at who lives, every 100 ms")
            assert after[0] <= before[0] and after[1] <= before[1], (before, after)
    assert left_behind(files.split()) == before_all
    return max(o.value[1] - killed for o in outcomes if o.rank != victim)


def kill_some(times, seed):
    chance = random.Random(seed)
    slowest = 0.0
    for _ in range(times):
        world_size = chance.randint(2, 4)
        count = chance.choice([1, 1000, 300_000])
        delay_s = chance.uniform(0.0, 0.2)
        taken = kill_one(world_size, count, chance.randrange(world_size), delay_s)
        slowest = max(slowest, taken)
    return slowest


def test_survivors_raise_within_a_second(record_property):
    record_property("slowest_s", kill_some(10, seed=1))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_hundred_kills(record_property):
    """In four commits."""
    times = slices.amount(100)
    slowest = kill_some(times, seed=2 + slices.seed())
    record_property("slowest_s", slowest)
    print(f"{times} kills: the slowest survivor raised after {slowest:.3f} s")


def die_young(store, rank, world_size, victim, moment):
    if rank == victim and moment == "before joining":
        os.kill(os.getpid(), signal.SIGKILL)
    Setup(timeout_s=3.0).init(store=store, rank=rank, world_size=world_size)
    if rank == victim:
        time.sleep(0.3 if moment == "while others wait" else 0)
        os.kill(os.getpid(), signal.SIGKILL)
    began = time.monotonic()
    try:
        dist.all_reduce(torch.ones(3))
    except dist.DistBackendError as error:
        return str(error), time.monotonic() - began
    return "", 0.0


@pytest.mark.parametrize("victim", [0, 2])
@pytest.mark.parametrize("moment", ["before joining", "before its call", "while others wait"])
def test_death_before_the_first_call(moment, victim):
    outcomes = ranks.start(die_young, 3, victim, moment, setup=BARE).outcomes()
    for outcome in outcomes:
        if outcome.rank == victim:
            assert outcome.state == "died"
            continue
        text, seconds = outcome.value
        assert f"rank {victim}" in text, text
        if moment == "before joining":  # nobody knows of its process: the time-out
            assert "not" in text, text
            limits.in_time(seconds, 4.0, "a timeout of 3 s")
        else:
            assert "is gone" in text, text
            limits.in_time(seconds, 1.5, "0.3 s until it dies, and a look at who lives")


def with_a_zombie(store, rank, world_size):
    """Rank 1 is a child, forked before init, that is killed and not reaped."""
    del rank, world_size
    child = os.fork()
    me = 0 if child else 1
    if me == 1:
        store = dist.PrefixStore("zombie", dist.TCPStore("127.0.0.1", port_of(store)))
    else:
        store = dist.PrefixStore("zombie", store.underlying_store)
    IN_GROUP.init(store=store, rank=me, world_size=2)
    dist.all_reduce(torch.ones(10))
    if me == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    began = time.monotonic()
    try:
        dist.all_reduce(torch.ones(10))
    except dist.DistBackendError as error:
        with open(f"/proc/{child}/stat") as stat:
            state = stat.read().rsplit(")")[-1].split()[0]
        taken = time.monotonic() - began
        os.waitpid(child, 0)
        dist.destroy_process_group()
        return str(error), taken, state
    return "", 0.0, ""


def port_of(store):
    return store.underlying_store.port


def test_a_zombie_counts_as_gone():
    ((text, seconds, state),) = ranks.run(with_a_zombie, 1, setup=BARE)
    assert state == "Z"
    assert "rank 1" in text and "is gone" in text, text
    limits.in_time(seconds, 1.0, "a look at who lives, every 100 ms")


def stopped(store, rank, world_size):
    Setup(timeout_s=1.5).init(store=store, rank=rank, world_size=world_size)
    dist.barrier()
    if rank == 1:
        os.kill(os.getpid(), signal.SIGSTOP)
    try:
        dist.all_reduce(torch.ones(10))
    except dist.DistBackendError as error:
        return str(error)
    return ""


def test_a_stopped_rank_is_alive_and_late():
    run = ranks.start(stopped, 2, setup=BARE)
    outcomes = run.outcomes(4.0)
    assert "rank 1" in outcomes[0].value and "is alive" in outcomes[0].value
