# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""What setup.py makes of its environment, with a stand-in for nvcc: nothing is compiled."""

import os
import runpy
import shutil
import types
from pathlib import Path

import pytest
import setuptools
import torch

ROOT = Path(__file__).resolve().parents[2]
CUDA_FILES = sorted(path.relative_to(ROOT) for path in (ROOT / "csrc").rglob("*.cu"))
LISTED = "compute_75 compute_80 compute_86 compute_90 compute_100"
RECORD = '#!/bin/sh\necho "$*" >> "$0.calls"\n'
# Answers as nvcc does; asked to compile (-c source -o object, the last ones), it leaves an object.
NVCC = f"""{RECORD}
case "$*" in
  --version) echo "Cuda compilation tools, release 13.7, V13.7.1" ;;
  --dryrun*) echo "#$ TOP=$(dirname "$0")/.." >&2 ;;
  --list-gpu-arch) printf '%s\\n' {LISTED} ;;
  *) for object in "$@"; do :; done; echo "$object" > "$object" ;;
esac
"""


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def calls(path: Path) -> list[str]:
    record = Path(f"{path}.calls")
    return record.read_text().splitlines() if record.exists() else []


@pytest.fixture
def setup(monkeypatch):
    """Returns a function that runs setup.py under an environment, up to what it would build."""
    monkeypatch.chdir(ROOT)  # where setup.py goes: back afterwards
    monkeypatch.setenv("PATH", os.environ["PATH"])  # setup.py may add ninja's folder
    for name in ("PINNEDPG_CUDA", "CUDA_HOME", "TORCH_CUDA_ARCH_LIST", "CXX", "MAX_JOBS"):
        monkeypatch.delenv(name, raising=False)

    def run(**environment):
        for name, value in environment.items():
            monkeypatch.setenv(name, str(value))
        seen = {}
        monkeypatch.setattr(setuptools, "setup", lambda **given: seen.update(given))
        names = types.SimpleNamespace(**runpy.run_path(str(ROOT / "setup.py")))
        (names.built,) = seen["ext_modules"]
        return names

    return run


@pytest.fixture
def cuda(tmp_path):
    """A CUDA toolkit whose nvcc writes its calls down."""
    home = tmp_path / "cuda"
    program(home / "bin" / "nvcc", NVCC)
    (home / "lib64").mkdir()
    (home / "lib64" / "libcudart_static.a").touch()
    return home


def assert_no_cuda(built):
    assert built.extra_commands, "the instruction sets of the host reduction are always there"
    assert not [source for source in built.extra_commands if source.suffix == ".cu"]
    assert "PINNEDPG_WITH_CUDA" not in dict(built.define_macros)
    assert "-lcudart_static" not in built.extra_link_args
    assert built.cuda_release is None


def failure(setup, **environment) -> str:
    """Runs setup.py, which must end with a line of its own, and returns that."""
    with pytest.raises(SystemExit) as ended:
        setup(**environment)
    assert isinstance(ended.value.code, str) and ended.value.code.startswith("pinnedpg: ")
    return ended.value.code


def gencodes(setup, **environment) -> list[str]:
    """Returns what the CUDA files are compiled for, all of them alike."""
    commands = setup(**environment).built.extra_commands
    (command,) = {tuple(commands[source]) for source in CUDA_FILES}
    head = "-gencode=arch="
    return [flag.removeprefix(head) for flag in command if flag.startswith(head)]


@pytest.mark.parametrize("wanted", [{}, {"PINNEDPG_CUDA": ""}, {"PINNEDPG_CUDA": 1}])
def test_nvcc_is_used_where_there_is_one(setup, cuda, capsys, wanted):
    built = setup(CUDA_HOME=cuda, **wanted).built
    nvcc = str(cuda / "bin" / "nvcc")
    commands = {source: built.extra_commands[source][0] for source in CUDA_FILES}
    assert CUDA_FILES and set(commands.values()) == {nvcc}
    assert "PINNEDPG_WITH_CUDA" in dict(built.define_macros)
    assert f"-L{cuda / 'lib64'}" in built.extra_link_args
    assert "-lcudart_static" in built.extra_link_args
    assert built.cuda_release == "13.7"
    assert capsys.readouterr().out == f"pinnedpg: building with CUDA 13.7 ({nvcc})\n"


def test_nvcc_on_path(setup, cuda, monkeypatch):
    monkeypatch.setenv("PATH", str(cuda / "bin"), prepend=os.pathsep)
    assert setup().built.cuda_release == "13.7"


def test_never_cuda(setup, cuda, capsys):
    assert_no_cuda(setup(PINNEDPG_CUDA=0, CUDA_HOME=cuda).built)
    assert calls(cuda / "bin" / "nvcc") == []
    assert capsys.readouterr().out == "pinnedpg: PINNEDPG_CUDA=0: building for the CPU alone\n"


def hide_nvcc(monkeypatch):
    """Hides every nvcc of this machine, also the one that is not on PATH."""
    which = shutil.which

    def hiding(name, *rest):
        return None if name.endswith("nvcc") else which(name, *rest)

    monkeypatch.setattr(shutil, "which", hiding)


def test_no_nvcc_is_one_line(setup, monkeypatch, capsys):
    hide_nvcc(monkeypatch)
    assert_no_cuda(setup().built)
    said = "no nvcc on PATH or in /usr/local/cuda: building for the CPU alone"
    assert capsys.readouterr().out == f"pinnedpg: {said}\n"


def test_no_nvcc_in_cuda_home(setup, tmp_path, capsys):
    """An empty CUDA_HOME wins over an nvcc elsewhere: one was chosen, and it is not taken."""
    assert_no_cuda(setup(CUDA_HOME=tmp_path).built)
    said = f"no nvcc in CUDA_HOME ({tmp_path}): building for the CPU alone"
    assert capsys.readouterr().out == f"pinnedpg: {said}\n"


def test_cuda_without_nvcc_is_an_error(setup, tmp_path, monkeypatch):
    error = failure(setup, PINNEDPG_CUDA=1, CUDA_HOME=tmp_path)
    assert f"PINNEDPG_CUDA=1 needs nvcc; found none in CUDA_HOME ({tmp_path}). Install" in error
    hide_nvcc(monkeypatch)
    monkeypatch.delenv("CUDA_HOME")
    assert "found none on PATH or in /usr/local/cuda. Install" in failure(setup, PINNEDPG_CUDA=1)


@pytest.mark.parametrize("wanted", ["yes", "2", "01"])
def test_cuda_must_be_0_or_1(setup, wanted):
    error = failure(setup, PINNEDPG_CUDA=wanted)
    assert error.endswith(f"PINNEDPG_CUDA must be 0 (never) or 1 (must); got '{wanted}'")


def test_nvcc_that_fails(setup, cuda):
    program(cuda / "bin" / "nvcc", "#!/bin/sh\necho no licence >&2\nexit 1\n")
    error = failure(setup, CUDA_HOME=cuda)
    assert "nvcc --version failed: no licence. PINNEDPG_CUDA=0 builds without CUDA" in error


def test_architectures_unasked(setup, cuda):
    """One of each major that this nvcc knows, and the newest one's PTX."""
    expected = ["75,code=sm_75", "80,code=sm_80", "90,code=sm_90", "100,code=sm_100"]
    expected.append("100,code=compute_100")
    assert gencodes(setup, CUDA_HOME=cuda) == [f"compute_{one}" for one in expected]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("9.0", ["90,code=sm_90"]),
        ("8.0;9.0+PTX", ["80,code=sm_80", "90,code=sm_90", "90,code=compute_90"]),
        ("8.6 9.0a", ["86,code=sm_86", "90a,code=sm_90a"]),
        ("12.0f", ["120f,code=sm_120f"]),
    ],
)
def test_architectures_asked_for(setup, cuda, asked, expected):
    made = gencodes(setup, CUDA_HOME=cuda, TORCH_CUDA_ARCH_LIST=asked)
    assert made == [f"compute_{one}" for one in expected]


@pytest.mark.parametrize("asked", ["Hopper", "8.0,9.0", "90", "9.0+ptx"])
def test_architectures_that_are_none(setup, cuda, asked):
    error = failure(setup, CUDA_HOME=cuda, TORCH_CUDA_ARCH_LIST=asked)
    assert f"""TORCH_CUDA_ARCH_LIST must look like "8.0;9.0+PTX"; got '{asked}'""" in error


def test_compiled_again_when_the_architectures_change(setup, cuda, tmp_path):
    """The ninja file is real, so is ninja, and nvcc gets what is asked for."""

    def compiled(architectures):
        names = setup(CUDA_HOME=cuda, TORCH_CUDA_ARCH_LIST=architectures)
        commands = {source: names.built.extra_commands[source] for source in CUDA_FILES}
        objects = names.compile_objects(commands, str(tmp_path / "build"))
        assert [Path(path).exists() for path in objects] == [True] * len(CUDA_FILES)
        return [call for call in calls(cuda / "bin" / "nvcc") if " -c " in call]

    first = compiled("8.0")
    assert len(first) == len(CUDA_FILES)
    assert all("code=sm_80" in call for call in first)
    assert compiled("8.0") == first
    later = compiled("9.0")[len(first) :]
    assert len(later) == len(CUDA_FILES)
    assert all("code=sm_90" in call and "code=sm_80" not in call for call in later)


def test_linked_anew_for_every_torch(setup):
    """What an earlier build for another torch has left in build/lib* is not taken for ours."""
    names = setup(PINNEDPG_CUDA=0)
    command = names.BuildExtension(setuptools.Distribution())
    command.ensure_finalized()
    assert command.force
    assert torch.__version__ in command.build_temp


def test_object_that_does_not_compile(setup, tmp_path, capfd):
    command = {Path("csrc/device/none.cu"): ["false"]}
    with pytest.raises(SystemExit, match="did not compile .*PINNEDPG_CUDA=0 leaves out"):
        setup(PINNEDPG_CUDA=0).compile_objects(command, str(tmp_path))


@pytest.mark.parametrize(("jobs", "expected"), [({}, []), ({"MAX_JOBS": 3}, ["-j", "3"])])
def test_max_jobs(setup, tmp_path, monkeypatch, jobs, expected):
    ninja = program(tmp_path / "bin" / "ninja", RECORD)
    monkeypatch.setenv("PATH", str(ninja.parent), prepend=os.pathsep)
    names = setup(PINNEDPG_CUDA=0, **jobs)
    names.compile_objects(names.built.extra_commands, str(tmp_path / "build"))
    (call,) = calls(ninja)
    assert call.split() == ["-f", f"{tmp_path}/build/extra/build.ninja", *expected]
