#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Runs the CI jobs, independent ones in parallel. Called by .ci/run.

    tests/project/ci.py [JOB ...]     these jobs and their prerequisites; by default all jobs

The style job runs before anything is compiled. Each job writes build/ci/<job>.log, and the end of
that log is printed. If a job fails, the jobs that depend on it are skipped and the others continue.
The durations of all jobs and tests are written to build/ci-durations.tsv; the slowest are printed
last. The exit status is 0 only if every job passed. The script needs only Python.
"""

import dataclasses
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))
import durations  # noqa: E402
import slices  # noqa: E402

LIMIT_S = 90 * 60
WHOLE_LIMIT_S = 5 * 60 * 60  # of all slices
GRACE_S = 20
FOLDER = ROOT / "build" / "ci"
TABLE = ROOT / "build" / "ci-durations.tsv"
SHOWN = {True: 12, False: 300}
"""How many lines of a job's log are shown, where it passed and where not."""
PYTHON = sys.executable if find_spec("torch") else str(ROOT / ".venv" / "bin" / "python")
CHECK = """
import importlib.metadata, runpy, shutil
torch, built = importlib.metadata.version("torch"), runpy.run_path("pinnedpg/_build.py")
assert torch.startswith("2.13."), f"torch 2.13 is to be tested, not {torch}"
nvcc = shutil.which("nvcc")
assert built["cuda_release"] or not nvcc, f"there is {nvcc}, but the build did not use it"
print("CUDA files:", f"compiled with nvcc {built['cuda_release']}" if nvcc else "there is no nvcc")
"""


@dataclasses.dataclass
class Job:
    """A command, the jobs that must have passed before, and how many cores it keeps busy."""

    name: str
    command: list[str]
    after: tuple[str, ...] = ()
    cores: int = 1
    env: dict[str, str] = dataclasses.field(default_factory=dict)
    state: str = ""  # running | passed | failed | left out
    began: float = 0.0
    took: float = 0.0
    process: subprocess.Popen | None = None

    def start(self) -> None:
        """Runs it in a process group of its own."""
        FOLDER.mkdir(parents=True, exist_ok=True)
        self.state, self.began = "running", time.monotonic()
        print(f"ci: {self.name} begins", flush=True)
        with self.log().open("w") as log:
            self.process = subprocess.Popen(
                self.command,
                cwd=ROOT,
                env=os.environ | {"PINNEDPG_PART": self.name} | self.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def end(self, state: str) -> None:
        """Records the result, kills remaining processes, and prints the end of the log."""
        self.state, self.took = state, time.monotonic() - self.began
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        lines = self.log().read_text(errors="replace").splitlines()
        shown = lines[-SHOWN[state == "passed"] :]
        print(f"ci: {self.name} {state} after {self.took:.0f} s; the end of {self.log()}:")
        print(*(f"  {line}" for line in shown), sep="\n", flush=True)

    def break_off(self) -> None:
        """Asks it to end, which pytest does with what it has found until now."""
        try:
            os.killpg(self.process.pid, signal.SIGINT)
            self.process.wait(GRACE_S)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            pass
        self.end("failed")

    def log(self) -> Path:
        """Returns the file that it writes to."""
        return FOLDER / f"{self.name}.log"


def extras(*names: str) -> list[str]:
    """Returns what these extras of pyproject.toml name (tomllib is there from Python 3.11 on)."""
    text = (ROOT / "pyproject.toml").read_text()
    lists = [re.search(rf"^{name} = \[(.*?)\]", text, re.MULTILINE)[1] for name in names]
    return re.findall(r'"(.*?)"', " ".join(lists))


def jobs() -> list[Job]:
    """Returns the jobs, in the order in which they begin where they can."""
    run, pytest = [PYTHON, "tests/run"], [PYTHON, "-m", "pytest"]
    sanitizers, fake = "tests/engine/test_sanitizers.py", "tests/fake"
    here = ["-v", "-m", "not exhaustive", f"--ignore={sanitizers}", f"--ignore={fake}"]
    pip = [PYTHON, "-m", "pip", "install", "-q"]
    pytest += [sanitizers, "-m", "slow", "-k"]
    built = ("install",)
    return [
        Job("tools", ["make", "tools"]),
        Job("style", ["make", "style"], ("tools",)),
        Job("torch", ["make", "environment"], ("tools",), cores=0),  # a download
        Job("sanitizers", [*pytest, "not address"], ("style",)),  # which needs no torch
        Job("compile", ["make", "compile"], ("style", "torch"), cores=2),
        Job("libraries", [*pip, *extras("test", "clients")], ("torch",), cores=0),
        Job("types", ["make", "types"], ("style", "torch")),
        Job("install", ["make", "build", "clients"], ("compile", "libraries")),
        Job("check", [PYTHON, "-c", CHECK], built, cores=0),
        Job("tests", [*run, "--alone=none", *here], built),  # half of their time is waiting
        Job("fake", [PYTHON, f"{fake}/run.py"], built, env={"PINNEDPG_JOBS": "1"}),
        Job("alone", [*run, "--alone=only", *here], ("tests",), cores=1000),
        *([Job("address", [*pytest, "address"], ("style", "torch"))] if slices.chosen(1) else []),
        *wheel(),
    ]


def wheel() -> list[Job]:
    """Returns the job that builds the wheel of all GPUs and tests it: one commit in four has it."""
    return [Job("wheel", ["make", "wheel-test"], ("tests",), cores=2)] if slices.chosen(3) else []


def run(work: list[Job], limit_s: float = LIMIT_S) -> bool:
    """Runs the jobs; returns whether all passed."""
    cores, deadline = max(2, len(os.sched_getaffinity(0))), time.monotonic() + limit_s
    by_name = {job.name: job for job in work}
    while any(job.state in ("", "running") for job in work):
        running = [job for job in work if job.state == "running"]
        for job in running:
            if time.monotonic() > deadline:
                job.break_off()
            elif (status := job.process.poll()) is not None:
                job.end("failed" if status else "passed")
        for job in work:
            needed = [by_name[name].state for name in job.after if name in by_name]
            if job.state:
                continue
            if {"failed", "left out"} & set(needed) or time.monotonic() > deadline:
                job.state = "left out"
            elif set(needed) <= {"passed"}:
                busy = sum(other.cores for other in work if other.state == "running")
                if not job.cores or not busy or busy + job.cores <= cores:
                    job.start()
        time.sleep(0.05)
    return all(job.state == "passed" for job in work)


def summary(work: list[Job], took: float) -> None:
    """Writes all durations to one file, and prints the jobs' and the dearest tests'."""
    rows = [(job.took, "ci", job.name) for job in work if job.took]
    tests = [row for path in sorted(durations.FOLDER.glob("*.tsv")) for row in durations.read(path)]
    durations.write(TABLE, rows + tests)
    print(f"\nci: {took / 60:.1f} minutes in all; durations in {TABLE}\n\njobs:")
    for job in work:
        print(f"{job.took:8.1f} s  {job.name}: {job.state}")
    print("\nthe dearest tests:", *durations.dearest(tests), sep="\n", flush=True)


def with_needed(work: list[Job], names: list[str]) -> list[Job]:
    """Returns the jobs of these names and all that they need; all where no name is given."""
    by_name = {job.name: job for job in work}
    if unknown := set(names) - by_name.keys():
        sys.exit(f"ci: no job {sorted(unknown)}; there are {list(by_name)}")
    wanted = set(names or by_name)
    while more := {need for name in wanted for need in by_name[name].after} - wanted:
        wanted |= more
    return [job for job in work if job.name in wanted]


def main(names: list[str]) -> int:
    """Returns the exit status."""
    begun = time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ci: was told to end"))  # with a summary
    os.environ.setdefault("PINNEDPG_WERROR", "1")
    slices.pin()
    print(f"ci: {slices.told()}")
    shutil.rmtree(durations.FOLDER, ignore_errors=True)
    work = with_needed(jobs(), names)
    try:
        passed = run(work, WHOLE_LIMIT_S if slices.number() is None else LIMIT_S)
    finally:
        for job in work:
            if job.state == "running":
                job.break_off()
        summary(work, time.monotonic() - begun)
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
