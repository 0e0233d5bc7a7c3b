#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Builds with several releases of torch and runs the fast tests with each.

    python tests/project/versions.py [--write] [RELEASE ...]   # by default 2.11.0, 2.13.0, newest

Each has an environment and a copy of the tree below build/versions, kept for the next time: some 6
GB where the release is a CUDA build. Tests that fail are run again, once: deadlines pass on a busy
machine. Prints a table, which `--write` puts into CONTRIBUTING.md.
"""

import argparse
import dataclasses
import os
import re
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as xml
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RELEASES = ["2.11.0", "2.13.0", "newest"]
TABLE = re.compile(r"(?<=<!-- versions -->\n).*?(?=<!-- end of versions -->)", re.DOTALL)
HEAD = "| torch | passed | at a second try | failed | skipped | took |\n" + 6 * "|---" + "|\n"
# Ignores the user's pip constraints, which may pin another torch.
ENVIRONMENT = {**os.environ, "PIP_CONSTRAINT": os.devnull, "PINNEDPG_WERROR": "1"}
TIMEOUT_S = 3600.0


@dataclasses.dataclass(frozen=True)
class Result:
    """What came of one release; the version is the one that was installed."""

    version: str
    passed: int = 0
    retried: int = 0  # of those, at the second try
    failed: int = 0
    skipped: int = 0
    seconds: float = 0.0
    fault: str = ""  # why no test ran

    def row(self) -> str:
        """Returns its line of the table."""
        if self.fault:
            return f"| {self.version} | {self.fault} | | | | |\n"
        took = "{} min {} s".format(*divmod(round(self.seconds), 60))
        cells = (self.version, self.passed, self.retried, self.failed, self.skipped, took)
        return f"| {' | '.join(map(str, cells))} |\n"


def run(*command: object, **more) -> subprocess.CompletedProcess:
    """Runs a command below build/versions; its output goes to where this one's does."""
    return subprocess.run(list(map(str, command)), env=ENVIRONMENT, timeout=TIMEOUT_S, **more)


def newest() -> str:
    """Returns the newest release that the index has."""
    asked = run(
        *(sys.executable, "-m", "pip", "index", "versions", "torch"),
        check=True,
        capture_output=True,
        text=True,
    )
    return re.search(r"^torch \((.+)\)", asked.stdout, re.MULTILINE)[1]


def copy_tree(to: Path) -> None:
    """Brings a copy up to date; what has not changed keeps its time, and is not built again."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    names = {name for name in listed.stdout.split("\0") if name and (ROOT / name).exists()}
    record = to / "build" / "copied"
    before = set(record.read_text().split("\0")) if record.exists() else set()
    for name in before - names:
        (to / name).unlink(missing_ok=True)
    for name in names:
        source, copy = ROOT / name, to / name
        if not copy.exists() or copy.stat().st_mtime != source.stat().st_mtime:
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, copy)
    record.parent.mkdir(exist_ok=True)
    record.write_text("\0".join(names))


def environment(folder: Path, release: str) -> Path:
    """Makes an environment with that torch, unless there is one; returns its Python."""
    python, made = folder / "bin" / "python", folder / "made"
    if not made.exists():
        run(sys.executable, "-m", "venv", "--clear", folder, check=True)
        run(python, "-m", "pip", "install", "-q", f"torch=={release}", check=True)
        made.touch()
    return python


def counted(report: Path) -> tuple[int, int, int]:
    """Returns how many passed, failed and were skipped, from a JUnit report."""
    suite = xml.parse(report).getroot().find("testsuite").attrib
    failed = int(suite["failures"]) + int(suite["errors"])
    skipped = int(suite["skipped"])
    return int(suite["tests"]) - failed - skipped, failed, skipped


def tested(version: str, python: Path, tree: Path, report: Path) -> Result:
    """Runs the fast tests, and those that fail once more."""
    command = (python, "-m", "pytest", "-q", f"--junitxml={report}")
    report.unlink(missing_ok=True)
    begun = time.monotonic()
    run(*command, cwd=tree)
    seconds = time.monotonic() - begun
    if not report.exists():
        return Result(version, fault="runs no test")
    passed, failed, skipped = counted(report)
    retried = 0
    if failed:
        run(*command, "--last-failed", cwd=tree)
        retried, failed, _ = counted(report)
    return Result(version, passed + retried, retried, failed, skipped, seconds)


def result_of(release: str) -> Result:
    """Builds and tests with one release."""
    folder = ROOT / "build" / "versions" / release
    tree = folder / "tree"
    copy_tree(tree)
    try:
        python = environment(folder / "venv", release)
    except subprocess.CalledProcessError:
        return Result(release, fault="cannot be installed")
    version = "import torch; print(torch.__version__)"
    version = run(python, "-c", version, check=True, capture_output=True, text=True).stdout.strip()
    if run("make", "build", f"PYTHON={python}", cwd=tree).returncode != 0:
        return Result(version, fault="does not build")
    return tested(version, python, tree, folder / "report.xml")


def main() -> int:
    """Returns the exit status: 0 if every test has passed with every release."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("releases", nargs="*", metavar="RELEASE", default=RELEASES)
    parser.add_argument("--write", action="store_true", help="put the table into CONTRIBUTING.md")
    given = parser.parse_args()
    releases = [newest() if release == "newest" else release for release in given.releases]
    results = [result_of(release) for release in dict.fromkeys(releases)]
    table = HEAD + "".join(result.row() for result in results)
    print(table)
    if given.write:
        page = ROOT / "CONTRIBUTING.md"
        page.write_text(TABLE.sub(lambda _: table, page.read_text()))
    return 0 if all(one.passed and not one.failed for one in results) else 1


if __name__ == "__main__":
    sys.exit(main())
