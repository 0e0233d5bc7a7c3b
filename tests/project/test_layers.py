# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Who may include and import whom, and how long a file and a function may be."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CSRC = ROOT / "csrc"

# A file includes its own folder and layers with a smaller number. The two doors, c10d and tp, are
# equal, so neither sees the other.
LAYERS = {"base": 0, "memory": 1, "device": 2, "collective": 3, "torch_glue": 4, "c10d": 5, "tp": 5}
MODULE_LAYER = 6
TORCH = re.compile(r"<(torch|ATen|c10)/")
PYBIND = re.compile(r"<(pybind11/|torch/(extension|python)\.h|torch/csrc/utils/pybind\.h)")
MAY_KNOW_TORCH = re.compile(r"(torch_glue/|c10d/|tp/|device/reduce_kernels|module\w*\.)")
MAX_FILE_LINES = 300
MAX_FUNCTION_LINES = 40


def sources() -> dict[str, str]:
    paths = sorted(path for path in CSRC.rglob("*") if path.suffix in (".h", ".cpp", ".cu", ".cuh"))
    return {path.relative_to(CSRC).as_posix(): path.read_text() for path in paths}


def python_sources() -> dict[str, str]:
    paths = [
        path
        for folder in ("pinnedpg", "tests", "examples", "benchmarks")
        for path in (ROOT / folder).rglob("*.py")
    ]
    return {
        path.relative_to(ROOT).as_posix(): path.read_text()
        for path in [*sorted(paths), ROOT / "setup.py"]
    }


def folder_and_layer(name: str) -> tuple[str, int]:
    """Returns a file's folder and its layer; the files of csrc itself (module*) are above all."""
    folder = name.rpartition("/")[0]
    if folder:
        return folder, LAYERS[folder.partition("/")[0]]
    return "", MODULE_LAYER


def include_faults(name: str, text: str, names: set[str]) -> list[str]:
    folder, layer = folder_and_layer(name)
    faults = []
    for included in re.findall(r'^\s*#\s*include\s+(["<][^">]+)', text, re.MULTILINE):
        target = included[1:]
        if included.startswith('"'):
            if target not in names:
                faults.append(f"{name} includes {target}: no such file below csrc")
                continue
            target_folder, target_layer = folder_and_layer(target)
            if target_folder != folder and target_layer >= layer:
                faults.append(f"{name} includes {target}: not a layer below it")
        if TORCH.match(included) and not (MAY_KNOW_TORCH.match(name) and not name.endswith(".cu")):
            faults.append(f"{name} includes {target}: torch is not known there")
        if PYBIND.match(included) and not re.fullmatch(r"module\w*\.(cpp|h)", name):
            faults.append(f"{name} includes {target}: pybind belongs to module.cpp")
    return faults


def blank(text: str) -> str:
    """Removes comments, literals and preprocessor lines, but keeps the line numbers."""
    pattern = re.compile(
        r"(?P<raw>R\"(?P<tag>[^(\s]*)\(.*?\)(?P=tag)\")"
        r"|//[^\n]*|/\*.*?\*/|\"(?:\\.|[^\"\\\n])*\""
        r"|(?<![0-9a-fA-F])'(?:\\.|[^'\\\n])+'"  # not the separator of 1'000
        r"|^[ \t]*#(?:\\\n|[^\n])*",
        re.DOTALL | re.MULTILINE,
    )
    return pattern.sub(lambda match: " " + "\n" * match[0].count("\n"), text)


def opens_function(header: str) -> bool:
    """Whether a brace after `header`, outside of any function, opens one (or is in its head)."""
    while (without := re.sub(r"\btemplate\s*<[^<>]*>|<[^<>]*>", " ", header)) != header:
        header = without
    if re.search(r"\b(namespace|struct|class|union|enum|extern)\b", header):
        return False
    return "(" in header or ")" in header or not header.strip()


def function_lengths(text: str) -> list[tuple[int, int]]:
    """Returns (line, lines between the braces) of each function; inner ones count with their outer.

    Raises ValueError where braces do not match: then nothing was measured.
    """
    text = blank(text)
    lengths, stack, header_start = [], [], 0
    for match in re.finditer(r"[{};]", text):
        line = text.count("\n", 0, match.start()) + 1
        in_function = any(is_function for _, is_function in stack)
        if match[0] == "{":
            stack.append(
                (line, not in_function and opens_function(text[header_start : match.start()]))
            )
        elif match[0] == "}":
            if not stack:
                raise ValueError(f"line {line}: a brace closes what none opened")
            opened, is_function = stack.pop()
            if is_function:
                lengths.append((opened, max(line - opened - 1, 0)))
        header_start = match.end()
    if stack:
        raise ValueError(f"line {stack[-1][0]}: a brace is never closed")
    return lengths


def file_size_faults(name: str, text: str) -> list[str]:
    lines = text.count("\n")
    return [f"{name} has {lines} lines; at most {MAX_FILE_LINES}"] if lines > MAX_FILE_LINES else []


def size_faults(name: str, text: str) -> list[str]:
    faults = file_size_faults(name, text)
    for line, length in function_lengths(text):
        if length > MAX_FUNCTION_LINES:
            faults.append(
                f"{name}:{line}: a function of {length} lines; at most {MAX_FUNCTION_LINES}"
            )
    return faults


def import_faults(name: str, text: str) -> list[str]:
    """What tests share is in tests/support, so that each of them can be moved, or run alone."""
    imported = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            imported += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            imported += [node.module or "", *(alias.name for alias in node.names)]
    return [
        f"{name} imports {module}: what they share belongs to tests/support"
        for module in imported
        if module.rpartition(".")[2].startswith("test_")
    ]


def test_every_folder_is_a_layer():
    assert {name.partition("/")[0] for name in sources() if "/" in name} <= LAYERS.keys()
    strangers = [name for name in sources() if "/" not in name and not name.startswith("module")]
    assert strangers == []


def test_includes_go_down():
    files = sources()
    faults = [f for name, text in files.items() for f in include_faults(name, text, set(files))]
    assert faults == []


def test_only_device_cpp_asks_whether_there_is_cuda():
    assert [n for n, text in sources().items() if "PINNEDPG_WITH_CUDA" in text] == [
        "device/device.cpp"
    ]


def test_sizes():
    assert [fault for name, text in sources().items() for fault in size_faults(name, text)] == []


def test_sizes_of_python_files():
    files = python_sources()
    assert {
        "setup.py",
        "benchmarks/show.py",
        "pinnedpg/tp.py",
        "tests/project/test_layers.py",
    } <= files.keys()
    assert [fault for name, text in files.items() for fault in file_size_faults(name, text)] == []


def test_no_test_imports_another():
    tests = {name: text for name, text in python_sources().items() if name.startswith("tests/")}
    assert len(tests) > 100
    assert [fault for name, text in tests.items() for fault in import_faults(name, text)] == []


@pytest.mark.parametrize(
    ("line", "faults"),
    [
        ("import test_kills", 1),
        ("import pytest, test_kills as kills", 1),
        ("from test_kills import holdings, settled", 1),
        ("from group.test_kills import holdings", 1),
        ("from . import test_kills", 1),
        ("def f():\n    from test_kills import holdings", 1),
        ("from processes import holdings", 0),
        ("import ranks  # as test_kills does", 0),
    ],
)
def test_checker_finds_imports_of_tests(line, faults):
    assert len(import_faults("tests/group/test_life.py", line)) == faults


def test_licence_lines():
    head = "// SPDX-License-Identifier: MIT\n// Copyright (c) "
    assert [name for name, text in sources().items() if not text.startswith(head)] == []


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("base/check.h", '#include "memory/flag.h"'),
        ("memory/flag.h", '#include "device/stream.h"'),
        ("collective/communicator.h", '#include "tp/split.h"'),
        ("collective/communicator.cpp", "#include <c10/core/Device.h>"),
        ("device/host_stream.cpp", "#  include <torch/torch.h>"),
        ("device/reduce_cuda.cu", "#include <ATen/ATen.h>"),
        ("device/reduce_host.cpp", "#include <c10/util/BFloat16.h>"),
        ("collective/exchange.h", '#include "torch_glue/reduce_dtype.h"'),
        ("c10d/work.h", '#include "tp/split.h"'),
        ("tp/split.h", '#include "c10d/work.h"'),
        ("c10d/work.h", '#include "module.h"'),
        ("c10d/work.h", "#include <pybind11/pybind11.h>"),
        ("tp/split.h", "#include <torch/extension.h>"),
        ("base/region.h", '#include "check.h"'),
    ],
)
def test_checker_objects_to_include(name, line):
    names = {
        "memory/flag.h",
        "device/stream.h",
        "torch_glue/reduce_dtype.h",
        "tp/split.h",
        "c10d/work.h",
        "module.h",
    }
    assert len(include_faults(name, line, names)) == 1


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("memory/flag.h", '#include "base/check.h"'),
        ("memory/flag.h", '#include "memory/segment.h"'),
        ("device/reduce_kernels.h", "#include <ATen/cpu/vec/vec.h>"),
        ("c10d/work.h", "#include <torch/csrc/distributed/c10d/Work.hpp>"),
        ("module.cpp", "#include <torch/extension.h>"),
        ("module_tp.cpp", '#include "module.h"'),
    ],
)
def test_checker_accepts_include(name, line):
    assert include_faults(name, line, {"base/check.h", "memory/segment.h", "module.h"}) == []


BODY = "  x;\n"


@pytest.mark.parametrize(
    "text",
    [
        "void f() {\n%s}\n",
        "namespace a {\nstruct B {\n  int c = 0;\n  int d() const override {\n%s  }\n};\n}\n",
        "template <class T>\nvoid f(T t = {}) {\n  if (t) {\n%s  }\n}\n",
        "B::B(int c) : c_{c}, d_(c) {\n%s}\n",
        "B::B(int c) : d_(c), c_{c} {\n%s}\n",
        "auto f = [](int x) {\n%s};\n",
        "#define X {\nvoid f() {  // {\n  const char* s = \"{\"; char c = '{';\n%s}\n",
    ],
)
def test_checker_measures_functions(text):
    assert size_faults("f.h", text % (BODY * (MAX_FUNCTION_LINES - 4))) == []
    assert len(size_faults("f.h", text % (BODY * (MAX_FUNCTION_LINES + 1)))) == 1


def test_checker_measures_files():
    assert size_faults("f.h", "int a;\n" * MAX_FILE_LINES) == []
    assert len(size_faults("f.h", "int a;\n" * (MAX_FILE_LINES + 1))) == 1
    table = (
        "constexpr int table[] = {\n"
        + "  1,\n" * 99
        + "};\nstruct S {\n"
        + "  int a;\n" * 99
        + "};\n"
    )
    assert size_faults("f.h", table) == []


@pytest.mark.parametrize("text", ["void f() {\n", "void f() {}}\n"])
def test_checker_objects_to_unmatched_braces(text):
    with pytest.raises(ValueError, match="brace"):
        function_lengths(text)
