# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""The command `pinnedpg`: `bench`, `trace` and `version`.

It stands beside the package, not in it: where the package does not load, `pinnedpg version` says
why.
"""

import argparse
import importlib.util
import platform
import runpy
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

COLLECTIVES = (
    "barrier",
    "broadcast",
    "all_reduce",
    "reduce",
    "all_gather",
    "gather",
    "scatter",
    "reduce_scatter",
    "all_to_all",
)
BENCH = "time collectives; `pinnedpg bench --help` lists the options"
TRACE = "print what each rank does in a collective, without running it"
VERSION = "print the versions that a bug report needs"


def main(words: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
        words: What follows the program's name; None: this process's own arguments.

    Returns:
        The exit status: 1 where the package does not load. A wrong argument ends the program with
        status 2.
    """
    words = list(sys.argv[1:] if words is None else words)
    options = argparse.Namespace(command="bench")
    if words[:1] != ["bench"]:  # the benchmark reads its own arguments, --help among them
        options = parser().parse_args(words)
    fault = why_not_loaded()
    if options.command == "version":
        print("\n".join(version_lines(build_info())))
    if fault is not None:
        print(fault, file=sys.stderr)
        return 1
    if options.command == "bench":
        from pinnedpg.bench.__main__ import main as bench

        return bench(words[1:])
    return print_trace(options) if options.command == "trace" else 0


def parser() -> argparse.ArgumentParser:
    """Describes the command line."""
    made = argparse.ArgumentParser(
        "pinnedpg",
        description="Benchmark and inspect pinnedpg, a backend of torch.distributed.",
        epilog="`python -m pinnedpg` is equivalent. With torchrun: torchrun ... -m pinnedpg bench",
    )
    commands = made.add_subparsers(dest="command", metavar="command", required=True)
    commands.add_parser("bench", help=BENCH, add_help=False)
    trace = commands.add_parser(
        "trace",
        help=TRACE,
        description=f"{TRACE.capitalize()}.",
        argument_default=argparse.SUPPRESS,  # then the default is that of pinnedpg.trace
    )
    commands.add_parser("version", help=VERSION, description=f"{VERSION.capitalize()}.")
    add = trace.add_argument
    add("name", choices=COLLECTIVES, metavar="collective", help=f"one of {', '.join(COLLECTIVES)}")
    add("--world-size", type=int, metavar="N", help="number of ranks (default: 2)")
    add("--nbytes", type=int, metavar="N", help="bytes of one tensor (default: 1048576)")
    add("--slot-bytes", type=int, metavar="N", help="bytes of one slot (default: 131072)")
    add("--depth", type=int, metavar="N", help="slots of each rank (default: 16)")
    add("--one-shot-bytes", type=int, metavar="N", help="largest all_reduce in one exchange")
    add("--calls", type=int, metavar="N", help="number of calls in a row (default: 1)")
    add("--one-lane", dest="two_lanes", action="store_false", help="use one lane for puts and gets")
    add("--full", action="store_true", help="print every event")
    return made


def why_not_loaded() -> str | None:
    """Imports the package, and returns None or what is wrong with it."""
    try:
        importlib.import_module("pinnedpg")
    except Exception as error:  # also what torch raises where its own libraries do not load
        text = str(error)
        return text if text.startswith("pinnedpg: ") else f"pinnedpg: cannot be imported: {text}"
    return None


def print_trace(options: argparse.Namespace) -> int:
    """Prints a trace, and returns the exit status."""
    import pinnedpg

    given = {name: value for name, value in vars(options).items() if name != "command"}
    try:
        print(pinnedpg.trace(**given))
    except ValueError as error:
        print(f"pinnedpg {error}", file=sys.stderr)
        return 2
    return 0


def version_lines(info: dict[str, Any]) -> list[str]:
    """Returns what `pinnedpg version` prints, from what `build_info` found."""
    return [
        f"pinnedpg: {_version('pinnedpg')}",
        f"torch: {_version('torch')}",
        f"built for torch: {', '.join(info.get('torch_releases', ())) or 'unknown'}",
        f"Python: {platform.python_version()} ({platform.python_implementation()})",
        f"GPU code: {_gpu_code(info)}",
        f"platform: {platform.platform()}",
    ]


def build_info() -> dict[str, Any]:
    """Returns what setup.py noted in `pinnedpg/_build.py`; nothing where it noted nothing.

    It imports neither the package nor torch.
    """
    spec = importlib.util.find_spec("pinnedpg")
    for folder in (spec and spec.submodule_search_locations) or []:
        note = Path(folder, "_build.py")
        if note.is_file():
            return runpy.run_path(str(note))
    return {}


def _gpu_code(info: dict[str, Any]) -> str:
    """Returns what has compiled the GPU code, and for which architectures."""
    if "cuda_release" not in info:
        return "unknown"
    if info["cuda_release"] is None:
        return "none, built for the CPU alone"
    targets = ", ".join(info.get("gpu_targets", ()))
    return f"CUDA {info['cuda_release']}" + (f", for {targets}" if targets else "")


def _version(name: str) -> str:
    """Returns the version of what is loaded, else of what is installed."""
    loaded = getattr(sys.modules.get(name), "__version__", None)
    try:
        return str(loaded or metadata.version(name))
    except metadata.PackageNotFoundError:
        return "not installed"


if __name__ == "__main__":
    sys.exit(main())
