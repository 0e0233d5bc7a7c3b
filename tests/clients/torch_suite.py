#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Runs torch's own DistributedTest, as its wheel ships it, over "pinned" and over gloo on CPU.

    tests/clients/torch_suite.py [--world 2 3 4] [--backend pinned gloo] [-k SUBSTRING ...]

Prints a table, why tests were skipped, and every test that gloo passes and "pinned" does not. Such
a test is tried once more, alone: deadlines pass on a busy machine. The exit status is 1 if "pinned"
fails one that gloo passes and that KNOWN does not name, or if it passes one that KNOWN names, or if
no test ran. Needs the package expecttest, as torch's tests do.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import unittest
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

TIMEOUT_S = 60
MARK = "torch-suite: "
ASKS_FOR_GLOO = "test_accumulate_gradients_no_sync"
"""How tests begin that ask themselves for the backend's name, and do nothing where it is new."""
KNOWN = {
    "test_ddp_logging_data_cpu": "DDP's log names every backend from outside of torch 'custom'",
    "test_monitored_barrier_gloo": "dist.monitored_barrier asks for gloo by its name",
    "test_monitored_barrier_gloo_rank_0_timeout": "the same",
    "test_monitored_barrier_gloo_subgroup": "the same",
}
"""Tests that gloo passes and "pinned" does not, and why."""


def main(arguments):
    worse = 0
    for world in arguments.world:
        with ThreadPoolExecutor() as pool:  # the backends side by side
            runs = {name: pool.submit(run, name, world, arguments) for name in arguments.backend}
        outcomes = {name: done.result() for name, done in runs.items()}
        if set(outcomes) == {"pinned", "gloo"}:
            try_again(world, outcomes, arguments)
        worse += report(world, outcomes, whole=not arguments.k)
    return 1 if worse else 0


def differing(outcomes):
    """Returns the states of "pinned" by the tests that gloo alone passes."""
    ours = {name: state for name, (state, _) in outcomes["pinned"].items()}
    passed = [name for name, (state, _) in outcomes["gloo"].items() if state == "passed"]
    return {name: ours.get(name) for name in passed if ours.get(name) != "passed"}


def try_again(world, outcomes, arguments):
    """Runs what should not differ once more, and takes what comes of it."""
    names = sorted(set(differing(outcomes)) - set(KNOWN))
    if not names:
        return
    for name in names:
        said = outcomes["pinned"].get(name, ("", "it did not run"))[1]
        print(f"== {world} ranks: {name} failed at the first try:")
        print("\n".join(f"  | {line}" for line in said.splitlines()))
    again = run("pinned", world, argparse.Namespace(k=names, verbose=arguments.verbose))
    outcomes["pinned"] |= {name: again[name] for name in names if name in again}


def report(world, outcomes, whole):
    """Prints a world's table; returns how many tests are not as they should be."""
    for backend, by_name in outcomes.items():
        counts = Counter(state for state, _ in by_name.values())
        parts = ", ".join(f"{counts[state]} {state}" for state in ("passed", "failed", "skipped"))
        print(f"== {world} ranks, {backend}: {parts} of {len(by_name)}")
        reasons = Counter(reason for state, reason in by_name.values() if state == "skipped")
        for reason, count in reasons.most_common():
            print(f"       {count} skipped: {reason}")
    empty = sum(not by_name for by_name in outcomes.values())
    return empty + (compare(world, outcomes, whole) if set(outcomes) == {"pinned", "gloo"} else 0)


def compare(world, outcomes, whole):
    """Prints where the two differ; returns how many of these KNOWN does not explain."""
    differ = differing(outcomes)
    unknown = set(differ) - set(KNOWN)
    stale = set(KNOWN) - set(differ) if whole else set()
    for name, state in sorted(differ.items()):
        why = KNOWN.get(name, "NOT EXPECTED")
        print(f"== {world} ranks: gloo passes, pinned {state}: {name} ({why})")
        if name not in KNOWN and name in outcomes["pinned"]:
            print("\n".join(f"  | {line}" for line in outcomes["pinned"][name][1].splitlines()))
    for name in sorted(stale):
        print(f"== {world} ranks: {name} is listed as known, and does not differ")
    return len(unknown) + len(stale)


def run(backend, world, arguments):
    """Runs the tests in a fresh interpreter; returns (state, why it is not "passed") by name."""
    outcomes, written = {}, b""
    with tempfile.TemporaryDirectory() as folder, Path(folder, "log").open("w+b") as log:
        env = {
            "BACKEND": backend,
            "WORLD_SIZE": str(world),
            "TEMP_DIR": folder,
            "INIT_METHOD": f"file://{folder}/init",  # else torch leaves out the time-outs
            "OMP_NUM_THREADS": "1",
            "DISTRIBUTED_TESTS_DEFAULT_TIMEOUT": str(TIMEOUT_S),
        }
        process = subprocess.Popen(
            [sys.executable, __file__, "--here", *(["-k", *arguments.k] if arguments.k else [])],
            env=os.environ | env,
            stdout=subprocess.PIPE,
            stderr=None if arguments.verbose else log,
            text=True,
        )
        for line in process.stdout:
            if line.startswith(MARK):
                name, state, reason = line.removeprefix(MARK).rstrip("\n").split(" ", 2)
                written, told = Path(log.name).read_bytes(), len(written)
                if state == "failed":
                    reason = written[told:].decode(errors="replace")
                outcomes[name] = state, reason
                print(f"{world} ranks, {backend}: {name} {state}", flush=True)
        process.wait()
    return outcomes


def suite():
    """Returns torch's tests as a class, for the backend that the environment names."""
    backend, os.environ["BACKEND"] = os.environ["BACKEND"], "gloo"
    import torch
    from torch.testing._internal.distributed import distributed_test

    # The file has been read as gloo's, so that it leaves out no test by the name of the backend.
    distributed_test.BACKEND = backend
    import pinnedpg  # noqa: F401  registers the backend where torch has not found it

    if torch.cuda.is_available():
        raise SystemExit("this runs the CPU tests; hide the GPUs: CUDA_VISIBLE_DEVICES=")

    class TestPinned(
        distributed_test.TestDistBackend, distributed_test.DistributedTest._DistTestBase
    ):
        def setUp(self):
            super().setUp()
            self._start_processes(torch.multiprocessing.get_context("fork").Process)

        def run_test(self, test_name, *more):
            # In a rank's process, which has its group.
            if test_name.startswith(ASKS_FOR_GLOO):
                distributed_test.BACKEND = "gloo"
            return super().run_test(test_name, *more)

    return TestPinned


def run_here(arguments):
    """Runs the tests in this interpreter, and prints what became of each."""
    for folder in ("barrier", "test_dir"):
        Path(os.environ["TEMP_DIR"], folder).mkdir(exist_ok=True)
    tests = suite()
    for name in sorted(name for name in dir(tests) if name.startswith("test_")):
        if arguments.k and not any(part in name for part in arguments.k):
            continue
        result = unittest.TextTestRunner(verbosity=2).run(unittest.TestSuite([tests(name)]))
        state = "skipped" if result.skipped else "passed" if result.wasSuccessful() else "failed"
        reason = result.skipped[0][1].splitlines()[0] if result.skipped else ""
        print(f"\n{MARK}{name} {state} {reason}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--world", type=int, nargs="+", default=[2, 3, 4])
    parser.add_argument("--backend", nargs="+", default=["pinned", "gloo"])
    parser.add_argument("-k", nargs="*", default=[], help="only tests whose name has one of these")
    parser.add_argument("--verbose", action="store_true", help="show what the tests write")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    sys.exit(run_here(given) if given.here else main(given))
