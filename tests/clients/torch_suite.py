#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Runs torch's own DistributedTest, as its wheel ships it, over "pinned" beside gloo.

    tests/clients/torch_suite.py [--world 2 3 4] [-k SUBSTRING ...] [--jobs N]
    tests/clients/torch_suite.py --record [--world 2 3 4]
    tests/clients/torch_suite.py --gpus 2 [-k SUBSTRING ...] [--repeat N] [--json FILE]

On CPU "pinned" runs the tests that gloo passes. `gloo_verdicts` lists them in one file per minor
release of torch; --record writes it. If there is no file, gloo runs first. With --gpus N all
backends run the tests that use GPUs, in parallel, with N ranks.

Prints counts, and every test that gloo passes and "pinned" does not, with its output. Such a test
is retried once, alone, since deadlines may expire on a busy machine; not if a signal ended it. The
exit status is 1 if "pinned" fails a test that gloo passes and KNOWN does not list, if it passes a
test that KNOWN lists, or if no test ran. Needs the package expecttest, as torch's tests do.
"""

import argparse
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from queue import Empty, SimpleQueue

import torch_report
import torch_verdicts
from torch_worker import Worker

GPU_LIMIT_S = 400
"""For all tests with GPUs, over all backends."""


def main(given):
    given.end = time.monotonic() + given.limit
    worse, written = 0, {}
    for world in given.world:
        outcomes = on_gpus(world, given) if given.gpus else on_cpu(world, given)
        for backend, by_name in outcomes.items():
            worse += torch_report.count(world, backend, by_name)
        worse += torch_report.compare(world, outcomes, whole=not given.k)
        written[world] = outcomes
    if given.json:
        with open(given.json, "w") as file:
            json.dump({"torch": torch_verdicts.release()[1], "worlds": written}, file, indent=1)
    return 1 if worse else 0


def on_cpu(world, given):
    """Returns the outcomes by backend and name; gloo's as they are kept, where they are."""
    kept = {} if given.record else torch_verdicts.load(world)
    names = chosen(
        kept if torch_verdicts.is_of_this_release() and kept else left_out("gloo", world, given),
        given,
    )
    gloo = {name: kept[name] for name in names if name in kept}
    gloo |= run("gloo", world, [(name, "gloo") for name in names if name not in kept], given)
    if given.record:
        torch_verdicts.save(world, gloo)
        return {"gloo": gloo}
    passed = [(name, "gloo") for name in names if gloo[name]["state"] == "passed"]
    outcomes = {"gloo": gloo}
    for backend in set(given.backend) - {"gloo"}:
        outcomes[backend] = run(backend, world, passed, given)
        try_again(world, backend, outcomes, given)
    return outcomes


def on_gpus(world, given):
    """Returns the outcomes of the tests that use GPUs, with torch's skip conditions for NCCL.

    Tests that only those skip run with the ones for gloo, unless gloo passes them on CPU.
    """
    nccl, gloo = (left_out(gates, world, given) for gates in ("nccl", "gloo"))
    print(f"ranks start by {given.start}", flush=True)
    gates = {name: "nccl" for name in chosen(nccl, given) if not nccl[name]}
    on_cpu_alone = set() if given.k else torch_verdicts.passed_on_cpu()
    for name in chosen(gloo, given):
        if not gloo[name] and name not in on_cpu_alone:
            gates.setdefault(name, "gloo")
    tests = sorted(gates.items(), key=lambda test: test[1]) * given.repeat
    jobs = max(1, given.jobs // len(given.backend))
    with ThreadPoolExecutor() as pool:
        runs = {
            backend: pool.submit(run, backend, world, tests, given, jobs)
            for backend in given.backend
        }
    outcomes = {backend: done.result() for backend, done in runs.items()}
    if given.repeat == 1:
        try_again(world, "pinned", outcomes, given, gates)
    return outcomes


def chosen(names, given):
    return [name for name in names if not given.k or any(part in name for part in given.k)]


def left_out(gates, world, given):
    """Returns torch's tests, and why those gates leave them out; "" where they do not."""
    worker = Worker("gloo", gates, world, given)
    try:
        about = worker.open()
        given.start = about["start"]
        return about["left out"]
    finally:
        worker.close()


def run(backend, world, tests, given, jobs=None):
    """Runs tests, each a name and its gates, in several processes; returns outcomes by name."""
    waiting = SimpleQueue()
    for test in tests:
        waiting.put(test)

    def work():
        workers, answers = {}, []
        try:
            while time.monotonic() < given.end:
                name, gates = waiting.get_nowait()
                if gates not in workers:
                    workers[gates] = Worker(backend, gates, world, given)
                answers.append((name, workers[gates].run(name)))
                state, seconds = (answers[-1][1][key] for key in ("state", "seconds"))
                print(f"{world} ranks, {backend}: {name} {state}, {seconds} s", flush=True)
        except Empty:
            pass
        finally:
            for worker in workers.values():
                worker.close()
        return answers

    jobs = min(jobs or given.jobs, len(tests))
    with ThreadPoolExecutor(max(1, jobs)) as pool:
        done = [pool.submit(work) for _ in range(jobs)]
    answers = [answer for one in done for answer in one.result()]
    return {name: merged([one for its, one in answers if its == name]) for name, _ in tests}


def merged(answers):
    """Returns the outcome of a test that ran several times: it has failed if it has failed once."""
    if not answers:
        return {"state": "not run", "reason": "the time was over", "log": ""}
    failures = [answer for answer in answers if answer["state"] == "failed"]
    if failures and len(answers) > 1:
        reason = f"{len(failures)} times of {len(answers)}: {failures[0]['reason']}"
        return failures[0] | {"reason": reason}
    return answers[0]


def try_again(world, backend, outcomes, given, gates=None):
    """Runs what should not differ once more, alone, and takes what comes of it."""
    ours = outcomes.get(backend, {})
    names = [
        name
        for name in torch_report.differing(ours, outcomes.get("gloo", {}))
        if name not in torch_report.KNOWN and "signal" not in ours[name]["reason"]
    ]
    for name in names:
        print(f"== {world} ranks: {name} failed at the first try:")
        torch_report.show(ours[name])
    tests = [(name, (gates or {}).get(name, "gloo")) for name in names]
    ours |= run(backend, world, tests, given, jobs=1)


def parsed():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--world", type=int, nargs="+", help="ranks: 2, 3 and 4; with --gpus that many")
    add("--backend", nargs="+", help="to run: pinned; with --gpus pinned and gloo")
    add("-k", nargs="*", default=[], help="only tests whose name has one of these")
    add("--jobs", type=int, help="tests that run at a time, over all backends")
    add("--repeat", type=int, default=1, help="with --gpus: run each test so often")
    add("--gpus", type=int, default=0, help="run the tests that use GPUs, on so many")
    add("--start", choices=["fork", "spawn"], help="how a rank's process starts")
    add("--limit", type=int, help="seconds after which no test is begun")
    add("--timeout", type=int, default=60, help="seconds of most tests; some have twice that")
    add("--record", action="store_true", help="run gloo, and keep what comes of it")
    add("--json", metavar="FILE", help="write the outcomes")
    given = parser.parse_args()
    given.world = given.world or ([given.gpus] if given.gpus else [2, 3, 4])
    given.backend = given.backend or (["pinned", "gloo"] if given.gpus else ["pinned"])
    given.jobs = given.jobs or (8 if given.gpus else 3)
    given.start = given.start or ("auto" if given.gpus else "fork")
    given.limit = given.limit or (GPU_LIMIT_S if given.gpus else 3600)
    return given


if __name__ == "__main__":
    sys.exit(main(parsed()))
