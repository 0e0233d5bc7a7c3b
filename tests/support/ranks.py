# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Runs a function on the ranks of a group: as processes kept for the session, or as threads of one.

`run(fn, world_size, *args)` makes a group, calls `fn(*args)` on every rank and returns the results
by rank. It is
bounded: when a rank fails or hangs, it raises with that rank's traceback or stacks and the state of
    all others, and
starts the next run in fresh processes.
"""

import atexit
import itertools
import multiprocessing
import os
import signal
import tempfile
import time
from collections.abc import Callable
from multiprocessing import connection, forkserver
from pathlib import Path
from typing import Any

import torch.distributed as dist
import worker
from default_device import ON_GPU
from worker import Outcome, Setup

GRACE_S = 2.0
"""How long the others have after one rank has failed."""
TIMEOUT_S = 90.0 if ON_GPU else 30.0  # several processes that share a GPU take turns
HARNESS = "/multiprocessing/"
PRELOADED = ["worker", "ranks", "matrix", "pytest"]
"""What the workers need not import themselves; a module of tests may add to it."""


class RanksError(AssertionError):
    """Not every rank returned; `outcomes` has what came of each."""

    def __init__(self, outcomes: list[Outcome]):
        order = {"raised": 0, "died": 1, "hung": 2, "returned": 3}
        ordered = sorted(outcomes, key=lambda outcome: (order[outcome.state], outcome.at))
        super().__init__("\n".join(outcome.report() for outcome in ordered))
        self.outcomes = outcomes


class _Worker:
    def __init__(self, context: Any, folder: str, number: int):
        self.stacks = Path(folder, f"stacks{number}")
        self.connection, theirs = context.Pipe()
        arguments = (theirs, str(self.stacks))
        self.process = context.Process(target=worker.main, args=arguments, daemon=True)
        self.process.start()
        theirs.close()

    def kill(self) -> None:
        self.process.kill()
        self.process.join()
        self.connection.close()

    def where(self) -> str:
        """Returns the stacks of the worker's threads."""
        before = self.stacks.stat().st_size if self.stacks.exists() else 0
        os.kill(self.process.pid, worker.STACKS_SIGNAL)
        deadline = time.monotonic() + 1.0
        text = ""
        while time.monotonic() < deadline and not text.endswith("\n\n"):
            time.sleep(0.1)
            now = self.stacks.read_text()[before:]
            if now and now == text:
                break
            text = now
        return "".join(line for line in text.splitlines(True) if HARNESS not in line)


class Run:
    """A function under way on all ranks."""

    def __init__(self, pool: "Pool", workers: list[_Worker], store: dist.Store):
        self._pool = pool
        self.store = store  # that the ranks meet in
        self._workers = workers
        self._outcomes: dict[int, Outcome] = {}
        self.pids = [worker.process.pid for worker in workers]

    def kill(self, rank: int) -> float:
        """Kills a rank's process with SIGKILL, leaves it a zombie, and returns when."""
        os.kill(self.pids[rank], signal.SIGKILL)
        return time.monotonic()

    def outcomes(self, timeout_s: float = TIMEOUT_S, grace_s: float | None = None) -> list[Outcome]:
        """Waits for all ranks, `grace_s` once one has failed; returns what came of each."""
        deadline = time.monotonic() + timeout_s
        while len(self._outcomes) < len(self._workers) and time.monotonic() < deadline:
            self._collect(deadline)
            failed = any(outcome.state != "returned" for outcome in self._outcomes.values())
            if failed and grace_s is not None:
                deadline = min(deadline, time.monotonic() + grace_s)
                grace_s = None
        for rank, late in enumerate(self._workers):
            if rank not in self._outcomes:
                self._outcomes[rank] = Outcome(rank, "hung", where=late.where())
        outcomes = [self._outcomes[rank] for rank in range(len(self._workers))]
        if any(outcome.state != "returned" for outcome in outcomes):
            self._pool.kill(self._workers)
        self._pool.busy = False
        return outcomes

    def results(self, timeout_s: float = TIMEOUT_S) -> list:
        """Returns what the ranks returned.

        Raises:
            RanksError: Not all did.
        """
        outcomes = self.outcomes(timeout_s, GRACE_S)
        if any(outcome.state != "returned" for outcome in outcomes):
            raise RanksError(outcomes)
        return [outcome.value for outcome in outcomes]

    def _collect(self, deadline: float) -> None:
        waiting = {
            worker.connection: rank
            for rank, worker in enumerate(self._workers)
            if rank not in self._outcomes
        }
        left = max(0.0, deadline - time.monotonic())
        for ready in connection.wait(list(waiting), left):
            rank = waiting[ready]
            try:
                self._outcomes[rank] = ready.recv()
            except (EOFError, ConnectionResetError):
                self._outcomes[rank] = Outcome(rank, "died", at=time.monotonic())


def _server() -> Any:
    """Starts the process that workers are forked from: it imports torch once, and that is all."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    path = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(Path(__file__).parent), path]))
    try:
        forkserver.ensure_running()
    finally:
        os.environ.pop("PYTHONPATH")
        if path is not None:
            os.environ["PYTHONPATH"] = path
    return context


class Pool:
    """The processes that ranks run in, and the store that they meet in."""

    def __init__(self, context: Any = None):
        self._context = context or _server()
        self._folder = tempfile.TemporaryDirectory(prefix="pinnedpg-tests-")
        self._store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        self.port = self._store.port
        self._workers: dict[int, _Worker] = {}  # by rank: DTensor remembers which one a process was
        self._numbers = itertools.count()
        self._runs = itertools.count()
        self.busy = False

    def start(self, fn: Callable, count: int, args: tuple, setup: Setup, threads: int) -> Run:
        assert not self.busy, "one run at a time: ask the last one for its outcomes first"
        for rank in set(range(count)) - self._workers.keys():
            number = next(self._numbers)
            self._workers[rank] = _Worker(self._context, self._folder.name, number)
        workers = [self._workers[rank] for rank in range(count)]
        prefix = f"run{next(self._runs)}"
        for rank, one in enumerate(workers):
            one.connection.send(
                worker.Job(fn, args, setup, rank, count, threads, self.port, prefix)
            )
        self.busy = True
        return Run(self, workers, dist.PrefixStore(prefix, self._store))

    def kill(self, workers: list[_Worker]) -> None:
        for one in workers:
            one.kill()
        self._workers = {r: one for r, one in self._workers.items() if one not in workers}

    def close(self) -> None:
        self.kill(list(self._workers.values()))


_pool: Pool | None = None


def _the_pool() -> Pool:
    global _pool
    if _pool is None:
        _pool = Pool()
        atexit.register(_pool.close)
    return _pool


def start(fn: Callable, world_size: int, *args: Any, setup: Setup = Setup()) -> Run:  # noqa: B008
    """Starts `fn(*args)` on the ranks; without a backend, `fn(store, rank, world_size, *args)`."""
    return _the_pool().start(fn, world_size, args, setup, 0)


def run(
    fn: Callable,
    world_size: int,
    *args: Any,
    launcher: str = "processes",
    setup: Setup = Setup(),  # noqa: B008
    timeout_s: float = TIMEOUT_S,
) -> list:
    """Calls `fn(*args)` on the ranks of a group and returns the results by rank.

    Args:
        fn: A module-level function.
        world_size: Number of ranks.
        *args: For `fn`; pickled.
        launcher: "processes", or "threads" of one process.
        setup: The group's backend, time-out and options.
        timeout_s: After which all that have not returned hang.

    Raises:
        RanksError: Not all ranks returned.
    """
    if launcher == "threads":
        return _the_pool().start(fn, 1, args, setup, world_size).results(timeout_s)[0]
    return start(fn, world_size, *args, setup=setup).results(timeout_s)
