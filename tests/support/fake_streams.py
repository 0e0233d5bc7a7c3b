# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Streams of the fake GPU's callers: what torch.cuda.Stream and torch.cuda.current_stream would be.

Only with the extension that tests/fake/build.py makes.
"""

import ctypes
import time

from fake_gpu import library

library.fake_stream_new.restype = ctypes.c_void_p
library.fake_stream_current.restype = ctypes.c_void_p
library.fake_pinned.restype = ctypes.c_size_t
for name in ("submit", "query"):
    getattr(library, f"fake_stream_{name}").argtypes = [ctypes.c_void_p] * (1 + (name == "submit"))
library.fake_stream_set_current.argtypes = [ctypes.c_int, ctypes.c_void_p]
library.fake_pageable.argtypes = [ctypes.c_void_p]
library.fake_place.argtypes = [ctypes.c_void_p, ctypes.c_int]
WORK = ctypes.CFUNCTYPE(None)
_kept = []  # what a stream may still call


class Stream:
    """As `tp.HostStream`, but that a function's error is not raised."""

    def __init__(self, device):
        self.device = device
        self.cuda_stream = library.fake_stream_new(device)

    def __index__(self):
        return self.cuda_stream

    __int__ = __index__

    def submit(self, function):
        work = WORK(lambda: (function(), None)[1])
        _kept.append(work)
        library.fake_stream_submit(self.cuda_stream, ctypes.cast(work, ctypes.c_void_p))

    def query(self):
        return bool(library.fake_stream_query(self.cuda_stream))

    def synchronize(self, timeout=10.0):
        end = time.monotonic() + timeout
        while not self.query():
            assert time.monotonic() < end, f"the stream of device {self.device} is not done"
            time.sleep(0.0002)

    def make_current(self):
        """For all threads."""
        library.fake_stream_set_current(self.device, self.cuda_stream)


def current(device):
    return library.fake_stream_current(device)


def place(tensor, device):
    """Says that a tensor lies on that GPU; returns it."""
    library.fake_place(tensor.data_ptr(), device)
    _kept.append(tensor)  # for ever: another at its address would lie there too
    return tensor


def pageable(tensor):
    """Says that a tensor is not pinned, as all others are; returns it."""
    library.fake_pageable(tensor.data_ptr())
    _kept.append(tensor)
    return tensor


def load():
    """Loads a kernel: waits for all that is queued, and holds up other threads' calls meanwhile."""
    library.fake_load()


def pinned_bytes():
    return library.fake_pinned()
