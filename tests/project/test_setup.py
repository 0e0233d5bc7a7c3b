# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""What the build makes of its environment, with a stand-in for nvcc: nothing real is compiled."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "tools"))

from native import extension, graph, settings, torch_tree  # noqa: E402
from native.nvcc import Nvcc  # noqa: E402

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
VARIABLES = "PINNEDPG_CUDA CUDA_HOME TORCH_CUDA_ARCH_LIST CXX MAX_JOBS PINNEDPG_TORCH_TREES".split()


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def calls(path: Path) -> list[str]:
    record = Path(f"{path}.calls")
    return record.read_text().splitlines() if record.exists() else []


@pytest.fixture(autouse=True)
def bare(monkeypatch):
    """No variable of the build is set, and no GPU or compiler cache is found."""
    monkeypatch.chdir(ROOT)
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    which = shutil.which
    hidden = ("nvidia-smi", *settings.LAUNCHERS)
    monkeypatch.setattr(
        shutil, "which", lambda name, *a: None if name in hidden else which(name, *a)
    )


@pytest.fixture
def cuda(tmp_path, monkeypatch):
    """A CUDA toolkit, in CUDA_HOME, whose nvcc writes its calls down."""
    home = tmp_path / "cuda"
    program(home / "bin" / "nvcc", NVCC)
    (home / "lib64").mkdir()
    (home / "lib64" / "libcudart_static.a").touch()
    monkeypatch.setenv("CUDA_HOME", str(home))
    return home


def failure(call, *arguments) -> str:
    """Makes a call that must end the build with a line of its own, and returns that."""
    with pytest.raises(SystemExit) as ended:
        call(*arguments)
    assert isinstance(ended.value.code, str) and ended.value.code.startswith("pinnedpg: ")
    return ended.value.code


def hide_nvcc(monkeypatch):
    """Hides every nvcc of this machine, also the one that is not on PATH."""
    which = shutil.which
    monkeypatch.setattr(
        shutil, "which", lambda name, *a: None if name.endswith("nvcc") else which(name, *a)
    )


@pytest.mark.parametrize("wanted", [None, "", "1"])
def test_nvcc_is_used_where_there_is_one(cuda, monkeypatch, wanted):
    if wanted is not None:
        monkeypatch.setenv("PINNEDPG_CUDA", wanted)
    nvcc = Nvcc.find()
    assert nvcc.command()[0] == str(cuda / "bin" / "nvcc")
    assert f"-L{cuda / 'lib64'}" in nvcc.link_flags()
    assert "-lcudart_static" in nvcc.link_flags()
    assert nvcc.release == "13.7"


def test_nvcc_on_path(cuda, monkeypatch):
    monkeypatch.delenv("CUDA_HOME")
    monkeypatch.setenv("PATH", str(cuda / "bin"), prepend=os.pathsep)
    assert Nvcc.find().path == str(cuda / "bin" / "nvcc")


def test_no_cuda_is_asked_for(cuda, monkeypatch, capsys):
    monkeypatch.setenv("PINNEDPG_CUDA", "0")
    assert Nvcc.find() is None
    assert calls(cuda / "bin" / "nvcc") == []
    assert capsys.readouterr().out == "pinnedpg: PINNEDPG_CUDA=0: building for the CPU alone\n"


def test_no_nvcc_is_one_line(monkeypatch, capsys):
    hide_nvcc(monkeypatch)
    assert Nvcc.find() is None
    said = "no nvcc on PATH or in /usr/local/cuda: building for the CPU alone"
    assert capsys.readouterr().out == f"pinnedpg: {said}\n"


def test_no_nvcc_in_cuda_home(monkeypatch, tmp_path, capsys):
    """An empty CUDA_HOME wins over an nvcc elsewhere: one was chosen, and it is not taken."""
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    assert Nvcc.find() is None
    said = f"no nvcc in CUDA_HOME ({tmp_path}): building for the CPU alone"
    assert capsys.readouterr().out == f"pinnedpg: {said}\n"


def test_cuda_without_nvcc_is_an_error(monkeypatch, tmp_path):
    monkeypatch.setenv("PINNEDPG_CUDA", "1")
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    error = failure(Nvcc.find)
    assert f"PINNEDPG_CUDA=1 needs nvcc; found none in CUDA_HOME ({tmp_path}). Install" in error
    hide_nvcc(monkeypatch)
    monkeypatch.delenv("CUDA_HOME")
    assert "found none on PATH or in /usr/local/cuda. Install" in failure(Nvcc.find)


@pytest.mark.parametrize("wanted", ["yes", "2", "01"])
def test_cuda_must_be_0_or_1(monkeypatch, wanted):
    monkeypatch.setenv("PINNEDPG_CUDA", wanted)
    error = failure(Nvcc.find)
    assert error.endswith(f"PINNEDPG_CUDA must be 0 (never) or 1 (must); got '{wanted}'")


def test_nvcc_that_fails(cuda):
    program(cuda / "bin" / "nvcc", "#!/bin/sh\necho no licence >&2\nexit 1\n")
    error = failure(Nvcc.find)
    assert "nvcc --version failed: no licence. PINNEDPG_CUDA=0 builds without CUDA" in error


def gencodes() -> list[str]:
    head = "-gencode=arch=compute_"
    return [flag.removeprefix(head) for flag in Nvcc.find().command() if flag.startswith(head)]


def test_without_a_gpu_the_oldest_ptx(cuda):
    assert gencodes() == ["75,code=compute_75"]


def test_the_gpus_of_this_machine(cuda, monkeypatch, tmp_path):
    """Each once; one that nvcc does not know has no code of its own."""
    smi = program(
        tmp_path / "bin" / "nvidia-smi", "#!/bin/sh\nprintf '9.0\\n8.6\\n9.0\\n13.0\\n'\n"
    )
    monkeypatch.setattr("native.nvcc.CAPABILITIES", [str(smi)])
    assert gencodes() == ["86,code=sm_86", "90,code=sm_90"]


def test_gpus_that_nvcc_does_not_know(cuda, monkeypatch, tmp_path):
    smi = program(tmp_path / "bin" / "nvidia-smi", "#!/bin/sh\necho 13.0\n")
    monkeypatch.setattr("native.nvcc.CAPABILITIES", [str(smi)])
    assert gencodes() == ["75,code=compute_75"]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("9.0", ["90,code=sm_90"]),
        ("8.0;9.0+PTX", ["80,code=sm_80", "90,code=sm_90", "90,code=compute_90"]),
        ("8.6 9.0a", ["86,code=sm_86", "90a,code=sm_90a"]),
        ("12.0f", ["120f,code=sm_120f"]),
        ("All", [*(f"{a},code=sm_{a}" for a in (75, 80, 90, 100)), "100,code=compute_100"]),
    ],
)
def test_architectures_asked_for(cuda, monkeypatch, asked, expected):
    """ "All" is one of each major that this nvcc knows, and the newest one's PTX."""
    monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", asked)
    assert gencodes() == expected


@pytest.mark.parametrize("asked", ["Hopper", "8.0,9.0", "90", "9.0+ptx"])
def test_architectures_that_are_none(cuda, monkeypatch, asked):
    monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", asked)
    error = failure(gencodes)
    assert f"""must be "All" or like "8.0;9.0+PTX"; got '{asked}'""" in error


def test_compiled_again_when_the_architectures_change(cuda, monkeypatch, tmp_path):
    """The ninja file is real, so is ninja, and nvcc gets what is asked for."""

    def compiled(architectures):
        monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", architectures)
        made = graph.Graph(tmp_path / "build")
        for source in CUDA_FILES:
            made.compile(source, tmp_path / "build" / f"{source.name}.o", Nvcc.find().command())
        made.run()
        return [call for call in calls(cuda / "bin" / "nvcc") if " -c " in call]

    first = compiled("8.0")
    assert len(first) == len(CUDA_FILES)
    assert all("code=sm_80" in call for call in first)
    assert compiled("8.0") == first
    later = compiled("9.0")[len(first) :]
    assert len(later) == len(CUDA_FILES)
    assert all("code=sm_90" in call and "code=sm_80" not in call for call in later)


def test_object_that_does_not_compile(tmp_path, capfd):
    made = graph.Graph(tmp_path)
    made.compile(CUDA_FILES[0], tmp_path / "none.o", ["false"])
    assert "the build failed" in failure(made.run)


@pytest.mark.parametrize(("jobs", "expected"), [(None, []), ("3", ["-j", "3"])])
def test_max_jobs(tmp_path, monkeypatch, jobs, expected):
    ninja = program(tmp_path / "bin" / "ninja", RECORD)
    monkeypatch.setenv("PATH", str(ninja.parent), prepend=os.pathsep)
    if jobs:
        monkeypatch.setenv("MAX_JOBS", jobs)
    graph.Graph(tmp_path / "build").run()
    (call,) = calls(ninja)
    assert call.split() == ["--quiet", "-f", f"{tmp_path}/build/build.ninja", *expected]


@pytest.mark.parametrize(
    ("asked", "cached", "cache", "compiler"),
    [
        ("", False, [], ["c++"]),
        ("clang++ -m64", False, [], ["clang++", "-m64"]),
        ("ccache g++", False, ["ccache"], ["g++"]),
        ("/opt/sccache clang++", False, ["/opt/sccache"], ["clang++"]),
        ("g++", True, ["ccache"], ["g++"]),
        ("ccache", False, [], ["ccache"]),  # a link to it that is named as a compiler may be
    ],
)
def test_compiler_caches(monkeypatch, tmp_path, asked, cached, cache, compiler):
    if asked:
        monkeypatch.setenv("CXX", asked)
    if cached:
        monkeypatch.setattr(shutil, "which", lambda name, *_: name if name == "ccache" else None)
    assert settings.launcher() == cache
    assert settings.compiler() == compiler


def tree(folder: Path, version: str) -> Path:
    folder.mkdir(parents=True)
    (folder / "version.py").write_text(f"__version__ = '{version}'\ndebug = False\n")
    return folder


def test_trees_of_several_releases(monkeypatch, tmp_path):
    paths = [tree(tmp_path / v, v) for v in ("2.11.0+cu130", "2.15.1")]
    monkeypatch.setenv("PINNEDPG_TORCH_TREES", os.pathsep.join(map(str, paths)))
    found = torch_tree.torch_trees()
    assert [(one.minor, one.version, one.path) for one in found] == [
        ("2.11", "2.11.0+cu130", paths[0]),
        ("2.15", "2.15.1", paths[1]),
    ]


def test_trees_of_one_minor_release(monkeypatch, tmp_path):
    paths = [tree(tmp_path / v, v) for v in ("2.11.0", "2.11.1")]
    monkeypatch.setenv("PINNEDPG_TORCH_TREES", os.pathsep.join(map(str, paths)))
    assert "each minor release once; got ['2.11', '2.11']" in failure(torch_tree.torch_trees)


def test_a_torch_that_is_too_old(monkeypatch, tmp_path):
    monkeypatch.setenv("PINNEDPG_TORCH_TREES", str(tree(tmp_path / "torch", "2.9.1+cpu")))
    assert "torch must be 2.11 or newer; got 2.9.1+cpu" in failure(torch_tree.torch_trees)


def test_no_torch_is_one_line(tmp_path):
    """Also where pip isolates a build: there is no torch in its environment."""
    code = f"import sys; sys.path[:0] = ['{ROOT}/tools']\n"
    code += "from native.torch_tree import torch_trees\ntorch_trees()"
    command = [sys.executable, "-S", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("pinnedpg: torch 2.11 or newer must be installed")
    assert "--no-build-isolation" in line


def test_every_source_is_compiled_once():
    sources = {path.relative_to("csrc") for path in Path("csrc").rglob("*.cpp")}
    both = extension.engine_sources(), extension.door_sources()
    compiled = [name for names in both for batch in extension.batches(names) for name in batch]
    assert sorted(compiled) == sorted(sources)
    named = [extension.object_name(batch) for names in both for batch in extension.batches(names)]
    assert len(named) == len(set(named))
