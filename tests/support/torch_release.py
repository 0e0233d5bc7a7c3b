# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Which torch runs, for tests of what only some releases have."""

import pytest
import torch

RELEASE = tuple(int(part) for part in torch.__version__.split(".")[:2])


def needs(*release: int) -> pytest.MarkDecorator:
    """Skips a test with an older torch."""
    return pytest.mark.skipif(release > RELEASE, reason=f"torch has it from {release} on")


def before(*release: int) -> pytest.MarkDecorator:
    """Skips a test with that torch and newer ones."""
    return pytest.mark.skipif(release <= RELEASE, reason=f"torch has it before {release} only")
