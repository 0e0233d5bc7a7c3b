# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Finds the blocks of code in a page of documentation, and runs them.

A comment before a ```python block, `<!-- run: torchrun 2, fails -->`, says how it is run: without
one as a program of its own that succeeds. A ```bash block runs its torchrun and python lines; the
others would run the tests within the tests, so only their words are checked. A ```text block is
what the block before it prints: its lines are in the output, in that order; only a process's
number and how long a rank waited are any.
"""

import dataclasses
import re
from pathlib import Path

import launch

FENCE = re.compile(
    r"^(?:<!-- run: ([^\n]+) -->\n)?```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL
)
HOW = re.compile(r"(python|torchrun (\d+))(, fails)?")
VARIES = re.compile(r"(?<=process )\d+|(?<=waited )\d+\.\d")


@dataclasses.dataclass
class Block:
    """A fenced block and the text block that shows its output."""

    kind: str
    code: str
    line: int
    ranks: int = 0
    fails: bool = False
    shown: str = ""

    def run(self, folder: Path) -> None:
        """Runs it, from a file in that folder; what it prints is what the page shows."""
        output = self._run_python(folder) if self.kind == "python" else self._run_bash()
        assert_shown(self.shown, output)

    def _run_python(self, folder: Path) -> str:
        path = folder / "block.py"
        path.write_text(self.code)
        status, output = launch.run(launch.command(path, self.ranks))
        assert (status != 0) == self.fails, output
        return output

    def _run_bash(self) -> str:
        return "".join(_run_line(line.partition("#")[0].strip()) for line in self.code.splitlines())


def parse(text: str, page: str) -> list[Block]:
    """Returns the blocks of a page, each with its output."""
    blocks = []
    for match in FENCE.finditer(text):
        how, kind, code = match.groups()
        line = text.count("\n", 0, match.start()) + 1
        assert kind in ("python", "bash", "text"), f"{page}:{line}: what is a {kind!r} block?"
        assert how is None or kind == "python", f"{page}:{line}: only python has a marker"
        if kind == "text":
            assert blocks and not blocks[-1].shown, f"{page}:{line}: the output of what?"
            blocks[-1].shown = code
            continue
        marker = HOW.fullmatch(how or "python")
        assert marker, f"{page}:{line}: unknown marker {how!r}"
        blocks.append(Block(kind, code, line, int(marker[2] or 0), marker[3] is not None))
    return blocks


def assert_no_fence_escapes(text: str) -> None:
    """Each fence and each marker of the page belongs to a block."""
    found = FENCE.findall(text)
    assert len(re.findall(r"^\s*(?:```|~~~)", text, re.MULTILINE)) == 2 * len(found)
    assert text.count("<!-- run:") == sum(bool(how) for how, _, _ in found)


def assert_shown(shown: str, output: str) -> None:
    """The lines shown are in the output, in their order."""
    at = 0
    for line in shown.splitlines():
        fixed = map(re.escape, VARIES.split(line.strip()))
        match = re.compile(r"[\d.]+".join(fixed)).search(output, at)
        assert match, f"not printed, or not in this order: {line}\n{output}"
        at = match.end()


def assert_names_exist(text: str, folder: Path) -> None:
    """What a page in that folder links to or names is there."""
    for path, title in re.findall(r"\]\(([\w./-]*)(?:#([\w-]+))?\)", text):
        target = (folder / path).read_text() if path else text
        titles = re.findall(r"^#+ (.*)$", target, re.MULTILINE)
        assert not title or title in [one.lower().replace(" ", "-") for one in titles], title
    for path in re.findall(r"\b(?:benchmarks|examples|docs|tests)/[\w./-]+\w", text):
        assert (launch.ROOT / path).exists(), path


def _run_line(line: str) -> str:
    words = line.split()
    if words[0] == "make":
        _check_targets(words[1:])
        return ""
    if words[:2] == ["pip", "install"]:
        _check_install(words[2:])
        return ""
    status, output = launch.once(line)
    assert status == 0, output
    return output


def _check_targets(targets: list[str]) -> None:
    makefile = (launch.ROOT / "Makefile").read_text()
    assert targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"make {target}"


def _check_install(arguments: list[str]) -> None:
    assert arguments == ["--no-build-isolation", "."]
    assert (launch.ROOT / "pyproject.toml").exists()
