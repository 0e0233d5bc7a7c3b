# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""The examples that take `--device cuda` run on the GPUs there are, shared or not."""

import launch
import pytest
import torch

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="there are no two GPUs")
def test_raw_api():
    status, output = launch.run(launch.command("examples/raw_api.py --device cuda"))
    assert status == 0 and "raw_api: ok" in output, output


@pytest.mark.parametrize("ranks", [2, 3])
@pytest.mark.parametrize("name", ["all_reduce", "ddp_digits", "fsdp_digits"])
def test_runs(name, ranks):
    if "digits" in name:
        pytest.importorskip("sklearn")
    status, output = launch.run(launch.command(f"examples/{name}.py --device cuda", ranks))
    assert status == 0 and f"\n{name}: ok, " in "\n" + output, output
    assert f"{ranks} ranks" in output
