# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""A worker process of `ranks`: takes a job, makes its group, calls, says what came of it."""

import contextlib
import dataclasses
import datetime
import faulthandler
import functools
import os
import signal
import time
import traceback
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist

STACKS_SIGNAL = signal.SIGUSR1


@dataclasses.dataclass(frozen=True)
class Setup:
    """In which group a function is called. No backend: in none, and the function makes its own."""

    backend: str | None = "pinned"
    timeout_s: float = 15.0
    options: dict = dataclasses.field(default_factory=dict)

    def init(self, **where: Any) -> None:
        """Makes the default group."""
        timeout = datetime.timedelta(seconds=self.timeout_s)
        dist.init_process_group(
            self.backend, timeout=timeout, pg_options=self.pg_options(), **where
        )

    def pg_options(self) -> Any:
        """Returns a new `pinnedpg.Options`, or None where there is nothing to choose."""
        if self.backend != "pinned":
            return None
        import pinnedpg

        options = pinnedpg.Options()
        for name, value in self.options.items():
            setattr(options, name, value)
        return options


@dataclasses.dataclass(frozen=True)
class Job:
    """One rank's part of a run."""

    fn: Callable
    args: tuple
    setup: Setup
    rank: int
    world_size: int
    threads: int  # 0: the process is the rank
    store_port: int
    store_prefix: str

    def run(self) -> Any:
        """Calls the function; with threads, on each, and returns the list of results."""
        if self.setup.backend == "pinned":
            import pinnedpg.threads  # noqa: F401
        if self.threads:
            import pinnedpg.threads

            return pinnedpg.threads.run(self._on_thread, self.threads)
        store = dist.PrefixStore(self.store_prefix, store_client(self.store_port))
        if self.setup.backend is None:
            spread(self.rank)
            return self.fn(store, self.rank, self.world_size, *self.args)
        warm_up(store, self.rank, self.world_size)
        self.setup.init(store=store, rank=self.rank, world_size=self.world_size)
        return self._call()

    def _on_thread(self) -> Any:
        self.setup.init()
        return self._call()

    def _call(self) -> Any:
        spread(dist.get_rank())
        try:
            return self.fn(*self.args)
        except BaseException as error:
            error.raised_at = time.monotonic()  # before leaving the group makes others fail
            raise
        finally:
            with contextlib.suppress(ValueError, AssertionError):  # the function has destroyed it
                dist.destroy_process_group()


def spread(rank: int) -> None:
    """Gives the rank a GPU of its own where there are several; PINNEDPG_TEST_GPUS=1: all share.

    PINNEDPG_TEST_DEFAULT=cuda: it is the default device, too. Both hold for the thread alone.
    """
    if os.environ.get("PINNEDPG_TEST_DEVICE") != "cuda":
        return
    count = int(os.environ.get("PINNEDPG_TEST_GPUS", torch.cuda.device_count()))
    torch.cuda.set_device(rank % count)
    if device := os.environ.get("PINNEDPG_TEST_DEFAULT"):
        torch.cuda.set_stream(torch.cuda.Stream())  # ranks that are threads may share a GPU
        torch.set_default_device(device)


def warm_up(store: dist.Store, rank: int, world_size: int) -> None:
    """Lets the ranks come together, which a GPU's first use can take seconds of."""
    if os.environ.get("PINNEDPG_TEST_DEVICE") != "cuda":
        return
    spread(rank)
    torch.zeros(1, device="cuda").add_(1).item()
    store.add("warm", 1)
    end = time.monotonic() + 60
    while store.add("warm", 0) < world_size:
        assert time.monotonic() < end, "the ranks do not come together"
        time.sleep(0.001)


@functools.cache
def store_client(port: int) -> dist.TCPStore:
    """Connects to the store of the tests' process, once."""
    timeout = datetime.timedelta(seconds=60)
    return dist.TCPStore("127.0.0.1", port, is_master=False, timeout=timeout)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of one rank."""

    rank: int
    state: str  # returned | raised | died | hung
    value: Any = None
    error: str = ""  # the exception's type
    text: str = ""  # its message
    where: str = ""  # its traceback, or the stacks of one that hung
    at: float = 0.0  # time.monotonic()

    def report(self) -> str:
        """Returns it for people to read."""
        text = f"rank {self.rank} {self.state}"
        if self.state == "raised":
            text += f" {self.error}: {self.text}"
        return text + (f"\n{self.where}" if self.where else "")


def main(connection: Any, stacks_path: str) -> None:
    """Serves jobs until the connection closes. STACKS_SIGNAL: writes the stacks of all threads."""
    torch.set_num_threads(1)
    with open(stacks_path, "w") as stacks:
        faulthandler.register(STACKS_SIGNAL, file=stacks, all_threads=True)
        while True:
            try:
                job = connection.recv()
            except EOFError:
                return
            connection.send(_outcome(job))


def _outcome(job: Job) -> Outcome:
    try:
        value = job.run()
    except BaseException as error:
        at = getattr(error, "raised_at", time.monotonic())
        where = "".join(traceback.format_exception(error))
        return Outcome(job.rank, "raised", None, type(error).__name__, str(error), where, at)
    return Outcome(job.rank, "returned", value, at=time.monotonic())
