#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Tests the CUDA code path, except CUDA itself, on a GPU simulated by host threads (tests/fake).

    make test-fake                      # or, with what is built:
    python tests/fake/run.py            # all sessions of tests/fake/sessions.py
    python tests/fake/run.py raw shared # those

Each session is a run of pytest. Its tests run one after the other, which costs less than workers
that each import torch; of sessions, PINNEDPG_JOBS run at a time, or one more than there are cores,
since tests sleep a good part of their time. Leaves
build/durations/fake_<session>.{xml,tsv} and build/fake/<session>.log, whose first line is the
environment: with it, and in tests/, `python -m pytest fake/test_queued.py -k ...` runs one test.
"""

import argparse
import concurrent.futures
import os
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

import build

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

import durations  # noqa: E402
import slices  # noqa: E402
from sessions import TESTS, sessions  # noqa: E402

LONGEST_S = 1800
SHOWN = 3000
"""How much of what a failed test has said is shown."""


def run(session, folder):
    """Runs a session; returns a line about it, and whether it went well."""
    begin = time.monotonic()
    part = f"fake_{session.name}"
    report, log = durations.FOLDER / f"{part}.xml", folder / f"{session.name}.log"
    report.parent.mkdir(parents=True, exist_ok=True)
    report.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", *session.words]
    command += [f"--junitxml={report}", "-o", "junit_family=xunit1"]
    own = session.environment | {"PYTHONPATH": str(folder), "PINNEDPG_PART": part}
    with log.open("w") as output:
        output.write(" ".join(f"{name}={value}" for name, value in own.items()) + "\n")
        output.flush()
        process = subprocess.Popen(
            command,
            cwd=TESTS,  # and not the root, whose package python would find first
            env=os.environ | own,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            status = str(process.wait(LONGEST_S))
        except subprocess.TimeoutExpired:
            process.kill()
            status = f"none in {LONGEST_S} s"
    passed, failed = read(report)
    good = status == "0" and passed >= session.least and not failed
    line = f"fake: {session.name}: {passed} passed, {len(failed)} failed"
    line += f" in {time.monotonic() - begin:.0f} s"
    if not good:
        line += f"; status {status}, at least {session.least} must pass; see {log}"
    return "\n".join([line, *(f"  FAILED {name}\n{text}" for name, text in failed.items())]), good


def read(report):
    """Returns how many tests have passed, and of those that failed the names and what they said."""
    if not report.exists():
        return 0, {}
    passed, failed = 0, {}
    for case in ElementTree.parse(report).iter("testcase"):
        said = {child.tag: child.text or "" for child in case}
        if wrong := said.keys() & {"failure", "error"}:
            name = f"{case.get('file')}::{case.get('name')}"
            failed[name] = "\n".join(said[tag][-SHOWN:] for tag in sorted(wrong))
        elif "skipped" not in said:
            passed += 1
    return passed, failed


def main():
    every = {session.name: session for session in sessions()}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="session", help=", ".join(every))
    names = parser.parse_args().names or list(every)
    if unknown := set(names) - set(every):
        parser.error(f"no session is named {', '.join(sorted(unknown))}")
    slices.pin()
    print(slices.told(), flush=True)
    folder = build.build()
    begin, all_good = time.monotonic(), True
    jobs = int(os.environ.get("PINNEDPG_JOBS") or len(os.sched_getaffinity(0)) + 1)
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        running = [pool.submit(run, every[name], folder) for name in names]
        try:
            for future in concurrent.futures.as_completed(running):
                line, good = future.result()
                print(line, flush=True)
                all_good = all_good and good
        except KeyboardInterrupt:  # which those that run have got, too
            pool.shutdown(cancel_futures=True)
            raise
    print(f"fake: {len(names)} sessions in {time.monotonic() - begin:.0f} s")
    return 0 if all_good else 1


if __name__ == "__main__":
    sys.exit(main())
