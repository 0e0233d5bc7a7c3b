# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""The types of what csrc/module*.cpp binds; tests/project/test_stubs.py compares the two.

Of the raw API only `Barrier` and `HostStream` are for users as they are: pinnedpg.tp is the face
of the functions, with names and defaults of the arguments.
"""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, SupportsFloat, SupportsIndex, final

import torch
from torch._C._distributed_c10d import Backend, ErrorType, Store
from typing_extensions import Self

# csrc/module.cpp

built_for_torch: str

def built_with_cuda() -> bool: ...
def cuda_device_count() -> int: ...
def _retire_worker(seconds: SupportsFloat) -> None: ...

# csrc/module_c10d.cpp

class Options(Backend.Options):
    slot_bytes: int
    depth: int
    one_shot_bytes: int
    budget_bytes: int
    fused_bytes: int
    word_bytes: int
    host_waits: bool
    def __init__(
        self,
        *,
        slot_bytes: SupportsIndex = 0,
        depth: SupportsIndex = 0,
        one_shot_bytes: SupportsIndex = -1,
        budget_bytes: SupportsIndex = 33554432,
        fused_bytes: SupportsIndex = 1048576,
        word_bytes: SupportsIndex = 65536,
        host_waits: bool = False,
        timeout: timedelta | None = None,
    ) -> None: ...
    @property
    def _timeout_chosen(self) -> bool: ...
    def segment_bytes(self, world_size: SupportsIndex) -> int: ...
    def __copy__(self) -> Self: ...
    def __deepcopy__(self, memo: dict[Any, Any], /) -> Self: ...

class ProcessGroupPinned(Backend):
    def __init__(
        self, store: Store, rank: SupportsIndex, size: SupportsIndex, options: Options
    ) -> None: ...
    @property
    def options(self) -> Options: ...
    def perform_nocolor_split(self, device: object) -> None: ...
    def get_error(self) -> ErrorType: ...

# csrc/module_tp_streams.cpp

class HostStream:
    def __init__(self, device: SupportsIndex) -> None: ...
    @property
    def device(self) -> int: ...
    @property
    def cuda_stream(self) -> int: ...
    def __int__(self) -> int: ...
    def __index__(self) -> int: ...
    def query(self) -> bool: ...
    def submit(self, function: Callable[[], object]) -> None: ...
    def synchronize(self, timeout: SupportsFloat | None = None) -> None: ...

class Barrier:
    def __init__(self, num_threads: SupportsIndex) -> None: ...
    def arrive_and_wait(self, timeout: SupportsFloat | None = None) -> None: ...
    def reset(self, num_threads: SupportsIndex) -> None: ...

# csrc/module_tp.cpp: what they take is read by hand, and an error names the argument.

def make_tp_context(
    kv_split: Sequence[tuple[int, int, int]],
    id_split: Sequence[tuple[int, int, int]],
    vc_split: Sequence[tuple[int, int, int]],
    rs_split: Sequence[tuple[int, int, int]],
    q_split: Sequence[tuple[int, int, int]],
    pinned_temp: Sequence[torch.Tensor],
    streams: Sequence[SupportsIndex | None],
    multithreaded: bool,
    timeout: SupportsFloat | None,
    /,
) -> int: ...
def free_tp_context(tp_context: SupportsIndex, /) -> None: ...
def tp_broadcast(
    tp_context: SupportsIndex,
    buffer: SupportsIndex,
    source: torch.Tensor,
    broadcast_type: SupportsIndex,
    targets: Sequence[torch.Tensor],
    t_device: SupportsIndex,
    /,
) -> None: ...
def tp_gather(
    tp_context: SupportsIndex,
    buffer: SupportsIndex,
    inputs: Sequence[torch.Tensor],
    broadcast_type: SupportsIndex,
    targets: Sequence[torch.Tensor],
    broadcast_type_target: SupportsIndex,
    dim: SupportsIndex,
    t_device: SupportsIndex,
    /,
) -> None: ...
def tp_gather_barrier(
    tp_context: SupportsIndex,
    buffer: SupportsIndex,
    inputs: Sequence[torch.Tensor],
    broadcast_type: SupportsIndex,
    targets: Sequence[torch.Tensor],
    broadcast_type_target: SupportsIndex,
    dim: SupportsIndex,
    t_device: SupportsIndex,
    barrier: Barrier | None,
    /,
) -> None: ...
def tp_cross_device_barrier(
    tp_context: SupportsIndex,
    broadcast_type: SupportsIndex,
    t_device: SupportsIndex,
    stage: SupportsIndex,
    next_stage: SupportsIndex,
    /,
) -> None: ...
def tp_all_reduce(
    tp_context: SupportsIndex,
    buffer: SupportsIndex,
    tensors: Sequence[torch.Tensor],
    residuals: Sequence[torch.Tensor],
    /,
) -> None: ...
def tp_synchronize(
    tp_context: SupportsIndex, buffer: SupportsIndex, timeout: SupportsFloat | None, /
) -> None: ...
def tp_set_multithreaded(tp_context: SupportsIndex, multithreaded: bool, /) -> None: ...
def _shut_down_tp() -> None: ...
def _record_tp(
    program: Sequence[str],
    world_size: SupportsIndex,
    slot_bytes: SupportsIndex,
    depth: SupportsIndex,
    two_lanes: bool,
    nbytes: SupportsIndex,
    /,
) -> list[_Event]: ...

# csrc/module_testing.cpp: for the project's own tests and tools

@final
class _Event:
    @property
    def rank(self) -> int: ...
    @property
    def lane(self) -> str: ...
    @property
    def verb(self) -> str: ...
    @property
    def reads(self) -> list[tuple[str, int, int]]: ...
    @property
    def writes(self) -> list[tuple[str, int, int]]: ...
    @property
    def flags(self) -> list[str]: ...
    @property
    def step(self) -> int: ...

@final
class _Segment:
    @staticmethod
    def create(nbytes: SupportsIndex, /) -> _Segment: ...
    @staticmethod
    def open(handle: str, /) -> _Segment | None: ...
    @property
    def handle(self) -> str: ...
    def reserve(self, begin: SupportsIndex, nbytes: SupportsIndex, /) -> None: ...
    def seal(self) -> None: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...

def _record(
    name: str,
    world_size: SupportsIndex,
    nbytes: SupportsIndex,
    slot_bytes: SupportsIndex,
    depth: SupportsIndex,
    one_shot_bytes: SupportsIndex,
    calls: SupportsIndex = 1,
    two_lanes: bool = True,
) -> list[_Event]: ...
def _reduce(
    dst: torch.Tensor,
    srcs: Sequence[torch.Tensor],
    op: str,
    factors: Sequence[float] = [],
    isa: str = "",
) -> None: ...
def _can_reduce(dtype: torch.dtype, op: str, /) -> bool: ...
def _reduce_isas() -> list[str]: ...
def _pin(tensor: torch.Tensor, /) -> None: ...
def _unpin(tensor: torch.Tensor, /) -> None: ...
