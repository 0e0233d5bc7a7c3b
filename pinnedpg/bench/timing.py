# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""How it is timed: all backends in the same processes on the same tensors, round by round in turn.

Absolute times lie on shared machines. What one round of each backend took one after the other may
be compared; the medians over the rounds are what is reported.
"""

import functools
import gc
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist

from pinnedpg.bench.backends import Comm, on_all_ranks
from pinnedpg.bench.operations import Case, Operation, count_wrong, fill

LONGEST_ROUND_US = 1e5
"""A round of slow calls has fewer of them."""
FEWEST_ROUNDS = 5


@dataclass(frozen=True)
class Plan:
    """How often.

    Attributes:
        calls: Calls of one round at the most.
        rounds: Rounds of each backend at the most.
        warmup: Calls before the first round, fewer of slow ones.
        seconds: Roughly what all rounds of one size may take together.
        check: Whether results are compared with the definition, before and after.
    """

    calls: int = 20
    rounds: int = 21
    warmup: int = 5
    seconds: float = 3.0
    check: bool = True


@dataclass
class Measured:
    """What was found of one backend, in one form, at one size; times of the slowest rank.

    Attributes:
        rounds_us: Of each round, the time of one call.
        calls_us: Of each call.
        wrong: Wrong elements on all ranks, before and after; None where it was not checked.
    """

    rounds_us: list[float] = field(default_factory=list)
    calls_us: list[float] = field(default_factory=list)
    wrong: int | None = None

    @property
    def time_us(self) -> float:
        """The median round's time of one call."""
        return statistics.median(self.rounds_us)

    def percentile_us(self, share: float) -> float:
        """Returns the time within which that share of the calls was done."""
        ordered = sorted(self.calls_us)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def ratio(peer: Measured, ours: Measured) -> float:
    """Returns the median over the rounds of the peer's time over ours."""
    pairs = zip(peer.rounds_us, ours.rounds_us, strict=True)
    return statistics.median(theirs / own for theirs, own in pairs)


def slowest(times: list[float]) -> list[float]:
    """Returns the largest of all ranks' times, one by one."""
    tensor = torch.tensor(times, dtype=torch.float64)
    dist.all_reduce(tensor, dist.ReduceOp.MAX)
    return [float(one) for one in tensor]


def time_calls(call: Callable[[], object], calls: int, cuda: bool) -> list[float]:
    """Returns the microseconds of each of that many calls, on a GPU by its own clock."""
    if cuda:
        make: Any = torch.cuda.Event
        events = [make(enable_timing=True) for _ in range(calls + 1)]
        events[0].record()
        for event in events[1:]:
            call()
            event.record()
        torch.cuda.synchronize()
        return [one.elapsed_time(two) * 1e3 for one, two in zip(events, events[1:], strict=False)]
    stamps = [time.perf_counter_ns()]
    for _ in range(calls):
        call()
        stamps.append(time.perf_counter_ns())
    return [(two - one) / 1e3 for one, two in zip(stamps, stamps[1:], strict=False)]


def time_round(call: Callable[[], object], calls: int) -> float:
    """Returns the microseconds of one of that many calls on a GPU, with nothing in between."""
    make: Any = torch.cuda.Event
    begin, end = make(enable_timing=True), make(enable_timing=True)
    begin.record()
    for _ in range(calls):
        call()
    end.record()
    torch.cuda.synchronize()
    return float(begin.elapsed_time(end)) * 1e3 / calls


def interleave(
    calls: Mapping[str, Callable[[], object]], plan: Plan, cuda: bool = False
) -> dict[str, Measured]:
    """Times the calls in turn, in an order that alternates; all ranks must.

    Args:
        calls: What to time, by name; each has been made before.
        plan: How often.
        cuda: Whether the work is on a GPU.
    """
    found = {name: Measured() for name in calls}
    counts, rounds = _pace(calls, plan, cuda)
    gc.collect()
    gc.disable()  # as timeit does
    for number in range(rounds):
        order = list(calls)
        for name in order if number % 2 else reversed(order):
            dist.barrier()
            if counts[name] > 1:
                calls[name]()  # all ranks leave this one together
            times = time_calls(calls[name], counts[name], cuda)
            found[name].calls_us += times
            if cuda:  # an event takes as long as a small call does
                calls[name]()
                mean_us = time_round(calls[name], counts[name])
            else:
                mean_us = statistics.fmean(times)
            found[name].rounds_us.append(mean_us)
    gc.enable()
    for measured in found.values():
        measured.calls_us = slowest(measured.calls_us)
        measured.rounds_us = slowest(measured.rounds_us)
    return found


def _pace(
    calls: Mapping[str, Callable[[], object]], plan: Plan, cuda: bool
) -> tuple[dict[str, int], int]:
    """Warms up; returns the calls of a round for each, and the rounds, alike on all ranks."""
    counts, cost_us = {}, 0.0
    for name, call in calls.items():
        one_us = slowest(time_calls(call, 1, cuda))[0]
        warmup = min(plan.warmup, int(LONGEST_ROUND_US / one_us))
        if warmup:
            one_us = statistics.median(slowest(time_calls(call, warmup, cuda)))
        counts[name] = max(1, min(plan.calls, int(LONGEST_ROUND_US / one_us)))
        cost_us += (counts[name] + 1) * one_us * (2 if cuda else 1)
    return counts, min(plan.rounds, max(FEWEST_ROUNDS, int(plan.seconds * 1e6 / cost_us)))


class Cell:
    """One operation, in one form, at one size: what all backends take."""

    def __init__(self, operation: Operation, case: Case, in_place: bool, comms: Mapping[str, Comm]):
        """Finds out which backends know the operation: all ranks make this call."""
        self.operation, self.case, self.in_place = operation, case, in_place
        self.refused: dict[str, str] = {}
        self.calls: dict[str, Callable[[], object]] = {}
        for name, comm in comms.items():
            call = functools.partial(operation.call, comm, case, in_place)
            fill(case, operation, in_place)
            if why := on_all_ranks(functools.partial(self.settle, call)):
                self.refused[name] = why
            else:
                self.calls[name] = call

    def settle(self, call: Callable[[], object]) -> None:
        """Makes the call, and waits until the GPU is done, where the tensors are on one."""
        call()
        if self.case.source.is_cuda:
            torch.cuda.synchronize()

    def measure(self, plan: Plan) -> dict[str, Measured]:
        """Returns what each backend took."""
        checked = plan.check and self.operation.factor(2) > 0  # a barrier has no result
        before = self.wrong() if checked else {}
        found = interleave(self.calls, plan, self.case.source.is_cuda) if self.calls else {}
        after = self.wrong() if checked else {}
        for name, measured in found.items():
            measured.wrong = before[name] + after[name] if checked else None
        return found

    def wrong(self) -> dict[str, int]:
        """Returns the wrong elements of one call of each backend, on all ranks together."""
        wanted = self.operation.expected(self.case)
        found = []
        for call in self.calls.values():
            fill(self.case, self.operation, self.in_place)
            dist.barrier()
            self.settle(call)
            got = self.operation.result(self.case, self.in_place)
            found.append(0 if got is None else count_wrong(got, wanted, self.case.seat))
        total = torch.tensor(found)
        dist.all_reduce(total)
        return dict(zip(self.calls, map(int, total), strict=True))
