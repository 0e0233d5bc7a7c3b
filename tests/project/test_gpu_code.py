# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Which GPUs the built extension has code for."""

import os
import struct
from pathlib import Path

import pytest

from pinnedpg import _C, _build

PTX, CUBIN = 1, 2
CONTAINER = struct.Struct("<IHHQ")  # what nvcc embeds for each file: magic, version, header, size
ENTRY = struct.Struct("<HHIQ")  # kind, version, header, size
ARCH_AT = 28  # of an entry
MAGIC = 0xBA55ED50


def code_of_files(library):
    """For each compiled CUDA file in a library the kinds and architectures of its code."""
    data, at, found = library.read_bytes(), 0, []
    while (at := data.find(struct.pack("<I", MAGIC), at)) >= 0:
        _, version, header, size = CONTAINER.unpack_from(data, at)
        if (version, header) != (1, CONTAINER.size):
            at += 4
            continue
        place, at = at + header, at + header + size
        found.append(set())
        while place < at:
            kind, _, header, size = ENTRY.unpack_from(data, place)
            found[-1].add((kind, *struct.unpack_from("<I", data, place + ARCH_AT)))
            place += header + size
    return found


def wanted():
    """What TORCH_CUDA_ARCH_LIST asks for, "8.0;9.0+PTX"; nothing where setup.py has chosen."""
    asked = set()
    for entry in os.environ.get("TORCH_CUDA_ARCH_LIST", "").replace(";", " ").split():
        arch = int("".join(filter(str.isdigit, entry)))  # 9.0a, too
        asked |= {(CUBIN, arch)} | ({(PTX, arch)} if entry.endswith("+PTX") else set())
    return asked


@pytest.mark.skipif(not _build.cuda_release, reason="the extension was built without CUDA")
def test_every_kernel_is_there_for_every_gpu():
    found = code_of_files(Path(_C.__file__))
    assert len(found) >= 4  # csrc/device/*.cu
    for kinds in found:
        assert kinds and wanted() <= kinds, (wanted(), kinds)
