#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Runs the tests of the clients and writes docs/clients.md: client by size of the world.

python tests/clients/client_table.py [--write]      # after make clients
"""

import argparse
import ast
import importlib.metadata
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as xml
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "clients.md"
TABLE = re.compile(r"(?<=<!-- clients -->\n).*?(?=<!-- end of clients -->)", re.DOTALL)
FILES = [
    *sorted((ROOT / "tests").glob("clients/test_client_*.py")),
    *sorted((ROOT / "tests").glob("libraries/test_library_*.py")),
]
WORLDS = [2, 4]
VERSIONS = ["torch", "accelerate", "deepspeed", "lightning", "transformers"]


def states_of(report: Path) -> dict:
    """Returns the states of a JUnit report's tests by (file, test, size of the world or None)."""
    states = defaultdict(list)
    for case in xml.parse(report).iter("testcase"):
        test, _, arguments = case.get("name").partition("[")
        world = re.match(r"(\d+)", arguments)
        bad = next((child for child in case if child.tag != "properties"), None)
        state = "pass" if bad is None else "FAIL"
        if bad is not None and bad.tag == "skipped":
            state = f"skipped: {bad.get('message')}"
        file = case.get("classname").rpartition(".")[2]
        states[file, test, int(world[1]) if world else None].append(state)
    return states


def cell(states: list) -> str:
    """Returns what one cell of the table says of its tests."""
    if not states:
        return "not run"
    if len(set(states)) == 1:
        return states[0] + (f" ({len(states)})" if len(states) > 1 else "")
    return ", ".join(f"{states.count(one)} {one}" for one in sorted(set(states)))


def rows(states: dict) -> str:
    """Returns the table."""
    lines = ["| Client | test | " + " | ".join(f"{world} ranks" for world in WORLDS) + " |"]
    lines.append("|---" * (2 + len(WORLDS)) + "|")
    for path in FILES:
        about = ast.get_docstring(ast.parse(path.read_text())).splitlines()[0].rstrip(".")
        names = dict.fromkeys(test for file, test, _ in states if file == path.stem)
        for number, name in enumerate(names):
            by_world = [states.get((path.stem, name, world), []) for world in WORLDS]
            alone = states.get((path.stem, name, None), [])
            cells = [cell(some) for some in by_world]
            if alone:  # of no size of the world that its name tells
                cells = [f"{cell(alone)}, one world"] + [""] * (len(WORLDS) - 1)
            first = f"{about} (`{path.name}`)" if number == 0 else ""
            title = name.removeprefix("test_").replace("_", " ")
            lines.append(f"| {first} | {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Returns the exit status of the tests."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="put the table into docs/clients.md")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-m", "not exhaustive"]
        ran = subprocess.run([*command, f"--junitxml={report}", *map(str, FILES)], cwd=ROOT)
        versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in VERSIONS)
        table = f"With {versions}:\n\n{rows(states_of(report))}"
    print(table)
    if given.write:
        PAGE.write_text(TABLE.sub(lambda _: table, PAGE.read_text()))
    return ran.returncode


if __name__ == "__main__":
    sys.exit(main())
