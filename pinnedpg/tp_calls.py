# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""The calls of `pinnedpg.tp` that queue work; import them from there, where their order is said."""

from collections.abc import Sequence

import torch

from pinnedpg import _C

Tensors = Sequence[torch.Tensor]


def tp_broadcast(
    tp_context: int,
    buffer: int,
    source: torch.Tensor,
    broadcast_type: int,
    targets: Tensors,
    dim: int,
    t_device: int = -1,
) -> None:
    """Copies the whole source to every target, by way of the buffer from byte 0.

    There it can be read afterwards. A source that already lies at byte 0 of the buffer is not
    copied there; one that lies across its first bytes arrives whole all the same. A target that
    is the source is left alone. Ends with the cross-device barrier.

    Args:
        tp_context: A handle from `make_tp_context`.
        buffer: Index into `pinned_temp`.
        source: [..., cols], any dtype, rows contiguous (a row stride is allowed).
        broadcast_type: The split whose devices get it, one of `BROADCAST_*`.
        targets: One tensor per entry of that split: the source's dtype, rows and columns, a row
            stride is allowed; not in the part of the buffer that is written.
        dim: Not used.
        t_device: -1, or the device whose leg this is.

    Raises:
        ValueError: An argument is wrong, the source does not fit into the buffer, or the leg does
            not fit its peers'.
        RuntimeError: The context has failed.

    Source: exllamav2 0.3.2, exllamav2_ext/ext_tp.cpp. There, all dtypes are taken for 2-byte
    ones, a CPU source is taken to lie at byte 0 wherever it lies, and targets are not ordered
    after the copy.
    """
    _C.tp_broadcast(tp_context, buffer, source, broadcast_type, targets, t_device)


def tp_gather(
    tp_context: int,
    buffer: int,
    inputs: Tensors,
    broadcast_type: int,
    targets: Tensors,
    broadcast_type_target: int,
    dim: int,
    t_device: int = -1,
) -> None:
    """Gathers each device's columns in the buffer, and copies the whole matrix to the targets.

    Input i becomes columns `[begin * dim, end * dim)` of the row-major matrix
    [rows, `split[-1].end * dim`] at byte 0 of the buffer.

    Args:
        tp_context: A handle from `make_tp_context`.
        buffer: Index into `pinned_temp`.
        inputs: One tensor per entry of the split: [..., (end - begin) * dim], the same dtype (any)
            and number of rows, rows contiguous (a row stride is allowed).
        broadcast_type: The split of the inputs, one of `BROADCAST_*`.
        targets: One tensor per entry of the target split: [..., `split[-1].end * dim`], the same
            dtype and rows. Not looked at when there is no target split.
        broadcast_type_target: The split whose devices get the matrix; -1: nobody, the result stays
            in the buffer, all streams are ordered after it; -2: nobody, and no stream waits for
            the other devices' copies (`tp_synchronize` does).
        dim: Columns per unit of the split.
        t_device: -1, or the device whose leg this is.

    Raises:
        ValueError: An argument is wrong, the matrix does not fit into the buffer, or the leg does
            not fit its peers'.
        RuntimeError: The context has failed.

    Source: exllamav2 0.3.2, exllamav2_ext/ext_tp.cpp. There, nothing keeps the next call from
    overwriting the buffer while targets are still being filled.
    """
    _C.tp_gather(
        tp_context, buffer, inputs, broadcast_type, targets, broadcast_type_target, dim, t_device
    )


def tp_gather_barrier(
    tp_context: int,
    buffer: int,
    inputs: Tensors,
    broadcast_type: int,
    targets: Tensors,
    broadcast_type_target: int,
    dim: int,
    t_device: int = -1,
    barrier: _C.Barrier | None = None,
) -> None:
    """Does what `tp_gather` does; host threads meet between its copies and its barrier.

    Args:
        tp_context: As in `tp_gather`.
        buffer: As in `tp_gather`.
        inputs: As in `tp_gather`.
        broadcast_type: As in `tp_gather`.
        targets: As in `tp_gather`.
        broadcast_type_target: As in `tp_gather`. With -2 nobody meets.
        dim: As in `tp_gather`.
        t_device: As in `tp_gather`.
        barrier: Met by the calling thread, or by each device's thread where the context is
            multithreaded and `t_device` is -1; the context's time-out counts. None: no meeting.

    Raises:
        ValueError: As in `tp_gather`.
        RuntimeError: The context has failed; or the barrier was not met: the call is queued all the
            same and the context goes on.

    Source: exllamav2 0.3.2, exllamav2_ext/ext_tp.cpp.
    """
    _C.tp_gather_barrier(
        tp_context,
        buffer,
        inputs,
        broadcast_type,
        targets,
        broadcast_type_target,
        dim,
        t_device,
        barrier,
    )


def tp_cross_device_barrier(
    tp_context: int,
    broadcast_type: int,
    t_device: int = -1,
    stage: int = -1,
    next_stage: int = -1,
) -> None:
    """Makes every stream wait for all work queued so far on every other; the host does not wait.

    Args:
        tp_context: A handle from `make_tp_context`.
        broadcast_type: One of `BROADCAST_*`: whose devices take part where `t_device` is given;
            with -1 all of the context do.
        t_device: -1, or the device whose leg this is.
        stage: Which of three stages, 0 to 2, all legs of this barrier name; -1: the next one. It
            orders nothing here: legs of different stages raise instead of meeting.
        next_stage: The stage that follows; -1: the one after this.

    Raises:
        ValueError: An argument is wrong, or the leg does not fit its peers'.
        RuntimeError: The context has failed.

    Source: exllamav2 0.3.2, exllamav2_ext/ext_tp.cpp; there the stages have no effect.
    """
    _C.tp_cross_device_barrier(tp_context, broadcast_type, t_device, stage, next_stage)


def tp_all_reduce(tp_context: int, buffer: int, tensors: Tensors, residuals: Tensors) -> None:
    """Makes every residual the sum of `residuals[0]` and all tensors.

    The sum (of bool: the logical or) is taken in that order, in float32 for smaller floating types
    and rounded once, so all residuals are bit-equal. The tensors are unchanged unless they are
    residuals too, and the old values of `residuals[1:]` do not matter. It is staged in memory of
    the context's own: the buffer is checked, but not touched. All streams are ordered before and
    after it.

    Args:
        tp_context: A handle from `make_tp_context`.
        buffer: Index into `pinned_temp`; each tensor must fit into it.
        tensors: As many as a split has entries, or at most one per device; contiguous, of the same
            rows, columns and dtype (floating, integer, bool, complex64 or complex128).
        residuals: As many, and of the same kind. A residual may be one of the tensors or of the
            residuals, but not overlap one otherwise.

    Raises:
        ValueError: An argument is wrong, or the tensors do not fit into the buffer.
        RuntimeError: The context has failed.

    Source: exllamav2 0.3.2, exllamav2_ext/ext_tp.cpp; there each addition is rounded to the dtype.
    """
    _C.tp_all_reduce(tp_context, buffer, tensors, residuals)
