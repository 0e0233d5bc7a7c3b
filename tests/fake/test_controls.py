# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Every order that the fake GPU can leave out is needed: without it, the tests named here fail.

A kind of order is a run of pytest for all its tests, since the fake reads once what it leaves out.
tests/fake/run.py has this as the session `controls`; these never rotate.
"""

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import fake_gpu
import pytest

pytestmark = fake_gpu.needed
TESTS = Path(__file__).resolve().parents[1]
SIZES, BOTH = ("10", "100000"), ("10", "300000")
TRIES = 3
"""What is late is so by random times, so a busy machine may keep an order by chance: a test that
has passed runs again. One that has failed does not."""


def named(module, name, *cases):
    return [f"{module}::test_{name}[{case}]" for case in cases] or [f"{module}::test_{name}"]


def calls(name):
    return named("fake/test_call_streams.py", name, *BOTH)


def messages(name, *cases):
    return named("fake/test_message_streams.py", name, *(cases or SIZES))


def raw(name, *cases):
    return named("fake/test_tp_orders.py", name, *cases)


def fused(name, *cases):
    return named("fake/test_fused.py", name, *cases)


def before(streams):
    """Returns the raw API's tests of what comes before a call."""
    names = "inputs_come_after_their_stream", "sums_come_after_their_streams"
    names += ("a_source_comes_after_its_devices_stream",)
    return [test for name in names for test in raw(name, streams)]


A_SEND = messages("a_send_waits_for_its_stream_and_holds_no_host")
RECEIVES = [f"{size}-{waits}" for size in SIZES for waits in (True, False)]
LARGE = named("messages/test_messages.py", "large_both_ways_at_once", "processes")
MATRIX = named("group/test_collectives.py", "types", "processes-3")
CALLERS, SHARED = {"FAKE_CUDA_CALLERS": "3"}, {"FAKE_CUDA_SHARED": "1"}

KINDS = {
    "begin": [
        *calls("a_call_reads_what_the_stream_writes_before_it"),
        *calls("a_call_writes_after_the_stream_has_read"),
        *A_SEND,
        *before("current"),
    ],
    "end": [
        *calls("the_value_of_a_future_is_there"),
        *fused("fused_and_queued_calls_in_turn", "processes"),
        *LARGE,
        *raw("outputs_are_there_on_both_streams", "current"),
        *raw("inputs_may_be_overwritten_afterwards", "current"),
    ],
    "looks": [
        *A_SEND,
        *messages("a_receive_waits_for_its_stream_and_holds_no_host", *RECEIVES),
    ],
    "flags": [
        *messages("a_stream_waits_for_the_sender"),
        *raw("outputs_are_there_on_both_streams", "streams"),
    ],
    "lane": before("streams"),
    "readers": raw("a_buffer_is_used_again_after_its_readers"),
    "ring": fused("many_calls", "processes-words"),  # two slots are needed
    "chunks": fused("many_calls", "processes-chunks"),
}
ORDERS = [pytest.param(kind, {}, tests, id=kind) for kind, tests in KINDS.items()]
ORDERS += [
    pytest.param("flags", CALLERS, fused("many_calls", "processes-words"), id="flags-callers"),
    pytest.param("end", SHARED, MATRIX, id="end-shared"),
]


def failures(tests, folder, **environment):
    """Runs tests; returns the texts of those that have failed, by name, and what was printed."""
    report = folder / "report.xml"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests]
    ran = subprocess.run(
        [*command, f"--junitxml={report}", "-o", "junit_family=xunit1"],
        cwd=TESTS,
        env=os.environ | {"PINNEDPG_PART": str(folder / "broken")} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=280,
    )
    assert report.exists(), ran.stdout
    found = {}
    for case in ElementTree.parse(report).iter("testcase"):
        name = f"{case.get('file').removeprefix('tests/')}::{case.get('name')}"
        if (failure := case.find("failure")) is not None:
            found[name] = failure.text
    return found, ran.stdout


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("kind", "environment", "tests"), ORDERS)
def test_an_order_is_needed(kind, environment, tests, tmp_path):
    broken = {"FAKE_CUDA_BREAK": kind, "FAKE_CUDA_TP": "1"} | environment
    left = list(tests)
    for _ in range(TRIES):
        found, printed = failures(left, tmp_path, **broken)
        for name, text in found.items():
            assert "Error" in text, f"{name} must fail by what it sees; got {text}"
        left = [name for name in left if name not in found]
        if not left:
            return
    raise AssertionError(f"without {kind!r} these must fail: {left}\n{printed[-3000:]}")
