# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""How torch.distributed comes to know the backend, and what it makes of its name."""

import os
import subprocess
import sys
from unittest import mock

import pytest
import ranks
import torch
import torch.distributed as dist
from torch_release import RELEASE
from worker import Setup

import _pinnedpg_autoload as hook
import pinnedpg

CPU, GPU = torch.device("cpu"), torch.device("cuda")
FINDS_BY_ITSELF = tuple(map(int, torch.__version__.split(".")[:2])) >= (2, 14)


def run_python(program: str, **environment: str) -> str:
    env = {**os.environ, **environment}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


LIGHT = """
import sys, torch
maps = open("/proc/self/maps").read()
ours = [name for name in sys.modules if name.startswith("pinnedpg")]
print(ours, "pinnedpg" in maps, torch.distributed.is_backend_available("pinned"))
print(torch.distributed.Backend.default_device_backend_map)
"""


def test_importing_torch_loads_no_more_than_the_hook():
    """And changes no default. A text for the devices would, letter by letter, up to torch 2.14."""
    light, defaults = run_python(LIGHT).splitlines()
    assert light == "[] False True"
    assert "'cpu': 'gloo'" in defaults and "'cuda': 'nccl'" in defaults
    assert "pinned" not in defaults and "'c'" not in defaults


UNLOADED = """
import torch.distributed as dist
before = dist.is_backend_available("pinned")
import pinnedpg
print(before, dist.is_backend_available("pinned"))
dist.init_process_group("pinned", store=dist.HashStore(), rank=0, world_size=1)
dist.barrier()
"""


@pytest.mark.skipif(FINDS_BY_ITSELF, reason="torch looks for backends when one is asked for")
def test_without_autoload_an_import_registers():
    assert run_python(UNLOADED, TORCH_DEVICE_BACKEND_AUTOLOAD="0") == "False True"


def registered(version):
    """Returns whether the hook registers under a torch of that version."""
    with (
        mock.patch.object(torch, "__version__", version),
        mock.patch.object(dist.Backend, "PINNED", create=True),
        mock.patch.object(dist.Backend, "register_backend") as register,
    ):
        del dist.Backend.PINNED
        hook.register()
        return register.called


@pytest.mark.parametrize(
    ("version", "does"), [("2.11.0", True), ("2.13.1+cu130", True), ("2.14.0", False)]
)
def test_the_hook_leaves_alone_a_torch_that_finds_backends_by_itself(version, does):
    assert registered(version) == does


@pytest.mark.parametrize("version", ["", "unknown", "2", None])
def test_the_hook_catches_a_version_that_is_none(version):
    registered(version)


def test_the_hook_catches_what_torch_raises():
    with (
        mock.patch.object(dist.Backend, "PINNED", create=True),
        mock.patch.object(dist.Backend, "register_backend", side_effect=RuntimeError) as register,
    ):
        del dist.Backend.PINNED
        with mock.patch.object(torch, "__version__", "2.13.0"):
            hook.register()
    assert register.called


def test_the_hook_does_nothing_twice():
    with mock.patch.object(dist.Backend, "register_backend") as register:
        hook.register()
    assert not register.called


def test_set_default_names_us_for_both_types_of_device():
    known = dist.Backend.default_device_backend_map
    with mock.patch.dict(known):
        pinnedpg.set_default(["cuda"])
        assert (known["cpu"], known["cuda"]) == ("gloo", "pinned")
        pinnedpg.set_default()
        assert (known["cpu"], known["cuda"]) == ("pinned", "pinned")


def told():
    """The extended creator is told the group's name and its ranks; of the default group, none."""
    world = dist.distributed_c10d._get_default_group()
    group = dist.new_group([2, 1])
    found = [world._get_backend(CPU).options.global_ranks_in_group]
    if dist.get_rank() != 0:
        options = group._get_backend(CPU).options
        assert options.group_name == group.group_name
        found.append(options.global_ranks_in_group)
    return found


def test_a_group_knows_its_global_ranks():
    assert ranks.run(told, 3) == [[[]], [[], [1, 2]], [[], [1, 2]]]


def named():
    group = dist.distributed_c10d._get_default_group()
    tensor = torch.ones(2)
    dist.all_reduce(tensor)
    dist.barrier()
    gathered = [None, None]
    dist.all_gather_object(gathered, dist.get_rank())
    assert tensor.tolist() == [2, 2] and gathered == [0, 1]
    kinds = {device.type: group._get_backend(device).name() for device in group._device_types}
    return group.name(), dist.get_backend(), kinds


@pytest.mark.parametrize(
    ("config", "name", "kinds"),
    [  # torch before 2.15 has no default among backends that are named by device
        ("pinned", "custom", {"cpu": "pinned", "cuda": "pinned"}),
        ("cpu:pinned", "undefined", {"cpu": "pinned"}),
        ("cpu:gloo,cuda:pinned", "undefined", {"cpu": "gloo", "cuda": "pinned"}),
        ("cpu:pinned,cuda:gloo", "undefined", {"cpu": "pinned", "cuda": "gloo"}),
        ("cpu:pinned,cuda:pinned", "undefined", {"cpu": "pinned", "cuda": "pinned"}),
    ],
)
def test_forms_by_device(config, name, kinds):
    found = ranks.run(named, 2, setup=Setup(backend=config))
    assert [sorted(kinds.items()) == sorted(one[2].items()) for one in found] == [True, True]
    if name == "undefined" and RELEASE >= (2, 15):
        name = "gloo" if config.endswith("cuda:gloo") else "custom"  # that of the GPUs
    assert [one[0] for one in found] == [name] * 2
    assert all("pinned" in one[1] for one in found)


def beside_another():
    """In a group with two backends from outside torch gives both types of device the first."""

    def create(given, _):
        size, timeout = given.group_size, given.timeout
        return dist.ProcessGroupGloo(given.store, given.group_rank, size, timeout)

    if not hasattr(dist.Backend, "OTHER"):
        dist.Backend.register_backend("other", create, extended_api=True, devices=["cpu", "cuda"])
    names = []
    for config in ("cpu:pinned,cuda:other", "cpu:other,cuda:pinned"):
        group = dist.new_group(backend=config)
        names.append([group._get_backend(device).name() for device in (CPU, GPU)])
    return names


@pytest.mark.skipif(FINDS_BY_ITSELF, reason="seen with 2.13")
def test_torch_knows_one_backend_from_outside_per_group():
    assert ranks.run(beside_another, 2) == [[["pinned"] * 2, ["gloo"] * 2]] * 2


def test_a_wrong_choice_of_default_says_what_there_is():
    for devices in ("cpu", ["cpu", "tpu"]):
        with pytest.raises(ValueError, match=r"must be a list of some of \['cpu', 'cuda'\]"):
            pinnedpg.set_default(devices)
