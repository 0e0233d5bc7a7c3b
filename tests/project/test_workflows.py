# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""What the workflows, the metadata and the pages must say alike, which no schema knows."""

import re
from pathlib import Path

import pytest
import yaml

import pinnedpg

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = {
    path.name: yaml.safe_load(path.read_text()) for path in ROOT.glob(".github/workflows/*")
}
JOBS = {
    (name, job): content
    for name, workflow in WORKFLOWS.items()
    for job, content in workflow["jobs"].items()
}
EXPRESSION = re.compile(r"\$\{\{.*?\}\}")
PYPROJECT = (ROOT / "pyproject.toml").read_text()  # tomllib is there from Python 3.11 on
PYTHONS = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', PYPROJECT)


def releases() -> list[str]:
    """Returns the releases of torch that CHANGELOG.md says are supported, from the oldest on."""
    text = (ROOT / "CHANGELOG.md").read_text()
    first, last = re.search(r"^\* torch 2\.(\d+) to 2\.(\d+)\.", text, re.MULTILINE).groups()
    return [f"2.{minor}" for minor in range(int(first), int(last) + 1)]


def matrix(job: str) -> dict:
    return JOBS["test.yml", job]["strategy"]["matrix"]


def test_there_is_something_to_look_at():
    assert {"lint.yml", "test.yml", "wheels.yml", "docs.yml", "release.yml", "nightly.yml"} == {
        *WORKFLOWS
    }
    assert PYTHONS and releases()


def test_every_torch_is_tested_with_every_python():
    """But for what torch has no wheel of."""
    cpu = matrix("cpu")
    assert cpu["torch"] == releases()
    assert cpu["python"] == PYTHONS
    assert cpu["exclude"] == [{"torch": "2.15", "python": "3.10"}]


def test_every_torch_and_python_is_tested_with_the_gpu_code():
    cells = matrix("cuda")["include"]
    assert [cell["torch"] for cell in cells] == releases()
    assert [cell["python"] for cell in cells] == PYTHONS
    assert JOBS["test.yml", "cuda"]["env"]["PINNEDPG_CUDA"] == "1"


def test_every_python_has_wheels():
    tags = ["cp" + python.replace(".", "") for python in PYTHONS]
    wheel = JOBS["wheels.yml", "wheel"]["strategy"]["matrix"]
    assert wheel["python"] == tags
    assert {machine["arch"] for machine in wheel["machine"]} == {"x86_64", "aarch64"}
    built = re.search(r"^\[tool\.cibuildwheel\].*?^build = \[(.*?)\]", PYPROJECT, re.S | re.M)[1]
    assert re.findall(r'"(\w+)-\*"', built) == tags


def test_the_oldest_torch_and_python_are_those_of_the_metadata():
    assert f'dependencies = ["torch>={releases()[0]}"' in PYPROJECT
    assert f'requires-python = ">={PYTHONS[0]}"' in PYPROJECT


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_may_only_read_and_runs_once(name):
    assert WORKFLOWS[name]["permissions"] == {"contents": "read"}
    assert "group" in WORKFLOWS[name]["concurrency"]


@pytest.mark.parametrize(("name", "job"), JOBS, ids="-".join)
def test_a_job_ends_and_takes_major_versions(name, job):
    content = JOBS[name, job]
    assert "uses" in content or content["timeout-minutes"] <= 360
    for step in content.get("steps", []):
        assert re.search(r"@(v\d+|release/v\d+)$", step.get("uses", "@v1")), step
        script = step.get("run", "")
        assert not EXPRESSION.search(script), f"what it holds would be code: {script}"


def test_only_what_publishes_may_write():
    writers = {key: job["permissions"] for key, job in JOBS.items() if "permissions" in job}
    assert writers == {
        ("docs.yml", "deploy"): {"pages": "write", "id-token": "write"},
        ("release.yml", "publish"): {"id-token": "write"},
    }
    assert JOBS["release.yml", "publish"]["environment"]["name"] == "pypi"


def test_what_is_called_exists():
    runs = [step.get("run", "") for job in JOBS.values() for step in job.get("steps", [])]
    settings = PYPROJECT.partition("[tool.cibuildwheel]")[2]
    called = re.compile(r"(?<![\w/])(?:\.ci|\.github|tools|examples)/[\w.]+(?![\w./])")
    names = {name for text in [*runs, settings] for name in called.findall(text)}
    assert {".ci/run", ".github/install_cuda"} <= names
    assert [name for name in names if not (ROOT / name).is_file()] == []


def test_make_targets_exist():
    runs = [step.get("run", "") for job in JOBS.values() for step in job.get("steps", [])]
    targets = {target for run in runs for target in re.findall(r"^make (\w+)", run)}
    makefile = (ROOT / "Makefile").read_text()
    assert {"lint", "test", "build"} <= targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_a_citation_names_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert str(citation["version"]) == pinnedpg.__version__


def test_a_bug_report_asks_for_what_the_command_prints():
    form = yaml.safe_load((ROOT / ".github/ISSUE_TEMPLATE/bug.yml").read_text())
    asked = {part["id"]: part["attributes"]["label"] for part in form["body"] if "id" in part}
    assert "pinnedpg version" in asked["version"]
    assert "PINNEDPG_DEBUG" in asked["debug"]
