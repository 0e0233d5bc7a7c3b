# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Which GPUs the built engine has code for."""

import struct
from pathlib import Path

import pytest

import pinnedpg
from pinnedpg import _build

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
    """What the build says that it has compiled for, as "8.0" or "9.0+PTX"."""
    asked = set()
    for entry in _build.gpu_targets:
        arch = int("".join(filter(str.isdigit, entry)))  # 9.0a, too
        asked |= {(PTX, arch)} if entry.endswith("+PTX") else {(CUBIN, arch)}
    return asked


@pytest.mark.skipif(not _build.cuda_release, reason="the extension was built without CUDA")
def test_every_kernel_is_there_for_every_gpu():
    found = code_of_files(Path(pinnedpg.__file__).with_name("libpinnedpg.so"))
    assert len(found) >= 4  # csrc/device/*.cu
    assert wanted()
    for kinds in found:
        assert kinds and wanted() <= kinds, (wanted(), kinds)
