# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""What the tests of calls and messages on the fake GPU share."""

import contextlib
import ctypes
import os
import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

import pinnedpg
from pinnedpg import _C

FOLDER = Path(__file__).resolve().parents[2] / "build" / "fake"
needed = pytest.mark.skipif(
    FOLDER not in Path(pinnedpg.__file__).parents, reason="the extension has no fake GPU"
)
library = ctypes.CDLL(_C.__spec__.origin)
"""The extension, for what only the fake's exports."""
LAUNCHERS = ["processes", "threads"]
LIMIT = timedelta(seconds=10)
SIZES = [10, 100_000]  # of messages: whole, and in parts


def busy(milliseconds):
    """From now on the current stream is a queue, and busy for so long whenever it is used."""
    os.environ["FAKE_CUDA_BUSY_MS"] = str(milliseconds)


def later(seconds, call):
    """What the stream's work does to a tensor in the middle of the time that it is busy."""
    timer = threading.Timer(seconds, call)
    timer.start()


def met(function, *args):
    """Calls it once the ranks have exchanged a message, in streams of their own."""
    busy(0)
    rank = dist.get_rank()
    works = [dist.isend(torch.ones(1), 1 - rank), dist.irecv(torch.ones(1), 1 - rank)]
    for work in works:
        work.wait(LIMIT)
    try:
        return function(rank, *args)
    finally:
        del os.environ["FAKE_CUDA_BUSY_MS"]


@contextlib.contextmanager
def graph():
    """What the calling thread calls in it is captured, and done by the function that it gets."""
    library.fake_cuda_capture(1)
    try:
        yield library.fake_cuda_replay
    finally:
        library.fake_cuda_capture(0)


def error_of_later_calls():
    """What a rank's calls come to raise: those that are queued say nothing themselves."""
    end = time.monotonic() + LIMIT.total_seconds()
    while time.monotonic() < end:
        try:
            work = dist.all_reduce(torch.ones(1), async_op=True)
            work.wait(LIMIT)
        except dist.DistBackendError as error:
            return str(error)
        time.sleep(0.01)
    return "no error"
