# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Runs functions on ranks that have imported a library, as torchrun would start them.

`Library("accelerate").run(fn, world_size, *args)` is `ranks.run` for code that makes its group
itself. The ranks of each run are forked anew from a process that has imported the library once:
that takes seconds, and what a library changes (the environment, signals, its own singletons) dies
with them.
"""

import atexit
import contextlib
import importlib
import multiprocessing
import os
from collections.abc import Callable
from importlib.util import find_spec
from multiprocessing import connection
from typing import Any

import limits
import pytest
import ranks
from worker import Setup

START_TIMEOUT_S = 60.0
"""For the import."""
WORLDS = [2, pytest.param(4, marks=pytest.mark.soak)]


class Library:
    """A library that may be missing, and a process that has imported it.

    The modules after the first are what it imports late: imported early where they are there.
    """

    def __init__(self, *modules: str):
        self._modules = modules
        self._process: Any = None
        self._connection: Any = None
        package = modules[0].partition(".")[0]
        self.marks = [
            pytest.mark.slow,
            pytest.mark.xdist_group(package),
            pytest.mark.skipif(
                find_spec(package) is None, reason=f"there is no {package}: make clients"
            ),
        ]

    def run(
        self, fn: Callable, world_size: int, *args: Any, timeout_s: float = ranks.TIMEOUT_S
    ) -> list:
        """Calls `fn(*args)` on the ranks and returns the results by rank.

        Raises:
            AssertionError: Not all returned; with what `ranks` says of each.
        """
        limit_s = timeout_s + 15
        if self._process is None:
            self._start()
            limit_s += limits.patient(START_TIMEOUT_S)
        self._connection.send((fn, world_size, args, timeout_s))
        if not self._connection.poll(limit_s):
            self.close()
            raise AssertionError(f"{self._modules[0]}: no answer after {limit_s} s")
        results, error = self._connection.recv()
        if error:
            raise AssertionError(error)
        return results

    def close(self) -> None:
        """Ends the process and its ranks; a later run starts another."""
        if self._process is not None:
            self._connection.close()  # it leaves, with its ranks
            self._process.join(15)
            self._process.kill()
            self._process = None

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, self._modules))
        self._process.start()
        theirs.close()
        atexit.register(self.close)


def _serve(jobs: connection.Connection, modules: tuple[str, ...]) -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    importlib.import_module(modules[0])
    for module in modules[1:]:
        with contextlib.suppress(ModuleNotFoundError):
            importlib.import_module(module)
    while True:
        try:
            fn, world_size, args, timeout_s = jobs.recv()
        except EOFError:
            return
        pool = ranks.Pool(multiprocessing.get_context("fork"))
        start = (_as_torchrun, world_size, (pool.port, fn, args), Setup(backend=None), 0)
        try:
            jobs.send((pool.start(*start).results(timeout_s), ""))
        except ranks.RanksError as error:
            jobs.send((None, str(error)))
        finally:
            pool.close()


def _as_torchrun(
    store: Any, rank: int, world_size: int, port: int, fn: Callable, args: tuple
) -> Any:
    """Calls the function in the environment that torchrun gives a rank."""
    names = {
        "RANK": rank,
        "LOCAL_RANK": rank,
        "GROUP_RANK": 0,
        "WORLD_SIZE": world_size,
        "LOCAL_WORLD_SIZE": world_size,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
        "TORCHELASTIC_RUN_ID": "none",
        "TORCHELASTIC_RESTART_COUNT": 0,
        "TORCHELASTIC_USE_AGENT_STORE": True,
    }
    os.environ.update({name: str(value) for name, value in names.items()})
    return fn(*args)


def assert_pinned() -> None:
    """The default group's CPU tensors go through pinnedpg, whatever the library calls it."""
    import torch
    import torch.distributed as dist

    import pinnedpg

    assert dist.get_backend() == "pinned"
    backend = dist.group.WORLD._get_backend(torch.device("cpu"))
    assert isinstance(backend, pinnedpg.ProcessGroupPinned)
