# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Collectives over lists of tensors: one process that owns several devices.

    pinnedpg.devices.init()                      # a group of this process alone
    tensors = [torch.ones(4, device=device) for device in devices]
    pinnedpg.devices.all_reduce(tensors)         # each is now the sum of all

torch.distributed's own functions take one tensor per call; c10d below them takes a list, one tensor
for each device of the process. Of a group with `world_size` ranks and `k` tensors per list, tensor
j of rank q is member q * k + j, and the collectives run over all world_size * k members. `k` is the
same on all ranks. Shapes and dtypes are the same for all members unless stated otherwise.

Every function returns None, or with `async_op=True` a `torch.distributed.Work` to `wait()` for. It
raises ValueError, with nothing done, where lists or tensors do not fit together, and RuntimeError
where the group has failed.
"""

from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch._C import _distributed_c10d as c10d

Tensors = list[torch.Tensor]


def init(timeout: timedelta | None = None, pg_options: Any = None) -> None:
    """Makes this process the only rank of torch's default group; keeps one that there is.

    Args:
        timeout: Of the group's collectives; None: torch's default.
        pg_options: A `pinnedpg.Options`, or None for the defaults.
    """
    if not dist.is_initialized():
        dist.init_process_group(
            "pinned",
            store=dist.HashStore(),
            rank=0,
            world_size=1,
            timeout=timeout,
            pg_options=pg_options,
        )


def broadcast(
    tensors: Tensors,
    src: int = 0,
    src_tensor: int = 0,
    group: dist.ProcessGroup | None = None,
    async_op: bool = False,
) -> dist.Work | None:
    """Copies `tensors[src_tensor]` of rank `src` into every tensor of every rank.

    Args:
        tensors: k tensors, any strides, any dtype.
        src: The global rank that has the source.
        src_tensor: Which of its tensors is the source.
        group: None: the default group.
        async_op: Whether to return at once, with a Work.
    """
    group, options = _prepare("broadcast", tensors, c10d.BroadcastOptions(), group, async_op)
    options.rootRank = dist.get_group_rank(group, src)
    options.rootTensor = _index("broadcast", "src_tensor", src_tensor, tensors)
    return _finish(group.broadcast(tensors, options), async_op)


def all_reduce(
    tensors: Tensors,
    op: Any = dist.ReduceOp.SUM,
    group: dist.ProcessGroup | None = None,
    async_op: bool = False,
) -> dist.Work | None:
    """Reduces over all tensors of all ranks, in member order; every tensor becomes the result.

    Args:
        tensors: k tensors, any strides, a dtype that knows the operation.
        op: A `torch.distributed.ReduceOp`. AVG divides by world_size * k.
        group: None: the default group.
        async_op: Whether to return at once, with a Work.
    """
    group, options = _prepare("all_reduce", tensors, c10d.AllreduceOptions(), group, async_op)
    options.reduceOp = op
    return _finish(group.allreduce(tensors, options), async_op)


def reduce(
    tensors: Tensors,
    dst: int = 0,
    dst_tensor: int = 0,
    op: Any = dist.ReduceOp.SUM,
    group: dist.ProcessGroup | None = None,
    async_op: bool = False,
) -> dist.Work | None:
    """Reduces over all tensors of all ranks into `tensors[dst_tensor]` of rank `dst`.

    Args:
        tensors: k tensors, any strides, a dtype that knows the operation. All but the result
            keep their values.
        dst: The global rank that gets the result.
        dst_tensor: Which of its tensors becomes the result.
        op: A `torch.distributed.ReduceOp`.
        group: None: the default group.
        async_op: Whether to return at once, with a Work.
    """
    group, options = _prepare("reduce", tensors, c10d.ReduceOptions(), group, async_op)
    options.reduceOp = op
    options.rootRank = dist.get_group_rank(group, dst)
    options.rootTensor = _index("reduce", "dst_tensor", dst_tensor, tensors)
    return _finish(group.reduce(tensors, options), async_op)


def all_gather(
    output_lists: list[Tensors],
    tensors: Tensors,
    group: dist.ProcessGroup | None = None,
    async_op: bool = False,
) -> dist.Work | None:
    """Copies tensor j of rank q into entry q * k + j of every output list of every rank.

    Args:
        output_lists: k lists of world_size * k tensors; entry m is shaped like member m's tensor,
            any strides.
        tensors: k tensors, any strides, any dtype. `tensors[j]` may be the entry of
            `output_lists[j]` that it goes to.
        group: None: the default group.
        async_op: Whether to return at once, with a Work.
    """
    group, options = _prepare("all_gather", tensors, c10d.AllgatherOptions(), group, async_op)
    return _finish(group.allgather(output_lists, tensors, options), async_op)


def reduce_scatter(
    outputs: Tensors,
    input_lists: list[Tensors],
    op: Any = dist.ReduceOp.SUM,
    group: dist.ProcessGroup | None = None,
    async_op: bool = False,
) -> dist.Work | None:
    """Reduces entry q * k + i of all input lists of all ranks into `outputs[i]` of rank q.

    Args:
        outputs: k tensors, any strides, a dtype that knows the operation.
        input_lists: k lists of world_size * k tensors; entry m is shaped like member m's output,
            any strides.
        op: A `torch.distributed.ReduceOp`.
        group: None: the default group.
        async_op: Whether to return at once, with a Work.
    """
    group, options = _prepare(
        "reduce_scatter", outputs, c10d.ReduceScatterOptions(), group, async_op
    )
    options.reduceOp = op
    return _finish(group.reduce_scatter(outputs, input_lists, options), async_op)


def barrier(group: dist.ProcessGroup | None = None, async_op: bool = False) -> dist.Work | None:
    """Waits until every rank of the group has come here.

    Args:
        group: None: the default group.
        async_op: Whether to return at once, with a Work.
    """
    work: dist.Work | None = dist.barrier(group, async_op=async_op)
    return work


def _prepare(
    operation: str,
    tensors: Tensors,
    options: Any,
    group: dist.ProcessGroup | None,
    async_op: bool,
) -> tuple[dist.ProcessGroup, Any]:
    if len(tensors) == 0:
        raise ValueError(f"{operation}: there must be at least one tensor; got an empty list")
    options.asyncOp = async_op
    return group or dist.distributed_c10d._get_default_group(), options


def _index(operation: str, name: str, index: int, tensors: Tensors) -> int:
    if not 0 <= index < len(tensors):
        raise ValueError(
            f"{operation}: {name} must be an index of the {len(tensors)} tensors; got {index}"
        )
    return index


def _finish(work: dist.Work | None, async_op: bool) -> dist.Work | None:
    if async_op or work is None:
        return work
    work.wait()
    return None
