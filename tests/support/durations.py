# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Records the duration of each test, and reports the slowest tests at the end of a run.

A run writes build/durations/<part>.tsv; PINNEDPG_PART names the part (default: "tests"). Each line
has the seconds, the part and the id of one test. .ci/run merges the files of all its parts.
"""

import collections
import os
import re
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[2] / "build" / "durations"
DEAREST = 10


class Durations:
    """A plugin of pytest. Under xdist the process that the workers report to writes."""

    def __init__(self, part: str):
        self._path = path(part)
        self._part = part
        self._seconds: collections.Counter = collections.Counter()

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Adds what the test's beginning, its call and its end took."""
        self._seconds[report.nodeid] += report.duration

    def pytest_sessionfinish(self, session: Any) -> None:
        """Writes the file."""
        if not self._seconds or hasattr(session.config, "workerinput"):
            return
        rows = [(seconds, self._part, test) for test, seconds in self._seconds.items()]
        try:
            write(self._path, rows)
        except OSError as error:  # an installed source tree may not be ours
            print(f"no durations: {error}")


def path(part: str) -> Path:
    """Returns the file of a run."""
    return FOLDER / f"{part}.tsv"


def plugin() -> Durations:
    """Returns the plugin of this run."""
    return Durations(os.environ.get("PINNEDPG_PART", "tests"))


def write(path: Path, rows: list[tuple[float, str, str]]) -> None:
    """Writes rows of seconds, part and test, the dearest first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"{seconds:.2f}\t{part}\t{_one_line(test)}\n" for seconds, part, test in sorted(rows)]
    path.write_text("".join(reversed(lines)))


def read(path: Path) -> list[tuple[float, str, str]]:
    """Returns the rows of such a file; none where there is none."""
    if not path.exists():
        return []
    rows = [line.split("\t", 2) for line in path.read_text().splitlines()]
    return [(float(seconds), part, test) for seconds, part, test in rows]


def dearest(rows: list[tuple[float, str, str]], count: int = DEAREST) -> list[str]:
    """Returns lines about what took the most, a test's cases together."""
    seconds: collections.Counter = collections.Counter()
    cases: collections.Counter = collections.Counter()
    for taken, part, test in rows:
        function = part, re.sub(r"\[.*", "", _one_line(test))
        seconds[function] += taken
        cases[function] += 1
    return [
        f"{taken:8.1f} s  {part}: {test}"
        + (f" ({cases[part, test]})" if cases[part, test] > 1 else "")
        for (part, test), taken in seconds.most_common(count)
    ]


def _one_line(test: str) -> str:
    return re.sub(r"\s", " ", test)
