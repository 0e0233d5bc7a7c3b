# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Ranks as threads of one process.

    def main():
        dist.init_process_group("pinned")
        tensor = torch.ones(4)
        dist.all_reduce(tensor)
        return tensor

    tensors = pinnedpg.threads.run(main, 4)  # of rank 0, 1, 2, 3

The function is what torchrun would start: it calls `dist.init_process_group` without rank or world
size and then everything of `torch.distributed` as usual, since each thread has a default group,
groups and a DeviceMesh of its own.
"""

import collections
import contextlib
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, cast
from urllib.parse import parse_qsl, urlparse

import torch
import torch.distributed as dist
from torch.distributed import distributed_c10d
from torch.distributed.rendezvous import _rendezvous_handlers

T = TypeVar("T")
_c10d: Any = torch._C._distributed_c10d  # has more than its stub says

LEAVE_SECONDS = 5.0
"""How long ranks may take to come back once their groups were aborted."""


class RankError(RuntimeError):
    """A rank's exception, which is its `__cause__`; `rank` says whose."""

    def __init__(self, rank: int, message: str):
        super().__init__(message)
        self.rank = rank


def run(fn: Callable[..., T], world_size: int, *args: Any, timeout: float | None = None) -> list[T]:
    """Calls `fn(*args)` on `world_size` threads, the ranks; returns what they returned, by rank.

    In them `dist.init_process_group(backend)` needs no environment variables, and torch's default
    group is the thread's own. Groups that are left over at the end are destroyed. Threads that `fn`
    itself starts are no ranks. Code that reads `RANK` from the environment asks `dist.get_rank()`
    instead.

    Until this returns, other threads cannot use their groups by name (functional collectives,
    DeviceMesh). Backward passes run on the thread that asks for them, as torch.autograd's worker
    threads belong to no rank. torch's default random generator is one for all threads: ranks that
    must draw the same numbers use a `torch.Generator` each.

    Args:
        fn: Called on every thread; a module-level function, a lambda, anything.
        world_size: Number of ranks, at least 1.
        *args: For `fn`; the same objects on every thread.
        timeout: Seconds after which the groups are aborted and an error is raised; None: no limit.

    Raises:
        ValueError: `world_size` is less than 1.
        RankError: `fn` raised on a rank, the first to do so. The groups of all ranks are aborted,
            so that the others raise rather than wait for it.
        TimeoutError: Not all ranks returned in time. The text says which, and where they are.
    """
    if world_size < 1:
        raise ValueError(f"threads.run: world_size must be at least 1; got {world_size}")
    return _Crew(fn, world_size, args).run(timeout)


class _World(distributed_c10d._World):
    """torch's book of groups; what torch keeps in module globals is kept in the object."""

    TABLES = (
        "pg_map",
        "pg_names",
        "pg_group_ranks",
        "pg_backend_config",
        "tags_to_pg",
        "pg_to_tag",
    )
    pg_map: Any = None
    pg_names: Any = None
    pg_group_ranks: Any = None
    pg_backend_config: Any = None
    tags_to_pg: Any = None
    pg_to_tag: Any = None
    group_count = 0

    def __init__(self) -> None:
        super().__init__()
        for table in self.TABLES:
            setattr(self, table, {})


class _Seat:
    """What makes a thread a rank."""

    def __init__(self, rank: int, world_size: int, store: dist.Store):
        self.rank = rank
        self.world_size = world_size
        self.store = store
        self.world = _World()
        self.meetings = 0

    def meet(self) -> dist.Store:
        """Returns the store of the next default group: a part of its own, as keys stay."""
        self.meetings += 1
        return dist.PrefixStore(f"meeting{self.meetings}", self.store)

    def abort(self) -> None:
        for group in list(self.world.pg_map):
            with contextlib.suppress(Exception):  # a backend that cannot: its ranks time out
                group.abort()


class _Here(threading.local):
    seat: _Seat | None = None


_here = _Here()


class _Worlds:
    """torch's book of groups: on a rank's thread the rank's own, on any other the process's."""

    def __init__(self, outer: Any):
        object.__setattr__(self, "_outer", outer)

    def _own(self) -> Any:
        return _here.seat.world if _here.seat else self._outer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._own(), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._own(), name, value)


class _Hooks:
    """Makes torch.distributed look at the thread, for as long as any crew runs."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._undo = contextlib.ExitStack()

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        with self._lock:
            if self._users == 0:
                self._install()
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if self._users == 0:
                    self._undo.close()

    def _install(self) -> None:
        handlers = _rendezvous_handlers
        # Each init_process_group wraps the hook once more.
        self._undo.callback(setattr, sys, "excepthook", sys.excepthook)
        self._undo.callback(setattr, distributed_c10d, "_world", distributed_c10d._world)
        self._undo.callback(handlers.__setitem__, "env", handlers["env"])
        self._undo.callback(_c10d._set_thread_isolation_mode, False)
        distributed_c10d._world = cast(Any, _Worlds(distributed_c10d._world))
        handlers["env"] = _rendezvous(handlers["env"])
        _c10d._set_thread_isolation_mode(True)


_hooks = _Hooks()


def _rendezvous(outer: Callable[..., Any]) -> Callable[..., Any]:
    """Wraps torch's env:// rendezvous, its default: a rank's thread needs no environment."""

    def handler(url: str, **kwargs: Any) -> Iterator[tuple[dist.Store, int, int]]:
        seat = _here.seat
        if seat is None:
            yield from outer(url, **kwargs)
            return
        asked = {"rank": seat.rank, "world_size": seat.world_size}
        asked.update((name, int(value)) for name, value in parse_qsl(urlparse(url).query))
        yield seat.meet(), asked["rank"], asked["world_size"]

    return handler


class _Crew:
    """The threads of one `run`."""

    def __init__(self, fn: Callable[..., Any], world_size: int, args: tuple[Any, ...]):
        store = dist.HashStore()
        self.fn = fn
        self.args = args
        self.seats = [_Seat(rank, world_size, store) for rank in range(world_size)]
        self.threads: list[threading.Thread] = []
        self.returned: queue.SimpleQueue[tuple[int, Any, BaseException | None]] = (
            queue.SimpleQueue()
        )
        self.results: dict[int, Any] = {}
        self.may_leave = threading.Event()

    def run(self, timeout: float | None) -> list[Any]:
        deadline = None if timeout is None else time.monotonic() + timeout
        error = None
        with _hooks.installed():
            try:
                self._start()
                error = self._first_error(deadline, timeout)
            finally:
                self._leave(len(self.results) < len(self.seats))
        if error is not None:
            raise error
        return [self.results[seat.rank] for seat in self.seats]

    def _start(self) -> None:
        for seat in self.seats:
            name = f"rank {seat.rank} of {len(self.seats)}"
            thread = threading.Thread(target=self._main, args=(seat,), name=name, daemon=True)
            self.threads.append(thread)
            thread.start()

    def _main(self, seat: _Seat) -> None:
        _here.seat = seat
        with torch.autograd.set_multithreading_enabled(False):
            try:
                self.returned.put((seat.rank, self.fn(*self.args), None))
            except BaseException as error:
                self.returned.put((seat.rank, None, error))
        self.may_leave.wait()
        if seat.world.default_pg is not None:
            with contextlib.suppress(
                Exception
            ):  # the ranks have their results, or there is an error already
                dist.destroy_process_group()

    def _first_error(self, deadline: float | None, timeout: float | None) -> Exception | None:
        """Collects what the ranks return until all have, or one fails, or time is up."""
        while len(self.results) < len(self.seats):
            try:
                left = None if deadline is None else max(0.0, deadline - time.monotonic())
                rank, result, error = self.returned.get(timeout=left)
            except queue.Empty:
                return TimeoutError(self._whereabouts(timeout))
            if error is not None:
                name = f"{self.threads[rank].name}: {type(error).__name__}: {error}"
                failed = RankError(rank, name)
                failed.__cause__ = error
                return failed
            self.results[rank] = result
        return None

    def _leave(self, abort: bool) -> None:
        """Lets the threads end; aborts what they might wait in for one that failed."""
        self.may_leave.set()
        deadline = time.monotonic() + LEAVE_SECONDS
        threads = collections.deque(self.threads)
        while threads and time.monotonic() < deadline:
            if abort:  # again and again: a rank may be about to make a group
                for seat in self.seats:
                    seat.abort()
            threads[0].join(0.05)
            if not threads[0].is_alive():
                threads.popleft()

    def _whereabouts(self, timeout: float | None) -> str:
        late = [seat.rank for seat in self.seats if seat.rank not in self.results]
        text = f"threads.run: all {len(self.seats)} ranks must return within {timeout} s; "
        text += f"got no return of {late}"
        frames = sys._current_frames()
        for rank in late:
            frame = frames.get(self.threads[rank].ident or 0)
            stack = "".join(traceback.format_stack(frame, 6)) if frame else "(ended)\n"
            text += f"\n{self.threads[rank].name} is at:\n{stack}"
        return text
