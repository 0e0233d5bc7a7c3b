# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""A segment: its pages, who can open it and until when, and what a shortage of memory is."""

import concurrent.futures
import ctypes
import errno
import os
import platform
import resource
import struct
import subprocess
import sys
import time

import pytest
import ranks
import torch
import torch.distributed as dist
from processes import in_a_fork, left_behind
from worker import Setup

import pinnedpg
from pinnedpg import devices, tp

Segment = pinnedpg._C._Segment
BARE = Setup(backend=None)
PAGE = 4096
MIB = 1 << 20
FALLOCATE = {"x86_64": 285, "aarch64": 47}  # its number
FIELDS = ["fd", "id", "bytes", "pid", "start_time", "pid_namespace", "boot"]


def altered(handle: str, **changes) -> str:
    """Returns a handle's text with other values in some of its fields."""
    fields = dict(zip(FIELDS, handle.split(), strict=True))
    assert changes.keys() <= fields.keys()
    return " ".join(str(value) for value in (fields | changes).values())


def field(handle: str, name: str) -> int:
    return int(handle.split()[FIELDS.index(name)])


def files() -> list[str]:
    """Returns the segments that this process has open."""
    links = []
    for name in os.listdir("/proc/self/fd"):
        try:
            links.append(os.readlink(f"/proc/self/fd/{name}"))
        except FileNotFoundError:  # the listing's own
            continue
    return [link for link in links if "memfd:pinnedpg-" in link]


def mappings() -> list[str]:
    """Returns the segments that this process has mapped."""
    with open("/proc/self/maps") as maps:
        return [line.split("memfd:")[1].strip() for line in maps if "memfd:pinnedpg-" in line]


def held(but: tuple[list, list] = ([], [])) -> tuple[list, list]:
    """Returns the files and the mappings, without those that were there before."""
    kept = [name for name in files() if name not in but[0]]
    return kept, [name for name in mappings() if name not in but[1]]


def refuse_fallocate(code: int, longer_than: int = 0) -> None:
    """Lets the kernel answer with an error, from now on and to this thread alone."""
    if platform.machine() not in FALLOCATE:
        pytest.skip("no number of fallocate for this machine")
    allow, refuse = (0x06, 0, 0, 0x7FFF0000), (0x06, 0, 0, 0x00050000 | code)
    program = [(0x20, 0, 0, 0), (0x15, 0, 3, FALLOCATE[platform.machine()])]  # is it that call
    program += [(0x20, 0, 0, 40), (0x25, 0, 1, longer_than), refuse, allow]  # of that length
    code_bytes = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *one) for one in program))
    filters = struct.pack("HxxxxxxP", len(program), ctypes.addressof(code_bytes))
    libc = ctypes.CDLL(None)
    libc.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
    if libc.prctl(22, 2, filters, 0, 0) != 0:  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER
        pytest.skip("the kernel takes no filter")


def on_a_thread(fn):
    with concurrent.futures.ThreadPoolExecutor(1) as threads:
        return threads.submit(fn).result()


def reserved_bytes(segment) -> int:
    return os.fstat(field(segment.handle, "fd")).st_blocks * 512


def test_pages_are_there_once_reserved():
    segment = Segment.create(10 * PAGE + 100)
    assert reserved_bytes(segment) == 0
    segment.reserve(PAGE + 1, PAGE)  # parts of two pages
    assert reserved_bytes(segment) == 2 * PAGE
    segment.reserve(2 * PAGE, 2 * PAGE)
    assert reserved_bytes(segment) == 3 * PAGE
    segment.reserve(0, 10 * PAGE + 100)  # up to the end, within a page
    assert reserved_bytes(segment) == 11 * PAGE
    assert not any(memoryview(segment))


def test_shortage_is_an_exception():
    segment = Segment.create(4 * PAGE)

    def reserve():
        refuse_fallocate(errno.ENOSPC)
        segment.reserve(0, 2 * PAGE)

    remedy = r"Lower slot_bytes or depth in Options \(fallocate: No space left"
    with pytest.raises(RuntimeError, match=f"cannot reserve 8192 bytes of host memory. {remedy}"):
        on_a_thread(reserve)
    segment.reserve(0, 2 * PAGE)


def test_reserve_is_not_for_signals_to_end():
    """Kernels before 6.12 let a signal interrupt it: a long one may not get through between two."""
    segment = Segment.create(4 * MIB)

    def reserve():
        refuse_fallocate(errno.EINTR, longer_than=MIB)
        segment.reserve(PAGE, 3 * MIB)

    on_a_thread(reserve)
    assert reserved_bytes(segment) == 3 * MIB


def short_of_memory(store, rank, world_size, poor):
    if rank == poor:
        refuse_fallocate(errno.ENOSPC)
    Setup(timeout_s=10.0).init(store=store, rank=rank, world_size=world_size)
    dist.all_reduce(torch.ones(4))


@pytest.mark.parametrize("poor", [0, 2])
def test_shortage_of_one_rank_is_an_exception_on_all(poor):
    """Of the first one, which makes the segment, or of another one: each reserves its part."""
    outcomes = ranks.start(short_of_memory, 3, poor, setup=BARE).outcomes()
    report = ranks.RanksError(outcomes)
    assert [outcome.state for outcome in outcomes] == ["raised"] * 3, report
    for outcome in outcomes:
        assert "segment: cannot reserve" in outcome.text, report
        assert outcome.rank == poor or f"rank {poor}, which could not join" in outcome.text, report


def test_no_room_for_the_file():
    before, limits = files(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (MIB, limits[1]))
    try:
        with pytest.raises(
            RuntimeError, match=r"cannot size 2097152 bytes \(ftruncate: File too large"
        ):
            Segment.create(2 * MIB)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert files() == before


def test_one_mapping_in_a_process():
    before = mappings()
    segment = Segment.create(PAGE)
    assert not os.get_inheritable(field(segment.handle, "fd"))
    assert Segment.open(segment.handle) is segment
    segment.seal()
    assert Segment.open(segment.handle) is segment  # as it is mapped
    assert len(mappings()) == len(before) + 1
    handle = segment.handle
    del segment
    assert mappings() == before
    assert Segment.open(handle) is None


def opened_by_a_peer(store, rank, world_size):
    if rank == 0:
        segment = Segment.create(PAGE)
        memoryview(segment)[0] = 42
        store.set("handle", segment.handle)
        store.wait(["opened"])
        segment.seal()
        store.set("sealed", "")
        store.wait(["seen"])
        return memoryview(segment)[1]
    old = held()
    handle = store.get("handle").decode()
    stale = {"id": field(handle, "id") ^ 1, "fd": 10**6, "pid": os.getpid()}
    found = [Segment.open(altered(handle, **{name: stale[name]})) for name in stale]
    segment = Segment.open(handle)
    value = memoryview(segment)[0]
    memoryview(segment)[1] = 43
    del segment
    store.set("opened", "")
    store.wait(["sealed"])
    found.append(Segment.open(handle))
    store.set("seen", "")
    return value, found, held(old)


def test_open_in_another_process():
    """What is stale (another id, file or process; sealed) is None, and nothing is left open."""
    first, second = ranks.run(opened_by_a_peer, 2, setup=BARE)
    assert first == 43
    assert second == (42, [None] * 4, ([], []))


def test_creator_is_gone():
    make = "from pinnedpg._C import _Segment; print(_Segment.create(4096).handle)"
    code = f"import torch\n{make}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert Segment.open(done.stdout.strip()) is None


def of_another_user():
    if os.getuid() == 0:
        os.setuid(65534)  # this process is a fork
    handle = altered(Segment.create(PAGE).handle, pid=1, fd=0, id=1)
    with pytest.raises(RuntimeError, match="a rank of this user must be let to open .*denied"):
        Segment.open(handle)


def forked_of_another_user(store, rank, world_size):
    return in_a_fork(of_another_user)


def test_creator_is_another_user():
    if os.getuid() != 0 and os.stat("/proc/1").st_uid == os.getuid():
        pytest.skip("all processes are this user's")
    assert ranks.run(forked_of_another_user, 1, setup=BARE) == [0]


def test_creator_is_elsewhere():
    handle = Segment.create(PAGE).handle  # unmapped again
    with pytest.raises(ValueError, match="must run on one machine; got a rank on another one"):
        Segment.open(altered(handle, boot=1))
    with pytest.raises(ValueError, match="got another pid namespace. Run the containers"):
        Segment.open(altered(handle, pid_namespace=1))


def first_call(store, rank, world_size):
    """Returns the files and mappings: unused, half-way, after a call, after other ones, at last."""
    old = held()
    Setup().init(store=store, rank=rank, world_size=world_size)
    seen = [held(old)]
    if rank == 0:
        work = dist.all_reduce(torch.ones(4), async_op=True)
        while not held(old)[1]:
            pass
        seen.append(held(old))
        store.set("half-way", "")
        work.wait()
    else:
        store.wait(["half-way"])
        dist.all_reduce(torch.ones(4))
        seen.append(None)
    seen.append(held(old))
    devices.all_reduce([torch.ones(4) for _ in range(2)])  # one more segment
    seen.append(held(old))
    dist.destroy_process_group()
    deadline = time.monotonic() + 2  # for the worker thread to let go of what it has done
    while held(old) != ([], []) and time.monotonic() < deadline:
        time.sleep(0.01)
    return [*seen, held(old)]


def test_sealed_by_the_first_call():
    before = left_behind()
    first, second = ranks.run(first_call, 2, setup=BARE)
    (half_way,) = first[1][0]
    assert first[0] == second[0] == ([], [])
    assert first[1] == ([half_way], [half_way.removeprefix("/memfd:")])
    assert first[2] == second[2] == ([], first[1][1])  # no file any more, the mapping is there
    assert first[3] == second[3] and first[3][0] == [] and len(first[3][1]) == 2
    assert first[4] == second[4] == ([], [])
    assert left_behind() == before


def test_raw_context_is_sealed():
    old = held()
    split = [(0, 0, 1), (1, 1, 2)]
    temp = [torch.empty(1024) for _ in range(2)]
    streams = [tp.HostStream(device) for device in range(2)]
    context = tp.make_tp_context(split, split, split, split, split, temp, streams)
    tp.tp_all_reduce(context, 0, [torch.ones(1, 2)] * 2, [torch.ones(1, 2) for _ in range(2)])
    tp.tp_synchronize(context)
    names, maps = held(old)
    assert names == [] and maps != []
    tp.free_tp_context(context)
