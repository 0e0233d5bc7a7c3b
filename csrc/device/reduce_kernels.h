// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#pragma once

#include "device/reduce_op.h"
#include "device/reduce_table.h"

#ifdef CPU_CAPABILITY
#include <ATen/cpu/vec/vec.h>
#endif

/// The loops of the host reduction, compiled once per instruction set: by reduce_host_default.cpp and its neighbours,
/// with that set's flags. Everything is local to the file that includes it (an unnamed namespace, no std:: calls;
/// at::vec has a namespace per set), so that no code of one set can be linked into another's.
///
/// Needs -O3, -ffp-contract=off (all sets bit-equal) and -fno-trapping-math (else selections do not vectorise).

/// `dst` may be one of the sources, and then the loop reads an element before it writes it: no iteration depends on
/// another. Without this the compiler's overlap check sends every in-place reduction to a scalar loop.
#ifdef __clang__
#define PINNEDPG_INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#else
#define PINNEDPG_INDEPENDENT _Pragma("GCC ivdep")
#endif

namespace pinnedpg {
namespace {

/// Elements that all sources pass before the next ones: 1 KiB of each source, at most 4 KiB of accumulators, so that
/// both stay in the first-level cache. Measured with `prefetch_block`: 2 KiB is up to 30 % slower out of cache.
template <typename Element>
constexpr size_t kBlock = 1024 / sizeof(Element);

/// Element `i` of memory that is aligned to nothing.
template <typename Element>
PINNEDPG_HD Element load(const void* src, size_t i) {
  Element element;
  __builtin_memcpy(&element, static_cast<const char*>(src) + i * sizeof(Element), sizeof(Element));
  return element;
}

template <typename Element>
PINNEDPG_HD void store(void* dst, size_t i, Element element) {
  __builtin_memcpy(static_cast<char*>(dst) + i * sizeof(Element), &element, sizeof(Element));
}

/// One rank's contribution. Held by value in the loops: read through `srcs`, the address would have to be loaded again
/// after every store, which might have changed it for all that the compiler knows.
template <typename Element, ReduceOp op>
struct Source {
  const void* data;
  double factor;

  Source(const void* const* srcs, size_t k, const double* factors)
      : data(srcs[k]), factor(op == ReduceOp::kPremulSum ? factors[k] : 1.0) {}

  PINNEDPG_HD typename Element::Acc operator[](size_t i) const { return term<op>(load<Element>(data, i), factor); }
};

/// Asks for the sources' block at `begin`, a block ahead of its use. The more a loop computes per cache line, the fewer
/// lines the processor has under way by itself: 16 MiB of bfloat16 sums ran at a quarter of the speed without this
/// (AVX2: 6 against 23 GB/s; 2026-11, a Xeon with AMX, in a virtual machine).
template <typename Element>
void prefetch_block(const void* const* srcs, size_t src_count, size_t begin, size_t count) {
  const size_t end = count < begin + kBlock<Element> ? count : begin + kBlock<Element>;
  for (size_t k = 0; k < src_count; ++k) {
    const char* src = static_cast<const char*>(srcs[k]);
    for (size_t at = begin * sizeof(Element); at < end * sizeof(Element); at += 64) __builtin_prefetch(src + at);
  }
}

/// Up to two sources, by far the most common number, take one pass and no accumulator.
template <typename Element, ReduceOp op>
void reduce_few(void* dst, const void* const* srcs, size_t src_count, size_t begin, size_t end, const double* factors) {
  const Source<Element, op> first(srcs, 0, factors);
  const Source<Element, op> last(srcs, src_count - 1, factors);
  if (src_count == 1) {
    PINNEDPG_INDEPENDENT
    for (size_t i = begin; i < end; ++i) store(dst, i, Element::narrow(finish<op>(first[i], src_count)));
  } else {
    PINNEDPG_INDEPENDENT
    for (size_t i = begin; i < end; ++i) {
      store(dst, i, Element::narrow(finish<op>(combine<op>(first[i], last[i]), src_count)));
    }
  }
}

template <typename Element, ReduceOp op>
void reduce_many(void* dst, const void* const* srcs, size_t src_count, size_t begin, size_t end,
                 const double* factors) {
  alignas(64) typename Element::Acc acc[kBlock<Element>];
  const Source<Element, op> first(srcs, 0, factors);
  const Source<Element, op> second(srcs, 1, factors);
  const Source<Element, op> last(srcs, src_count - 1, factors);
  const size_t size = end - begin;
  PINNEDPG_INDEPENDENT
  for (size_t i = 0; i < size; ++i) acc[i] = combine<op>(first[begin + i], second[begin + i]);
  for (size_t k = 2; k + 1 < src_count; ++k) {
    const Source<Element, op> source(srcs, k, factors);
    PINNEDPG_INDEPENDENT
    for (size_t i = 0; i < size; ++i) acc[i] = combine<op>(acc[i], source[begin + i]);
  }
  PINNEDPG_INDEPENDENT
  for (size_t i = 0; i < size; ++i) {
    store(dst, begin + i, Element::narrow(finish<op>(combine<op>(acc[i], last[begin + i]), src_count)));
  }
}

template <typename Element>
[[gnu::noinline]] void widen_block(float* dst, const void* src, size_t begin, size_t size) {
  for (size_t i = 0; i < size; ++i) dst[i] = load<Element>(src, begin + i).widen();
}

template <typename Element>
[[gnu::noinline]] void narrow_block(void* dst, float* acc, size_t begin, size_t size) {
  for (size_t i = 0; i < size; ++i) store(dst, begin + i, Element::narrow(acc[i]));
}

#ifdef CPU_CAPABILITY

using Halves = at::vec::Vectorized<c10::Half>;
using Floats = at::vec::Vectorized<float>;

/// By the processor's own conversion, which the compiler does not find in the plain loop: six times as fast.
template <>
void widen_block<Float16>(float* dst, const void* src, size_t begin, size_t size) {
  const auto* halves = static_cast<const c10::Half*>(src) + begin;
  size_t i = 0;
  for (; i + Halves::size() <= size; i += Halves::size()) {
    const auto [low, high] = at::vec::convert_half_float(Halves::loadu(halves + i));
    low.store(dst + i);
    high.store(dst + i + Floats::size());
  }
  for (; i < size; ++i) dst[i] = load<Float16>(src, begin + i).widen();
}

/// The processor would keep a NaN's sign and payload; `Float16::narrow` does not, so they go before.
template <>
void narrow_block<Float16>(void* dst, float* acc, size_t begin, size_t size) {
  const float nan = float_of_bits(0x7fc00000);
  for (size_t i = 0; i < size; ++i) acc[i] = acc[i] != acc[i] ? nan : acc[i];
  auto* halves = static_cast<c10::Half*>(dst) + begin;
  size_t i = 0;
  for (; i + Halves::size() <= size; i += Halves::size()) {
    const Floats low = Floats::loadu(acc + i);
    at::vec::convert_float_half(low, Floats::loadu(acc + i + Floats::size())).store(halves + i);
  }
  for (; i < size; ++i) store(dst, begin + i, Float16::narrow(acc[i]));
}

#endif

/// Element types whose conversion costs more than the reduction: a block is widened, reduced as float32, and narrowed.
template <typename Element, ReduceOp op>
void reduce_widened(void* dst, const void* const* srcs, size_t src_count, size_t begin, size_t end,
                    const double* factors) {
  alignas(64) float acc[kBlock<Element>];
  alignas(64) float next[kBlock<Element>];
  const size_t size = end - begin;
  widen_block<Element>(acc, srcs[0], begin, size);
  if constexpr (op == ReduceOp::kPremulSum) {
    for (size_t i = 0; i < size; ++i) acc[i] = term<op>(Native<float>{acc[i]}, factors[0]);
  }
  for (size_t k = 1; k < src_count; ++k) {
    widen_block<Element>(next, srcs[k], begin, size);
    const double factor = op == ReduceOp::kPremulSum ? factors[k] : 1.0;
    for (size_t i = 0; i < size; ++i) acc[i] = combine<op>(acc[i], term<op>(Native<float>{next[i]}, factor));
  }
  if constexpr (op == ReduceOp::kAvg) {
    for (size_t i = 0; i < size; ++i) acc[i] = finish<op>(acc[i], src_count);
  }
  narrow_block<Element>(dst, acc, begin, size);
}

template <typename Element>
constexpr bool kIsSmallFloat = false;
template <typename Bits, int... parameters>
constexpr bool kIsSmallFloat<SmallFloat<Bits, parameters...>> = true;

template <typename Element, ReduceOp op>
void reduce(void* dst, const void* const* srcs, size_t src_count, size_t count, const double* factors) {
  for (size_t begin = 0; begin < count; begin += kBlock<Element>) {
    const size_t next = begin + kBlock<Element>;
    const size_t end = next < count ? next : count;
    prefetch_block<Element>(srcs, src_count, next, count);
    if constexpr (kIsSmallFloat<Element>) {
      reduce_widened<Element, op>(dst, srcs, src_count, begin, end, factors);
    } else if (src_count <= 2) {
      reduce_few<Element, op>(dst, srcs, src_count, begin, end, factors);
    } else {
      reduce_many<Element, op>(dst, srcs, src_count, begin, end, factors);
    }
  }
}

template <DType dtype, ReduceOp op>
consteval ReduceKernel kernel_of() {
  constexpr Lowered lowered = lower(dtype, op);
  if constexpr (supports(dtype, op) && lowered.dtype == dtype && lowered.op == op) {
    return &reduce<typename ElementOf<dtype>::type, op>;
  } else {
    return nullptr;
  }
}

template <int dtype = 0, int op = 0>
consteval void fill(ReduceTable& table) {
  table.kernels[dtype][op] = kernel_of<static_cast<DType>(dtype), static_cast<ReduceOp>(op)>();
  if constexpr (op + 1 < kReduceOpCount) {
    fill<dtype, op + 1>(table);
  } else if constexpr (dtype + 1 < kDTypeCount) {
    fill<dtype + 1, 0>(table);
  }
}

consteval ReduceTable make_table() {
  ReduceTable table{};
  fill(table);
  return table;
}

}  // namespace
}  // namespace pinnedpg
