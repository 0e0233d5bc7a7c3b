# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""The raw split-typed API: one process drives several devices that meet in host buffers.

    from pinnedpg import tp as ext_c

    streams = [ext_c.HostStream(device) for device in range(2)]
    split = [(0, 0, 3), (1, 3, 4)]                       # (device, begin, end)
    temp = [torch.empty(1 << 20, dtype=torch.half) for _ in range(2)]
    ctx = ext_c.make_tp_context(split, split, split, split, split, temp, streams)
    ext_c.tp_gather(ctx, 0, inputs, ext_c.BROADCAST_Q, outputs, ext_c.BROADCAST_Q, head_dim)
    ext_c.tp_synchronize(ctx)                            # now the host may read `outputs`

Names, argument names and their order are those of exllamav2's extension, so its callers run
unchanged.

**Splits.** A split is a list of `(device, begin, end)`: what each device has of a tensor, in units
(heads, columns). Shares follow one another from 0, may be uneven, and may name a device twice;
devices without a share are absent. Entry i of `inputs` or `targets` belongs to entry i of its
split.

**Order: read this.** Every call queues its work and returns. A device does what is queued on its
stream in the order of its coming; calls order themselves after all earlier calls on the same
buffers, and after the work that their devices' streams already hold. On *host devices* (CPU
tensors, a `HostStream` each) the Python code that makes the calls is *the host*, as it would be
beside a GPU:

* what the host has written before a call, the call sees;
* before the host reads an output or a buffer, or overwrites an input, it must wait:
  `tp_synchronize(tp_context)`, `tp_synchronize(tp_context, buffer)` or `stream.synchronize()`;
* code that is to run as a device's work, in its order, goes through `stream.submit(function)`.

A call keeps its tensors alive until it is done.

**GPUs.** Where `streams` are CUDA's (`torch.cuda.Stream(device).cuda_stream`), tensors lie on the
GPUs of their shares (a broadcast's source may lie on the host too), and the buffers are made with
`pin_memory=True`. A call comes after the work on its devices' current streams and on the context's,
and both come after it: no wait is needed between calls and kernels, only before the host reads.
docs/gpus.md says what else differs.

**Legs.** With `t_device=-1` a call does its part for every device of the context. With
`t_device=d` it does device d's alone, its *leg*, so that a host thread per device may drive it:
each device that takes part makes the call once, with the same arguments otherwise, at any time
and from any thread; no leg waits for the others while it is issued. Each device's own order of
calls must be the same order. Legs that do not fit together raise ValueError. A leg whose peers
never come fails after the context's time-out. Calls whose legs are on different sets of devices
and that share a buffer must be ordered by the caller (`Barrier`), unless all legs of one have
been issued before any of the other. Before a call with `t_device=-1`, all legs must have been
issued.

**Errors.** ValueError (TypeError for what is no number, bool or `Barrier` where one must be) is
raised before anything is queued and the context goes on. RuntimeError is a failure of work that was
queued: the next call, `tp_synchronize` and `synchronize` raise it, and the context can then only be
freed. The GIL is released everywhere; any thread may call.
"""

import atexit
from collections.abc import Sequence
from typing import SupportsIndex

from pinnedpg import _C
from pinnedpg._C import Barrier, HostStream
from pinnedpg.tp_calls import (
    Tensors,
    tp_all_reduce,
    tp_broadcast,
    tp_cross_device_barrier,
    tp_gather,
    tp_gather_barrier,
)

BROADCAST_KV = 0
BROADCAST_ID = 1
BROADCAST_VC = 2
BROADCAST_RS = 3
BROADCAST_Q = 4

__all__ = [
    "BROADCAST_ID",
    "BROADCAST_KV",
    "BROADCAST_Q",
    "BROADCAST_RS",
    "BROADCAST_VC",
    "Barrier",
    "HostStream",
    "free_tp_context",
    "make_tp_context",
    "tp_all_reduce",
    "tp_broadcast",
    "tp_cross_device_barrier",
    "tp_gather",
    "tp_gather_barrier",
    "tp_set_multithreaded",
    "tp_synchronize",
]

Split = Sequence[tuple[int, int, int]]

atexit.register(_C._shut_down_tp)


def make_tp_context(
    kv_split: Split,
    id_split: Split,
    vc_split: Split,
    rs_split: Split,
    q_split: Split,
    pinned_temp: Tensors,
    streams: Sequence[SupportsIndex | None],
    *,
    multithreaded: bool = False,
    timeout: float | None = None,
) -> int:
    """Makes a context: devices, what each has of a tensor, and the buffers they meet in.

    Args:
        kv_split: Of key and value heads. A split is a list of `(device, begin, end)`; may be empty.
        id_split: Of the intermediate columns.
        vc_split: Of the vocabulary columns.
        rs_split: Of the hidden columns (residual).
        q_split: Of query heads.
        pinned_temp: The host buffers: contiguous CPU tensors of any shape and dtype, each with its
            own size, that share no memory; for GPUs, made with `pin_memory=True`. The context
            keeps them alive.
        streams: By device ordinal: a `HostStream` or its handle, which the context keeps alive, or
            a GPU's `torch.cuda.Stream(device).cuda_stream`; all of one kind. 0 or None for a device
            that is not used.
        multithreaded: See `tp_set_multithreaded`.
        timeout: Seconds that a leg waits for its peers before the context fails; None: 600.

    Returns:
        A handle, never 0 and never given twice.

    Raises:
        ValueError: A split's shares do not follow one another from 0, end before they begin or name
            a device without a stream; a buffer is no contiguous CPU tensor, overlaps another, or is
            for GPUs and not pinned; a stream is unknown or another device's, or a GPU's that has no
            stream memory operations; streams of both kinds, or none; the time-out is not positive.
        RuntimeError: The memory where the devices meet cannot be pinned for the GPUs.

    Source: exllamav2 0.3.2, exllamav2_ext/ext_tp.cpp. There, buffers are not kept alive, all have
    the size of the last, and nothing is checked. The keyword-only arguments are ours.
    """
    return _C.make_tp_context(
        kv_split,
        id_split,
        vc_split,
        rs_split,
        q_split,
        pinned_temp,
        streams,
        multithreaded,
        timeout,
    )


def free_tp_context(tp_context: int) -> None:
    """Waits for the context's work in flight, then lets go of its buffers and streams.

    Does nothing for a context that was freed before. Calls that lack a leg are given up, and all
    that is not done yet with them: the leg cannot come any more.

    Args:
        tp_context: A handle from `make_tp_context`.

    Raises:
        ValueError: No context ever had that handle.
        RuntimeError: The work was not done within the context's time-out; it is given up.

    Source: exllamav2 0.3.2, exllamav2_ext/ext_tp.cpp; there it waits for nothing.
    """
    _C.free_tp_context(tp_context)


def tp_synchronize(tp_context: int, buffer: int = -1, timeout: float | None = None) -> None:
    """Makes the host wait for the context's work; then it may touch what that works on.

    Args:
        tp_context: A handle from `make_tp_context`.
        buffer: Index into `pinned_temp`: waits for the calls made so far that use it; -1: for all
            that is queued so far on all streams of the context, other work included.
        timeout: Seconds, or None to wait as long as it takes.

    Raises:
        ValueError: An argument is wrong.
        RuntimeError: The context has failed, or the work is not done in time.
        Exception: With buffer -1, whatever a function given to `HostStream.submit` has raised.
    """
    _C.tp_synchronize(tp_context, buffer, timeout)


def tp_set_multithreaded(tp_context: int, multithreaded: bool) -> None:
    """Chooses who issues the legs of a call with `t_device=-1`: a thread per device, or the caller.

    Args:
        tp_context: A handle from `make_tp_context`.
        multithreaded: Whether threads of the context's own do it.

    Raises:
        ValueError: There is no such context.
    """
    _C.tp_set_multithreaded(tp_context, multithreaded)
