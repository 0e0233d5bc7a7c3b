# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""All of the way of CUDA tensors but CUDA itself, on a GPU of host threads (tests/fake)."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
SHARED = {"FAKE_CUDA_SHARED": "1"}  # so no call is fused
RAW = [str(path) for path in sorted(TESTS.glob("tp/*.py")) if "schedule" not in path.name]
CLIENTS = [f"clients/test_client_{name}.py" for name in ("ddp", "fsdp", "dtensor", "zero")]


@pytest.fixture(scope="module")
def folder():
    """Returns the folder with a package whose extension has a fake GPU."""
    if not shutil.which("c++"):
        pytest.skip("there is no compiler")
    command = [sys.executable, str(TESTS / "fake" / "build.py")]
    built = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert built.returncode == 0, built.stderr
    return built.stdout.split()[-1]


def run(folder, *words, **environment):
    """Runs tests with the fake; returns the exit status, how many passed, and what was printed."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *words]
    ran = subprocess.run(
        command,
        cwd=TESTS,  # and not the root, whose package python would find first
        env=os.environ | {"PYTHONPATH": folder} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
    )
    passed = re.search(r"(\d+) passed", ran.stdout)
    return ran.returncode, int(passed[1]) if passed else 0, ran.stdout


def check(least, *ran):
    status, passed, printed = ran
    assert status == 0 and passed >= least, printed[-6000:]


MATRIX = ["group/test_collectives.py", "-m", "not exhaustive", "-k"]


@pytest.mark.timeout(240)
@pytest.mark.parametrize("environment", [{}, SHARED])
def test_types(folder, environment):
    check(6, *run(folder, *MATRIX, "types and (2 or 3)", **environment))


@pytest.mark.slow
@pytest.mark.timeout(700)
def test_shapes(folder):
    check(15, *run(folder, *MATRIX, "shapes"))


@pytest.mark.timeout(120)
@pytest.mark.parametrize("environment", [{}, SHARED])
def test_failures_and_orders(folder, environment):
    check(20, *run(folder, "fake/test_queued.py", **environment))


@pytest.mark.timeout(120)
def test_calls_in_the_order_of_streams(folder):
    check(15, *run(folder, "fake/test_call_streams.py"))


@pytest.mark.timeout(120)
def test_kernels_that_are_loaded(folder):
    check(18, *run(folder, "fake/test_loads.py"))


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("kind", "names", "count"),
    [("begin", "stream_writes or stream_has_read", 4), ("end", "value_of_a_future", 2)],
)
def test_calls_need_the_order_of_streams(folder, kind, names, count):
    words = ["fake/test_call_streams.py", "-k", names]
    status, passed, printed = run(folder, *words, FAKE_CUDA_BREAK=kind)
    assert (status, passed) == (1, 0) and f"{count} failed" in printed, printed[-3000:]


@pytest.mark.timeout(120)
def test_fused_calls(folder):
    check(23, *run(folder, "fake/test_fused.py", "fake/test_replays.py"))


@pytest.mark.timeout(120)
def test_fused_calls_on_several_streams(folder):
    check(4, *run(folder, "fake/test_fused.py", "-k", "many", FAKE_CUDA_CALLERS="3"))


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("name", "broken"),
    [
        ("many and words", {"FAKE_CUDA_BREAK": "ring"}),
        ("many and chunks", {"FAKE_CUDA_BREAK": "chunks"}),
        ("many and words", {"FAKE_CUDA_BREAK": "flags", "FAKE_CUDA_CALLERS": "3"}),
        ("in_turn", {"FAKE_CUDA_BREAK": "end"}),
    ],
)
def test_fused_calls_that_nothing_keeps_apart_fail(folder, name, broken):
    """Two slots are needed, each kernel comes after the one before it, and users after theirs."""
    words = "fake/test_fused.py", "-k", f"{name} and processes"
    status, _, printed = run(folder, *words, **broken)
    assert status == 1 and "1 failed" in printed, printed


MESSAGES = ["messages/test_messages.py", "messages/test_messages_random.py", "-m", "not slow"]
STREAMS = "fake/test_message_streams.py"


@pytest.mark.timeout(240)
def test_messages(folder):
    check(33, *run(folder, *MESSAGES))
    # A process with little memory has threads all the same: the fake is made of them.
    check(70, *run(folder, "messages/test_message_failures.py", "-k", "not no_thread"))


@pytest.mark.timeout(120)
@pytest.mark.parametrize("queues", ["0", "1"])
def test_messages_in_the_order_of_streams(folder, queues):
    """With one queue for all streams a message that is waited for holds up what is queued later."""
    held_up = ["-k", "not stay_in_order"] if queues == "1" else []
    check(17, *run(folder, STREAMS, *held_up, FAKE_CUDA_QUEUES=queues))


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("end", [*MESSAGES, "-k", "large_both_ways and processes"]),
        ("begin", [STREAMS, "-k", "a_send_waits"]),
        ("looks", [STREAMS, "-k", "a_send_waits"]),
        ("looks", [STREAMS, "-k", "a_receive_waits"]),
        ("flags", [STREAMS, "-k", "a_stream_waits"]),
    ],
)
def test_messages_need_the_order(folder, kind, words):
    status, passed, printed = run(folder, *words, FAKE_CUDA_BREAK=kind)
    assert status == 1 and passed == 0 and "AssertionError" in printed, printed[-3000:]


@pytest.mark.timeout(300)
def test_gpus_that_cannot_wait(folder):
    """The host does, in the same calls and failures."""
    check(6, *run(folder, *MATRIX, "types and (2 or 3)", FAKE_CUDA_NO_WAITS="1"))
    check(20, *run(folder, "fake/test_queued.py", FAKE_CUDA_NO_WAITS="1"))
    check(19, *run(folder, "messages/test_messages.py", FAKE_CUDA_NO_WAITS="1"))


@pytest.mark.slow
@pytest.mark.timeout(700)
@pytest.mark.parametrize("queues", ["1", "3"])
def test_few_queues_for_all_streams(folder, queues):
    """Nothing is queued before what it waits for, or a stream would hold up another for ever."""
    check(24, *run(folder, *MATRIX, "types or shapes", FAKE_CUDA_QUEUES=queues, **SHARED))
    check(5, *run(folder, *MATRIX, "types and processes", FAKE_CUDA_QUEUES=queues))


@pytest.mark.slow
@pytest.mark.timeout(700)
def test_clients(folder):
    """All but sparse tensors, which are the CPU's alone."""
    check(50, *run(folder, *CLIENTS, "-k", "not sparse_embedding"))


def test_who_does_not_wait_reads_too_early(folder):
    status, _, printed = run(
        folder, *MATRIX, "test_types and processes and 3", FAKE_CUDA_BREAK="end", **SHARED
    )
    assert status == 1 and "must be" in printed


def run_raw(folder, *words, **environment):
    return run(folder, *words, FAKE_CUDA_TP="1", **environment)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("queues", ["0", "1"])
def test_raw_api(folder, queues):
    """With streams of GPUs in the place of host streams; with one queue for all of a GPU's, too."""
    quick = ["-k", "not random or (test_random_calls and 7)"]
    check(300, *run_raw(folder, "fake/test_tp_orders.py", *RAW, *quick, FAKE_CUDA_QUEUES=queues))


@pytest.mark.slow
@pytest.mark.timeout(700)
@pytest.mark.parametrize("queues", ["0", "1", "3"])
def test_raw_api_at_random(folder, queues):
    words = ["tp/test_tp_random.py", "-k", "test_random_calls"]
    check(100, *run_raw(folder, *words, FAKE_CUDA_QUEUES=queues))


BEFORE = [
    "inputs_come_after_their_stream",
    "a_source_comes_after_its_devices_stream",
    "sums_come_after_their_streams",
]
AFTER = ["outputs_are_there_on_both_streams", "inputs_may_be_overwritten_afterwards"]
ORDERS = {  # what is left out, and what then fails
    "begin": [f"{name}[current]" for name in BEFORE],
    "end": [f"{name}[current]" for name in AFTER],
    "lane": [f"{name}[streams]" for name in BEFORE],
    "readers": ["a_buffer_is_used_again_after_its_readers"],
    "flags": ["outputs_are_there_on_both_streams[streams]"],
}


@pytest.mark.parametrize("order", ORDERS)
def test_raw_api_needs_every_order(folder, order):
    words = [f"fake/test_tp_orders.py::test_{name}" for name in ORDERS[order]]
    check(len(words), *run_raw(folder, *words))
    for _ in range(3):  # a busy machine may keep the order by chance
        status, passed, printed = run_raw(folder, *words, FAKE_CUDA_BREAK=order)
        if (status, passed) == (1, 0):
            break
    assert (status, passed) == (1, 0), printed[-3000:]
    assert f"{len(words)} failed" in printed
