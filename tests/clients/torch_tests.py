# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""torch's own DistributedTest as a class, and the process that runs its tests one after the other.

`torch_suite` starts that process. SUITE_BACKEND names the backend under test, and SUITE_READ_AS the
backend whose skip conditions apply: torch evaluates them by name when its test module is imported.
Spawned ranks import this module with the same environment.
"""

import json
import os
import sys
import time
import unittest

BACKEND, READ_AS = os.environ["SUITE_BACKEND"], os.environ["SUITE_READ_AS"]
os.environ["BACKEND"] = READ_AS

import torch  # noqa: E402
from torch.testing._internal import common_distributed  # noqa: E402
from torch.testing._internal.distributed import distributed_test, fake_pg  # noqa: E402, F401

distributed_test.BACKEND = BACKEND
import pinnedpg  # noqa: E402, F401  registers the backend where torch has not found it

ASKS_FOR_NAME = ("test_accumulate_gradients_no_sync", "test_get_future")
"""How tests begin that ask themselves for the backend's name, and do less where it is new."""
SIGTERM = 15
for checked in ("", "CUDA_", "SEND_RECV_"):  # what a profiler is told, too
    getattr(distributed_test, f"{checked}PROFILING_SUPPORTED_BACKENDS").append("pinned")
for longer in common_distributed.TIMEOUT_OVERRIDE:  # they are meant for machines of torch's CI
    common_distributed.TIMEOUT_OVERRIDE[longer] = 2 * common_distributed.TIMEOUT_DEFAULT
# It waits for nobody, or else without an end.
common_distributed.TIMEOUT_OVERRIDE["test_monitored_barrier_gloo_rank_0_timeout"] = 15


class TorchTest(distributed_test.TestDistBackend, distributed_test.DistributedTest._DistTestBase):
    """Each test starts its ranks, and fails also where one of them ends by a signal."""

    exits = ()
    """How the ranks of the last test ended."""

    def setUp(self):
        super().setUp()
        start = torch.multiprocessing.get_context(os.environ["SUITE_START"])
        self._start_processes(start.Process)

    def tearDown(self):
        processes = list(self.processes)
        super().tearDown()  # asks them to end
        for process in processes:
            process.join(5)
            process.kill()

    def _barrier(self, *args, **kwargs):
        super()._barrier(*args, **{"timeout": 60, **kwargs})  # 10 s is little on a busy machine

    def run_test(self, test_name, *more):
        # In a rank's process, which has its group.
        if test_name.startswith(ASKS_FOR_NAME):
            distributed_test.BACKEND = READ_AS
        return super().run_test(test_name, *more)

    def call_dist_op(self, title, is_async, op, *args, **more):
        if BACKEND == "pinned" and "coalesced" in op.__name__:
            more["expect_event"] = False  # a profiler sees each of the calls that come together
        return super().call_dist_op(title, is_async, op, *args, **more)

    def _check_return_codes(self, fn, *more):
        type(self).exits = [process.exitcode for process in self.processes]
        super()._check_return_codes(fn, *more)
        if fn not in self.skip_return_code_checks:
            assert not signals(self.exits), f"ranks ended by {signals(self.exits)}"


def signals(exits):
    """Says which ranks have been ended by a signal; torch's harness sends SIGTERM itself."""
    by_signal = {rank: code for rank, code in enumerate(exits) if code is not None and code < 0}
    return ", ".join(
        f"signal {code} at rank {rank}" for rank, code in by_signal.items() if code != -SIGTERM
    )


def run(name):
    """Runs one test; returns what became of it."""
    TorchTest.exits, begun = (), time.monotonic()
    result = unittest.TextTestRunner(verbosity=2).run(unittest.TestSuite([TorchTest(name)]))
    state = "skipped" if result.skipped else "passed" if result.wasSuccessful() else "failed"
    reason = result.skipped[0][1].splitlines()[0] if result.skipped else signals(TorchTest.exits)
    seconds = round(time.monotonic() - begun, 1)
    return {"name": name, "state": state, "reason": reason, "seconds": seconds}


def left_out():
    """Returns why torch leaves out a test before it starts ranks, by name; "" where it does not."""
    names = sorted(name for name in dir(TorchTest) if name.startswith("test_"))
    return {name: getattr(getattr(TorchTest, name), "__unittest_skip_why__", "") for name in names}


def use_gpus():
    for gpu in range(torch.cuda.device_count()):
        torch.ones(1, device=gpu).add_(1).item()


def start():
    """Returns how ranks are to start: spawned ones take many seconds to import torch.

    A forked one can use GPUs as long as this process has not, nor asked the driver for them.
    """
    asked = os.environ["SUITE_START"]
    if asked != "auto":
        return asked
    forked = torch.multiprocessing.get_context("fork").Process(target=use_gpus)
    forked.start()
    forked.join(60)
    forked.kill()
    return "fork" if forked.exitcode == 0 else "spawn"


def main():
    """Answers each line of stdin, a test's name, with a line: what became of it."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what ranks print goes to the log
    if os.environ["SUITE_GPUS"] and not torch.cuda.is_available():
        raise SystemExit("torch finds no GPU")
    os.environ["SUITE_START"] = start()
    about = {"left out": left_out(), "start": os.environ["SUITE_START"]}
    print(json.dumps(about), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(run(line.strip())), file=answers, flush=True)
