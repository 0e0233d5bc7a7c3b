# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""What only some releases of torch have: served, or refused with a word on what to do instead."""

import re
from pathlib import Path

import pytest
import ranks
import torch
import torch.distributed as dist
from torch_release import RELEASE, needs

import pinnedpg

CSRC = Path(__file__).resolve().parents[2] / "csrc"
CPU = torch.device("cpu")


def group():
    return dist.distributed_c10d._get_default_group()


def test_only_one_file_asks_for_the_release():
    """The sources ask what torch has, by name; which release has it stands in one place."""
    asks = re.compile(r"\bTORCH_(VERSION_M|ABI_VERSION)")
    found = [path.name for path in CSRC.rglob("*.*") if asks.search(path.read_text())]
    assert found == ["torch_release.h"]


def gathered_in_one(root):
    rank, size = dist.get_rank(), dist.get_world_size()
    own = torch.arange(6.0).reshape(2, 3) + 10 * rank
    whole = torch.zeros(size * 2, 3) if rank == root else None
    dist.gather_single(own, whole, dst=root)
    stacked = torch.zeros(size, 2, 3) if rank == root else None
    work = dist.gather_single(own, stacked, dst=root, async_op=True)
    work.wait()
    if rank != root:
        return True
    expected = torch.stack([torch.arange(6.0).reshape(2, 3) + 10 * each for each in range(size)])
    assert torch.equal(work.result()[0], expected)
    return torch.equal(stacked, expected) and torch.equal(whole, expected.flatten(0, 1))


@needs(2, 14)
@pytest.mark.parametrize("launcher", ["processes", "threads"])
@pytest.mark.parametrize("root", [0, 2])
def test_gather_single(root, launcher):
    assert all(ranks.run(gathered_in_one, 3, root, launcher=launcher))


def gathered_into_too_little():
    whole = torch.zeros(3)
    if dist.get_rank() == 0:
        with pytest.raises(ValueError, match="the output must have 2 x 2 elements; got 3"):
            dist.gather_single(torch.ones(2), whole)
    return True


@needs(2, 14)
def test_gather_single_of_a_wrong_size():
    assert all(ranks.run(gathered_into_too_little, 2))


def split_with_options():
    child = group().split_group([1, 0], group_name="child")
    options = child._get_backend(CPU).options
    mine = group()._get_backend(CPU).options
    assert type(options) is pinnedpg.Options
    assert options.group_name != mine.group_name
    return options.slot_bytes


def test_a_split_keeps_the_options():
    """From 2.14 on torch copies them with `clone`, and would cut off what is not its own."""
    setup = ranks.Setup(options={"slot_bytes": 128 << 10})
    assert ranks.run(split_with_options, 2, setup=setup) == [128 << 10] * 2


REFUSED = {
    "get_reconfigure_handle": (
        (2, 14),
        lambda backend: backend.get_reconfigure_handle(),
        "new one",
    ),
    "reconfigure": (
        (2, 14),
        lambda backend: backend.reconfigure(torch._C._distributed_c10d.ReconfigureOptions()),
        "new one",
    ),
    "new_window": ((2, 14), lambda backend: backend.new_window(), "send and recv"),
    "registerAbortHook": (
        (2, 14),
        lambda backend: backend.register_abort_hook(1, print),
        "DistBackendError",
    ),
    "startTimeEstimate": (
        (2, 15),
        lambda backend: backend._start_time_estimate(),
        "Time the calls",
    ),
}


def refusal(name):
    _, call, _ = REFUSED[name]
    with pytest.raises(RuntimeError) as raised:
        call(group()._get_backend(CPU))
    dist.barrier()
    return str(raised.value)


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    release, _, remedy = REFUSED[name]
    if release > RELEASE:
        pytest.skip(f"torch has it from {release} on")
    (said,) = ranks.run(refusal, 1, name)
    assert f"{name}: the backend pinned does not have it" in said and remedy in said


@needs(2, 14)
def test_what_is_refused_is_not_advertised():
    assert ranks.run(advertised, 1) == [[]]


def advertised():
    asked = ("reconfigure", "window", "abort_hooks", "completion_hooks")
    names = [f"supports_{name}" for name in asked]
    own = group()._get_backend(CPU)
    return [name for name in names if getattr(own, name, False) is True]
