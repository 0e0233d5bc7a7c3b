# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""pinnedpg/_C.pyi says what csrc/module*.cpp binds: names, kinds, arguments and their defaults.

mypy's stubtest compares all but the arguments, which pybind11 shows nowhere but in docstrings.
"""

import ast
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import limits
import pytest

import pinnedpg
import pinnedpg.devices
import pinnedpg.threads
import pinnedpg.tp
from pinnedpg import _C

STUB = Path(pinnedpg.__file__).with_name("_C.pyi").read_text()
# Of torch the names will do: to read all of it takes a minute, and its releases differ.
CONFIG = "[mypy]\n[mypy-torch.*]\nfollow_imports = skip\n"
# What pybind11 makes otherwise than a stub can say: its metaclass, an __init__ of classes that only
# C++ makes, and the buffer protocol, which is no method before Python 3.12.
PYBIND = re.compile(r"metaclass differs|\._(Event|Segment)\.__init__ |__buffer__ is not present")


def faults(folder: Path, stub: str) -> list[str]:
    """Returns what stubtest has against a stub, one line each."""
    package = folder / "stubs" / "pinnedpg"
    package.mkdir(parents=True)
    (package / "__init__.pyi").touch()
    (package / "_C.pyi").write_text(stub)
    (folder / "mypy.ini").write_text(CONFIG)
    command = [sys.executable, "-m", "mypy.stubtest", "pinnedpg._C"]
    done = subprocess.run(
        [*command, "--concise", "--mypy-config-file", "mypy.ini"],
        cwd=folder,
        env={**os.environ, "MYPYPATH": str(folder / "stubs")},
        capture_output=True,
        text=True,
        timeout=limits.patient(60),  # mypy reads all of torch
    )
    assert done.stdout and not done.stderr, done.stdout + done.stderr
    return [line for line in done.stdout.splitlines() if not PYBIND.search(line)]


def test_stub_has_what_the_module_has(tmp_path):
    assert faults(tmp_path, STUB) == []


@pytest.mark.slow
def test_stub_with_faults_is_found_out(tmp_path):
    changed = STUB.replace("def built_with_cuda(", "def built_for_cuda(")
    changed = changed.replace("    depth: int\n", "")
    changed = changed.replace("built_for_torch: str", "built_for_torch: int")
    found = faults(tmp_path, changed)
    names = {line.split()[0].removeprefix("pinnedpg._C.") for line in found}
    assert names == {"built_with_cuda", "built_for_cuda", "Options.depth", "built_for_torch"}, found


def arguments(function: ast.FunctionDef, bound: bool) -> list[str]:
    """Returns the arguments as text: "name", "name=default", "_" for one that has no name."""
    given = function.args
    nameless = len(given.posonlyargs)
    plain = [*given.posonlyargs, *given.args]
    texts = [
        "_" if i < nameless or re.fullmatch(r"arg\d+", one.arg) else one.arg
        for i, one in enumerate(plain)
    ]
    defaults = [None] * (len(plain) - len(given.defaults)) + given.defaults
    named = [*zip(texts, defaults, strict=True)][1 if bound else 0 :]
    if given.kwonlyargs:
        named.append(("*", None))
        named += zip([one.arg for one in given.kwonlyargs], given.kw_defaults, strict=True)
    return [name if value is None else f"{name}={ast.unparse(value)}" for name, value in named]


def signatures_of_stub(stub: str) -> dict[str, list[str]]:
    """Returns the arguments of every function and method that a stub has."""
    found = {}
    for node in ast.parse(stub).body:
        if isinstance(node, ast.FunctionDef):
            found[node.name] = arguments(node, bound=False)
        for member in node.body if isinstance(node, ast.ClassDef) else []:
            if not isinstance(member, ast.FunctionDef) or member.name == "__buffer__":
                continue  # the buffer protocol is no method before Python 3.12
            kinds = [ast.unparse(one) for one in member.decorator_list]
            if "property" not in kinds:
                bound = "staticmethod" not in kinds
                found[f"{node.name}.{member.name}"] = arguments(member, bound)
    return found


def signatures_of_module() -> dict[str, list[str]]:
    """Returns the same of what pybind11 has bound: a docstring begins with its signature."""
    found = {}
    for owner, prefix in [
        (_C, ""),
        *((one, f"{name}.") for name, one in vars(_C).items() if inspect.isclass(one)),
    ]:
        for name in vars(owner):
            line = (getattr(getattr(owner, name), "__doc__", None) or "").partition("\n")[0]
            if line.startswith(f"{name}(") and " -> " in line:
                (function,) = ast.parse(f"def {line}: ...").body
                bound = bool(prefix) and not isinstance(vars(owner)[name], staticmethod)
                found[prefix + name] = arguments(function, bound)
    return found


def test_arguments_are_those_of_the_module():
    ours = signatures_of_module()
    assert len(ours) > 30 and ours["Options.segment_bytes"] == ["world_size"]
    stub = signatures_of_stub(STUB)
    assert {name: stub.get(name) for name in ours} == ours | {
        "HostStream.__repr__": None  # as object has it
    }
    assert stub.keys() <= ours.keys()


PUBLIC = [pinnedpg, pinnedpg.devices, pinnedpg.threads, pinnedpg.tp]


@pytest.mark.parametrize("module", PUBLIC, ids=lambda module: module.__name__)
def test_all_that_is_public_says_what_it_does(module):
    names = getattr(module, "__all__", [name for name in vars(module) if not name.startswith("_")])
    for name in names:
        one = getattr(module, name)
        if not (inspect.isclass(one) or inspect.isroutine(one)):
            continue
        if not one.__module__.startswith("pinnedpg"):
            continue
        assert one.__doc__, name
        for member, value in vars(one).items() if inspect.isclass(one) else []:
            if not member.startswith("_") and (callable(value) or isinstance(value, property)):
                assert value.__doc__, f"{name}.{member}"
