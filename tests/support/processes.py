# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""What a process holds, and calls in a forked one."""

import contextlib
import gc
import os
import time

import limits

SHM = "/dev/shm/"


def holdings():
    """Returns this process's open files and mappings of shared memory."""
    gc.collect()
    fds = len(os.listdir("/proc/self/fd"))
    with open("/proc/self/maps") as maps:
        shared = sum("memfd:" in line or "/dev/shm" in line for line in maps)
    return fds, shared


def settled(before):
    """Returns what is held once the worker thread, in 2 s, has dropped what was outstanding."""
    begin, limit_s = time.monotonic(), 2.0
    while (now := holdings()) > before:
        if time.monotonic() - begin > limit_s:
            if limit_s > 2.0:
                break
            limit_s = 2.1 * limits.slowness()
        time.sleep(0.01)
    return now


def shared_files():
    """Returns the files in /dev/shm that this process has open or mapped, by name."""
    found = set()
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # the listing's own
            found.add(os.readlink(f"/proc/self/fd/{fd}"))
    with open("/proc/self/maps") as maps:
        found.update(line.rstrip().split(maxsplit=5)[-1] for line in maps)
    return sorted(name[len(SHM) :] for name in found if name.startswith(SHM) and name[-1] != ")")


def left_behind(names=()):
    """Returns what is in /dev/shm of these files, or of our name; it is others' place as well."""
    there = os.listdir(SHM)
    return sorted(name for name in there if name in names or "pinnedpg" in name)


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
