# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""Tensor lists: what the matrix does not show of `pinnedpg.devices`."""

import pytest
import ranks
import torch
import torch.distributed as dist

import pinnedpg.devices as devices


@pytest.fixture
def alone():
    """A group of this process alone."""
    devices.init()
    yield
    dist.destroy_process_group()


def t(*values):
    return torch.tensor(values, dtype=torch.float32)


def listed(tensors):
    return [tensor.tolist() for tensor in tensors]


def test_init_keeps_a_group(alone):
    group = dist.distributed_c10d._get_default_group()
    devices.init()
    assert dist.distributed_c10d._get_default_group() is group
    assert dist.get_world_size() == 1 and dist.get_backend() == "pinned"


def test_one_process(alone):
    tensors = [t(1, 2), t(10, 20), t(100, 200)]
    devices.all_reduce(tensors)
    assert listed(tensors) == [[111, 222]] * 3
    tensors = [t(1), t(2), t(3)]
    devices.broadcast(tensors, src_tensor=1)
    assert listed(tensors) == [[2]] * 3
    tensors = [t(1), t(2), t(3)]
    devices.reduce(tensors, dst_tensor=2, op=dist.ReduceOp.PRODUCT)
    assert tensors[2].item() == 6
    outputs = [[torch.zeros(1) for _ in range(2)] for _ in range(2)]
    assert devices.all_gather(outputs, [t(1), t(2)]) is None
    assert [listed(output) for output in outputs] == [[[1], [2]]] * 2
    outputs = [torch.zeros(1), torch.zeros(1)]
    work = devices.reduce_scatter(outputs, [[t(1), t(2)], [t(10), t(20)]], async_op=True)
    work.wait()
    assert listed(outputs) == [[11], [22]]
    devices.barrier()
    average = [t(1), t(4)]
    devices.all_reduce(average, dist.ReduceOp.AVG)
    assert listed(average) == [[2.5]] * 2


def test_lists_of_any_length_may_alternate(alone):
    for count in (1, 3, 2, 3, 5, 1):
        tensors = [torch.full((7,), float(i)) for i in range(count)]
        works = [devices.all_reduce(tensors, async_op=True) for _ in range(3)]
        for work in works:
            work.wait()
        total = sum(range(count)) * count * count
        assert listed(tensors) == [[total] * 7] * count


BAD = [
    (lambda: devices.all_reduce([]), "tensor"),
    (lambda: devices.all_reduce([t(1), t(1, 2)]), "must have 1 elements; got 2"),
    (lambda: devices.all_reduce([t(1), torch.ones(1, dtype=torch.int8)]), "type"),
    (lambda: devices.broadcast([t(1)], src_tensor=1), "src_tensor must be an index of the 1"),
    (lambda: devices.reduce([t(1)], dst_tensor=-1), "dst_tensor must be an index of the 1"),
    (lambda: devices.all_gather([[t(1)]], [t(1), t(2)]), "list of outputs for each"),
    (lambda: devices.all_gather([[t(1)], [t(1)]], [t(1), t(2)]), "2 outputs"),
    (lambda: devices.reduce_scatter([t(1)], [[t(1, 2)]]), "must have the output's"),
    (lambda: devices.reduce_scatter([t(1), t(1)], [[t(1), t(2)]]), "list of inputs for each"),
]


@pytest.mark.parametrize(("call", "text"), BAD)
def test_errors_leave_the_group_alive(alone, call, text):
    with pytest.raises(ValueError, match=text):
        call()
    tensors = [t(1), t(2)]
    devices.all_reduce(tensors)
    assert listed(tensors) == [[3]] * 2


def two_by_two():
    rank = dist.get_rank()
    results = []
    for src in range(2):
        for src_tensor in range(2):
            tensors = [torch.full((300,), 10.0 * rank + i) for i in range(2)]
            devices.broadcast(tensors, src, src_tensor)
            results.append([tensor[-1].item() for tensor in tensors])
            tensors = [torch.full((300,), 10.0 * rank + i) for i in range(2)]
            devices.reduce(tensors, src, src_tensor)
            results.append(rank != src or tensors[src_tensor][-1].item() == 22.0)
    group = dist.new_group([1])
    alone = [t(1), t(2)]
    if rank == 1:
        devices.all_reduce(alone, group=group)
        devices.broadcast(alone, src=1, src_tensor=1, group=group)  # a global rank
    return results, listed(alone)


def test_two_processes_with_two_tensors():
    roots = [[[v, v], True] for v in (0.0, 1.0, 10.0, 11.0)]
    flat = [one for root in roots for one in root]
    assert ranks.run(two_by_two, 2) == [(flat, [[1], [2]]), (flat, [[3], [3]])]


def unequal_lists():
    tensors = [torch.ones(3) for _ in range(1 + dist.get_rank())]
    try:
        devices.all_reduce(tensors)
    except dist.DistBackendError as error:
        return str(error)
    return ""


def test_unequal_lists_are_named():
    for text in ranks.run(unequal_lists, 2, timeout_s=60.0):
        assert "tensors" in text, text


def first_call_is_async(lengths):
    works = []
    for length in lengths:
        tensors = [torch.ones(4) for _ in range(length)]
        works.append((devices.all_reduce(tensors, async_op=True), tensors))
    for work, tensors in works:
        work.wait()
        assert listed(tensors) == [[len(tensors) * dist.get_world_size()] * 4] * len(tensors)


@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("lengths", [[2], [3, 1, 2], [1, 2, 2, 3]])
def test_the_first_call_of_a_group_may_be_an_async_list(world_size, lengths):
    ranks.run(first_call_is_async, world_size, lengths)


def mapped_bytes():
    with open("/proc/self/maps") as maps:
        spans = [line.split()[0].split("-") for line in maps if "memfd:pinnedpg" in line]
    return sum(int(end, 16) - int(begin, 16) for begin, end in spans)


def test_lists_of_many_lengths_stay_within_the_budget(alone):
    for count in range(1, 13):
        devices.all_reduce([torch.ones(100) for _ in range(count)])
        assert mapped_bytes() <= 32 << 20


def test_tensors_of_a_list_must_be_apart(alone):
    tensor = t(1, 2, 3, 4)
    for tensors in ([tensor, tensor], [tensor[:3], tensor[1:]]):
        with pytest.raises(ValueError, match="must not overlap"):
            devices.all_reduce(tensors)
    assert tensor.tolist() == [1, 2, 3, 4]


def test_a_result_may_be_another_members_input(alone):
    inputs = [[t(1), t(2)], [t(10), t(20)]]
    devices.reduce_scatter([inputs[1][0], inputs[0][1]], inputs)
    assert inputs[1][0].item() == 11 and inputs[0][1].item() == 22


def test_lists_that_are_too_long_are_refused(alone):
    with pytest.raises(ValueError, match="at most 65535 tensors"):
        devices.broadcast(list(torch.ones(65536).split(1)))


@pytest.mark.parametrize("call", ["reduce", "broadcast", "all_reduce"])
def test_lists_that_overlap_are_refused(alone, call):
    base = torch.ones(30)
    with pytest.raises(ValueError, match="must not overlap"):
        getattr(devices, call)([base[:20], base[10:]])


SINGLE = [
    (lambda g: g.gather([[t(1), t(1)]], [t(1), t(1)]), "gather: there must be one input; got 2"),
    (lambda g: g.scatter([t(1), t(1)], [[t(1)]]), "scatter: there must be one output; got 2"),
    (lambda g: g.send([t(1), t(1)], 0, 0), "send: there must be one tensor; got 2"),
    (lambda g: g.recv([t(1), t(1)], 0, 0), "recv: there must be one tensor; got 2"),
    (lambda g: g.recv_anysource([], 0), "recv: there must be one tensor; got 0"),
]


@pytest.mark.parametrize(("call", "text"), SINGLE)
def test_calls_of_c10d_that_know_no_lists_say_so(alone, call, text):
    group = dist.distributed_c10d._get_default_group()._get_backend(torch.device("cpu"))
    with pytest.raises(ValueError, match=text):
        call(group)
    devices.barrier()
