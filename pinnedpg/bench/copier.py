# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Copies memory when told to: the program that `roofline.py` starts on each core, without torch."""

import ctypes
import mmap
import sys
import time
from typing import Any


def allocate(nbytes: int) -> tuple[Any, Any]:
    """Returns memory on huge pages where there are any, touched, and a view of it."""
    memory = mmap.mmap(-1, nbytes)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        memory.madvise(mmap.MADV_HUGEPAGE)
    view = (ctypes.c_char * nbytes).from_buffer(memory)
    ctypes.memset(view, 1, nbytes)
    return memory, view


def main(nbytes: int) -> None:
    """Copies once for each line on stdin, and prints the nanoseconds."""
    (_, source), (_, target) = allocate(nbytes), allocate(nbytes)
    print("ready", flush=True)
    for _ in sys.stdin:
        began = time.perf_counter_ns()
        ctypes.memmove(target, source, nbytes)
        print(time.perf_counter_ns() - began, flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
