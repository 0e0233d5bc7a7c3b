# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""The command `pinnedpg`: what it prints and how it ends, also where the package does not load."""

import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import _pinnedpg_cli as cli
import pinnedpg
from pinnedpg.bench import __main__ as bench

PACKAGE = Path(pinnedpg.__file__).parent


def ended(words: list[str], capsys) -> tuple[int, str, str]:
    """Returns the exit status, the output and the errors of one command line."""
    try:
        status = cli.main(words)
    except SystemExit as end:
        status = end.code
    return status, *capsys.readouterr()


def test_version_names_all_that_a_report_needs(capsys):
    status, out, err = ended(["version"], capsys)
    assert (status, err) == (0, "")
    lines = dict(line.split(": ", 1) for line in out.splitlines())
    assert lines["pinnedpg"] == pinnedpg.__version__
    assert lines["torch"] == torch.__version__
    assert lines["Python"].startswith(platform.python_version())
    minor = ".".join(torch.__version__.split(".")[:2])
    assert minor in lines["built for torch"].split(", ")
    assert lines["GPU code"].startswith("CUDA ") == pinnedpg.built_with_cuda()


NEW = {"2.11": "2.11.0", "2.12": "2.12.1"}


@pytest.mark.parametrize(
    ("info", "torch_releases", "gpu_code"),
    [
        ({}, "unknown", "unknown"),
        ({"torch_releases": NEW, "cuda_release": None}, "2.11, 2.12", "none, built for the CPU"),
        ({"cuda_release": "13.0"}, "unknown", "CUDA 13.0\n"),
        (
            {"torch_releases": NEW, "cuda_release": "13.0", "gpu_targets": ["8.0", "9.0+PTX"]},
            "2.11, 2.12",
            "CUDA 13.0, for 8.0, 9.0+PTX\n",
        ),
    ],
)
def test_version_says_what_the_build_has_noted(info, torch_releases, gpu_code):
    text = "\n".join(cli.version_lines(info))
    assert f"built for torch: {torch_releases}\n" in text
    assert f"GPU code: {gpu_code}" in text


def test_version_without_the_package(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "pinnedpg", None)
    status, out, err = ended(["version"], capsys)
    assert status == 1
    assert f"torch: {torch.__version__}\n" in out
    assert err.startswith("pinnedpg: cannot be imported: ") and err.count("\n") == 1


@pytest.mark.parametrize("words", [["trace", "barrier"], ["bench", "--help"]])
def test_commands_without_the_package(words, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "pinnedpg", None)
    status, out, err = ended(words, capsys)
    assert (status, out) == (1, "")
    assert err.startswith("pinnedpg: cannot be imported: ") and err.count("\n") == 1


@pytest.mark.parametrize("program", ["_pinnedpg_cli", "pinnedpg"])
def test_a_package_that_does_not_load_is_one_line(program, tmp_path):
    """`python -m pinnedpg` gets no further than the package, so it cannot print the versions."""
    left_out = shutil.ignore_patterns("*.so", "_build*")
    shutil.copytree(PACKAGE, tmp_path / "pinnedpg", ignore=left_out)
    shutil.copy(cli.__file__, tmp_path)
    (tmp_path / "torch.py").write_text('__version__ = "2.13.0+cpu"\n')
    command = [sys.executable, "-S", "-m", program, "version"]  # -S: see test_build.py
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert "pinnedpg: the extension must be built; found no extension module in " in done.stderr
    assert done.stderr.count("\n") == 1
    assert ("torch: 2.13.0+cpu\n" in done.stdout) == (program == "_pinnedpg_cli")


def test_trace_prints_what_the_function_returns(capsys):
    words = ["trace", "all_reduce", "--world-size", "2", "--nbytes", "4096"]
    expected = pinnedpg.trace("all_reduce", world_size=2, nbytes=4096)
    assert ended(words, capsys) == (0, f"{expected}\n", "")


def test_trace_hands_on_every_option(capsys):
    words = "trace broadcast --world-size 3 --nbytes 8192 --slot-bytes 4096 --depth 4 --calls 2"
    options = {"slot_bytes": 4096, "depth": 4, "calls": 2, "one_shot_bytes": 64}
    expected = pinnedpg.trace("broadcast", 3, 8192, two_lanes=False, full=True, **options)
    words = [*words.split(), "--one-shot-bytes", "64", "--one-lane", "--full"]
    assert ended(words, capsys) == (0, f"{expected}\n", "")


def test_trace_knows_the_collectives_of_the_extension():
    with pytest.raises(ValueError, match="name must be") as raised:
        pinnedpg.trace("nothing")
    known = re.search(r"must be (.*); got", str(raised.value))[1]
    assert set(re.split(", | or ", known)) == set(cli.COLLECTIVES)


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        ([], "required: command"),
        (["measure"], "invalid choice: 'measure'"),
        (["trace", "nothing"], "invalid choice: 'nothing'"),
        (["trace", "all_reduce", "--nbytes", "3"], "nbytes must be whole float32; got 3"),
        (["version", "now"], "unrecognized arguments: now"),
        (["bench", "nothing"], "operation must be one of"),
    ],
)
def test_wrong_arguments_end_with_status_2(words, fault, capsys):
    status, out, err = ended(words, capsys)
    assert (status, out) == (2, "")
    assert fault in err


def test_bench_gets_its_arguments_as_they_are(monkeypatch):
    seen = []
    monkeypatch.setattr(bench, "main", lambda words: seen.append(words) or 7)
    assert cli.main(["bench", "-b", "8", "--help"]) == 7
    assert seen == [["-b", "8", "--help"]]


def test_help_names_the_commands(capsys):
    status, out, err = ended(["--help"], capsys)
    assert (status, err) == (0, "")
    assert re.findall(r"^    (\w+)  ", out, re.MULTILINE) == ["bench", "trace", "version"]


def test_python_m_is_the_same_command():
    done = subprocess.run(
        [sys.executable, "-m", "pinnedpg", "version"], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"pinnedpg: {pinnedpg.__version__}\n")
