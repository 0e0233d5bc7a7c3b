# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
# ruff: noqa: E501
"""Wrong arguments of pinnedpg.tp: what the error says, and that the context goes on."""

import pytest
import torch
from tp_rig import ID, KV, VC, Q, Rig, even, same

from pinnedpg import tp

half = torch.half


def matrices(rows, *columns, dtype=half):
    return [torch.zeros(rows, count, dtype=dtype) for count in columns]


def broadcast(c, buffer=0, source=None, type=KV, targets=None, t_device=-1):
    source = torch.zeros(2, 8, dtype=half) if source is None else source
    targets = matrices(2, 8, 8) if targets is None else targets
    tp.tp_broadcast(c.handle, buffer, source, type, targets, 1, t_device)


def gather(c, buffer=0, inputs=None, type=KV, targets=None, target=KV, dim=2, t_device=-1):
    inputs = matrices(2, 6, 2) if inputs is None else inputs
    targets = matrices(2, 8, 8) if targets is None else targets
    tp.tp_gather(c.handle, buffer, inputs, type, targets, target, dim, t_device)


def gather_barrier(c, buffer=0, t_device=-1, barrier=None):
    inputs, targets = matrices(2, 6, 2), matrices(2, 8, 8)
    tp.tp_gather_barrier(c.handle, buffer, inputs, KV, targets, KV, 2, t_device, barrier)


def all_reduce(c, buffer=0, tensors=None, residuals=None):
    tensors = matrices(2, 8, 8) if tensors is None else tensors
    residuals = matrices(2, 8, 8) if residuals is None else residuals
    tp.tp_all_reduce(c.handle, buffer, tensors, residuals)


def barrier(c, *arguments):
    tp.tp_cross_device_barrier(c.handle, *arguments)


def sparse():
    return torch.eye(8).to_sparse()


def across(c):
    """Two tensors that overlap without being the same one."""
    base = torch.zeros(3, 8, dtype=half)
    return base[:2], base[1:]


WRONG_CALLS = {
    # tp_broadcast
    "buffer too high": (lambda c: broadcast(c, 2), "tp_broadcast: buffer must be one of the 2 of pinned_temp; got 2"),
    "buffer negative": (lambda c: broadcast(c, -1), "buffer must be one of the 2 .*; got -1"),
    "type too high": (lambda c: broadcast(c, type=5), r"broadcast_type must be one of .*; got 5"),
    "type negative": (lambda c: broadcast(c, type=-1), r"broadcast_type must be one of .*; got -1"),
    "type of an empty split": (lambda c: broadcast(c, type=ID), "got ID, whose split is empty"),
    "too few targets": (lambda c: broadcast(c, targets=matrices(2, 8)), "targets must have an entry for each of the 2 shares of the KV split; got 1"),
    "too many targets": (lambda c: broadcast(c, targets=matrices(2, 8, 8, 8)), "2 shares of the KV split; got 3"),
    "target dtype": (lambda c: broadcast(c, targets=matrices(2, 8, 8, dtype=torch.float)), r"targets\[0\] must be torch.float16 like source; got torch.float32"),
    "target columns": (lambda c: broadcast(c, targets=matrices(2, 8, 7)), r"targets\[1\] must have 2 rows of 8 elements like source; got 2 rows of 7"),
    "target rows": (lambda c: broadcast(c, targets=matrices(3, 8, 8)), r"targets\[0\] must have 2 rows .*; got 3 rows"),
    "target of equal size but other columns": (lambda c: broadcast(c, targets=matrices(4, 4, 4)), r"got 4 rows of 4"),
    "target overlaps itself": (lambda c: broadcast(c, targets=[torch.zeros(8, dtype=half).expand(2, 8)] * 2), r"targets\[0\] must not overlap itself"),
    "target in the buffer": (lambda c: broadcast(c, targets=[c.buffers[0][2:34].view(half).view(2, 8)] * 2), r"targets\[0\] must not share memory with the first 32 bytes of pinned_temp\[0\]"),
    "source too large": (lambda c: broadcast(c, source=torch.zeros(100, 100), targets=[torch.zeros(100, 100)] * 2), r"source must fit into pinned_temp\[0\], which has 4096 bytes; got 40000 bytes"),
    "source transposed": (lambda c: broadcast(c, source=torch.zeros(8, 2, dtype=half).t()), r"source must be viewable as evenly spaced rows .* strides \[1, 2\]"),
    "source rows uneven": (lambda c: broadcast(c, source=torch.zeros(2, 3, 8)[:, :2]), "source must be viewable as evenly spaced rows"),
    "source sparse": (lambda c: broadcast(c, source=sparse()), "source must be dense; got layout Sparse"),
    "source on meta": (lambda c: broadcast(c, source=torch.zeros(2, 8, device="meta")), "source must be a CPU tensor, .*; got one on meta"),
    "source scalar": (lambda c: broadcast(c, source=torch.tensor(1.0)), "source must have at least 1 dimension; got a scalar"),
    "source conjugate": (lambda c: broadcast(c, source=torch.zeros(2, 8, dtype=torch.cfloat).conj()), "source must hold its values as they are"),
    "source None": (lambda c: tp.tp_broadcast(c.handle, 0, None, KV, [], 1), "source must be a tensor; got None"),
    "targets None": (lambda c: tp.tp_broadcast(c.handle, 0, torch.zeros(1), KV, None, 1), "targets must be a list; got None"),
    "target None": (lambda c: broadcast(c, targets=[None, torch.zeros(2, 8)]), r"targets\[0\] must be a tensor; got None"),
    "targets a tensor": (lambda c: broadcast(c, targets=torch.zeros(2, 2, 8)), "targets must be a list"),
    "t_device without a share": (lambda c: broadcast(c, t_device=2), r"t_device must be -1 or a device that takes part, one of \[0, 1\]; got 2"),
    "t_device unknown": (lambda c: broadcast(c, t_device=9), "t_device must be -1 or .*; got 9"),
    "t_device negative": (lambda c: broadcast(c, t_device=-2), "t_device must be -1 or .*; got -2"),
    # tp_gather
    "gather: buffer": (lambda c: gather(c, 7), "tp_gather: buffer must be one of the 2 of pinned_temp; got 7"),
    "gather: type": (lambda c: gather(c, type=17), "tp_gather: broadcast_type must be one of"),
    "gather: target type": (lambda c: gather(c, target=5), "tp_gather: broadcast_type_target must be one of .*; got 5"),
    "gather: target type -3": (lambda c: gather(c, target=-3), "broadcast_type_target must be one of .*; got -3"),
    "gather: target split empty": (lambda c: gather(c, target=ID), "broadcast_type_target must name a split that has devices; got ID"),
    "gather: too few inputs": (lambda c: gather(c, inputs=matrices(2, 6)), "inputs must have an entry for each of the 2 shares of the KV split; got 1"),
    "gather: no inputs": (lambda c: gather(c, inputs=[]), "2 shares of the KV split; got 0"),
    "gather: columns": (lambda c: gather(c, inputs=matrices(2, 6, 3)), r"inputs\[1\] must have 2 columns \(1 units of its share, times dim 2\); got 3"),
    "gather: dim": (lambda c: gather(c, dim=3), r"inputs\[0\] must have 9 columns"),
    "gather: dim 0": (lambda c: gather(c, dim=0), "dim must be from 1 to 2147483648; got 0"),
    "gather: dim huge": (lambda c: gather(c, dim=1 << 62), "dim must be from 1 to 2147483648"),
    "gather: rows": (lambda c: gather(c, inputs=[*matrices(2, 6), *matrices(3, 2)]), r"inputs\[1\] must have 2 rows like inputs\[0\]; got 3"),
    "gather: dtype": (lambda c: gather(c, inputs=[*matrices(2, 6), *matrices(2, 2, dtype=torch.int16)]), r"inputs\[1\] must be torch.float16 like inputs\[0\]; got torch.int16"),
    "gather: target dtype": (lambda c: gather(c, targets=matrices(2, 8, 8, dtype=torch.bfloat16)), r"targets\[0\] must be torch.float16 like the gathered matrix; got torch.bfloat16"),
    "gather: target columns": (lambda c: gather(c, targets=matrices(2, 8, 6)), r"targets\[1\] must have 2 rows of 8 elements like the gathered matrix; got 2 rows of 6"),
    "gather: too many targets": (lambda c: gather(c, target=Q, targets=matrices(2, 8, 8, 8)), "targets must have an entry for each of the 1 shares of the Q split; got 3"),
    "gather: too large": (lambda c: gather(c, inputs=matrices(300, 6, 2), targets=matrices(300, 8, 8)), r"the gathered matrix must fit into pinned_temp\[0\], which has 4096 bytes; got 4800 bytes"),
    "gather: too large for any number": (lambda c: gather(c, inputs=[torch.zeros(1, 1, dtype=torch.cdouble).expand(1 << 62, 1), torch.zeros(1, 0, dtype=torch.cdouble).expand(1 << 62, 0)], type=VC, dim=1, target=-1), "the gathered matrix must be of a size that can be counted"),
    "gather: input in the buffer": (lambda c: gather(c, inputs=[c.buffers[0][:24].view(half).view(2, 6), *matrices(2, 2)]), r"inputs\[0\] must not share memory with the first 32 bytes of pinned_temp\[0\]"),
    "gather: target in the buffer": (lambda c: gather(c, targets=[*matrices(2, 8), c.buffers[0][16:48].view(half).view(2, 8)]), r"targets\[1\] must not share memory"),
    "gather: input scattered": (lambda c: gather(c, inputs=[torch.zeros(2, 12, dtype=half)[:, ::2], *matrices(2, 2)]), r"inputs\[0\] must be viewable"),
    # tp_all_reduce
    "all_reduce: buffer": (lambda c: all_reduce(c, 2), "tp_all_reduce: buffer must be one of"),
    "all_reduce: empty": (lambda c: all_reduce(c, tensors=[], residuals=[]), "tensors must not be empty"),
    "all_reduce: residuals missing": (lambda c: all_reduce(c, residuals=matrices(2, 8)), "residuals must have as many entries as tensors, 2; got 1"),
    "all_reduce: too many": (lambda c: all_reduce(c, tensors=matrices(2, *[8] * 7), residuals=matrices(2, *[8] * 7)), "tensors must be at most as many as the context's devices, 3, .*; got 7"),
    "all_reduce: shapes": (lambda c: all_reduce(c, tensors=matrices(2, 8, 7)), r"tensors\[1\] must have 2 rows of 8 elements like tensors\[0\]; got 2 rows of 7"),
    "all_reduce: residual shape": (lambda c: all_reduce(c, residuals=matrices(1, 8, 8)), r"residuals\[0\] must have 2 rows"),
    "all_reduce: dtypes": (lambda c: all_reduce(c, residuals=matrices(2, 8, 8, dtype=torch.float)), r"residuals\[0\] must be torch.float16 like tensors\[0\]; got torch.float32"),
    "all_reduce: no sum": (lambda c: all_reduce(c, tensors=matrices(2, 8, 8, dtype=torch.bits8), residuals=matrices(2, 8, 8, dtype=torch.bits8)), r"tensors\[0\] must be of a type that can be summed; got torch.bits8"),
    "all_reduce: not contiguous": (lambda c: all_reduce(c, tensors=[torch.zeros(2, 9, dtype=half)[:, :8]] * 2), r"tensors\[0\] must be contiguous"),
    "all_reduce: too large": (lambda c: all_reduce(c, tensors=[torch.zeros(2048)] * 2, residuals=[torch.zeros(2048), torch.zeros(2048)]), r"each tensor must fit into pinned_temp\[0\], which has 4096 bytes; got 8192 bytes"),
    "all_reduce: residuals overlap": (lambda c: all_reduce(c, residuals=list(across(c))), r"residuals\[1\] must not overlap residuals\[0\] unless it is the same tensor"),
    "all_reduce: tensor overlaps": (lambda c: (lambda a: all_reduce(c, tensors=[a[0]] * 2, residuals=[a[1], *matrices(2, 8)]))(across(c)), r"residuals\[0\] must not overlap tensors\[0\] unless"),
    # tp_cross_device_barrier, tp_synchronize
    "barrier: type": (lambda c: barrier(c, 5), "tp_cross_device_barrier: broadcast_type must be"),
    "barrier: t_device": (lambda c: barrier(c, KV, 2), "t_device must be -1 or a device that takes part"),
    "barrier: stage": (lambda c: barrier(c, KV, -1, 3), "stage must be -1 .* or 0 to 2; got 3"),
    "barrier: next_stage": (lambda c: barrier(c, KV, -1, 0, -2), "next_stage must be -1 .* or 0 to 2; got -2"),
    "synchronize: buffer": (lambda c: tp.tp_synchronize(c.handle, 2), "tp_synchronize: buffer must be one of the 2"),
    "synchronize: timeout": (lambda c: tp.tp_synchronize(c.handle, timeout=-1), "timeout must be None or a number of seconds"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG_CALLS)
def test_wrong_call_raises_and_the_context_goes_on(name):
    call, text = WRONG_CALLS[name]
    splits = {ID: [], Q: [(2, 0, 4)], VC: [(0, 0, 1), (1, 1, 1)]}
    with Rig([(0, 0, 3), (1, 3, 4)], (4096, 4096), splits=splits) as rig:
        with pytest.raises(ValueError, match=text):
            call(rig)
        inputs = [torch.randn(2, 6), torch.randn(2, 2)]
        outputs = rig.gather(inputs, dim=2)
        targets = rig.broadcast(inputs[0], buffer=1)
        rig.sync()
        assert all(same(output, torch.cat(inputs, 1)) for output in outputs)
        assert all(same(target, inputs[0]) for target in targets)


def make(kv=None, temp=None, streams=None, **more):
    split = [(0, 0, 1), (1, 1, 2)]
    temp = [torch.zeros(64)] if temp is None else temp
    if streams is None:
        streams = [tp.HostStream(0), tp.HostStream(1)]
    kv = split if kv is None else kv
    return tp.make_tp_context(kv, split, split, split, split, temp, streams, **more)


WRONG_CONTEXTS = {
    "device without stream": (lambda: make([(0, 0, 1), (2, 1, 2)]), r"kv_split\[1\] must name a device with a stream, one of \[0, 1\]; got device 2"),
    "stream 0": (lambda: make(streams=[tp.HostStream(0), 0]), r"id_split\[1\]|kv_split\[1\]"),
    "stream None": (lambda: make(streams=[tp.HostStream(0), None]), "must name a device with a stream"),
    "no streams": (lambda: make(streams=[0, None]), "streams must have a stream for at least one device; got none"),
    "foreign stream": (lambda: make(streams=[tp.HostStream(0), 140_000_000]), r"streams\[1\] must be 0 or a HostStream that is alive .*; got handle 140000000"),
    "stream of another device": (lambda: make(streams=[tp.HostStream(1), tp.HostStream(1)]), r"streams\[0\] must be a stream of device 0; got one of device 1"),
    "stream no int": (lambda: make(streams=["a", None]), r"streams\[0\] must be 0, None, a HostStream or its handle; got 'a'"),
    "streams no list": (lambda: make(streams=5), "streams must be a list; got 5"),
    "gap": (lambda: make([(0, 0, 1), (1, 2, 3)]), r"kv_split\[1\] must begin where the share before it ends, at 1; got \(1, 2, 3\)"),
    "begin not 0": (lambda: make([(0, 1, 2)]), r"kv_split\[0\] must begin .* at 0"),
    "backwards": (lambda: make([(0, 0, -1)]), r"kv_split\[0\] must not end before it begins"),
    "huge": (lambda: make([(0, 0, 1 << 40)]), r"kv_split\[0\] must end at 2147483648 or before"),
    "two fields": (lambda: make([(0, 0)]), r"kv_split\[0\] must be \(device, begin, end\), three ints; got \(0, 0\)"),
    "floats": (lambda: make([(0, 0, 1.0)]), "three ints"),
    "negative device": (lambda: make([(-1, 0, 1)]), "three ints"),
    "no list": (lambda: make(7), "kv_split must be a list; got 7"),
    "no tuples": (lambda: make([1, 2]), r"kv_split\[0\] must be a list; got 1"),
    "buffer no tensor": (lambda: make(temp=[3]), r"pinned_temp\[0\] must be a tensor; got 3"),
    "buffer not contiguous": (lambda: make(temp=[torch.zeros(8, 8).t()]), r"pinned_temp\[0\] must be contiguous"),
    "buffer on meta": (lambda: make(temp=[torch.zeros(8, device="meta")]), r"pinned_temp\[0\] must be a dense CPU tensor; got one on meta"),
    "buffers overlap": (lambda: (lambda t: make(temp=[t[:5], t[4:]]))(torch.zeros(8)), r"pinned_temp\[1\] must not share memory with pinned_temp\[0\]"),
    "timeout 0": (lambda: make(timeout=0), "timeout must be more than 0 seconds; got 0"),
    "timeout negative": (lambda: make(timeout=-3), "timeout must be None or a number of seconds"),
    "timeout nan": (lambda: make(timeout=float("nan")), "timeout must be None or a number of seconds"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG_CONTEXTS)
def test_wrong_context_raises(name):
    call, text = WRONG_CONTEXTS[name]
    with pytest.raises(ValueError, match="make_tp_context: .*" + text):
        call()
    tp.free_tp_context(make())


HUGE = 1 << 40

WRONG_KINDS = {
    "broadcast: buffer": (lambda c: broadcast(c, 1.5), TypeError, "tp_broadcast: buffer must be an int; got 1.5"),
    "broadcast: buffer huge": (lambda c: broadcast(c, HUGE), ValueError, "tp_broadcast: buffer must fit into 32 bits; got 1099511627776"),
    "broadcast: type": (lambda c: broadcast(c, type="KV"), TypeError, "tp_broadcast: broadcast_type must be an int; got 'KV'"),
    "broadcast: t_device": (lambda c: broadcast(c, t_device=None), TypeError, "tp_broadcast: t_device must be an int; got None"),
    "gather: buffer": (lambda c: gather(c, "0"), TypeError, "tp_gather: buffer must be an int; got '0'"),
    "gather: dim": (lambda c: gather(c, dim=1.0), TypeError, "tp_gather: dim must be an int; got 1.0"),
    "gather: dim huge": (lambda c: gather(c, dim=1 << 70), ValueError, "tp_gather: dim must fit into 64 bits; got 1180591620717411303424"),
    "gather: target": (lambda c: gather(c, target=torch.tensor(1.5)), TypeError, r"tp_gather: broadcast_type_target must be an int; got tensor\(1.5000\)"),
    "gather_barrier: barrier": (lambda c: gather_barrier(c, barrier=3), TypeError, "tp_gather_barrier: barrier must be a Barrier or None; got 3"),
    "gather_barrier: buffer": (lambda c: gather_barrier(c, buffer=HUGE), ValueError, "tp_gather_barrier: buffer must fit into 32 bits; got"),
    "gather_barrier: no barrier": (lambda c: gather_barrier(c, buffer=9), ValueError, "tp_gather_barrier: buffer must be one of the 2 of pinned_temp; got 9"),
    "gather_barrier: t_device": (lambda c: gather_barrier(c, t_device=0.0), TypeError, "tp_gather_barrier: t_device must be an int; got 0.0"),
    "all_reduce: buffer": (lambda c: all_reduce(c, None), TypeError, "tp_all_reduce: buffer must be an int; got None"),
    "barrier: stage": (lambda c: barrier(c, KV, -1, "x"), TypeError, "tp_cross_device_barrier: stage must be an int; got 'x'"),
    "barrier: next_stage": (lambda c: barrier(c, KV, -1, 0, HUGE), ValueError, "tp_cross_device_barrier: next_stage must fit into 32 bits"),
    "synchronize: buffer huge": (lambda c: tp.tp_synchronize(c.handle, HUGE), ValueError, "tp_synchronize: buffer must fit into 32 bits; got 1099511627776"),
    "synchronize: buffer": (lambda c: tp.tp_synchronize(c.handle, 1.0), TypeError, "tp_synchronize: buffer must be an int; got 1.0"),
    "synchronize: timeout": (lambda c: tp.tp_synchronize(c.handle, timeout="1"), TypeError, "tp_synchronize: timeout must be None or a number of seconds, 0 or more; got '1'"),
    "synchronize: timeout huge": (lambda c: tp.tp_synchronize(c.handle, timeout=10**400), ValueError, "tp_synchronize: timeout must be None or a number"),
    "set_multithreaded": (lambda c: tp.tp_set_multithreaded(c.handle, "no"), TypeError, "tp_set_multithreaded: multithreaded must be a bool; got 'no'"),
    "context: timeout": (lambda c: make(timeout=[]), TypeError, r"make_tp_context: timeout must be None or a number .*; got \[\]"),
    "context: multithreaded": (lambda c: make(multithreaded="x"), TypeError, "make_tp_context: multithreaded must be a bool; got 'x'"),
    "stream: device": (lambda c: tp.HostStream("cpu"), TypeError, "HostStream: device must be an int; got 'cpu'"),
    "stream: timeout": (lambda c: tp.HostStream(0).synchronize("x"), TypeError, "HostStream.synchronize: timeout must be None or"),
    "barrier: threads": (lambda c: tp.Barrier(2.5), TypeError, "Barrier: num_threads must be an int; got 2.5"),
    "barrier: reset": (lambda c: tp.Barrier(2).reset(HUGE), ValueError, "Barrier.reset: num_threads must fit into 32 bits"),
    "barrier: timeout": (lambda c: tp.Barrier(1).arrive_and_wait(timeout="x"), TypeError, "Barrier.arrive_and_wait: timeout must be None or"),
    "handle None": (lambda c: tp.tp_synchronize(None), ValueError, "tp_synchronize: tp_context must be a handle from make_tp_context; got None"),
    "handle huge": (lambda c: tp.free_tp_context(1 << 70), ValueError, "free_tp_context: tp_context must be .*; got 1180591620717411303424"),
    "handle negative": (lambda c: tp.tp_set_multithreaded(-3, True), ValueError, "tp_set_multithreaded: tp_context must be .*; got -3"),
    "handle of barrier": (lambda c: tp.tp_gather_barrier("x", 0, [], KV, [], -1, 1), ValueError, "tp_gather_barrier: tp_context must be .*; got 'x'"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG_KINDS)
def test_what_is_of_a_wrong_kind_is_named(name):
    call, error, text = WRONG_KINDS[name]
    with Rig([(0, 0, 3), (1, 3, 4)], (4096, 4096)) as rig:
        with pytest.raises(error, match="^" + text):
            call(rig)
        rig.broadcast(torch.ones(3))
        rig.sync()


@pytest.mark.parametrize(
    "call",
    [
        lambda c: tp.tp_cross_device_barrier(c.handle),
        lambda c: tp.tp_broadcast(c.handle, 0),
        lambda c: make(verbose=True),
    ],
)
def test_what_is_no_argument_is_a_type_error(call):
    with Rig(even([0])) as rig, pytest.raises(TypeError):
        call(rig)
