# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""What a process holds, and calls in a forked one."""

import gc
import os
import time


def holdings():
    """Returns this process's open files and mappings of shared memory."""
    gc.collect()
    fds = len(os.listdir("/proc/self/fd"))
    with open("/proc/self/maps") as maps:
        shared = sum("memfd:" in line or "/dev/shm" in line for line in maps)
    return fds, shared


def settled(before):
    """Returns what is held once the worker thread has dropped what was outstanding."""
    deadline = time.monotonic() + 2
    while (now := holdings()) > before and time.monotonic() < deadline:
        time.sleep(0.01)
    return now


def shared_memory():
    return sorted(os.listdir("/dev/shm"))


def in_a_fork(call):
    """Calls in a forked child and returns its exit code."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            call()
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)
