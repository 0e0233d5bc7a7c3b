# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""What .ci/run makes of its jobs: it fails where one fails, and always says what took how long."""

import importlib.util
import re
import sys
import time

import durations
import launch
import pytest


@pytest.fixture
def ci(tmp_path, monkeypatch):
    """Returns the program's module, which writes to a folder of the test's."""
    path = launch.ROOT / "tests" / "project" / "ci.py"
    spec = importlib.util.spec_from_file_location("ci", path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "ci", module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "FOLDER", tmp_path)
    monkeypatch.setattr(module, "TABLE", tmp_path / "durations.tsv")
    monkeypatch.setattr(durations, "FOLDER", tmp_path / "durations")
    return module


def job(ci, name, code, *after, **more):
    return ci.Job(name, [sys.executable, "-c", code], after, **more)


def test_what_needs_a_failed_job_is_left_out(ci, capfd):
    work = [
        job(ci, "first", "print('fine')"),
        job(ci, "broken", "print('this is why'); raise SystemExit(3)", "first"),
        job(ci, "later", "", "broken"),
        job(ci, "last", "", "later"),
        job(ci, "other", "", "first"),
    ]
    assert not ci.run(work)
    ci.summary(work, 1.0)
    states = {one.name: one.state for one in work}
    assert states == {
        "first": "passed",
        "broken": "failed",
        "later": "left out",
        "last": "left out",
        "other": "passed",
    }
    told = capfd.readouterr().out
    assert "this is why" in told and re.search(r"\d s  broken: failed", told)
    ran = {name for _, _, name in durations.read(ci.TABLE)}
    assert ran == {"first", "broken", "other"}


def test_jobs_run_side_by_side_up_to_the_cores(ci, monkeypatch):
    monkeypatch.setattr(ci.os, "sched_getaffinity", lambda _: {0, 1})
    sleep = "import time; time.sleep(0.6)"
    work = [job(ci, str(n), sleep) for n in range(2)] + [job(ci, "whole", sleep, cores=2)]
    assert ci.run(work)
    assert abs(work[0].began - work[1].began) < 0.5  # the second is begun in the first's round
    assert work[2].began >= max(one.began + one.took for one in work[:2])


def test_a_job_that_hangs_ends_with_what_it_has_started(ci):
    code = (
        "import subprocess, sys\n"
        "print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(100)']).pid,"
        " flush=True)"
    )
    work = [
        job(ci, "hangs", code + "\nimport time; time.sleep(100)"),
        job(ci, "later", "", "hangs"),
    ]
    began = time.monotonic()
    assert not ci.run(work, limit_s=2.0)
    assert time.monotonic() - began < 60
    assert [one.state for one in work] == ["failed", "left out"]
    child = int(work[0].log().read_text().splitlines()[0])
    stat = launch.Path(f"/proc/{child}/stat")
    assert not stat.exists() or ") Z " in stat.read_text()


def test_the_jobs_themselves(ci, monkeypatch):
    """Nothing compiles before style and layers were looked at; one commit in four has the wheel."""
    makefile = (launch.ROOT / "Makefile").read_text()
    for soak, has_wheel in ("0", False), ("3", True), ("all", True):
        monkeypatch.setenv("PINNEDPG_SOAK", soak)
        work = ci.jobs()
        assert ("wheel" in {one.name for one in work}) == has_wheel
        for one in work:
            if one.command[0] == "make":
                for target in one.command[1:]:
                    assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
            elif one.name != "libraries":  # downloads
                assert "style" in {need.name for need in ci.with_needed(work, [one.name])}
    assert {"pytest", "accelerate"} <= {
        re.split("[=>]", one)[0] for one in ci.extras("test", "clients")
    }
    assert "style" in {need.name for need in ci.with_needed(work, ["compile"])}


def test_the_dearest_of_some_tests():
    rows = [
        (1.0, "tests", "a.py::one[1]"),
        (2.5, "tests", "a.py::one[2]"),
        (3.0, "fake", "b.py::two"),
    ]
    assert durations.dearest(rows) == [
        "     3.5 s  tests: a.py::one (2)",
        "     3.0 s  fake: b.py::two",
    ]
