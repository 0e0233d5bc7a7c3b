# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The pinnedpg authors
"""The host reduction against its definition in torch, bit for bit, with every instruction set."""

import functools
import math

import pytest
import torch

from pinnedpg import _C

INTEGERS = [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64]
INTEGERS += [torch.uint16, torch.uint32, torch.uint64]
SMALL_FLOATS = [torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2]
SMALL_FLOATS += [torch.float8_e4m3fnuz, torch.float8_e5m2fnuz]
FLOATS = [*SMALL_FLOATS, torch.float32, torch.float64]
COMPLEX = [torch.complex64, torch.complex128]
DTYPES = [*INTEGERS, torch.bool, *FLOATS, *COMPLEX]
SIGNED = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}

OPS = ["SUM", "AVG", "PRODUCT", "MIN", "MAX", "BAND", "BOR", "BXOR", "PREMUL_SUM"]
COUNTS = [0, 1, 7, 64, 513, 5000]
FACTORS = [0.3, -1.7, 2.0, 0.0, 1e-3]
NAN_CODES = {torch.float16: 0x7E00, torch.bfloat16: 0x7FC0, torch.float8_e4m3fn: 0x7F}
NAN_CODES |= {torch.float8_e5m2: 0x7F, torch.float8_e4m3fnuz: 0x80, torch.float8_e5m2fnuz: 0x80}


def supported(dtype, op):
    if dtype in COMPLEX:
        return op in ("SUM", "AVG", "PRODUCT", "PREMUL_SUM")
    if dtype in FLOATS:
        return op not in ("BAND", "BOR", "BXOR")
    return op != "PREMUL_SUM" and (op != "AVG" or dtype != torch.bool)


CASES = [(dtype, op) for dtype in DTYPES for op in OPS if supported(dtype, op)]


@pytest.fixture(autouse=True)
def one_thread():
    """So that torch does not wake threads for the many small tensors."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def random_bytes(count, dtype, generator):
    """Every code of the type: for floats of up to 16 bits that means NaN, infinity, subnormals."""
    raw = torch.randint(0, 256, (count * dtype.itemsize,), dtype=torch.uint8, generator=generator)
    return raw.view(dtype)


def random_values(count, dtype, generator):
    if dtype in COMPLEX:
        real = torch.float32 if dtype == torch.complex64 else torch.float64
        return torch.view_as_complex(random_values(2 * count, real, generator).view(count, 2))
    if dtype == torch.bool:  # a byte that is true need not be 1
        bytes_ = torch.tensor([0, 0, 0, 1, 2, 128, 255], dtype=torch.uint8)
        return bytes_[torch.randint(0, 7, (count,), generator=generator)].view(torch.bool)
    if dtype in (torch.float32, torch.float64):
        scale = torch.randint(-30, 30, (count,), generator=generator).to(dtype).exp2()
        values = torch.randn(count, dtype=dtype, generator=generator) * scale
        special = torch.tensor([math.nan, math.inf, -math.inf, 0.0, -0.0, 1e38, 1e-42], dtype=dtype)
        places = torch.randint(0, 9, (count,), generator=generator) == 0
        chosen = special[torch.randint(0, len(special), (count,), generator=generator)]
        return torch.where(places, chosen, values)
    return random_bytes(count, dtype, generator)


@functools.cache
def inputs(dtype, count):
    generator = torch.Generator().manual_seed(count + 1)
    return [random_values(count, dtype, generator) for _ in range(5)]


def fold(op, terms):
    """The terms combined in order, in their own type. NaN wins in torch.minimum and maximum."""
    step = {
        "MIN": torch.minimum,
        "MAX": torch.maximum,
        "PRODUCT": torch.mul,
        "BAND": torch.bitwise_and,
        "BOR": torch.bitwise_or,
        "BXOR": torch.bitwise_xor,
    }.get(op, torch.add)
    return functools.reduce(step, terms)


def expected_integer(op, srcs):
    dtype = srcs[0].dtype
    signed = SIGNED[dtype.itemsize]
    if op in ("MIN", "MAX") and dtype == torch.uint64:  # torch has no such: order by flipped sign
        flip = torch.tensor(-(2**63))
        return (fold(op, [src.view(signed) ^ flip for src in srcs]) ^ flip).view(dtype)
    if op in ("MIN", "MAX"):
        return fold(op, [src.to(torch.int64) for src in srcs]).to(dtype)
    wrapped = fold(op, [src.view(signed) for src in srcs]).view(dtype)
    if op != "AVG":
        return wrapped
    if dtype == torch.uint64:
        return torch.tensor([value // len(srcs) for value in wrapped.tolist()], dtype=dtype)
    return torch.div(wrapped.to(torch.int64), len(srcs), rounding_mode="trunc").to(dtype)


def expected_bool(op, srcs):
    truths = [src.view(torch.uint8) != 0 for src in srcs]
    name = {"SUM": "BOR", "MAX": "BOR", "PRODUCT": "BAND", "MIN": "BAND"}.get(op, op)
    return fold(name, truths)


def expected_float(op, srcs, factors):
    dtype = srcs[0].dtype
    wide = [src.float() if dtype in SMALL_FLOATS else src for src in srcs]
    if op == "PREMUL_SUM":
        wide = [
            torch.tensor(factor, dtype=term.dtype) * term
            for factor, term in zip(factors, wide, strict=True)
        ]
    acc = fold(op, wide)
    if op == "AVG":
        acc = acc / len(srcs)
    if dtype == torch.float8_e4m3fn:  # saturates; torch before 2.13 makes it NaN
        acc = acc.clamp(-448, 448)
    return acc.to(dtype)


def expected_complex_product(srcs):
    def multiply(a, b):
        (ar, ai), (br, bi) = a, b
        return ar * br - ai * bi, ar * bi + ai * br

    return torch.complex(*functools.reduce(multiply, [(src.real, src.imag) for src in srcs]))


def expected(op, srcs, factors):
    dtype = srcs[0].dtype
    if dtype in INTEGERS:
        return expected_integer(op, srcs)
    if dtype == torch.bool:
        return expected_bool(op, srcs)
    if dtype in COMPLEX and op == "PRODUCT":
        return expected_complex_product(srcs)
    if dtype in COMPLEX:
        parts = [torch.view_as_real(src) for src in srcs]
        return torch.view_as_complex(expected_float(op, parts, factors))
    return expected_float(op, srcs, factors)


def codes(tensor):
    """The elements' bits, with one code for every NaN."""
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor)
    bits = tensor.contiguous().view(SIGNED[tensor.dtype.itemsize])
    if not tensor.is_floating_point():
        return bits
    wide = tensor.float() if tensor.dtype in SMALL_FLOATS else tensor
    return torch.where(wide.isnan(), torch.tensor(-1, dtype=bits.dtype), bits)


def assert_same(result, wanted, op, what):
    # torch.minimum(0., -0.) is either, depending on its own vectorisation.
    loose = op in ("MIN", "MAX") and result.dtype in FLOATS
    if result.dtype in SMALL_FLOATS:
        nans = result[wanted.float().isnan()].view(SIGNED[result.dtype.itemsize])
        mask = (1 << 8 * result.dtype.itemsize) - 1
        assert all(code & mask == NAN_CODES[result.dtype] for code in set(nans.tolist())), what
    got, want = codes(result), codes(wanted)
    if loose:
        zero = codes(torch.tensor([-0.0]).to(result.dtype))
        got, want = (torch.where(bits == zero, 0, bits) for bits in (got, want))
    assert torch.equal(got, want), what


def unaligned(tensor, offset):
    """A copy that starts `offset` bytes after an aligned address."""
    count = tensor.numel()
    if count == 0:
        return tensor.clone()
    memory = bytearray(offset + tensor.nbytes + 64)
    copy = torch.frombuffer(memory, dtype=tensor.dtype, count=count, offset=offset)
    copy.view(torch.uint8).copy_(tensor.view(torch.uint8))  # bytes, for a bool's need not be 0 or 1
    return copy


@pytest.mark.parametrize(("dtype", "op"), CASES, ids=lambda value: str(value).split(".")[-1])
@pytest.mark.parametrize("src_count", [1, 2, 3, 5])
def test_definition(dtype, op, src_count):
    factors = FACTORS[:src_count] if op == "PREMUL_SUM" else []
    for count in COUNTS:
        originals = inputs(dtype, count)[:src_count]
        before = [src.view(torch.uint8).clone() for src in originals]
        wanted = expected(op, originals, factors)
        for in_place in sorted({None, 0, src_count // 2, src_count - 1}, key=str):
            for isa in _C._reduce_isas():
                srcs = list(originals)
                dst = torch.empty_like(wanted)
                if in_place is not None:
                    dst = srcs[in_place] = unaligned(srcs[in_place], 0)
                _C._reduce(dst, srcs, op, factors, isa)
                assert_same(dst, wanted, op, f"{count} elements, in place {in_place}, {isa}")
        for src, bits in zip(originals, before, strict=True):
            assert torch.equal(src.view(torch.uint8), bits)


@pytest.mark.parametrize(("dtype", "op"), CASES, ids=lambda value: str(value).split(".")[-1])
def test_unaligned(dtype, op):
    originals = inputs(dtype, 513)[:3]
    factors = FACTORS[:3] if op == "PREMUL_SUM" else []
    for src_count in (2, 3):
        wanted = expected(op, originals[:src_count], factors[:src_count])
        for offset in (1, dtype.itemsize):
            for isa in _C._reduce_isas():
                srcs = [unaligned(src, offset * k) for k, src in enumerate(originals[:src_count])]
                dst = unaligned(wanted, offset + 2)
                dst.view(torch.uint8).zero_()
                _C._reduce(dst, srcs, op, factors[:src_count], isa)
                assert_same(dst, wanted, op, f"{src_count} sources, offset {offset}, {isa}")


def test_writes_nothing_beyond_the_end():
    for dtype, op in CASES:
        factors = FACTORS[:2] if op == "PREMUL_SUM" else []
        for isa in _C._reduce_isas():
            memory = torch.full((600 * dtype.itemsize,), 0x5A, dtype=torch.uint8)
            dst = memory.view(dtype)[10:523]
            _C._reduce(dst, inputs(dtype, 513)[:2], op, factors, isa)
            assert (memory[: 10 * dtype.itemsize] == 0x5A).all()
            assert (memory[523 * dtype.itemsize :] == 0x5A).all()


@pytest.mark.parametrize("dtype", SMALL_FLOATS, ids=str)
@pytest.mark.parametrize("isa", _C._reduce_isas())
def test_every_code(dtype, isa):
    """Each code converts to float32 and back; its sum with many others rounds as torch rounds."""
    every = torch.arange(1 << 8 * dtype.itemsize).to(SIGNED[dtype.itemsize]).view(dtype)
    dst = torch.empty_like(every)
    _C._reduce(dst, [every], "SUM", isa=isa)
    assert_same(dst, every, "SUM", "one source")
    for shift in (0, 1, 77, 128, 200, len(every) // 2, len(every) // 3):
        other = every.view(SIGNED[dtype.itemsize]).roll(shift).view(dtype)
        _C._reduce(dst, [every, other], "SUM", isa=isa)
        assert_same(dst, expected("SUM", [every, other], []), "SUM", f"shifted by {shift}")


def test_one_rounding():
    """1 + 2^-8 + 2^-8 in bfloat16: rounded at each addition it would stay 1."""
    srcs = [torch.full((40,), value, dtype=torch.bfloat16) for value in (1, 2**-8, 2**-8)]
    dst = torch.empty(40, dtype=torch.bfloat16)
    _C._reduce(dst, srcs, "SUM")
    assert dst.tolist() == [1 + 2**-7] * 40


def test_source_order():
    """Float32 is added in source order, so that every rank has the same bits: (1e8 - 1e8) + 1."""
    srcs = [torch.full((40,), value) for value in (1e8, -1e8, 1.0)]
    dst = torch.empty(40)
    _C._reduce(dst, srcs, "SUM")
    assert dst.tolist() == [1.0] * 40
    _C._reduce(dst, srcs[::-1], "SUM")
    assert dst.tolist() == [0.0] * 40


def test_many_sources():
    srcs = [torch.full((3000,), k, dtype=torch.bfloat16) for k in range(40)]
    for isa in _C._reduce_isas():
        dst = torch.empty(3000, dtype=torch.bfloat16)
        _C._reduce(dst, srcs, "AVG", isa=isa)
        assert dst.tolist() == [19.5] * 3000


def test_can_reduce():
    for dtype in DTYPES:
        for op in OPS:
            assert _C._can_reduce(dtype, op) == supported(dtype, op), (dtype, op)


def test_default_isa():
    """Without a name it is the machine's best, with the same result."""
    a, b = inputs(torch.bfloat16, 5000)[:2]
    dst = torch.empty_like(a)
    _C._reduce(dst, [a, b], "SUM")
    assert_same(dst, expected("SUM", [a, b], []), "SUM", "default")


def test_errors():
    ints, floats = torch.ones(4, dtype=torch.int32), torch.ones(4)
    with pytest.raises(ValueError, match="BAND has no meaning for float32"):
        _C._reduce(floats, [floats], "BAND")
    with pytest.raises(ValueError, match="PREMUL_SUM has no meaning for int32"):
        _C._reduce(ints, [ints], "PREMUL_SUM", [1.0])
    with pytest.raises(ValueError, match="2 sources needs 2 factors; got 1"):
        _C._reduce(floats, [floats, floats], "PREMUL_SUM", [1.0])
    with pytest.raises(ValueError, match="SUM of 1 sources needs 0 factors; got 1"):
        _C._reduce(floats, [floats], "SUM", [1.0])
    with pytest.raises(ValueError, match="at least one source"):
        _C._reduce(floats, [], "SUM")
    with pytest.raises(ValueError, match="got sse9"):
        _C._reduce(floats, [floats], "SUM", isa="sse9")
