# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Every block of code in README.md runs, or names things that exist; no other block is in it.

A comment before a ```python block, `<!-- run: torchrun 2, fails -->`, says how it is run: without
one as a program of its own that succeeds. A ```bash block runs its torchrun and python lines; the
others would run the tests within the tests, so only their words are checked. A ```text block is
what the block before it prints: its lines are in the output, in that order; only a process's
number and how long a rank waited are any.
"""

import contextlib
import dataclasses
import re
from pathlib import Path

import launch
import pytest

import pinnedpg

README = (launch.ROOT / "README.md").read_text()
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


def parse(text: str) -> list[Block]:
    blocks = []
    for match in FENCE.finditer(text):
        how, kind, code = match.groups()
        line = text.count("\n", 0, match.start()) + 1
        assert kind in ("python", "bash", "text"), f"README.md:{line}: what is a {kind!r} block?"
        assert how is None or kind == "python", f"README.md:{line}: only python has a marker"
        if kind == "text":
            assert blocks and not blocks[-1].shown, f"README.md:{line}: the output of what?"
            blocks[-1].shown = code
            continue
        marker = HOW.fullmatch(how or "python")
        assert marker, f"README.md:{line}: unknown marker {how!r}"
        blocks.append(Block(kind, code, line, int(marker[2] or 0), marker[3] is not None))
    return blocks


BLOCKS = parse(README)


def assert_shown(shown: str, output: str) -> None:
    at = 0
    for line in shown.splitlines():
        fixed = map(re.escape, VARIES.split(line.strip()))
        match = re.compile(r"[\d.]+".join(fixed)).search(output, at)
        assert match, f"not printed, or not in this order: {line}\n{output}"
        at = match.end()


def run_python(block: Block, folder: Path) -> str:
    path = folder / "block.py"
    path.write_text(block.code)
    status, output = launch.run(launch.command(path, block.ranks))
    assert (status != 0) == block.fails, output
    return output


def run_bash(block: Block) -> str:
    return "".join(run_line(line.partition("#")[0].strip()) for line in block.code.splitlines())


def run_line(line: str) -> str:
    words = line.split()
    if words[0] == "make":
        check_targets(words[1:])
        return ""
    if words[:2] == ["pip", "install"]:
        check_install(words[2:])
        return ""
    status, output = launch.once(line)
    assert status == 0, output
    return output


def check_targets(targets: list[str]) -> None:
    makefile = (launch.ROOT / "Makefile").read_text()
    assert targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"make {target}"


def check_install(arguments: list[str]) -> None:
    assert arguments == ["--no-build-isolation", "."]
    assert (launch.ROOT / "pyproject.toml").exists()


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: f"{block.kind}-line-{block.line}")
def test_block(block, tmp_path):
    output = run_python(block, tmp_path) if block.kind == "python" else run_bash(block)
    assert_shown(block.shown, output)


@pytest.mark.parametrize(
    ("shown", "is_right"),
    [
        ("rank 0 waited 2.5 s for process 7, at step 1", True),
        ("rank 1 waited 2.0 s for process 4711, at step 1", False),
        ("rank 0 waited 2.0 s for process 4711, at step 2", False),
        ("rank 0 waited 2 s for process 4711", False),
    ],
)
def test_other_numbers_fail(shown, is_right):
    output = "rank 0 waited 2.0 s for process 4711, at step 1\n"
    with contextlib.nullcontext() if is_right else pytest.raises(AssertionError, match="printed"):
        assert_shown(shown, output)


def test_no_fence_escapes():
    fences = re.findall(r"^\s*(?:```|~~~)", README, re.MULTILINE)
    assert len(fences) == 2 * len(FENCE.findall(README))
    assert README.count("<!-- run:") == sum(bool(how) for how, _, _ in FENCE.findall(README))


@pytest.mark.parametrize(
    "text",
    ["```sh\nls\n```\n", "```text\nx\n```\n", "<!-- run: often -->\n```python\n1\n```\n"],
)
def test_unknown_blocks_fail(text):
    with pytest.raises(AssertionError, match="README.md:1"):
        parse(text)


def test_what_it_names_exists():
    for target in re.findall(r"\]\(#([\w-]+)\)", README):
        titles = re.findall(r"^#+ (.*)$", README, re.MULTILINE)
        assert target in [title.lower().replace(" ", "-") for title in titles]
    for path in re.findall(r"\b(?:examples|docs|tests)/[\w./]+\w", README):
        assert (launch.ROOT / path).exists(), path
    assert len(README.splitlines()) <= 300


def test_options_are_all_there():
    """The table of options names each, and nothing else."""
    table = set(re.findall(r"^\| `(\w+)` \|", README, re.MULTILINE))
    options = {name for name, kind in vars(pinnedpg.Options).items() if isinstance(kind, property)}
    options = {name for name in options if not name.startswith("_")}
    assert table == options - {"group_name", "global_ranks_in_group"}  # torch's own
