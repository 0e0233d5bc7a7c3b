# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Every example runs, says that it worked, and is short."""

import re

import launch
import pytest

EXAMPLES = sorted((launch.ROOT / "examples").glob("*.py"))
LINE = re.compile(r"^(\w+): ok, .*$", re.MULTILINE)
DIGITS = ["ddp_digits", "fsdp_digits"]
TORCHRUN_RANKS = {"all_reduce": [3, 2], "ddp_digits": [2, 3], "fsdp_digits": [2, 3]}
"""Of each the first is not slow: that is what the README runs, too."""
RUNS = [
    pytest.param(path.stem, ranks, marks=[pytest.mark.slow] * (place > 0))
    for path in EXAMPLES
    for place, ranks in enumerate(TORCHRUN_RANKS.get(path.stem, [0]))
]


@pytest.mark.xdist_group("examples")  # which run once in a process
@pytest.mark.parametrize(("name", "ranks"), RUNS)
def test_runs(name, ranks):
    status, output = launch.once(launch.command(f"examples/{name}.py", ranks))
    assert status == 0, output
    lines = list(LINE.finditer(output))
    assert [line[1] for line in lines] == [name], output
    assert ranks == 0 or f"{ranks} ranks" in lines[0][0]
    if name in DIGITS:
        assert float(re.search(r"accuracy ([\d.]+)%", output)[1]) >= 95
        assert output.count("epoch ") == 4 and "\r" not in output  # the progress, as fits a log


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_is_short_and_checks_itself(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 60
    assert f"examples/{path.name}" in text.split('"""')[1], "its docstring says how to run it"
    assert "assert" in text


def test_a_wrong_result_fails(tmp_path):
    """A collective that does nothing: the exit status says so, and the line is not printed."""
    source = (launch.ROOT / "examples/all_reduce.py").read_text()
    call = "    dist.all_reduce(tensor)\n"
    assert source.count(call) == 1
    broken = tmp_path / "all_reduce.py"
    broken.write_text(source.replace(call, ""))
    status, output = launch.run(launch.command(broken, 2))
    assert status != 0 and not LINE.search(output)
