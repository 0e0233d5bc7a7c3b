// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "base/dtype.h"
#include "device/host_device.h"

/// What host and device share: how an element is read, combined, finished and written. Plain C++ for both compilers.
///
/// Force-inlined, because the host compiles this header once per instruction set: an out-of-line copy made with AVX-512
/// would be a weak symbol, which the linker may choose for the baseline too. Contraction must be off in every file that
/// includes it (-ffp-contract=off, nvcc: -fmad=false), or `factor * x + sum` differs between machines.

namespace pinnedpg {

/// Whether the table has a meaning for it. Signed and unsigned integers are alike; bool knows no division.
constexpr bool supports(DType dtype, ReduceOp op) {
  const bool is_complex = dtype == DType::kComplex64 || dtype == DType::kComplex128;
  const bool is_bool = dtype == DType::kBool;
  const bool is_float = dtype >= DType::kFloat16 && !is_complex;
  switch (op) {
    case ReduceOp::kSum:
    case ReduceOp::kProduct:
      return true;
    case ReduceOp::kAvg:
      return !is_bool;
    case ReduceOp::kMin:
    case ReduceOp::kMax:
      return !is_complex;
    case ReduceOp::kPremulSum:
      return is_float || is_complex;
    default:
      return !is_float && !is_complex;
  }
}

/// The reduction that does the work of another one, on `parts` elements for each of its own.
struct Lowered {
  DType dtype;
  ReduceOp op;
  size_t parts = 1;
};

constexpr DType unsigned_of(DType dtype) {
  constexpr DType types[] = {DType::kUInt8, DType::kUInt8, DType::kUInt16, DType::kUInt32, DType::kUInt64};
  return dtype <= DType::kInt64 ? types[static_cast<int>(dtype)] : dtype;
}

/// Fewer kernels for the same table: a complex sum is two real ones, a signed sum is an unsigned one (and so wraps),
/// bits are combined byte by byte, a boolean sum is an or.
constexpr Lowered lower(DType dtype, ReduceOp op) {
  switch (op) {
    case ReduceOp::kSum:
    case ReduceOp::kAvg:
    case ReduceOp::kPremulSum:
      if (dtype == DType::kComplex64) return {DType::kFloat32, op, 2};
      if (dtype == DType::kComplex128) return {DType::kFloat64, op, 2};
      if (dtype == DType::kBool) return {dtype, ReduceOp::kBor};
      return {op == ReduceOp::kSum ? unsigned_of(dtype) : dtype, op};
    case ReduceOp::kProduct:
      if (dtype == DType::kBool) return {dtype, ReduceOp::kBand};
      return {unsigned_of(dtype), op};
    case ReduceOp::kMin:
    case ReduceOp::kMax:
      if (dtype == DType::kBool) return {dtype, op == ReduceOp::kMin ? ReduceOp::kBand : ReduceOp::kBor};
      return {dtype, op};
    default:
      if (dtype == DType::kBool) return {dtype, op};
      return {DType::kUInt8, op, element_bytes(dtype)};
  }
}

PINNEDPG_HD float float_of_bits(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

PINNEDPG_HD uint32_t bits_of_float(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

/// An element that accumulates in its own type. `Acc`, `widen` and `narrow` are what every element type has.
template <typename T>
struct Native {
  using Acc = T;
  T value;

  PINNEDPG_HD Acc widen() const { return value; }
  static PINNEDPG_HD Native narrow(Acc acc) { return {acc}; }
};

/// A byte that is false when zero and true otherwise, as a bool from foreign memory may be; written as 0 or 1.
struct Bool {
  using Acc = uint8_t;
  uint8_t byte;

  PINNEDPG_HD Acc widen() const { return byte != 0 ? 1 : 0; }
  static PINNEDPG_HD Bool narrow(Acc acc) { return {acc}; }
};

template <typename T>
struct Complex {
  using Acc = Complex;
  T re, im;

  PINNEDPG_HD Acc widen() const { return *this; }
  static PINNEDPG_HD Complex narrow(Acc acc) { return acc; }
};

/// The upper half of a float. Rounds to nearest even; every NaN becomes 0x7fc0, as c10::BFloat16 does.
struct BFloat16 {
  using Acc = float;
  uint16_t bits;

  PINNEDPG_HD Acc widen() const { return float_of_bits(uint32_t{bits} << 16); }
  static PINNEDPG_HD BFloat16 narrow(Acc acc) {
    const uint32_t raw = bits_of_float(acc);
    const uint32_t rounded = (raw + 0x7fff + ((raw >> 16) & 1)) >> 16;
    return {static_cast<uint16_t>(acc != acc ? 0x7fc0 : rounded)};
  }
};

/// A float of 16 or 8 bits with fewer exponent bits than a float32; its values are c10's of the same name. `kOverflow`
/// is the code of what is too large (infinity, the largest finite value, or NaN), `kNan` the code every NaN is written
/// as: a NaN's sign and payload depend on the order of operands and on the machine, so neither is kept. Without
/// branches and float32 subnormals, so that it vectorises and does not depend on flush-to-zero.
template <typename Bits, int kMantissa, int kBias, int kOverflow, int kNan>
struct SmallFloat {
  using Acc = float;
  Bits bits;

  static constexpr int kSign = 1 << (8 * sizeof(Bits) - 1);
  static constexpr int kShift = 23 - kMantissa;
  static constexpr bool kUnsignedZero = kNan == kSign;
  static constexpr bool kInfinity = !kUnsignedZero && (kOverflow & ((1 << kMantissa) - 1)) == 0;

  PINNEDPG_HD Acc widen() const {
    const int magnitude = bits & (kSign - 1);
    const float subnormal = static_cast<float>(magnitude) * float_of_bits(uint32_t{128 - kBias - kMantissa} << 23);
    const uint32_t normal = static_cast<uint32_t>((magnitude << kShift) + ((127 - kBias) << 23));
    uint32_t raw = magnitude < (1 << kMantissa) ? bits_of_float(subnormal) : normal;
    if constexpr (kInfinity) {
      raw |= magnitude >= kOverflow ? 0x7f800000u : 0u;
    } else {
      raw = (kUnsignedZero ? bits : magnitude) == kNan ? 0x7fc00000u : raw;
    }
    return float_of_bits(raw | (static_cast<uint32_t>(bits & kSign) << (32 - 8 * sizeof(Bits))));
  }

  static PINNEDPG_HD SmallFloat narrow(Acc acc) {
    const uint32_t raw = bits_of_float(acc);
    const int magnitude = static_cast<int>(raw & 0x7fffffff);
    // Adding this number leaves the subnormal's code in the lowest bits, rounded by the addition.
    constexpr int kMagic = (151 - kBias - kMantissa) << 23;
    const float sum = float_of_bits(static_cast<uint32_t>(magnitude)) + float_of_bits(kMagic);
    const int subnormal = static_cast<int>(bits_of_float(sum)) - kMagic;
    const int odd = (magnitude >> kShift) & 1;
    const int normal = (magnitude - ((127 - kBias) << 23) + (1 << (kShift - 1)) - 1 + odd) >> kShift;
    const int rounded = magnitude < ((128 - kBias) << 23) ? subnormal : normal;
    const int code = rounded < kOverflow ? rounded : kOverflow;
    int sign = static_cast<int>(raw >> (32 - 8 * sizeof(Bits))) & kSign;
    if constexpr (kUnsignedZero) sign = code == 0 ? 0 : sign;
    return {static_cast<Bits>(magnitude > 0x7f800000 ? kNan : (code | sign))};
  }
};

using Float16 = SmallFloat<uint16_t, 10, 15, 0x7c00, 0x7e00>;
using Float8E4M3FN = SmallFloat<uint8_t, 3, 7, 0x7e, 0x7f>;
using Float8E5M2 = SmallFloat<uint8_t, 2, 15, 0x7c, 0x7f>;
using Float8E4M3FNUZ = SmallFloat<uint8_t, 3, 8, 0x80, 0x80>;
using Float8E5M2FNUZ = SmallFloat<uint8_t, 2, 16, 0x80, 0x80>;

// clang-format off
template <DType dtype> struct ElementOf;
template <> struct ElementOf<DType::kUInt8> { using type = Native<uint8_t>; };
template <> struct ElementOf<DType::kInt8> { using type = Native<int8_t>; };
template <> struct ElementOf<DType::kInt16> { using type = Native<int16_t>; };
template <> struct ElementOf<DType::kInt32> { using type = Native<int32_t>; };
template <> struct ElementOf<DType::kInt64> { using type = Native<int64_t>; };
template <> struct ElementOf<DType::kUInt16> { using type = Native<uint16_t>; };
template <> struct ElementOf<DType::kUInt32> { using type = Native<uint32_t>; };
template <> struct ElementOf<DType::kUInt64> { using type = Native<uint64_t>; };
template <> struct ElementOf<DType::kBool> { using type = Bool; };
template <> struct ElementOf<DType::kFloat16> { using type = Float16; };
template <> struct ElementOf<DType::kBFloat16> { using type = BFloat16; };
template <> struct ElementOf<DType::kFloat32> { using type = Native<float>; };
template <> struct ElementOf<DType::kFloat64> { using type = Native<double>; };
template <> struct ElementOf<DType::kComplex64> { using type = Complex<float>; };
template <> struct ElementOf<DType::kComplex128> { using type = Complex<double>; };
template <> struct ElementOf<DType::kFloat8E4M3FN> { using type = Float8E4M3FN; };
template <> struct ElementOf<DType::kFloat8E5M2> { using type = Float8E5M2; };
template <> struct ElementOf<DType::kFloat8E4M3FNUZ> { using type = Float8E4M3FNUZ; };
template <> struct ElementOf<DType::kFloat8E5M2FNUZ> { using type = Float8E5M2FNUZ; };
// clang-format on

/// Unsigned and never promoted to int: what integers are added and multiplied in, so that they wrap.
template <typename T>
using Wrapping = std::make_unsigned_t<std::conditional_t<sizeof(T) < sizeof(int), int, T>>;

template <typename T>
PINNEDPG_HD T add(T a, T b) {
  if constexpr (std::is_integral_v<T>) {
    return static_cast<T>(static_cast<Wrapping<T>>(a) + static_cast<Wrapping<T>>(b));
  } else {
    return a + b;
  }
}

template <typename T>
PINNEDPG_HD T multiply(T a, T b) {
  if constexpr (std::is_integral_v<T>) {
    return static_cast<T>(static_cast<Wrapping<T>>(a) * static_cast<Wrapping<T>>(b));
  } else {
    return a * b;
  }
}

/// A product that is rounded before it is used. GCC 12 needs to be told in spite of -ffp-contract=off: it fuses the
/// alternating sums of a complex product (vfmaddsub).
template <typename T>
PINNEDPG_HD T rounded_product(T a, T b) {
#if defined(__GNUC__) && __GNUC__ >= 12 && !defined(__clang__) && !defined(__CUDACC__)
  return __builtin_assoc_barrier(a * b);
#else
  return a * b;
#endif
}

template <typename T>
PINNEDPG_HD Complex<T> multiply(Complex<T> a, Complex<T> b) {
  return {rounded_product(a.re, b.re) - rounded_product(a.im, b.im),
          rounded_product(a.re, b.im) + rounded_product(a.im, b.re)};
}

/// What a source contributes: its element, times its rank's factor for PREMUL_SUM.
template <ReduceOp op, typename Element>
PINNEDPG_HD typename Element::Acc term(Element element, [[maybe_unused]] double factor) {
  using Acc = typename Element::Acc;
  if constexpr (op == ReduceOp::kPremulSum) {
    return static_cast<Acc>(factor) * element.widen();
  } else {
    return element.widen();
  }
}

/// NaN wins over every number in MIN and MAX, as in torch.minimum and torch.maximum.
template <ReduceOp op, typename Acc>
PINNEDPG_HD Acc combine(Acc a, Acc b) {
  if constexpr (op == ReduceOp::kProduct) {
    return multiply(a, b);
  } else if constexpr (op == ReduceOp::kMin) {
    return a <= b || a != a ? a : b;
  } else if constexpr (op == ReduceOp::kMax) {
    return a >= b || a != a ? a : b;
  } else if constexpr (op == ReduceOp::kBand) {
    return a & b;
  } else if constexpr (op == ReduceOp::kBor) {
    return a | b;
  } else if constexpr (op == ReduceOp::kBxor) {
    return a ^ b;
  } else {
    return add(a, b);
  }
}

/// AVG divides the (wrapped) sum; integers truncate toward zero as torch.div(rounding_mode="trunc") does. gloo refuses
/// integer averages, NCCL divides like this. Integers of up to 32 bits divide in a float type that is exact for them,
/// since no processor divides integer vectors.
template <ReduceOp op, typename Acc>
PINNEDPG_HD Acc finish(Acc acc, [[maybe_unused]] size_t src_count) {
  if constexpr (op == ReduceOp::kAvg) {
    using Small = std::conditional_t<sizeof(Acc) < 4, float, double>;
    using Quotient = std::conditional_t<std::is_integral_v<Acc> && sizeof(Acc) <= 4, Small, Acc>;
    return static_cast<Acc>(static_cast<Quotient>(acc) / static_cast<Quotient>(src_count));
  } else {
    return acc;
  }
}

}  // namespace pinnedpg
